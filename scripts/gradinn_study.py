"""What a belief about the gradient is worth: GradINN, with the controls that tell what else would do as well.

The functions are those of cases/learning: Friedman's first function, Stokes flow, Lotka-Volterra, Burgers. Makes, as
rows of ROWS (a run that is stopped goes on where it was), tables, OUT/result.json with versions and commit, and
pictures:

- `problems`: three sample sizes, noise of 0 to 20 % of the values, plain networks (weights by the evidence, the same
  with as many iterations as GradINN has, fixed, with weight decay 0.1, from small parameters), GradINN, a Gaussian
  process (RBF, a length for each input, white noise), sparse polynomial chaos (chaospy): errors of values and partials
  at noise-free points, mean and standard error. Stokes' flow is a polynomial, which chaos finds exactly.
- `beliefs`: without noise GradINN with a fixed weight of 1, and with beliefs that are wrong here: oscillating, and
  falling with every input; the limit for what a wrong belief may cost is 1.3.
- `hybrid`: half of the partials are known (every second input, with one input every second sample): both at once
  against JENN with these partials and GradINN without, seed by seed against the better of the two.
- `defaults`: `GradINN()` and `MLP()` as they are on Friedman's function.
- `cost`: CPU time of an iteration and memory of a fit over that of the plain network, over inputs and points.

One thread; the seconds are CPU seconds. The whole takes some four hours of one core:

    PYTHONPATH=. python scripts/gradinn_study.py
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from cases.records import write_result
from rich.console import Console

from cases.learning import PROBLEMS
from gradopt.solvers import LevenbergMarquardt
from scripts.belief_cost import cost, cost_tables, draw_cost
from scripts.gaussian_process import GP_RESTARTS
from scripts.gradinn_methods import DECAY, NETWORK
from scripts.gradinn_rows import HYBRID_PROBLEMS, NOISES, PARTS, TEST_POINTS, read_rows, run, tasks
from scripts.gradinn_tables import both_at_once, draw_beliefs, draw_hybrid, draw_noise, grouped, show, summarize

EVERYTHING = (*PARTS, "cost")


def main() -> None:
    """Fit what has no row yet, then make tables and pictures of all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/gradinn_study"), help="folder of the result")
    parser.add_argument("--rows", type=Path, nargs="+", help="files of rows, the first is written (OUT/rows.jsonl)")
    parser.add_argument("--parts", nargs="+", choices=EVERYTHING, default=EVERYTHING, help="what to measure")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS), help="on what")
    parser.add_argument("--seeds", type=int, default=10, help="number of draws of each kind")
    parser.add_argument("--quick", action="store_true", help="one problem, one draw, few iterations: see that it runs")
    options = parser.parse_args()
    quick: bool = options.quick
    settings: dict[str, Any] = {"solver": LevenbergMarquardt(max_iterations=4), "starts": 1} if quick else {}
    problems, seeds = (("lotka_volterra",), 1) if quick else (options.problems, options.seeds)
    wanted = tasks(options.parts, problems, seeds)
    if quick:
        fewest = PROBLEMS[problems[0]].sizes[0]
        wanted = (task for task in wanted if task.n == fewest and task.noise in (0.0, NOISES[-1]))

    torch.set_num_threads(1)
    console = Console(width=190)
    paths = options.rows or [options.out / "rows.jsonl"]
    run(paths[0], wanted, settings)
    rows = read_rows(paths).values()
    runs = grouped(rows)
    summary, hybrid = summarize(runs), both_at_once(runs)
    found = cost(quick) if "cost" in options.parts else None
    result = {
        "setup": {
            "network": NETWORK,
            "noises": NOISES,
            "sizes": {name: PROBLEMS[name].sizes for name in problems},
            "test_points": TEST_POINTS,
            "weight_decay": DECAY,
            "restarts of the Gaussian process": GP_RESTARTS,
            "hybrid": HYBRID_PROBLEMS,
            "commits of the rows": sorted({str(row["commit"]) for row in rows}),
        },
        "quick": quick,
        "machine": {"cpus": os.cpu_count(), "threads": 1},
        "summary": summary,
        "hybrid": hybrid,
        "cost": found,
    }
    write_result(options.out / "result.json", result)
    show(console, summary, hybrid)
    if found is not None:
        console.print(*cost_tables(found))
        draw_cost(options.out / "cost.png", found)
    if summary:
        draw_noise(options.out / "noise.png", summary)
        draw_beliefs(options.out / "beliefs.png", runs)
        draw_hybrid(options.out / "hybrid.png", runs)


if __name__ == "__main__":
    main()
