"""Whether a truth's partials are those of its values, before the budget is spent on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from gradopt.data.variables import Variable, column_bounds, column_names
from gradopt.errors import EvaluationError, InputError

_STEPS = (1e-3, 1e-4, 1e-5)  # of the width of a column's bounds: from few digits lost to little curvature
_TOLERANCE = 1e-2  # of the sum of the contributions of all columns: wrong partials are wrong by more
_NOISE = 1e-8  # of the value: what an iterative solver leaves

_log = logging.getLogger(__name__)


def check_partials(
    values: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    dydx: np.ndarray,
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
) -> int:
    """Compare one directional derivative with finite differences at a point.

    All columns are stepped at once, by 0.5e-3 to 1e-3 of the width of their bounds, or of their value where there are
    none: forth and back, lengths and signs by chance (seeded), or, if a bound is near, two steps inward. Only if that
    disagrees or fails, smaller steps are tried. Where finite differences do not agree with each other either, nothing
    can be told, and a warning is logged.

    Args:
        values: Runs the truth at a point (d,) and returns y (m,); raises `EvaluationError` where it fails.
        x: The point (d,), physical.
        y: Outputs there (m,).
        dydx: Partials there (m, d); an output with an unknown one is not checked.
        inputs: Variables of x.
        outputs: Variables of y.

    Returns:
        Number of calls of `values`, 2 if all is well.

    Raises:
        InputError: If a partial of an output disagrees at each step tried; names the worst.
    """
    pending = ~np.isnan(dydx).any(axis=1)
    if not pending.any():
        return 0
    low, high = column_bounds(inputs)
    width = _scales(x, high - low, inputs)
    room = 2.0 * _STEPS[0] * width
    near = (x - low < room) | (high - x < room)
    rng = np.random.default_rng(0)
    lengths, signs = rng.uniform(0.5, 1.0, x.size), rng.choice([-1.0, 1.0], x.size)
    direction = lengths * width * np.where(near, np.where(high - x < x - low, -1.0, 1.0), signs)
    expected, terms = dydx @ direction, np.abs(dydx * direction).sum(axis=1)
    calls = 0
    slopes: list[np.ndarray] = []
    for step in _STEPS:
        try:
            calls += 1
            one = values(x + step * direction)
            calls += 1
            two = values(x + (2.0 if near.any() else -1.0) * step * direction)
        except EvaluationError as failed:
            _log.info("A point of the check of partials failed: %s", failed)
            continue
        slope = (4.0 * one - two - 3.0 * y if near.any() else one - two) / (2.0 * step)
        size = np.maximum(terms, np.abs(slope))
        noise = _NOISE * np.abs(np.stack([y, one, two])).max(axis=0) / step
        telling = noise <= 0.1 * size if slopes else True  # a smaller step may drown in noise: then it absolves nobody
        pending &= ~((np.abs(slope - expected) <= _TOLERANCE * size + noise) & telling)
        slopes.append(slope)
        if not pending.any():
            return calls
    guilty = pending & _steady(slopes) if slopes else pending & False
    if not guilty.any():
        why = "finite differences do not agree with each other" if slopes else "the points beside it failed"
        _log.warning("The partials at x = %s could not be checked: %s.", x.tolist(), why)
        return calls
    error = np.abs(slopes[0] - expected)
    row = int(np.divide(error, np.maximum(terms, np.abs(slopes[0])), out=np.zeros_like(error), where=guilty).argmax())
    raise InputError(
        f"The partials of {column_names(outputs)[row]!r} do not fit its values at x = {x.tolist()}: along one "
        f"direction the totals give {expected[row]:.6g}, finite differences {slopes[0][row]:.6g}. Find the "
        "component with `problem.check_partials()`; for a model that is noisy by nature pass check_totals=False."
    )


def _steady(slopes: list[np.ndarray]) -> np.ndarray:
    """Which outputs (m,) have finite differences that can be trusted: two steps agree, or there is only one."""
    pairs = zip(slopes, slopes[1:], strict=False)
    agree = [np.abs(a - b) <= 0.1 * np.maximum(np.abs(a), np.abs(b)) for a, b in pairs]
    return np.any(agree, axis=0) if agree else np.ones(slopes[0].shape, dtype=bool)


def _scales(x: np.ndarray, width: np.ndarray, inputs: Sequence[Variable]) -> np.ndarray:
    """How far each column of x (d,) may go: the width of its bounds; its value where it has none, or a transform."""
    relative = np.array([variable.transform is not None for variable in inputs for _ in range(variable.size)])
    size = np.where(x != 0.0, np.abs(x), 1.0)
    return np.where(np.isfinite(width) & ~relative, width, np.minimum(size, width))
