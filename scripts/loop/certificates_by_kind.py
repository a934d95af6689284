"""Certificates by kind of trial: how many are wrong, and how many true optima get one.

More than 2000 runs on smooth problems of order one with known partials. What the loop sees of them is spoiled: values
have few digits, partials are missing or wrong, the numbers are in other units, the bounds are wide, the start is an
optimum or a saddle. The end of each run is judged on the smooth problem, in its own units, by finite differences of
fourth order (`loop.independent_check`); it is refuted where feasibility or stationarity exceed 10 times the tolerance
of a certificate. Counted and written, by kind:

- `runs`;
- `false`: certified and refuted. The target is zero;
- `optima`: ends that the check does not refute, and `certified`: those of them with a certificate. Their part must not
  get less;
- `missed`: those of them without a certificate though no partial is wrong, which is work for the user;
- `dead end`: runs that ended as infeasible, though all problems are feasible, or with contradicted partials, though the
  partials are right;
- `saddles`: certified ends of problems without constraints where the Hessian has a negative eigenvalue along the design
  variables that are not at a bound;
- `endless`: runs that were stopped after 4 iterations for each evaluation of their budget;
- `raised`: runs that an exception ended;
- `evaluations`: of the truth, in all.

With `--before FILE`, the result of another version of the package on the same trials, its figures stand in front of an
arrow.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from scripts.loop.independent_check import MARGIN, STEP
from scripts.loop.judged_runs import SADDLE, run_trial
from scripts.loop.spoiled_truths import CertificateTrial
from scripts.loop.trials_of_truths import trials_of_truths
from scripts.loop.trials_of_units import trials_of_units
from scripts.shared.script import Call, begin, parser_of, run

COUNTS = ("runs", "false", "optima", "certified", "missed", "dead end", "saddles", "endless", "raised", "evaluations")


def all_trials(quick: bool = False, only: str = "") -> list[CertificateTrial]:
    """Make the trials, or one of each kind, or those whose kind and label contain a text."""
    made = [*trials_of_truths(), *trials_of_units()]
    if quick:
        made = list({trial.kind: trial for trial in reversed(made)}.values())
    return [trial for trial in made if only in f"{trial.kind}: {trial.label}"]


_trials = cache(all_trials)  # made once in each process, as functions do not travel


def _run_number(number: int, quick: bool, only: str) -> dict[str, Any]:
    _quieten()
    return run_trial(_trials(quick, only)[number])


def _quieten() -> None:
    for package in ("openmdao", "gradopt"):  # they warn of each run without a certificate
        logging.getLogger(package).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # of overflows beside wide bounds, and of OpenMDAO's `ref`


def runs_of(chosen: int, quick: bool, only: str, workers: int) -> Iterator[dict[str, Any]]:
    """Make the runs, in their order; beside each other where there are workers."""
    one = partial(_run_number, quick=quick, only=only)
    if workers == 1:
        yield from map(one, range(chosen))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(one, range(chosen))


def count(runs: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count runs by kind and in all."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in runs:
        kinds.setdefault(each["kind"], []).append(each)
    return {
        kind: {c: int(sum(each.get(c, 0) for each in of)) for c in COUNTS}
        for kind, of in {**kinds, "all": runs}.items()
    }


def earlier(path: Path | None, runs: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the runs of the same trials in the result file of another version."""
    if path is None:
        return {}
    found = {(each["kind"], each["label"]): each for each in json.loads(path.read_text())["all_runs"]}
    return count([found[each["kind"], each["label"]] for each in runs if (each["kind"], each["label"]) in found])


def show(call: Call, counts: dict[str, dict[str, int]], before: dict[str, dict[str, int]]) -> None:
    """Print the counts, with those of another version in front where there are any."""
    table = Table("kind", *COUNTS)
    for kind, found in counts.items():
        old = before.get(kind, {})
        table.add_row(kind, *(f"{old[c]} → {found[c]}" if old and c != "runs" else f"{found[c]}" for c in COUNTS))
    call.console.print(table)


def describe(call: Call, runs: list[dict[str, Any]]) -> None:
    """Print each false certificate."""
    for each in runs:
        if each["false"]:
            numbers = f"stationarity {each['stationarity']:.1e}, feasibility {each['feasibility']:.1e}"
            said = "" if each["claimed_stationarity"] is None else f", said {each['claimed_stationarity']:.1e}"
            x = np.array2string(each["x"], precision=5)
            call.console.print(f"false, {each['kind']}: {each['label']}: {numbers}{said}; x = {x}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Make all runs, write and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="trials whose 'kind: label' contains this text")
    parser.add_argument("--before", type=Path, metavar="FILE", help="result file of another version, to compare with")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    call = begin(parser, argv)
    setup = {
        "tolerance": TOLERANCE,
        "feasibility_tolerance": FEASIBILITY_TOLERANCE,
        "margin": MARGIN,
        "step": STEP,
        "saddle": SADDLE,
    }
    options = call.options
    chosen = len(_trials(call.quick, options.only))
    runs: list[dict[str, Any]] = []
    for found in runs_of(chosen, call.quick, options.only, options.workers):
        runs.append(found)
        if len(runs) % 100 == 0 or len(runs) == chosen:
            counts = count(runs)
            call.write({"setup": setup, "trials": chosen, "counts": counts, "all_runs": runs})
            wrong = counts["all"]["false"]
            call.console.print(f"{len(runs)} of {chosen} runs, {wrong} false, {call.seconds:.0f} seconds")
    show(call, count(runs), earlier(call.options.before, runs))
    describe(call, runs)
    return 0


if __name__ == "__main__":
    run(main)
