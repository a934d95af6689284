"""Progress of many evaluations: counts, time left from the evaluations' own times, and few lines in the log."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from math import isnan
from typing import Any

import numpy as np
import pytest

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.truth import ParallelTruth, Progress, progress
from gradopt.truth.progress import Watch


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module."""
    found = Clock()
    monkeypatch.setattr(progress, "monotonic", found)
    return found


def test_counts_and_time_left_come_from_the_evaluations(clock: Clock) -> None:
    seen: list[Progress] = []
    watch = Watch(10, lambda: 4, seen.append)
    for number in range(10):
        clock.now += 30.0 if number % 4 == 0 else 1.0  # four at a time, 30 s each
        watch.ended(number == 2, 30.0)
    assert [one.done for one in seen] == list(range(11)) and {one.total for one in seen} == {10}
    assert [one.failed for one in seen] == [0] * 3 + [1] * 8
    assert [one.running for one in seen] == [4] * 7 + [3, 2, 1, 0]
    assert isnan(seen[0].seconds_left) and seen[-1].seconds_left == 0.0
    assert seen[1].seconds_left == 30.0 * (9 - 2) / 4  # four run, each half done
    assert seen[7].seconds_left == pytest.approx(30.0 * 1.5 / 3)


def test_where_the_executor_does_not_tell_what_runs_the_times_do(clock: Clock) -> None:
    seen: list[Progress] = []
    watch = Watch(100, lambda: 0, seen.append)
    for _ in range(20):
        clock.now += 2.0
        watch.ended(False, 10.0)
    assert seen[-1] == Progress(20, 0, 0, 100, 10.0 * 80 / 5)  # five at a time


def test_reports_and_lines_are_few(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Progress] = []
    caplog.set_level(logging.INFO, "gradopt")
    watch = Watch(100_000, lambda: 64, seen.append)
    for _ in range(100_000):
        clock.now += 0.01
        watch.ended(False, 0.5)
    assert len(seen) <= 10_002 and seen[-1].done == 100_000  # of 1000 s
    assert 20 < len(caplog.messages) < 70
    first = r"100\d of 100000 evaluations done \(0 failed\), 64 running, about 13 min left\."
    assert re.fullmatch(first, caplog.messages[0])
    assert caplog.messages[-1] == "100000 of 100000 evaluations done (0 failed), 0 running, about 0 s left."


def test_quick_calls_write_no_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gradopt")
    watch = Watch(5, lambda: 1, None)
    for _ in range(5):
        clock.now += 1.0
        watch.ended(False, 1.0)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (99.0, "99 s"),
        (100.0, "2 min"),
        (3570.0, "1 h 0 min"),
        (9000.0, "2 h 30 min"),
        (180000.0, "2 d 2 h"),
    ],
)
def test_times_have_two_units(seconds: float, text: str) -> None:
    assert str(Progress(3, 2, 1, 9, seconds)) == f"3 of 9 evaluations done (1 failed), 2 running, about {text} left"


def test_without_an_estimate_the_line_has_none() -> None:
    assert str(Progress(0, 2, 0, 9, float("nan"))) == "0 of 9 evaluations done (0 failed), 2 running"


def sometimes(x: np.ndarray) -> float:
    if x[0] > 2.0:
        raise EvaluationError("too far")
    return float(x[0])


TRUTH = FunctionTruth(sometimes, (Variable("x"),), (Variable("y"),), identity="sometimes")
POINTS = np.arange(5.0)[:, None]


def test_a_parallel_truth_reports_each_row_after_it_has_been_written() -> None:
    seen: list[tuple[int, Progress]] = []
    with ThreadPoolExecutor(2) as executor, EvaluationStore() as store:

        def report(progress: Progress) -> None:
            seen.append((store.count(TRUTH), progress))

        truth = ParallelTruth(TRUTH, executor, isolated=False, progress=report)
        store.evaluate(truth, POINTS)
        assert all(rows >= one.done for rows, one in seen)
        (_, first), (rows, last) = seen[0], seen[-1]
        assert (first.done, first.total, rows, last) == (0, 5, 5, Progress(5, 0, 2, 5, 0.0))
        seen.clear()
        store.evaluate(truth, POINTS)
        assert not seen  # nothing is evaluated


def test_an_exception_of_the_callback_ends_the_call_and_keeps_what_was_written() -> None:
    def report(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, EvaluationStore() as store:
        truth = ParallelTruth(TRUTH, executor, isolated=False, progress=report)
        with pytest.raises(KeyboardInterrupt):
            store.evaluate(truth, POINTS)
        assert 1 <= store.count(TRUTH) <= 5


def test_what_is_no_callback_is_explained() -> None:
    wrong: Any = "bar"
    with pytest.raises(InputError, match=r"`progress` must be a function of a Progress, or None, got 'bar'. Such as"):
        ParallelTruth(TRUTH, 2, progress=wrong)
