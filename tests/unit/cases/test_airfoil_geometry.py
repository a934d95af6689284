"""Airfoil sections agree with AeroSandbox, thickness is exactly linear, and what is no airfoil is refused."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cases.airfoil.geometry import (
    KulfanShape,
    coordinates,
    load_shape,
    thickness_matrix,
    thickness_offset,
    thickness_slope,
)
from gradopt.errors import InputError, ShapeError

asb = pytest.importorskip("aerosandbox")

STATIONS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])


@pytest.fixture
def shape() -> KulfanShape:
    """Make a section whose every term counts: cambered, with leading edge weight and trailing edge gap."""
    rng = np.random.default_rng(7)
    return KulfanShape(0.2 + 0.05 * rng.normal(size=8), -0.1 + 0.05 * rng.normal(size=8), 0.11, 0.004, "made up")


def in_aerosandbox(shape: KulfanShape) -> Any:
    return asb.KulfanAirfoil(
        name=shape.name,
        upper_weights=shape.upper_weights,
        lower_weights=shape.lower_weights,
        leading_edge_weight=shape.leading_edge_weight,
        TE_thickness=shape.trailing_edge_thickness,
    )


def test_thickness_agrees_with_aerosandbox(shape: KulfanShape) -> None:
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    thickness = thickness_matrix(STATIONS) @ weights + thickness_offset(STATIONS, shape.trailing_edge_thickness)
    np.testing.assert_allclose(thickness, in_aerosandbox(shape).local_thickness(STATIONS), rtol=0, atol=1e-12)


def test_slope_of_thickness_is_that_of_central_differences(shape: KulfanShape) -> None:
    inner, step = STATIONS[1:-1], 1e-6
    difference = (thickness_matrix(inner + step) - thickness_matrix(inner - step)) / (2 * step)
    np.testing.assert_allclose(thickness_slope(inner), difference, rtol=0, atol=1e-8)


def test_outline_agrees_with_aerosandbox(shape: KulfanShape) -> None:
    x, y = coordinates(shape, n=61)
    np.testing.assert_allclose(np.stack([x, y], 1), in_aerosandbox(shape).to_airfoil(61).coordinates, atol=1e-12)


@pytest.mark.parametrize("stations", [[0.5, 1.2], [np.nan], [[0.5]]])
def test_stations_off_the_chord_are_refused(stations: object) -> None:
    with pytest.raises(InputError, match=r"`stations` must be a list of fractions of chord in 0\.\.1"):
        thickness_matrix(stations)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("RAE 2822", "rae2822"), ("naca0012", "naca0012"), ("NACA-4412", "naca4412"), ("av-1.7-8", "AV-1.7-8")],
)
def test_shipped_names_are_found_however_they_are_written(written: str, meant: str) -> None:
    shape = load_shape(written)
    fitted = asb.Airfoil(meant).to_kulfan_airfoil()
    assert shape.name == meant
    np.testing.assert_array_equal(shape.upper_weights, fitted.upper_weights)
    np.testing.assert_array_equal(shape.lower_weights, fitted.lower_weights)
    assert shape.leading_edge_weight == fitted.leading_edge_weight
    assert shape.trailing_edge_thickness == fitted.TE_thickness


def test_unknown_name_is_refused_with_close_names() -> None:
    with pytest.raises(InputError, match=r"that AeroSandbox ships, got 'RAE 2823'\. Close names are: .*rae2822"):
        load_shape("RAE 2823")


@pytest.mark.parametrize(
    ("written", "first"),
    [("rae 2823", "rae2822"), ("naca-0112x", "naca0112"), ("sd-7038", "sd7037"), ("naca00121", "naca0012")],
)
def test_nearest_name_is_offered_first(written: str, first: str) -> None:
    with pytest.raises(InputError, match=rf"Close names are: {first}(, [\w-]+){{1,4}}\.$"):
        load_shape(written)


def test_names_offered_are_names() -> None:
    with pytest.raises(InputError) as refused:
        load_shape("naca-0112x")
    offered = str(refused.value).split("Close names are: ")[1].rstrip(".").split(", ")
    assert [load_shape(name).name for name in offered] == offered
    assert len(set(offered)) == 5


def test_name_unlike_any_other_is_refused_with_the_way_to_a_file() -> None:
    with pytest.raises(InputError, match=r"got '\?\?\?\?'\. Give a path ending in \.dat"):
        load_shape("????")


def test_shape_keeps_its_own_read_only_weights_through_copies(shape: KulfanShape) -> None:
    weights = np.full(8, 0.3)
    thicker = replace(shape, upper_weights=weights)
    weights[:] = 0
    assert (thicker.upper_weights == 0.3).all()
    with pytest.raises(ValueError, match="read-only"):
        thicker.upper_weights[0] = 0
    for twin in (copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
        np.testing.assert_array_equal(twin.lower_weights, shape.lower_weights)


@pytest.mark.parametrize("edge", ["leading_edge_weight", "trailing_edge_thickness"])
def test_edge_that_is_not_finite_is_refused(shape: KulfanShape, edge: str) -> None:
    with pytest.raises(InputError, match=f"`{edge}` must be a finite number, got nan"):
        replace(shape, **{edge: np.nan})  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [np.zeros(7), np.full(8, np.nan)])
def test_weights_that_are_not_eight_finite_numbers_are_refused(shape: KulfanShape, weights: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="`lower_weights` must be 8 finite numbers"):
        replace(shape, lower_weights=weights)
