"""Kill a program and its workers at random moments, resume it, and find what was lost or made twice.

The *truth model*, short truth, is Rosenbrock's function of three variables without partials; each evaluation takes 10
ms on one of two workers and is noted when it begins and when it ends, in a log to which lines are only appended. Two
programs are run by turns: `store.evaluate(ParallelTruth(...), points)` with 150 points, and `Optimizer.run` of a
`ParallelTruth`, with finite differences and at most 150 evaluations. After a random number of evaluations and up to 40
ms more, either the program or one of its workers is killed (SIGKILL). A killed program is started again, on the same
store; a point whose worker died is evaluated again (`retries`). After 100 kills, or as many as `--kills` says in all, a
run may finish. Each is compared with an undisturbed run. Printed and written to the result file, for each run and as
sums:

- `kills`: of which `of_workers`;
- `rows` in the store, and `begun`: evaluations begun in all processes together;
- `in_flight`: evaluations that were in progress, or not written yet, when their worker or the program was killed;
- `verified`: stored points that were evaluated again and compared, at most one by each program;
- `unwritten`: evaluations among these that had ended: their results were on the way to the file;
- `lost`: rows that vanished, and evaluations that ended a second before the kill, or more, and are not in the store;
- `repeated`: other evaluations of points that had been begun before;
- `same`: whether all rows and the history are those of the undisturbed run, bit for bit;
- `seconds` of the runs that were killed.

With `--failing` nothing is killed from outside. The truth is Rosenbrock's function with partials, in 2 and 5 variables
from 10 starts each. By a hash of the point 20 % of the points raise a failure, 5 % hang until the time limit of 1 s,
and 2 % kill their worker. Printed and written:

- `ratio`: evaluations until certified, failed ones included, over those of the run without failures: median, quartiles
  and largest of the pairs in which both are certified; `certified`: number of such runs of all;
- `by_chance`: the ratio where each failed evaluation is made good by others with the same chance to fail, 1 / 0.73;
- `beyond_limit`: time by which the evaluations that hang exceed the limit, s: median and largest.

The exit code is 1 if anything was lost or repeated, or a result differs, or an evaluation exceeded the limit by 1 s.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.rosenbrock.function import rosenbrock
from gradopt import EvaluationStore, FunctionTruth, Optimizer, Variable
from gradopt.loop.settings import Settings
from gradopt.sampling import latin_hypercube
from gradopt.truth import Evaluations, ParallelTruth
from scripts.shared.script import Call, begin, parser_of, run
from scripts.shared.statistics import over_seeds
from scripts.workers.fake_truths import DIES, FAILS, HANGS, Noted, failing, fate

D, POINTS, MOST, WORKERS, RETRIES = 3, 150, 150, 2, 1000
KILLS, KILLS_OF_A_RUN, QUICK_KILLS = 100, 100, 4
OLDEST = 1.0  # time in which an evaluation that has ended has to be in the file, s; by hand: the machine is busy
DELAY = 0.04  # seconds, at most, from the last evaluation to a kill
LIMIT = 1.0  # time limit, s
SIZES, STARTS, BUDGET = (2, 5), 10, 300
BEYOND = 1.0  # time by which no evaluation may exceed the limit, s
COUNTED = ("kills", "of_workers", "rows", "begun", "in_flight", "unwritten", "verified", "lost", "repeated")
PROCESSES = get_context("forkserver")  # its server imports all before it starts a process
LOADED = [
    "gradopt.optimizer.optimizer",
    "gradopt.sampling",
    "gradopt.truth",
    "scripts.shared.script",
    "scripts.workers.fake_truths",
]

Line = tuple[int, int, str, tuple[float, ...], float]
"""Program, worker, "begin" or "end", point, and time, s."""


def noted(folder: Path, d: int) -> FunctionTruth:
    """Make the truth of a run."""
    inputs = (Variable("x", (d,), lower=np.full(d, -2.0), upper=np.full(d, 2.0)),)
    return FunctionTruth(Noted(folder / "log.jsonl"), inputs, (Variable("f"),), identity="rosenbrock")


def loop(truth: FunctionTruth | ParallelTruth, store: EvaluationStore, start: np.ndarray, budget: int) -> Optimizer:
    """Minimize from a start (d,)."""
    settings = Settings(max_evaluations=budget)
    optimizer = Optimizer(truth.inputs, truth.outputs, start, configuration=None, settings=settings)
    optimizer.run(truth, store)
    return optimizer


def work(folder: Path, seed: int) -> None:
    """Run one of the two programs in this process; write the history to folder/result.json."""
    truth, history = noted(folder, D), list[dict[str, Any]]()
    with (
        ParallelTruth(truth, WORKERS, retries=RETRIES) as parallel,
        EvaluationStore(folder / "store.sqlite") as store,
    ):
        if seed % 2 == 0:
            store.evaluate(parallel, latin_hypercube(truth.inputs, POINTS, seed))
        else:
            found = loop(parallel, store, np.random.default_rng(seed).uniform(-1.0, 1.0, D), MOST)
            history = [{k: v for k, v in vars(one).items() if k != "seconds"} for one in found.history]
    text = json.dumps(history, default=lambda array: array.tolist())
    (folder / "result.tmp").write_text(text)
    os.replace(folder / "result.tmp", folder / "result.json")


def lines(folder: Path, program: int) -> list[Line]:
    """Return the lines of the log that the workers of a program wrote."""
    log = folder / "log.jsonl"
    whole = log.read_text().split("\n")[:-1] if log.exists() else []  # the last one is being written, or empty
    found = [(of, worker, what, tuple(x), when) for of, worker, what, x, when in map(json.loads, whole)]
    return [line for line in found if line[0] == program]


def length(folder: Path) -> int:
    """Return the number of lines of the log."""
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def stored(folder: Path) -> Evaluations:
    """Return what is in the store."""
    with EvaluationStore(folder / "store.sqlite") as store:
        return store.evaluations(noted(folder, D))


def points_of(found: Evaluations) -> set[tuple[float, ...]]:
    """Return the points of evaluations."""
    return set(map(tuple, found.x.tolist()))


def run_program(folder: Path, seed: int, kills: int, rng: np.random.Generator) -> tuple[bool, Counter[str]]:
    """Run a program until it ends, or is killed.

    Args:
        folder: Folder of the run.
        seed: Seed of the run.
        kills: Number of kills, of the program and of workers, at most.
        rng: Generator that draws moments and victims.

    Returns:
        Whether the program was killed, and its counts.
    """
    before = points_of(stored(folder))
    process = PROCESSES.Process(target=work, args=(folder, seed))
    process.start()
    assert process.pid is not None
    victims: list[int] = []
    while kills > len(victims) and process.is_alive():
        until = length(folder) + 2 * int(rng.integers(0, 5))
        while process.is_alive() and length(folder) < until:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, DELAY))
        workers = sorted({worker for _, worker, *_ in lines(folder, process.pid)} - set(victims))[-WORKERS:]
        if not workers or rng.uniform() < 0.4:
            process.kill()  # has no effect on one that has ended
            break
        with suppress(ProcessLookupError):  # the program has ended
            victim = workers[int(rng.integers(len(workers)))]
            os.kill(victim, signal.SIGKILL)
            victims.append(victim)
    process.join()
    end = time.monotonic()
    killed = process.exitcode == -signal.SIGKILL
    if not killed and process.exitcode != 0:
        raise RuntimeError(f"The program ended with the code {process.exitcode}.")
    return killed, counts_of(lines(folder, process.pid), before, points_of(stored(folder)), victims, killed, end)


def counts_of(
    log: list[Line],
    before: set[tuple[float, ...]],
    after: set[tuple[float, ...]],
    victims: list[int],
    killed: bool,
    end: float,
) -> Counter[str]:
    """Count what a program did.

    Args:
        log: Lines of its workers.
        before: Points in the store before.
        after: Points in the store afterwards.
        victims: Workers that were killed.
        killed: Whether the program was killed.
        end: When it ended, s.
    """
    begun = [x for _, _, what, x, _ in log if what == "begin"]
    ended = {x: when for _, _, what, x, when in log if what == "end"}
    last = {worker: x for _, worker, what, x, _ in log if what == "begin"}
    at = Counter(last[victim] for victim in victims)
    again = sum(min(times, begun.count(x) - 1) for x, times in at.items())  # others had just been written
    ages = [end - ended[x] for x in set(begun) - after - set(at) if x in ended]  # those in `at` were begun again
    verified = int(bool(begun) and begun[0] in before)
    return Counter(
        kills=len(victims) + killed,
        of_workers=len(victims),
        begun=len(begun),
        in_flight=again + len(set(begun) - after) * killed,
        unwritten=len(ages),
        verified=verified,
        lost=len(before - after) + sum(age > OLDEST or not killed for age in ages),
        repeated=len(begun) - len(set(begun)) - again + sum(x in before for x in set(begun)) - verified,
    )


def compare(parent: Path, seed: int, kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Run once undisturbed, and once with kills."""
    whole, torn = parent / f"whole_{seed}", parent / f"torn_{seed}"
    for folder in (whole, torn):
        folder.mkdir()
    run_program(whole, seed, 0, rng)
    total, killed, clock = Counter[str](), True, time.perf_counter()
    while killed:
        killed, counts = run_program(torn, seed, max(kills - total["kills"], 0), rng)
        total.update(counts)
    seconds = time.perf_counter() - clock
    rows = [sorted(zip(one.x.tolist(), one.y.tolist(), one.status, strict=True)) for one in map(stored, (whole, torn))]
    histories = [(folder / "result.json").read_text() for folder in (whole, torn)]
    total.update(rows=len(rows[1]))
    same = rows[0] == rows[1] and histories[0] == histories[1]
    program = "minimize" if seed % 2 else "evaluate"
    return {"seed": seed, "program": program, **{n: total[n] for n in COUNTED}, "same": same, "seconds": seconds}


