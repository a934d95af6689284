"""Pictures of an adaptive loop: how fast, how far it trusts its surrogates, how well these predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

from gradopt.plots.surrogate import LIMIT, MODEL, TRUTH, new_figure

_SMALLEST = 1e-8  # violations below are drawn there
_NO_ERROR = 1e-15  # errors below are drawn there
_WIDE = 100.0  # ratio of a positive objective's ends from which it is drawn on a logarithmic axis
_LINEAR = 1e-3  # part of the largest value below which an axis for both signs is linear
_RATIOS = (-1.0, 3.0)  # drawn of the ratio of true to predicted improvement


@dataclass(frozen=True)
class Trace:
    """Points that an optimizer tried on the truth, in order.

    Attributes:
        evaluations: Truth evaluations spent until each point (k,).
        objective: True objective (k,), NaN where the truth failed.
        violation: Largest true violation (k,), in whatever scale is common to all; infinite where the truth failed.
        accepted: Whether the optimizer went on from there, bool (k,).
    """

    evaluations: np.ndarray
    objective: np.ndarray
    violation: np.ndarray
    accepted: np.ndarray


def convergence(
    path: Path, traces: Mapping[str, Trace], name: str, constrained: bool, title: str, best: float | None = None
) -> None:
    """Draw objective and violation against truth evaluations.

    Args:
        path: File to write.
        traces: By label; the first is drawn strongest.
        name: Name of the objective, with its unit.
        constrained: Whether there are violations to be drawn.
        title: Title of the picture.
        best: Objective to compare with, drawn as a line, or None.
    """
    figure = new_figure(7.5, 6.0 if constrained else 3.6)
    figure.suptitle(title)
    axes = figure.subplots(2 if constrained else 1, 1, squeeze=False, sharex=True)[:, 0]
    for (label, trace), color, marker in zip(traces.items(), (MODEL, LIMIT, "gray"), ("o", "s", "^"), strict=False):
        for axis, ordinate in zip(axes, (trace.objective, np.maximum(trace.violation, _SMALLEST)), strict=False):
            kept = trace.accepted
            axis.plot(
                trace.evaluations[kept],
                ordinate[kept],
                f"{marker}-",
                color=color,
                markersize=3.5,
                linewidth=1.2,
                label=label,
            )
            axis.plot(trace.evaluations[~kept], ordinate[~kept], "x", color=color, markersize=4, alpha=0.45)
    axes[0].set_ylabel(name)
    _show_accepted(axes[0], np.concatenate([trace.objective[trace.accepted] for trace in traces.values()]))
    if best is not None and np.isfinite(best):
        axes[0].axhline(best, color=TRUTH, linestyle=":", linewidth=1.0, label="best of SLSQP")
    axes[0].legend(title="crosses: tried and not kept", title_fontsize=8, fontsize=8)
    if constrained:
        axes[1].set(ylabel=f"largest violation, scaled\n({_SMALLEST:g} or less at the bottom)", yscale="log")
    axes[-1].set_xlabel("truth evaluations")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def trust(path: Path, radius: np.ndarray, ratio: np.ndarray, accepted: np.ndarray, title: str) -> None:
    """Draw the radius of the trust region and the ratio of true to predicted improvement, round by round.

    Args:
        path: File to write.
        radius: Half edge of the region in each round (k,).
        ratio: True over predicted improvement of the merit (k,), NaN where there is none.
        accepted: Whether the candidate became the center, bool (k,).
        title: Title of the picture.
    """
    figure = new_figure(7.5, 5.0)
    figure.suptitle(title)
    above, below = figure.subplots(2, 1, sharex=True)
    rounds = np.arange(len(radius))
    above.plot(rounds, radius, drawstyle="steps-mid", color=MODEL)
    above.set(ylabel="radius of the region", yscale="log")
    below.axhline(1.0, color=TRUTH, linewidth=0.8)
    below.axhline(0.0, color=TRUTH, linewidth=0.8, linestyle=":")
    inside = np.clip(ratio, *_RATIOS)
    for chosen, color, marker, label in ((accepted, MODEL, "o", "accepted"), (~accepted, LIMIT, "x", "rejected")):
        below.plot(rounds[chosen], inside[chosen], marker, color=color, markersize=5, label=label, clip_on=False)
    low, high = _RATIOS
    below.set(ylabel=f"true / predicted improvement\n(drawn from {low:g} to {high:g})", ylim=_RATIOS, xlabel="round")
    below.legend(fontsize=8)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (above, below):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def prediction(path: Path, predicted: np.ndarray, true: np.ndarray, name: str, title: str) -> None:
    """Draw the objective that the surrogates promised against the one that the truth then gave.

    Args:
        path: File to write.
        predicted: Predicted objective of each round (k,), NaN where there is none.
        true: True objective (k,), NaN where the truth failed.
        name: Name of the objective, with its unit.
        title: Title of the picture.
    """
    known = np.isfinite(predicted) & np.isfinite(true)
    rounds = np.arange(len(true))[known]
    figure = new_figure(9.5, 4.4)
    figure.suptitle(title)
    parity, error = figure.subplots(1, 2)
    if known.any():
        both = np.concatenate([predicted[known], true[known]])
        ends = [both.min(), both.max()]
        parity.plot(ends, ends, color=TRUTH, linewidth=0.8)
        dots = parity.scatter(true[known], predicted[known], c=rounds, cmap="viridis", s=16, zorder=3)
        figure.colorbar(dots, ax=parity, label="round", ticks=MaxNLocator(integer=True))
        size = np.abs(both)
        if size.max() > _WIDE * np.median(size):  # a few early rounds would hide the rest
            decades = SymmetricalLogLocator(base=10.0, linthresh=_LINEAR * size.max())
            for scale, axis in ((parity.set_xscale, parity.xaxis), (parity.set_yscale, parity.yaxis)):
                scale("symlog", linthresh=_LINEAR * size.max())
                axis.set_major_locator(decades)
            parity.tick_params(axis="x", labelrotation=60)
        error.plot(rounds, np.maximum(np.abs(predicted - true)[known], _NO_ERROR), "o-", color=MODEL, markersize=3.5)
        error.set_yscale("log")
    error.xaxis.set_major_locator(MaxNLocator(integer=True))
    parity.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    error.set(xlabel="round", ylabel=f"|predicted - true| {name}")
    for axis in (parity, error):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _is_wide(values: np.ndarray) -> bool:
    good = values[np.isfinite(values)]
    return bool(len(good) and good.min() > 0.0 and good.max() > _WIDE * good.min())


def _show_accepted(axis: Axes, values: np.ndarray) -> None:
    """Scale an axis to the points that were accepted: logarithmic where positive values span several decades."""
    if _is_wide(values):
        axis.set_yscale("log")
        return
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.08 * (high - low) or 1.0
    axis.set_ylim(low - margin, high + margin)
