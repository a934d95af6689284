"""The monitor keeps the best state and ends a run with the right status."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable

import pytest
import torch

from gradopt.training.monitor import Monitor
from gradopt.training.result import Callback, Progress, SolverResult, Status


def run(
    losses: Iterable[float],
    callback: Callback | None = None,
    time_limit: float | None = None,
    error: BaseException | None = None,
) -> SolverResult:
    """Record parameters 0, 1, 2 ... with these losses, then raise the error or return."""
    monitor = Monitor(callback, time_limit)

    def body() -> Status:
        for iteration, loss in enumerate(losses):
            monitor.record(torch.tensor([float(iteration)]), loss)
        if error:
            raise error
        return Status.CONVERGED

    return monitor.run(body)


def test_best_state_is_kept_not_the_last() -> None:
    result = run([3.0, 1.0, 2.0])
    assert (result.loss, result.theta.tolist(), result.status) == (1.0, [1.0], Status.CONVERGED)


def test_of_equal_losses_the_later_is_kept() -> None:
    assert run([1.0, 1.0]).theta.tolist() == [1.0]


def test_history_holds_every_loss_from_the_initial_one() -> None:
    result = run([3.0, 1.0, 2.0])
    assert result.history == (3.0, 1.0, 2.0)
    assert result.iterations == 2


def test_callback_is_called_after_every_iteration_and_not_before_the_first() -> None:
    heard: list[Progress] = []
    run([3.0, 1.0, 2.0], heard.append)
    assert [(progress.iteration, progress.loss) for progress in heard] == [(1, 1.0), (2, 2.0)]
    assert 0.0 <= heard[0].seconds <= heard[1].seconds


def test_callback_stops_the_run() -> None:
    result = run([4.0, 3.0, 2.0, 1.0], lambda progress: progress.iteration == 2)
    assert (result.status, result.loss, result.history) == (Status.STOPPED, 2.0, (4.0, 3.0, 2.0))


@pytest.mark.parametrize("returned", [None, False])
def test_a_run_continues_unless_the_callback_returns_true(returned: bool | None) -> None:
    assert run([2.0, 1.0], lambda progress: returned).status is Status.CONVERGED


def test_time_limit_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    result = run([4.0, 3.0, 2.0, 1.0], time_limit=2.5)
    assert (result.status, result.loss, result.seconds) == (Status.TIME_LIMIT, 2.0, 4.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_ends_the_run_with_the_best_finite_state(bad: float) -> None:
    result = run([2.0, 1.0, bad, 0.5])
    assert (result.status, result.loss, result.theta.tolist()) == (Status.NOT_FINITE, 1.0, [1.0])


def test_initial_loss_that_is_not_finite_is_reported_as_it_is() -> None:
    result = run([math.inf, 1.0])
    assert (result.status, result.loss, result.theta.tolist()) == (Status.NOT_FINITE, math.inf, [0.0])


def test_interruption_keeps_the_best_state() -> None:
    result = run([3.0, 1.0, 2.0], error=KeyboardInterrupt())
    assert (result.status, result.loss, result.theta.tolist()) == (Status.INTERRUPTED, 1.0, [1.0])


def test_interruption_before_any_state_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt, match="early"):
        run([], error=KeyboardInterrupt("early"))


def test_error_in_the_body_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError, match="mistake"):
        run([1.0], error=ZeroDivisionError("mistake"))


def test_error_in_the_callback_is_passed_on() -> None:
    def callback(progress: Progress) -> bool:
        raise TypeError("mistake")

    with pytest.raises(TypeError, match="mistake"):
        run([2.0, 1.0], callback)


def test_solver_that_records_nothing_is_a_programming_error() -> None:
    with pytest.raises(AssertionError, match="a solver records its initial state"):
        run([])
