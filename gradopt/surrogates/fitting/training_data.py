"""Training data: checks, the domain of a surrogate, and notes for the user."""

from __future__ import annotations

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import column_bounds, column_names
from gradopt.errors import InputError, explain

_SAME = 1e-9  # relative difference below which two numbers are the same but for rounding; chosen by hand
_COVERED = 0.5  # fraction of a declared range below which a note is written; chosen by hand


def check_training_data(data: Dataset) -> None:
    """Check that a valid dataset can be fitted.

    Args:
        data: The training data.

    Raises:
        InputError: If there is only one sample, if samples at the same point have different values or partials, or if a
            column lies outside the bounds of its variable.
    """
    if data.n < 2:
        raise InputError(
            explain("data", "hold at least 2 samples", data.n, "One sample gives no scale for the outputs.")
        )
    low, high = column_bounds(data.input_variables)
    outside = (data.x.max(axis=0) < low) | (data.x.min(axis=0) > high)
    if outside.any():
        column = int(np.flatnonzero(outside)[0])
        name = column_names(data.input_variables)[column]
        raise InputError(
            explain(
                "data.x",
                f"lie within the bounds [{low[column]:g}, {high[column]:g}] of its variable in column {name!r}",
                f"[{data.x[:, column].min():g}, {data.x[:, column].max():g}]",
                "Check the units of the variable and the order of the columns.",
            )
        )
    size = np.abs(data.y).max(axis=0)
    steepest = np.nan_to_num(np.abs(data.partials)).max(axis=(0, 2))
    for rows in data.duplicates():
        known = data.known[rows].all(axis=0)
        slopes = np.ptp(np.where(known, data.partials[rows], 0.0), axis=0).max(axis=1)
        apart = (np.ptp(data.y[rows], axis=0) > _SAME * size) | (slopes > _SAME * steepest)
        if apart.any():
            output = column_names(data.output_variables)[int(np.flatnonzero(apart)[0])]
            raise InputError(
                explain(
                    "data",
                    "not hold different values or partials at the same point",
                    f"rows {rows.tolist()} with different {output!r}",
                    "If the model is noisy, average such samples: `data.merge_duplicates()`.",
                )
            )


def check_fixed_inputs(data: Dataset, scaling: Scaling) -> None:
    """Check that columns which an earlier fit held fixed do not vary in new data.

    Args:
        data: The new data.
        scaling: Scaling of the earlier fit, in which such a column has no effect.

    Raises:
        InputError: If such a column varies.
    """
    gap = np.abs(scaling.transform_inputs(data.x) - scaling.input_mean)
    moved = scaling.constant & (gap > _SAME * np.abs(scaling.input_mean))
    if moved.any():
        row, column = (int(index) for index in np.argwhere(moved)[0])
        expected = f"have the value of the earlier fit in column {column_names(data.input_variables)[column]!r}"
        got = f"{data.x[row, column]:g} in row {row}"
        raise InputError(explain("data", expected, got, "Fit again without `warm_start`."))


def domain(data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Compute the domain of a surrogate of some data.

    Args:
        data: The training data.
        scaling: Scaling of the data, with the columns that are held fixed.

    Returns:
        Lower and upper edges, each (d,), physical: the bounds of the variables, or the range of the data where a column
        has no bound, has a transform without a value at the bound, or is held fixed.
    """
    low, high = column_bounds(data.input_variables)
    transforms = np.array(column_transforms(data.input_variables))
    use_low = np.isfinite(low) & ((transforms == None) | (low > 0.0))  # noqa: E711 (elementwise)
    use_high = np.isfinite(high) & ((transforms != "logit") | (high < 1.0))
    free = ~scaling.constant
    return (
        np.where(use_low & free, low, data.x.min(axis=0)),
        np.where(use_high & free, high, data.x.max(axis=0)),
    )


def notes_on_data(data: Dataset, scaling: Scaling) -> tuple[str, ...]:
    """Write notes on inputs that are held fixed, and on declared ranges that the data hardly cover."""
    names = np.array(column_names(data.input_variables))
    low, high = column_bounds(data.input_variables)
    covered = np.ptp(data.x, axis=0)
    wide = np.isfinite(high - low) & ~scaling.constant & (covered < _COVERED * (high - low))
    notes = []
    if wide.any():
        notes.append(f"The data cover less than half of the declared range of {', '.join(names[wide])}.")
    if scaling.constant.any():
        fixed = ", ".join(names[scaling.constant])
        notes.append(f"Constant in the data, so held fixed with partials of 0: {fixed}.")
    return tuple(notes)
