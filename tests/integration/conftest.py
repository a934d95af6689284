"""How tests run a script: in a process of its own, from the repository's root, as a user does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = {"airfoil.xfoil_calls": ("--cross",)}  # of the smoke test, beside --quick


@dataclass(frozen=True)
class Finished:
    """A script that has run.

    Attributes:
        result: What is in its result file.
        printed: What it printed.
        folder: Folder of its result file.
    """

    result: dict[str, Any]
    printed: str
    folder: Path


def run_script(name: str, folder: Path, *arguments: str) -> Finished:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    out = folder / "found.json"
    command = [sys.executable, "-m", f"scripts.{name}", *arguments, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    result = json.loads(out.read_text())
    assert result["versions"]["torch"] and "commit" in result and result["machine"]["cpus"]
    assert result["quick"] == ("--quick" in arguments)
    return Finished(result, done.stdout, folder)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Finished]:
    """Run a script by THEME.NAME with arguments; its result file lies in `tmp_path`."""
    return lambda name, *arguments: run_script(name, tmp_path, *arguments)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """Run a script with a tiny budget, once for all tests."""
    made: dict[str, Finished] = {}

    def run(name: str) -> Finished:
        if name not in made:
            made[name] = run_script(name, tmp_path_factory.mktemp(name), "--quick", *OPTIONS.get(name, ()))
        return made[name]

    return run
