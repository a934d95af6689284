"""False certificates: runs that end *certified* where the first-order conditions of the true problem do not hold.

200 runs on problems and truths built to mislead: flat valleys, active equalities, degenerate constraints, infeasible
problems, saddles, regions where the truth fails, noise, and wrong partials. A *truth* is the model that the loop
evaluates. Each run is made twice: with the loop of the package (no network), and without the first-order correction, on
a small network after an initial design (`uncorrected`). The end of each run is checked independently: by finite
differences of the true values, never by the partials that the loop evaluated, with multipliers from bounded least
squares of its own. The check refutes where feasibility or stationarity exceed 10 times the tolerance of the
certificate. It is of first order: maxima and saddles pass. Printed and written to the result file, by kind:

- `runs`, `certified`, and `false`: certified and refuted. The target is zero.
- `stalled`: the trust region shrank to its least radius and the check refutes the end: a loop that converges where its
  steps get small would have called these converged.
- `missed`: not certified though the check agrees; no fault of a certificate, but work for its user.

`largest_error` is the largest estimated error of the check.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gradopt import JENN, AdaptiveDriver
from gradopt.errors import EvaluationError
from gradopt.loop import CorrectionTerms
from gradopt.loop.state import Exit
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from gradopt.solvers import LevenbergMarquardt
from scripts.loop.independent_check import MARGIN, STEP, check
from scripts.loop.misleading_trials import Trial, trials
from scripts.shared.script import begin, parser_of, run

# Network, samples and budgets by hand.
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


def run_trial(trial: Trial, arm: dict[str, Any]) -> dict[str, Any]:
    """Make one run and check its end."""
    of, clock = trial.problem, time.perf_counter()
    problem = of.loop(AdaptiveDriver(**arm), trial.start, trial.truth, (EvaluationError,))
    problem.run_driver()
    driver, x = problem.driver, of.design_of(problem)
    bounds, limits = (of.lower, of.upper), (of.c_lower, of.c_upper)
    verdict = check(of.responses, x, bounds, limits, TOLERANCE, FEASIBILITY_TOLERANCE)
    claims = driver.exit is Exit.CERTIFIED or bool(driver.certificate is not None and driver.certificate.certified)
    return {
        "kind": trial.kind,
        "label": trial.label,
        "problem": of.name,
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
    """Count runs by kind and in all."""
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
        error = f"error of the check at most {found['largest_error']:.1e}"
        console.print(f"{arm}: {numbers}; {error}; {found['seconds']:.0f} seconds")
        for label, number in found["false_by_label"].items():
            console.print(f"  {number} false certificate(s): {label}")


def main(argv: Sequence[str] | None = None) -> int:
    """Make all runs, write and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    warnings.filterwarnings("ignore", message=".*nonlinear solver that computes gradients")  # Sellar's problem has one
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # some truths return NaN
    chosen, arms = trials(call.quick), {}
    for name, full in ARMS.items():
        arm = {**full, "max_evaluations": full.get("initial_samples", 0) + 1} if call.quick else full
        runs = []
        for number, trial in enumerate(chosen, 1):
            runs.append(run_trial(trial, arm))
            if number % 20 == 0:
                call.console.print(f"{name}: {number} of {len(chosen)} runs, {call.seconds:.0f} seconds")
        arms[name] = count(runs)
    setup = {
        "tolerance": TOLERANCE,
        "feasibility_tolerance": FEASIBILITY_TOLERANCE,
        "margin": MARGIN,
        "step": STEP,
        "network": NETWORK.to_dict(),
        "budgets": {name: arm["max_evaluations"] for name, arm in ARMS.items()},
    }
    call.write({"setup": setup, "arms": arms})
    show(call.console, arms)
    return 0


if __name__ == "__main__":
    run(main)
