"""Runs with initial surrogates: the first step goes to their optimum, where that is an improvement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradopt.errors import EvaluationError
from gradopt.loop.request import Purpose
from gradopt.loop.state import Exit
from gradopt.truth.finite_differences import FiniteDifferences

Runs = Callable[..., Any]
Pair = tuple[np.ndarray, np.ndarray]
START = np.array([-0.6, 0.7])  # feasible
BEST = (0.786415, 0.617698)  # of the valley in the unit disk


def in_disk(u: np.ndarray, f: float, gradient: np.ndarray) -> Pair:
    """An objective with the squared distance from the origin as constraint."""
    return np.array([f, u @ u]), np.vstack([gradient, 2.0 * u])


def truth(u: np.ndarray, minimum: float = 1.0) -> Pair:
    """Rosenbrock's function, by default with its minimum at (1, 1)."""
    bend = u[1] - u[0] ** 2
    gradient = np.array([-400.0 * u[0] * bend - 2.0 * (minimum - u[0]), 200.0 * bend])
    return in_disk(u, float(100.0 * bend**2 + (minimum - u[0]) ** 2), gradient)


def values(u: np.ndarray) -> np.ndarray:
    return truth(u)[0]


def good(u: np.ndarray) -> Pair:
    """Nearly the truth."""
    y, dydu = truth(u, 1.1)
    return y + [0.1 * np.sin(u[0]), 0.0], dydu + [[0.1 * np.cos(u[0]), 0.0], [0.0, 0.0]]


def wrong(u: np.ndarray) -> Pair:
    """The valley upside down."""
    y, dydu = truth(u)
    return y * [-1.0, 1.0], dydu * [[-1.0], [1.0]]


def failing(u: np.ndarray) -> Pair:
    raise EvaluationError("never trained")


@pytest.fixture
def made(disk: Runs) -> Runs:
    """Return a maker of runs in the unit disk with an initial surrogate."""

    def make(initial: Any, function: Any = truth, **options: Any) -> Any:
        settings = {"start": START, "max_evaluations": 150, "finite_differences": FiniteDifferences(1e-7), **options}
        return disk(function=function, initial=initial, **settings)

    return make


def without_initial_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradopt.loop.asking.find_initial_optimum", lambda *_: None)


KINDS = pytest.mark.parametrize("function", [truth, values], ids=["partials", "values"])


def test_the_second_point_is_the_optimum_of_the_initial_surrogate(made: Runs) -> None:
    run = made(good)
    state = run.run()
    first, second = state.history[:2]
    assert first.u.tolist() == START.tolist()
    assert run.evaluated[1].tolist() == second.u.tolist()
    assert [request.purpose for request in run.requests[:3]] == [
        Purpose.START,
        Purpose.INITIAL_OPTIMUM,
        Purpose.CANDIDATE,
    ]
    assert np.abs(second.u - BEST).max() < 0.1 < np.abs(second.u - START).max()
    assert (second.number, second.evaluations, second.accepted, second.radius) == (1, 2, True, 1.0)
    assert second.predicted_objective == pytest.approx(good(second.u)[0][0])
    assert second.predicted_constraints == pytest.approx([1.0], abs=1e-6)
    assert second.objective == values(second.u)[0]
    predicted = good(START)[0][0] - good(second.u)[0][0]
    assert second.ratio == pytest.approx((first.objective - second.objective) / predicted, rel=0.1)
    assert state.exit is Exit.CERTIFIED


@KINDS
def test_a_good_surrogate_saves_evaluations(made: Runs, function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    state = made(good, function).run()
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.iterate.u, BEST, atol=1e-3)
    assert state.evaluations < 0.8 * made(None, function).run().evaluations
    without_initial_step(monkeypatch)
    assert state.evaluations < 0.8 * made(good, function).run().evaluations


