"""Experiment on SLSQP on surrogates that are fitted once, with partials and without; for `jenn.experiments`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cases.airfoil_rans.accuracy import values_alone
from cases.case import Case, Stage
from cases.one_shot import run_one_shot
from gradopt import JENN, MLP
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from gradopt.surrogates import Polish
from scripts.jenn.one_shot_problems import airfoil, best, branin, disk, excess, valley, violation
from scripts.shared.fits import fit_settings
from scripts.shared.statistics import cell, over_seeds

COLORS = {"JENN": MODEL, "JENN, polished": "#56b4e9", "MLP": LIMIT, "MLP, twice the samples": "#e69f00"}
FLOOR = 1e-8  # least error that is drawn, on a logarithmic axis; by hand


@dataclass(frozen=True)
class Plan:
    """One problem.

    Attributes:
        case: Function that makes the case for a number of samples.
        samples: Number of samples.
        seeds: Number of designs of experiments.
        jenn: Configuration that learns values and partials.
        mlp: Configuration that learns the values alone.
    """

    case: Callable[[int], Case]
    samples: int
    seeds: int
    jenn: JENN
    mlp: MLP


def plans(quick: bool) -> dict[str, Plan]:
    """Return the problems by name."""
    jenn, mlp = JENN(**fit_settings(quick)), MLP(**fit_settings(quick))
    if quick:
        return {"rosenbrock_disk": Plan(disk, 10, 1, jenn, mlp)}

    def section(samples: int) -> Case:
        return replace(airfoil(quick=False), samples=samples)

    # The defaults take minutes to learn the weights of 17 inputs with their partials; the case fixes them.
    fixed = section(128).stages[0].configuration
    assert isinstance(fixed, JENN)
    return {
        "rosenbrock_2": Plan(lambda n: valley(2, n), 20, 10, jenn, mlp),
        "rosenbrock_disk": Plan(disk, 20, 10, jenn, mlp),
        "branin": Plan(branin, 20, 10, jenn, mlp),
        "rosenbrock_5": Plan(lambda n: valley(5, n), 100, 10, jenn, mlp),
        "airfoil, fixed weights": Plan(section, 128, 3, fixed, values_alone(fixed)),
        "airfoil, MLP learned": Plan(section, 128, 3, fixed, mlp),
    }


def optimizations(folder: Path, quick: bool) -> dict[str, Any]:
    """Optimize each problem by each method; write `optimizations.png`.

    Args:
        folder: Folder of the picture.
        quick: Whether to make one problem, one seed and few iterations only.

    Returns:
        For each problem and method, over the seeds: excess of the true objective at the optimum found over the least,
        its absolute value, and the largest violation of a constraint there.
    """
    found: dict[str, Any] = {}
    for name, plan in plans(quick).items():
        case = plan.case(plan.samples)
        least = best(case)
        rows: dict[str, list[tuple[float, float]]] = {method: [] for method in COLORS}
        for seed in range(plan.seeds):
            own = (Stage("JENN", replace(plan.jenn, seed=seed)), Stage("JENN, polished", polish=Polish()))
            same = (Stage("MLP", replace(plan.mlp, seed=seed)),)
            twice = (replace(same[0], label="MLP, twice the samples"),)
            for samples, stages in ((plan.samples, own), (plan.samples, same), (2 * plan.samples, twice)):
                posed = replace(plan.case(samples), stages=stages)
                with tempfile.TemporaryDirectory() as recordings:
                    outcome = run_one_shot(posed, seed, Path(recordings), lambda line: None)
                for stage in outcome.stages:
                    rows[stage.stage.label].append((excess(posed, least, stage), violation(posed, stage)))
        methods = {}
        for method, runs in rows.items():
            over, broken = zip(*runs, strict=True)
            error = over_seeds(np.abs(over).tolist())
            methods[method] = {"excess": over_seeds(over), "error": error, "violation": over_seeds(broken)}
        unit = case.responses[0].shown_unit
        sizes = {"d": len(case.start), "samples": plan.samples, "seeds": plan.seeds}
        found[name] = {**sizes, "least": least * case.responses[0].shown_per_unit, "unit": unit, "methods": methods}
    draw(folder / "optimizations.png", found)
    return found


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw the errors of each problem's objective, and the violations where it has constraints; bars are medians."""
    panels = []
    for name, of in found.items():
        title = f"{name}: {of['d']} inputs, {of['samples']} samples"
        panels.append((title, f"|true objective - least|{', ' * bool(of['unit'])}{of['unit']}", of["methods"], "error"))
        if any(run["violation"]["largest"] > 0.0 for run in of["methods"].values()):
            panels.append((name, "largest true violation", of["methods"], "violation"))
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(3.9 * columns, 2.7 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, label, methods, quantity) in zip(grid, panels, strict=False):
        for place, (method, color) in enumerate(COLORS.items()):
            run = methods[method][quantity]
            values = np.maximum(run["all"], FLOOR)
            axes.plot(np.full(len(values), place), values, "o", color=color, alpha=0.5, markersize=5)
            axes.hlines(max(run["median"], FLOOR), place - 0.35, place + 0.35, color=color, linewidth=3.0, label=method)
        axes.set(yscale="log", ylabel=label, xticks=[])
        axes.set_title(title, fontsize=9)
        axes.grid(axis="y", alpha=0.3)
        if min(run[quantity]["least"] for run in methods.values()) <= FLOOR:
            axes.axhline(FLOOR, color=TRUTH, linewidth=0.7, linestyle=":")  # errors below are drawn here
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLORS))
    figure.savefig(path, dpi=130)


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the table."""
    heads = ("problem", "method", "excess of the true objective", "|excess|", "true violation")
    table = Table(*heads, title="One-shot optimizations: median (least to largest)")
    for name, of in found.items():
        for method, run in of["methods"].items():
            table.add_row(f"{name} {of['unit']}", method, *(cell(run[f]) for f in ("excess", "error", "violation")))
    console.print(table)
