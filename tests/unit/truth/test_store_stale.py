"""Stored evaluations are verified: a truth that gives other results is told, and a store shows whose rows it holds."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.errors import StaleStoreError

INPUTS, OUTPUTS = (Variable("x", (2,)),), (Variable("y", (2,)),)
POINTS = np.random.default_rng(0).normal(size=(12, 2))
MATRIX = np.array([[2.0, 0.5], [0.0, 3.0]])


def truth(factor: float = 1.0, identity: str | None = "linear", noise: float = 0.0) -> FunctionTruth:
    calls: list[int] = []

    def f(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        return factor * (MATRIX @ x) + noise * len(calls), factor * MATRIX

    return FunctionTruth(f, INPUTS, OUTPUTS, identity=identity)


def finished(path: Path, points: np.ndarray = POINTS) -> Path:
    with EvaluationStore(path) as store:
        store.evaluate(truth(), points)
    return path


def test_a_stale_store_is_told_with_the_point_and_both_results(tmp_path: Path) -> None:
    path = finished(tmp_path / "store")
    with EvaluationStore(path) as store:
        with pytest.raises(StaleStoreError, match=r"other results than the truth 'linear' gives now: at x = ") as stale:
            store.evaluate(truth(1.00001), POINTS[3:])
        error = stale.value
        assert error.stored.x.tobytes() == error.got.x.tobytes() == POINTS[3].tobytes()
        stored, got = (one.y[0].tolist() for one in (error.stored, error.got))
        assert any(f"stored y[{k}] = {stored[k]!r}, got {got[k]!r}. " in str(error) for k in range(2))
        assert error.got.y[0, 0] == pytest.approx(1.00001 * error.stored.y[0, 0])
        with pytest.raises(StaleStoreError, match="pass another identity='...' to it or use a new store"):
            store.evaluate(truth(1.00001), POINTS[3:])
        assert store.evaluate(truth(), POINTS).n == 12 and store.verified == 3
    with EvaluationStore(path, verify_stored=False) as store:
        np.testing.assert_array_equal(store.evaluate(truth(2.0), POINTS).y, POINTS @ MATRIX.T)
        assert store.evaluated == store.verified == 0


def test_round_off_is_no_difference_and_noise_is_one(tmp_path: Path) -> None:
    path = finished(tmp_path / "store")
    with EvaluationStore(path) as store:
        store.evaluate(truth(1.0 + 1e-9, noise=1e-11), POINTS)
    with (
        EvaluationStore(path) as store,
        pytest.raises(StaleStoreError, match="If it has noise, pass .*verify_stored=False"),
    ):
        store.evaluate(truth(noise=1e-3), POINTS)


def test_changed_partials_are_a_difference_and_unknown_ones_are_not(tmp_path: Path) -> None:
    path = finished(tmp_path / "store")

    def with_partials(partials: Any) -> FunctionTruth:
        return FunctionTruth(lambda x: (MATRIX @ x, partials), INPUTS, OUTPUTS, identity="linear")

    with EvaluationStore(path) as store:
        with pytest.raises(StaleStoreError, match=r"stored d y\[0\] / d x\[1\] = 0.5, got 0.6"):
            store.evaluate(with_partials(MATRIX + [[0.0, 0.1], [0.0, 0.0]]), POINTS)
        assert store.evaluate(with_partials(np.full((2, 2), np.nan)), POINTS).n == 12


def failing(fails: bool) -> FunctionTruth:
    return FunctionTruth(lambda x: MATRIX @ x * (np.nan if fails else 1.0), INPUTS, OUTPUTS, identity="linear")


def test_a_point_that_fails_now_or_no_more_is_a_difference(tmp_path: Path) -> None:
    with EvaluationStore(finished(tmp_path / "good")) as store:
        with pytest.raises(StaleStoreError, match=r"stored is y = \[.*\], got a failed point \('y\[0\] is nan'\)"):
            store.evaluate(failing(True), POINTS)
    with EvaluationStore(tmp_path / "failed") as store:
        store.evaluate(failing(True), POINTS[:2])
        assert not store.evaluate(failing(True), POINTS[:2]).ok.any() and store.verified == 1
        with pytest.raises(StaleStoreError, match=r"stored is a failed point .*, got y = \["):
            store.evaluate(failing(False), POINTS[:2])
        assert store.evaluate(failing(False), POINTS[:2], retry_failed=True).ok.all()


def test_a_good_row_is_verified_rather_than_a_failed_one() -> None:
    with EvaluationStore() as store:
        sometimes = FunctionTruth(lambda x: x * (np.nan if x[0] < 0.0 else 1.0), INPUTS, OUTPUTS, identity="some")
        store.evaluate(sometimes, [[-1.0, 0.0], [1.0, 0.0]])
        calls: list[float] = []

        def noted(x: np.ndarray) -> Any:
            calls.append(x[0])
            return sometimes.f(x)

        other = FunctionTruth(noted, INPUTS, OUTPUTS, identity="some")
        assert not store.evaluate(other, [[-1.0, 0.0]]).ok[0]
        assert calls == [1.0]


def test_rows_written_since_a_truth_met_the_store_are_not_verified(tmp_path: Path) -> None:
    with EvaluationStore(tmp_path / "store") as store:
        one, other = truth(), truth()
        store.register(one)
        store.register(other)
        store.evaluate(one, POINTS)
        store.evaluate(other, POINTS)
        assert store.evaluated == 12 and store.verified == 0
        store.evaluate(truth(), POINTS)
        assert store.evaluated == 13 and store.verified == 1


def test_the_identities_in_a_store_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = finished(tmp_path / "store", POINTS[:3])
    with EvaluationStore(path) as store, caplog.at_level(logging.INFO, "gradopt"):
        store.evaluate(failing(True), POINTS[3:5])
        store.evaluate(truth(identity="linear, finer mesh"), POINTS[:1])
        first, second = store.identities()
    assert (first.identity, first.inputs, first.outputs) == ("linear", ("x",), ("y",))
    assert (first.evaluations, first.failed, second.identity, second.evaluations) == (5, 2, "linear, finer mesh", 1)
    assert first.first < first.last < second.first
    assert f"The store {str(path)!r} holds 3 evaluations of the truth 'linear'." in caplog.text
    assert "A stored point, evaluated again" not in caplog.text


def test_a_run_that_uses_no_row_of_an_older_version_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for factor in (1.0, 2.0):
        with EvaluationStore(tmp_path / "store") as store:
            store.evaluate(truth(factor, identity=None), POINTS[:3])
    assert caplog.text.count("holds no evaluation of the truth") == 1
    assert "but 3 of other versions, the last one" in caplog.text
    with EvaluationStore(tmp_path / "store") as store:
        rows = store.identities()
        store.evaluate(truth(identity="words"), POINTS[:3])
    assert len(rows) == 2 and caplog.text.count("holds no evaluation") == 1


def test_names_of_variables_are_kept_with_the_identity(tmp_path: Path) -> None:
    with sqlite3.connect(finished(tmp_path / "store")) as database:
        (variables,) = database.execute("SELECT variables FROM truths").fetchone()
    assert json.loads(variables) == [[["x", [2], None]], [["y", [2], None]]]
