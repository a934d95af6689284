"""Seconds and accuracy of incremental fits, one sample at a time, against a cold fit on the same data.

The samples are those of a loop: a Latin hypercube with partials, then 50 samples around a candidate that moves from a
random point to (1, ..., 1), ever closer. After each sample an incremental fit takes it in; at the first and at every
tenth a cold fit, JENN() of 20 neurons, is made on the same data, with its 4 starts and with 1. Functions: Rosenbrock's
in 2, 5 and 10 dimensions, and a smooth one of 8 inputs and two outputs, like drag and lift of an airfoil. For each
function, over all seeds, printed and written to the result file:

- `seconds`: seconds of an incremental fit over those of the cold fit, `mean` and `ratio_of_sums`; cold fits made in an
  incremental fit count. Between the samples with a cold fit its seconds are interpolated.
- `values`, `partials`: NRMSE on 1000 points within the bounds over that of the cold fit, and the ratio of the medians.
- `near_values`, `near_partials`: the same on 30 points around the candidate, within 3 % of the range of each input.
- `against_one_start`: the same against the cold fit with 1 start.
- `made`: how many incremental fits were warm and made no cold fit, made one in vain, and were restarted.

NRMSE is the RMSE over the standard deviation of the truth within the bounds, that of the worse output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import gradopt
from cases.rosenbrock.function import rosenbrock
from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.fitting.incremental import IncrementalFit, incremental_fit
from scripts.shared.costs import timed
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds, worst_cell

TEST_SEED, TEST_POINTS = 20_261_120, 1000
NEAR_POINTS, NEAR = 30, 0.03  # number, and distance in ranges of the inputs; by hand
FIGURES = ("values", "partials", "near_values", "near_partials")


def smooth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a bucket with a mild rise and a saturating line at x (d,): outputs (2,) and partials (2, d)."""
    slope = np.linspace(1.0, 0.3, len(x)) / np.sqrt(len(x))
    line, size = slope @ x, slope @ x**2
    sizes, bump = 2.0 * slope * x, 0.3 * np.exp(-0.3 * size)
    values = np.array([0.06 * size + bump + 0.1 * np.sin(line), np.tanh(line) + 0.1 * line])
    rate = 1.1 - np.tanh(line) ** 2
    return values, np.array([(0.06 - 0.3 * bump) * sizes + 0.1 * np.cos(line) * slope, rate * slope])


@dataclass(frozen=True)
class SamplesOfLoop:
    """One function and the samples of a loop on it.

    Attributes:
        truth: Function from x (d,) to values (m,) and partials (m, d).
        d: Number of inputs.
        m: Number of outputs.
        initial: Number of samples of the Latin hypercube.
        seeds: Number of loops.
    """

    truth: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    d: int
    m: int
    initial: int
    seeds: int

    def evaluate(self, x: np.ndarray) -> Dataset:
        """Evaluate the truth at x (n, d) within [-2, 2]^d."""
        y, dydx = zip(*(self.truth(point) for point in x), strict=True)
        outputs = [Variable("f", (self.m,))]
        return Dataset(x, np.array(y), np.array(dydx), self.inputs, outputs)

    @property
    def inputs(self) -> list[Variable]:
        """All inputs as one variable."""
        return [Variable("x", (self.d,), lower=-2.0, upper=2.0)]

    def design(self, additions: int, seed: int) -> np.ndarray:
        """Draw the initial samples, and those around the moving candidate (initial + additions, d)."""
        rng = np.random.default_rng([TEST_SEED, seed])
        start, t = rng.uniform(-2.0, 2.0, self.d), np.arange(additions)[:, None] / additions
        path = start + (1.0 - start) * (1.0 - (1.0 - t) ** 2)
        around = path + 0.6 * 0.02**t * rng.normal(size=(additions, self.d))
        return np.concatenate(
            [gradopt.sampling.latin_hypercube(self.inputs, self.initial, seed), np.clip(around, -2.0, 2.0)]
        )


LOOPS = {  # numbers of samples and seeds by hand
    "rosenbrock_2": SamplesOfLoop(rosenbrock, 2, 1, 20, 8),
    "rosenbrock_5": SamplesOfLoop(rosenbrock, 5, 1, 40, 4),
    "rosenbrock_10": SamplesOfLoop(rosenbrock, 10, 1, 60, 3),
    "smooth_8": SamplesOfLoop(smooth, 8, 2, 80, 3),
}
QUICK_LOOPS = ("rosenbrock_2", "smooth_8")


def nrmse(surrogate: Surrogate, at: Dataset, all_over: Dataset) -> tuple[float, float]:
    """Return NRMSE of values and of partials on samples; spreads are those of `all_over`."""
    y, dydx = surrogate.linearize(at.x)
    values = ((y - at.y) ** 2).mean(axis=0) / all_over.y.var(axis=0)
    partials = ((dydx - at.partials) ** 2).mean(axis=0).sum(axis=1) / all_over.partials.var(axis=0).sum(axis=1)
    return float(np.sqrt(values.max())), float(np.sqrt(partials.max()))


