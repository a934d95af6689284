"""Path of the loop on the contours of Sellar's objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cases.adaptive_case import AdaptiveResult
from gradopt.plots.figure import LIMIT, MODEL, new_figure

_SWEEPS = 60  # fixed-point sweeps of the coupling; by hand: each shrinks the error at least threefold


def draw(result: AdaptiveResult, folder: Path) -> list[Path]:
    """Draw objective and constraints over z1 and z2 at the final x into `path.png`, which is returned."""
    x = result.final.x[2]
    z1, z2 = np.meshgrid(np.linspace(-1.0, 6.0, 141), np.linspace(0.0, 4.0, 81))
    y1 = np.full_like(z1, 10.0)
    for _ in range(_SWEEPS):
        y2 = np.sqrt(np.abs(y1)) + z1 + z2
        y1 = z1**2 + z2 + x - 0.2 * y2
    objective = x**2 + z2 + y1 + np.exp(-y2)
    figure = new_figure(7.5, 4.8)
    axis = figure.subplots()
    lines = axis.contour(z1, z2, objective, levels=np.arange(0.0, 45.0, 3.0), colors="gray", linewidths=0.6)
    axis.clabel(lines, fontsize=7)
    axis.contourf(z1, z2, y1, levels=[-np.inf, 3.16], colors=[LIMIT], alpha=0.15)
    axis.contour(z1, z2, y1, levels=[3.16], colors=[LIMIT])
    path = np.array([visit.x for visit in result.visits])
    accepted = np.array([visit.accepted for visit in result.visits])
    axis.plot(*path[accepted, :2].T, "o-", color=MODEL, markersize=4, linewidth=1.0, label="accepted")
    axis.plot(*path[~accepted, :2].T, "x", color=MODEL, markersize=5, alpha=0.6, label="rejected")
    axis.plot(*path[0, :2], "s", color=MODEL, markersize=8, markerfacecolor="none", label="start")
    axis.plot(*result.final.x[:2], "*", color="black", markersize=11, label="final design")
    axis.set(xlabel="z1", ylabel="z2", xlim=(-1.0, 6.0), ylim=(-0.1, 4.0))
    axis.set_title(f"Sellar: objective at x = {x:.2g}; shaded: y1 < 3.16")
    axis.legend(fontsize=8)
    picture = folder / "path.png"
    figure.savefig(picture, dpi=120)
    return [picture]
