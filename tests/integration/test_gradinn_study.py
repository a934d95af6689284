"""The study of beliefs about the gradient runs and writes the figures it promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Results = Callable[..., tuple[dict[str, Any], str]]


def test_script_writes_its_figures(results_of: Results, tmp_path: Path) -> None:
    result, printed = results_of("gradinn_study", "--quick")
    (case,) = result["cases"].values()
    methods = case["methods"]
    assert len(methods) == 8 and "partials" not in methods["GP"]
    for name, of in methods.items():
        assert len(of["values"]["all"]) == 2 and 0.0 < of["values"]["mean"] <= of["values"]["worst"] < 20.0
        assert ("against" in of) == name.startswith("GradINN")
        if "against" in of:
            control = methods[of["against"]["control"]]["values"]["all"]
            assert of["against"]["median"] == pytest.approx(np.median(np.array(of["values"]["all"]) / control))
        learns = name.startswith("GradINN") and "fixed" not in name
        assert {len(omega) for omega in of.get("omega", [[]])} == {5 if learns else 0}
    assert methods["GradINN"]["values"]["all"] != methods["GradINN, falling"]["values"]["all"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"result.json", "errors.png"}
    assert "standard error" in printed
