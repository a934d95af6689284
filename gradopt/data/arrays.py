"""Checks of arrays from outside: shape, type and finiteness."""

from __future__ import annotations

from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.errors import InputError, ShapeError, explain


def as_floats(argument: str, values: ArrayLike, allow_complex: bool = False) -> np.ndarray:
    """Copy an array-like into float64.

    Args:
        argument: Name of the argument, for messages.
        values: The array-like.
        allow_complex: Whether to accept complex numbers, for complex step.

    Returns:
        A new float64 (or complex128) array of the same shape.

    Raises:
        InputError: If the values are not numbers.
    """
    array: np.ndarray[Any, np.dtype[Any]]
    try:
        array = np.asarray(values)
    except ValueError as ragged:
        remedy = "Give every row the same length."
        raise InputError(explain(argument, "be a regular array", f"{shortened(values)}", remedy)) from ragged
    if np.ma.is_masked(values):
        remedy = "Drop masked samples, or in `dydx` fill them: `values.filled(np.nan)`."
        raise InputError(explain(argument, "not be masked", "a masked array", remedy))
    if np.iscomplexobj(array) and allow_complex:
        return np.array(array, dtype=np.complex128)
    if array.dtype.kind not in "fiub":
        raise InputError(explain(argument, "hold real numbers", f"dtype {array.dtype}", "Convert it to float64 first."))
    return np.array(array, dtype=np.float64)


def check_matrix(argument: str, array: np.ndarray, columns: int | None, what: str) -> None:
    """Check that an array is sample-first.

    Args:
        argument: Name of the argument.
        array: The array.
        columns: Required number of columns, or None for any.
        what: Text of the shape, such as "(n, d)".

    Raises:
        ShapeError: If the array is not two-dimensional with that many columns.
    """
    expected = f"have shape {what}" if columns is None else f"have shape {what} = (n, {columns})"
    if array.ndim == 1:
        remedy = f"For one column pass `{argument}[:, None]`, for one sample `{argument}[None, :]`."
        raise ShapeError(explain(argument, expected, array.shape, remedy))
    if array.ndim != 2:
        raise ShapeError(explain(argument, expected, array.shape, "Samples come first, then columns."))
    if columns is not None and array.shape[1] != columns:
        remedy = "Samples come first, then columns in the order of the variables."
        if array.shape[0] == columns:
            remedy = f"If samples are its columns, (columns, n), pass `{argument}.T`."
        raise ShapeError(explain(argument, expected, array.shape, remedy))


def check_finite(argument: str, array: np.ndarray, columns: list[str], remedy: str) -> None:
    """Check that a matrix has neither NaN nor infinity.

    Args:
        argument: Name of the argument.
        array: (n, columns).
        columns: Names of the columns.
        remedy: What to do about it, one sentence.

    Raises:
        InputError: If an entry is not finite; names the first one and the number of such rows.
    """
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    row, column = (int(index) for index in np.argwhere(bad)[0])
    count = int(bad.any(axis=1).sum())
    where = f"{array[row, column]} in row {row}, column {columns[column]!r} ({count} bad rows of {len(array)})"
    raise InputError(explain(argument, "be finite", where, remedy))


def freeze_fields(record: object, *names: str) -> None:
    """Replace arrays of a frozen dataclass by read-only copies; for its `__post_init__`.

    Args:
        record: Record that is being made.
        *names: Fields that hold an array, or None.
    """
    for name in names:
        if getattr(record, name) is not None:
            object.__setattr__(record, name, frozen(np.array(getattr(record, name))))


def frozen(array: np.ndarray) -> np.ndarray:
    """Make an array read-only, in place.

    Args:
        array: Array of any shape that the caller has created or copied.

    Returns:
        The same array.
    """
    array.flags.writeable = False
    return array
