"""The same points on each engine of docs/workers.md: whether the samples agree, and the time over the ideal one.

The *truth model*, short truth, sleeps for 0.2 s at each point, and returns its partials. Each engine evaluates the
initial samples of a run in one call, several times, after a call that starts its processes. The ideal time is 0.2 s
times the number of points over that of workers, rounded up. Printed and written to the result file for each engine:
seconds of the start, the median seconds of a call, their ratio to the ideal, and whether points, values and partials
are to all bits those of this process. With `--quick` there are 2 workers in place of 4. Engines:

- `in process`: the truth itself.
- `2 processes`: `ParallelTruth(make, 2)`.
- `Dask`: a scheduler and 4 workers, each a program of its own, on the loopback address.
- `MPI`: 5 ranks of `mpi4py.futures`, of which 4 evaluate, which share memory and have no ports.
- `executorlib`: `SingleNodeExecutor` with 4 workers, on the loopback address.
- `generator`: `gradopt.optimizer.Generator` suggests the points, this program evaluates them with 4 processes.

An engine whose package is missing is skipped, and named with the reason.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from gradopt.optimizer import Generator
from gradopt.truth import ParallelTruth, Truth
from scripts.shared.script import begin, parser_of, run
from scripts.workers.timed_call import INPUTS, OUTPUTS, SECONDS, Row, make_truth, timed

ROOT = Path(__file__).parents[2]
POINTS, CALLS, WORKERS = 32, 5, 4  # by hand: some seconds for each engine
LONGEST = 120.0  # s, until a program has started or ended; by hand
PACKAGES = {"Dask": "distributed", "MPI": "mpi4py", "executorlib": "executorlib", "generator": "gest_api"}


Points = Sequence[Sequence[float]]
"""Points (n, 2)."""


class Missing(Exception):
    """An engine is not installed."""


def in_process(x: Points, calls: int, workers: int) -> Row:
    """Evaluate one point after the other, whatever the number of workers is."""
    return timed(make_truth, x, calls, 1)


def on_processes(x: Points, calls: int, workers: int) -> Row:
    """Evaluate in two processes of this machine, whatever the number of workers is."""
    with ParallelTruth(make_truth, 2) as truth:
        return timed(lambda: truth, x, calls, 2)


def on_dask(x: Points, calls: int, workers: int) -> Row:
    """Evaluate on the workers of a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "scheduler.json")
        place = ["--scheduler-file", file, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        with program("dask", "scheduler", *place, "--port", "0"):
            until = time.monotonic() + LONGEST
            while not Path(file).exists() and time.monotonic() < until:
                time.sleep(0.05)
            with program("dask", "worker", *place, "--nworkers", str(workers), "--nthreads", "1"):
                from distributed import Client

                with Client(scheduler_file=file) as client:
                    client.wait_for_workers(workers, timeout=LONGEST)
                    return timed(lambda: ParallelTruth(make_truth, client.get_executor()), x, calls, workers)


def on_ranks(x: Points, calls: int, workers: int) -> Row:
    """Evaluate on ranks of MPI."""
    starter = Path(sys.executable).with_name("mpiexec.gforker")
    if not starter.exists():
        raise Missing("pip install mpich")
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "given.json", Path(folder) / "found.json"
        given.write_text(json.dumps({"x": x, "calls": calls}))
        command = [str(starter), "-n", str(workers + 1), sys.executable, "-m", "mpi4py.futures"]
        command += ["-m", "scripts.workers.timed_call", str(given), str(out)]
        variables = {**environment(), "OPENMDAO_USE_MPI": "0", "UCX_TLS": "self,sm"}
        subprocess.run(command, cwd=ROOT, env=variables, check=True, timeout=LONGEST)
        found: Row = json.loads(out.read_text())
        return found


def on_executorlib(x: Points, calls: int, workers: int) -> Row:
    """Evaluate on the workers of executorlib."""
    from executorlib import SingleNodeExecutor
    from executorlib.standalone.interactive.communication import SocketInterface

    def bind(self: Any) -> int:
        return int(self._socket.bind_to_random_port("tcp://127.0.0.1"))

    everywhere, SocketInterface.bind_to_random_port = SocketInterface.bind_to_random_port, bind
    try:
        with SingleNodeExecutor(max_workers=workers, block_allocation=True, hostname_localhost=True) as executor:
            return timed(lambda: ParallelTruth(make_truth, executor), x, calls, workers)
    finally:
        SocketInterface.bind_to_random_port = everywhere


def by_generator(x: Points, calls: int, workers: int) -> Row:
    """Evaluate what a generator suggests, and let it keep the results."""
    with ParallelTruth(make_truth, workers) as truth:
        return _generated(truth, x, calls, workers)


def _generated(truth: Truth, x: Points, calls: int, workers: int) -> Row:
    clock = time.perf_counter()
    truth.evaluate(np.array(x)[: 2 * workers])
    start, seconds = time.perf_counter() - clock, []
    for _ in range(calls):
        generator = generator_of(len(x))
        clock = time.perf_counter()
        points = generator.suggest(None)
        found = truth.evaluate([[point[variable.name] for variable in INPUTS] for point in points])
        results = []
        for point, y, dydx in zip(points, found.y.tolist(), found.dydx.tolist(), strict=True):
            row = dict(zip((variable.name for variable in OUTPUTS), y, strict=True))
            for output, partials in zip(OUTPUTS, dydx, strict=True):
                row |= {f"d{output.name}_d{one.name}": part for one, part in zip(INPUTS, partials, strict=True)}
            results.append({**point, **row})
        generator.ingest(results[::-1])
        seconds.append(time.perf_counter() - clock)
    data = generator.optimizer.data
    assert data is not None
    samples = {"x": data.x.tolist(), "y": data.y.tolist(), "dydx": data.partials.tolist()}
    return {"workers": workers, "start": start, "calls": seconds, "samples": samples}


def generator_of(points: int) -> Generator:
    """Make a generator that begins with so many initial samples."""
    from gest_api.vocs import VOCS

    vocs = VOCS(
        variables={"a": [-2.0, 2.0], "b": [-2.0, 2.0]},
        objectives={"f": "MINIMIZE"},
        constraints={"r2": ["LESS_THAN", 1.0]},
        observables=[f"d{output.name}_d{one.name}" for output in OUTPUTS for one in INPUTS],
    )
    return Generator(vocs, configuration=None, initial_samples=points)


@contextmanager
def program(*command: str) -> Iterator[None]:
    """Run a module of Python until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def environment() -> dict[str, str]:
    """Environment in which programs find this folder's repository."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


ENGINES: dict[str, Callable[[Points, int, int], Row]] = {
    "in process": in_process,
    "2 processes": on_processes,
    "Dask": on_dask,
    "MPI": on_ranks,
    "executorlib": on_executorlib,
    "generator": by_generator,
}


def measured(points: int, calls: int, workers: int) -> dict[str, Row]:
    """Evaluate the points on each engine, and compare the samples with those of this process."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (points, 2)).tolist()
    if find_spec("gest_api") is not None:
        x = [[point["a"], point["b"]] for point in generator_of(points).suggest(None)]
    rows: dict[str, Row] = {}
    samples = None
    for name, evaluate in ENGINES.items():
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            rows[name] = {"skipped": f"{PACKAGES[name]} is not installed"}
            continue
        try:
            row = evaluate(x, calls, workers)
        except Missing as missing:
            rows[name] = {"skipped": str(missing)}
            continue
        found = row.pop("samples")
        samples = samples or found
        ideal = SECONDS * math.ceil(points / row["workers"])
        seconds = statistics.median(row["calls"])
        rows[name] = {**row, "seconds": seconds, "ideal": ideal, "ratio": seconds / ideal, "same": found == samples}
    return rows


def table_of(rows: dict[str, Row]) -> Table:
    """Make the table: a line for each engine."""
    table = Table("engine", title="The same points on each engine")
    for column in ("workers", "start, s", "a call, s", "ideal, s", "call / ideal", "same samples"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        if "skipped" in row:
            table.add_row(name, row["skipped"])
            continue
        numbers = (f"{row['start']:.1f}", f"{row['seconds']:.2f}", f"{row['ideal']:.2f}", f"{row['ratio']:.2f}")
        table.add_row(name, str(row["workers"]), *numbers, "yes" if row["same"] else "NO")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, compare and write; the exit code is 1 where samples differ."""
    call = begin(parser_of(__file__, __doc__), argv)
    points, calls, workers = (8, 1, 2) if call.quick else (POINTS, CALLS, WORKERS)
    rows = measured(points, calls, workers)
    call.write({"points": points, "seconds_of_evaluation": SECONDS, "engines": rows})
    call.console.print(table_of(rows))
    return int(not all(row.get("same", True) for row in rows.values()))


if __name__ == "__main__":
    run(main)
