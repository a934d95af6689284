"""A damaged, full, locked, deleted or read-only store raises our errors, gives no other numbers and loses nothing."""

from __future__ import annotations

import logging
import os
import re
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.errors import FileFormatError, GradoptError, InputError, ShapeError, StoreError
from gradopt.truth import tables
from gradopt.truth.protocol import Evaluations

INPUTS, OUTPUTS = (Variable("x", (2,)),), (Variable("y", (2,)),)
POINTS = np.random.default_rng(0).normal(size=(12, 2))
MATRIX = np.array([[2.0, 0.5], [0.0, 3.0]])


def truth() -> FunctionTruth:
    return FunctionTruth(lambda x: (MATRIX @ x, MATRIX), INPUTS, OUTPUTS, identity="linear")


def finished(path: Path, points: np.ndarray = POINTS) -> Path:
    with EvaluationStore(path) as store:
        store.evaluate(truth(), points)
    return path


def outcome(path: Path) -> str:
    """Read a store in all ways: "right", the name of our error, or a failure of the test."""
    try:
        with EvaluationStore(path, verify_stored=False) as store:
            found, rows = store.evaluate(truth(), POINTS), store.evaluations(truth())
            store.identities()
            store.count(truth())
    except GradoptError as error:
        return type(error).__name__
    np.testing.assert_array_equal(found.y, POINTS @ MATRIX.T)
    np.testing.assert_array_equal(rows.y, rows.x @ MATRIX.T)
    return "right"


def flipped(rng: np.random.Generator, data: bytearray) -> None:
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def cut(rng: np.random.Generator, data: bytearray) -> None:
    del data[rng.integers(len(data)) :]


