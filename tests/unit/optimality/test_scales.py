"""Scales of optimality conditions: no measure depends on the units of a problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses, Scales
from gradopt.optimality.scales import Explored, conditions_at, scales_at, scales_of, without_objective

INF = np.inf


def bowl(u: np.ndarray, steep: float = 0.0, units: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Responses:
    """A bowl about (0.6, 0.4) over u[0] + u[1] <= 0.8 and u[2] >= 0, written in other units of u, f and c."""
    v = u / units[0]
    gradient = np.array([v[0] - 0.6, v[1] - 0.4, steep])
    f = 0.5 * float((gradient[:2] ** 2).sum()) + steep * v[2]
    jacobian = np.array([[1.0, 1.0, 0.0]])
    scale = units[1] / units[0], units[2] / units[0]
    return Responses(u, units[1] * f, scale[0] * gradient, units[2] * np.array([v[0] + v[1]]), scale[1] * jacobian)


def limits_of(units: tuple[float, float, float], declared: Scales | None = None) -> Limits:
    upper = np.full(3, 2.0) * units[0]
    return Limits(np.zeros(3), upper, np.full(1, -INF), np.full(1, 0.8) * units[2], upper, declared)


def measured(at: list[float], units: tuple[float, float, float] = (1.0, 1.0, 1.0), steep: float = 0.0) -> KKT:
    seen = [np.array([1.5, 1.0, 1.0]), np.array([0.2, 0.9, 0.5]), np.array([0.4, 0.1, 0.0])]
    points = [bowl(u * units[0], steep, units) for u in (np.array(at), *seen)]
    return conditions_at(points[0], Explored(tuple(points)), limits_of(units), 1e-4, 1e-6)[0]


@pytest.mark.parametrize(
    "units", [(2.0**-20, 1.0, 1.0), (1.0, 2.0**-30, 1.0), (1.0, 1.0, 2.0**-26), (8.0, 2.0**20, 0.5)]
)
@pytest.mark.parametrize("at", [[0.5, 0.3, 0.0], [0.51, 0.28, 0.0], [0.52, 0.33, 0.1]])
def test_no_measure_changes_with_the_units(at: list[float], units: tuple[float, float, float]) -> None:
    one, other = measured(at), measured(at, units)
    for name in ("certified", "feasibility", "stationarity", "complementarity"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9, abs=1e-12)
    assert other.multipliers == pytest.approx(one.multipliers * units[1] / units[2])
    assert other.residual == pytest.approx(one.residual * units[1] / units[0])
    assert one.certified is (at == [0.5, 0.3, 0.0])


def test_a_steep_direction_that_a_bound_holds_does_not_loosen_the_others() -> None:
    for at in ([0.51, 0.29, 0.0], [0.5, 0.3, 0.0]):
        flat, steep = measured(at), measured(at, steep=1e5)
        assert steep.stationarity == pytest.approx(flat.stationarity, rel=0.1, abs=1e-9)


def test_declared_scales_are_one() -> None:
    declared = Scales(np.ones(3), 1.0, np.ones(1))
    at = bowl(np.array([0.5, 0.31, 0.0]))
    _, scales = conditions_at(at, Explored((bowl(np.ones(3)),)), limits_of((1.0, 1.0, 1.0), declared), 1e-4, 1e-6)
    assert scales.lengths.tolist() == [1.0, 1.0, 1.0]
    assert (scales.objective, scales.constraints.tolist()) == (1.0, [1.0])


def test_without_another_point_the_scale_of_the_objective_is_not_known() -> None:
    found, scales = conditions_at(bowl(np.array([0.6, 0.1, 0.1])), Explored(), limits_of((1.0, 1.0, 1.0)), 1e-4, 1e-6)
    assert np.isnan(scales.objective)
    assert not found.scale_known
    assert not found.certified  # the gradient in u[1] is all that is left, however small


def test_lengths_are_sizes_or_what_was_explored_within_the_range() -> None:
    wide = Limits(np.full(3, -1e3), np.full(3, 1e3), np.full(1, -INF), np.ones(1), np.full(3, 100.0))
    points = [bowl(np.array(u)) for u in ([3.0, 0.5, 0.0], [3.5, 0.7, 0.0], [2.0, 10.5, 0.0])]
    assert without_objective(points[0], points, wide).lengths.tolist() == [5.0, 10.0, 5.0]  # of the same exploration
    near = replace(wide, lower=np.zeros(3), upper=np.full(3, 4.0), width=np.full(3, 4.0))
    assert without_objective(points[0], points[:2], near).lengths.tolist() == [3.0, 0.5, 0.25]


def test_a_point_far_out_on_an_exponential_gives_no_scale() -> None:
    def exponential(x: float) -> Responses:
        u = np.array([x, 0.0, 0.0])
        return Responses(u, np.exp(x) - x, np.array([np.exp(x) - 1.0, 0.0, 0.0]), np.zeros(1), np.zeros((1, 3)))

    limits = Limits(np.full(3, -300.0), np.full(3, 300.0), np.full(1, -INF), np.ones(1), np.full(3, 300.0))
    at = exponential(-3.0)
    assert np.isnan(scales_of(at, Explored((), (exponential(60.0),)), limits, np.zeros(1), np.zeros(3)).objective)
    near = scales_of(at, Explored((exponential(-1.0),), (exponential(60.0),)), limits, np.zeros(1), np.zeros(3))
    assert near.lengths[0] == 3.0
    assert near.objective == pytest.approx((exponential(-3.0).f - exponential(-1.0).f) * 0.375)


def test_the_scale_of_the_objective_is_that_of_most_points() -> None:
    points = [bowl(np.array([u, 0.4, 0.0])) for u in (0.6, 1.6, 1.1, 0.601)]
    far = replace(bowl(np.array([1.7, 0.4, 0.0])), f=1e9)  # a barrier
    scales = scales_of(points[0], Explored(tuple(points), (far,)), limits_of((1.0, 1.0, 1.0)), np.zeros(1), np.zeros(3))
    assert 0.05 < scales.objective < 0.2


def objective_scale(*points: tuple[float, float]) -> float:
    """Scale of the objective at the minimum of a bowl over u[0] from 0 to 1, where a length is 1.

    The points have a distance from the minimum, and a factor on the bowl.
    """
    edge, none = np.ones(3), np.zeros(0)

    def at(distance: float, factor: float) -> Responses:
        u, slope = np.array([1.0 - distance, 0.4, 0.0]), np.array([-distance, 0.0, 0.0])
        return Responses(u, 0.5 * factor * distance**2, factor * slope, none, np.zeros((0, 3)))

    explored = Explored(tuple(at(*point) for point in points))
    return scales_of(at(0.0, 1.0), explored, Limits(np.zeros(3), edge, none, none, edge), none, np.zeros(3)).objective


@pytest.mark.parametrize("distance", [0.02, 0.01, 1e-3, 2e-4])
def test_near_points_tell_the_change_over_a_fiftieth_of_a_length(distance: float) -> None:
    """The scale does not shrink with the distance of the points."""
    assert objective_scale((distance, 1.0)) == pytest.approx(0.25 * 0.5 * 0.02, rel=1e-6)


@pytest.mark.parametrize("distance", [0.05, 0.2, 0.5])
def test_farther_points_tell_their_change_per_length(distance: float) -> None:
    assert objective_scale((distance, 1.0)) == pytest.approx(0.25 * 0.5 * distance, rel=1e-9)


def test_points_nearer_than_is_resolved_do_not_count_beside_farther_ones() -> None:
    """The changes of most points are noise, a thousand times what the curvature makes."""
    farther = (0.01, 1.0)
    assert objective_scale(*[(9e-5, 1e3)] * 3, farther) == pytest.approx(objective_scale(farther), rel=1e-6)
    assert objective_scale(*[(2e-4, 1e3)] * 3, farther) > 100.0 * objective_scale(farther)
    assert objective_scale((9e-5, 1e3)) > 100.0 * objective_scale(farther)  # alone they are all that is known


def test_one_point_alone_gives_the_objective_its_size() -> None:
    at = replace(bowl(np.array([0.5, 0.3, 0.0])), f=-2e-5)
    assert scales_at(at, limits_of((1.0, 1.0, 1.0))).objective == 2e-5
    assert np.isnan(scales_at(replace(at, f=0.0), limits_of((1.0, 1.0, 1.0))).objective)


def test_a_constraint_without_slope_has_the_size_of_its_bound() -> None:
    at = replace(bowl(np.array([0.5, 0.3, 0.0])), jacobian=np.zeros((1, 3)))
    assert without_objective(at, (), limits_of((1.0, 1.0, 1.0))).constraints.tolist() == [0.8]


@pytest.mark.parametrize(("slope", "expected"), [(12.0, 9.0), (4.0, 4.0), (1.0, 1.0), (1e-3, 0.02), (0.0, 0.02)])
def test_a_steep_way_does_not_loosen_a_constraint(slope: float, expected: float) -> None:
    """Its scale is that of its slope here, between a hundredth of its typical slope and that slope."""
    points = [bowl(np.array([first, 0.0, 0.0])) for first in (0.5, 1.0, 1.5)]
    slopes = (slope, 2.0, 9.0)
    at, *others = [replace(p, jacobian=np.array([[s, 0.0, 0.0]])) for p, s in zip(points, slopes, strict=True)]
    limits = replace(limits_of((1.0, 1.0, 1.0)), declared=Scales(np.full(3, 4.0), np.nan, np.full(1, np.nan)))
    assert without_objective(at, others, limits).constraints.tolist() == pytest.approx([expected])
