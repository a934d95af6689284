"""Experiments on values: a sine from 3 and 4 samples, Rastrigin's function from 50 and 100; for `jenn.experiments`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt import JENN, MLP, Dataset, Surrogate
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from scripts.shared.benchmark_problems import PROBLEMS
from scripts.shared.fits import fit_settings
from scripts.shared.statistics import cell, over_seeds, r2, rmse

METHODS = {"JENN": JENN, "MLP": MLP}
COLORS = {"JENN": MODEL, "MLP": LIMIT}
SINE_SAMPLES, SINE_DRAWS = (3, 4), 5
RASTRIGIN_SAMPLES, RASTRIGIN_SEEDS = (50, 100), 10


def sine(folder: Path, quick: bool) -> dict[str, Any]:
    """Fit few samples of a sine, equally spaced and drawn; write `sine.png`.

    Args:
        folder: Folder of the picture.
        quick: Whether to make one draw only.

    Returns:
        For each number of samples: x of the equally spaced ones, and the RMSE of each method there and of the draws.
    """
    problem = PROBLEMS["sine"]
    x = np.linspace(problem.lower[0], problem.upper[0], 401)[:, None]
    test = Dataset(x, *problem.evaluate(x), problem.inputs)
    figure, settings = new_figure(9.0, 3.6), fit_settings(quick)
    found: dict[str, Any] = {}
    for axes, n in zip(figure.subplots(1, len(SINE_SAMPLES), sharey=True), SINE_SAMPLES, strict=True):
        # Centers of equal cells: with both ends, the values of three samples are all 0, and MLP learns nothing.
        spaced = (np.arange(n)[:, None] + 0.5) * problem.upper[0] / n
        designs = {"equal": Dataset(spaced, *problem.evaluate(spaced), problem.inputs)}
        designs |= {f"draw {seed}": problem.sample(n, seed) for seed in range(1 if quick else SINE_DRAWS)}
        errors: dict[str, dict[str, float]] = {}
        axes.plot(x, test.y, color=TRUTH, linewidth=1.0, label="sin x")
        for name, kind in METHODS.items():
            fits = {design: kind(**settings).fit(data) for design, data in designs.items()}
            errors[name] = {design: rmse(fit, test) for design, fit in fits.items()}
            label = f"{name}, RMSE {errors[name]['equal']:.2g}"
            axes.plot(x, fits["equal"].predict(x), color=COLORS[name], linestyle="--", label=label)
        half = 0.25 * np.array([-1.0, 1.0])
        for at, value, partial in zip(
            spaced[:, 0], designs["equal"].y[:, 0], designs["equal"].partials.ravel(), strict=True
        ):
            axes.plot(at + half, value + partial * half, color=TRUTH, linewidth=3.0)
            axes.plot(at, value, "o", color=TRUTH)
        axes.set(xlabel="x", title=f"{n} samples with partials")
        axes.legend()
        drawn = {name: over_seeds([e for design, e in of.items() if design != "equal"]) for name, of in errors.items()}
        found[str(n)] = {
            "x": spaced,
            **{name: {"equal": errors[name]["equal"], "draws": drawn[name]} for name in METHODS},
        }
    figure.savefig(folder / "sine.png", dpi=150)
    return found


def show_sine(console: Console, found: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("samples", "method", "equally spaced", "drawn: median (least to largest)", title="Sine: RMSE")
    for n, of in found.items():
        for name in METHODS:
            table.add_row(n, name, f"{of[name]['equal']:.2g}", cell(of[name]["draws"]))
    console.print(table)


def rastrigin(folder: Path, quick: bool) -> dict[str, Any]:
    """Fit Rastrigin's function by each method with each activation; write `rastrigin.png`: tanh, seed 0.

    Args:
        folder: Folder of the picture.
        quick: Whether to make two seeds only.

    Returns:
        For each number of samples, method and activation: RMSE, NRMSE and R2 over the seeds.
    """
    problem = PROBLEMS["rastrigin_2"]
    test, seeds = problem.test(), range(2 if quick else RASTRIGIN_SEEDS)
    found, settings = dict[str, Any](), fit_settings(quick)
    shown: dict[int, dict[str, Surrogate]] = {n: {} for n in RASTRIGIN_SAMPLES}
    for n in RASTRIGIN_SAMPLES:
        found[str(n)] = {}
        for activation in ("auto", "tanh"):
            for name, kind in METHODS.items():
                fits = [kind(activation=activation, seed=s, **settings).fit(problem.sample(n, s)) for s in seeds]
                errors = np.array([rmse(fit, test) for fit in fits])
                figures = {
                    "rmse": errors,
                    "nrmse": errors / test.y.std(),
                    "r2": [r2(test.y, f.predict(test.x)) for f in fits],
                }
                found[str(n)][f"{name} {activation}"] = {figure: over_seeds(of) for figure, of in figures.items()}
                shown[n][name] = fits[0]  # of the last activation, tanh
    _draw_rastrigin(folder / "rastrigin.png", test, shown, found)
    return found


def _draw_rastrigin(path: Path, test: Dataset, fits: dict[int, dict[str, Surrogate]], found: dict[str, Any]) -> None:
    """Draw the fits of fewer samples (above) and more (below), the truth, and all errors."""
    figure = new_figure(11.0, 6.8)
    panels = figure.subplots(2, 3)
    problem = PROBLEMS["rastrigin_2"]
    line = np.linspace(problem.lower[0], problem.upper[0], 101)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    truth = problem.evaluate(points)[0]
    levels = np.linspace(truth.min(), truth.max(), 12)
    drawn = [(panels[0, 2], "truth", truth)]
    for row, (n, of) in zip(panels, fits.items(), strict=True):
        for axes, (name, fit) in zip(row, of.items(), strict=False):
            unexplained = 1.0 - r2(test.y, fit.predict(test.x))
            drawn.append((axes, f"{name}, {n} samples: 1 - R2 = {unexplained:.1e}", fit.predict(points)))
            axes.plot(*problem.sample(n, 0).x.T, "w.", markersize=4)
    for axes, title, values in drawn:
        filled = axes.contourf(line, line, values.reshape(101, 101), levels, cmap="viridis", extend="both")
        axes.set(aspect="equal", xlabel="x1", ylabel="x2")
        axes.set_title(title, fontsize=10)
    figure.colorbar(filled, ax=panels[0, 2], label="f")
    _draw_errors(panels[1, 2], found)
    figure.savefig(path, dpi=130)


def _draw_errors(axes: Any, found: dict[str, Any]) -> None:
    labels: list[str] = []
    for n, methods in found.items():
        for name, of in methods.items():
            errors, color = of["nrmse"]["all"], COLORS[name.split()[0]]
            axes.plot(errors, np.full(len(errors), len(labels)), "o", color=color, alpha=0.5, markersize=4)
            axes.plot(of["nrmse"]["median"], len(labels), "|", color=color, markersize=16, markeredgewidth=2)
            labels.append(f"{name}, {n}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="NRMSE", title="all seeds (bar: median)")
    axes.grid(axis="x", alpha=0.3)


def show_rastrigin(console: Console, found: dict[str, Any]) -> None:
    """Print the table."""
    title = "Rastrigin's function: median (least to largest)"
    table = Table("samples", "method, activation", "RMSE", "NRMSE", "median 1 - R2", "least R2", title=title)
    for n, methods in found.items():
        for name, of in methods.items():
            unexplained, least = 1.0 - of["r2"]["median"], of["r2"]["least"]
            table.add_row(n, name, cell(of["rmse"]), cell(of["nrmse"]), f"{unexplained:.2g}", f"{least:.6f}")
    console.print(table)
