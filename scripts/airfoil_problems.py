"""Truth evaluations that the loop needs on the airfoil's other problems, against SLSQP on the same truth.

The problems of `python -m cases run airfoil --problem`: the best ratio of lift to drag, and the least drag of one shape
at six conditions, each of which counts as an evaluation. An evaluation is a value with all its partials. Written to
OUT/result.json with versions and commit, and printed, for each problem, start and method:

- `until`: evaluations until a design with violations of at most 1e-4 (scaled) is within 1 % of the best such design
  that any method found from that start (`best`); None where there is none.
- `evaluations`: all that were spent; of the loop those that verify its certificate too.
- `objective` and `violation`: of the true model where it ended.
- `end`: of the loop why it ended, of SLSQP whether it says that it converged (at a tolerance of 1e-8).

Methods: the loop, and SLSQP in the scalings of `scripts.airfoil_study`. `ratio` is to the least count of all scalings
from that start, taken apart for each figure; that of the end compares a certificate with SLSQP's convergence to within
1 % of the best.

    python -m scripts.airfoil_problems
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, FinalDesign, Visit, evaluations_to, objective, violation
from cases.airfoil.case import adaptive
from cases.baseline import run_baseline
from cases.cli import build_parser
from gradopt.loop.state import Exit
from gradopt.om.baseline import FEASIBLE
from gradopt.report.records import write_result
from gradopt.truth.store import EvaluationStore
from scripts.airfoil_study import AIRFOILS, SCALINGS

PROBLEMS = ("lift-to-drag", "multipoint")
QUICK = 30  # evaluations after which SLSQP is stopped
Row = dict[str, Any]


def case_of(problem: str, airfoil: str, quick: bool) -> AdaptiveCase:
    """Build the case that the command line runs, without the surrogate that it fits at the end."""
    options = ["run", "airfoil", "--airfoil", airfoil, "--problem", problem, *(["--quick"] if quick else [])]
    return replace(adaptive(build_parser().parse_args(options)), closing=None)


def scaled(case: AdaptiveCase, label: str) -> AdaptiveCase:
    """Return the case in another scaling for SLSQP."""
    weight, angle, drag = SCALINGS[label]
    ref = np.append(np.full(16, weight), np.full(case.start.size - 16, angle))
    first, *others = case.responses
    first = replace(first, ref=first.ref * drag / SCALINGS["as the case"][2])
    return replace(case, baseline_ref=ref, responses=(first, *others))


def record(
    case: AdaptiveCase, visits: Sequence[Visit], answer: FinalDesign, evaluations: int, end: str, seconds: float
) -> Row:
    """Read a run; what depends on the other runs is added later."""
    return {
        "evaluations": evaluations,
        "objective": objective(case, answer.true),
        "violation": violation(case, answer.true),
        "end": end,
        "seconds": seconds,
        "visits": [(v.evaluations, objective(case, v.true), violation(case, v.true)) for v in visits],
    }


def run_start(case: AdaptiveCase, scalings: Sequence[str], most: int | None) -> Row:
    """Run all methods from the start of a case."""
    loop = run_adaptive(case, 0, EvaluationStore(), lambda line: None)
    rows = {"loop": record(case, loop.visits, loop.final, loop.evaluations, loop.exit.value, loop.seconds)}
    paths = {"loop": loop.visits}
    for label in scalings:
        direct = run_baseline(scaled(case, label), lambda line: None, most)
        end, name = "converged" if direct.success else "did not converge", f"SLSQP, {label}"
        rows[name] = record(case, direct.visits, direct.final, direct.evaluations, end, direct.seconds)
        paths[name] = direct.visits
    sign = np.sign(case.responses[0].driver_ref)
    feasible = [sign * value for row in rows.values() for _, value, beyond in row["visits"] if beyond <= FEASIBLE]
    best = sign * min(feasible, default=np.nan)
    for name, row in rows.items():
        row["until"] = evaluations_to(case, paths[name], best)
    mine, *peers = rows.values()
    until = [peer["until"] for peer in peers if peer["until"]]
    ends = [peer["evaluations"] for peer in peers if peer["end"] == "converged" and peer["until"]]
    certified = loop.exit is Exit.CERTIFIED
    mine["ratio"] = {
        "until": mine["until"] / min(until) if mine["until"] and until else None,
        "end": loop.evaluations / min(ends) if certified and ends else None,
    }
    return {"best": best, "methods": rows}


def table(problems: dict[str, dict[str, Row]]) -> Table:
    """Return one line for each problem, start and method."""
    made = Table("problem", "start", "method", title="truth evaluations")
    for column in ("to 1 %", "all", "ratio of both", "objective", "violation"):
        made.add_column(column, justify="right")
    made.add_column("end")
    for problem, starts in problems.items():
        for start, found in starts.items():
            for name, row in found["methods"].items():
                ratios = ", ".join(f"{one:.2f}" if one else "-" for one in row.get("ratio", {}).values())
                counts = (str(row["until"] or "never"), str(row["evaluations"]))
                made.add_row(
                    problem,
                    start,
                    name,
                    *counts,
                    ratios,
                    f"{row['objective']:.6g}",
                    f"{row['violation']:.1e}",
                    row["end"],
                )
    return made


def main() -> None:
    """Run all problems from all starts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/airfoil_problems"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="one start, tiny budget: to see that it runs")
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    console, load, clock = Console(width=150), os.getloadavg(), time.perf_counter()
    airfoils, scalings = (AIRFOILS[:1], list(SCALINGS)[:1]) if quick else (AIRFOILS, list(SCALINGS))
    problems: dict[str, dict[str, Row]] = {problem: {} for problem in PROBLEMS}
    result: dict[str, Any] = {
        "setup": {"scalings": {label: SCALINGS[label] for label in scalings}, "violation": FEASIBLE},
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "problems": problems,
    }
    for problem, starts in problems.items():
        for airfoil in airfoils:
            starts[airfoil] = run_start(case_of(problem, airfoil, quick), scalings, QUICK if quick else None)
            result["seconds"] = time.perf_counter() - clock
            write_result(options.out / "result.json", result)  # a start takes minutes
            console.print(f"{problem}, {airfoil}: done after {result['seconds']:.0f} s")
    console.print(table(problems))


if __name__ == "__main__":
    main()
