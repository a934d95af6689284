"""The optimality conditions on flat arrays: what is an optimum, what is not, and with which multipliers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradopt.errors import InputError, ShapeError
from gradopt.optimality import kkt as module
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, KKT, TOLERANCE, kkt

INF = np.inf


def conditions(
    gradient: Any,
    bounds: Any = None,
    rows: Any = (),
    limits: Any = (),
    u: Any = None,
    c: Any = None,
    tolerance: float = TOLERANCE,
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE,
    error: np.ndarray | None = None,
) -> KKT:
    """KKT at u = 0 and c = 0 unless they are given; bounds and limits are pairs (lower, upper)."""
    n, m = len(gradient), len(rows)
    bounds = np.array([(-INF, INF)] * n if bounds is None else bounds, dtype=float).reshape(n, 2)
    limits = np.array(limits, dtype=float).reshape(m, 2)
    return kkt(
        u=np.zeros(n) if u is None else np.array(u, dtype=float),
        lower=bounds[:, 0],
        upper=bounds[:, 1],
        gradient=np.array(gradient, dtype=float),
        c=np.zeros(m) if c is None else np.array(c, dtype=float),
        c_lower=limits[:, 0],
        c_upper=limits[:, 1],
        jacobian=np.array(rows, dtype=float).reshape(m, n),
        tolerance=tolerance,
        feasibility_tolerance=feasibility_tolerance,
        error=error,
    )


# ---- what is an optimum ----


@pytest.mark.parametrize(("slope", "certified"), [(0.0, True), (0.9e-4, True), (1.1e-4, False), (-1.1e-4, False)])
def test_free_minimum_has_an_absolutely_small_gradient(slope: float, certified: bool) -> None:
    found = conditions([0.0, slope])
    assert found.certified is certified
    assert found.stationarity == abs(slope)


@pytest.mark.parametrize(("bound", "slope", "side"), [((0.0, INF), 3.0, -1), ((-INF, 0.0), -3.0, 1)])
def test_bound_carries_the_gradient_that_pushes_against_it(bound: Any, slope: float, side: int) -> None:
    found = conditions([slope, 0.0], [bound, (-1.0, 1.0)])
    assert found.certified
    assert found.bound_multipliers.tolist() == [-slope, 0.0]
    assert found.bound_active.tolist() == [side, 0]


@pytest.mark.parametrize(("limit", "row", "side"), [((0.0, INF), 2.0, -1), ((-INF, 0.0), -2.0, 1)])
def test_constraint_carries_the_gradient_that_pushes_against_it(limit: Any, row: float, side: int) -> None:
    found = conditions([3.0], rows=[[row]], limits=[limit])
    assert found.certified
    assert found.multipliers == pytest.approx([-3.0 / row])
    assert found.active.tolist() == [side]


@pytest.mark.parametrize("bound", [(0.0, INF), (-INF, 0.0)])
def test_multiplier_of_the_wrong_sign_is_no_multiplier(bound: tuple[float, float]) -> None:
    inwards = -1.0 if bound[0] == 0.0 else 1.0
    for found in (conditions([inwards], [bound]), conditions([inwards], rows=[[1.0]], limits=[bound])):
        assert not found.certified
        assert found.stationarity == 1.0


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_equality_and_fixed_variable_carry_either_sign(slope: float) -> None:
    found = conditions([slope, slope], [(-INF, INF), (0.0, 0.0)], [[4.0, 0.0]], [(0.0, 0.0)])
    assert found.certified
    assert found.multipliers == pytest.approx([-slope / 4.0])
    assert found.bound_multipliers == pytest.approx([0.0, -slope])
    assert (found.active.tolist(), found.bound_active.tolist()) == ([2], [0, 2])


def test_multipliers_of_a_published_optimum() -> None:
    """Hock and Schittkowski's problem 35 (1981): x = (4/3, 7/9, 4/9), multiplier 2/9."""
    x = np.array([4.0 / 3.0, 7.0 / 9.0, 4.0 / 9.0])
    gradient = [-8 + 4 * x[0] + 2 * x[1] + 2 * x[2], -6 + 4 * x[1] + 2 * x[0], -4 + 2 * x[2] + 2 * x[0]]
    found = conditions(gradient, [(0.0, INF)] * 3, [[1.0, 1.0, 2.0]], [(-INF, 3.0)], u=x, c=[x @ [1.0, 1.0, 2.0]])
    assert found.certified
    assert found.multipliers == pytest.approx([2.0 / 9.0], rel=1e-12)
    assert not found.bound_multipliers.any()


