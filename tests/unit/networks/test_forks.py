"""Fits in forked processes: torch has one thread there, so that nothing waits for threads that are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gradopt
from gradopt.networks import forks

ROOT = Path(__file__).parents[3]

FORK = """
import multiprocessing, sys, warnings
import numpy as np
import gradopt

warnings.simplefilter("ignore")  # Python warns of forks beside threads
x = np.linspace(-1.0, 1.0, 10)[:, None]
data = gradopt.Dataset(x, x**2, 2.0 * x[:, :, None])

def fit(surrogate=None):
    made = gradopt.JENN((4,), starts=1, alpha=1e-3).fit(data) if surrogate is None else surrogate.polish(data)
    return made, float(made.predict([[0.5]])[0, 0]), float(made.std([[0.5]])[0, 0])

if __name__ == "__main__":
    surrogate, *here = fit()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply_async(fit).get(60)[1:]
        assert list(there) == here, (there, here)
        pool.apply_async(fit, (surrogate,)).get(60)
    print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_forked_process_fits_after_its_parent_has(tmp_path: Path) -> None:
    """With two threads the forked process hung in its first large operation."""
    script = tmp_path / "fits_twice.py"
    script.write_text(FORK)
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert run.stdout.strip() == "same", run.stderr


def test_only_a_forked_process_changes_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    forks.use_one_thread_after_fork()
    assert threads == [4]
    monkeypatch.setattr(forks, "_IMPORTED_BY", os.getpid() + 1)
    forks.use_one_thread_after_fork()
    forks.use_one_thread_after_fork()
    assert threads == [4, 1]


def test_neither_package_nor_cases_start_processes_that_could_be_forked() -> None:
    """Programs and workers are started by `subprocess`, without a fork of Python; pipes start no process."""
    pipes = r"(?!(\.connection)? import (Pipe|Connection)$)"
    starts = re.compile(rf"\bos\.fork|\bmultiprocessing\b{pipes}|\bProcessPoolExecutor\b|\bforkpty\b")
    files = [*Path(gradopt.__file__).parent.rglob("*.py"), *(ROOT / "cases").rglob("*.py")]
    assert len(files) > 100
    advice = "get_context('spawn')"
    lines = [(str(path), line) for path in files for line in path.read_text().splitlines() if advice not in line]
    found = [path for path, line in lines if starts.search(line)]
    assert not found


def test_scripts_fork_only_with_one_thread() -> None:
    """A process that is forked by a script sets torch to one thread; others are spawned or come of a fork server."""
    for path in (ROOT / "scripts").rglob("*.py"):
        text = path.read_text()
        if re.search(r"get_context\(\"fork\"\)|os\.fork\(", text):
            assert "torch.set_num_threads(1)" in text, path
