"""Ratios, medians, tables and pictures of the comparison, from rows made by hand."""

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from scripts.surrogates.peer_pictures import draw
from scripts.surrogates.peer_tables import chosen_runs, compare, show, summarize, tabulate

FIGURE = "nrmse_values"


def row(method: str, error: float, seed: int = 0, problem: str = "sine", **changes: Any) -> dict[str, Any]:
    status = {"status": "ok", "reason": ""} if np.isfinite(error) else {"status": "time", "reason": "killed"}
    found: dict[str, Any] = {"problem": problem, "size": 5, "n": 5, "method": method, "seed": seed, "setting": {}}
    found |= {**status, "nrmse_values": error, "nrmse_partials": 2.0 * error, "fit_seconds": 1.0 + seed}
    found |= {"predict_seconds": 0.1, "package": "numpy", "version": "2", "commit": "c", "time_limit": 60.0}
    return {**found, **changes}


def rows_of(errors: dict[str, list[float]], problem: str = "sine") -> list[dict[str, Any]]:
    return [row(method, error, seed, problem) for method, of in errors.items() for seed, error in enumerate(of)]


def test_summary_takes_failures_as_infinite_errors() -> None:
    found = summarize({r["seed"]: r for r in rows_of({"a": [0.1, 0.3, math.inf]})})
    assert found[FIGURE] == {"median": 0.3, "least": 0.1, "largest": math.inf}
    assert found["failed"] == {"time": 1, "failed": 0} and found["reasons"] == ["killed"]
    assert found["fit_seconds"] == 1.5 and found["seeds"] == 3
    assert summarize({0: row("a", math.inf), 1: row("a", math.inf), 2: row("a", 0.1)})[FIGURE]["median"] == math.inf
    assert math.isnan(summarize({0: row("a", math.inf)})["fit_seconds"])


def test_only_the_setting_chosen_at_seed_0_counts() -> None:
    rows = [row("a", 0.9, setting={"s": 1}), row("a", 0.2, setting={"s": 2}), row("a", 0.3, 1, setting={"s": 2})]
    runs = chosen_runs([*rows, row("a", 0.1, 1, setting={"s": 1})])
    assert runs["sine", 5, "a"] == {0: rows[1], 1: rows[2]}


def test_ratio_is_of_medians_to_the_best_rival() -> None:
    rows = rows_of({"ours": [0.1, 0.2, 0.4], "a": [0.4, 0.4, 0.1], "b": [0.5, 0.5, 0.5]})
    rows += rows_of({"ours": [0.8] * 3, "a": [0.2] * 3, "b": [0.1] * 3}, "branin")
    found = compare(chosen_runs(rows), "ours", ("a", "b", "absent"), 5, FIGURE)
    assert {name: (of["ratio"], of["best"]) for name, of in found["problems"].items()} == {
        "sine": (pytest.approx(0.5), "a"),
        "branin": (pytest.approx(8.0), "b"),
    }
    assert found["geometric_mean"] == pytest.approx(2.0)
    assert (found["worst"], found["worst_problem"]) == (pytest.approx(8.0), "branin")
    by_seed = sorted(np.sqrt(8.0 * ratio) for ratio in (0.1 / 0.4, 0.2 / 0.4, 0.4 / 0.1))
    assert list(found["by_seed"].values()) == pytest.approx(by_seed)


def test_only_seeds_that_all_have_are_compared() -> None:
    rows = rows_of({"ours": [0.1, 0.1, 9.0], "a": [0.2, 0.2]})
    found = compare(chosen_runs(rows), "ours", ("a",), 5, FIGURE)
    assert found["problems"]["sine"]["seeds"] == 2 and found["geometric_mean"] == pytest.approx(0.5)
    assert compare(chosen_runs(rows), "ours", ("absent",), 5, FIGURE) == {}
    assert compare(chosen_runs(rows), "ours", ("a",), 10, FIGURE) == {}


def test_failures_never_win() -> None:
    rows = rows_of({"ours": [0.3], "a": [math.inf], "b": [0.6]})
    assert compare(chosen_runs(rows), "ours", ("a", "b"), 5, FIGURE)["problems"]["sine"]["best"] == "b"
    alone = compare(chosen_runs(rows), "ours", ("a",), 5, FIGURE)
    assert alone["geometric_mean"] == pytest.approx(0.3), "the mean of the data stands for peers that all failed"
    ours_failed = compare(chosen_runs(rows_of({"ours": [math.inf], "a": [math.inf]})), "ours", ("a",), 5, FIGURE)
    assert ours_failed["geometric_mean"] == math.inf


def test_tables_and_pictures_show_all_there_is(tmp_path: Path) -> None:
    rows = rows_of({"ours": [0.123, 0.123], "a": [0.246, 0.246], "b": [math.inf, math.inf]})
    rows += [row("ours", 0.05, size=10), row("a", 0.04, size=10), row("b", 0.02, size=10)]
    result = tabulate(rows, {"ours": ("a", "b"), "not run": ("a",)})
    assert result["errors"]["5"]["sine"]["b"]["failed"] == {"time": 2, "failed": 0}
    assert set(result["comparison"]) == {"ours"} and set(result["comparison"]["ours"]) == {"5", "10"}
    assert result["packages"] == ["numpy 2"] and result["commits_of_rows"] == ["c"]
    json.dumps(result)

    console = Console(width=170, file=StringIO())
    show(console, result, ["ours", "a", "b", "c"])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0.50 of a" in text and "2.50 of b" in text and "– (2/2)" in text and "1.5; 1e+02" in text

    draw(tmp_path, result, ["ours", "a", "b", "c"], ["ours"])
    names = {"errors_5d.png", "errors_10d.png", "seconds_5d.png", "seconds_10d.png", "samples.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
