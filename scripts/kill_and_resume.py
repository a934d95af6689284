"""Kill `gradopt.optimize` at random moments, resume it on its store, and look for what was lost or done twice.

The model is Rosenbrock's function in 6 dimensions within a ball; each evaluation takes 20 ms and is noted in a log, to
which lines are only appended, when it begins and when it ends. A run in a process of its own is killed (SIGKILL) at a
random moment: after a random number of evaluations in that process and up to 60 ms more, so while it replays,
evaluates, writes, or optimizes. Then it is started again, until it was killed as often as asked; after that it may
finish. A run that finishes before is followed by one from another start. Each is compared with an uninterrupted run.
OUT/result.json holds, with versions and commit, for each run, and as sums over all:

- `kills`; how many of them left an evaluation unfinished (`in_flight`), how many came before any (`replaying`);
- `evaluations` of the uninterrupted run, `rows` in the store, and `begun` in all processes together;
- `lost`: evaluations that ended but are not in the store, other than the last of a killed process;
- `repeated`: evaluations begun of points that the store already had;
- `same`: whether history and answer are those of the uninterrupted run to the last bit;
- `seconds` of the uninterrupted run, and of all processes of the killed one.

The script ends with an error if anything was lost or repeated, or a run ended elsewhere.

    python scripts/kill_and_resume.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
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
from gradopt.report.records import write_result

SIZE, RADIUS, LONGEST = 6, 2.0, 0.06
NOT_COMPARED = {"seconds"}
COUNTED = ("kills", "replaying", "in_flight", "evaluations", "rows", "begun", "lost", "repeated")
PROCESSES = get_context("forkserver")  # whose server has imported all when it starts one


class Slow(om.ExplicitComponent):  # type: ignore[misc]
    """Rosenbrock's function f of x (6,) and c = |x|^2; each computation of partials is slow and noted in a log."""

    def __init__(self, log: Path) -> None:
        """Write to `log`."""
        super().__init__()
        self._log = log

    def setup(self) -> None:
        """Declare x, f and c."""
        self.add_input("x", shape=SIZE)
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
            log.write(json.dumps([os.getpid(), what, x]) + "\n")


def optimize(folder: Path, seed: int) -> gradopt.OptimizeResult:
    """Optimize from a random start, with store and log in a folder."""

    def model() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("slow", Slow(folder / "log.jsonl"), promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("c", upper=RADIUS**2)
        problem.setup()
        problem.set_val("x", np.random.default_rng(seed).uniform(-1.0, 1.0, SIZE))
        return problem

    return gradopt.optimize(
        model, store=folder / "store.sqlite", identity="rosenbrock in a ball", configuration=None, max_evaluations=400
    )


def work(folder: Path, seed: int) -> None:
    """Optimize in this process, and write the answer and history to folder/answer.json."""
    (folder / f"{os.getpid()}.alive").touch()
    result = optimize(folder, seed)
    result.store.close()
    rounds = [{k: v for k, v in vars(r).items() if k not in NOT_COMPARED} for r in result.history]
    answer = {"x": result.x["x"], "objective": result.objective, "exit": result.exit.value, "history": rounds}
    text = json.dumps(answer, default=lambda array: array.tolist())
    (folder / "answer.tmp").write_text(text)
    os.replace(folder / "answer.tmp", folder / "answer.json")


def points(folder: Path, what: str, pid: int | None = None) -> list[tuple[float, ...]]:
    """Points that the log says were begun or ended, by one process or by all."""
    log = folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [tuple(x) for process, kind, x in lines if kind == what and pid in (None, process)]


def stored(folder: Path) -> list[tuple[float, ...]]:
    """Points in the store, read without the library."""
    path = folder / "store.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'evaluations'").fetchall():
            return []
        return [tuple(np.frombuffer(x, "<f8").tolist()) for (x,) in database.execute("SELECT x FROM evaluations")]


def start(folder: Path, seed: int) -> BaseProcess:
    """Start a process that optimizes, and wait until it is about to begin."""
    process = PROCESSES.Process(target=work, args=(folder, seed))
    process.start()
    while process.is_alive() and not (folder / f"{process.pid}.alive").exists():
        time.sleep(0.002)
    return process


