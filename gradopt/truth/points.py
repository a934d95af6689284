"""Checks of points and failures, and evaluation of points one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from openmdao.core.analysis_error import AnalysisError  # openmdao.api would import matplotlib and rich

from gradopt.data.arrays import as_floats, check_finite, check_matrix
from gradopt.data.variables import Variable, column_names, total_size
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.protocol import Evaluations, PointStatus

Raw = TypeVar("Raw")


def as_points(x: ArrayLike, inputs: Sequence[Variable]) -> np.ndarray:
    """Check points.

    Args:
        x: Points (n, d), physical.
        inputs: Variables of the d columns.

    Returns:
        A new float64 array (n, d).

    Raises:
        InputError: If a number is NaN or infinite.
        ShapeError: If it is not (n, d).
    """
    points = as_floats("x", x)
    check_matrix("x", points, total_size(inputs), "(n, d)")
    if not np.isfinite(points).all():  # names of columns take longer to make
        check_finite("x", points, column_names(inputs), "Leave those points out.")
    return points


def as_failures(failures: Sequence[type[Exception]]) -> tuple[type[Exception], ...]:
    """Check the exception classes that mean that a point failed.

    Args:
        failures: Exception classes besides `EvaluationError` and `AnalysisError`.

    Returns:
        `EvaluationError`, `AnalysisError`, and the others.

    Raises:
        InputError: If an entry is not an exception class.
    """
    found = tuple(failures) if isinstance(failures, Sequence) else (failures,)
    wrong = [kind for kind in found if not (isinstance(kind, type) and issubclass(kind, Exception))]
    if wrong:
        remedy = "Such as failures=(FloatingPointError,)."
        raise InputError(explain("failures", "be a sequence of exception classes", repr(wrong[0]), remedy))
    return tuple(dict.fromkeys((EvaluationError, AnalysisError, *found)))


def evaluate_points(
    call: Callable[[np.ndarray], Raw],
    read: Callable[[Raw], tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    m: int,
    failures: tuple[type[Exception], ...],
) -> Evaluations:
    """Evaluate points one after the other.

    Args:
        call: Function of one point (d,). An exception among `failures` makes a failed point; any other is raised.
        read: Function that converts the result of `call` to y (m,) and dydx (m, d). Its exceptions are raised.
        x: Points (n, d), physical.
        m: Number of output columns.
        failures: Exception classes that mean that a point failed.

    Returns:
        Evaluations with one row for each point.
    """
    n, d = x.shape
    y, dydx, seconds = np.full((n, m), np.nan), np.full((n, m, d), np.nan), np.zeros(n)
    status, message = [PointStatus.FAILED] * n, [""] * n
    for row, point in enumerate(x):
        began = perf_counter()
        try:
            raw = call(point.copy())
        except failures as failed:
            message[row] = str(failed) if isinstance(failed, EvaluationError) else f"{type(failed).__name__}: {failed}"
            message[row] = message[row] or type(failed).__name__
        except Exception as error:
            kind = type(error).__name__
            error.add_note(f"Raised by the truth at x = {point.tolist()}.")
            error.add_note(
                f"If this means that the point failed, pass failures=({kind},): the point is then recorded as failed."
            )
            raise
        else:
            values, partials = read(raw)
            message[row] = _not_finite(values, partials)
            status[row] = PointStatus.NOT_FINITE if message[row] else PointStatus.OK
            if not message[row]:
                y[row], dydx[row] = values, partials
        seconds[row] = perf_counter() - began
    return Evaluations(x, y, dydx, status, message, seconds)


def point_by_point(evaluate: Callable[[np.ndarray], Evaluations], x: np.ndarray, m: int) -> Evaluations:
    """Evaluate points x (n, d) by a function of one point (1, d) with m output columns."""
    return Evaluations.join([evaluate(point[None]) for point in x], m, x.shape[1])


def _not_finite(values: np.ndarray, partials: np.ndarray) -> str:
    """Describe the first entry that makes a point fail, "" where there is none; NaN in the partials = unknown."""
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        return f"y[{column}] is {values[column]}"
    if np.isinf(partials).any():
        of, wrt = (int(index) for index in np.argwhere(np.isinf(partials))[0])
        return f"dydx[{of}, {wrt}] is {partials[of, wrt]}"
    return ""
