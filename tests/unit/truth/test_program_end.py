"""Runs of a program end with all their processes, whatever ends the program or Python, and leave signals alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradopt
from gradopt import CommandTruth, Variable
from gradopt.truth import Evaluations, Finished
from gradopt.workers.processes import Watchdog

pytestmark = pytest.mark.usefixtures("temporary")


def printed(run: Finished) -> float:
    return float(run.stdout)


def evaluated(script: str, parse: Callable[[Finished], Any] = printed) -> Evaluations:
    """Evaluate a shell script as a truth at one point."""
    truth = CommandTruth(["/bin/sh", "-c", script], {"in": "{x}"}, parse, (Variable("x"),), (Variable("y"),), "script")
    return truth.evaluate([[1.0]])


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(condition: Callable[[], bool], limit: float = 5.0) -> bool:
    """Wait until a condition no longer holds, at most so many seconds."""
    end = time.monotonic() + limit
    while condition() and time.monotonic() < end:
        time.sleep(0.005)
    return not condition()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.parametrize(
    "script",
    [
        "sleep 60 & echo $! > {pid}; echo 1",
        "nohup sleep 60 > /dev/null 2>&1 & echo $! > {pid}; echo 1",
        "(trap '' TERM HUP; exec sleep 60) & echo $! > {pid}; echo 1",
        "set -m; sleep 60 & echo $! > {pid}; echo 1",  # a process group of its own
        "sleep 60 & echo $! > {pid}; echo 1; kill -9 $$",
    ],
)
def test_child_processes_that_outlive_the_program_are_killed(tmp_path: Path, script: str) -> None:
    began = time.monotonic()
    assert evaluated(script.format(pid=tmp_path / "pid")).y.tolist() == [[1.0]]
    assert time.monotonic() - began < 10.0
    assert ends(lambda: is_alive(int((tmp_path / "pid").read_text())))


ENDED = """
import os, signal, sys, threading
from gradopt.truth import Program

program = Program(["/bin/sh", "-c", f"echo $$ $PWD > {sys.argv[1]}; sleep 60 & exec sleep 60"])

def run():
    program.run({"in": "text"}, lambda finished: 1)

def handler(number, frame):
    print("handler", flush=True)
    sys.exit(7)
"""


@linux
@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (signal.SIGTERM, "run()", (-signal.SIGTERM, "")),
        (signal.SIGKILL, "run()", (-signal.SIGKILL, "")),
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, handler); run()", (7, "handler\n")),
        (signal.SIGKILL, "thread = threading.Thread(target=run); thread.start(); thread.join()", (-9, "")),
    ],
    ids=["SIGTERM", "SIGKILL", "own handler", "thread"],
)
def test_a_signal_that_ends_python_ends_the_program_and_removes_its_folder(
    tmp_path: Path, temporary: Path, number: signal.Signals, code: str, expected: tuple[int, str]
) -> None:
    note = tmp_path / "note"
    root = str(Path(gradopt.__file__).parents[1])
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": root}
    command = [sys.executable, "-c", ENDED + code, str(note)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert ends(lambda: not note.exists() or not note.read_text().endswith("\n"), 30.0)
        pid, folder = note.read_text().split()
        assert is_alive(int(pid)) and Path(folder).exists()
        child.send_signal(number)
        output, _ = child.communicate(timeout=10)
    assert (child.returncode, output) == expected
    assert ends(lambda: is_alive(int(pid))) and ends(lambda: any(temporary.iterdir()))


@linux
def test_a_program_that_was_started_but_not_named_ends_with_python(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    watchdog = Watchdog(folder)
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & exec sleep 60"], cwd=folder, start_new_session=True) as program:
        watchdog.close()  # as the end of this process would
        assert program.wait(timeout=10) == -signal.SIGKILL
        assert ends(folder.exists)
        watchdog.dismiss()


@linux
def test_a_forked_process_does_not_keep_the_watchdog_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    watchdog = Watchdog(folder)
    child = os.fork()
    if child == 0:  # would hold the pipe open if it were not closed in it
        time.sleep(60)
        os._exit(0)
    watchdog.close()
    try:
        assert ends(folder.exists)
        watchdog.dismiss()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_handlers_and_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    during: list[object] = []

    def parse(run: Finished) -> float:
        during.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))
        return printed(run)

    results: list[Evaluations] = []
    thread = threading.Thread(target=lambda: results.append(evaluated("echo 1", parse)))
    thread.start()
    thread.join()
    assert results[0].ok[0] and during == before


def test_a_process_that_ignores_the_end_of_its_children_can_run_programs() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert evaluated("echo 1").y.tolist() == [[1.0]]
    finally:
        signal.signal(signal.SIGCHLD, before)
