"""Functions that are evaluated on workers and stand for an expensive program; for `workers.kills`.

They stand in a file of their own, so that a worker imports little.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cases.rosenbrock.function import rosenbrock
from gradopt.errors import EvaluationError

TAKES = 0.01  # time of an evaluation, s
FAILS, HANGS, DIES = 0.20, 0.05, 0.02  # shares of the points


@dataclass(frozen=True)
class Noted:
    """Rosenbrock's function of x (d,), which notes in a log what it does."""

    log: Path

    def __call__(self, x: np.ndarray) -> float:
        """Evaluate, slowly."""
        self._note("begin", x)
        time.sleep(TAKES)
        found = float(rosenbrock(x)[0][0])
        self._note("end", x)
        return found

    def _note(self, what: str, x: np.ndarray) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps([os.getppid(), os.getpid(), what, x.tolist(), time.monotonic()]) + "\n")


def fate(x: np.ndarray) -> str:
    """Return what happens at x (d,): "fails", "hangs", "dies" or "", by a hash of all bits."""
    number = int.from_bytes(hashlib.sha256((x + 0.0).tobytes()).digest()[:8], "big") / 2.0**64
    limits = {"fails": FAILS, "hangs": FAILS + HANGS, "dies": FAILS + HANGS + DIES}
    return next((name for name, limit in limits.items() if number < limit), "")


def failing(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Rosenbrock's function of x (d,) and its partials, or what the fate of the point is."""
    happens = fate(x)
    if happens == "fails":
        raise EvaluationError("no convergence")
    if happens == "hangs":
        time.sleep(60.0)
    if happens == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return rosenbrock(x)