# ---- near bounds ----


def test_bound_within_the_tolerance_counts_as_reached() -> None:
    found = conditions([1.0], [(-1e-5, INF)])
    assert found.certified
    assert found.complementarity == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("gap", [3e-4, 5e-3, 0.02, 0.5])
@pytest.mark.parametrize("slope", [2e-4, 0.05, 1.0, 1e4])
def test_bound_farther_off_does_not_mask_a_slope(gap: float, slope: float) -> None:
    assert not conditions([slope], [(-gap, INF)]).certified
    assert not conditions([slope], rows=[[20.0]], limits=[(-20.0 * gap, INF)]).certified


def test_push_on_a_near_bound_shows_in_the_complementarity() -> None:
    found = conditions([1.0, 0.0], [(-2e-3, INF), (-INF, INF)])
    assert found.stationarity < 1e-5
    assert found.complementarity == pytest.approx(2e-3, rel=1e-3)
    assert found.worst_complementarity == 0


@pytest.mark.parametrize(("tolerance", "farthest"), [(1e-4, 1e-2), (1e-6, 1e-3)])
def test_a_bound_counts_as_near_up_to_the_root_of_the_tolerance(tolerance: float, farthest: float) -> None:
    """Up to there the complementarity says how far the bound is; beyond, the slope stands for itself."""
    near = conditions([1.0], [(-0.9 * farthest, INF)], tolerance=tolerance)
    assert near.complementarity == pytest.approx(0.9 * farthest)
    assert near.stationarity < tolerance
    far = conditions([1.0], [(-1.1 * farthest, INF)], tolerance=tolerance)
    assert (far.complementarity, far.stationarity) == (0.0, 1.0)


BLOCKED = {"bound": ([(0.0, INF), (-INF, INF)], [], []), "row": (None, [[1.0, 0.0]], [(0.0, INF)])}


@pytest.mark.parametrize("by", BLOCKED)
def test_distance_is_measured_along_what_else_is_active(by: str) -> None:
    """The second variable can still move by 0.1 where a steep but blocked first one makes the gap look small."""
    bounds, rows, limits = BLOCKED[by]
    found = conditions([1.0, -1.0], bounds, [[1000.0, 1.0], *rows], [(-INF, 0.1), *limits])
    assert not found.certified
    assert found.complementarity == pytest.approx(0.1)


def test_farther_copy_of_an_active_constraint_does_not_spoil_it() -> None:
    found = conditions([-1.0], rows=[[1.0], [5.0]], limits=[(-INF, 1e-5), (-INF, 2e-3)])
    assert found.certified
    assert found.multipliers == pytest.approx([1.0, 0.0])
    among_near = conditions([-1.0], rows=[[1.0], [1.0]], limits=[(-INF, 9e-5), (-INF, 0.0)])
    assert among_near.multipliers == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(("slope", "side"), [(1.0, -1), (-1.0, 1)])
def test_of_two_close_limits_the_pushed_one_is_active(slope: float, side: int) -> None:
    found = conditions([slope], rows=[[1.0]], limits=[(-1e-6, 1e-6)])
    assert found.certified
    assert found.active.tolist() == [side]
    assert found.multipliers == pytest.approx([-slope])


def test_inactive_constraint_is_inside() -> None:
    assert conditions([0.0], rows=[[1.0]], limits=[(-1.0, 1.0)]).active.tolist() == [0]


# ---- feasibility ----


