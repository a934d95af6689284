"""How often the 90 % intervals of `std` hold the truth, and where they are wide.

Makes these figures, printed and written to OUT/result.json with the set-up, versions and commit:

- `coverage`: for each problem of scripts/benchmark_problems.py, for JENN() on values and partials and for MLP() on the
  same values, at 5 d Latin-hypercube samples and over the seeds: the part of uniform test points whose true value
  (partial) lies within 1.645 std of the prediction; the same by the lowest and highest seed; that of the best network's
  posterior by Laplace alone, not widened by what the training data tell; Spearman's rank correlation of std and error;
  the RMSE and the root mean square of std, both over the standard deviation of the truth; the number of networks that
  are averaged; the seconds to fit, to make the posteriors (a part of these), and to predict and for std at the test
  points. `pooled` is the mean over the problems, `within` how many of them have 85-95 %.
- `gaps`: std in the middle of a gap in the data over the highest std between neighboring samples, in one dimension for
  both; the picture uncertainty.png shows it, and a map over two dimensions of which a quarter was not sampled.

A seed sets design and initial parameters. No seed below 10 was used to find the rule. Everything is on one thread:

    python scripts/uncertainty_coverage.py
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from cases.records import write_result
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import gradopt
from gradopt import JENN, MLP, Dataset, Surrogate
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from scripts.benchmark_problems import PROBLEMS, Problem

HALF_WIDTH, WANTED = 1.645, (0.85, 0.95)
FIRST_SEED, SEEDS, TEST_POINTS, PER_INPUT = 10, 5, 500, 5
KINDS: dict[str, type[JENN] | type[MLP]] = {"JENN": JENN, "MLP": MLP}

Answer = TypeVar("Answer")


def timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    """Return what a call returns, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def covered(errors: np.ndarray, std: np.ndarray) -> float:
    """Part of the errors within the 90 % interval."""
    return float((np.abs(errors) <= HALF_WIDTH * std).mean())


def laplace_alone(surrogate: Surrogate) -> Surrogate:
    """The best network with its posterior, not widened."""
    posterior = surrogate.posteriors[0]
    plain = replace(posterior, inflation=np.ones_like(posterior.inflation), optimism=np.zeros(1))
    return replace(surrogate, networks=(replace(surrogate.networks[0], share=1.0),), posteriors=(plain,))


def run(problem: Problem, configuration: JENN | MLP, seed: int) -> dict[str, float]:
    """One fit, judged at uniform points."""
    data = problem.sample(PER_INPUT * problem.d, seed)
    x = np.random.default_rng([seed, TEST_POINTS]).uniform(problem.lower, problem.upper, (TEST_POINTS, problem.d))
    y, dydx = problem.evaluate(x)
    surrogate, fit_seconds = timed(lambda: configuration.fit(data))
    alone = laplace_alone(surrogate)
    _, posterior_seconds = timed(lambda: posteriors_of(configuration, surrogate.networks, data, surrogate.scaling))
    surrogate.std(x), surrogate.predict(x)
    predicted, predict_seconds = timed(lambda: surrogate.predict(x))
    std, std_seconds = timed(lambda: surrogate.std(x))
    errors, of_partials = predicted - y, surrogate.linearize(x)[1] - dydx
    return {
        "values": covered(errors, std),
        "partials": covered(of_partials, surrogate.std_partials(x)),
        "laplace_alone": covered(alone.predict(x) - y, alone.std(x)),
        "rank_correlation": float(spearmanr(std[:, 0], np.abs(errors[:, 0])).statistic),
        "nrmse": float(np.sqrt((errors**2).mean() / y.var())),
        "std": float(np.sqrt((std**2).mean() / y.var())),
        "networks": float(len(surrogate.networks)),
        "fit_seconds": fit_seconds,
        "posterior_seconds": posterior_seconds,
        "predict_seconds": predict_seconds,
        "std_seconds": std_seconds,
    }


def coverage(names: Sequence[str], seeds: Sequence[int], settings: dict[str, Any], console: Console) -> dict[str, Any]:
    """All fits: means over the seeds by kind and problem, and over the problems."""
    found: dict[str, Any] = {}
    for kind, configuration in KINDS.items():
        problems: dict[str, Any] = {}
        for name in names:
            runs = [run(PROBLEMS[name], configuration(seed=seed, **settings), seed) for seed in seeds]
            problems[name] = {figure: float(np.mean([of[figure] for of in runs])) for figure in runs[0]}
            problems[name]["values_by_seed"] = [of["values"] for of in runs]
            console.print(kind, name, *(f"{f} {problems[name][f]:.3f}" for f in ("values", "partials")))
        pooled = {
            f: float(np.mean([of[f] for of in problems.values()])) for f in ("values", "partials", "laplace_alone")
        }
        low, high = WANTED
        within = {f: sum(low <= round(of[f], 3) <= high for of in problems.values()) for f in pooled}
        found[kind] = {"problems": problems, "pooled": pooled, "within": within}
    return found