def faulty(one: dict[str, Any]) -> bool:
    """Whether anything of a run is not as it should be."""
    told = one["rows"] + one["in_flight"] + one["verified"]
    return bool(one["lost"] or one["repeated"] or not one["same"] or one["begun"] != told)


def kill(call: Call, kills: int) -> int:
    """Make the runs with kills; return 1 where one has a fault."""
    rng, runs = np.random.default_rng(0), list[dict[str, Any]]()
    PROCESSES.set_forkserver_preload(LOADED)
    with tempfile.TemporaryDirectory() as folder:
        while (left := kills - sum(one["kills"] for one in runs)) > 0:
            most = 2 if call.quick else KILLS_OF_A_RUN
            runs.append(compare(Path(folder), len(runs), min(left, most), rng))
            sums = {name: sum(one[name] for one in runs) for name in COUNTED}
            faults = [one for one in runs if faulty(one)]
            call.write({**sums, "same": all(one["same"] for one in runs), "faults": faults, "runs": runs})
    names = ("seed", "program", *COUNTED, "same")
    table = Table(*names, "seconds")
    for one in [*runs[:20], {"seed": "all", "program": "", **sums, "same": not faults, "seconds": call.seconds}]:
        table.add_row(*(str(one[name]) for name in names), f"{one['seconds']:.1f}")
    call.console.print(table)
    if faults:
        call.console.print(f"Lost, repeated or different: {faults}")
    return int(bool(faults))