@pytest.mark.parametrize(("bound", "u"), [(0.5, 0.5 + 2e-6), (1000.0, 1000.003)])
def test_violation_is_relative_to_bounds_above_one(bound: float, u: float) -> None:
    beyond = (u - bound) / max(1.0, bound)
    variable = conditions([0.0], [(-INF, bound)], u=[u])
    constraint = conditions([0.0], rows=[[1.0]], limits=[(-INF, bound)], c=[u])
    for found in (variable, constraint):
        assert not found.certified
        assert found.feasibility == pytest.approx(beyond)
    assert (variable.worst_feasibility, constraint.worst_feasibility) == (0, 0)
    assert conditions([0.0], [(-INF, bound)], u=[u], feasibility_tolerance=4e-6).certified


@pytest.mark.parametrize("limits", [(-INF, -0.3), (0.3, INF), (0.3, 0.3), (0.3, -0.3)])
def test_stationary_point_outside_is_not_certified(limits: tuple[float, float]) -> None:
    """Of the violation as well: a constraint whose gradient is zero."""
    found = conditions([0.0], rows=[[0.0]], limits=[limits])
    assert not found.certified
    assert (found.feasibility, found.stationarity) == (0.3, 0.0)


# ---- degenerate ----


def test_dependent_active_gradients_share_the_force() -> None:
    rows = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    found = conditions([-1.0, -1.0], rows=rows, limits=[(-INF, 0.0)] * 4)
    assert found.certified
    assert (found.multipliers >= 0.0).all()
    assert np.array(rows).T @ found.multipliers == pytest.approx([1.0, 1.0])


def test_dependent_equalities_are_no_obstacle() -> None:
    found = conditions([3.0, 0.0], rows=[[1.0, 1.0], [2.0, 2.0], [0.0, 1.0]], limits=[(0.0, 0.0)] * 3)
    assert found.certified
    assert found.stationarity < 1e-14


def test_equal_gaps_of_copies_are_judged_by_gap_and_distance() -> None:
    rows = [[1.0], [1.0]]
    assert conditions([-1.0], rows=rows, limits=[(-INF, 5e-5)] * 2).certified
    assert not conditions([-1.0], rows=rows, limits=[(-INF, 3e-4)] * 2).certified
    assert not conditions([-1.0], rows=[[5.0], [5.0]], limits=[(-INF, 4e-4)] * 2).certified


@pytest.mark.parametrize("angle", [1e-6, 1e-8])
def test_gradients_at_a_small_angle_are_independent(angle: float) -> None:
    """Along the first constraint the way to the second is its gap divided by the angle."""
    gap = 1e-2 * angle
    rows = [[1.0, 0.0], [1.0, angle]]
    found = conditions([-2.0, -angle], rows=rows, limits=[(-INF, 0.0), (-INF, gap)])
    assert found.multipliers == pytest.approx([1.0, 1.0], rel=0.05)
    assert found.complementarity == pytest.approx(1e-2, rel=0.05)
    assert not found.certified


def test_gradients_that_are_combinations_but_for_round_off_are_dependent() -> None:
    rows = np.array([[0.1, 0.2, 0.3], [0.7, 0.1, 0.2], [0.1, 0.2, 0.3]])
    rows[2] = (rows[0] * 7.0 + rows[1] * 3.0) / 13.0
    gap = 2e-5
    found = conditions(-rows.sum(axis=0), rows=rows, limits=[(-INF, gap)] * 3)
    assert (found.multipliers > 1e-4).sum() >= 2
    assert found.certified
    equal = conditions(-rows.sum(axis=0), rows=rows, limits=[(0.0, 0.0)] * 3)
    assert equal.certified
    assert np.abs(equal.multipliers).max() < 10.0


def test_fritz_john_point_is_not_certified() -> None:
    """Min u with u^2 <= 0 has no multipliers at its only feasible point."""
    found = conditions([1.0], rows=[[0.0]], limits=[(-INF, 0.0)])
    assert not found.certified
    assert found.multipliers.tolist() == [0.0]


def test_huge_multipliers_loosen_nothing() -> None:
    found = conditions([-1.0, 1e-3], rows=[[1e-9, 0.0]], limits=[(-INF, 0.0)])
    assert found.multipliers == pytest.approx([1e9])
    assert found.stationarity == pytest.approx(1e-3)
    assert not found.certified


