"""How tests run a script: in a process of its own, from the repository's root, as a user does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

Script = Callable[..., subprocess.CompletedProcess[str]]
Results = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def run_script() -> Script:
    """Run a script by its name, with arguments."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, f"scripts/{name}.py", *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture
def results_of(run_script: Script, tmp_path: Path) -> Results:
    """Run a script to its end with `tmp_path` as its folder; its result file, and what it printed."""

    def run(name: str, *arguments: str) -> tuple[dict[str, Any], str]:
        done = run_script(name, *arguments, "--out", str(tmp_path))
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / "result.json").read_text())
        assert result["versions"]["torch"] and "commit" in result
        assert result.get("quick", "--quick" in arguments) == ("--quick" in arguments)
        return result, done.stdout

    return run
