"""README's examples run as they stand and find what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

README = Path(__file__).parents[2] / "README.md"


def run_example(number: int) -> dict[str, Any]:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(examples) == 2
    names: dict[str, Any] = {}
    exec(compile(examples[number], str(README), "exec"), names)
    return names


def test_the_loop_is_certified_where_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    problem = run_example(0)["prob"]
    np.testing.assert_allclose(problem.get_val("x"), [0.786, 0.618], atol=1e-3)
    assert problem.driver.history[-1].evaluations <= 40
    assert capsys.readouterr().out.startswith("certified")


def test_the_surrogate_finds_the_optimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = run_example(1)["prob"]
    np.testing.assert_allclose(problem.get_val("x"), [1.0, 1.0], atol=0.1)
    assert (tmp_path / "valley.gradopt").exists()
