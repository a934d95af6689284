"""Pictures that every study needs: predicted against true, and an optimizer's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TRUTH, MODEL, LIMIT = "black", "#0072b2", "#d55e00"  # told apart by color-blind readers and in print


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that draws without a screen and without global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def predicted_against_true(
    path: Path,
    names: Sequence[str],
    y: np.ndarray,
    y_predicted: np.ndarray,
    slopes: np.ndarray,
    slopes_predicted: np.ndarray,
    title: str,
) -> None:
    """Draw predictions against the truth, values above and partials below.

    Args:
        path: File to write.
        names: Names of the outputs.
        y: True values (n, m).
        y_predicted: Predicted values (n, m).
        slopes: True partials (n, m, d) on a common scale for all inputs, such as per standard deviation of the input.
        slopes_predicted: Predicted partials (n, m, d), likewise.
        title: Title of the picture.
    """
    m = len(names)
    figure = new_figure(3.2 * max(m, 2), 6.6)
    figure.suptitle(title)
    axes = figure.subplots(2, m, squeeze=False)
    for k, name in enumerate(names):
        _parity(axes[0, k], y[:, k], y_predicted[:, k], name)
        _parity(
            axes[1, k],
            slopes[:, k].ravel(),
            slopes_predicted[:, k].ravel(),
            f"partials of {name}\nper std of the input",
        )
    figure.savefig(path, dpi=120)


def _parity(axis: Axes, true: np.ndarray, predicted: np.ndarray, name: str) -> None:
    spread = true.std()
    error = np.sqrt(np.mean((predicted - true) ** 2)) / spread if spread > 0.0 else np.nan
    axis.scatter(true, predicted, s=8, alpha=0.5, color=MODEL, edgecolors="none")
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axis.plot(ends, ends, color=TRUTH, linewidth=0.8)
    axis.set(xlabel="true", ylabel="predicted", aspect="equal", adjustable="datalim")
    axis.set_title(f"{name}\nRMSE / std = {error:.1e}", fontsize=9)


def optimizer_history(
    path: Path,
    history: Mapping[str, np.ndarray],
    bounds: Mapping[str, tuple[str, Sequence[float]]],
    true: Mapping[str, np.ndarray],
    title: str,
) -> None:
    """Draw objective and constraints along an optimization.

    Args:
        path: File to write.
        history: Objective and constraints as the optimizer saw them, each (k, size), the objective first.
        bounds: For each constraint its kind ("equals", "lower", "upper") and bounds, one for each entry.
        true: Truth at the last point, each (size,), drawn as crosses.
        title: Title of the picture.
    """
    figure = new_figure(7.0, 1.9 * len(history) + 0.6)
    figure.suptitle(title)
    axes = figure.subplots(len(history), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (name, values) in zip(axes, history.items(), strict=True):
        steps = np.arange(1, len(values) + 1)
        colors = [MODEL] if values.shape[1] == 1 else [f"C{k}" for k in range(values.shape[1])]
        for k, color in enumerate(colors):
            axis.plot(steps, values[:, k], color=color, marker=".", markersize=4, linewidth=1.0)
            axis.plot(steps[-1], true[name][k], "x", color=color, markersize=8, markeredgewidth=2)
            if name in bounds:
                axis.axhline(bounds[name][1][k], color=LIMIT if len(colors) == 1 else color, linestyle=":")
        axis.set_ylabel(name)
        if name not in bounds and values.min() > 0.0 and values.max() > 100.0 * values.min():
            axis.set_yscale("log")
    axes[-1].set_xlabel("evaluation of the surrogate by SLSQP (cross: truth at the optimum; dotted: bound)")
    figure.savefig(path, dpi=120)
