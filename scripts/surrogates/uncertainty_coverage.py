"""Coverage of the 90 % intervals of `std`, and where the intervals are wide.

Printed and written to the result file:

- `coverage`: for each problem of `scripts/shared/benchmark_problems.py`, for JENN() on values and partials and for
  MLP() on the same values, at 5 d Latin-hypercube samples, means over the seeds: the share of uniform test points whose
  true value (partial) lies within 1.645 std of the prediction; the same by seed; that of the best network's posterior
  by Laplace's approximation alone, not widened by leave-one-out errors; Spearman's rank correlation of std and error;
  the RMSE and the root mean square of std, both over the standard deviation of the truth; the number of networks that
  are averaged; the seconds to fit, to make the posteriors (included in those of the fit), and to predict and for std at
  the test points. `pooled` is the mean over the problems, `within` the number of them with 85 to 95 %.
- `gaps`: std in the middle of a gap in the data over the highest std between neighboring samples, in one dimension for
  both, and std where a quarter of two dimensions was not sampled over std elsewhere. `uncertainty.png` shows them.

A seed sets design and initial parameters. The rule was found with seeds below 10; these begin at 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import gradopt
from gradopt import JENN, MLP, Dataset, Surrogate
from gradopt.plots.figure import new_figure
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from scripts.shared.benchmark_problems import PROBLEMS, Problem
from scripts.shared.costs import timed
from scripts.shared.fits import fit_settings
from scripts.shared.script import begin, parser_of, run

HALF_WIDTH = 1.645  # of a 90 % interval of a normal distribution, in standard deviations
WITHIN = (0.85, 0.95)  # coverages that count as those of a 90 % interval; by hand
FIRST_SEED, SEEDS, TEST_POINTS, PER_INPUT = 10, 8, 500, 5
KINDS: dict[str, type[JENN] | type[MLP]] = {"JENN": JENN, "MLP": MLP}


def covered(errors: np.ndarray, std: np.ndarray) -> float:
    """Return the share of the errors within the 90 % interval."""
    return float((np.abs(errors) <= HALF_WIDTH * std).mean())


def laplace_alone(surrogate: Surrogate) -> Surrogate:
    """Return the best network with its posterior, not widened."""
    posterior = surrogate.posteriors[0]
    plain = replace(posterior, inflation=np.ones_like(posterior.inflation), optimism=np.zeros(1))
    return replace(surrogate, networks=(replace(surrogate.networks[0], share=1.0),), posteriors=(plain,))


def measure(problem: Problem, configuration: JENN | MLP, seed: int) -> dict[str, float]:
    """Fit once and measure at uniform points."""
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
    """Make all fits; return means over the seeds by kind and problem, and over the problems."""
    found: dict[str, Any] = {}
    for kind, configuration in KINDS.items():
        problems: dict[str, Any] = {}
        for name in names:
            runs = [measure(PROBLEMS[name], configuration(seed=seed, **settings), seed) for seed in seeds]
            problems[name] = {figure: float(np.mean([of[figure] for of in runs])) for figure in runs[0]}
            problems[name]["values_by_seed"] = [of["values"] for of in runs]
            console.print(kind, name, *(f"{f} {problems[name][f]:.3f}" for f in ("values", "partials")))
        pooled = {
            f: float(np.mean([of[f] for of in problems.values()])) for f in ("values", "partials", "laplace_alone")
        }
        low, high = WITHIN
        within = {f: sum(low <= round(of[f], 3) <= high for of in problems.values()) for f in pooled}
        found[kind] = {"problems": problems, "pooled": pooled, "within": within}
    return found


def wave(x: np.ndarray) -> Dataset:
    """Evaluate a tenth of the wave of Forrester, Sobester and Keane (2008) at x (n, 1)."""
    bend, angle = 6.0 * x - 2.0, 12.0 * x - 4.0
    slope = 1.2 * bend * (np.sin(angle) + bend * np.cos(angle))
    return Dataset(x, 0.1 * bend**2 * np.sin(angle), slope[:, None])


def draw_gap(axes: Axes, kind: str, settings: dict[str, Any]) -> float:
    """Fit a wave with a gap in its data, draw the fit, and return std in the gap over the highest std elsewhere."""
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
    """Fit Branin's function, a quarter of it not sampled; draw std, and return its mean there over elsewhere."""
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
    """Draw; return the ratios of std without data to std with data."""
    figure = new_figure(17.0, 4.8)
    axes = figure.subplots(1, 3)
    found = {kind: draw_gap(part, kind, settings) for kind, part in zip(KINDS, axes, strict=False)}
    found["map"] = draw_map(axes[2], settings)
    figure.savefig(path, dpi=110)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, draw, write and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    settings = fit_settings(call.quick)
    names = ("sine", "branin") if call.quick else tuple(PROBLEMS)
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if call.quick else SEEDS))
    result = {
        "setup": {"samples_per_input": PER_INPUT, "test_points": TEST_POINTS, "seeds": list(seeds), "within": WITHIN},
        "coverage": coverage(names, seeds, settings, call.console),
        "gaps": draw(call.folder / "uncertainty.png", settings),
    }
    call.write(result)
    show(call.console, result)
    return 0


if __name__ == "__main__":
    run(main)
