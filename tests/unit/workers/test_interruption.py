"""Ctrl-C and other signals end a run and its workers within a second; what was evaluated is in the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import gradopt
from gradopt.data.variables import Variable
from gradopt.truth import EvaluationStore, FunctionTruth

SECONDS = 2.0  # a second, and one for a machine that is busy

RUN = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs that a shell runs behind others
import numpy as np
import gradopt as go

def f(x):
    if x[0] > 1.0:
        open(f"running {os.getpid()}", "w").close()
        while True:  # holds on to the interpreter: no Python thread of the worker could end it in time
            sum(range(10**8))
    return x[0]

truth = go.FunctionTruth(f, (go.Variable("x"),), (go.Variable("y"),), identity="hangs")
truth = go.truth.ParallelTruth(truth, workers=3)
go.EvaluationStore("store.sqlite").evaluate(truth, np.array([[0.0], [2.0], [1.0], [3.0]]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_ends_with_its_workers_and_keeps_what_was_evaluated(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(gradopt.__file__).parents[1])}
    command = [sys.executable, "run.py"]
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    try:
        check(run, number, tmp_path)
    finally:
        run.kill()
        run.communicate()


def check(run: subprocess.Popen[bytes], number: signal.Signals, folder: Path) -> None:
    store = folder / "store.sqlite"
    truth = FunctionTruth(lambda x: x, (Variable("x"),), (Variable("y"),), identity="hangs")
    until = time.monotonic() + 60.0
    while not (len(list(folder.glob("running *"))) == 2 and store.exists() and count(store, truth) == 2):
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    workers = [int(path.name.split()[1]) for path in folder.glob("running *")]
    began = time.monotonic()
    run.send_signal(number)
    run.wait(timeout=10.0)
    while any(map(alive, workers)) and time.monotonic() < began + 10.0:
        time.sleep(0.01)
    assert time.monotonic() - began < SECONDS
    assert run.returncode == -number
    assert count(store, truth) == 2


def count(path: Path, truth: FunctionTruth) -> int:
    with EvaluationStore(path) as store:
        return store.count(truth)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to read its return code does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
