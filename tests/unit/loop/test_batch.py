"""Batches: what is asked beside the first candidate, and how the run goes on with several outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradopt as go
from gradopt.errors import InputError
from gradopt.loop import Settings
from gradopt.loop.request import Purpose
from gradopt.loop.state import Exit

X = go.Variable("x", (3,), lower=-2.0, upper=2.0)
F = go.Variable("f")
START = np.array([-1.2, 1.0, 0.5])


def valley(x: np.ndarray) -> tuple[float, np.ndarray]:
    bend = x[1:] - x[:-1] ** 2
    slope = np.zeros(3)
    slope[:-1] += -400.0 * x[:-1] * bend - 2.0 * (1.0 - x[:-1])
    slope[1:] += 200.0 * bend
    return float(100.0 * bend @ bend + (1.0 - x[:-1]) @ (1.0 - x[:-1])), slope


def optimizer(batch: int = 1, **options: Any) -> go.Optimizer:
    settings = Settings(batch=batch, **options)
    return go.Optimizer((X,), (F,), START, configuration=None, settings=settings)


def evaluated(points: np.ndarray, fails: Callable[[int], bool] = lambda row: False) -> tuple[np.ndarray, np.ndarray]:
    found = [valley(x) for x in points]
    y, dydx = np.array([[f] for f, _ in found]).reshape(-1, 1), np.array([[g] for _, g in found]).reshape(-1, 1, 3)
    y[[row for row in range(len(y)) if fails(row)]] = np.nan
    return y, dydx


def step(run: go.Optimizer, fails: Callable[[int], bool] = lambda row: False) -> Any:
    request = run.ask()
    run.tell(request, evaluated(request.points, fails))
    return request


def after(steps: int, batch: int) -> go.Optimizer:
    run = optimizer(batch)
    for _ in range(steps):
        step(run)
    return run


def test_the_first_candidate_is_that_without_a_batch() -> None:
    run = after(4, 1)
    alone = run.state, run.ask().points
    run = after(4, 1)
    together = run.ask(4)
    assert together.purpose is Purpose.CANDIDATE
    np.testing.assert_array_equal(together.points[:1], alone[1])
    assert len(together.points) == len(together.candidates) == 4


def test_candidates_are_apart_and_within_bounds() -> None:
    run = optimizer(8)
    for _ in range(6):
        points = step(run).points
        steps = np.abs(points - points[:, None]).max(axis=2)[~np.eye(len(points), dtype=bool)]
        assert (steps > 0.0).all()
        assert (np.abs(points) <= 2.0).all()


def test_one_step_of_a_batch_is_one_iteration_and_its_candidate_the_best() -> None:
    run = after(3, 4)
    request = step(run)
    last = run.history[-1]
    values = evaluated(request.points)[0][:, 0]
    assert last.accepted
    assert last.objective == values.min()
    np.testing.assert_array_equal(last.u, request.points[values.argmin()])
    np.testing.assert_array_equal(run.x, last.u)
    assert last.evaluations == run.evaluations == 1 + 4 * (len(run.history) - 1)
    assert len(run.state.points) == run.evaluations  # all of them are samples
    assert run.data is not None and run.data.n == run.evaluations


def test_rejected_candidates_leave_the_smallest_region() -> None:
    run = after(3, 4)
    before, request = run.x, run.ask()
    y, dydx = evaluated(request.points)
    run.tell(request, (y + 1e4, dydx))
    np.testing.assert_array_equal(run.x, before)
    assert not run.history[-1].accepted
    radii = [one.radius for one in request.candidates[1:]]
    assert run.state.trust_region.radius < min(radii)


def test_a_batch_of_which_one_is_evaluated_has_not_failed() -> None:
    run = after(3, 4)
    request = step(run, lambda row: row != 2)
    assert run.state.failed == ()
    np.testing.assert_array_equal(run.history[-1].u, request.points[2])
    assert run.history[-1].failure == ""


def test_a_batch_that_failed_is_followed_by_a_batch_of_recoveries() -> None:
    run = after(3, 4)
    failed = step(run, lambda row: True)
    assert run.history[-1].failure and not run.history[-1].accepted
    request = run.ask()
    assert request.purpose is Purpose.RECOVERY
    assert 2 <= len(request.points) <= 4
    for u in request.points:
        assert not (u == failed.points).all(axis=1).any()
    run.tell(request, evaluated(request.points))
    assert run.state.failed == ()


def test_the_budget_limits_the_last_batch() -> None:
    run = optimizer(4, max_evaluations=7)
    assert run.run(lambda points: evaluated(points)) is Exit.BUDGET
    assert run.evaluations == 7


def test_a_run_in_batches_takes_fewer_iterations_and_ends_certified() -> None:
    alone, together = optimizer(1), optimizer(4)
    assert alone.run(evaluated) is together.run(evaluated) is Exit.CERTIFIED
    assert len(together.history) < 0.75 * len(alone.history)
    np.testing.assert_allclose(together.x, 1.0, atol=1e-3)


def test_of_one_variable_and_without_kriging_fewer_models_propose() -> None:
    one = go.Variable("x", lower=-2.0, upper=2.0)

    def wave(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sin(3.0 * points) + points**2, (3.0 * np.cos(3.0 * points) + 2.0 * points)[:, None]

    for correction in (go.loop.CorrectionTerms(), go.loop.CorrectionTerms(kriging=False)):
        settings = Settings(batch=8, correction=correction)
        run = go.Optimizer((one,), (F,), [1.5], configuration=None, settings=settings)
        assert run.run(wave) is Exit.CERTIFIED


def test_a_state_is_continued_with_another_number_of_candidates() -> None:
    run = after(3, 4)
    other = after(3, 4)
    other.settings = replace(other.settings, batch=2)
    np.testing.assert_array_equal(run.ask().points[:2], other.ask().points)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_number_of_candidates_that_is_none_is_refused(count: Any) -> None:
    with pytest.raises(InputError, match="`batch` must be a whole number of at least 1"):
        optimizer().ask(count)
