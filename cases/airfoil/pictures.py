"""The airfoil before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape, coordinates
from gradopt.report.plots import LIMIT, MODEL, TRUTH, new_figure

if TYPE_CHECKING:
    from cases.adaptive import Adaptive
    from cases.one_shot import OneShot


def draw(result: OneShot | Adaptive, folder: Path, shape: KulfanShape, stations: Mapping[float, float]) -> list[Path]:
    """Draw start and optimum on one chord, with the least thickness at each station, into `shape.png`; returns it."""
    answer = result.answer
    n = WEIGHTS_PER_SIDE
    optimum = replace(shape, upper_weights=answer.x[:n], lower_weights=answer.x[n:-1])
    figure = new_figure(9.0, 2.9)
    axis = figure.subplots()
    for outline, color, label, responses, alpha in (
        (shape, TRUTH, f"start {shape.name}", result.start, result.case.start[-1]),
        (optimum, MODEL, "optimum", answer.true, answer.x[-1]),
    ):
        x, y = coordinates(outline)
        drag, lift, moment = (responses[name][0] for name in ("CD", "CL", "CM"))
        legend = f"{label}: true CD {1e4 * drag:.1f} counts, CL {lift:.3f}, CM {moment:.3f}, alpha {alpha:.2f} deg"
        axis.plot(x, y, color=color, linewidth=1.4, linestyle="--" if color == TRUTH else "-", label=legend)
    half = len(x) // 2  # of the optimum: from the trailing edge along the upper side to the leading edge, and back
    places, least = np.array(list(stations)), np.array(list(stations.values()))
    middle = (np.interp(places, x[half::-1], y[half::-1]) + np.interp(places, x[half:], y[half:])) / 2.0
    axis.vlines(places, middle - least / 2.0, middle + least / 2.0, color=LIMIT, linewidth=2.0)
    axis.set(xlabel="x / chord", ylabel="y / chord", aspect="equal")
    axis.set_title("Airfoil before and after; bars: least thickness at each station")
    figure.legend(loc="outside lower center")
    picture = folder / "shape.png"
    figure.savefig(picture, dpi=120)
    return [picture]
