"""The airfoil before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape, coordinates
from gradopt.report.plots import MODEL, TRUTH, new_figure

if TYPE_CHECKING:
    from cases.one_shot import OneShot


def draw(result: OneShot, folder: Path, shape: KulfanShape, stations: Sequence[float]) -> list[Path]:
    """Draw start and optimum on one chord into `shape.png`, which is returned."""
    answer = result.answer
    n = WEIGHTS_PER_SIDE
    optimum = replace(shape, upper_weights=answer.x[:n], lower_weights=answer.x[n:-1])
    figure = new_figure(9.0, 2.9)
    axis = figure.subplots()
    for station in stations:
        axis.axvline(station, color="lightgray", linewidth=0.8, zorder=0)
    for outline, color, label, responses, alpha in (
        (shape, TRUTH, f"start {shape.name}", result.start, result.case.start[-1]),
        (optimum, MODEL, "optimum on the surrogate", answer.true, answer.x[-1]),
    ):
        x, y = coordinates(outline)
        drag, lift, moment = (responses[name][0] for name in ("CD", "CL", "CM"))
        legend = f"{label}: true CD {1e4 * drag:.1f} counts, CL {lift:.3f}, CM {moment:.3f}, alpha {alpha:.2f} deg"
        axis.plot(x, y, color=color, linewidth=1.4, linestyle="--" if color == TRUTH else "-", label=legend)
    axis.set(xlabel="x / chord", ylabel="y / chord", aspect="equal")
    axis.set_title("Airfoil before and after; gray lines: stations of the thickness limits")
    figure.legend(loc="outside lower center")
    picture = folder / "shape.png"
    figure.savefig(picture, dpi=120)
    return [picture]
