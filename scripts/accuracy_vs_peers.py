"""Accuracy of our surrogates and of their peers: problems x sample sizes x seeds x methods, one table and figures.

Two steps. `run` appends one JSON row for each fit to ROWS and skips fits that have one, so that a run can be stopped
and resumed, and rows of several runs can be put into one file; `table` reads rows, prints tables, and writes
OUT/result.json, with versions and commit, and figures. Without either word both are done:

    PYTHONPATH=. python scripts/accuracy_vs_peers.py --rows results/peers/rows.jsonl --out results/peers

- Data: a Latin hypercube of max(4, size x d) points; a seed sets the points and the start of each method.
- Errors on 1000 points of another hypercube: `nrmse_values` is the RMSE over the standard deviation of the true values;
  `nrmse_partials` is the same of all partials pooled, each times the standard deviation of its input over the test
  points; 1 - nrmse_partials^2 is the pooled R^2 of the gradient.
- Every fit runs in a process of its own on one thread; its seconds are CPU seconds. One beyond the limit
  (`--time-limit`, 60) has status "time"; with its predictions on the test points it is killed at twice the limit. An
  exception or an answer that is not finite: status "failed". Either counts as an infinite error. Where all fits of a
  setting so far, two or more, passed the limit, the rest are not tried, and their rows say so.
- A peer with a grid of settings is fitted with all of them at seed 0; the one with the least product of both errors
  on the test points is used for the other seeds. That favors the peers: ours have one configuration for all problems.
- Ratios: median over seeds of ours / the least median of the peers. JENN is compared with all peers, MLP, which learns
  from values alone, with the kriging and the Gaussian process that do (KRG, GP).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

import torch
from rich.console import Console

from gradopt import JENN, MLP, Dataset
from gradopt.report.records import provenance, write_result
from gradopt.versions import versions
from scripts.benchmark_problems import PROBLEMS
from scripts.peer_methods import PEERS, Method, Predictor, Setting
from scripts.peer_pictures import draw
from scripts.peer_rows import (
    TEST_POINTS,
    TEST_SEED,
    Row,
    best_setting,
    given_up,
    key,
    limited,
    measure,
    read_rows,
)
from scripts.peer_tables import show, tabulate

FEWEST = 4  # samples
OURS: dict[str, Callable[[int], JENN | MLP]] = {  # configurations by seed; add one here to compare it
    "JENN": lambda seed: JENN(seed=seed),
    "MLP": lambda seed: MLP(seed=seed),
}
VALUES_RIVALS = ("KRG", "GP")
QUICK_PROBLEMS, QUICK_SIZES, QUICK_ITERATIONS = ("sine", "branin"), (5,), 50


@dataclass(frozen=True)
class Plan:
    """What to fit: all combinations."""

    problems: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: Mapping[str, Method]
    time_limit: float
    redo: bool


def method_of(make: Callable[[int], JENN | MLP]) -> Method:
    """Put a configuration of ours behind the call of all methods."""

    def fit(data: Dataset, seed: int, setting: Setting) -> Predictor:
        surrogate = make(seed).fit(data)
        return surrogate.predict, lambda at: surrogate.linearize(at)[1]

    return Method(fit, "gradopt", isinstance(make(0), JENN))


METHODS = {name: method_of(make) for name, make in OURS.items()} | PEERS


def quick(method: Method) -> Method:
    """Shorten a peer's grid to two settings of few iterations."""

    def grid(d: int) -> tuple[Setting, ...]:
        shortened = ({k: min(v, QUICK_ITERATIONS) if k == "max_iter" else v for k, v in s.items()} for s in full(d))
        return tuple(shortened)[:2]

    full = method.grid
    return replace(method, grid=grid)


def planned(plan: Plan, rows: list[Row]) -> Iterator[Row]:
    """Begin the rows of all fits, in an order in which every figure emerges early; `rows` grows meanwhile."""
    for size, seed, name, method in product(plan.sizes, plan.seeds, plan.problems, plan.methods):
        d = PROBLEMS[name].d
        row = {"problem": name, "d": d, "size": size, "n": max(FEWEST, size * d), "method": method}
        grid = plan.methods[method].grid(d)
        if len(grid) > 1 and seed:
            yield from ({**row, "seed": 0, "setting": dict(setting)} for setting in grid)
            grid = (best_setting(rows, name, size, method),)
        yield from ({**row, "seed": seed, "setting": dict(setting)} for setting in grid)


def run(path: Path, plan: Plan) -> None:
    """Fit what has no row yet, and append the rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known, commit = versions(), provenance()["commit"]
    rows = read_rows(path)
    done = set() if plan.redo else {key(row) for row in rows}
    for row in planned(plan, rows):
        if key(row) in done:
            continue
        method = plan.methods[row["method"]]
        fit = partial(measure, PROBLEMS[row["problem"]], row["n"], row["seed"], method, row["setting"])
        reason = given_up(rows, row)
        row |= {"status": "time", "reason": reason} if reason else limited(fit, plan.time_limit)
        of = known.get(method.package) or version(method.package)
        row |= {"time_limit": plan.time_limit, "commit": commit, "package": method.package, "version": of}
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
        done.add(key(row))


def rivals() -> dict[str, tuple[str, ...]]:
    """Peers that each of ours is compared with."""
    return {name: tuple(PEERS) if METHODS[name].uses_partials else VALUES_RIVALS for name in OURS}


def main() -> None:
    """Run and tabulate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", nargs="?", choices=["run", "table", "both"], default="both")
    parser.add_argument("--rows", type=Path, help="file of the rows; OUT/rows.jsonl if not given")
    parser.add_argument("--out", type=Path, default=Path("results/accuracy_vs_peers"), help="folder of the result")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[5, 10, 2], help="samples per input")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--time-limit", type=float, default=60.0, help="CPU seconds of a fit")
    parser.add_argument("--redo", action="store_true", help="fit what has a row, too; the new row counts")
    parser.add_argument("--quick", action="store_true", help="two problems, one seed, few iterations: see that it runs")
    given = parser.parse_args()
    path: Path = given.rows or given.out / "rows.jsonl"
    methods = {name: METHODS[name] for name in given.methods}
    plan = Plan(tuple(given.problems), tuple(given.sizes), tuple(given.seeds), methods, given.time_limit, given.redo)
    if given.quick:
        shortened = {name: quick(method) for name, method in methods.items()}
        plan = replace(plan, problems=QUICK_PROBLEMS, sizes=QUICK_SIZES, seeds=(0,), methods=shortened)

    torch.set_num_threads(1)
    if given.step != "table":
        run(path, plan)
    if given.step != "run":
        rows = read_rows(path)
        if not rows:
            parser.error(f"no rows in {path}; make them with the step 'run'")
        result = {
            "setup": {"test_points": TEST_POINTS, "test_seed": TEST_SEED, "fewest_samples": FEWEST, "threads": 1},
            "quick": given.quick,
            "sources": {name: PROBLEMS[name].source for name in {row["problem"]: 0 for row in rows}},
            **tabulate(rows, rivals()),
        }
        write_result(given.out / "result.json", result)
        draw(given.out, result, list(METHODS), list(OURS))
        show(Console(width=170), result, list(METHODS))


if __name__ == "__main__":
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    if any(os.environ.get(name) != "1" for name in one):  # read once, when NumPy is imported
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **one})
    main()
