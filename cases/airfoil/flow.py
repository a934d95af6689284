"""Pictures of pressure and boundary layer of a section by XFOIL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cases.airfoil.xfoil import Point
from gradopt.plots.figure import MODEL, TRUTH, new_figure

_COLORS = (TRUTH, MODEL)
_SHAPE_LIMIT = 6.0  # largest shape factor in the picture; by hand: separation is at 4 where laminar, 3 where turbulent


def draw_flow(folder: Path, points: Mapping[str, Point]) -> list[Path]:
    """Draw pressure coefficient and shape factor over the chord into `flow.png`.

    Args:
        folder: Folder of the picture.
        points: Design points by name, two at most.

    Returns:
        The picture. Upper sides are solid lines, lower ones dashed; dots are where the flow turns turbulent.
    """
    figure = new_figure(10.0, 4.2)
    figure.suptitle("Pressure and boundary layer (XFOIL); upper side solid, lower dashed; dots: transition")
    left, right = figure.subplots(1, 2)
    for (label, point), color in zip(points.items(), _COLORS, strict=False):
        lift, drag, _ = point.values
        for side, place, dash in ((point.upper, point.transition[0], "-"), (point.lower, point.transition[1], "--")):
            on = (side.x <= 1.0) & (np.arange(side.x.size) > 0)  # without stagnation point and wake
            order = np.arange(side.x.size)[on]
            x, pressure = side.x[order], -side.pressure[order]
            shape = side.displacement[order] / side.momentum[order]
            text = f"{label}: CL {lift:.3f}, CD {1e4 * drag:.1f} counts" if dash == "-" else None
            for axis, values in ((left, pressure), (right, shape)):
                axis.plot(x, values, color=color, linestyle=dash, linewidth=1.3, label=text)
                axis.plot(place, values[np.abs(x - place).argmin()], "o", color=color, markersize=5)
    left.set(xlabel="x / chord", ylabel="- pressure coefficient")
    right.set(xlabel="x / chord", ylabel="shape factor H", ylim=(1.0, _SHAPE_LIMIT))
    for axis in (left, right):
        axis.grid(linewidth=0.4, alpha=0.5)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    picture = folder / "flow.png"
    figure.savefig(picture, dpi=120)
    return [picture]
