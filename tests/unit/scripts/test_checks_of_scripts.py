"""Checks that scripts make of themselves: components that agree, processes that end well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.loop import kill_and_resume
from scripts.surrogates import training_cost


def test_components_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_cost, "disagreement", lambda ours, theirs, point: 1e-3)
    with pytest.raises(AssertionError, match="The components differ by 1.0e-03: they are not the same model"):
        training_cost.component_cost(blocks=1, size=1)


def test_a_process_that_ends_by_itself_with_a_code_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = SimpleNamespace(exitcode=3, pid=1, join=lambda: None)
    monkeypatch.setattr(kill_and_resume, "start", lambda folder, seed, size: ended)
    with pytest.raises(RuntimeError, match="The optimization ended with the code 3"):
        kill_and_resume.run_process(tmp_path, 0, 2, None)
