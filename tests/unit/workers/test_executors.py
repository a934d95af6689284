"""Executors as engines: the standard ones. Those of other packages are in `test_engines.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import EvaluationStore
from gradopt.errors import WorkersError
from gradopt.truth import ParallelTruth
from gradopt.workers import engine
from gradopt.workers.child import Returned
from tests.unit.workers.conftest import LIMIT, make_truth
from tests.unit.workers.test_parallel_truth import EXITS, HANGS, KILLED, points

ENDS_EXECUTOR = 8


def pool(workers: int = 1) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def beside(folder: Path) -> Path:
    """An empty folder: in the other one points have been tried."""
    (folder / "again").mkdir()
    return folder / "again"


def check(executor: Executor | Callable[[], Executor], folder: Path) -> None:
    """Evaluations that die or hang cost one failed row each, and the executor goes on."""
    x = points(0, KILLED, 0, HANGS, 0)
    with ParallelTruth(make_truth(folder), executor, time_limit=LIMIT) as truth:
        found = truth.evaluate(x)
        np.testing.assert_array_equal(found.y[found.ok, 0], truth.truth.evaluate(points(*[0] * 5)).y[found.ok, 0])
        assert found.ok.tolist() == [True, False, True, False, True]
        assert "was ended by SIGKILL" in found.message[1] and "its time limit of 1 s" in found.message[3]
        assert set(found.y[found.ok, 4]) == {1.0}


def test_threads_call_processes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        check(executor, tmp_path)


def test_a_standard_pool_outlives_its_evaluations_and_is_made_again_where_it_broke(tmp_path: Path) -> None:
    made = []

    def make() -> Executor:
        made.append(pool())
        return made[-1]

    check(make, tmp_path)
    with ParallelTruth(make_truth(beside(tmp_path)), make, time_limit=30.0) as truth:
        found = truth.evaluate(points(0, ENDS_EXECUTOR, 0))
    assert found.ok.all() and len(made) == 3


def test_an_executor_that_broke_is_explained_and_what_was_evaluated_is_kept(tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "store.sqlite")
    with pool() as executor:
        truth = ParallelTruth(make_truth(tmp_path), executor, isolated=False)
        message = (
            "broke .* An evaluation that dies breaks it: leave out isolated=False. Make a new executor and run again"
        )
        with pytest.raises(WorkersError, match=message):
            store.evaluate(truth, points(0, EXITS))
        with pytest.raises(WorkersError, match="Or pass a function that returns an executor") as raised:
            truth.evaluate(points(0))
    assert store.count(truth) == 1 and raised.value.evaluations.n == 0
    assert store.evaluations(truth).y[0, 1] != os.getpid()


def test_threads_without_processes_evaluate_here(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        found = ParallelTruth(make_truth(tmp_path), executor, isolated=False).evaluate(points(0, 0))
    assert set(found.y[:, 1]) == {os.getpid()}


class Counted(ThreadPoolExecutor):
    """Counts the calls that it has received."""

    received = 0

    def submit(self, call: Any, /, *arguments: Any, **words: Any) -> Future[Any]:
        self.received += 1
        return super().submit(call, *arguments, **words)


def test_few_calls_wait_in_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_AHEAD", 3)
    recipe, found = engine.recipe_of(lambda: lambda number: number**2), dict[int, int]()
    with Counted(1) as executor:
        calls = engine.Engine(executor, isolated=False)
        for number, outcome in calls.as_completed(recipe, range(10)):
            assert executor.received <= len(found) + 3 and calls.running() <= 1
            assert isinstance(outcome, Returned)
            found[number] = outcome.value
    assert found == {number: number**2 for number in range(10)}
