"""Figures and colors that all plots share."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TRUTH, MODEL, LIMIT = "black", "#0072b2", "#d55e00"  # readers with color blindness and prints tell them apart

_DPI = 120  # dots per inch of a saved figure, by hand


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that draws without a screen and without global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, title: str, path: Path | str | None) -> Figure:
    """Add a title where there is one, save the figure where there is a path, and return it."""
    if title:
        figure.suptitle(title)
    if path is not None:
        figure.savefig(path, dpi=_DPI)
    return figure
