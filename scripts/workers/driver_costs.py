"""What a program pays for many evaluations on workers; for `workers.many_evaluations`.

Run by itself, with the number of an engine and a number of points, the module measures one call in its own process,
since the peak memory of a process never falls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.truth import ParallelTruth
from scripts.shared.costs import memory_of_process

ENGINES = ("processes", "dask")
D, WORKERS = 10, 2  # variables; workers


def square(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the sum of squares of x (d,) and its partials (d,)."""
    return float(x @ x), 2.0 * x


@contextmanager
def workers_of(engine: str, folder: Path) -> Iterator[int | Executor]:
    """Start the workers of an engine."""
    if engine == "processes":
        yield WORKERS
        return
    from distributed import Client

    file = folder / "scheduler.json"
    one = ["--scheduler-file", str(file), "--no-dashboard"]
    programs = [["dask_scheduler", *one, "--host", "127.0.0.1", "--port", "0"]]
    programs += [["dask_worker", *one, "--nthreads", "1", "--nworkers", str(WORKERS), "--host", "127.0.0.1"]]
    root = str(Path(__file__).parents[2])  # where gradopt is, unless it is installed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            words = [sys.executable, "-m", f"distributed.cli.{program[0]}", *program[1:]]
            quiet = subprocess.DEVNULL
            started.append(subprocess.Popen(words, cwd=folder, env=environment, stdout=quiet, stderr=quiet))
            while not file.exists():
                time.sleep(0.05)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(WORKERS, timeout=120)
            yield client.get_executor()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def measure(engine: str, n: int) -> dict[str, float]:
    """Evaluate n points, and return the figures."""
    truth = FunctionTruth(square, (Variable("x", (D,)),), (Variable("y"),), identity="square")
    points = np.random.default_rng(0).normal(size=(n, D))
    with tempfile.TemporaryDirectory() as folder, workers_of(engine, Path(folder)) as workers:
        path = Path(folder) / "store.sqlite"
        with ParallelTruth(truth, workers) as parallel, EvaluationStore(path) as store:
            store.evaluate(parallel, np.random.default_rng(1).normal(size=(4 * WORKERS, D)))  # starts the processes
            memory, began = memory_of_process("VmRSS"), (time.perf_counter(), time.process_time())
            found = store.evaluate(parallel, points)
            wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
            grown, rows = memory_of_process("VmHWM") - memory, store.count(parallel)
            if not found.ok.all():
                raise AssertionError(found.message)
        size = path.stat().st_size
    each = {"memory": max(grown, 0.0) / n, "bytes": size / rows}
    return {"rows_per_second": n / wall, "processor": processor / n, **each}


if __name__ == "__main__":
    print(json.dumps(measure(ENGINES[int(sys.argv[1])], int(sys.argv[2]))))
