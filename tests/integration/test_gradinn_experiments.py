"""The experiments on priors about the gradient: figures of the script, which makes no fit twice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Smoke = Callable[[str], Any]
Script = Callable[..., Any]


def test_script_writes_its_figures(smoke: Smoke) -> None:
    done = smoke("gradinn.experiments")
    result = done.result
    rows = [json.loads(line) for line in (done.folder / "rows.jsonl").read_text().splitlines()]
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
    assert np.isfinite(result["hybrid"]["geometric_mean"])
    assert "standard error" in done.printed and "lotka_volterra, 12 samples" in done.printed


def test_no_fit_is_made_twice(smoke: Smoke, script: Script, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    shutil.copy(smoke("gradinn.experiments").folder / "rows.jsonl", rows)
    before = rows.read_text()
    script("gradinn.experiments", "--quick", "--parts", "problems", "hybrid")
    assert rows.read_text() == before
