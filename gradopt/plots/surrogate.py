"""Plots of surrogates: predicted against true, cross-validation, and the steps of an optimizer on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradopt.data.dataset import Dataset
from gradopt.data.variables import column_names
from gradopt.errors import InputError, explain
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, finish, new_figure

if TYPE_CHECKING:
    from gradopt.surrogates.diagnostics.cross_validation import CrossValidation, SupportsLinearize

_WIDE = 100.0  # ratio of the largest to the smallest positive objective from which its axis is logarithmic, by hand


def plot_parity(
    surrogate: SupportsLinearize | Sequence[SupportsLinearize],
    data: Dataset,
    *,
    title: str = "",
    path: Path | str | None = None,
) -> Figure:
    """Plot predicted against true values, and below them predicted against true partials where these are known.

    Args:
        surrogate: Fitted surrogate, or several whose outputs in order are those of the data.
        data: Samples, held out of the fit as a rule.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure: a column for each output; partials per standard deviation of their input.

    Raises:
        InputError: If the surrogates have another number of outputs than the data.
    """
    surrogates = surrogate if isinstance(surrogate, Sequence) else (surrogate,)
    pairs = [one.linearize(data.x) for one in surrogates]
    y, dydx = (np.concatenate(arrays, axis=1) for arrays in zip(*pairs, strict=True))
    if y.shape[1] != data.m:
        remedy = "Pass all surrogates of these outputs, or the data of this surrogate."
        raise InputError(explain("surrogate", f"have m = {data.m} outputs, as `data` has", y.shape[1], remedy))
    true, predicted = (_per_std(array, data) for array in (data.partials, dydx))
    values = [_error(data.y[:, k], y[:, k]) for k in range(data.m)]
    partials = [_error(true[:, k][known], predicted[:, k][known]) for k, known in enumerate(data.known.swapaxes(0, 1))]
    return finish(_columns(data, y, dydx, values, partials, "predicted"), title, path)


def plot_cross_validation(result: CrossValidation, *, title: str = "", path: Path | str | None = None) -> Figure:
    """Plot held-out predictions against the truth: each sample as predicted by a fit without this sample.

    Args:
        result: Result of `cross_validate`.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure: a column for each output, values above, and below them the known partials per standard deviation
        of their input.
    """
    values, partials = ([f"R2 = {r2:.4f}" for r2 in found] for found in (result.r2, result.pooled_partials_r2))
    return finish(_columns(result.data, result.y, result.dydx, values, partials, "predicted, held out"), title, path)


def plot_optimizer_history(
    history: Mapping[str, np.ndarray],
    bounds: Mapping[str, tuple[str, Sequence[float]]],
    true: Mapping[str, np.ndarray],
    *,
    title: str = "",
    path: Path | str | None = None,
) -> Figure:
    """Plot objective and constraints along an optimization on a surrogate.

    Args:
        history: Objective and constraints on the surrogate, each (k, size), the objective first.
        bounds: Kind ("equals", "lower", "upper") and bounds (size,) of each constraint.
        true: True objective and constraints at the last point, each (size,), drawn as crosses.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure: one panel for each quantity.
    """
    figure = new_figure(7.0, 1.9 * len(history) + 0.6)
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
        if name not in bounds and values.min() > 0.0 and values.max() > _WIDE * values.min():
            axis.set_yscale("log")
    axes[-1].set_xlabel("evaluation of the surrogate by SLSQP (cross: truth at the last point; dotted: bound)")
    return finish(figure, title, path)


def _columns(
    data: Dataset, y: np.ndarray, dydx: np.ndarray, values: Sequence[str], partials: Sequence[str], ordinate: str
) -> Figure:
    """Draw a column for each output: values above, partials below where any are known.

    Args:
        data: The truth.
        y: Predicted values (n, m).
        dydx: Predicted partials (n, m, d).
        values: Error of the values of each output, in words.
        partials: Error of the partials of each output, in words.
        ordinate: Label of the predictions.
    """
    known = data.known
    units = [variable.units for variable in data.output_variables for _ in range(variable.size)]
    figure = new_figure(max(3.2 * data.m, 4.4), 6.6 if known.any() else 3.6)
    axes = figure.subplots(2 if known.any() else 1, data.m, squeeze=False)
    true, predicted = (_per_std(array, data) for array in (data.partials, dydx))
    for k, name in enumerate(column_names(data.output_variables)):
        heading = f"{name} [{units[k]}]" if units[k] else name
        _parity(axes[0, k], data.y[:, k], y[:, k], f"{heading}\n{values[k]}", ordinate)
        if known.any():
            text = f"partials of {heading}\nper std of the input, {partials[k]}"
            _parity(axes[1, k], true[:, k][known[:, k]], predicted[:, k][known[:, k]], text, ordinate)
    return figure


def _parity(axis: Axes, true: np.ndarray, predicted: np.ndarray, text: str, ordinate: str) -> None:
    axis.scatter(true, predicted, s=8, alpha=0.5, color=MODEL, edgecolors="none")
    axis.axline((true[0], true[0]) if true.size else (0.0, 0.0), slope=1.0, color=TRUTH, linewidth=0.8)
    axis.set(xlabel="true", ylabel=ordinate, aspect="equal", adjustable="datalim")
    axis.set_title(text, fontsize=9)


def _per_std(partials: np.ndarray, data: Dataset) -> np.ndarray:
    """Partials (n, m, d) times the standard deviation of their input, which has them on one scale."""
    return partials * data.x.std(axis=0)


def _error(true: np.ndarray, predicted: np.ndarray) -> str:
    """RMSE over the standard deviation of the truth, in words; "constant" where the truth does not vary."""
    spread = true.std() if true.size else 0.0
    if not spread > 0.0:
        return "the truth is constant" if true.size else "none is known"
    return f"RMSE / std = {np.sqrt(np.mean((predicted - true) ** 2)) / spread:.1e}"
