"""Truth evaluations of the loop on the case `wing`, against SLSQP on the same model, over starts.

A truth evaluation is one run of OpenAeroStruct's coupled model with the totals of all its outputs. The starts are the
case's two, and random ones: twist at each control point within 5 degrees of none, thickness 0.05 to 0.3 m, alpha 2 to
8 degrees. Printed and written to the result file, for each start and method:

- `evaluations`: all that were spent; for the loop with those that check the partials before the certificate.
- `until_within`: evaluations until a design with violations of at most 1e-4 is within 1 and 0.1 % of the best fuel burn
  of all runs of SLSQP from that start (`best`); None where there is none.
- `best`: least fuel burn, in kg, with such violations, and `excess`: its ratio to that of SLSQP, less 1.
- `end`: why the loop ended, and whether SLSQP reports that it converged.
- `ratio`: to the least count of all scalings of SLSQP from that start, apart for each figure.

Methods: SLSQP in six scalings (sizes of one unit of twist, thickness, alpha and fuel), the loop of the case (`loop`),
the loop with fuel, weight and failure learned too (`loop, whole`), and with a network under the correction
(`loop, JENN`, which takes minutes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cases.adaptive_case import AdaptiveCase
from cases.wing.aerostructure import ALPHA, THICKNESS, TWIST
from cases.wing.case import STARTS, start_of, wing_case
from gradopt.om.baseline import FEASIBLE
from gradopt.surrogates.configurations.default import default_configuration
from scripts.shared.against_slsqp import Row, compare, scaled
from scripts.shared.script import begin, parser_of, run

NEAR = (0.01, 0.001)  # excess over SLSQP's best fuel burn, relative
PANELS, POINTS = 10, 5  # panels of one half of the span; control points of twist, and of thickness
EVALUATIONS = 100  # budget of the loop; by hand
QUICK = 3  # budget of each run with --quick
RANDOM_STARTS = 3
WIDTH = (TWIST[1] - TWIST[0], THICKNESS[1] - THICKNESS[0], ALPHA[1] - ALPHA[0])
# Sizes of one unit of twist (degrees), thickness (m), alpha (degrees), and of fuel (kg), for SLSQP; by hand.
SCALINGS = {
    f"{label}, fuel {fuel:g}": (*sizes, fuel)
    for label, sizes in {
        "units": (1.0, 1.0, 1.0),
        "a tenth of the bounds": tuple(0.1 * width for width in WIDTH),
        "bounds": WIDTH,
    }.items()
    for fuel in (1e5, 1e4)
}


def random_start(points: int, seed: int) -> np.ndarray:
    """Draw design variables (2 points + 1,)."""
    draw = np.random.default_rng([points, seed])
    twist, thickness = draw.uniform(-5.0, 5.0, points), draw.uniform(0.05, 0.3, points)
    return np.concatenate([twist, thickness, draw.uniform(2.0, 8.0, 1)])


def in_scaling(case: AdaptiveCase, points: int, label: str) -> AdaptiveCase:
    """Return the case in a scaling for SLSQP."""
    twist, thickness, alpha, fuel = SCALINGS[label]
    return scaled(case, np.concatenate([np.full(points, twist), np.full(points, thickness), [alpha]]), fuel)


def summarize(starts: dict[str, Row], arms: Sequence[str]) -> dict[str, Row]:
    """Return geometric means and largest of the ratios over the starts, and the number of certified runs."""
    summary: dict[str, Row] = {}
    for arm in arms:
        runs = [start["methods"][arm] for start in starts.values()]
        summary[arm] = {
            "starts": len(runs),
            "certified": sum(run["end"] == "certified" for run in runs),
            "largest_excess": max(run["excess"] for run in runs),
            "seconds": sum(run["seconds"] for run in runs),
        }
        for figure in (*(f"{near:g}" for near in NEAR), "end"):
            known = [run["ratio"][figure] for run in runs if run["ratio"][figure]]
            mean = float(np.exp(np.mean(np.log(known)))) if known else None
            summary[arm][figure] = {"mean": mean, "largest": max(known, default=None), "runs": len(known)}
    return summary


def show(console: Console, starts: dict[str, Row]) -> None:
    """Print a line for each start and method."""
    table = Table("start", "method", *(f"to {100 * near:g} %" for near in NEAR), "evaluations", "fuel, kg")
    for column in ("excess", "end", "ratio to 0.1 %, of the end", "seconds"):
        table.add_column(column)
    for name, start in starts.items():
        for method, row in start["methods"].items():
            until = [str(count or "-") for count in row["until_within"].values()]
            ratios = [f"{row['ratio'][key] or np.nan:.2f}" for key in ("0.001", "end")] if "ratio" in row else []
            numbers = [f"{row['evaluations']}", f"{row['best']:.1f}", f"{row['excess']:.1e}", row["end"]]
            table.add_row(name, method, *until, *numbers, ", ".join(ratios), f"{row['seconds']:.1f}")
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all starts; write after each, which takes minutes, then print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--network", action="store_true", help="also the loop with a network")
    call = begin(parser, argv, width=170)
    panels, points, count = (3, 2, 0) if call.quick else (PANELS, POINTS, RANDOM_STARTS)
    every = {name: start_of(name, panels, points) for name in (STARTS[:1] if call.quick else STARTS)}
    every |= {f"random {seed}": random_start(points, seed) for seed in range(count)}
    scalings = list(SCALINGS)[-1:] if call.quick else list(SCALINGS)
    case, whole = (wing_case("flat", panels, points, whole=whole) for whole in (False, True))
    arms = {"loop": case, "loop, whole": whole}
    if call.options.network:
        arms["loop, JENN"] = replace(case, configuration=default_configuration())
    starts: dict[str, Row] = {}
    result: dict[str, Any] = {
        "setup": {"panels": panels, "points": points, "scalings": SCALINGS, "violation": FEASIBLE, "near": NEAR},
        "starts": starts,
    }
    for name, x in every.items():
        budget = QUICK if call.quick else EVALUATIONS
        here = replace(case, start=x)
        rivals = {f"SLSQP, {label}": in_scaling(here, points, label) for label in scalings}
        loops = {arm: replace(of, start=x, max_evaluations=budget) for arm, of in arms.items()}
        starts[name] = {
            "x": x,
            **compare(here, loops, rivals, NEAR, QUICK if call.quick else None, best_of_rivals=True),
        }
        result["summary"] = summarize(starts, list(arms))
        call.write(result)
        call.console.print(f"{name}: done after {call.seconds:.0f} s")
    show(call.console, starts)
    call.console.print(result["summary"])
    return 0


if __name__ == "__main__":
    run(main)
