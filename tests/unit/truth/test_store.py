"""A store returns stored evaluations to the last bit, evaluates other points once, and keeps failures."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import Variable
from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Evaluations, PointStatus, Truth
from gradopt.truth.store import EvaluationStore

INPUTS, OUTPUTS = (Variable("u", (2,), "m", lower=-10.0, upper=10.0),), (Variable("v", units="N"),)


@dataclass
class Counted:
    """u0^2 / 3 + u1 with its partials, one unknown; fails where u0 < 0, until mended."""

    evaluated_at: list[list[float]] = field(default_factory=list)
    mended: bool = False

    def __call__(self, x: np.ndarray) -> tuple[float, list[float]]:
        """Evaluate, and note the point."""
        self.evaluated_at.append(x.tolist())
        if x[0] < 0.0 and not self.mended:
            raise EvaluationError(f"negative for the {len(self.evaluated_at)}. time")
        return x[0] ** 2 / 3.0 + x[1], [2.0 * x[0] / 3.0, np.nan]


def truth_of(f: Callable[[np.ndarray], Any], identity: str | None = "counted", **changes: Any) -> FunctionTruth:
    return FunctionTruth(f, **{"inputs": INPUTS, "outputs": OUTPUTS, "identity": identity, **changes})


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EvaluationStore]:
    """A new store of either kind."""
    with EvaluationStore(None if request.param == "memory" else tmp_path / "store.sqlite") as made:
        yield made


AWKWARD = np.array([[0.1, 1.0 / 3.0], [np.nextafter(0.1, 1.0), 5e-324], [1.7e153, -2.5], [1e-310, np.pi]])


def same(found: Evaluations, expected: Evaluations) -> None:
    for name in ("x", "y", "dydx"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    assert (found.status, found.message) == (expected.status, expected.message)


def test_numbers_come_back_to_the_last_bit(store: EvaluationStore) -> None:
    truth = truth_of(Counted())
    points = np.concatenate([AWKWARD, [[-1.0, 0.0]]])
    first = store.evaluate(truth, points)
    expected = truth_of(Counted()).evaluate(points)
    same(first, replace(expected, message=first.message))
    same(store.evaluate(truth, points), first)
    same(store.evaluations(truth), first)
    assert np.array_equal(store.evaluations(truth).seconds, first.seconds) and (first.seconds > 0.0).all()


def test_a_file_keeps_evaluations_after_the_store_is_closed_and_one_is_verified(tmp_path: Path) -> None:
    f = Counted()
    with EvaluationStore(tmp_path / "store") as store:
        first = store.evaluate(truth_of(f), AWKWARD)
    with EvaluationStore(str(tmp_path / "store")) as store:
        same(store.evaluate(truth_of(f), AWKWARD), first)
        assert store.evaluated == store.verified == 1 and len(f.evaluated_at) == 5 and store.count(truth_of(f)) == 4


def test_no_point_is_evaluated_twice(store: EvaluationStore) -> None:
    f = Counted()
    truth = truth_of(f)
    store.evaluate(truth, [[1.0, 2.0], [-1.0, 0.0]])
    found = store.evaluate(truth, [[3.0, 0.0], [1.0, 2.0], [3.0, 0.0], [-1.0, 0.0]])
    assert f.evaluated_at == [[1.0, 2.0], [-1.0, 0.0], [3.0, 0.0]]
    assert found.x.tolist() == [[3.0, 0.0], [1.0, 2.0], [3.0, 0.0], [-1.0, 0.0]]
    assert found.y[:3, 0].tolist() == [3.0, 1.0 / 3.0 + 2.0, 3.0]
    assert store.evaluated == store.count(truth) == 3


def test_a_neighbor_in_the_last_bit_is_another_point(store: EvaluationStore) -> None:
    f = Counted()
    store.evaluate(truth_of(f), [[1.0, 2.0], [np.nextafter(1.0, 2.0), 2.0]])
    assert len(f.evaluated_at) == 2


def test_minus_zero_is_zero(store: EvaluationStore) -> None:
    f = Counted()
    found = store.evaluate(truth_of(f), [[-0.0, 1.0], [0.0, 1.0]])
    assert len(f.evaluated_at) == 1 and not np.signbit(f.evaluated_at[0]).any() and not np.signbit(found.x).any()


def test_failed_points_are_kept_and_not_repeated(store: EvaluationStore) -> None:
    f = Counted()
    truth = truth_of(f)
    for _ in range(2):
        found = store.evaluate(truth, [[-1.0, 0.0]])
        assert found.status == (PointStatus.FAILED,) and found.message == ("negative for the 1. time",)
    assert len(f.evaluated_at) == store.count(truth) == 1


def test_failed_points_are_repeated_on_request_and_good_ones_are_not(store: EvaluationStore) -> None:
    f = Counted()
    truth, points = truth_of(f), [[-1.0, 0.0], [1.0, 0.0]]
    store.evaluate(truth, points)
    again = store.evaluate(truth, points, retry_failed=True)
    assert again.message[0] == "negative for the 3. time" and len(f.evaluated_at) == 3
    f.mended = True
    mended = store.evaluate(truth, points, retry_failed=True)
    assert mended.ok.all() and mended.y[0, 0] == 1.0 / 3.0 and len(f.evaluated_at) == 4
    store.evaluate(truth, points, retry_failed=True)
    assert len(f.evaluated_at) == store.evaluated == 4
    same(store.evaluations(truth), mended)  # in the old place


def test_rows_stand_in_the_order_they_were_written(store: EvaluationStore) -> None:
    truth = truth_of(Counted())
    for point in ([3.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [1.0, 0.0]):
        store.evaluate(truth, [point])
    assert store.evaluations(truth).x[:, 0].tolist() == [3.0, 1.0, -1.0, 2.0]
    data = store.dataset(truth)
    assert data.x[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert data.inputs == INPUTS and data.outputs == OUTPUTS and data.known[:, 0].tolist() == [[True, False]] * 3


def test_without_good_rows_there_is_no_dataset(store: EvaluationStore) -> None:
    truth = truth_of(Counted())
    with pytest.raises(InputError, match="must hold at least one good row, got 0 rows"):
        store.dataset(truth)
    store.evaluate(truth, [[-1.0, 0.0]])
    with pytest.raises(InputError, match="got 1 failed rows, the first with message 'negative for the 1. time'"):
        store.dataset(truth)


def test_no_points_are_no_evaluations(store: EvaluationStore) -> None:
    truth = truth_of(Counted())
    assert store.evaluate(truth, np.empty((0, 2))).dydx.shape == (0, 1, 2)
    assert store.evaluations(truth).n == store.count(truth) == 0


OTHERS: dict[str, dict[str, Any]] = {
    "identity": {"identity": "other"},
    "name": {"inputs": (Variable("w", (2,), "m"),)},
    "units": {"inputs": (Variable("u", (2,), "cm"),)},
    "shape": {"inputs": (Variable("u", (1, 2), "m"),)},
    "output units": {"outputs": (Variable("v", units="kN"),)},
    "output name": {"outputs": (Variable("w", units="N"),)},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_truth_has_rows_of_its_own(store: EvaluationStore, change: dict[str, Any]) -> None:
    f = Counted()
    store.evaluate(truth_of(f), [[1.0, 2.0]])
    other = truth_of(f, **change)
    assert store.count(other) == 0
    store.evaluate(other, [[1.0, 2.0]])
    assert len(f.evaluated_at) == 2 and store.count(other) == store.count(truth_of(f)) == 1


def test_bounds_and_transforms_may_change(store: EvaluationStore) -> None:
    f = Counted()
    store.evaluate(truth_of(f), [[1.0, 2.0]])
    wider = (Variable("u", (2,), "m", lower=0.0, upper=99.0, transform="log"),)
    assert store.evaluate(truth_of(f, inputs=wider), [[1.0, 2.0]]).ok.all() and store.evaluated - store.verified == 1
    assert store.dataset(truth_of(f, inputs=wider)).inputs == wider


def test_a_file_needs_an_identity(tmp_path: Path) -> None:
    numbers = (number for number in range(3))
    truth = truth_of(lambda x: next(numbers), None)
    with EvaluationStore(tmp_path / "store") as store:
        for use in (lambda: store.evaluate(truth, [[1.0, 2.0]]), lambda: store.count(truth)):
            with pytest.raises(
                InputError, match=r"`truth.identity` must be given .* got None: .*'numbers'.*Pass identity="
            ):
                use()


def shifted(offset: int) -> Callable[[np.ndarray], float]:
    nothing = (number for number in range(0))  # cannot be identified
    return lambda x: float(x[0]) + offset + len(list(nothing))


def test_memory_needs_no_identity_and_distinguishes_truths() -> None:
    with EvaluationStore() as store:
        for offset in range(20):  # most would get the address of the one before
            found = store.evaluate(truth_of(shifted(offset), None), [[1.0, 2.0]])
            assert found.y[0, 0] == 1.0 + offset


def test_an_exception_leaves_the_points_before_it(store: EvaluationStore) -> None:
    def f(x: np.ndarray) -> float:
        if x[0] == 3.0:
            raise ZeroDivisionError("bug")
        return float(x[0])

    truth = truth_of(f)
    with pytest.raises(ZeroDivisionError, match="bug"):
        store.evaluate(truth, [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    assert store.evaluations(truth).y[:, 0].tolist() == [1.0, 2.0]


def test_a_point_is_on_the_disk_before_the_next_begins(tmp_path: Path) -> None:
    path, seen = tmp_path / "store", []

    def f(x: np.ndarray) -> float:
        with EvaluationStore(path) as other:
            seen.append(other.count(truth))
        return float(x[0])

    truth = truth_of(f)
    with EvaluationStore(path) as store:
        store.evaluate(truth, [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert seen == [0, 1, 2]


def test_rows_that_another_process_wrote_meanwhile_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "store"
    quick = truth_of(lambda x: 1.0)

    def slow(x: np.ndarray) -> float:
        with EvaluationStore(path) as other:
            other.evaluate(quick, [x])
        return 2.0

    with EvaluationStore(path) as store:
        assert store.evaluate(truth_of(slow), [[1.0, 2.0]]).y.tolist() == [[1.0]]
        assert store.evaluated == 1 and store.count(quick) == 1


def test_a_good_row_is_never_replaced_by_a_failed_one(tmp_path: Path) -> None:
    path, quick, calls = tmp_path / "store", truth_of(lambda x: 1.0), []

    def unlucky(x: np.ndarray) -> float:
        calls.append(x)
        if len(calls) > 1:  # meanwhile another process tries again as well, and succeeds
            with EvaluationStore(path) as other:
                other.evaluate(quick, [x], retry_failed=True)
        raise EvaluationError("bad luck")

    with EvaluationStore(path) as store:
        assert not store.evaluate(truth_of(unlucky), [[1.0, 2.0]]).ok[0]
        assert store.evaluate(truth_of(unlucky), [[1.0, 2.0]], retry_failed=True).y.tolist() == [[1.0]]
        assert len(calls) == 2


def test_threads_may_share_a_store(store: EvaluationStore) -> None:
    truth = truth_of(Counted())
    points = np.random.default_rng(0).uniform(0.0, 1.0, (4, 10, 2))
    errors: list[BaseException] = []

    def work(mine: np.ndarray) -> None:
        try:
            store.evaluate(truth, mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in points]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and store.count(truth) == store.evaluated == 40
    found = store.evaluate(truth, points.reshape(-1, 2))
    np.testing.assert_array_equal(found.y[:, 0], points.reshape(-1, 2)[:, 0] ** 2 / 3.0 + points.reshape(-1, 2)[:, 1])


def test_a_pickled_store_opens_the_same_file(tmp_path: Path) -> None:
    f = Counted()
    with EvaluationStore(tmp_path / "store") as store:
        store.evaluate(truth_of(f), [[1.0, 2.0]])
        with pickle.loads(pickle.dumps(store)) as twin:
            twin.evaluate(truth_of(f), [[1.0, 2.0], [2.0, 2.0]])
            assert (twin.evaluated, twin.verified) == (2, 1) and twin.path == store.path
        assert store.count(truth_of(f)) == 2


def test_a_store_in_memory_is_not_pickled() -> None:
    with EvaluationStore(":memory:") as store, pytest.raises(InputError, match="be a file to go to another process"):
        pickle.dumps(store)


def test_a_closed_store_is_refused(store: EvaluationStore) -> None:
    store.close()
    store.close()
    with pytest.raises(InputError, match="`store` must be open, got a closed one. Open the file again"):
        store.evaluate(truth_of(Counted()), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ([1.0, 2.0], ShapeError, r"`x` must have shape \(n, d\) = \(n, 2\)"),
        ([[1.0]], ShapeError, r"`x` must have shape \(n, d\) = \(n, 2\)"),
        ([[np.nan, 1.0]], InputError, r"`x` must be finite, got nan in row 0, column 'u\[0\]'"),
    ],
)
def test_wrong_points_are_explained(store: EvaluationStore, x: Any, kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message):
        store.evaluate(truth_of(Counted()), x)


class TwoRows:
    """A truth that returns two rows for any points."""

    inputs, outputs, identity = INPUTS, OUTPUTS, "two rows"

    def evaluate(self, x: Any) -> Evaluations:
        return truth_of(Counted()).evaluate([[1.0, 2.0], [3.0, 4.0]])


def test_a_truth_that_returns_other_rows_is_explained(store: EvaluationStore) -> None:
    truth: Truth = TwoRows()
    with pytest.raises(ShapeError, match=r"must have shape \(1, 1, 2\), got \(2, 1, 2\)\. Return one row for each"):
        store.evaluate(truth, [[1.0, 2.0]])
    assert store.count(truth) == 0


class Rounds(TwoRows):
    """A truth that returns another point than the requested one."""

    def evaluate(self, x: Any) -> Evaluations:
        return truth_of(Counted()).evaluate(np.round(x))


def test_a_row_belongs_to_the_requested_point(store: EvaluationStore) -> None:
    assert store.evaluate(Rounds(), [[1.25, 2.0]]).x.tolist() == [[1.25, 2.0]]
    assert store.evaluations(Rounds()).x.tolist() == [[1.25, 2.0]]


def test_the_path_outlives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    with EvaluationStore("store") as store:
        store.evaluate(truth_of(Counted()), [[1.0, 2.0]])
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pickle.loads(pickle.dumps(store)) as twin:
            assert twin.count(truth_of(Counted())) == 1


def test_rows_have_time_and_versions(tmp_path: Path) -> None:
    with EvaluationStore(tmp_path / "store") as store:
        store.evaluate(truth_of(Counted()), [[1.0, 2.0]])
    database = sqlite3.connect(tmp_path / "store")
    time, versions = database.execute("SELECT time, versions FROM evaluations").fetchone()
    identity, variables = database.execute("SELECT identity, variables FROM truths").fetchone()
    database.close()
    assert time.endswith("+00:00") and "numpy" in versions and identity == "counted" and '["v", [1], "N"]' in variables


class Transposed:
    """A truth whose partials stand in memory by columns."""

    inputs, outputs, identity = INPUTS, (Variable("v", (2,)),), "transposed"

    def evaluate(self, x: Any) -> Evaluations:
        partials = np.array([[[1.0, 2.0], [3.0, 4.0]]]).transpose(0, 2, 1)
        return Evaluations(x, np.ones((1, 2)), partials, [PointStatus.OK], [""], np.zeros(1))


def test_new_evaluations_are_in_the_order_in_memory_of_stored_ones(store: EvaluationStore) -> None:
    """Sums over numbers in another order in memory differ in their last bits, and so would a continued run."""
    for _ in range(2):
        found = store.evaluate(Transposed(), [[1.0, 2.0]])
        assert found.dydx.strides == (32, 16, 8)
