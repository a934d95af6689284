"""Rows of the comparison: errors, failures, the time limit, and the file."""

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import Dataset
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.shared.peer_methods import Method, Predictor, Setting
from scripts.shared.rows import RowFile
from scripts.surrogates.peer_rows import best_setting, errors, given_up, key, limited, measure, penalized

PROBLEM = PROBLEMS["rosenbrock_2"]
TEST = PROBLEM.sample(50, seed=7)


def row(seed: int = 0, status: str = "ok", **changes: Any) -> dict[str, Any]:
    found = {"problem": "sine", "size": 5, "method": "m", "seed": seed, "setting": {}, "status": status}
    return {**found, "nrmse_values": 0.5, "nrmse_partials": 0.5, **changes}


def exact(data: Dataset, seed: int, setting: Setting) -> Predictor:
    if setting.get("raises"):
        raise RuntimeError("no luck")
    warnings.warn("slow", UserWarning, stacklevel=1)
    nan = np.nan if setting.get("nan") else 0.0
    return lambda x: PROBLEM.evaluate(x)[0] + nan, lambda x: PROBLEM.evaluate(x)[1]


def test_errors_of_the_truth_are_zero_and_those_of_means_are_one() -> None:
    assert set(errors(TEST, TEST.y, TEST.partials).values()) == {0.0}
    means = np.full_like(TEST.y, TEST.y.mean()), np.broadcast_to(TEST.partials.mean(axis=0), TEST.partials.shape)
    assert list(errors(TEST, *means).values()) == pytest.approx([1.0, 1.0])


def test_errors_do_not_depend_on_units() -> None:
    values, partials = TEST.y + 3.0, TEST.partials * [0.5, 1.2]
    units = np.array([1e3, 1e-2])
    rescaled = Dataset(TEST.x * units, TEST.y * 7.0, TEST.partials * 7.0 / units)
    found = errors(TEST, values, partials)
    assert errors(rescaled, values * 7.0, partials * 7.0 / units) == pytest.approx(found)
    assert found["nrmse_values"] == pytest.approx(3.0 / TEST.y.std())


def test_measure_tells_errors_seconds_and_warnings() -> None:
    found = measure(PROBLEM, 6, 0, Method(exact, "numpy"), {})
    assert found["status"] == "ok" and found["nrmse_values"] == found["nrmse_partials"] == 0.0
    assert found["fit_seconds"] > 0.0 and found["predict_seconds"] > 0.0 and found["warnings"] == ["UserWarning"]


@pytest.mark.parametrize(("flag", "reason"), [("raises", "RuntimeError: no luck"), ("nan", "not finite")])
def test_measure_records_failures(flag: str, reason: str) -> None:
    found = measure(PROBLEM, 6, 0, Method(exact, "numpy"), {flag: True})
    assert (found["status"], found["reason"]) == ("failed", reason) and "nrmse_values" not in found


def test_limited_returns_what_the_call_returns_and_keeps_its_prints(capfd: pytest.CaptureFixture[str]) -> None:
    def call() -> dict[str, Any]:
        os.write(1, b"chatter")
        return {"status": "ok"}

    assert limited(call, 20.0) == {"status": "ok"}
    assert capfd.readouterr().out == ""


def test_limited_kills_what_sleeps_and_what_computes_for_too_long() -> None:
    def sleep() -> dict[str, Any]:
        time.sleep(60.0)
        return {"status": "ok"}

    def compute() -> dict[str, Any]:
        while True:
            sum(range(1000))

    assert limited(sleep, 0.01) == {"status": "time", "reason": "killed after 0.3 s of wall-clock time"}
    assert limited(compute, 0.5) == {"status": "time", "reason": "killed after 1 CPU seconds"}


def test_limited_marks_a_slow_fit_even_where_it_was_not_killed() -> None:
    slow = limited(lambda: {"status": "ok", "fit_seconds": 1.5, "nrmse_values": 0.1}, 1.0)
    assert (slow["status"], slow["reason"], slow["fit_seconds"]) == ("time", "the fit was too slow", 1.5)
    assert limited(lambda: {"status": "ok", "fit_seconds": 0.5}, 1.0)["status"] == "ok"


def test_limited_tells_a_crash() -> None:
    def call() -> dict[str, Any]:
        os._exit(3)

    assert limited(call, 20.0) == {"status": "failed", "reason": "the process ended with 3"}


def test_last_row_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert not RowFile(path, key).rows
    rows = [row(0), row(1), row(0, nrmse_values=0.1), row(0, setting={"a": 1})]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert list(RowFile(path, key).rows.values()) == [rows[2], rows[1], rows[3]]
    assert key(row(setting={"a": 1, "b": 2})) == key(row(setting={"b": 2, "a": 1}))


def test_best_setting_has_the_least_product_of_errors_at_seed_0() -> None:
    rows = [
        row(setting={"a": 1}, nrmse_values=0.1, nrmse_partials=0.9),
        row(setting={"a": 2}, nrmse_values=0.2, nrmse_partials=0.2),
        row(setting={"a": 3}, status="failed", nrmse_values=0.0, nrmse_partials=0.0),
        row(1, setting={"a": 4}, nrmse_values=0.0),
        row(setting={"a": 5}, problem="branin", nrmse_values=0.0),
    ]
    assert best_setting(rows, "sine", 5, "m") == {"a": 2}
    assert penalized(rows[2], "nrmse_values") == np.inf and penalized(rows[1], "nrmse_values") == 0.2


def test_given_up_after_two_kills_and_no_fit() -> None:
    kills = [row(0, "time"), row(1, "time")]
    assert given_up(kills[:1], row(2)) is None
    assert given_up(kills, row(2)) == "not tried: all 2 fits before passed the limit"
    assert given_up([*kills, row(3)], row(2)) is None
    assert given_up(kills, row(2, size=10)) is None and given_up(kills, row(2, setting={"a": 1})) is None


def test_added_rows_are_in_the_file_with_a_commit(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "new" / "rows.jsonl", key)
    file.add(row(0))
    assert row(0) in file and row(1) not in file
    (again,) = RowFile(tmp_path / "new" / "rows.jsonl", key).rows.values()
    assert again == {**row(0), "commit": again["commit"]}
