"""Checks of arrays from outside: shape, type and finiteness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.errors import InputError, ShapeError, explain

_MOST_DIMENSIONS = 64  # dimensions of an array in NumPy; deeper sequences are no arrays


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
    array = as_array(argument, values)
    if np.iscomplexobj(array) and allow_complex:
        return np.array(array, dtype=np.complex128)
    if array.dtype.kind not in "fiub":
        raise InputError(explain(argument, "hold real numbers", f"dtype {array.dtype}", "Convert it to float64 first."))
    return np.array(array, dtype=np.float64)


def as_array(argument: str, values: object) -> np.ndarray[Any, np.dtype[Any]]:
    """Convert an array-like into an array of its own type, without a copy where it is one.

    Args:
        argument: Name of the argument, for messages.
        values: The array-like.

    Raises:
        InputError: If it is masked, ragged, or of a kind that NumPy cannot convert.
    """
    check_unmasked(argument, values)
    try:
        return np.asarray(values)
    except ValueError as ragged:
        remedy = "Give every row the same length."
        raise InputError(explain(argument, "be a regular array", f"{shortened(values)}", remedy)) from ragged
    except (TypeError, RuntimeError) as refused:  # such as a torch tensor on a GPU
        got = f"{_described(values)} ({refused})"
        remedy = "Of a torch tensor pass `tensor.detach().double().cpu().numpy()`."
        raise InputError(explain(argument, "be convertible to a NumPy array", got, remedy)) from refused


def check_unmasked(argument: str, values: object) -> None:
    """Raise `InputError` if an array-like is masked, or a masked array stands in nested sequences."""
    where = _masked_at(values)
    if where is not None:
        remedy = "Drop masked samples, or in `dydx` fill them: `values.filled(np.nan)`."
        got = "a masked array" + (f" at {list(where)}" if where else "")
        raise InputError(explain(argument, "not be masked", got, remedy))


def _masked_at(values: object, depth: int = 0) -> tuple[int, ...] | None:
    """Return the place of a masked array in nested sequences: () for `values` itself; None if nothing is masked."""
    if isinstance(values, np.ma.MaskedArray):
        return () if np.ma.is_masked(values) else None
    if isinstance(values, Sequence) and not isinstance(values, str | bytes) and depth < _MOST_DIMENSIONS:
        if set(map(type, values)) <= {float, int, bool}:  # nearly always so, and quick
            return None
        for index, entry in enumerate(values):
            found = _masked_at(entry, depth + 1)
            if found is not None:
                return (index, *found)
    return None


def _described(values: object) -> str:
    """Describe what could not be converted: the first entry of nested sequences, with dtype and device."""
    for _ in range(_MOST_DIMENSIONS):
        if not isinstance(values, list | tuple) or not values:
            break
        values = values[0]
    kind = f"{type(values).__module__}.{type(values).__name__}"
    names = [name for name in ("dtype", "device", "requires_grad") if hasattr(values, name)]
    about = [f"{name}={getattr(values, name)}" for name in names]
    return f"{kind} with {', '.join(about)}" if about else kind


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


class ReadOnly:
    """Base of frozen dataclasses whose arrays are read-only: copies by `pickle` and `copy.deepcopy` are too.

    NumPy makes every unpickled array writable. What was computed from the fields and cached does not travel.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields."""
        assert is_dataclass(self)
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the fields; make their arrays read-only."""
        for value in state.values():
            _freeze(value)
        self.__dict__.update(state)


def _freeze(value: object) -> None:
    """Make arrays read-only, in dictionaries and sequences too."""
    if isinstance(value, np.ndarray):
        frozen(value)
    elif isinstance(value, dict):
        for entry in value.values():
            _freeze(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            _freeze(entry)


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
