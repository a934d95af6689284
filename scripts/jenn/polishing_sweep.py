"""Experiment on magnitude and width of polishing, by the error of the optimum; for `jenn.experiments`."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.table import Table

from cases.case import Case, Stage
from cases.one_shot import StageResult, optimize, train, training_data
from gradopt import JENN
from gradopt.plots.figure import new_figure
from gradopt.surrogates import Polish
from scripts.jenn.one_shot_problems import airfoil, best, branin, excess, valley, violation
from scripts.shared.fits import fit_settings
from scripts.shared.statistics import cell, over_seeds

MAGNITUDES, WIDTHS = (1.0, 10.0, 100.0, 1000.0, 10_000.0), (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
COARSE = (10.0, 1000.0), (0.03, 0.1, 0.3, 1.0)
PAPER = Polish(1000.0, 10.0, units="raw")
FLOOR = 1e-12  # added to errors before a ratio is taken; by hand
FRESH = range(100, 110)  # seeds that did not choose the setting


@dataclass(frozen=True)
class Sweep:
    """One problem.

    Attributes:
        case: Function that makes the case, with its samples.
        jenn: Configuration that is fitted.
        seeds: Number of designs of experiments.
        grid: Magnitudes and widths.
    """

    case: Callable[[], Case]
    jenn: JENN
    seeds: int = 5
    grid: tuple[Sequence[float], Sequence[float]] = (MAGNITUDES, WIDTHS)


def sweeps(quick: bool) -> dict[str, Sweep]:
    """Return the problems; the airfoil, whose fit and polish take seconds, has a coarse grid."""
    learned = JENN(**fit_settings(quick))
    if quick:
        return {"rosenbrock_2": Sweep(lambda: valley(2, 8), learned, 1, ((10.0, 1000.0), (0.1,)))}
    fixed = JENN(activation="tanh", weights="fixed")
    own = airfoil(quick).stages[0].configuration
    assert isinstance(own, JENN)
    return {
        "rosenbrock_2": Sweep(lambda: valley(2, 20), learned),
        "rosenbrock_2, fixed weights": Sweep(lambda: valley(2, 20), fixed),
        "branin": Sweep(lambda: branin(20), learned),
        "rosenbrock_5": Sweep(lambda: valley(5, 100), learned),
        "airfoil": Sweep(lambda: airfoil(quick), own, 2, COARSE),
    }


def polishing(folder: Path, quick: bool) -> dict[str, Any]:
    """Fit each problem, polish with each setting, and optimize on the surrogate; write `polishing.png`.

    Args:
        folder: Folder of the picture.
        quick: Whether to make one problem, one seed and a grid of two only.

    Returns:
        For each problem: error of the true objective and violation of the constraints, both at the optimum on the
        surrogate, without polish and with each setting, and the decimal logarithms of their ratios, over the seeds. For
        the settings of the full grid the mean and the largest of these logarithms' medians over the problems that have
        it; the setting with the least mean; that with the least largest one; the default; and these three again on the
        same problems with fresh seeds, which did not choose them.
    """
    plans = sweeps(quick)
    found = {name: _sweep(plan, range(plan.seeds)) for name, plan in plans.items()}
    full = [
        name for name, of in found.items() if len(of["settings"]) == max(len(f["settings"]) for f in found.values())
    ]
    overall = _overall([found[name]["settings"] for name in full])
    again = [Polish(overall[kind]["magnitude"], overall[kind]["width"]) for kind in ("default", "best", "safest")]
    fresh = {name: _sweep(plans[name], FRESH[: 1 if quick else None], again) for name in full}
    result = {"problems": found, "overall": overall, "fresh": fresh, "default": asdict(Polish())}
    draw(folder / "polishing.png", result)
    return result


def _sweep(plan: Sweep, seeds: Sequence[int], given: Sequence[Polish] | None = None) -> dict[str, Any]:
    """Optimize with the settings given, or with the grid and the setting of the paper."""
    case = plan.case()
    least = best(case)
    tried = given or [*(Polish(m, w) for m, w in itertools.product(*plan.grid)), PAPER]
    plain: list[StageResult] = []
    polished: list[list[StageResult]] = [[] for _ in tried]
    with tempfile.TemporaryDirectory() as recordings:
        for seed in seeds:
            data, _ = training_data(case, seed, lambda line: None)

            def solve(stage: Stage, before: list[StageResult], data: Any = data) -> StageResult:
                return optimize(case, stage, train(case, stage, data, before), Path(recordings), 0.0)

            plain.append(solve(Stage("fit", replace(plan.jenn, seed=seed)), []))
            for polish, runs in zip(tried, polished, strict=True):
                runs.append(solve(Stage("polish", polish=polish), plain[-1:]))

    def errors(runs: list[StageResult]) -> dict[str, np.ndarray]:
        over, broken = (
            np.array(of) for of in ([excess(case, least, run) for run in runs], [violation(case, run) for run in runs])
        )
        return {"error": np.abs(over), "violation": broken}

    without = errors(plain)
    settings = []
    for polish, runs in zip(tried, polished, strict=True):
        now = errors(runs)
        ratios = {f"log_{key}": np.log10((now[key] + FLOOR) / (without[key] + FLOOR)) for key in now}
        figures = {key: over_seeds(of.tolist()) for key, of in {**now, **ratios}.items()}
        settings.append({"magnitude": polish.magnitude, "width": polish.width, "units": polish.units, **figures})
    return {
        "seeds": list(seeds),
        "samples": case.samples,
        "unit": case.responses[0].shown_unit,
        "without": {key: over_seeds(of.tolist()) for key, of in without.items()},
        "settings": settings,
    }


def _overall(problems: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    rows = []
    for same in zip(*problems, strict=True):
        medians = [one["log_error"]["median"] for one in same]
        setting = {key: same[0][key] for key in ("magnitude", "width", "units")}
        rows.append({**setting, "mean": float(np.mean(medians)), "largest": max(medians)})
    standardized = [row for row in rows if row["units"] == "standardized"]
    usual = Polish()
    return {
        "settings": rows,
        "best": min(standardized, key=lambda row: row["mean"]),
        "safest": min(standardized, key=lambda row: row["largest"]),
        "default": next(
            row for row in standardized if (row["magnitude"], row["width"]) == (usual.magnitude, usual.width)
        ),
    }


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw a heat map for each problem, another for its constraints, and one of the means."""
    maps = []
    for name, of in result["problems"].items():
        before = of["without"]["error"]["median"]
        title = f"{name}: error {before:.1g}{' ' * bool(of['unit'])}{of['unit']} without polishing"
        maps.append((title, [(one, one["log_error"]["median"]) for one in of["settings"]]))
        if of["without"]["violation"]["largest"] > 0.0:
            before = of["without"]["violation"]["median"]
            title = f"{name}: violation {before:.1g} without polishing"
            maps.append((title, [(one, one["log_violation"]["median"]) for one in of["settings"]]))
    maps.append(("mean of the full grids", [(one, one["mean"]) for one in result["overall"]["settings"]]))
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    figure = new_figure(4.9 * columns + 0.6, 3.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, settings) in zip(panels, maps, strict=False):
        shown = _heat_map(axes, settings, result["default"])
        axes.set_title(title, fontsize=10)
    for axes in panels[len(maps) :]:
        axes.set_visible(False)
    label = "log10 of error with polishing / without\n(blue: helps, red: hurts; frame: default)"
    figure.colorbar(shown, ax=panels.tolist(), label=label)
    figure.savefig(path, dpi=130)