def page(rng: np.random.Generator, data: bytearray) -> None:
    start = 4096 * int(rng.integers(len(data) // 4096))
    data[start : start + 4096] = rng.bytes(4096)


def stretch(rng: np.random.Generator, data: bytearray) -> None:
    start = int(rng.integers(len(data) - 100))
    data[start : start + 100] = rng.bytes(100)


@pytest.mark.parametrize(("damage", "times"), [(flipped, 150), (cut, 20), (page, 20), (stretch, 40)])
def test_a_damaged_file_gives_no_other_numbers(
    tmp_path: Path, damage: Callable[[np.random.Generator, bytearray], None], times: int
) -> None:
    whole = finished(tmp_path / "whole").read_bytes()
    rng, path, found = np.random.default_rng(1), tmp_path / "damaged", set()
    for _ in range(times):
        data = bytearray(whole)
        damage(rng, data)
        for old in tmp_path.glob("damaged*"):
            old.unlink()
        path.write_bytes(data)
        found.add(outcome(path))
    assert "FileFormatError" in found and found <= {"right", "FileFormatError", "StoreError", "InputError"}


def test_each_bit_of_a_row_counts(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole").read_bytes()
    at = whole.find((MATRIX @ POINTS[7]).tobytes())
    assert at > 0
    for bit in range(0, 128, 5):
        data = bytearray(whole)
        data[at + bit // 8] ^= 1 << bit % 8
        (tmp_path / "damaged").write_bytes(data)
        with EvaluationStore(tmp_path / "damaged", verify_stored=False) as store:
            store.evaluate(truth(), POINTS[:7])
            with pytest.raises(FileFormatError, match=r"Row 8 of the table `evaluations` of the store .* was changed"):
                store.evaluate(truth(), POINTS)


def test_a_row_under_the_key_of_another_is_refused(tmp_path: Path) -> None:
    """As where a bit of the index is flipped."""
    with sqlite3.connect(finished(tmp_path / "store")) as database:
        database.execute("UPDATE evaluations SET x = ? WHERE id = 1", (np.array([9.0, 9.0]).tobytes(),))
    with EvaluationStore(tmp_path / "store") as store, pytest.raises(FileFormatError, match="Row 1 .* was changed"):
        store.evaluate(truth(), [[9.0, 9.0]])


def test_a_changed_identity_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(finished(tmp_path / "store")) as database:
        database.execute("UPDATE truths SET identity = 'other'")
    with EvaluationStore(tmp_path / "store") as store:
        with pytest.raises(FileFormatError, match="The identity 'other' of the store .* was changed after"):
            store.identities()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 40 kB, as on a full disk; nothing else may be written within."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_no_evaluation(tmp_path: Path) -> None:
    many, errors = np.random.default_rng(2).normal(size=(200, 2)), []
    with EvaluationStore(tmp_path / "store") as store:
        one = truth()
        for _ in range(2):
            with full_disk():
                try:
                    store.evaluate(one, many)
                except StoreError as error:
                    errors.append((error, store.evaluated))
        (first, spent), (second, after) = errors
        assert re.search(r"The store .*store' cannot be written \(.*\): the evaluation at x = .* y = ", str(first))
        assert 0 < spent < 200 and after == spent  # no other evaluation is made in vain
        for one_of_both in (first, second):
            assert one_of_both.evaluations.x.tolist() == [many[spent - 1].tolist()]
        assert store.evaluations(one).n == spent  # that in memory included
        assert store.evaluate(one, many).n == store.evaluated == 200
    with EvaluationStore(tmp_path / "store") as store:
        assert store.count(truth()) == 200


def test_a_locked_file_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tables, "_WAIT", 0.01)
    path = finished(tmp_path / "store", POINTS[:2])
    store, other = EvaluationStore(path), sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"database is locked.* end what locks the file") as locked:
        store.evaluate(truth(), POINTS[2:4])
    assert locked.value.evaluations.y.tolist() == [(MATRIX @ POINTS[2]).tolist()]
    with caplog.at_level(logging.WARNING, "gradopt"):
        store.close()
    assert "The store was closed without 1 evaluations" in caplog.text
    other.rollback()
    other.close()
    with EvaluationStore(path) as again:
        again.add(truth(), locked.value.evaluations)
        assert again.evaluated == 0 and again.count(truth()) == 3
        again.add(truth(), locked.value.evaluations)
        assert again.count(truth()) == 3
        with pytest.raises(ShapeError, match=r"`evaluations` must have shape \(0, 2, 2\), got \(0, 1, 2\)"):
            again.add(truth(), Evaluations.join([], 1, 2))


def delete(path: Path) -> None:
    path.unlink()


def delete_log(path: Path) -> None:
    path.with_name("store-wal").unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def put_another(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.touch()


@pytest.mark.parametrize("lose", [delete, delete_log, delete_folder, put_another])
def test_a_file_that_vanishes_is_told_with_all_its_rows(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    (tmp_path / "runs").mkdir()
    one = truth()
    with EvaluationStore(tmp_path / "runs" / "store") as store:
        store.evaluate(one, POINTS[:3])
        lose(tmp_path / "runs" / "store")
        message = "was deleted or replaced during the run: nothing is kept any more"
        with pytest.raises(StoreError, match=message) as lost:
            store.evaluate(one, POINTS)
        assert store.evaluated == 3  # nothing more is evaluated in vain
    with EvaluationStore(tmp_path / "new") as store:
        store.add(truth(), lost.value.evaluations)
        assert store.evaluations(truth()).x.tobytes() == POINTS[:3].tobytes()


def test_a_file_that_vanishes_during_an_evaluation_does_not_take_it_along(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def f(x: np.ndarray) -> np.ndarray:
        path.unlink()
        return MATRIX @ x

    leaving = FunctionTruth(f, INPUTS, OUTPUTS, identity="leaving")
    with EvaluationStore(path) as store, pytest.raises(StoreError, match="was deleted or replaced") as lost:
        store.evaluate(leaving, POINTS)
    assert lost.value.evaluations.y.tolist() == [(MATRIX @ POINTS[0]).tolist()]


def test_a_file_that_is_truncated_during_a_run_is_told(tmp_path: Path) -> None:
    with EvaluationStore(finished(tmp_path / "store")) as store:
        os.truncate(tmp_path / "store", 5000)
        with pytest.raises(FileFormatError, match="A part of the store .* was changed after it was written"):
            store.evaluate(truth(), POINTS)


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_WAIT", 0.01)
    path = finished(tmp_path / "store")
    with EvaluationStore(path) as store:
        database = store._open_tables._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("DROP TABLE truths")  # as another program could
        with pytest.raises(StoreError, match=r"The store .* cannot be read \(no such table: truths\)"):
            store.identities()


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be written, whoever runs the test."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)


def test_a_finished_store_is_read_where_nothing_may_be_written(tmp_path: Path, read_only: None) -> None:
    path = finished(tmp_path / "a store#1?", POINTS[:3])
    one = truth()
    with EvaluationStore(path) as store:
        np.testing.assert_array_equal(store.evaluate(one, POINTS[:3]).y, POINTS[:3] @ MATRIX.T)
        assert store.count(truth()) == store.dataset(truth()).n == 3 and store.verified == 1
        with pytest.raises(StoreError, match="may not be written, and does not hold the point. Copy the file"):
            store.evaluate(one, POINTS)
        assert store.evaluated == 1  # the one that verifies
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_log_beside_a_file_that_may_not_be_written_is_not_ignored(tmp_path: Path, read_only: None) -> None:
    with EvaluationStore(tmp_path / "store") as store:
        store.evaluate(truth(), POINTS[:3])
        with EvaluationStore(tmp_path / "store") as reader:
            assert reader.count(truth()) == 3


def test_an_empty_file_that_may_not_be_written_is_no_store(tmp_path: Path, read_only: None) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(InputError, match=r"an empty file that may not be written"):
        EvaluationStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b", "`path` must be a file that SQLite can open and write"),
        (3, "`path` must be a path or None, got 3"),
        ("/dev/null", "a folder or a device"),
        (".", "a folder or a device"),
    ],
)
def test_what_is_no_file_is_explained(path: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EvaluationStore(path)


def test_what_is_no_truth_is_explained() -> None:
    with EvaluationStore() as store, pytest.raises(InputError, match=r"`truth` must be a truth, got .*Wrap it"):
        store.evaluate(abs, POINTS)  # type: ignore[arg-type]
