"""The study of beliefs about the gradient runs, goes on where it was, and writes the figures it promises."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Results = Callable[..., tuple[dict[str, Any], str]]
NAMES = {"result.json", "rows.jsonl", "noise.png", "beliefs.png", "hybrid.png", "cost.png"}


def test_script_writes_its_figures(results_of: Results, tmp_path: Path) -> None:
    result, printed = results_of("gradinn_study", "--quick")
    assert {entry.name for entry in tmp_path.iterdir()} == NAMES
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 8 + 3 + 3 == len(result["summary"])
    of = {(entry["method"], entry["noise"]): entry for entry in result["summary"]}
    for row in rows:
        entry = of[row["method"], row["noise"]]
        assert entry["values"]["median"] == pytest.approx(row["values"]) and 0.0 < row["values"] < 3.0
        if "kept" in row:
            assert entry["kept"] == row["kept"]
    plain = of["MLP", 0.0]["values"]["median"]
    assert of["GP", 0.0]["ratio"]["median"] == pytest.approx(of["GP", 0.0]["values"]["median"] / plain)
    (cell,) = result["hybrid"]["cells"]
    parts = [of[name, 0.0]["values"]["median"] for name in ("JENN, some partials", "GradINN")]
    both = of["GradINN, some partials", 0.0]["values"]["median"]
    assert cell["median"] == pytest.approx(both / min(parts)) == pytest.approx(result["hybrid"]["geometric_mean"])
    for kind in ("inputs", "points"):
        assert all(row["time_ratio"] > 0.5 for row in result["cost"][kind]["rows"])
    assert "standard error" in printed and "lotka_volterra, 12 samples" in printed

    before = (tmp_path / "rows.jsonl").read_text()
    results_of("gradinn_study", "--quick", "--parts", "problems", "hybrid")
    assert (tmp_path / "rows.jsonl").read_text() == before, "no fit is made twice"
    assert np.isfinite(result["hybrid"]["geometric_mean"])