def _heat_map(axes: Any, settings: Sequence[tuple[dict[str, Any], float]], usual: dict[str, Any]) -> Any:
    values = {(one["magnitude"], one["width"]): v for one, v in settings if one["units"] == "standardized"}
    magnitudes, widths = (sorted({key[i] for key in values}) for i in (0, 1))
    table = np.array([[values[m, w] for w in widths] for m in magnitudes])
    shown = axes.imshow(table, cmap="RdBu_r", vmin=-1.5, vmax=1.5, origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        color = "white" if abs(value) > 0.9 else "black"
        axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=8, color=color)
    if usual["magnitude"] in magnitudes and usual["width"] in widths:
        corner = (widths.index(usual["width"]) - 0.5, magnitudes.index(usual["magnitude"]) - 0.5)
        axes.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, linewidth=2.5))
    axes.set_xticks(range(len(widths)), [f"{w:g}" for w in widths])
    axes.set_yticks(range(len(magnitudes)), [f"{m:g}" for m in magnitudes])
    axes.set(xlabel="width (1 / epsilon)", ylabel="magnitude (eta)")
    return shown


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the errors without polishing, and with the default, the paper's, the best and the worst setting."""
    heads = ("problem", "polish", "|true objective - least|", "violation", "log10 of the errors' ratio")
    table = Table(*heads, title="Polishing: median (least to largest)")
    usual = result["default"]
    for name, of in result["problems"].items():
        without = of["without"]
        table.add_row(f"{name} {of['unit']}", "none", cell(without["error"]), cell(without["violation"]), "")
        ranked = sorted(of["settings"], key=lambda one: one["log_error"]["median"])
        same = [s for s in ranked if all(s[key] == usual[key] for key in ("magnitude", "width", "units"))]
        paper = [s for s in ranked if s["units"] == "raw"]
        for label, one in (*(("default", s) for s in same), *(("paper", s) for s in paper)):
            table.add_row("", label, cell(one["error"]), cell(one["violation"]), cell(one["log_error"]))
        for label, one in (("best", ranked[0]), ("worst", ranked[-1])):
            setting = f"{label}: {one['magnitude']:g}, {one['width']:g} {one['units']}"
            table.add_row("", setting, cell(one["error"]), cell(one["violation"]), cell(one["log_error"]))
    console.print(table)
    for label in ("default", "best", "safest"):
        one = result["overall"][label]
        figures = f"mean {one['mean']:+.2f}, largest {one['largest']:+.2f}"
        console.print(
            f"over the full grids, {label}: magnitude {one['magnitude']:g}, width {one['width']:g}: {figures}"
        )
    heads = (
        "fresh seeds: problem",
        "magnitude, width",
        "|true objective - least|",
        "without polishing",
        "log10 of the ratio",
    )
    table = Table(*heads, title="Settings chosen on other seeds: median (least to largest)")
    for name, of in result["fresh"].items():
        for one in of["settings"]:
            cells = (cell(figure) for figure in (one["error"], of["without"]["error"], one["log_error"]))
            table.add_row(name, f"{one['magnitude']:g}, {one['width']:g}", *cells)
    console.print(table)
