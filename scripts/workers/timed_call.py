"""One call of a truth that takes a while, timed. For `workers.engines`, also as the program that runs on ranks of MPI.

The program takes a JSON file with the points and the number of calls, and the file for what it found.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradopt import FunctionTruth, Variable
from gradopt.truth import ParallelTruth, Truth

INPUTS = (Variable("a", lower=-2.0, upper=2.0), Variable("b", lower=-2.0, upper=2.0))
OUTPUTS = (Variable("f"), Variable("r2"))
SECONDS = 0.2  # of an evaluation

Row = dict[str, Any]


def make_truth() -> FunctionTruth:
    """Make Rosenbrock's function and the squared distance from the origin, with partials, in `SECONDS` a point."""

    def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(SECONDS)
        bend = x[1] - x[0] ** 2
        gradient = [-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend]
        return np.array([100.0 * bend**2 + (1.0 - x[0]) ** 2, x @ x]), np.array([gradient, 2.0 * x])

    return FunctionTruth(evaluate, INPUTS, OUTPUTS, identity="valley and disk, slow")


def timed(begin: Callable[[], Truth], x: Sequence[Sequence[float]], calls: int, workers: int) -> Row:
    """Evaluate points several times.

    Args:
        begin: Makes the truth, and starts its engine.
        x: Points (n, d).
        calls: Number of calls that are timed, after one that starts the processes.
        workers: Number of evaluations at the same time.

    Returns:
        Seconds until the processes have been started and of each call, and the samples.
    """
    clock = time.perf_counter()
    truth = begin()
    truth.evaluate(np.array(x)[: 2 * workers])
    start = time.perf_counter() - clock
    seconds = []
    for _ in range(calls):
        clock = time.perf_counter()
        found = truth.evaluate(x)
        seconds.append(time.perf_counter() - clock)
    samples = {"x": found.x.tolist(), "y": found.y.tolist(), "dydx": found.dydx.tolist()}
    return {"workers": workers, "start": start, "calls": seconds, "samples": samples}


def run_on_ranks(given: Path, out: Path) -> None:
    """Evaluate on all ranks but this one."""
    from mpi4py.futures import MPIPoolExecutor

    asked = json.loads(given.read_text())
    with MPIPoolExecutor() as executor:
        found = timed(lambda: ParallelTruth(make_truth, executor), asked["x"], asked["calls"], executor.num_workers)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    run_on_ranks(Path(sys.argv[1]), Path(sys.argv[2]))
