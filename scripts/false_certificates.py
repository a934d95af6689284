"""Whether a run ever says *certified* where the first-order conditions of the true problem do not hold.

200 runs on problems and truths built to mislead (`scripts/misleading_trials.py`): flat valleys, active equalities,
degenerate constraints, infeasible problems, saddles, regions where the truth fails, noise, and wrong partials. Each run
is made twice: with the loop as it is (no network), and without the first-order correction, on a small network
after an initial design (`uncorrected`). Each end is checked by `scripts/independent_check.py`: differences of the true
values, never of the partials that the loop was told; multipliers from bounded least squares of its own. The check
refutes where feasibility or stationarity exceed 10 times the tolerance that the certificate was asked for. First-order
conditions only: maxima and saddles satisfy them. OUT/result.json has all runs, versions and commit; counted by kind:

- `runs`, `certified`, and `false`: certified and refuted. The target is zero.
- `stalled`: the region shrank to nothing and the check refutes the end: a loop that stops where its steps get small
  would have called these converged.
- `missed`: not certified though the check agrees; no fault of a certificate, but work for its user.

`largest_error` is what the check's own differences may be wrong by. On one thread:

    python -m scripts.false_certificates

`--arms corrected`, `--kind "wrong partials"` and `--every 4` make parts of it.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from cases.records import write_result
from rich.console import Console
from rich.table import Table

from gradopt import JENN
from gradopt.errors import EvaluationError
from gradopt.loop import CorrectionTerms
from gradopt.loop.state import Exit
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from gradopt.solvers import LevenbergMarquardt
from scripts.independent_check import MARGIN, STEP, check
from scripts.misleading_trials import Trial, trials

NETWORK = JENN((8,), activation="tanh", starts=1, alpha=1e-6, solver=LevenbergMarquardt(max_iterations=20))
ARMS: dict[str, dict[str, Any]] = {
    "corrected": {"configuration": None, "max_evaluations": 60},
    "uncorrected": {
        "configuration": NETWORK,
        "correction": CorrectionTerms(first_order=False),
        "initial_samples": 6,
        "max_evaluations": 30,
    },
}
COUNTS = ("runs", "certified", "false", "stalled", "missed")


def play(trial: Trial, arm: dict[str, Any]) -> dict[str, Any]:
    """Make one run and check its end."""
    of, clock = trial.study, time.perf_counter()
    problem = of.loop(trial.start, truth=trial.truth, failures=(EvaluationError,), **arm)
    problem.run_driver()
    driver, x = problem.driver, of.answer(problem)
    bounds, limits = (of.lower, of.upper), (of.c_lower, of.c_upper)
    verdict = check(of.responses, x, bounds, limits, TOLERANCE, FEASIBILITY_TOLERANCE)
    claims = driver.exit is Exit.CERTIFIED or bool(driver.certificate is not None and driver.certificate.certified)
    return {
        "kind": trial.kind,
        "label": trial.label,
        "study": of.name,
        "exit": driver.exit.value,
        "evaluations": driver.history[-1].evaluations if driver.history else 1,
        "x": x,
        "stationarity": verdict.stationarity,
        "feasibility": verdict.feasibility,
        "error": verdict.error,
        "claimed_stationarity": None if driver.certificate is None else driver.certificate.stationarity,
        "runs": True,
        "certified": claims,
        "false": claims and not verdict.agrees,
        "stalled": driver.exit is Exit.EXHAUSTED and not verdict.agrees,
        "missed": not claims and verdict.agrees,
        "seconds": time.perf_counter() - clock,
    }


def count(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Count by kind, and over all."""
    kinds = dict.fromkeys(run["kind"] for run in runs)
    found = {kind: {c: sum(run[c] for run in runs if run["kind"] == kind) for c in COUNTS} for kind in kinds}
    found["all"] = {c: sum(run[c] for run in runs) for c in COUNTS}
    return {
        "counts": found,
        "false_by_label": Counter(run["label"] for run in runs if run["false"]),
        "exits": Counter(run["exit"] for run in runs),
        "largest_error": max(run["error"] for run in runs),
        "seconds": sum(run["seconds"] for run in runs),
        "all_runs": runs,
    }


def show(console: Console, arms: dict[str, Any]) -> None:
    """Print the counts."""
    headers = (label if label == "runs" else f"{label},\n{arm}" for arm in arms for label in COUNTS)
    table = Table("kind", *headers)
    for kind in next(iter(arms.values()))["counts"]:
        cells = [found["counts"][kind][label] for found in arms.values() for label in COUNTS]
        table.add_row(kind, *(f"{cell}" for cell in cells))
    console.print(table)
    for arm, found in arms.items():
        numbers = ", ".join(f"{number} {label}" for label, number in found["exits"].items())
        error = f"differences wrong by at most {found['largest_error']:.1e}"
        console.print(f"{arm}: {numbers}; {error}; {found['seconds']:.0f} seconds")
        for label, number in found["false_by_label"].items():
            console.print(f"  {number} false certificate(s): {label}")


def main() -> None:
    """Make all runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/false_certificates"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="one run of each kind, to see that it runs")
    parser.add_argument("--kind", help="make the runs of this kind only")
    parser.add_argument("--every", type=int, default=1, help="make every n-th run only")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="make these only")
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*nonlinear solver that computes gradients")  # Sellar has one
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # NaN is what some truths answer
    console, load = Console(width=150), os.getloadavg()
    chosen = [trial for trial in trials(quick) if options.kind in (None, trial.kind)][:: options.every]
    arms = {}
    for name in options.arms:
        arm = {**ARMS[name], "max_evaluations": ARMS[name].get("initial_samples", 0) + 4} if quick else ARMS[name]
        runs = []
        for number, trial in enumerate(chosen, 1):
            runs.append(play(trial, arm))
            if number % 20 == 0:
                seconds = sum(run["seconds"] for run in runs)
                console.print(f"{name}: {number} of {len(chosen)} runs, {seconds:.0f} seconds")
        arms[name] = count(runs)
    result: dict[str, Any] = {
        "setup": {
            "tolerance": TOLERANCE,
            "feasibility_tolerance": FEASIBILITY_TOLERANCE,
            "margin": MARGIN,
            "step": STEP,
            "network": NETWORK.to_dict(),
            "budgets": {name: arm["max_evaluations"] for name, arm in ARMS.items()},
        },
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "arms": arms,
    }
    write_result(options.out / "result.json", result)
    show(console, arms)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # NumPy reads it once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    main()
