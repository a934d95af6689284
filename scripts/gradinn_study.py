"""What a prior belief about the gradient is worth on Friedman's first function, values alone, with controls.

For 30 and 100 values, without noise and with Gaussian noise of 0.2 standard deviations, writes to OUT/result.json, with
the set-up, versions and commit, and prints: the RMSE of values at 2000 uniform points and of the five partials
together, in the units of the function, each as the mean over draws with its standard error, the median and all draws,
and the CPU seconds of a fit. `against` is the median over draws of a method's RMSE of values / that of its control:

- "GradINN": the default, against "MLP", the same network trained the same way, by evidence, without the belief;
- "GradINN, fixed weights": weight 1, against "MLP, fixed weights": the loss of the paper as it is inferred;
- "GradINN, oscillating" and "GradINN, falling": beliefs that are wrong here, against "MLP";
- "MLP, weight decay": fixed weights, alpha = 0.1, and "GP": scikit-learn's Gaussian process, as controls.

All networks have 20 tanh units and 8 starts. The draws are those of scripts/friedman_few_samples.py. One thread:

    PYTHONPATH=. python scripts/gradinn_study.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cases.records import write_result
from gradopt import MLP, Dataset, GradINN, LevenbergMarquardt, Monotone, Oscillating
from gradopt.report.plots import LIMIT, MODEL, new_figure
from scripts.friedman_few_samples import PROBLEM, TEST_POINTS, TEST_SEED, Case, fit_gp

CASES = tuple(Case(n, noise) for noise in (0.0, 0.2) for n in (30, 100))
FALLING = Monotone(sign=-1, inputs=("x[3]", "x[4]"))
METHODS: dict[str, tuple[Callable[..., MLP | GradINN], dict[str, Any], str | None]] = {
    "MLP": (MLP, {}, None),
    "GradINN": (GradINN, {}, "MLP"),
    "MLP, fixed weights": (MLP, {"weights": "fixed"}, None),
    "GradINN, fixed weights": (GradINN, {"weight": 1.0}, "MLP, fixed weights"),
    "GradINN, oscillating": (GradINN, {"prior": Oscillating(frequency=1.0)}, "MLP"),
    "GradINN, falling": (GradINN, {"prior": FALLING}, "MLP"),
    "MLP, weight decay": (MLP, {"alpha": 0.1}, None),
}
NETWORK = {"hidden_sizes": (20,), "activation": "tanh", "starts": 8}


def root_mean_square(wrong: np.ndarray) -> float:
    """Over all entries."""
    return float(np.sqrt(np.mean(wrong**2)))


def figures(numbers: Sequence[float]) -> dict[str, Any]:
    """Mean, its standard error, median and worst."""
    error = float(np.std(numbers, ddof=1) / np.sqrt(len(numbers))) if len(numbers) > 1 else 0.0
    middle = {"mean": float(np.mean(numbers)), "standard_error": error, "median": float(np.median(numbers))}
    return {**middle, "worst": max(numbers), "all": list(numbers)}


def run(case: Case, draws: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit all draws of a case by each method."""
    points = np.random.default_rng(TEST_SEED).uniform(PROBLEM.lower, PROBLEM.upper, (TEST_POINTS, PROBLEM.d))
    truth, slopes = PROBLEM.evaluate(points)
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*METHODS, "GP")}
    omegas: dict[str, list[list[float]]] = {name: [] for name in METHODS}

    def fit(name: str, data: Dataset, seed: int) -> tuple[float, float, float]:
        make, own, _ = METHODS[name]
        start = time.process_time()
        surrogate = make(**{**NETWORK, **own, **settings}, seed=seed).fit(data)
        seconds = time.process_time() - start
        y, dydx = surrogate.linearize(points)
        learned = surrogate.fit_result.learned
        omegas[name].append(list(learned.omega) if learned and learned.omega else [])
        return root_mean_square(y - truth), root_mean_square(dydx - slopes), seconds

    for seed in draws:
        data = case.draw(seed, float(truth.std()))
        for name in METHODS:
            rows[name].append(fit(name, data, seed))
        start = time.process_time()
        predict = fit_gp(data, seed)
        seconds = time.process_time() - start
        rows["GP"].append((root_mean_square(predict(points) - truth), np.nan, seconds))
    found = {}
    for name, of in rows.items():
        values, partials, times = zip(*of, strict=True)
        found[name] = {"values": figures(values), "seconds": float(np.median(times))}
        if name in METHODS:
            found[name] |= {"partials": figures(partials), "omega": omegas[name]}
            control = METHODS[name][2]
            if control:
                ratio = np.array(values) / [row[0] for row in rows[control]]
                found[name]["against"] = {"control": control, "median": float(np.median(ratio)), "worst": max(ratio)}
    return {**vars(case), "spread": float(truth.std()), "methods": found}


def show(console: Console, cases: dict[str, Any]) -> None:
    """Print a table for each case."""
    for name, case in cases.items():
        table = Table("method", "values", "partials", "median of values", "ratio to its control (worst)", "CPU seconds")
        table.title = f"Friedman's first function, {name} values: RMSE, mean ± standard error"
        for method, of in case["methods"].items():
            numbers = [of["values"], of.get("partials")]
            cells = ["" if n is None else f"{n['mean']:.3g} ± {n['standard_error']:.2g}" for n in numbers]
            against = of.get("against")
            ratio = f"{against['median']:.2f} ({against['worst']:.2f}) of {against['control']}" if against else ""
            table.add_row(method, *cells, f"{of['values']['median']:.3g}", ratio, f"{of['seconds']:.2g}")
        console.print(table)


def draw(path: Path, cases: dict[str, Any]) -> None:
    """Draw all errors, one panel for each case, log scale, with the medians."""
    figure = new_figure(4.0 * len(cases), 4.2)
    panels = np.atleast_1d(figure.subplots(1, len(cases)))
    for axes, (name, case) in zip(panels, cases.items(), strict=True):
        for place, (method, of) in enumerate(case["methods"].items()):
            errors, color = of["values"]["all"], MODEL if method.startswith("GradINN") else LIMIT
            axes.plot(errors, np.full(len(errors), place), "o", color=color, alpha=0.5)
            axes.vlines(of["values"]["median"], place - 0.3, place + 0.3, color=color)
        labels = list(case["methods"]) if axes is panels[0] else [""] * len(case["methods"])
        axes.set_yticks(range(len(case["methods"])), labels)
        axes.invert_yaxis()
        axes.set(xscale="log", xlabel="RMSE of values", title=f"{name} values")
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/gradinn_study"), help="folder of the result")
    parser.add_argument("--draws", type=int, default=10, help="number of draws of each case")
    parser.add_argument("--quick", action="store_true", help="one case, two draws, few iterations: see that it runs")
    options = parser.parse_args()
    settings: dict[str, Any] = {"solver": LevenbergMarquardt(max_iterations=8), "starts": 1} if options.quick else {}
    draws = range(2 if options.quick else options.draws)

    torch.set_num_threads(1)
    console, cases = Console(width=150), dict[str, Any]()
    for case in CASES[:1] if options.quick else CASES:
        cases[case.name] = run(case, draws, settings)
    result = {
        "setup": {"test_points": TEST_POINTS, "test_seed": TEST_SEED, "draws": list(draws), "source": PROBLEM.source},
        "quick": options.quick,
        "machine": {"cpus": os.cpu_count(), "threads": 1},
        "cases": cases,
    }
    write_result(options.out / "result.json", result)
    draw(options.out / "errors.png", cases)
    show(console, cases)


if __name__ == "__main__":
    main()
