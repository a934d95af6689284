"""Figures, tables and pictures of rows: means with standard errors, ratios to controls; for `gradinn.experiments`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from scripts.gradinn.methods import CONTROL, DEFAULTS, HYBRID, METHODS, PRIORS
from scripts.gradinn.rows import HYBRID_PROBLEMS
from scripts.shared.rows import Row

Runs = dict[tuple[str, int, float, str], dict[int, Row]]  # problem, n, noise, method -> seed -> row
SOME, ALL = "GradINN, some partials", "JENN, all partials"
SHOWN = {  # methods of the picture: color, line
    CONTROL: (TRUTH, "-"),
    "MLP, weight decay": (TRUTH, ":"),
    "GradINN": (MODEL, "-"),
    "GP": (LIMIT, "-"),
    "polynomial chaos": (LIMIT, ":"),
}


def grouped(rows: Iterable[Row]) -> Runs:
    """Group rows by what was fitted."""
    found: Runs = {}
    for row in rows:
        found.setdefault((row["problem"], row["n"], row["noise"], row["method"]), {})[row["seed"]] = row
    return found


def figures(numbers: Sequence[float]) -> dict[str, float]:
    """Return mean, its standard error, median and largest."""
    error = float(np.std(numbers, ddof=1) / np.sqrt(len(numbers))) if len(numbers) > 1 else 0.0
    middle = {"mean": float(np.mean(numbers)), "standard_error": error, "median": float(np.median(numbers))}
    return {**middle, "largest": float(max(numbers))}


def ratios(runs: Mapping[int, Row], control: Mapping[int, Row], figure: str = "values") -> dict[str, float]:
    """Return errors over those of a control with the same seeds: median, geometric mean, largest, number of seeds."""
    seeds = sorted(runs.keys() & control.keys())
    of = np.array([runs[seed][figure] / control[seed][figure] for seed in seeds])
    middle = {"median": float(np.median(of)), "geometric_mean": float(np.exp(np.log(of).mean()))}
    return {**middle, "largest": float(of.max()), "seeds": len(seeds)}


def summarize(runs: Runs) -> list[dict[str, Any]]:
    """Return one entry for each problem, size, noise and method, against the plain network where there is one."""
    found = []
    for (problem, n, noise, method), of in sorted(runs.items()):
        rows = list(of.values())
        entry: dict[str, Any] = {"problem": problem, "n": n, "noise": noise, "method": method, "seeds": len(rows)}
        entry |= {name: figures([row[name] for row in rows]) for name in ("values", "partials")}
        entry["seconds"] = float(np.median([row["seconds"] for row in rows]))
        control = runs.get((problem, n, noise, "MLP, defaults" if method in DEFAULTS else CONTROL))
        if control and control.keys() & of.keys():
            entry["ratio"] = ratios(of, control)
            entry["ratio_of_partials"] = ratios(of, control, "partials")
        if "kept" in rows[0]:
            entry["kept"] = float(np.mean([row["kept"] for row in rows]))
        found.append(entry)
    return found


def both_at_once(runs: Runs) -> dict[str, Any]:
    """Compare the hybrid with the better of its two parts for each problem and size, and in the geometric mean."""
    cells: list[dict[str, Any]] = []
    for (problem, n, noise, method), of in sorted(runs.items()):
        parts = [runs.get((problem, n, noise, name)) for name in ("JENN, some partials", "GradINN")]
        if method != SOME or not all(parts):
            continue
        seeds = sorted(of.keys() & parts[0].keys() & parts[1].keys())  # type: ignore[union-attr]
        best = {seed: {"values": min(p[seed]["values"] for p in parts if p)} for seed in seeds}
        cells.append({"problem": problem, "n": n, **ratios({s: of[s] for s in seeds}, best)})
        against = {"JENN": parts[0], "GradINN": parts[1]}
        cells[-1] |= {f"to_{name}": ratios(of, part)["median"] for name, part in against.items() if part}
    mean = float(np.exp(np.mean([np.log(cell["geometric_mean"]) for cell in cells]))) if cells else np.nan
    return {"cells": cells, "geometric_mean": mean}


def show(console: Console, summary: Sequence[Mapping[str, Any]], hybrid: Mapping[str, Any]) -> None:
    """Print a table for each problem and size, and that of the hybrid."""
    kinds = {(entry["problem"], entry["n"]): None for entry in summary}
    for problem, n in kinds:
        of = {
            (entry["noise"], entry["method"]): entry
            for entry in summary
            if (entry["problem"], entry["n"]) == (problem, n)
        }
        noises = sorted({noise for noise, _ in of})
        methods = [
            name for name in (*METHODS, *PRIORS, *HYBRID, *DEFAULTS) if any((noise, name) in of for noise in noises)
        ]
        table = Table("method", *(f"noise {noise:g}" for noise in noises), title=f"{problem}, {n} samples")
        for name in methods:
            table.add_row(name, *(_cell(of.get((noise, name))) for noise in noises))
        table.caption = (
            "Errors of values, partials: mean over seeds ± standard error, in standard deviations; "
            f"(median ratio of values to {CONTROL}, largest); K: share of the seeds that kept the prior"
        )
        console.print(table)
    if hybrid["cells"]:
        titles = ("to the better", "largest", "to JENN", "to GradINN")
        title = "Some partials and a prior: median ratios of the errors of values"
        table = Table("problem", "samples", *titles, title=title)
        for cell in hybrid["cells"]:
            numbers = (cell[name] for name in ("median", "largest", "to_JENN", "to_GradINN"))
            table.add_row(cell["problem"], str(cell["n"]), *(f"{number:.3g}" for number in numbers))
        table.caption = f"Geometric mean of the ratios to the better: {hybrid['geometric_mean']:.3g}"
        console.print(table)


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    parts = [f"{entry[name]['mean']:.2g}±{entry[name]['standard_error']:.1g}" for name in ("values", "partials")]
    text = ", ".join(parts)
    if "ratio" in entry and entry["method"] != CONTROL:
        text += f" ({entry['ratio']['median']:.2f}, {entry['ratio']['largest']:.1f})"
    return text + (f" K{entry['kept']:.1f}" if "kept" in entry else "")


def draw_noise(path: Path, summary: Sequence[Mapping[str, Any]]) -> None:
    """Draw errors over noise: a row for each problem, a column for each size."""
    problems = list(dict.fromkeys(entry["problem"] for entry in summary if entry["method"] == CONTROL))
    columns = max(len({e["n"] for e in summary if e["problem"] == name}) for name in problems)
    figure = new_figure(4.0 * columns, 2.6 * len(problems))
    panels = figure.subplots(len(problems), columns, squeeze=False)
    for row, name in zip(panels, problems, strict=True):
        for axes, n in zip(row, sorted({e["n"] for e in summary if e["problem"] == name}), strict=False):
            for method, (color, line) in SHOWN.items():
                of = [e for e in summary if (e["problem"], e["n"], e["method"]) == (name, n, method)]
                noise, median = [e["noise"] for e in of], [e["values"]["median"] for e in of]
                axes.plot(noise, median, line, color=color, marker=".", label=method)
            noises = np.linspace(1e-3, 0.2, 100)
            axes.plot(noises, noises, color="gray", linewidth=0.8)
            axes.set(yscale="log", title=f"{name}, {n} samples")
            axes.set_ylim(1e-4, 2.0)
            axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("noise of the values / standard deviation")
    for row in panels:
        row[0].set_ylabel("error / standard deviation")
    panels[0, -1].legend(fontsize=8)
    figure.suptitle("Median error at noise-free test points; gray: error = noise")
    figure.savefig(path, dpi=130)


def _draw_cells(
    path: Path,
    cells: Sequence[tuple[str, int]],
    found: Mapping[str, tuple[str, Callable[[str, int], Sequence[float]]]],
    ylabel: str,
    title: str,
    lines: Sequence[float] = (),
) -> None:
    """Draw a column of dots for each method, all seeds with their median, in each cell of problem and size.

    Args:
        path: File of the picture.
        cells: Problems and sizes.
        found: Color of each label, and the function that returns the numbers of a cell.
        ylabel: Label of the axis.
        title: Title of the picture.
        lines: Heights of horizontal lines.
    """
    figure = new_figure(2.5 + 0.28 * len(found) * max(len(cells), 3), 4.2)
    axes, width = figure.subplots(), 0.8 / len(found)
    for k, (label, (color, numbers)) in enumerate(found.items()):
        axes.plot([], [], "o", color=color, label=label)
        for place, (problem, n) in enumerate(cells):
            of = numbers(problem, n)
            if len(of):
                x = place + (k + 0.5) * width - 0.4
                axes.plot(np.full(len(of), x), of, "o", color=color, alpha=0.5, markersize=4)
                axes.hlines(float(np.median(of)), x - 0.4 * width, x + 0.4 * width, color=color)
    for height in lines:
        axes.axhline(height, color="gray", linewidth=0.8)
    axes.set_xticks(range(len(cells)), [f"{problem}\n{n} samples" for problem, n in cells], fontsize=7)
    axes.set(yscale="log", ylabel=ylabel, title=title)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def draw_priors(path: Path, runs: Runs) -> None:
    """Draw the error with right, vague and wrong priors over that of the plain network, for each seed."""
    cells = sorted({(problem, n) for problem, n, noise, method in runs if method in PRIORS})

    def against(method: str) -> Callable[[str, int], Sequence[float]]:
        def numbers(problem: str, n: int) -> list[float]:
            of, control = (runs.get((problem, n, 0.0, name), {}) for name in (method, CONTROL))
            return [of[seed]["values"] / control[seed]["values"] for seed in sorted(of.keys() & control.keys())]

        return numbers

    shown = {"smooth (default)": ("GradINN", MODEL), "weight 1": ("GradINN, weight 1", "#56b4e9")}
    shown |= {"oscillating": ("GradINN, oscillating", LIMIT), "falling": ("GradINN, falling", TRUTH)}
    found = {label: (color, against(method)) for label, (method, color) in shown.items()}
    title = "Priors, right and wrong; lines: no harm, and the limit of 1.3 for a wrong one"
    _draw_cells(path, cells, found, f"error / error of {CONTROL}", title, (1.0, 1.3))


def draw_hybrid(path: Path, runs: Runs) -> None:
    """Draw the errors of JENN, GradINN and both at once."""
    cells = sorted({(problem, n) for problem, n, _, method in runs if method == SOME and problem in HYBRID_PROBLEMS})

    def errors(method: str) -> Callable[[str, int], Sequence[float]]:
        return lambda problem, n: [row["values"] for row in runs.get((problem, n, 0.0, method), {}).values()]

    shown = {"GradINN, values alone": ("GradINN", LIMIT), "JENN, half of the partials": ("JENN, some partials", TRUTH)}
    shown |= {"both: GradINN, half of the partials": (SOME, MODEL), "JENN, all partials": (ALL, "gray")}
    found = {label: (color, errors(method)) for label, (method, color) in shown.items()}
    _draw_cells(path, cells, found, "error of the values / standard deviation", "Half of the partials known")