def wave(x: np.ndarray) -> Dataset:
    """Samples at x (n, 1) of the wave of Forrester, Sobester and Keane (2008), a tenth of it."""
    bend, angle = 6.0 * x - 2.0, 12.0 * x - 4.0
    slope = 1.2 * bend * (np.sin(angle) + bend * np.cos(angle))
    return Dataset(x, 0.1 * bend**2 * np.sin(angle), slope[:, None])


def draw_gap(axes: Axes, kind: str, settings: dict[str, Any]) -> float:
    """Fit a wave with a gap in its data, draw it, and return by how much wider the interval is in the gap."""
    samples = np.concatenate([np.linspace(0.0, 0.35, 7), np.linspace(0.75, 1.0, 7)])[:, None]
    surrogate = KINDS[kind](**settings).fit(wave(samples))
    x = np.linspace(-0.1, 1.1, 400)[:, None]
    y, reach = surrogate.predict(x)[:, 0], HALF_WIDTH * surrogate.std(x)[:, 0]
    axes.fill_between(x[:, 0], y - reach, y + reach, alpha=0.3, label="90 % interval")
    axes.plot(x, y, label="prediction")
    axes.plot(x, wave(x).y, "k--", linewidth=1.0, label="truth")
    axes.plot(samples, wave(samples).y, "ko", markersize=4)
    axes.set(title=f"{kind}: a gap in the data", xlabel="x", ylim=(-2.5, 3.5))
    axes.legend(loc="upper left")
    between = 0.5 * (samples[1:] + samples[:-1])
    in_gap = between[:, 0] == 0.5 * (0.35 + 0.75)
    std = surrogate.std(between)[:, 0]
    return float(std[in_gap].item() / std[~in_gap].max())


def draw_map(axes: Axes, settings: dict[str, Any]) -> float:
    """Fit Branin's function, a quarter of its box not sampled; draw std, and return its mean there over elsewhere."""
    problem = PROBLEMS["branin"]
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    middle = 0.5 * (lower + upper)

    def unsampled(x: np.ndarray) -> np.ndarray:
        return np.asarray((x > middle).all(axis=1))

    x = gradopt.sampling.latin_hypercube(problem.inputs, 20, 0)
    x = x[~unsampled(x)]
    surrogate = JENN(**settings).fit(Dataset(x, *problem.evaluate(x), problem.inputs))
    grid = [np.linspace(low, high, 80) for low, high in zip(lower, upper, strict=True)]
    points = np.stack(np.meshgrid(*grid), axis=-1).reshape(-1, 2)
    std = surrogate.std(points)[:, 0]
    drawn = axes.contourf(*grid, np.log10(std).reshape(80, 80), levels=20)
    axes.get_figure().colorbar(drawn, ax=axes, label="log10 std")  # type: ignore[union-attr]
    axes.plot(*x.T, "wo", markeredgecolor="k", markersize=5)
    axes.set(title="JENN on Branin's function, upper right not sampled", xlabel="x0", ylabel="x1")
    return float(std[unsampled(points)].mean() / std[~unsampled(points)].mean())


def draw(path: Path, settings: dict[str, Any]) -> dict[str, float]:
    """Make the picture; returns how much wider the intervals are where there are no data."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 4.8), layout="constrained")
    found = {kind: draw_gap(part, kind, settings) for kind, part in zip(KINDS, axes, strict=False)}
    found["map"] = draw_map(axes[2], settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return found


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the table."""
    figures = ("values", "partials", "laplace_alone", "rank_correlation", "nrmse", "std")
    for kind, found in result["coverage"].items():
        table = Table("problem", "lowest, highest seed", *figures, title=f"{kind}: coverage of 90 % intervals")
        for name, of in found["problems"].items():
            extremes = f"{min(of['values_by_seed']):.2f}, {max(of['values_by_seed']):.2f}"
            table.add_row(name, extremes, *(f"{of[f]:.3g}" for f in figures))
        table.add_row("pooled", "", *(f"{found['pooled'][f]:.3f}" for f in figures[:3]))
        table.add_row("within 85-95 %", "", *(f"{found['within'][f]} of {len(found['problems'])}" for f in figures[:3]))
        console.print(table)
    console.print("std without data / with:", {name: round(ratio, 1) for name, ratio in result["gaps"].items()})


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/uncertainty_coverage"), help="folder of the result")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"number of seeds, from {FIRST_SEED}")
    parser.add_argument("--quick", action="store_true", help="two problems and few iterations, to see that it runs")
    options = parser.parse_args()
    quick: bool = options.quick
    settings: dict[str, Any] = {"solver": LevenbergMarquardt(max_iterations=8), "starts": 1} if quick else {}
    names = ("sine", "branin") if quick else tuple(PROBLEMS)
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if quick else options.seeds))

    torch.set_num_threads(1)
    console, load = Console(width=140), os.getloadavg()
    gaps = draw(options.out / "uncertainty.png", settings)
    result = {
        "setup": {"samples_per_input": PER_INPUT, "test_points": TEST_POINTS, "seeds": list(seeds), "wanted": WANTED},
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "threads": 1, "load_before": load},
        "coverage": coverage(names, seeds, settings, console),
        "gaps": gaps,
    }
    write_result(options.out / "result.json", result)
    show(console, result)


if __name__ == "__main__":
    main()
