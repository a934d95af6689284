"""Kill `gradopt.optimize` at random moments, resume from its store, and find what was lost or made twice.

The model is Rosenbrock's function in 6 dimensions within a ball; each evaluation takes 20 ms and is noted when it
begins and when it ends, in a log to which lines are only appended. A run in a process of its own is killed (SIGKILL) at
a random moment: after a random number of evaluations in that process and up to 60 ms more, hence during replay,
evaluation, writing, or optimization. Then the run is started again, until its processes were killed 25 times, or as
often as `--kills` says in all; after that it may finish. It is followed by a run from another start: every second one
fits a network in each iteration. Each is compared with an uninterrupted run. Printed and written to the result file,
for each run, and as sums over all:

- `kills`; how many of them left an evaluation unfinished (`in_flight`), how many came before any (`replaying`);
- `evaluations` of the uninterrupted run, `rows` in the store, and `begun` in all processes together;
- `lost`: evaluations that ended but are not in the store, other than the last of a killed process;
- `verified`: stored points that were evaluated again and compared, at most one by each process;
- `repeated`: other evaluations begun of points that were in the store already;
- `same`: whether history and result are those of the uninterrupted run, bit for bit;
- `seconds` of the uninterrupted run (`whole`), and of all processes of the killed one (`torn`).

The exit code is 1 if anything was lost or repeated, or the result of a run differs.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
from rich.console import Console
from rich.table import Table

import gradopt
from cases.rosenbrock.function import rosenbrock
from gradopt.solvers import LevenbergMarquardt
from scripts.shared.script import begin, parser_of, run

SIZE, RADIUS = 6, 2.0  # number of design variables; radius of the ball
KILLS, KILLS_OF_A_RUN = 20, 25
QUICK_SIZE, QUICK_KILLS, QUICK_KILLS_OF_A_RUN = 2, 2, 1
NETWORK = gradopt.JENN((4,), activation="tanh", starts=1, solver=LevenbergMarquardt(max_iterations=5))
DELAY = 0.06  # seconds, at most, from the last evaluation to the kill; three evaluations
NOT_COMPARED = {"seconds"}
COUNTED = ("kills", "replaying", "in_flight", "evaluations", "rows", "begun", "verified", "lost", "repeated")
PROCESSES = get_context("forkserver")  # its server imports all before it starts a process


class Slow(om.ExplicitComponent):  # type: ignore[misc]
    """Rosenbrock's function f of x (d,) and c = |x|^2; partials take 20 ms and are noted in a log."""

    def __init__(self, log: Path, size: int) -> None:
        """Write to `log`; `size` is d."""
        super().__init__()
        self._log, self._size = log, size

    def setup(self) -> None:
        """Declare x, f and c."""
        self.add_input("x", shape=self._size)
        self.add_output("f")
        self.add_output("c")
        self.declare_partials("*", "*")

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Compute f and c."""
        outputs["f"], outputs["c"] = rosenbrock(inputs["x"])[0], inputs["x"] @ inputs["x"]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Compute the partials, slowly."""
        x = inputs["x"].tolist()
        self._note("begin", x)
        time.sleep(0.02)
        partials["f", "x"], partials["c", "x"] = rosenbrock(inputs["x"])[1], 2.0 * inputs["x"]
        self._note("end", x)

    def _note(self, what: str, x: list[float]) -> None:
        with self._log.open("a") as log:
            log.write("\n" + json.dumps([os.getpid(), what, x]) + "\n")  # a process before may have left half a line


def optimize(folder: Path, seed: int, size: int) -> gradopt.OptimizeResult:
    """Optimize from a random start, with store and log in a folder."""

    def model() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("slow", Slow(folder / "log.jsonl", size), promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("c", upper=RADIUS**2)
        problem.setup()
        problem.set_val("x", np.random.default_rng(seed).uniform(-1.0, 1.0, size))
        return problem

    return gradopt.optimize(
        model,
        store=folder / "store.sqlite",
        identity="rosenbrock in a ball",
        configuration=NETWORK if seed % 2 else None,
        max_evaluations=400,
    )


def work(folder: Path, seed: int, size: int) -> None:
    """Optimize in this process, and write result and history to folder/result.json."""
    (folder / f"{os.getpid()}.alive").touch()
    result = optimize(folder, seed, size)
    result.store.close()
    iterations = [{k: v for k, v in vars(r).items() if k not in NOT_COMPARED} for r in result.history]
    found = {"x": result.x["x"], "objective": result.objective, "exit": result.exit.value, "history": iterations}
    text = json.dumps(found, default=lambda array: array.tolist())
    (folder / "result.tmp").write_text(text)
    os.replace(folder / "result.tmp", folder / "result.json")


def points(folder: Path, what: str, pid: int | None = None) -> list[tuple[float, ...]]:
    """Return the points of the log that were begun or ended, by one process or by all."""
    log = folder / "log.jsonl"
    text = log.read_text() if log.exists() else ""
    # Each line is the beginning of one: the process was killed, or is writing, where it does not end.
    lines = [json.loads(line) for line in text.split("\n") if line.endswith("]]")]
    return [tuple(x) for process, kind, x in lines if kind == what and pid in (None, process)]


def stored(folder: Path) -> list[tuple[float, ...]]:
    """Return the points in the store, read without the package."""
    path = folder / "store.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'evaluations'").fetchall():
            return []
        return [tuple(np.frombuffer(x, "<f8").tolist()) for (x,) in database.execute("SELECT x FROM evaluations")]


