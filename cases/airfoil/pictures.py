"""The airfoil before and after: its shape, its polars, and the optimum as a file that other programs load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cases.adaptive_case import AdaptiveResult
from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape, coordinates, write_dat
from cases.airfoil.polars import ALPHAS, draw_polars, neuralfoil_polar, xfoil_polar
from cases.airfoil.xfoil import is_installed
from cases.one_shot import OneShot
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure

_EVERY = 4  # XFOIL runs at every fourth angle of the polars, 1 degree apart: a point takes 0.1 to 1 s
_SHOWN = {"drag": "drag", "CD": "CD", "lift_to_drag": "CL / CD", "CL": "CL", "CM": "CM"}
_DECIMALS = {"drag": 1, "CD": 1, "lift_to_drag": 1}
_N = 2 * WEIGHTS_PER_SIDE


def draw(
    result: OneShot | AdaptiveResult,
    folder: Path,
    shape: KulfanShape,
    stations: Mapping[float, float],
    reynolds: Sequence[float],
) -> list[Path]:
    """Draw `shape.png` and the polars, and write `optimum.dat`.

    Args:
        result: Outcome of a run; its design is the 16 weights and one angle of attack for each condition.
        folder: Where to write.
        shape: The start.
        stations: Least thickness by station, both fractions of chord.
        reynolds: Reynolds number of each condition.

    Returns:
        The files: `shape.png`, `polars.png` or, where there are several Reynolds numbers, one for each, `optimum.dat`.
    """
    x = result.final.x
    optimum = replace(
        shape,
        upper_weights=x[:WEIGHTS_PER_SIDE],
        lower_weights=x[WEIGHTS_PER_SIDE:_N],
        name=f"{shape.name} optimum",
    )
    written = folder / "optimum.dat"
    write_dat(optimum, written)
    pictures = [_draw_shape(result, folder, shape, optimum, stations)]
    for number in sorted(set(reynolds), reverse=True):
        here = np.array(reynolds) == number
        pairs = [(neuralfoil_polar(shape, ALPHAS, number), neuralfoil_polar(optimum, ALPHAS, number))]
        if is_installed() and not result.case.settings["quick"]:
            alphas = ALPHAS[::_EVERY]
            pairs.append((xfoil_polar(shape, alphas, number), xfoil_polar(optimum, alphas, number)))
        designs = ((shape, "start", result.case.start), (optimum, "optimum", x))
        before, after = (
            replace(
                neuralfoil_polar(one, design[_N:][here], number, least_confidence=0.0), label=f"design point, {which}"
            )
            for one, which, design in designs
        )
        title = f"Polars before and after, Reynolds number {number:g}"
        name = "polars.png" if here.all() else f"polars_{number:.0f}.png"
        pictures += draw_polars(folder, pairs, (before, after), title, name)
    return [*pictures, written]


def _draw_shape(
    result: OneShot | AdaptiveResult,
    folder: Path,
    shape: KulfanShape,
    optimum: KulfanShape,
    stations: Mapping[float, float],
) -> Path:
    """Draw start and optimum on one chord, with the least thickness at each station."""
    figure = new_figure(9.0, 3.1)
    axis = figure.subplots()
    for outline, color, label, responses, design in (
        (shape, TRUTH, f"start {shape.name}", result.start, result.case.start),
        (optimum, MODEL, "optimum", result.final.true, result.final.x),
    ):
        x, y = coordinates(outline)
        legend = f"{label}: true {_summary(result, responses, design[_N:])}"
        axis.plot(x, y, color=color, linewidth=1.4, linestyle="--" if color == TRUTH else "-", label=legend)
    half = len(x) // 2  # of the optimum: from the trailing edge along the upper side to the leading edge, and back
    places, least = np.array(list(stations)), np.array(list(stations.values()))
    middle = (np.interp(places, x[half::-1], y[half::-1]) + np.interp(places, x[half:], y[half:])) / 2.0
    axis.errorbar(places, middle, least / 2.0, fmt="none", ecolor=LIMIT, elinewidth=1.6, capsize=4.0, capthick=1.6)
    axis.set(xlabel="x / chord", ylabel="y / chord", aspect="equal")
    axis.set_title("Airfoil before and after; bars: least thickness at each station")
    for text in figure.legend(loc="outside lower center").get_texts():  # a file's name is no formula
        text.set_parse_math(False)
        text.set_usetex(False)
    picture = folder / "shape.png"
    figure.savefig(picture, dpi=120)
    return picture


def _summary(result: OneShot | AdaptiveResult, values: Mapping[str, np.ndarray], alphas: np.ndarray) -> str:
    """Write the scalar responses, and the angle of attack where there is one."""
    texts = [
        f"{_SHOWN[r.name]} {values[r.name][0] * r.shown_per_unit:.{_DECIMALS.get(r.name, 3)}f} {r.shown_unit}"
        for r in result.case.responses
        if r.name in _SHOWN and values[r.name].size == 1
    ]
    return ", ".join([*(one.rstrip() for one in texts), *(f"alpha {a:.2f} deg" for a in alphas if alphas.size == 1)])
