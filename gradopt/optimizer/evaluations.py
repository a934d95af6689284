"""Evaluations as other programs have them: of a truth, or arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.variables import Variable, total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth.domains import fail_outside_domain
from gradopt.truth.protocol import Evaluations, PointStatus

Result = Evaluations | ArrayLike | tuple[ArrayLike, ArrayLike]
"""Evaluations; or outputs y (q, m), NaN where a point failed; or the pair of y and partials (q, m, d)."""


def read(points: np.ndarray, found: Result, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Evaluations:
    """Check evaluations, or make them from arrays.

    Args:
        points: Points (q, d) that were to be evaluated.
        found: What came.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.

    Returns:
        Evaluations at the points; a point of which a number is outside the domain of its transform has failed.

    Raises:
        InputError: If they are at other points, or arrays hold no real numbers.
        ShapeError: If there is not one row for each point, or not one column for each output.
    """
    (q, d), m = points.shape, total_size(outputs)
    if not isinstance(found, Evaluations):
        pair = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        y = as_floats("y", pair[0]).reshape(q, -1) if q else np.empty((0, m))
        dydx = np.full((q, m, d), np.nan) if pair[1] is None else as_floats("dydx", pair[1])
        if m == 1 and dydx.shape == (q, d):
            dydx = dydx[:, None, :]
        for name, array, shape in (("y", y, (q, m)), ("dydx", dydx, (q, m, d))):
            if array.shape != shape:
                remedy = "Points come first; index order of `dydx` is point, of, wrt."
                raise ShapeError(explain(name, f"have shape {shape}", array.shape, remedy))
        good = np.isfinite(y).all(axis=1) & ~np.isinf(dydx).any(axis=(1, 2))
        y, dydx = np.where(good[:, None], y, np.nan), np.where(good[:, None, None], dydx, np.nan)
        status = [PointStatus.OK if one else PointStatus.NOT_FINITE for one in good]
        message = ["" if one else "The evaluation is not finite." for one in good]
        found = Evaluations(points, y, dydx, status, message, np.zeros(q))
    if not np.array_equal(found.x, points):
        remedy = "Evaluate `request.points`, all of them, in their order."
        raise InputError(explain("evaluations", f"be at {points.tolist()}", found.x.tolist(), remedy))
    if found.dydx.shape[1:] != (m, d):
        remedy = "Columns stand in the order of the variables."
        raise ShapeError(explain("evaluations.dydx", f"have shape (q, {m}, {d})", found.dydx.shape, remedy))
    return fail_outside_domain(found, outputs, inputs)
