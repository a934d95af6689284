"""Polars of start and optimum: lift, drag and moment over the angle of attack, from one source or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from cases.airfoil.geometry import KulfanShape
from cases.airfoil.xfoil import Xfoil
from gradopt.errors import InputError, ShapeError, explain, import_extra
from gradopt.plots.figure import MODEL, TRUTH, new_figure

Floats = NDArray[np.float64]

ALPHAS = np.arange(-4.0, 10.01, 0.25)
"""Angles of attack of a picture, degrees."""

_VALUES = ("alpha", "CL", "CD", "CM")
_MARKERS = ("o", "^", "s")  # of the second source and those after it; the first is a line
_COUNTS = 1e4  # drag counts in a drag coefficient of 1
_LEAST_SPAN = 0.05  # smallest range of CM in a picture, so that small changes look small; by hand
_WIDEST = 4.0  # largest drag in a picture over the median: beyond stall it is much larger; by hand


@dataclass(frozen=True, eq=False)
class Polar:
    """Coefficients of one section at several angles of attack, by one source; the arrays are read-only.

    Attributes:
        alpha: Angles of attack, (k,), degrees.
        CL: Lift coefficients, (k,), NaN where the source failed or has a low confidence.
        CD: Drag coefficients, likewise.
        CM: Moment coefficients about the quarter chord, likewise.
        label: Name of the source in pictures.
    """

    alpha: Floats
    CL: Floats
    CD: Floats
    CM: Floats
    label: str

    def __post_init__(self) -> None:
        """Make arrays of the values and check that they belong together."""
        arrays = {name: np.array(getattr(self, name), dtype=np.float64) for name in _VALUES}
        for name, array in arrays.items():
            if array.ndim != 1 or array.shape != arrays["alpha"].shape:
                remedy = "Give one value for each angle of attack, NaN where there is none."
                raise ShapeError(explain(name, f"have shape (k,) = {arrays['alpha'].shape}", array.shape, remedy))
            array.setflags(write=False)
            object.__setattr__(self, name, array)


def neuralfoil_polar(
    shape: KulfanShape,
    alphas: ArrayLike,
    reynolds: float,
    *,
    model_size: str = "xlarge",
    n_crit: float = 9.0,
    least_confidence: float = 0.8,
) -> Polar:
    """Return the polar of a section by NeuralFoil.

    Args:
        shape: The section.
        alphas: Angles of attack, (k,), degrees.
        reynolds: Reynolds number of the chord.
        model_size: Size of NeuralFoil's network, see `aerodynamics.MODEL_SIZES`.
        n_crit: Amplification exponent at which the flow turns turbulent.
        least_confidence: Values with a lower confidence of NeuralFoil, 0 to 1, become NaN.

    Returns:
        The polar.

    Raises:
        InputError: If the Reynolds number is not positive.
        MissingExtraError: If NeuralFoil is not installed.
    """
    if not (np.isfinite(reynolds) and reynolds > 0.0):
        raise InputError(explain("reynolds", "be a positive number", reynolds, "Try 5e6."))
    neuralfoil = import_extra("neuralfoil", "airfoil")
    alpha = np.asarray(alphas, dtype=np.float64)
    kulfan = {
        "upper_weights": shape.upper_weights,
        "lower_weights": shape.lower_weights,
        "leading_edge_weight": shape.leading_edge_weight,
        "TE_thickness": shape.trailing_edge_thickness,
    }
    aero = neuralfoil.get_aero_from_kulfan_parameters(
        kulfan, alpha=alpha, Re=reynolds, n_crit=n_crit, model_size=model_size
    )
    sure = aero["analysis_confidence"] >= least_confidence
    lift, drag, moment = (np.where(sure, aero[name], np.nan) for name in ("CL", "CD", "CM"))
    return Polar(alpha, lift, drag, moment, "NeuralFoil")


def xfoil_polar(shape: KulfanShape, alphas: ArrayLike, reynolds: float, *, n_crit: float = 9.0) -> Polar:
    """Return the polar of a section by XFOIL, NaN where it does not converge.

    Args:
        shape: The section.
        alphas: Angles of attack, (k,), degrees; a point takes 0.1 to 1 s.
        reynolds: Reynolds number of the chord.
        n_crit: Amplification exponent at which the flow turns turbulent.

    Returns:
        The polar.

    Raises:
        InputError: If XFOIL is not installed, or the Reynolds number is not positive.
    """
    alpha = np.asarray(alphas, dtype=np.float64)
    lift, drag, moment = Xfoil(shape, reynolds, n_crit=n_crit).polar(shape, alpha).T
    return Polar(alpha, lift, drag, moment, "XFOIL")


def draw_polars(
    folder: Path,
    pairs: Sequence[tuple[Polar, Polar]],
    marks: tuple[Polar, Polar] | None = None,
    title: str = "Polars before and after",
    name: str = "polars.png",
) -> list[Path]:
    """Draw lift over drag, lift over angle and moment over angle.

    Args:
        folder: Folder of the picture.
        pairs: Start and optimum of each source. The first is drawn as lines, those after it as markers.
        marks: Design points of start and optimum, or None.
        title: Title of the picture.
        name: Name of the file.

    Returns:
        The picture.

    Raises:
        InputError: If there is no pair.
    """
    if not pairs:
        raise InputError(explain("pairs", "hold a pair of polars at least", "none", "Try `neuralfoil_polar`."))
    figure = new_figure(11.0, 4.4)
    figure.suptitle(title)
    axes = figure.subplots(1, 3)
    for k, pair in enumerate(pairs):
        for polar, color, dash, which in zip(pair, (TRUTH, MODEL), ("--", "-"), ("start", "optimum"), strict=True):
            line = {"linestyle": dash, "linewidth": 1.4}
            dots = {"linestyle": "", "marker": _MARKERS[(k - 1) % len(_MARKERS)], "markersize": 4, "fillstyle": "none"}
            _draw(axes, polar, color=color, label=f"{which}, {polar.label}", **(dots if k else line))
    for polar, color in zip(marks or (), (TRUTH, MODEL), strict=False):
        _draw(axes, polar, color=color, label=polar.label, linestyle="", marker="*", markersize=11)
    drag = _COUNTS * np.concatenate([polar.CD for pair in pairs for polar in pair])
    if np.isfinite(drag).any():
        axes[0].set_xlim(0.0, 1.05 * min(np.nanmax(drag), _WIDEST * np.nanmedian(drag)))
    axes[0].set(xlabel="CD (counts)", ylabel="CL")
    axes[1].set(xlabel="angle of attack (deg)", ylabel="CL")
    axes[2].set(xlabel="angle of attack (deg)", ylabel="CM")
    low, high = axes[2].get_ylim()
    middle, half = (low + high) / 2, max((high - low) / 2, _LEAST_SPAN / 2)
    axes[2].set_ylim(middle - half, middle + half)
    for axis in axes:
        axis.grid(linewidth=0.4, alpha=0.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(pairs) + bool(marks))
    picture = folder / name
    figure.savefig(picture, dpi=120)
    return [picture]


def _draw(axes: Sequence[Axes], polar: Polar, **style: object) -> None:
    for axis, x, y in zip(
        axes, (_COUNTS * polar.CD, polar.alpha, polar.alpha), (polar.CL, polar.CL, polar.CM), strict=True
    ):
        axis.plot(x, y, **style)  # type: ignore[arg-type]
