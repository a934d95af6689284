"""Digests: where two runs differ, what holds on other machines, and the exit code of a comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.loop import digests
from scripts.loop.digest_record import ROUND_OFF, Record, disturbance, disturbed
from scripts.loop.digests import golden_row, row_of, verdict


def record(*objectives: float, exit: str = "certified") -> Record:
    points = tuple(np.array([objective, 1.0]) for objective in objectives)
    return Record((points,), tuple((p, float(p[0]), 1.0, True) for p in points), exit, len(points), objectives[-1])


def test_verdict_names_the_first_difference() -> None:
    before = row_of(record(3.0, 2.0, 1.0), 0.5)
    assert verdict(row_of(record(3.0, 2.0, 1.0), 0.7), before) == "same"
    assert verdict(row_of(record(3.0, 2.5, 1.0), 0.5), before) == "DIFFERENT from evaluation 1 on"
    assert verdict(before, None) == "new"
    same_points = replace(record(3.0, 2.0, 1.0), history=record(3.0, 2.0, 1.5).history)
    assert verdict(row_of(same_points, 0.5), before) == "DIFFERENT from iteration 2 on"
    assert verdict(row_of(record(3.0, 2.0, 1.0, exit="budget"), 0.5), before) == "DIFFERENT in length or at the end"


def test_golden_objectives_end_where_round_off_changes_them() -> None:
    row = golden_row("run", record(3.0, 2.0, 1.0), [record(3.0, 2.0 + 1e-9, 1.1, 0.5)])
    assert row["objectives"] == [3.0, 2.0] and row["objective"] == 1.0
    assert row["evaluations"] == 3 and row["evaluations_vary"] == 1 and row["objective_varies"] == 0.5


def test_golden_row_needs_one_exit() -> None:
    message = (
        r"The exit of 'run' must be the same with round-off, got \['certified', 'budget'\]. Take it out of GOLDEN."
    )
    with pytest.raises(ValueError, match=message):
        golden_row("run", record(1.0), [record(1.0, exit="budget")])


def test_round_off_is_added_within_the_context_alone() -> None:
    values = np.ones(1000)
    with disturbance(0):
        changed = disturbed(values)
    assert 0.8 * ROUND_OFF < (changed - 1.0).std() < 1.2 * ROUND_OFF
    assert disturbed(values) is values


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Record]]:
    found: dict[str, Callable[[], Record]] = {"a": lambda: record(2.0, 1.0), "b": lambda: record(4.0)}
    monkeypatch.setattr(digests, "RUNS", found)
    monkeypatch.setattr(digests, "GOLDEN", ("a",))
    return found


def test_comparison_fails_where_a_run_differs_or_is_missing(
    runs: dict[str, Callable[[], Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = str(tmp_path / "before.json"), str(tmp_path / "after.json")
    assert digests.main(["--out", before]) == 0
    assert digests.main(["--out", after, "--compare", before]) == 0
    runs["a"] = lambda: record(2.0, 1.5)
    assert digests.main(["--out", after, "--compare", before, "--only", "b"]) == 0
    assert list(json.loads(Path(after).read_text())["runs"]) == ["b"]
    capsys.readouterr()
    assert digests.main(["--out", after, "--compare", before]) == 1
    assert "DIFFERENT: ['a']; not run any more: none" in capsys.readouterr().out
    del runs["a"]
    assert digests.main(["--out", after, "--compare", before]) == 1
    assert "DIFFERENT: none; not run any more: ['a']" in capsys.readouterr().out


def test_golden_writes_the_golden_file_alone(runs: dict[str, Callable[[], Record]], tmp_path: Path) -> None:
    golden = tmp_path / "golden.json"
    assert digests.main(["--out", str(tmp_path / "result.json"), "--golden", str(golden)]) == 0
    assert list(json.loads(golden.read_text())["runs"]) == ["a"] and not (tmp_path / "result.json").exists()
