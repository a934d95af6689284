"""Tests of truths run in a folder of their own: OpenMDAO writes files into the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what OpenMDAO writes out of the repository."""
    monkeypatch.chdir(tmp_path)
