"""Check of the partials of a truth against finite differences of its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from gradopt.data.variables import Variable, column_bounds, column_names
from gradopt.errors import EvaluationError, InputError

# All by hand.
_STEPS = (
    1e-3,
    1e-4,
    1e-5,
)  # step lengths, parts of the widths of the bounds: first little noise, last little curvature
_TOLERANCE = 1e-2  # allowed error of the directional derivative, part of the sum of the columns' contributions
_NOISE = 1e-8  # noise of a value that an iterative solver leaves, part of the value
_SMALL_NOISE = 0.1  # noise up to which the slope of a smaller step counts, part of the slope
_STEADY = 0.1  # difference up to which the slopes of two steps agree, part of the larger slope

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

    The step moves all columns at once, each by 0.5e-3 to 1e-3 of the width of its bounds, or of its value without
    bounds; lengths and signs are random with a fixed seed. The differences are central, or have two steps inward where
    a bound is near. Smaller steps follow only after a disagreement or a failure. Where the finite differences of two
    steps disagree with each other too, the check has no result, and a warning is logged.

    Args:
        values: Function that runs the truth at a point (d,) and returns y (m,); raises `EvaluationError` where that
            fails.
        x: The point (d,), physical.
        y: Outputs there (m,).
        dydx: Partials there (m, d); an output with an unknown partial is not checked.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.

    Returns:
        Number of calls of `values`, 2 if the first step agrees.

    Raises:
        InputError: If the partials of an output disagree at every step; names the output with the largest error.
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
        clear = noise <= _SMALL_NOISE * size if slopes else True  # agreement within large noise proves nothing
        pending &= ~((np.abs(slope - expected) <= _TOLERANCE * size + noise) & clear)
        slopes.append(slope)
        if not pending.any():
            return calls
    wrong = pending & _steady(slopes) if slopes else pending & False
    if not wrong.any():
        why = "finite differences do not agree with each other" if slopes else "the points beside it failed"
        _log.warning("The partials at x = %s could not be checked: %s.", x.tolist(), why)
        return calls
    error = np.abs(slopes[0] - expected)
    row = int(np.divide(error, np.maximum(terms, np.abs(slopes[0])), out=np.zeros_like(error), where=wrong).argmax())
    raise InputError(
        f"The partials of {column_names(outputs)[row]!r} do not fit its values at x = {x.tolist()}: along one "
        f"direction the totals give {expected[row]:.6g}, finite differences {slopes[0][row]:.6g}. Find the wrong "
        "component with `problem.check_partials()`; for a noisy model pass check_totals=False."
    )


def _steady(slopes: list[np.ndarray]) -> np.ndarray:
    """Mask (m,) of the outputs whose finite differences are reliable: two steps agree, or there is only one."""
    pairs = zip(slopes, slopes[1:], strict=False)
    agree = [np.abs(a - b) <= _STEADY * np.maximum(np.abs(a), np.abs(b)) for a, b in pairs]
    return np.any(agree, axis=0) if agree else np.ones(slopes[0].shape, dtype=bool)


def _scales(x: np.ndarray, width: np.ndarray, inputs: Sequence[Variable]) -> np.ndarray:
    """Scales (d,) of the steps: widths of the bounds, or values where there are no bounds or a transform."""
    relative = np.array([variable.transform is not None for variable in inputs for _ in range(variable.size)])
    size = np.where(x != 0.0, np.abs(x), 1.0)
    return np.where(np.isfinite(width) & ~relative, width, np.minimum(size, width))
