"""A truth on worker processes: the same values, and one failed row for whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.errors import InputError, MissingExtraError
from gradopt.truth import FiniteDifferences, FiniteDifferenceTruth, ParallelTruth
from tests.unit.workers.conftest import LIMIT, make_truth

RAISES, HANGS, KILLED, FAULTS, EXITS, MISTAKE, ONCE, MEETS, SLOW = 1, 2, 3, 4, 5, 6, 7, 9, 10
SECOND = 1.0  # s


def points(*codes: int) -> np.ndarray:
    return np.array([[code, 0.1 + row] for row, code in enumerate(codes)])


def test_what_happens_to_a_worker_costs_one_failed_row(truth: ParallelTruth) -> None:
    x = points(0, RAISES, 0, HANGS, KILLED, 0, FAULTS, EXITS, 0)
    found, alone = truth.evaluate(x), truth.truth.evaluate(points(*[0] * 9))
    assert found.ok.tolist() == [True, False, True, False, False, True, False, False, True]
    good = found.ok
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y[good, 0], alone.y[good, 0])  # all bits
    np.testing.assert_array_equal(found.dydx[good], alone.dydx[good])
    assert found.message[1] == "no convergence"
    assert found.message[3] == "The evaluation exceeded its time limit of 1 s; its process was ended."
    assert found.message[4].startswith("The worker process was ended by SIGKILL (by somebody, or for lack of memory)")
    assert found.message[6].startswith("The worker process was ended by SIGSEGV after ")
    assert found.message[7].startswith("The worker process ended with exit code 7 after ")


def test_a_hang_is_cut_within_a_second_of_its_limit(truth: ParallelTruth) -> None:
    truth.evaluate(points(0, 0))  # processes have been started
    began = time.monotonic()
    found = truth.evaluate(points(HANGS))
    assert LIMIT <= time.monotonic() - began < LIMIT + SECOND
    assert LIMIT <= found.seconds[0] < LIMIT + SECOND


def test_the_time_of_a_lost_evaluation_is_without_the_start_of_its_process(tmp_path: Path) -> None:
    truth = make_truth(tmp_path)()
    home = os.getpid()

    def slow_to_make() -> FunctionTruth:
        if os.getpid() != home:
            time.sleep(2.0)
        return truth

    with ParallelTruth(slow_to_make, 1, time_limit=0.1) as new:
        found = new.evaluate(points(HANGS, KILLED))
    assert 0.1 <= found.seconds[0] < 2.0 and 0.0 < found.seconds[1] < 2.0


def test_points_are_evaluated_at_the_same_time_in_other_processes(tmp_path: Path, truth: ParallelTruth) -> None:
    with ParallelTruth(make_truth(tmp_path), 2, time_limit=60.0) as two:
        found = two.evaluate(points(MEETS, MEETS, 0, 0))
    assert found.ok.all(), found.message
    pids = set(found.y[:, 1])
    assert len(pids) == 2 and os.getpid() not in pids
    assert (tmp_path / "built").read_text() == "..."  # once here, once in each of them


def test_processes_are_new_ones_with_one_thread(truth: ParallelTruth, monkeypatch: pytest.MonkeyPatch) -> None:
    found = truth.evaluate(points(0, 0))
    assert set(found.y[:, 2]) == {os.getpid()}  # their parent
    assert not found.y[:, 3].any(), "forked: they have what pytest had imported"
    assert set(found.y[:, 4]) == {1.0}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for threads, expected in ((3, 3.0), (None, 7.0)):
        with ParallelTruth(truth.truth, 1, threads=threads) as other:
            assert other.evaluate(points(0)).y[0, 4] == expected


def test_a_mistake_is_raised_after_what_runs_has_been_kept(truth: ParallelTruth, tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "store.sqlite")
    with pytest.raises(ZeroDivisionError, match="a mistake in the code") as raised:
        store.evaluate(truth, points(SLOW, MISTAKE, *[SLOW] * 10))
    notes = "\n".join(raised.value.__notes__)
    assert "pass failures=(ZeroDivisionError,)" in notes and "Raised in a worker process" in notes
    kept = store.count(truth)
    assert 1 <= kept < 11 and store.evaluations(truth).ok.all()
    assert store.evaluated == kept


def test_a_store_evaluates_new_points_alone_and_each_once(truth: ParallelTruth) -> None:
    store = EvaluationStore()
    x = points(0, 0, 0)
    store.evaluate(truth, x[:1])
    found = store.evaluate(truth, x[[2, 0, 1, 2, 1]])
    assert store.evaluated == 3
    np.testing.assert_array_equal(found.y[:, 0], truth.truth.evaluate(x[[2, 0, 1, 2, 1]]).y[:, 0])
    failed = points(0, EXITS)
    assert store.evaluate(truth, failed).ok.tolist() == [True, False]
    assert store.evaluate(truth, failed).ok.tolist() == [True, False] and store.evaluated == 4
    store.evaluate(truth, failed, retry_failed=True)
    assert store.evaluated == 5


def test_a_point_whose_process_died_is_tried_again_as_often_as_asked(truth: ParallelTruth, tmp_path: Path) -> None:
    with ParallelTruth(make_truth(tmp_path), 1, retries=1) as patient:
        assert patient.evaluate(points(ONCE, KILLED)).ok.tolist() == [True, False]
    assert not truth.evaluate(points(ONCE)).ok.any()


def test_a_process_that_dies_while_idle_costs_nothing(truth: ParallelTruth) -> None:
    for pid in set(truth.evaluate(points(0, 0, 0, 0)).y[:, 1]):
        os.kill(int(pid), signal.SIGKILL)
    assert truth.evaluate(points(0, 0, 0)).ok.all()


def test_leaving_the_iterator_kills_what_runs(tmp_path: Path) -> None:
    with ParallelTruth(make_truth(tmp_path), 2) as unlimited:
        rows = unlimited.as_completed(points(0, HANGS))
        assert next(rows)[0] == 0
        while not (hanging := [int(path.name.split()[1]) for path in tmp_path.glob("hangs *")]):
            time.sleep(0.01)
        rows.close()
        with pytest.raises(ProcessLookupError):
            os.kill(hanging[0], 0)
        assert unlimited.evaluate(points(0, 0)).ok.all()


def test_finite_differences_are_those_in_process() -> None:
    inputs, x = (Variable("x", (3,)),), np.array([[0.3, 0.1, -0.7], [1.1, 0.2, 0.4]])
    alone = FunctionTruth(lambda x: np.sin(x).sum(), inputs, (Variable("y"),), identity="sines")
    with ParallelTruth(alone, 2) as parallel:
        serial, found = (FiniteDifferenceTruth(one, FiniteDifferences(1e-5)).evaluate(x) for one in (alone, parallel))
    np.testing.assert_array_equal(found.dydx, serial.dydx)
    assert found.dydx[:, 0] == pytest.approx(np.cos(x), rel=1e-4)


def test_what_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()
    truth = FunctionTruth(lambda x: float(lock.locked()), (Variable("x"),), (Variable("y"),), identity="lock")
    with pytest.raises(InputError, match=r"`truth` must be an object that can be pickled, got one that cannot \("):
        ParallelTruth(truth, 2)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradopt\[workers\]'"):
        ParallelTruth(make_truth(tmp_path), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "`workers` must be a positive number, an executor of concurrent.futures, or a function"),
        ({"workers": "dask"}, "got 'dask'. Such as workers=4, or client.get_executor"),
        ({"time_limit": 0.0}, "`time_limit` must be a positive number of seconds, got 0.0"),
        ({"retries": -1}, "`retries` must be a whole number of at least 0, got -1"),
        ({"threads": 0}, "`threads` must be a whole number of at least 1, got 0"),
        ({"isolated": False}, "`isolated` must be True for a number of workers"),
    ],
)
def test_wrong_arguments_are_explained(
    options: dict[str, object], message: str, tmp_path: Path, truth: ParallelTruth
) -> None:
    make: Callable[..., ParallelTruth] = ParallelTruth
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        make(truth.truth, **{"workers": 2, **options})
    with pytest.raises(InputError, match="`truth` must be a truth"):
        ParallelTruth(object(), 2)  # type: ignore[arg-type]