def live(folder: Path, seed: int, rng: np.random.Generator | None) -> tuple[bool, Counter[str]]:
    """One life of a run, to its end or until it is killed.

    Args:
        folder: Of the run.
        seed: Of its start.
        rng: Draws the moment; None lets it end.

    Returns:
        Whether it was killed, and what is to be counted.
    """
    before = set(stored(folder))
    process = start(folder, seed)
    if rng is not None:
        more = int(rng.integers(0, 4))
        while process.is_alive() and len(points(folder, "begin", process.pid)) < more:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, LONGEST))
        process.kill()  # has no effect on one that has ended
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    if not killed and process.exitcode != 0:
        raise RuntimeError(f"The optimization ended with the code {process.exitcode}.")
    begun, ended = points(folder, "begin", process.pid), points(folder, "end", process.pid)
    after = set(stored(folder))
    open_ones = [x for x in begun if x not in after]
    last = {begun[-1]} if killed and begun else set()
    return killed, Counter(
        kills=killed,
        replaying=killed and not begun,
        in_flight=len(last - after),
        begun=len(begun),
        lost=len(before - after) + sum(x not in after for x in set(ended) - last) + len(set(open_ones) - last),
        repeated=sum(x in before for x in begun) + len(begun) - len(set(begun)),
    )


def play(parent: Path, seed: int, kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Run from one start without a kill, and then with up to some."""
    whole, torn = parent / f"whole_{seed}", parent / f"torn_{seed}"
    for folder in (whole, torn):
        folder.mkdir()
    clock = time.perf_counter()
    live(whole, seed, None)
    seconds = [time.perf_counter() - clock]
    total: Counter[str] = Counter()
    clock = time.perf_counter()
    killed = True
    while killed:
        killed, counts = live(torn, seed, rng if total["kills"] < kills else None)
        total.update(counts)
    seconds.append(time.perf_counter() - clock)
    answers = [json.loads((folder / "answer.json").read_text()) for folder in (whole, torn)]
    total.update(evaluations=len(points(whole, "begin")), rows=len(stored(torn)))
    return {
        "seed": seed,
        **{name: total[name] for name in COUNTED},
        "same": json.dumps(answers[0]) == json.dumps(answers[1]),
        "exits": [answer["exit"] for answer in answers],
        "objectives": [answer["objective"] for answer in answers],
        "seconds": {"whole": seconds[0], "torn": seconds[1]},
    }


def show(console: Console, runs: list[dict[str, Any]]) -> None:
    """Print the table."""
    names = ("seed", *COUNTED, "same")
    table = Table(*names, "objective", "seconds")
    for run in runs:
        seconds = " / ".join(f"{value:.1f}" for value in run["seconds"].values())
        table.add_row(*(str(run[name]) for name in names), f"{run['objectives'][1]:.8g}", seconds)
    console.print(table)


def main() -> None:
    """Kill and resume."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/kill_and_resume"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="one kill, to see that it runs")
    parser.add_argument("--kills", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the first start")
    options = parser.parse_args()
    quick, seed = options.quick, options.seed
    wanted, rng = 1 if quick else options.kills, np.random.default_rng(seed)
    runs: list[dict[str, Any]] = []
    PROCESSES.set_forkserver_preload(["gradopt", "cases.records", "cases.rosenbrock.function"])
    with tempfile.TemporaryDirectory() as folder:
        while (left := wanted - sum(run["kills"] for run in runs)) > 0:
            runs.append(play(Path(folder), seed + len(runs), left, rng))
    result = {
        "quick": quick,
        **{name: sum(run[name] for run in runs) for name in COUNTED},
        "same": all(run["same"] for run in runs),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "load": os.getloadavg()},
        "runs": runs,
    }
    write_result(options.out / "result.json", result)
    show(Console(width=150), runs)
    faults = [run for run in runs if run["lost"] or run["repeated"] or not run["same"]]
    faults += [run for run in runs if run["begun"] != run["rows"] + run["in_flight"]]
    if faults:
        sys.exit(f"Lost, repeated or different: {faults}")


if __name__ == "__main__":
    main()