def measure(loop: SamplesOfLoop, configuration: JENN, additions: int, every: int, seed: int) -> dict[str, Any]:
    """Take in the samples of one loop, and measure."""
    data, rng = loop.evaluate(loop.design(additions, seed)), np.random.default_rng([TEST_SEED, seed, 1])
    all_over = loop.evaluate(np.random.default_rng(TEST_SEED).uniform(-2.0, 2.0, (TEST_POINTS, loop.d)))
    configuration = replace(configuration, seed=seed)
    single = replace(configuration, starts=1)
    state: IncrementalFit = incremental_fit(configuration, data.select(range(loop.initial)))
    seconds, made, checks = [], [], []
    for n in range(loop.initial + 1, loop.initial + additions + 1):
        present = data.select(range(n))
        candidate = data.x[n - 1]
        state = incremental_fit(configuration, present, state, candidate)
        seconds.append(state.seconds)
        in_vain = state.how == "warm" and state.cold_samples == n
        made.append("cold in vain" if in_vain else state.how)
        if (n - loop.initial) % every and n != loop.initial + 1:
            continue
        around = candidate + NEAR * 4.0 * rng.uniform(-1.0, 1.0, (NEAR_POINTS, loop.d))
        near = loop.evaluate(np.clip(around, -2.0, 2.0))
        check: dict[str, Any] = {"n": n, "reason": state.reason}
        fits = {"cold": timed(partial(configuration.fit, present)), "single": timed(partial(single.fit, present))}
        for name, (surrogate, elapsed) in {**fits, "incremental": (state.surrogate, state.seconds)}.items():
            found = (*nrmse(surrogate, all_over, all_over), *nrmse(surrogate, near, all_over))
            check[name] = {"seconds": elapsed, **dict(zip(FIGURES, found, strict=True))}
        checks.append(check)
    return {"seed": seed, "seconds": seconds, "made": made, "checks": checks}


def compare(runs: Sequence[dict[str, Any]], other: str) -> dict[str, Any]:
    """Return the ratios of all runs of a function to a kind of cold fit."""
    mine, theirs = [], []
    for one in runs:
        sizes = [check["n"] for check in one["checks"]]
        mine += one["seconds"]
        every_n = sizes[0] + np.arange(len(one["seconds"]))
        theirs += np.interp(every_n, sizes, [check[other]["seconds"] for check in one["checks"]]).tolist()
    found: dict[str, Any] = {
        "seconds": {**over_seeds(np.divide(mine, theirs)), "ratio_of_sums": sum(mine) / sum(theirs)}
    }
    for figure in FIGURES:
        pairs = np.array([(c["incremental"][figure], c[other][figure]) for one in runs for c in one["checks"]])
        medians = np.median(pairs, axis=0)
        of = over_seeds(pairs[:, 0] / pairs[:, 1])
        found[figure] = {**of, "medians": medians, "of_medians": medians[0] / medians[1]}
    return found


def show(console: Console, functions: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        "incremental / cold fit",
        "starts",
        "seconds: median, ratio of sums (largest)",
        *(f"{f}: median (largest)" for f in FIGURES),
        "made",
    )
    for name, found in functions.items():
        for starts, ratios in (("4", found), ("1", found["against_one_start"])):
            s = ratios["seconds"]
            errors = (worst_cell(ratios[f]) for f in FIGURES)
            made = ", ".join(f"{count} {kind}" for kind, count in found["made"].items())
            cost = f"{s['median']:.3f}, {s['ratio_of_sums']:.3f} ({s['largest']:.2f})"
            table.add_row(name, starts, cost, *errors, made if starts == "4" else "")
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all functions, write and print."""
    call = begin(parser_of(__file__, __doc__), argv, width=170)
    configuration = JENN((5,), starts=2, solver=LevenbergMarquardt(max_iterations=2)) if call.quick else JENN()
    additions, every = (3, 2) if call.quick else (50, 10)
    first = LOOPS["rosenbrock_2"]
    JENN(solver=LevenbergMarquardt(max_iterations=2)).fit(first.evaluate(first.design(0, 0)))  # torch's first call
    functions = {}
    for name in QUICK_LOOPS if call.quick else LOOPS:
        loop = replace(LOOPS[name], initial=12, seeds=1) if call.quick else LOOPS[name]
        runs = [measure(loop, configuration, additions, every, seed) for seed in range(loop.seeds)]
        made = Counter(kind for one in runs for kind in one["made"])
        against_one = compare(runs, "single")
        functions[name] = {**compare(runs, "cold"), "against_one_start": against_one, "made": made, "runs": runs}
    setup = {name: {"d": p.d, "initial": p.initial, "seeds": p.seeds} for name, p in LOOPS.items()}
    call.write({"setup": setup, "additions": additions, "functions": functions})
    show(call.console, functions)
    return 0


if __name__ == "__main__":
    run(main)
