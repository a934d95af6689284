"""Plots of an optimization: convergence, the trust region, and how well the surrogates predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

from gradopt.errors import InputError, explain
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, finish, new_figure

if TYPE_CHECKING:
    from gradopt.loop.state import Iteration

# All by hand, for legible pictures.
_SMALLEST = 1e-8  # violation and stationarity (driver's scaling) below which they are drawn here
_NO_ERROR = 1e-15  # error of the predicted objective (its unit) below which it is drawn here
_WIDE = 100.0  # ratio of the largest to the smallest positive objective from which its axis is logarithmic
_LINEAR = 1e-3  # fraction of the largest magnitude, to the next decade up, below which an axis for both signs is linear
_RATIOS = (-1.0, 3.0)  # range drawn of actual over predicted reduction
_MARGIN = 0.08  # fraction of the range of the objective left free above and below
_STYLES = ((MODEL, "o"), (LIMIT, "s"), ("gray", "^"), ("#009e73", "D"), ("#cc79a7", "v"), ("#56b4e9", "P"))


@dataclass(frozen=True, eq=False)
class Trace:
    """Points at which an optimizer evaluated the truth, in order.

    A plot takes a trace in the place of a history: for another optimizer, or to draw in physical units.

    Attributes:
        evaluations: Truth evaluations spent until each point (k,).
        objective: True objective (k,), NaN where the truth failed.
        accepted: Whether the point became the current iterate, bool (k,).
        violation: Largest true violation (k,) in one scale for all traces, infinite or NaN where unknown; None = no
            constraints.
        stationarity: Stationarity of the current iterate (k,) in the driver's scaling; None = unknown.
        predicted: Objective (k,) that the surrogates predicted, NaN where none; None = no surrogates.
    """

    evaluations: np.ndarray
    objective: np.ndarray
    accepted: np.ndarray
    violation: np.ndarray | None = None
    stationarity: np.ndarray | None = None
    predicted: np.ndarray | None = None


class HasHistory(Protocol):
    """A result or a driver with the record of its run."""

    @property
    def history(self) -> Sequence[Iteration]:
        """Iterations in order."""
        ...


History = Sequence["Iteration"] | HasHistory


def plot_convergence(
    history: History | Trace | Mapping[str, History | Trace],
    *,
    name: str = "objective (driver's scaling)",
    best: float | None = None,
    title: str = "",
    path: Path | str | None = None,
) -> Figure:
    """Plot objective, largest violation and stationarity against truth evaluations.

    Args:
        history: History of a run, the result or driver that has one, a trace, or up to six of these by label.
        name: Label of the objective, with its unit.
        best: Objective of a reference, drawn as a line; None or NaN = no line.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure: accepted points are joined by lines, rejected points are crosses.

    Raises:
        InputError: If a history is empty, or there are more than six.
    """
    traces = {k: _trace(v) for k, v in (history if isinstance(history, Mapping) else {"": history}).items()}
    if not 1 <= len(traces) <= len(_STYLES):
        remedy = "Plot fewer in one figure."
        raise InputError(explain("history", f"have 1 to {len(_STYLES)} labels", len(traces), remedy))
    measures = [
        (label, attribute)
        for label, attribute in (("largest violation, scaled", "violation"), ("stationarity, scaled", "stationarity"))
        if any(getattr(trace, attribute) is not None for trace in traces.values())
    ]
    figure = new_figure(7.5, 3.6 + 2.4 * len(measures))
    axes = figure.subplots(1 + len(measures), 1, squeeze=False, sharex=True)[:, 0]
    for (label, trace), style in zip(traces.items(), _STYLES, strict=False):
        _draw_points(axes[0], trace, trace.objective, label, *style)
        for axis, (_, attribute) in zip(axes[1:], measures, strict=True):
            values = getattr(trace, attribute)
            if values is not None:
                _draw_points(axis, trace, np.maximum(values, _SMALLEST), label, *style)
    axes[0].set_ylabel(name)
    _fit_to(axes[0], np.concatenate([trace.objective[trace.accepted] for trace in traces.values()]))
    if best is not None and np.isfinite(best):
        axes[0].axhline(best, color=TRUTH, linestyle=":", linewidth=1.0, label="reference")
    axes[0].plot([], [], "x", color="gray", markersize=4, label="rejected")
    axes[0].legend(fontsize=8)
    for axis, (label, _) in zip(axes[1:], measures, strict=True):
        axis.set(ylabel=f"{label}\n(drawn from {_SMALLEST:g})", yscale="log")
    axes[-1].set_xlabel("truth evaluations")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.grid(alpha=0.3)
    return finish(figure, title, path)


def plot_trust_region(history: History, *, title: str = "", path: Path | str | None = None) -> Figure:
    """Plot the trust-region radius and the ratio of actual to predicted reduction in each iteration.

    Args:
        history: History of a run, or the result or driver that has one.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure.

    Raises:
        InputError: If the history is empty.
    """
    iterations = _iterations(history)
    number, radius, ratio = (np.array([getattr(i, key) for i in iterations]) for key in ("number", "radius", "ratio"))
    accepted, failed = np.array([i.accepted for i in iterations]), np.array([bool(i.failure) for i in iterations])
    figure = new_figure(7.5, 5.0)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(number, radius, drawstyle="steps-mid", color=MODEL, marker="." if len(number) == 1 else "")
    above.set(ylabel="trust-region radius\n(parts of the ranges)", yscale="log")
    below.axhline(1.0, color=TRUTH, linewidth=0.8)
    below.axhline(0.0, color=TRUTH, linewidth=0.8, linestyle=":")
    low, high = _RATIOS
    inside = np.where(failed, low, np.clip(ratio, low, high))
    for chosen, color, marker, label in (
        (accepted, MODEL, "o", "accepted"),
        (~accepted & ~failed, LIMIT, "x", "rejected"),
        (failed, "gray", "v", "truth failed"),
    ):
        if chosen.any():
            below.plot(number[chosen], inside[chosen], marker, color=color, markersize=5, label=label, clip_on=False)
    below.set(
        ylabel=f"actual / predicted reduction\n(drawn from {low:g} to {high:g})", ylim=_RATIOS, xlabel="iteration"
    )
    below.legend(fontsize=8)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (above, below):
        axis.grid(alpha=0.3)
    return finish(figure, title, path)


def plot_prediction(
    history: History | Trace,
    *,
    name: str = "objective (driver's scaling)",
    title: str = "",
    path: Path | str | None = None,
) -> Figure:
    """Plot the objective that the surrogates predicted for each candidate against the true one.

    Args:
        history: History of a run, the result or driver that has one, or a trace with predictions.
        name: Label of the objective, with its unit.
        title: Title of the figure.
        path: File to write, None = none.

    Returns:
        The figure: predicted against true on the left, the error in each iteration on the right.

    Raises:
        InputError: If the history is empty, or the trace has no predictions.
    """
    trace = _trace(history)
    if trace.predicted is None:
        remedy = "Pass a history, or Trace(..., predicted=...)."
        raise InputError(explain("history", "have predicted objectives", "a trace with predicted=None", remedy))
    predicted, true = trace.predicted, trace.objective
    known = np.isfinite(predicted) & np.isfinite(true)
    number = np.arange(len(true))[known]
    figure = new_figure(9.5, 4.4)
    parity, error = figure.subplots(1, 2)
    if known.any():
        both = np.concatenate([predicted[known], true[known]])
        ends = [both.min(), both.max()]
        parity.plot(ends, ends, color=TRUTH, linewidth=0.8)
        dots = parity.scatter(true[known], predicted[known], c=number, cmap="viridis", s=16, zorder=3)
        figure.colorbar(dots, ax=parity, label="iteration", ticks=MaxNLocator(integer=True))
        size = np.abs(both)
        if size.max() > _WIDE * np.median(size):  # a few early iterations would hide the rest
            linear = 10.0 ** np.ceil(np.log10(_LINEAR * size.max()))  # a decade, so that no labels overlap beside 0
            decades = SymmetricalLogLocator(base=10.0, linthresh=linear)
            for scale, axis in ((parity.set_xscale, parity.xaxis), (parity.set_yscale, parity.yaxis)):
                scale("symlog", linthresh=linear)
                axis.set_major_locator(decades)
            parity.tick_params(axis="x", labelrotation=60)
        error.plot(number, np.maximum(np.abs(predicted - true)[known], _NO_ERROR), "o-", color=MODEL, markersize=3.5)
        error.set_yscale("log")
    error.xaxis.set_major_locator(MaxNLocator(integer=True))
    parity.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    error.set(xlabel="iteration", ylabel=f"|predicted - true| {name}")
    for axis in (parity, error):
        axis.grid(alpha=0.3)
    return finish(figure, title, path)


def _iterations(history: History) -> Sequence[Iteration]:
    """Return the iterations of a run."""
    iterations = history if isinstance(history, Sequence) else history.history
    if not iterations:
        raise InputError(explain("history", "have at least one iteration", "none", "Run the optimization first."))
    return iterations


def _trace(history: History | Trace) -> Trace:
    """Return a history as a trace; `feasibility` is that of a candidate where it became the current iterate."""
    if isinstance(history, Trace):
        return history
    iterations = _iterations(history)
    accepted = np.array([one.accepted for one in iterations])
    return Trace(
        evaluations=np.array([one.evaluations for one in iterations]),
        objective=np.array([one.objective for one in iterations]),
        accepted=accepted,
        violation=np.where(accepted, [one.feasibility for one in iterations], np.nan),
        stationarity=np.where(accepted, [one.stationarity for one in iterations], np.nan),
        predicted=np.array([one.predicted_objective for one in iterations]),
    )


def _draw_points(axis: Axes, trace: Trace, values: np.ndarray, label: str, color: str, marker: str) -> None:
    """Draw accepted points joined by a line, and rejected points as crosses."""
    at, kept = trace.evaluations, trace.accepted
    axis.plot(
        at[kept], values[kept], f"{marker}-", color=color, markersize=3.5, linewidth=1.2, label=label or "accepted"
    )
    axis.plot(at[~kept], values[~kept], "x", color=color, markersize=4, alpha=0.45)


def _fit_to(axis: Axes, values: np.ndarray) -> None:
    """Scale an axis to accepted objectives: logarithmic where positive values span several decades."""
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    if low > 0.0 and high > _WIDE * low:
        axis.set_yscale("log")
        return
    margin = _MARGIN * (high - low) or 1.0
    axis.set_ylim(low - margin, high + margin)