def minimized(function: Callable[[np.ndarray], Any], workers: bool, start: np.ndarray) -> tuple[Optimizer, Evaluations]:
    """Minimize from a start (d,); returns the optimizer that has run, and all evaluations."""
    inputs = (Variable("x", start.shape, lower=np.full(start.size, -2.0), upper=np.full(start.size, 2.0)),)
    truth = FunctionTruth(function, inputs, (Variable("f"),), identity="failing")
    with EvaluationStore() as store:
        if not workers:
            return loop(truth, store, start, BUDGET), store.evaluations(truth)
        with ParallelTruth(truth, WORKERS, time_limit=LIMIT) as parallel:
            return loop(parallel, store, start, BUDGET), store.evaluations(truth)


def fail(call: Call) -> int:
    """Make the runs with failures; return 1 where an evaluation exceeds the limit by too much."""
    runs, beyond = list[dict[str, Any]](), list[float]()
    for d in SIZES[:1] if call.quick else SIZES:
        rng = np.random.default_rng(d)
        for _ in range(1 if call.quick else STARTS):
            start = rng.uniform(-2.0, 2.0, d)
            while fate(start):
                start = rng.uniform(-2.0, 2.0, d)
            (clean, rows), (torn, spent) = minimized(rosenbrock, False, start), minimized(failing, True, start)
            cut = [i for i, text in enumerate(spent.message) if "exceeded its time limit" in text]
            beyond += [float(spent.seconds[i]) - LIMIT for i in cut]
            ends = [one.exit.value if one.exit else "none" for one in (clean, torn)]
            failed = Counter(fate(x) for x in spent.x)
            runs.append({"d": d, "start": start, "evaluations": [rows.n, spent.n], "exits": ends, "failed": failed})
    both = [one for one in runs if one["exits"] == ["certified"] * 2]
    ratio = over_seeds([one["evaluations"][1] / one["evaluations"][0] for one in both])
    ratio["quartiles"] = np.percentile(ratio["all"], [25, 75])
    usually = sum(one["exits"][0] == "certified" for one in runs)
    counts = {
        "by_chance": 1.0 / (1.0 - FAILS - HANGS - DIES),
        "certified": len(both),
        "certified_without": usually,
        "runs": runs,
    }
    found = {"ratio": ratio, **counts, "beyond_limit": over_seeds(beyond) if beyond else {}}
    call.write(found)
    table = Table("ratio: median", "quartiles", "largest", "certified", "beyond the limit, s: median", "largest")
    low, high = ratio["quartiles"]
    seconds = [f"{np.median(beyond):.3f}", f"{max(beyond):.3f}"] if beyond else ["-", "-"]
    certified = f"{len(both)} of {usually}"
    table.add_row(f"{ratio['median']:.2f}", f"{low:.2f}, {high:.2f}", f"{ratio['largest']:.2f}", certified, *seconds)
    call.console.print(table)
    return int(bool(beyond) and max(beyond) >= BEYOND)


def main(argv: Sequence[str] | None = None) -> int:
    """Kill and resume, or let evaluations fail; write and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--kills", type=int, default=None, help=f"number of kills, {KILLS} by default")
    parser.add_argument("--failing", action="store_true", help="let evaluations fail, in the place of kills")
    call = begin(parser, argv)
    if call.options.failing:
        return fail(call)
    usual = QUICK_KILLS if call.quick else KILLS
    return kill(call, usual if call.options.kills is None else call.options.kills)


if __name__ == "__main__":
    run(main)
