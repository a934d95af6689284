"""What a fit needs of its data, and what the user ought to know of them."""

from __future__ import annotations

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import column_bounds, column_names
from gradopt.errors import InputError, explain


def check_training_data(data: Dataset) -> None:
    """Check what a fit needs beyond a valid dataset.

    Args:
        data: The training data.

    Raises:
        InputError: If there is one sample only, if the same point carries different values or partials, or if a
            column lies outside the bounds of its variable.
    """
    if data.n < 2:
        raise InputError(explain("data", "hold at least 2 samples", data.n, "One point does not tell a scale."))
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
                "Are its units and the order of the columns right?",
            )
        )
    size = np.abs(data.y).max(axis=0)
    steepest = np.nan_to_num(np.abs(data.partials)).max(axis=(0, 2))
    for rows in data.duplicates():
        known = data.known[rows].all(axis=0)
        slopes = np.ptp(np.where(known, data.partials[rows], 0.0), axis=0).max(axis=1)
        apart = (np.ptp(data.y[rows], axis=0) > 1e-9 * size) | (slopes > 1e-9 * steepest)
        if apart.any():
            output = column_names(data.output_variables)[int(np.flatnonzero(apart)[0])]
            raise InputError(
                explain(
                    "data",
                    "not hold different values or partials at the same point",
                    f"rows {rows.tolist()} with different {output!r}",
                    "If the model is noisy, average them: `data.merge_duplicates()`.",
                )
            )


def check_fixed_inputs(data: Dataset, scaling: Scaling) -> None:
    """Check that columns which an earlier fit held fixed do not vary now.

    Args:
        data: The new data.
        scaling: The scaling of the earlier fit, which is kept.

    Raises:
        InputError: If one does: in that scaling nothing could be learned of it.
    """
    gap = np.abs(scaling.transform_inputs(data.x) - scaling.input_mean).max(axis=0)
    moved = scaling.constant & (gap > 1e-9 * np.abs(scaling.input_mean))
    if moved.any():
        name = column_names(data.input_variables)[int(np.flatnonzero(moved)[0])]
        remedy = "Fit afresh, without `warm_start`."
        raise InputError(explain("data", f"hold column {name!r} fixed where the earlier fit did", "others", remedy))


def notes_on_data(data: Dataset, scaling: Scaling) -> tuple[str, ...]:
    """What the user ought to know: inputs held fixed, and declared ranges that the data hardly cover."""
    names = np.array(column_names(data.input_variables))
    low, high = column_bounds(data.input_variables)
    covered = np.ptp(data.x, axis=0)
    wide = np.isfinite(high - low) & ~scaling.constant & (covered < 0.5 * (high - low))
    notes = []
    if wide.any():
        notes.append(f"The data cover less than half of the declared range of {', '.join(names[wide])}.")
    if scaling.constant.any():
        fixed = ", ".join(names[scaling.constant])
        notes.append(f"Constant in the data, so held fixed with zero partials: {fixed}.")
    return tuple(notes)