def start(folder: Path, seed: int, size: int) -> BaseProcess:
    """Start a process that optimizes, and wait until its optimization begins."""
    process = PROCESSES.Process(target=work, args=(folder, seed, size))
    process.start()
    while process.is_alive() and not (folder / f"{process.pid}.alive").exists():
        time.sleep(0.002)
    return process


def run_process(folder: Path, seed: int, size: int, rng: np.random.Generator | None) -> tuple[bool, Counter[str]]:
    """Run one process of a run, to its end or until it is killed.

    Args:
        folder: Folder of the run.
        seed: Seed of the start.
        size: Number of design variables.
        rng: Generator that draws the moment of the kill, or None for no kill.

    Returns:
        Whether the process was killed, and its counts.
    """
    before = set(stored(folder))
    process = start(folder, seed, size)
    if rng is not None:
        more = int(rng.integers(0, 4))
        while process.is_alive() and len(points(folder, "begin", process.pid)) < more:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, DELAY))
        process.kill()  # has no effect on one that has ended
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    if not killed and process.exitcode != 0:
        raise RuntimeError(f"The optimization ended with the code {process.exitcode}.")
    begun, ended = points(folder, "begin", process.pid), points(folder, "end", process.pid)
    after = set(stored(folder))
    open_ones = [x for x in begun if x not in after]
    last = {begun[-1]} if killed and begun else set()
    verified = int(bool(begun) and begun[0] in before)
    return killed, Counter(
        kills=killed,
        replaying=killed and len(begun) == verified,
        in_flight=len(last - after),
        begun=len(begun),
        verified=verified,
        lost=len(before - after) + sum(x not in after for x in set(ended) - last) + len(set(open_ones) - last),
        repeated=sum(x in before for x in begun) - verified + len(begun) - len(set(begun)),
    )


def compare(parent: Path, seed: int, size: int, kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Run from one start without a kill, and then with at most `kills`."""
    whole, torn = parent / f"whole_{seed}", parent / f"torn_{seed}"
    for folder in (whole, torn):
        folder.mkdir()
    clock = time.perf_counter()
    run_process(whole, seed, size, None)
    seconds = [time.perf_counter() - clock]
    total: Counter[str] = Counter()
    clock = time.perf_counter()
    killed = True
    while killed:
        killed, counts = run_process(torn, seed, size, rng if total["kills"] < kills else None)
        total.update(counts)
    seconds.append(time.perf_counter() - clock)
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, torn)]
    total.update(evaluations=len(points(whole, "begin")), rows=len(stored(torn)))
    return {
        "seed": seed,
        "network": bool(seed % 2),
        **{name: total[name] for name in COUNTED},
        "same": json.dumps(results[0]) == json.dumps(results[1]),
        "exits": [result["exit"] for result in results],
        "objectives": [result["objective"] for result in results],
        "seconds": {"whole": seconds[0], "torn": seconds[1]},
    }


def show(console: Console, runs: list[dict[str, Any]]) -> None:
    """Print the table."""
    names = ("seed", "network", *COUNTED, "same")
    table = Table(*names, "objective", "seconds")
    for one in runs:
        seconds = " / ".join(f"{value:.1f}" for value in one["seconds"].values())
        table.add_row(*(str(one[name]) for name in names), f"{one['objectives'][1]:.8g}", seconds)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Kill and resume, write and print; return 1 where a run has a fault."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--kills", type=int, default=None, help=f"number of kills, {KILLS} by default")
    call, rng = begin(parser, argv), np.random.default_rng(0)
    size, kills, most = (QUICK_SIZE, QUICK_KILLS, QUICK_KILLS_OF_A_RUN) if call.quick else (SIZE, KILLS, KILLS_OF_A_RUN)
    kills = kills if call.options.kills is None else call.options.kills
    runs: list[dict[str, Any]] = []
    loaded = ["gradopt.om.optimize", "gradopt.surrogates.configurations.jenn", "cases.rosenbrock.function"]
    PROCESSES.set_forkserver_preload([*loaded, "scripts.shared.script"])
    with tempfile.TemporaryDirectory() as folder:
        while (left := kills - sum(one["kills"] for one in runs)) > 0:
            runs.append(compare(Path(folder), len(runs), size, min(left, most), rng))
    sums = {name: sum(one[name] for one in runs) for name in COUNTED}
    call.write({**sums, "same": all(one["same"] for one in runs), "runs": runs})
    show(call.console, runs)
    faults = [one for one in runs if one["lost"] or one["repeated"] or not one["same"]]
    faults += [one for one in runs if one["begun"] != one["rows"] + one["in_flight"] + one["verified"]]
    if faults:
        call.console.print(f"Lost, repeated or different: {faults}")
    return int(bool(faults))


if __name__ == "__main__":
    run(main)
