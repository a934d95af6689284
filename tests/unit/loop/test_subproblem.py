"""Trust-region subproblem: the minimum on the model in the box, feasible where possible, never worse than the start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradopt.errors import EvaluationError
from gradopt.loop.subproblem import solve_subproblem
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
