"""What a prior about the gradient is worth: GradINN, with controls for what else would reduce the error as much.

The functions are those of cases/learning: Friedman's first function, Stokes flow, Lotka-Volterra, Burgers. Each fit is
a row of rows.jsonl beside the result file. A fit that has a row is skipped, so that a run that is stopped continues
where it was. Tables, pictures and the result file are made of all rows. Parts:

- `problems`: three sample sizes, noise of 0 to 20 % of the values, plain networks (weights by the evidence, the same
  with as many iterations as GradINN has, fixed, with weight decay 0.1, from small parameters), GradINN, a Gaussian
  process (RBF, a length for each input, white noise), sparse polynomial chaos (chaospy): errors of values and partials
  at noise-free points, mean and standard error. Stokes flow is a polynomial, which chaos finds exactly.
- `priors`: without noise, GradINN with a fixed weight of 1, and with priors that are wrong here: oscillating, and
  falling with every input; the limit of what a wrong prior may cost is 1.3 times the error.
- `hybrid`: half of the partials are known (every second input, with one input every second sample): both at once
  against JENN with these partials and GradINN without, seed by seed against the better of the two.
- `defaults`: `GradINN()` and `MLP()` with all defaults on Friedman's function.
- `cost`: CPU time of an iteration and memory of a fit over that of the plain network, over inputs and points.

Seconds are CPU seconds. All parts take some four hours of one core.
"""

from __future__ import annotations

from collections.abc import Sequence

from cases.learning import PROBLEMS
from scripts.gradinn.methods import DECAY, NETWORK
from scripts.gradinn.prior_cost import cost, cost_tables, draw_cost
from scripts.gradinn.rows import HYBRID_PROBLEMS, NOISES, PARTS, TEST_POINTS, fit_all, key, tasks
from scripts.gradinn.tables import both_at_once, draw_hybrid, draw_noise, draw_priors, grouped, show, summarize
from scripts.shared.fits import fit_settings
from scripts.shared.gaussian_process import GP_RESTARTS
from scripts.shared.rows import RowFile
from scripts.shared.script import begin, parser_of, run

EVERYTHING, SEEDS = (*PARTS, "cost"), 10


def main(argv: Sequence[str] | None = None) -> int:
    """Fit what has no row yet, then make tables, pictures and the result file of all rows."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--parts", nargs="+", choices=EVERYTHING, default=EVERYTHING, help="parts to measure")
    call = begin(parser, argv, width=190)
    parts: Sequence[str] = call.options.parts
    problems, seeds = (["lotka_volterra"], 1) if call.quick else (list(PROBLEMS), SEEDS)
    planned = tasks(parts, problems, seeds)
    if call.quick:
        fewest = PROBLEMS[problems[0]].sizes[0]
        planned = (task for task in planned if task.n == fewest and task.noise in (0.0, NOISES[-1]))
    file = RowFile(call.folder / "rows.jsonl", key)
    fit_all(file, planned, fit_settings(call.quick))
    rows = list(file.rows.values())
    runs = grouped(rows)
    summary, hybrid = summarize(runs), both_at_once(runs)
    costs = cost(call.quick) if "cost" in parts else None
    setup = {
        "network": NETWORK,
        "noises": NOISES,
        "sizes": {name: PROBLEMS[name].sizes for name in problems},
        "test_points": TEST_POINTS,
        "weight_decay": DECAY,
        "restarts of the Gaussian process": GP_RESTARTS,
        "hybrid": HYBRID_PROBLEMS,
        "commits of the rows": sorted({str(row["commit"]) for row in rows}),
    }
    call.write({"setup": setup, "summary": summary, "hybrid": hybrid, "cost": costs})
    show(call.console, summary, hybrid)
    if costs is not None:
        call.console.print(*cost_tables(costs))
        draw_cost(call.folder / "cost.png", costs)
    if summary:
        draw_noise(call.folder / "noise.png", summary)
        draw_priors(call.folder / "priors.png", runs)
        draw_hybrid(call.folder / "hybrid.png", runs)
    return 0


if __name__ == "__main__":
    run(main)
