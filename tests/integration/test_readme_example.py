"""The examples of README and the docs run as they stand and find what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run_example(number: int, of: int = 2, path: Path = ROOT / "README.md") -> dict[str, Any]:
    examples = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    assert len(examples) == of
    names: dict[str, Any] = {}
    exec(compile(examples[number], str(path), "exec"), names)
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


def test_a_belief_guides_as_the_page_on_it_says() -> None:
    names = run_example(0, of=1, path=ROOT / "docs/gradinn.md")
    x = np.random.default_rng(1).random((1000, 2))
    y = np.exp(x[:, :1]) + x[:, 1:] ** 2
    errors = [np.sqrt(np.mean((names[name].predict(x) - y) ** 2)) for name in ("plain", "surrogate")]
    assert names["surrogate"].fit_result.prior.kept
    assert 2.0 < errors[0] / errors[1] < 4.0


def test_a_program_is_optimized_as_the_page_on_truths_says(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_example(0, of=1, path=ROOT / "docs/truths.md")
    assert capsys.readouterr().out.startswith("certified")
    height = (1e-6 / (0.02 * 0.01)) ** (1 / 3)  # at which it bends as far as it may
    np.testing.assert_allclose(names["prob"].get_val("section"), [0.02, height], rtol=1e-3)
    assert names["prob"].driver.evaluations < 60
