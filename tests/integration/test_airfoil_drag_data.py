"""The study of the airfoil drag data runs from the repository's root and writes the figures it promises."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIGURES = ("rmse_counts", "mae_counts", "max_counts", "seconds", "cpu_seconds")  # positive, however short the training


def test_script_writes_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/airfoil_drag_data.py", "--quick", "--out", str(tmp_path)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quick"] and result["versions"]["torch"] and "commit" in result
    whole, few = result["all"], result["few"]
    assert set(whole["methods"]) == {"JENN silu", "JENN tanh", "JENN silu float64", "MLP silu", "jenn"}
    assert set(few["methods"]) == {"JENN, 300", "MLP, 300", "jenn, 300"}
    numbers = [of[figure] for of in whole["methods"].values() for figure in FIGURES]
    numbers += [of[figure]["median"] for of in few["methods"].values() for figure in FIGURES]
    numbers += [row["gain"] for row in result["threads"]] + [whole["seconds_ratio"], whole["cpu_ratio"]]
    assert all(math.isfinite(number) and number > 0.0 for number in numbers), numbers
    assert all(of["gradient_r2"] < 1.0 for of in whole["methods"].values())
    assert {entry.name for entry in tmp_path.iterdir()} == {"result.json", "drag.png"}
    assert "seconds" in done.stdout, "no table printed"
