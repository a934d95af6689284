"""Friedman's function from few samples: the script writes its figures, and its data and its peer are what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark_problems import PROBLEMS
from scripts.friedman_few_samples import Case, fit_gp

ROOT = Path(__file__).parents[2]


def test_script_writes_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/friedman_few_samples.py", "--quick", "--out", str(tmp_path)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quick"] and result["versions"]["torch"] and "commit" in result
    assert set(result["cases"]) == {"30", "30, noise 0.2", "10 with partials"}
    for case in result["cases"].values():
        assert ("GP" in case) != case["partials"]
        for errors in (case[name] for name in ("gradopt", "GP") if name in case):
            assert len(errors["all"]) == 2 and errors["seconds"]["median"] > 0.0
            assert 0.0 < errors["median"] == pytest.approx(np.median(errors["all"]))
            assert errors["mean"] == pytest.approx(np.mean(errors["all"])) and errors["worst"] == max(errors["all"])
            assert errors["worst"] < 2.0 * case["spread"], "worse than any guess"
        if case["target"]:
            assert case["within"]["worst"] == (case["gradopt"]["worst"] <= case["target"])
    assert {entry.name for entry in tmp_path.iterdir()} == {"result.json", "errors.png"}
    assert "ratio" in done.stdout, "no table printed"


def test_draw_adds_noise_to_values_and_never_to_partials() -> None:
    problem, spread = PROBLEMS["friedman_1"], 5.0
    noisy = Case(400, noise=0.2, partials=True).draw(3, spread)
    y, dydx = problem.evaluate(noisy.x)
    assert 0.9 < (noisy.y - y).std() < 1.1
    np.testing.assert_array_equal(noisy.partials, dydx)
    np.testing.assert_array_equal(Case(400).draw(3, spread).y, y)
    assert not Case(400).draw(3, spread).known.any()
    assert not np.allclose(Case(400).draw(4, spread).x, noisy.x)


def test_gp_learns_noise_and_its_absence() -> None:
    data = Case(60).draw(0, 5.0)
    np.testing.assert_allclose(fit_gp(data, 0)(data.x), data.y, atol=0.2)
    noisy = Case(60, noise=0.2).draw(0, 5.0)
    assert np.abs(fit_gp(noisy, 0)(noisy.x) - noisy.y).max() > 0.5, "it goes through the noise"
