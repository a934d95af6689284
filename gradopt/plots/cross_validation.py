"""Picture of a cross-validation: each sample as predicted by a fit that did not see it, against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from gradopt.data.variables import column_names
from gradopt.plots.surrogate import MODEL, TRUTH, new_figure
from gradopt.surrogates.diagnostics.cross_validation import CrossValidation


def cross_validation_picture(path: Path, result: CrossValidation, title: str) -> None:
    """Draw predictions against the truth with the identity line: values above, known partials below.

    Args:
        path: File to write.
        result: What `cross_validate` returned. Partials are drawn per standard deviation of their input.
        title: Title of the picture.
    """
    data = result.data
    units = [variable.units for variable in data.output_variables for _ in range(variable.size)]
    figure = new_figure(3.2 * max(data.m, 2), 6.6 if data.known.any() else 3.6)
    figure.suptitle(title)
    axes = figure.subplots(2 if data.known.any() else 1, data.m, squeeze=False)
    slopes, predicted = (partials * data.x.std(axis=0) for partials in (data.partials, result.dydx))
    for k, name in enumerate(column_names(data.output_variables)):
        heading = f"{name} [{units[k]}]" if units[k] else name
        _parity(axes[0, k], data.y[:, k], result.y[:, k], f"{heading}\nR2 = {result.r2[k]:.4f}")
        if not data.known.any():
            continue
        known = data.known[:, k]
        text = f"partials of {heading}\nper std of the input, R2 = {result.pooled_partials_r2[k]:.4f}"
        _parity(axes[1, k], slopes[:, k][known], predicted[:, k][known], text)
    figure.savefig(path, dpi=120)


def _parity(axis: Axes, true: np.ndarray, predicted: np.ndarray, text: str) -> None:
    axis.scatter(true, predicted, s=8, alpha=0.5, color=MODEL, edgecolors="none")
    axis.axline((0.0, 0.0) if not true.size else (true[0], true[0]), slope=1.0, color=TRUTH, linewidth=0.8)
    axis.set(xlabel="true", ylabel="predicted, left out", aspect="equal", adjustable="datalim")
    axis.set_title(text, fontsize=9)
