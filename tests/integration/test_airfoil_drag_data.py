"""The study of the airfoil drag data writes its figures."""

import math
from collections.abc import Callable
from typing import Any

Smoke = Callable[[str], Any]

FIGURES = ("rmse_counts", "mae_counts", "max_counts", "seconds", "cpu_seconds")  # positive, however short the training


def test_script_writes_its_figures(smoke: Smoke) -> None:
    result = smoke("airfoil.drag_data").result
    whole, few = result["all"], result["few"]
    assert set(whole["methods"]) == {"JENN silu", "JENN tanh", "JENN silu float64", "MLP silu", "jenn"}
    assert set(few["methods"]) == {"JENN, 300", "MLP, 300", "jenn, 300"}
    numbers = [of[figure] for of in whole["methods"].values() for figure in FIGURES]
    numbers += [of[figure]["median"] for of in few["methods"].values() for figure in FIGURES]
    numbers += [whole["seconds_ratio"], whole["cpu_ratio"]]
    assert all(math.isfinite(number) and number > 0.0 for number in numbers), numbers
    assert all(of["gradient_r2"] < 1.0 for of in whole["methods"].values())
