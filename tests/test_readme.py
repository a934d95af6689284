"""README's two commands and CI install alike."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTALL = r'pip"? install [^\n]*-c constraints\.txt "\.\[(\w+)\]"'


def test_both_commands_install_with_constraints() -> None:
    assert re.findall(INSTALL, (ROOT / "README.md").read_text()) == ["airfoil", "test"]


def test_ci_installs_as_the_test_command_does() -> None:
    assert re.findall(INSTALL, (ROOT / ".ci/run").read_text()) == ["test"]


def test_every_tested_version_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
