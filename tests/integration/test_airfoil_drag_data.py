"""The study of the airfoil drag data runs from the repository's root and writes the figures it promises."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Results = Callable[..., tuple[dict[str, Any], str]]

FIGURES = ("rmse_counts", "mae_counts", "max_counts", "seconds", "cpu_seconds")  # positive, however short the training


def test_script_writes_its_figures(results_of: Results, tmp_path: Path) -> None:
    result, printed = results_of("airfoil_drag_data", "--quick")
    whole, few = result["all"], result["few"]
    assert set(whole["methods"]) == {"JENN silu", "JENN tanh", "JENN silu float64", "MLP silu", "jenn"}
    assert set(few["methods"]) == {"JENN, 300", "MLP, 300", "jenn, 300"}
    numbers = [of[figure] for of in whole["methods"].values() for figure in FIGURES]
    numbers += [of[figure]["median"] for of in few["methods"].values() for figure in FIGURES]
    numbers += [row["gain"] for row in result["threads"]] + [whole["seconds_ratio"], whole["cpu_ratio"]]
    assert all(math.isfinite(number) and number > 0.0 for number in numbers), numbers
    assert all(of["gradient_r2"] < 1.0 for of in whole["methods"].values())
    assert {entry.name for entry in tmp_path.iterdir()} == {"result.json", "drag.png"}
    assert "seconds" in printed, "no table printed"
