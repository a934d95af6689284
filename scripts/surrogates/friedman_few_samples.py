"""Accuracy on Friedman's first function from few samples, with and without noise, beside a Gaussian process.

Printed and written to the result file, under `cases`: for MLP() on 30, 100 and 200 values, on 30 and 100 values with
Gaussian noise of 0.2 standard deviations of the function, and for JENN() on 10 and 20 values with partials:

- RMSE at 2000 uniform points, in the units of the function, against its values without noise: median, mean, least,
  largest and all draws; CPU seconds of a fit.
- On values alone the same of scikit-learn's Gaussian process (RBF with a length for each input, a white kernel,
  standardized, restarted), on the same draws; `ratio` is the median of ours / its.
- `target`: the RMSE that was aimed at, and `within`: whether median, mean and largest meet it.

Points are uniform in the unit cube; a draw sets points, noise and initial parameters. All settings are the defaults.
`errors.png` shows all draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from rich.console import Console
from rich.table import Table

from gradopt import JENN, MLP, Dataset
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from scripts.shared.benchmark_problems import PROBLEMS, TEST_SEED
from scripts.shared.fits import fit_settings
from scripts.shared.gaussian_process import GP_RESTARTS, LEAST_NOISE, gaussian_process
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds

PROBLEM = PROBLEMS["friedman_1"]
TEST_POINTS, DRAWS = 2000, 10
FIGURES = ("median", "mean", "largest")

Prediction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One kind of data.

    Attributes:
        n: Number of samples.
        noise: Standard deviation of the noise over that of the function.
        partials: Whether exact partials are given.
        target: RMSE aimed at, in the units of the function, by hand; None where none was set.
    """

    n: int
    noise: float = 0.0
    partials: bool = False
    target: float | None = None

    @property
    def name(self) -> str:
        """Name in tables and pictures."""
        return f"{self.n}{' with partials' * self.partials}{f', noise {self.noise:g}' if self.noise else ''}"

    def draw(self, seed: int, spread: float) -> Dataset:
        """Draw points and noise; the spread is the standard deviation of the function."""
        rng = np.random.default_rng([seed, self.n])
        x = rng.uniform(PROBLEM.lower, PROBLEM.upper, (self.n, PROBLEM.d))
        y, dydx = PROBLEM.evaluate(x)
        y = y + self.noise * spread * rng.standard_normal(y.shape)
        return Dataset(x, y, dydx if self.partials else None, PROBLEM.inputs)


CASES = (
    Case(30, target=1.3),
    Case(100, target=0.045),
    Case(200, target=0.018),
    Case(30, noise=0.2, target=2.3),
    Case(100, noise=0.2, target=0.75),
    Case(10, partials=True),
    Case(20, partials=True),
)


def measure(case: Case, draws: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit all draws of a case by each method, and measure."""
    points = np.random.default_rng(TEST_SEED).uniform(PROBLEM.lower, PROBLEM.upper, (TEST_POINTS, PROBLEM.d))
    truth, _ = PROBLEM.evaluate(points)

    def fit_ours(data: Dataset, seed: int) -> Prediction:
        return (JENN if case.partials else MLP)(seed=seed, **settings).fit(data).predict

    methods = (
        {"gradopt": fit_ours}
        if case.partials
        else {"gradopt": fit_ours, "GP": lambda data, seed: gaussian_process(data, seed)[0]}
    )
    errors: dict[str, list[float]] = {name: [] for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for seed in draws:
        data = case.draw(seed, float(truth.std()))
        for name, fit in methods.items():
            start = time.process_time()
            predict = fit(data, seed)
            seconds[name].append(time.process_time() - start)
            errors[name].append(float(np.sqrt(np.mean((predict(points) - truth) ** 2))))
    found: dict[str, Any] = {
        name: {**over_seeds(errors[name]), "seconds": over_seeds(seconds[name])} for name in methods
    }
    if "GP" in methods:
        found["ratio"] = float(np.median(np.array(errors["gradopt"]) / errors["GP"]))
    if case.target is not None:
        found["within"] = {name: found["gradopt"][name] <= case.target for name in FIGURES}
    return {**vars(case), "spread": float(truth.std()), **found}


def draw(path: Path, cases: dict[str, Any]) -> None:
    """Draw every error, log scale, with the medians and the targets."""
    figure = new_figure(9.0, 4.5)
    axes = figure.subplots()
    for place, case in enumerate(cases.values()):
        for name, shift, color in (("gradopt", -0.15, MODEL), ("GP", 0.15, LIMIT)):
            if name in case:
                errors = case[name]["all"]
                label = {"gradopt": "gradopt, defaults", "GP": "Gaussian process"}[name] if not place else None
                axes.plot(np.full(len(errors), place + shift), errors, "o", color=color, alpha=0.6, label=label)
                axes.hlines(case[name]["median"], place + shift - 0.12, place + shift + 0.12, color=color)
        if case["target"] is not None:
            label = "_hidden" if place else "target"
            axes.hlines(case["target"], place - 0.4, place + 0.4, color=TRUTH, linestyle="--", label=label)
    axes.set_xticks(range(len(cases)), list(cases), rotation=20)
    axes.set(yscale="log", xlabel="samples", ylabel=f"RMSE at {TEST_POINTS} points")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def show(console: Console, cases: dict[str, Any]) -> None:
    """Print the table."""
    titles = ("target", *FIGURES, *(f"GP {name}" for name in FIGURES), "ratio", "CPU seconds", "GP CPU seconds")
    table = Table("samples", *titles, title="Friedman's first function: RMSE")
    for name, case in cases.items():
        blank: dict[str, Any] = {**dict.fromkeys(FIGURES, np.nan), "seconds": {"median": np.nan}}
        ours, gp = case["gradopt"], case.get("GP", blank)
        numbers = [case["target"] or np.nan, *(of[f] for of in (ours, gp) for f in FIGURES)]
        numbers += [case.get("ratio", np.nan), ours["seconds"]["median"], gp["seconds"]["median"]]
        table.add_row(name, *("" if np.isnan(number) else f"{number:.3g}" for number in numbers))
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, draw and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    settings, draws = fit_settings(call.quick), range(2 if call.quick else DRAWS)
    cases: dict[str, Any] = {}
    for case in (CASES[0], CASES[3], CASES[5]) if call.quick else CASES:
        cases[case.name] = measure(case, draws, settings)
        call.console.print(case.name, "median", f"{cases[case.name]['gradopt']['median']:.3g}")
    call.write(
        {
            "setup": {
                "test_points": TEST_POINTS,
                "test_seed": TEST_SEED,
                "draws": list(draws),
                "source": PROBLEM.source,
            },
            "gp": {"version": sklearn.__version__, "restarts": GP_RESTARTS, "least_noise": LEAST_NOISE},
            "cases": cases,
        }
    )
    draw(call.folder / "errors.png", cases)
    show(call.console, cases)
    return 0


if __name__ == "__main__":
    run(main)
