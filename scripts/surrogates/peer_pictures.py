"""Pictures of errors by problem, by seconds and by number of samples; for `surrogates.accuracy_vs_peers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gradopt.plots.figure import new_figure

LABELS = {"nrmse_values": "NRMSE of values", "nrmse_partials": "NRMSE of partials"}
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800", "#999999", "#000000")
MARKERS = "osD^vP*X<"
FAR = 10.0  # largest error that is drawn; by hand


def draw(folder: Path, result: Mapping[str, Any], methods: Sequence[str], ours: Sequence[str]) -> None:
    """Draw errors_<size>d.png, seconds_<size>d.png for each number of samples, and samples.png.

    Args:
        folder: Folder of the pictures.
        result: Figures of `peer_tables.tabulate`.
        methods: Names in the order of the legend.
        ours: Names of the methods that are drawn large and filled.
    """
    styles = {
        name: {
            "color": COLORS[place % len(COLORS)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 8 if name in ours else 5,
            "markerfacecolor": COLORS[place % len(COLORS)] if name in ours else "white",
        }
        for place, name in enumerate(methods)
    }
    for size, problems in result["errors"].items():
        _by_problem(folder / f"errors_{size}d.png", size, problems, styles)
        _by_seconds(folder / f"seconds_{size}d.png", size, problems, styles)
    _by_samples(folder / "samples.png", result["errors"], styles)


def _by_problem(path: Path, size: str, problems: Mapping[str, Any], styles: Mapping[str, Any]) -> None:
    figure = new_figure(11.0, 1.6 + 0.42 * len(problems))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
        for place, of in enumerate(problems.values()):
            present = [method for method in styles if method in of]
            for offset, method in zip(np.linspace(-0.33, 0.33, len(present)), present, strict=True):
                found = of[method][name]
                if np.isfinite(found["median"]):
                    ends = np.minimum([found["least"], found["largest"]], FAR)
                    axis.plot(ends, [place + offset] * 2, color=styles[method]["color"], linewidth=1.0)
                    axis.plot(found["median"], place + offset, linestyle="none", label=method, **styles[method])
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set(xscale="log", xlabel=f"{label}: median, least to largest of the seeds")
        axis.set_yticks(range(len(problems)), [f"{p}, n = {_n(of)}" for p, of in problems.items()])
        for edge in range(1, len(problems)):
            axis.axhline(edge - 0.5, color="0.9", linewidth=0.8)
    axes[0].invert_yaxis()
    _legend(axes, styles)
    figure.suptitle(f"{size} samples for each input; on the line at 1 a surrogate is as good as the mean of the data")
    figure.savefig(path, dpi=120)


def _by_seconds(path: Path, size: str, problems: Mapping[str, Any], styles: Mapping[str, Any]) -> None:
    """Draw a small mark for each problem, and a large one at the geometric means of those the method was run on."""
    figure = new_figure(11.0, 4.6)
    axes = figure.subplots(1, 2, sharex=True)
    for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
        for method, style in styles.items():
            of = [found[method] for found in problems.values() if method in found]
            points = np.array([(f["fit_seconds"], f[name]["median"]) for f in of if np.isfinite(f[name]["median"])])
            if not len(points):
                continue
            axis.plot(*points.T, linestyle="none", alpha=0.35, **{**style, "markersize": 4})
            center = np.exp(np.log(points).mean(axis=0))
            note = (
                method if len(points) == len(problems) else f"{method} (on {len(points)} of {len(problems)} problems)"
            )
            axis.plot(*center, linestyle="none", label=note, **{**style, "markersize": 13})
        axis.set(xscale="log", yscale="log", xlabel="CPU seconds of a fit on one thread", ylabel=label)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.grid(alpha=0.3)
    _legend(axes, styles)
    figure.suptitle(f"{size} samples for each input: small marks are problems, large ones their geometric mean")
    figure.savefig(path, dpi=120)


def _by_samples(path: Path, errors: Mapping[str, Any], styles: Mapping[str, Any]) -> None:
    """Draw geometric means over the problems with every size and method; errors above 1 and failures count as 1."""
    common = set.intersection(*(set(problems) for problems in errors.values()))
    figure = new_figure(11.0, 4.6)
    axes = figure.subplots(1, 2)
    for axis, (name, label) in zip(axes, LABELS.items(), strict=True):
        for method, style in styles.items():
            sizes = [s for s, problems in errors.items() if common and all(method in problems[p] for p in common)]
            capped = [[min(errors[s][p][method][name]["median"], 1.0) for p in common] for s in sizes]
            means = [float(np.exp(np.mean(np.log(of)))) for of in capped]
            if means:
                axis.plot([int(s) for s in sizes], means, label=method, **style)
        axis.set(xscale="log", yscale="log", xlabel="samples for each input", ylabel=label)
        axis.set_xticks([int(s) for s in errors], list(errors))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    _legend(axes, styles)
    figure.suptitle(f"Geometric mean over {len(common)} problems of the median error; failures count as 1")
    figure.savefig(path, dpi=120)


def _n(of: Mapping[str, Any]) -> int:
    return next(iter(of.values()))["n"]


def _legend(axes: Sequence[Axes], styles: Mapping[str, Any]) -> None:
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = [label for name in styles for label in found if label == name or label.startswith(f"{name} (")]
    handles = [found[label] for label in labels]
    axes[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