def test_steep_variable_does_not_loosen_another() -> None:
    found = conditions([1e6, 1e-3], [(0.0, INF), (-INF, INF)])
    assert not found.certified
    assert (found.stationarity, found.worst_stationarity) == (1e-3, 1)


def test_rounding_of_a_steep_objective_is_within_the_tolerance() -> None:
    found = conditions([-1e6, 1e6 + 10.0], rows=[[1.0, -1.0]], limits=[(0.0, 0.0)])
    assert found.certified
    assert found.stationarity == pytest.approx(5e-6, rel=1e-3)


def test_multipliers_do_not_need_the_least_squares_solver_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, "nnls", endless)
    found = conditions([1.0, -2.0], [(0.0, INF), (-INF, 0.0)])
    assert found.certified
    assert found.bound_multipliers == pytest.approx([-1.0, 2.0])


# ---- not finite ----


@pytest.mark.parametrize("bad", [np.nan, INF, -INF])
@pytest.mark.parametrize("where", ["u", "gradient", "c", "rows"])
def test_what_is_not_finite_is_never_certified(where: str, bad: float) -> None:
    point: dict[str, Any] = {"u": [0.0], "gradient": [0.0], "c": [0.0], "rows": [[1.0]]}
    assert conditions(**point, limits=[(-1.0, 1.0)]).certified
    found = conditions(**{**point, where: [[bad]] if where == "rows" else [bad]}, limits=[(-1.0, 1.0)])
    assert not found.certified
    assert not found.finite
    assert found.feasibility == found.stationarity == found.complementarity == INF
    assert np.isnan(found.multipliers).all()


@pytest.mark.parametrize("limits", [(np.nan, 1.0), (-1.0, np.nan)])
def test_bound_that_is_no_number_is_never_certified(limits: tuple[float, float]) -> None:
    assert not conditions([0.0], [limits]).finite
    assert not conditions([0.0], rows=[[1.0]], limits=[limits]).finite


def test_scale_of_the_objective_matters() -> None:
    assert not conditions([1e-3]).certified
    assert conditions([1e-5]).certified


# ---- arguments ----


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.0, np.nan])
@pytest.mark.parametrize("name", ["tolerance", "feasibility_tolerance"])
def test_tolerance_out_of_range_is_refused(name: str, tolerance: float) -> None:
    limits = {"tolerance": TOLERANCE, "feasibility_tolerance": FEASIBILITY_TOLERANCE, name: tolerance}
    with pytest.raises(InputError, match=rf"`{name}` must be a positive number below 1, got {tolerance}\. Leave it"):
        conditions([0.0], tolerance=limits["tolerance"], feasibility_tolerance=limits["feasibility_tolerance"])


@pytest.mark.parametrize("name", ["lower", "upper", "gradient", "c_lower", "c_upper", "jacobian"])
def test_array_of_another_shape_is_refused(name: str) -> None:
    arrays: dict[str, Any] = dict.fromkeys(("u", "lower", "upper", "gradient"), np.zeros(2))
    arrays |= dict.fromkeys(("c", "c_lower", "c_upper"), np.zeros(3)) | {"jacobian": np.zeros((3, 2))}
    kkt(**arrays)
    with pytest.raises(ShapeError, match=rf"`{name}` must have shape \(.*\), got \(4, 5\)\. Pass flat arrays"):
        kkt(**{**arrays, name: np.zeros((4, 5))})


def test_the_error_of_derivatives_is_added_to_stationarity() -> None:
    exact = conditions([-1.0, 0.0], rows=[[1.0, 0.0]], limits=[(-INF, 0.0)])
    unsure = conditions(
        [-1.0, 0.0], rows=[[1.0, 0.0]], limits=[(-INF, 0.0)], error=np.array([[0.0, 1e-3], [0.0, 5e-4]])
    )
    assert exact.certified
    assert exact.stationarity == 0.0
    assert unsure.stationarity == pytest.approx(1.5e-3)  # the multiplier is 1
    assert not unsure.certified


def test_errors_of_another_shape_are_an_error() -> None:
    with pytest.raises(ShapeError, match=r"error.*\(1, 2\)"):
        conditions([0.0, 0.0], error=np.zeros(2))
