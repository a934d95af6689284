"""How tests run a script: by its `main`, in this process, which saves the imports; one script as a user does."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.shared.script import THREADS

ROOT = Path(__file__).parents[2]
OUT = "found.json"
AS_USER = "loop.kill_and_resume"  # one script is enough; this one starts processes of its own
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


def checked(folder: Path, printed: str, *arguments: str) -> Finished:
    """Read the result file of a script, and check what all result files have."""
    result = json.loads((folder / OUT).read_text())
    assert result["versions"]["torch"] and "commit" in result and result["machine"]["cpus"]
    assert result["quick"] == ("--quick" in arguments)
    return Finished(result, printed, folder)


def run_script(name: str, folder: Path, elsewhere: Path, *arguments: str) -> Finished:
    """Run a script; what OpenMDAO writes to the working directory goes elsewhere."""
    logger, threads = logging.getLogger("gradopt"), torch.get_num_threads()
    level, printed = logger.level, StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), redirect_stdout(printed):
        patch.chdir(elsewhere)
        patch.setenv("PYTHONPATH", search_path())  # of processes that the script starts
        warnings.simplefilter("ignore")
        try:
            code = import_module(f"scripts.{name}").main([*arguments, "--out", str(folder / OUT)])
        finally:
            logger.setLevel(level)
            torch.set_num_threads(threads)
    assert code == 0, printed.getvalue()
    return checked(folder, printed.getvalue(), *arguments)


def run_as_user(name: str, folder: Path, *arguments: str) -> Finished:
    """Run a script from the repository's root in a process of its own."""
    command = [sys.executable, "-m", f"scripts.{name}", *arguments, "--out", str(folder / OUT)]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": search_path()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return checked(folder, done.stdout, *arguments)


def search_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def script(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    """Run a script by THEME.NAME with arguments; its result file lies in `tmp_path`."""
    return lambda name, *arguments: run_script(name, tmp_path, tmp_path_factory.mktemp("elsewhere"), *arguments)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """Run a script with a tiny budget, once for all tests."""
    made: dict[str, Finished] = {}

    def run(name: str) -> Finished:
        if name not in made:
            folder, arguments = tmp_path_factory.mktemp(name), ("--quick", *OPTIONS.get(name, ()))
            if name == AS_USER:
                made[name] = run_as_user(name, folder, *arguments)
            else:
                made[name] = run_script(name, folder, tmp_path_factory.mktemp("elsewhere"), *arguments)
        return made[name]

    return run
