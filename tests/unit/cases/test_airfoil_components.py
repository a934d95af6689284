"""Geometry of a section as components: values by quadrature, by the outline and by AeroSandbox; exact partials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import assert_check_partials
from scipy.integrate import quad

from cases.airfoil.components import (
    AreaComp,
    LeadingEdgeRadiusComp,
    MaximumThicknessComp,
    ThicknessComp,
    TrailingEdgeAngleComp,
)
from cases.airfoil.geometry import KulfanShape, coordinates, thickness_matrix, thickness_offset

STATIONS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
GAP = 0.004
SEEDS = range(4)


def section(seed: int) -> KulfanShape:
    """Make a section whose every term counts: cambered, with leading edge weight and trailing edge gap."""
    rng = np.random.default_rng(seed)
    upper, lower = 0.2 + 0.05 * rng.normal(size=8), -0.1 + 0.05 * rng.normal(size=8)
    return KulfanShape(upper, lower, 0.3, GAP, "made up")


def run(component: om.ExplicitComponent, shape: KulfanShape) -> om.Problem:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("geometry", component, promotes=["*"])
    problem.setup(force_alloc_complex=True)
    problem.set_val("upper_weights", shape.upper_weights)
    problem.set_val("lower_weights", shape.lower_weights)
    problem.run_model()
    return problem


def thickness(shape: KulfanShape, x: Any) -> np.ndarray:
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    stations = np.atleast_1d(x)
    return np.asarray(thickness_matrix(stations) @ weights + thickness_offset(stations, GAP))


def in_aerosandbox(shape: KulfanShape) -> Any:
    asb = pytest.importorskip("aerosandbox")
    return asb.KulfanAirfoil(
        name=shape.name,
        upper_weights=shape.upper_weights,
        lower_weights=shape.lower_weights,
        leading_edge_weight=shape.leading_edge_weight,
        TE_thickness=shape.trailing_edge_thickness,
    )


COMPONENTS: dict[str, Callable[[], om.ExplicitComponent]] = {
    "thickness": lambda: ThicknessComp(stations=STATIONS, trailing_edge_thickness=GAP),
    "area": lambda: AreaComp(trailing_edge_thickness=GAP),
    "leading_edge_radius": lambda: LeadingEdgeRadiusComp(),
    "trailing_edge_angle": lambda: TrailingEdgeAngleComp(trailing_edge_thickness=GAP),
    "maximum_thickness": lambda: MaximumThicknessComp(trailing_edge_thickness=GAP),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", COMPONENTS)
def test_partials_are_exact(name: str, seed: int) -> None:
    problem = run(COMPONENTS[name](), section(seed))
    assert_check_partials(problem.check_partials(method="cs", out_stream=None), atol=1e-12, rtol=1e-12)
    partials = problem.check_partials(method="fd", form="central", step=1e-6, out_stream=None)
    assert_check_partials(partials, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_thickness_is_that_of_aerosandbox(seed: int) -> None:
    shape = section(seed)
    expected = in_aerosandbox(shape).local_thickness(STATIONS)
    problem = run(COMPONENTS["thickness"](), shape)
    np.testing.assert_allclose(problem.get_val("thickness"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_area_is_the_integral_of_thickness(seed: int) -> None:
    shape = section(seed)
    expected, _ = quad(lambda x: float(thickness(shape, x)[0]), 0.0, 1.0, epsabs=1e-13, epsrel=1e-13)
    area = run(COMPONENTS["area"](), shape).get_val("area")
    np.testing.assert_allclose(area, [expected], rtol=0, atol=1e-11)
    np.testing.assert_allclose(area, in_aerosandbox(shape).to_airfoil(400).area(), rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_radius_is_that_of_the_circles_through_the_nose(seed: int) -> None:
    # A circle that touches the y axis at the nose and passes through (x, y) has the radius (x^2 + y^2) / (2 x), which
    # tends to the radius of curvature as a polynomial in x^0.5 that the outline's own points give.
    shape = section(seed)
    x, y = coordinates(shape, n=4001)
    radius = run(COMPONENTS["leading_edge_radius"](), shape).get_val("leading_edge_radius")
    for side, points in enumerate((slice(3999, 3900, -1), slice(4001, 4100))):
        circles = (x[points] ** 2 + y[points] ** 2) / (2 * x[points])
        limit = np.polynomial.Polynomial.fit(np.sqrt(x[points]), circles, 5).convert().coef[0]
        np.testing.assert_allclose(radius[side], limit, rtol=1e-6)


def test_side_that_begins_the_wrong_way_has_a_negative_radius() -> None:
    shape = section(0)
    upside_down = replace(shape, upper_weights=shape.lower_weights, lower_weights=shape.upper_weights)
    radii = [
        run(COMPONENTS["leading_edge_radius"](), one).get_val("leading_edge_radius") for one in (shape, upside_down)
    ]
    assert (radii[0] > 0.0).all()
    np.testing.assert_allclose(radii[1], -radii[0][::-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_angle_is_between_the_last_chords_of_the_outline(seed: int) -> None:
    shape = section(seed)
    x, y = coordinates(shape, n=20001)
    upper, lower = (np.degrees(np.arctan2(y[j] - y[i], x[j] - x[i])) for i, j in ((1, 0), (-2, -1)))
    angle = run(COMPONENTS["trailing_edge_angle"](), shape).get_val("trailing_edge_angle", units="deg")
    np.testing.assert_allclose(angle, [lower - upper], atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_maximum_thickness_is_the_largest_of_many_stations(seed: int) -> None:
    shape = section(seed)
    largest = thickness(shape, np.linspace(0.0, 1.0, 100_001)).max()
    found = run(COMPONENTS["maximum_thickness"](), shape).get_val("maximum_thickness")
    np.testing.assert_allclose(found, [largest], rtol=0, atol=1e-9)
    assert found[0] >= largest - 1e-15


def test_section_thickest_at_its_end_has_a_maximum_thickness_too() -> None:
    wedge = KulfanShape(np.zeros(8), np.zeros(8), 0.0, GAP, "wedge")
    found = run(COMPONENTS["maximum_thickness"](), wedge).get_val("maximum_thickness")
    np.testing.assert_allclose(found, [GAP], rtol=0.01)
