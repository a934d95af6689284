"""A truth that does on demand what may happen in a worker, and pools of processes that tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gradopt import FunctionTruth, Variable
from gradopt.truth import ParallelTruth

LIMIT = 1.0
"""Time limit of the shared pool, s."""


def make_truth(folder: Path, threads_of: str = "OMP_NUM_THREADS") -> Callable[[], FunctionTruth]:
    """Return a factory of a truth of x = (code, number); y is a function of the number, or what the code says.

    The function stands within this one, so that it is sent to the workers by value: they cannot import tests.
    """

    def f(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import ctypes
        import os
        import signal
        import sys
        import time

        from gradopt.errors import EvaluationError

        code, number = int(x[0]), x[1]
        marker = folder / f"tried {number}"
        if code == 1:
            raise EvaluationError("no convergence")
        if code == 2:
            (folder / f"hangs {os.getpid()}").touch()
            time.sleep(60.0)
        if code == 3 or (code == 7 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if code == 4:
            ctypes.string_at(0)
        if code == 5:
            os._exit(7)
        if code == 6:
            raise ZeroDivisionError("a mistake in the code")
        if code == 8 and not marker.exists():
            marker.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60.0)
        if code == 10:
            time.sleep(0.2)
        if code == 9:  # returns when two are here at the same time
            marker.touch()
            while len(list(folder.glob("tried *"))) < 2:
                time.sleep(0.01)
        found = [np.sin(number) / 3.0, os.getpid(), os.getppid(), "pytest" in sys.modules]
        threads = float(os.environ.get(threads_of, -1.0))
        return np.array([*found, threads], float), np.outer(np.ones(5), [0.0, np.cos(number) / 3.0])

    def make() -> FunctionTruth:
        with (folder / "built").open("a") as file:
            file.write(".")
        inputs, outputs = (Variable("x", (2,)),), (Variable("y"), Variable("process", (4,)))
        return FunctionTruth(f, inputs, outputs, identity="codes")

    return make


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the shared truth."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="package")
def truth(folder: Path) -> Iterator[ParallelTruth]:
    """The truth on two processes of this machine."""
    with ParallelTruth(make_truth(folder), 2, time_limit=LIMIT) as found:
        yield found