@KINDS
def test_a_wrong_surrogate_is_rejected_and_costs_little(
    made: Runs, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = made(wrong, function).run()
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.iterate.u, BEST, atol=1e-3)
    rejected = state.history[1]
    assert not rejected.accepted
    assert rejected.ratio < 0.0
    without_initial_step(monkeypatch)
    assert state.evaluations <= made(wrong, function).run().evaluations + 5


def test_a_truth_that_fails_there_leaves_the_loop_at_the_start(made: Runs) -> None:
    def fails(u: np.ndarray) -> Pair:
        if np.abs(u - BEST).max() < 0.1 and len(run.evaluated) == 2:
            raise EvaluationError("no mesh")
        return truth(u)

    run: Any = made(good, fails)
    state = run.run()
    failed, after = state.history[1:3]
    assert "no mesh" in failed.failure
    assert not failed.accepted
    assert np.isnan(failed.objective)
    assert np.isnan(failed.ratio)
    assert np.abs(after.u - START).max() <= 0.8 + 1e-9  # the first trust region about the start
    assert state.exit is Exit.CERTIFIED


@pytest.mark.parametrize(("initial", "better"), [(good, 1), (wrong, 0)], ids=["good", "wrong"])
def test_only_at_the_better_point_are_partials_finite_differenced(made: Runs, initial: Any, better: int) -> None:
    run = made(initial, values)
    for _ in range(3):
        run.step()
    start, candidate, *beside = run.evaluated  # partials of both inputs
    assert len(beside) == 2
    assert [np.abs(point - (start, candidate)[better]).max() < 1e-5 for point in beside] == [True, True]
    assert [record.evaluations for record in run.state.history] == [1, 2]
    assert np.isnan(run.state.samples[0].data.partials[1 - better]).all()
    assert np.isfinite(run.state.samples[0].data.partials[better]).all()


@KINDS
def test_a_surrogate_that_fails_is_an_outcome(made: Runs, function: Any) -> None:
    state = made(failing, function).run()
    assert state.exit is Exit.CERTIFIED
    assert np.abs(state.history[1].u - START).max() <= 0.8 + 1e-9


def test_the_step_stays_in_the_domain_of_the_surrogate(made: Runs) -> None:
    """Its optimum is a corner of the bounds, far outside."""
    corner = np.array([2.0, -2.0])
    run = made(lambda u: in_disk(u, float((u - corner) @ (u - corner)), 2.0 * (u - corner)), reach=0.75)
    for _ in range(2):
        run.step()
    found = run.evaluated[1]
    assert np.abs(found).max() <= 0.75 + 1e-6
    assert np.linalg.norm(found - START) > 0.4


def test_without_bounds_the_step_is_no_longer_than_the_start_is_large(made: Runs) -> None:
    run = made(lambda u: in_disk(u, -float(u.sum()), -np.ones(2)), bound=np.inf)
    state = run.run()
    assert np.all(np.abs(state.history[1].u - START) <= 1.0 + 1e-9)
    assert state.exit is Exit.CERTIFIED


def test_a_flat_surrogate_gives_no_step(made: Runs) -> None:
    run = made(lambda u: in_disk(u, 1.0, np.zeros(2)))
    state = run.run()
    assert run.requests[1].points.shape == (0, 2)
    assert state.history[1].radius == 0.2
    assert state.exit is Exit.CERTIFIED


@KINDS
@pytest.mark.parametrize("most", [1, 2])
def test_the_budget_ends_before_and_after_the_step(made: Runs, most: int, function: Any) -> None:
    run = made(good, function, max_evaluations=most)
    state = run.run()
    assert state.exit is Exit.BUDGET
    assert len(state.history) == len(run.evaluated) == most


def test_after_initial_samples_the_surrogates_partials_serve_at_the_start(made: Runs) -> None:
    run = made(good, values, initial_samples=np.array([[0.5, 0.5], [-0.5, -0.5], [0.1, -0.2]]))
    state = run.run()
    assert [record.evaluations for record in state.history[:2]] == [4, 5]
    assert state.exit is Exit.CERTIFIED
