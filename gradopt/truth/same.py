"""Comparison of an evaluation with a stored one of the same point."""

from __future__ import annotations

import numpy as np

from gradopt.data.variables import column_names
from gradopt.truth.protocol import Evaluations, Truth

_RELATIVE = 1e-6  # of a number itself: above the usual tolerance of solvers, which start from another state; by hand
_USUAL = (
    1e-9  # of the usual size of such numbers, for those near 0: above the usual tolerance of solvers, 1e-10; by hand
)
_TINY = float(np.finfo(float).tiny)


def difference(stored: Evaluations, got: Evaluations, rows: Evaluations, truth: Truth) -> str:
    """Describe the largest difference beyond round-off and the tolerance of solvers.

    Values may differ by 1e-6 of themselves, and by 1e-9 of their usual size: the median of the output in the store,
    and its change over the inputs' own size. Partials may differ by 1e-6 of the largest partial of the same output at
    the point, and by 1e-9 of the median of these in the store. Partials that are unknown in one of the two are not
    compared.

    Args:
        stored: Stored evaluation of one point.
        got: Evaluation of the same point now.
        rows: Stored evaluations of the truth, as many as show the usual size of its results.
        truth: Truth.

    Returns:
        Words, "" where there is no such difference.
    """
    if stored.ok[0] != got.ok[0]:
        return f"stored is {_outcome(stored)}, got {_outcome(got)}"
    if not stored.ok[0]:
        return ""
    outputs, inputs = column_names(truth.outputs), column_names(truth.inputs)
    good = rows.ok
    y, dydx = (rows.y[good], rows.dydx[good]) if good.any() else (stored.y, stored.dydx)
    old, new = stored.y[0], got.y[0]
    usual = np.median(np.abs(y), axis=0) + np.nansum(abs(stored.dydx[0] * stored.x[0]), axis=1)
    wrong = abs(new - old) / (_RELATIVE * np.maximum(abs(old), abs(new)) + _USUAL * usual + _TINY)
    if wrong.max(initial=0.0) > 1.0:
        row = int(np.argmax(wrong))
        return f"stored {outputs[row]} = {float(old[row])!r}, got {float(new[row])!r}"
    old, new = stored.dydx[0], got.dydx[0]
    usual = np.median([_largest(one) for one in dydx], axis=0)
    allowed = _RELATIVE * np.maximum(_largest(old), _largest(new)) + _USUAL * usual + _TINY
    wrong = np.nan_to_num(abs(new - old) / allowed[:, None])
    if wrong.max(initial=0.0) > 1.0:
        of, wrt = (int(index) for index in np.unravel_index(np.argmax(wrong), wrong.shape))
        name = f"d {outputs[of]} / d {inputs[wrt]}"
        return f"stored {name} = {float(old[of, wrt])!r}, got {float(new[of, wrt])!r}"
    return ""


def _largest(partials: np.ndarray) -> np.ndarray:
    """Largest known partial of each output, (m,)."""
    return np.asarray(np.nan_to_num(np.abs(partials)).max(axis=1, initial=0.0))


def _outcome(one: Evaluations) -> str:
    return f"y = {one.y[0].tolist()}" if one.ok[0] else f"a failed point ({one.message[0]!r})"
