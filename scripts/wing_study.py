"""Truth evaluations that the loop needs on the case `wing`, against direct SLSQP on the same model, over starts.

A truth evaluation is one run of OpenAeroStruct's coupled model with the totals of all its outputs. The starts are the
case's two, and random ones: twist at each control point within 5 degrees of none, thickness 0.05 to 0.3 m, alpha 2 to
8 degrees. Written to OUT/result.json with versions and commit, and printed, for each start and method:

- `evaluations`: all that were spent, those that verify a certificate too.
- `until_within`: until a design with violations of at most 1e-4 is within 1 and 0.1 % of the best fuel burn that any
  direct run from that start found; None where there is none.
- `fuel`: least fuel burn, in kg, with such violations, and `above_best`: its excess over that of the direct runs.
- `end`: of the loop why it ended, of SLSQP whether it says that it converged.

Methods: direct SLSQP in six scalings (lengths of one unit of twist, thickness, alpha and fuel), the loop of the case
(`loop`), the loop with fuel, weight and failure learned too (`loop, whole`), and with a network under the correction
(`loop, JENN`, which takes minutes). `ratio` is to the least count of all scalings from that start, taken apart for each
figure, so that the rival may have another scaling for each.

    python -m scripts.wing_study

Everything is on one thread.
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
from cases.direct import run_direct
from cases.records import write_result
from rich.console import Console
from rich.table import Table

from cases.adaptive import FEASIBLE, Visit, evaluations_to, objective, run_adaptive, violation
from cases.case import AdaptiveCase
from cases.wing.aerostructure import ALPHA, THICKNESS, TWIST
from cases.wing.case import STARTS, start_of, wing_case
from gradopt.surrogates.configurations.default import default_configuration
from gradopt.truth.store import EvaluationStore

NEAR = (0.01, 0.001)
WIDTH = (TWIST[1] - TWIST[0], THICKNESS[1] - THICKNESS[0], ALPHA[1] - ALPHA[0])
# Lengths of one unit of twist (degrees), thickness (m), alpha (degrees), and of fuel (kg), to SLSQP.
SCALINGS = {
    f"{label}, fuel {fuel:g}": (*lengths, fuel)
    for label, lengths in {
        "units": (1.0, 1.0, 1.0),
        "a tenth of the bounds": tuple(0.1 * width for width in WIDTH),
        "bounds": WIDTH,
    }.items()
    for fuel in (1e5, 1e4)
}
Row = dict[str, Any]


def random_start(points: int, seed: int) -> np.ndarray:
    """Draw design variables (2 points + 1,)."""
    draw = np.random.default_rng([points, seed])
    twist, thickness = draw.uniform(-5.0, 5.0, points), draw.uniform(0.05, 0.3, points)
    return np.concatenate([twist, thickness, draw.uniform(2.0, 8.0, 1)])


def scaled(case: AdaptiveCase, points: int, lengths: Sequence[float]) -> AdaptiveCase:
    """Return the case with other scales for SLSQP."""
    twist, thickness, alpha, fuel = lengths
    ref = np.concatenate([np.full(points, twist), np.full(points, thickness), [alpha]])
    first, *others = case.responses
    return replace(case, direct_ref=ref, responses=(replace(first, ref=fuel), *others))


def record(case: AdaptiveCase, visits: Sequence[Visit], evaluations: int, end: str, seconds: float) -> Row:
    """Read a run; what depends on the other runs is added later."""
    fuel = [objective(case, v.true) for v in visits if violation(case, v.true) <= FEASIBLE]
    return {
        "evaluations": evaluations,
        "fuel": min(fuel, default=np.nan),
        "end": end,
        "seconds": seconds,
        "visits": [(v.evaluations, objective(case, v.true), violation(case, v.true)) for v in visits],
    }


def run_start(case: AdaptiveCase, arms: dict[str, AdaptiveCase], points: int, scalings: Sequence[str]) -> Row:
    """Run all methods from the start of the cases."""
    rows, paths = {}, {}
    for label in scalings:
        direct = run_direct(scaled(case, points, SCALINGS[label]), lambda line: None)
        end = "converged" if direct.success else "did not converge"
        name = f"SLSQP, {label}"
        rows[name] = record(case, direct.visits, direct.evaluations, end, direct.seconds)
        paths[name] = direct.visits
    best = min((row["fuel"] for row in rows.values() if np.isfinite(row["fuel"])), default=np.nan)
    for name, arm in arms.items():
        with EvaluationStore() as store:
            result = run_adaptive(arm, 0, store, lambda line: None)
        rows[name] = record(case, result.visits, result.evaluations, result.exit.value, result.seconds)
        rows[name]["certificate"] = result.certificate.to_dict()
        paths[name] = result.visits
    for name, row in rows.items():
        row["above_best"] = row["fuel"] / best - 1.0
        row["until_within"] = {f"{near:g}": evaluations_to(case, paths[name], best, near) for near in NEAR}
    peers = [row for name, row in rows.items() if name.startswith("SLSQP")]
    for name in arms:
        rows[name]["ratio"] = ratios(rows[name], peers)
    return {"x": case.start, "best_direct_fuel": best, "methods": rows}


def ratios(row: Row, peers: Sequence[Row]) -> Row:
    """Counts of a run over the least of its peers; None where either has none."""
    found = {}
    for near, mine in row["until_within"].items():
        counts = [peer["until_within"][near] for peer in peers if peer["until_within"][near]]
        found[near] = mine / min(counts) if mine and counts else None
    near = f"{NEAR[-1]:g}"
    arrived = [peer["evaluations"] for peer in peers if peer["end"] == "converged" and peer["until_within"][near]]
    found["end"] = row["evaluations"] / min(arrived) if arrived else None
    return found


def summarize(starts: dict[str, Row], arms: Sequence[str]) -> dict[str, Row]:
    """Geometric means and worst of the ratios over the starts, and how many runs were certified."""
    summary: dict[str, Row] = {}
    for arm in arms:
        runs = [start["methods"][arm] for start in starts.values()]
        summary[arm] = {
            "starts": len(runs),
            "certified": sum(run["end"] == "certified" for run in runs),
            "largest_above_best": max(run["above_best"] for run in runs),
            "seconds": sum(run["seconds"] for run in runs),
        }
        for figure in (*(f"{near:g}" for near in NEAR), "end"):
            known = [run["ratio"][figure] for run in runs if run["ratio"][figure]]
            mean = float(np.exp(np.mean(np.log(known)))) if known else None
            summary[arm][figure] = {"mean": mean, "worst": max(known, default=None), "runs": len(known)}
    return summary


def show(console: Console, starts: dict[str, Row]) -> None:
    """Print one line for each start and method."""
    table = Table("start", "method", *(f"to {100 * near:g} %" for near in NEAR), "evaluations", "fuel (kg)")
    for column in ("above best", "end", "ratio to 0.1 %, of the end", "seconds"):
        table.add_column(column)
    for name, start in starts.items():
        for method, row in start["methods"].items():
            until = [str(count or "-") for count in row["until_within"].values()]
            shown = [f"{row['ratio'][key] or np.nan:.2f}" for key in ("0.001", "end")] if "ratio" in row else []
            numbers = [f"{row['evaluations']}", f"{row['fuel']:.1f}", f"{row['above_best']:.1e}", row["end"]]
            table.add_row(name, method, *until, *numbers, ", ".join(shown), f"{row['seconds']:.1f}")
    console.print(table)


def main() -> None:
    """Run all starts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/wing_study"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="one start on a coarse mesh: to see that it runs")
    parser.add_argument("--panels", type=int, default=10, help="panels of one half of the span")
    parser.add_argument("--points", type=int, default=5, help="control points of twist, and of thickness")
    parser.add_argument("--random", type=int, default=4, help="random starts beside the two of the case")
    parser.add_argument("--evaluations", type=int, default=100, help="budget of the loop")
    parser.add_argument("--network", action="store_true", help="also the loop with a network")
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    console, load, clock = Console(width=170), os.getloadavg(), time.perf_counter()
    panels, points, count = (3, 2, 0) if quick else (options.panels, options.points, options.random)
    every = {name: start_of(name, panels, points) for name in (STARTS[:1] if quick else STARTS)}
    every |= {f"random {seed}": random_start(points, seed) for seed in range(count)}
    scalings = list(SCALINGS)[-1:] if quick else list(SCALINGS)
    case, whole = (wing_case("flat", panels, points, whole=whole) for whole in (False, True))
    arms = {"loop": case, "loop, whole": whole}
    if options.network:
        arms["loop, JENN"] = replace(case, configuration=default_configuration())
    starts: dict[str, Row] = {}
    result: dict[str, Any] = {
        "setup": {"panels": panels, "points": points, "scalings": SCALINGS, "violation": FEASIBLE, "near": NEAR},
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "starts": starts,
    }
    for name, x in every.items():
        evaluations = 30 if quick else options.evaluations
        here = {arm: replace(of, start=x, max_evaluations=evaluations) for arm, of in arms.items()}
        starts[name] = run_start(replace(case, start=x), here, points, scalings)
        result |= {"summary": summarize(starts, list(arms)), "seconds": time.perf_counter() - clock}
        write_result(options.out / "result.json", result)  # a start takes minutes
        console.print(f"{name}: done after {result['seconds']:.0f} s")
    show(console, starts)
    console.print(result["summary"])


if __name__ == "__main__":
    main()
