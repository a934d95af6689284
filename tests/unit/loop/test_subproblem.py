"""Trust-region subproblem: the minimum on the model in the box, feasible where possible, never worse than the start.

Penalties are steered, and the end has the last digits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradopt.errors import EvaluationError
from gradopt.loop.subproblem import solve_subproblem
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Limits, Responses

Model = Callable[[np.ndarray], Responses]
WIDE = np.full(2, -10.0), np.full(2, 10.0)


def limits(c_lower: list[float], c_upper: list[float]) -> Limits:
    return Limits(*WIDE, np.array(c_lower), np.array(c_upper), np.full(2, 20.0))


def model_of(rows: list[list[float]], at: list[float], scale: float = 1.0) -> Model:
    """f = scale * |u - at|^2 with linear constraints rows @ u."""
    jacobian = np.array(rows).reshape(-1, 2)

    def model(u: np.ndarray) -> Responses:
        apart = u - np.array(at)
        return Responses(u.copy(), scale * float(apart @ apart), 2.0 * scale * apart, jacobian @ u, jacobian)

    return model


def solve(model: Model, bounds: Limits, start: list[float], box: tuple[np.ndarray, np.ndarray] = WIDE) -> Responses:
    iterate = model(np.array(start))
    return solve_subproblem(model, bounds, iterate, box, np.full(len(iterate.c), 100.0)).predicted


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_free_minimum_is_found_in_any_scale(scale: float) -> None:
    found = solve(model_of([], [1.0, 2.0], scale), limits([], []), [-5.0, 5.0])
    np.testing.assert_allclose(found.u, [1.0, 2.0], atol=1e-5)


def test_the_box_is_kept() -> None:
    small = np.array([-5.5, 4.5]), np.array([-4.5, 5.5])
    found = solve(model_of([], [1.0, 2.0]), limits([], []), [-5.0, 5.0], small)
    np.testing.assert_allclose(found.u, [-4.5, 4.5], atol=1e-9)


@pytest.mark.parametrize(
    ("c_lower", "c_upper", "expected"),
    [(-np.inf, 1.0, [0.5, 0.5]), (1.0, 1.0, [0.5, 0.5]), (4.0, np.inf, [2.0, 2.0]), (-np.inf, 9.0, [1.0, 1.0])],
)
def test_constraints_of_each_kind(c_lower: float, c_upper: float, expected: list[float]) -> None:
    found = solve(model_of([[1.0, 1.0]], [1.0, 1.0]), limits([c_lower], [c_upper]), [-1.0, 0.0])
    np.testing.assert_allclose(found.u, expected, atol=1e-5)


def test_dependent_equalities_do_not_stop_it() -> None:
    model = model_of([[1.0, 1.0], [2.0, 2.0]], [3.0, 0.0])
    found = solve(model, limits([1.0, 2.0], [1.0, 2.0]), [0.5, 0.5])
    np.testing.assert_allclose(found.u, [2.0, -1.0], atol=1e-3)


def test_a_search_stuck_at_a_feasible_start_is_repeated_with_slack() -> None:
    """Of an equality and its copy SLSQP has a singular matrix and stays where it starts."""
    model = model_of([[1.0, 1.0], [1.0, 1.0]], [3.0, 0.0])
    found = solve(model, limits([1.0, 1.0], [1.0, 1.0]), [0.7, 0.3])
    np.testing.assert_allclose(found.u, [2.0, -1.0], atol=1e-3)


def test_without_a_feasible_point_in_the_box_the_violation_is_lowered() -> None:
    model, bounds = model_of([[1.0, 0.0]], [0.0, 0.0]), limits([5.0], [np.inf])
    iterate = model(np.zeros(2))
    box = np.full(2, -1.0), np.full(2, 1.0)
    candidate = solve_subproblem(model, bounds, iterate, box, np.array([100.0]))
    np.testing.assert_allclose(candidate.predicted.u, [1.0, 0.0], atol=1e-5)
    assert candidate.restoration
    reached = solve_subproblem(model, bounds, iterate, WIDE, np.array([100.0]))
    assert not reached.restoration


def test_at_the_optimum_the_iterate_itself_comes_back() -> None:
    model = model_of([], [1.0, 2.0])
    iterate = model(np.array([1.0, 2.0]))
    assert solve_subproblem(model, limits([], []), iterate, WIDE, np.zeros(0)).predicted is iterate


def test_a_search_ends_where_line_searches_find_no_lower_value() -> None:
    """As beside an optimum, where values differ by round-off; here slopes that point the wrong way."""
    points: list[np.ndarray] = []

    def model(u: np.ndarray) -> Responses:
        points.append(u)
        return Responses(u.copy(), float(u @ u), -2.0 * u, np.empty(0), np.empty((0, 2)))

    np.testing.assert_array_equal(solve(model, limits([], []), [-1.2, 1.0]).u, [-1.2, 1.0])
    assert len(points) < 100


def test_a_second_start_finds_the_deeper_valley() -> None:
    def double(u: np.ndarray) -> Responses:
        f = (u[0] ** 2 - 1.0) ** 2 + 0.5 * u[0] + u[1] ** 2
        gradient = np.array([4.0 * u[0] * (u[0] ** 2 - 1.0) + 0.5, 2.0 * u[1]])
        return Responses(u.copy(), float(f), gradient, np.zeros(0), np.zeros((0, 2)))

    box, iterate = (np.full(2, -2.0), np.full(2, 2.0)), double(np.array([0.95, 0.0]))
    alone = solve_subproblem(double, limits([], []), iterate, box, np.zeros(0))
    assert alone.predicted.u[0] > 0.5
    both = solve_subproblem(double, limits([], []), iterate, box, np.zeros(0), [np.array([-1.5, 0.0])])
    assert both.predicted.u[0] < -0.5


@pytest.mark.parametrize("wrong", ["raises", "nan"])
def test_where_the_model_fails_what_was_met_before_counts(wrong: str) -> None:
    inside = model_of([], [3.0, 0.0])

    def model(u: np.ndarray) -> Responses:
        found = inside(u)
        if u[0] > 1.0 and wrong == "raises":
            raise EvaluationError("no table there")
        if u[0] > 1.0:
            return Responses(u, np.nan, found.gradient, found.c, found.jacobian)
        return found

    iterate = model(np.array([-1.0, 0.5]))
    found = solve_subproblem(model, limits([], []), iterate, WIDE, np.zeros(0)).predicted
    assert found.f <= iterate.f
    assert found.u[0] <= 1.0


# ---- penalties ----


def test_a_feasible_end_gets_penalties_so_that_the_merit_falls() -> None:
    """On the way to the constraint the objective rises from 0 to 50: by the penalties given the iterate is better."""
    model, bounds = model_of([[1.0, 1.0]], [0.0, 0.0]), limits([10.0], [np.inf])
    iterate, given = model(np.zeros(2)), np.array([1e-3])
    candidate = solve_subproblem(model, bounds, iterate, WIDE, given)
    end = candidate.predicted
    np.testing.assert_allclose(end.u, [5.0, 5.0], atol=1e-8)
    assert not candidate.restoration
    assert merit(end, bounds, given) > merit(iterate, bounds, given)
    reduction = merit(iterate, bounds, candidate.penalties) - merit(end, bounds, candidate.penalties)
    weighted = float(candidate.penalties @ bounds.violations(iterate.c))
    assert reduction == pytest.approx(0.3 * weighted)  # part of the violations' weight, and no more
    assert candidate.penalties[0] == pytest.approx(50.0 / (0.7 * 10.0))


def test_penalties_that_are_high_enough_stay() -> None:
    model, bounds = model_of([[1.0, 1.0]], [0.0, 0.0]), limits([10.0], [np.inf])
    given = np.array([100.0])
    assert solve_subproblem(model, bounds, model(np.zeros(2)), WIDE, given).penalties.tolist() == [100.0]


def test_without_constraints_there_are_no_penalties() -> None:
    model = model_of([], [1.0, 2.0])
    assert solve_subproblem(model, limits([], []), model(np.zeros(2)), WIDE, np.zeros(0)).penalties.size == 0


NEAR = np.full(2, -1.0), np.full(2, 1.0)


@pytest.mark.parametrize(("bound", "penalty"), [(1.2, 10.0), (5.0, 1.0 / 0.7)])
def test_penalties_are_raised_tenfold_where_that_gains_feasibility(bound: float, penalty: float) -> None:
    """The edge of the box takes most of what is missing to 1.2, a fifth of what is missing to 5.

    By a penalty of 1 the objective stops the step half-way to the edge.
    """
    model, bounds = model_of([[1.0, 0.0]], [0.0, 0.0]), limits([bound], [np.inf])
    candidate = solve_subproblem(model, bounds, model(np.zeros(2)), NEAR, np.ones(1))
    assert candidate.restoration
    assert candidate.penalties[0] == pytest.approx(penalty)
    np.testing.assert_allclose(candidate.predicted.u, [1.0 if penalty > 2.0 else 0.5, 0.0], atol=1e-5)


@pytest.mark.parametrize("given", [1e-3, 0.1, 1.0, 2.5, 100.0])
@pytest.mark.parametrize("bound", [1.2, 5.0])
def test_without_a_feasible_point_violations_fall_by_any_penalties(bound: float, given: float) -> None:
    model, bounds = model_of([[1.0, 0.0]], [0.0, 0.0]), limits([bound], [np.inf])
    iterate = model(np.zeros(2))
    candidate = solve_subproblem(model, bounds, iterate, NEAR, np.array([given]))
    assert candidate.predicted.c[0] > 0.45  # half of the way to the edge
    assert candidate.penalties[0] >= given
    assert merit(candidate.predicted, bounds, candidate.penalties) < merit(iterate, bounds, candidate.penalties)


# ---- its end ----


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_end_has_the_last_digits(scale: float) -> None:
    def model(u: np.ndarray) -> Responses:
        """A curved objective on a circle: the end of SLSQP has half of the digits."""
        wave = np.exp(u - 1.0)
        jacobian = 2.0 * u[None]
        return Responses(u.copy(), scale * float(wave.sum()), scale * wave, np.array([u @ u]), jacobian)

    iterate, bounds = model(np.array([0.5, -0.2])), limits([-np.inf], [2.0])
    found = solve_subproblem(model, bounds, iterate, WIDE, np.array([100.0 * scale])).predicted
    np.testing.assert_allclose(found.u, [-1.0, -1.0], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("rows", [[], [[1.0, 1.0]]])
def test_a_box_of_zero_width_gives_back_the_iterate(rows: list[list[float]]) -> None:
    """All design variables are fixed."""
    at = np.array([0.5, -1.0])
    model, count = model_of(rows, [3.0, 0.0]), len(rows)
    fixed = Limits(at, at, np.full(count, -np.inf), np.full(count, 4.0), np.ones(2))
    iterate = model(at)
    candidate = solve_subproblem(model, fixed, iterate, (at, at), np.full(count, 100.0))
    assert candidate.predicted is iterate
    assert not candidate.restoration


@pytest.mark.parametrize("equal", [False, True])
def test_a_box_of_zero_width_does_not_hide_a_violation(equal: bool) -> None:
    at = np.array([0.5, -1.0])
    model = model_of([[1.0, 1.0]], [3.0, 0.0])
    fixed = Limits(at, at, np.array([2.0]), np.array([2.0 if equal else np.inf]), np.ones(2))
    iterate = model(at)
    candidate = solve_subproblem(model, fixed, iterate, (at, at), np.array([100.0]))
    assert candidate.predicted is iterate
    assert candidate.restoration
    assert candidate.penalties.tolist() == [100.0]


def test_one_fixed_design_variable_leaves_the_others_free() -> None:
    model = model_of([], [1.0, 2.0])
    low, high = np.array([-10.0, 0.5]), np.array([10.0, 0.5])
    bounds = Limits(low, high, np.zeros(0), np.zeros(0), np.array([20.0, 1.0]))
    candidate = solve_subproblem(model, bounds, model(np.array([-5.0, 0.5])), (low, high), np.zeros(0))
    np.testing.assert_allclose(candidate.predicted.u, [1.0, 0.5], rtol=0.0, atol=1e-10)
