"""Seconds and accuracy of adding samples one at a time, against a cold fit on the same data.

A loop is played: a Latin hypercube with partials, then 50 samples around a candidate that moves from a random point
to (1, ..., 1), ever closer. After each sample `update` brings the surrogate up to date; at the first and at every tenth
a cold fit, JENN() of 20 neurons, is made on the same data, with its 4 starts and with 1. Functions: Rosenbrock in 2, 5
and 10 dimensions, and a smooth one of 8 inputs and two outputs, like an airfoil's drag and lift. For each function,
over all seeds, OUT/result.json holds, with the set-up, versions and commit:

- `seconds`: seconds of an update over those of the cold fit: median, worst, and mean (sum over sum); cold fits made in
  an update count. Between the samples with a cold fit its seconds are interpolated.
- `values`, `partials`: NRMSE on 1000 points of the whole box over that of the cold fit: median, worst, all, and the
  ratio of the medians of both.
- `near_values`, `near_partials`: the same on 30 points around the candidate, within 3 % of the box.
- `against_one_start`: the same against the cold fit with 1 start.
- `made`: how many updates were warm and made no cold fit, made one in vain, and were restarted.

NRMSE is the RMSE over the standard deviation of the truth in the whole box, the worse output's. On one thread:

    python scripts/repolish_cost.py
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases.records import write_result
from rich.console import Console
from rich.table import Table

import gradopt
from cases.rosenbrock.function import rosenbrock
from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.fitting.incremental import IncrementalFit, incremental_fit

TEST_SEED, TEST_POINTS, NEAR_POINTS, NEAR = 20_261_120, 1000, 30, 0.03
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
class Play:
    """One function and how the loop is played on it."""

    truth: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    d: int
    m: int
    initial: int
    seeds: int

    def evaluate(self, x: np.ndarray) -> Dataset:
        """Evaluate the truth at x (n, d) of the box [-2, 2]^d."""
        y, dydx = zip(*(self.truth(point) for point in x), strict=True)
        outputs = [Variable("f", (self.m,))]
        return Dataset(x, np.array(y), np.array(dydx), self.inputs, outputs)

    @property
    def inputs(self) -> list[Variable]:
        """The variable of all inputs."""
        return [Variable("x", (self.d,), lower=-2.0, upper=2.0)]

    def design(self, additions: int, seed: int) -> np.ndarray:
        """Initial samples, and those around the moving candidate (initial + additions, d)."""
        rng = np.random.default_rng([TEST_SEED, seed])
        start, t = rng.uniform(-2.0, 2.0, self.d), np.arange(additions)[:, None] / additions
        path = start + (1.0 - start) * (1.0 - (1.0 - t) ** 2)
        around = path + 0.6 * 0.02**t * rng.normal(size=(additions, self.d))
        return np.concatenate(
            [gradopt.sampling.latin_hypercube(self.inputs, self.initial, seed), np.clip(around, -2.0, 2.0)]
        )


PLAYS = {
    "rosenbrock_2": Play(rosenbrock, 2, 1, 20, 8),
    "rosenbrock_5": Play(rosenbrock, 5, 1, 40, 4),
    "rosenbrock_10": Play(rosenbrock, 10, 1, 60, 3),
    "smooth_8": Play(smooth, 8, 2, 80, 3),
}


def nrmse(surrogate: Surrogate, at: Dataset, box: Dataset) -> tuple[float, float]:
    """NRMSE of values and of partials on some samples; spreads are those in the box."""
    y, dydx = surrogate.linearize(at.x)
    values = ((y - at.y) ** 2).mean(axis=0) / box.y.var(axis=0)
    partials = ((dydx - at.partials) ** 2).mean(axis=0).sum(axis=1) / box.partials.var(axis=0).sum(axis=1)
    return float(np.sqrt(values.max())), float(np.sqrt(partials.max()))


def timed_fit(configuration: JENN, data: Dataset) -> tuple[Surrogate, float]:
    """Fit cold: surrogate and seconds."""
    start = time.perf_counter()
    return configuration.fit(data), time.perf_counter() - start


def run(play: Play, configuration: JENN, additions: int, every: int, seed: int) -> dict[str, Any]:
    """Play the loop once."""
    data, rng = play.evaluate(play.design(additions, seed)), np.random.default_rng([TEST_SEED, seed, 1])
    box = play.evaluate(np.random.default_rng(TEST_SEED).uniform(-2.0, 2.0, (TEST_POINTS, play.d)))
    configuration = replace(configuration, seed=seed)
    single = replace(configuration, starts=1)
    state: IncrementalFit = incremental_fit(configuration, data.select(range(play.initial)))
    seconds, made, checks = [], [], []
    for n in range(play.initial + 1, play.initial + additions + 1):
        present = data.select(range(n))
        candidate = data.x[n - 1]
        state = incremental_fit(configuration, present, state, candidate)
        seconds.append(state.seconds)
        in_vain = state.how == "warm" and state.cold_samples == n
        made.append("cold in vain" if in_vain else state.how)
        if (n - play.initial) % every and n != play.initial + 1:
            continue
        around = candidate + NEAR * 4.0 * rng.uniform(-1.0, 1.0, (NEAR_POINTS, play.d))
        near = play.evaluate(np.clip(around, -2.0, 2.0))
        check: dict[str, Any] = {"n": n, "reason": state.reason}
        fits = {"cold": timed_fit(configuration, present), "single": timed_fit(single, present)}
        for name, (surrogate, elapsed) in {**fits, "updated": (state.surrogate, state.seconds)}.items():
            found = (*nrmse(surrogate, box, box), *nrmse(surrogate, near, box))
            check[name] = {"seconds": elapsed, **dict(zip(FIGURES, found, strict=True))}
        checks.append(check)
    return {"seed": seed, "seconds": seconds, "made": made, "checks": checks}


def compare(runs: Sequence[dict[str, Any]], other: str) -> dict[str, Any]:
    """Ratios of all runs of a function to a kind of cold fit."""
    mine, theirs = [], []
    for one in runs:
        sizes = [check["n"] for check in one["checks"]]
        mine += one["seconds"]
        every_n = sizes[0] + np.arange(len(one["seconds"]))
        theirs += np.interp(every_n, sizes, [check[other]["seconds"] for check in one["checks"]]).tolist()
    found: dict[str, Any] = {"seconds": {**spread(np.divide(mine, theirs)), "mean": sum(mine) / sum(theirs)}}
    for figure in FIGURES:
        pairs = np.array([(c["updated"][figure], c[other][figure]) for one in runs for c in one["checks"]])
        medians = np.median(pairs, axis=0)
        found[figure] = {**spread(pairs[:, 0] / pairs[:, 1]), "medians": medians, "of_medians": medians[0] / medians[1]}
    return found


def spread(ratios: np.ndarray) -> dict[str, Any]:
    """Median, worst and all."""
    return {"median": float(np.median(ratios)), "worst": float(ratios.max()), "all": ratios}


def show(console: Console, functions: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        "updated / cold", "starts", "seconds: median, mean (worst)", *(f"{f} (worst)" for f in FIGURES), "made"
    )
    for name, found in functions.items():
        for starts, ratios in (("4", found), ("1", found["against_one_start"])):
            s = ratios["seconds"]
            errors = (f"{ratios[f]['median']:.2f} ({ratios[f]['worst']:.1f})" for f in FIGURES)
            made = ", ".join(f"{count} {kind}" for kind, count in found["made"].items())
            cost = f"{s['median']:.3f}, {s['mean']:.3f} ({s['worst']:.2f})"
            table.add_row(name, starts, cost, *errors, made if starts == "4" else "")
    console.print(table)


def main() -> None:
    """Play all loops."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/repolish_cost"), help="folder of the result")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, few samples and iterations, to see that it runs"
    )
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    configuration = JENN(solver=LevenbergMarquardt(max_iterations=3)) if quick else JENN()
    additions, every = (4, 2) if quick else (50, 10)
    warm_up = PLAYS["rosenbrock_2"]
    JENN(solver=LevenbergMarquardt(max_iterations=2)).fit(warm_up.evaluate(warm_up.design(0, 0)))  # torch's first call
    load, functions = os.getloadavg(), {}
    for name, play in PLAYS.items():
        play = replace(play, initial=12) if quick else play
        runs = [run(play, configuration, additions, every, seed) for seed in range(1 if quick else play.seeds)]
        made = Counter(kind for one in runs for kind in one["made"])
        against_one = compare(runs, "single")
        functions[name] = {**compare(runs, "cold"), "against_one_start": against_one, "made": made, "runs": runs}
    result: dict[str, Any] = {
        "setup": {name: {"d": p.d, "initial": p.initial, "seeds": p.seeds} for name, p in PLAYS.items()},
        "additions": additions,
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "functions": functions,
    }
    write_result(options.out / "result.json", result)
    show(Console(width=170), functions)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # NumPy reads it once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    main()
