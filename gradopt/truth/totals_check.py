"""Check of the partials of a truth against finite differences of its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from gradopt.data.lengths import NO_BOUND, lengths_of
from gradopt.data.variables import Variable, column_bounds, column_names, column_slices
from gradopt.errors import EvaluationError, InputError

# All by hand.
_STEPS = (
    1e-3,
    1e-4,
    1e-5,
)  # step lengths, parts of the scales of the inputs: first little noise, last little curvature
_TOLERANCE = 1e-2  # allowed error of the directional derivative, part of the sum of the columns' contributions
_HARMLESS = 1e-9  # error of the change along the whole direction that never matters, part of the value or its scale
_ZERO = 1e-13  # values that are 0 but for round-off, part of the scale of the output
_ROUND_OFF = 10.0 * float(np.finfo(float).eps)  # round-off of a value, part of the largest entry of its variable
_CURVATURE = 1.0 / 50.0  # error of a slope by curvature, part of its change from a step 10 times longer; in theory 1/99
_GROWTH = 1.0 / 5.0  # error of a slope by noise, part of its change to a step 10 times shorter; in theory 1/9
_NOISE = 1e-8  # noise of a value that an iterative solver leaves, part of the value
_SMALL_NOISE = 0.1  # uncertainty up to which the slope of a smaller step counts, part of the slope
_STEADY = 0.1  # difference up to which the slopes of two steps agree, part of the larger slope

_log = logging.getLogger(__name__)


def check_partials(
    values: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    dydx: np.ndarray,
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    scale: np.ndarray | None = None,
    largest: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> int:
    """Compare one directional derivative with finite differences at a point.

    The step moves all columns at once, each by 0.5e-3 to 1e-3 of its length, see `lengths_of`, or of its value
    without bounds; lengths and signs are random with a fixed seed. The differences are central, or have two
    steps inward where a bound is near. Smaller steps follow only after a disagreement or a failure. Partials are wrong
    where finite differences of several steps agree with each other and not with the partials. Where they do not agree
    with each other, the check has no result, and a warning is logged. An output that is 0 but for round-off may have
    partials of the size of round-off.

    Args:
        values: Function that runs the truth at a point (d,) and returns y (m,); raises `EvaluationError` where that
            fails.
        x: The point (d,), physical.
        y: Outputs there (m,).
        dydx: Partials there (m, d); an output with an unknown partial is not checked.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.
        scale: Scales (m,) of the outputs, physical: values below 1e-13 of them are round-off; None = 1.
        largest: Largest absolute values (m,) of the arrays of which the outputs are entries, which leave round-off in
            all entries; None = that of the variable.
        names: Names of the m outputs in messages; None = those of the columns of `outputs`.

    Returns:
        Number of calls of `values`, 2 if the first step agrees.

    Raises:
        InputError: If the partials of an output are wrong; names the output with the largest error.
    """
    pending = ~np.isnan(dydx).any(axis=1)
    if not pending.any():
        return 0
    names = column_names(outputs) if names is None else names
    scale = np.ones(y.size) if scale is None else scale
    largest = largest_entries(y, outputs) if largest is None else largest
    negligible = np.maximum(_ZERO * scale, _ROUND_OFF * largest)
    direction, inward = _direction(x, inputs)
    expected, terms = dydx @ direction, np.abs(dydx * direction).sum(axis=1)
    calls, magnitude = 0, np.abs(y)
    slopes: list[np.ndarray] = []
    steps: list[float] = []
    for step in _STEPS:
        try:
            calls += 1
            one = values(x + step * direction)
            calls += 1
            two = values(x + (2.0 if inward else -1.0) * step * direction)
        except EvaluationError as failed:
            _log.info("A point of the check of partials failed: %s", failed)
            continue
        magnitude = np.abs(np.stack([magnitude, one, two])).max(axis=0)
        slope = (4.0 * one - two - 3.0 * y if inward else one - two) / (2.0 * step)
        zero = magnitude <= negligible
        harmless = _HARMLESS * np.where(zero, scale + 1e-3 * largest, magnitude)
        unsure = np.where(zero, 2.0 * negligible, _ROUND_OFF * magnitude) / step
        changed = np.abs(slope - slopes[-1]) if slopes else np.zeros(y.size)
        unsure += _CURVATURE * changed
        size, error = np.maximum(terms, np.abs(slope)), np.abs(slope - expected)
        clear = (unsure <= _SMALL_NOISE * size) | zero | (error <= harmless) if slopes else True
        agrees = (error <= _TOLERANCE * size + unsure + harmless) & clear
        if slopes:  # the last step may have had less noise
            last = np.abs(slopes[-1] - expected) <= _TOLERANCE * size + _GROWTH * changed
            agrees |= last & (_GROWTH * changed <= _SMALL_NOISE * size)
        pending &= ~agrees
        slopes.append(slope)
        steps.append(step)
        if not pending.any():
            return calls
    wrong = pending & _contradicted(expected, slopes, steps, magnitude) if slopes else pending & False
    if not wrong.any():
        why = "finite differences do not agree with each other" if slopes else "the points beside it failed"
        left = ", ".join(repr(name) for name, one in zip(names, pending, strict=True) if one)
        _log.warning("The partials of %s at x = %s could not be checked: %s.", left, x.tolist(), why)
        return calls
    error = np.abs(slopes[0] - expected)
    row = int(np.divide(error, np.maximum(terms, np.abs(slopes[0])), out=np.zeros_like(error), where=wrong).argmax())
    raise InputError(
        f"The partials of {names[row]!r} do not fit its values at x = {x.tolist()}: along one "
        f"direction the totals give {expected[row]:.6g}, finite differences {slopes[0][row]:.6g}. Find the wrong "
        "component with `problem.check_partials()`; for a noisy model pass check_totals=False."
    )


def largest_entries(y: np.ndarray, outputs: Sequence[Variable]) -> np.ndarray:
    """Return for each output of y (m,) the largest absolute value of its variable, (m,)."""
    found = np.empty(y.size)
    for own in column_slices(outputs).values():
        found[own] = np.abs(y[own]).max()
    return found


def _direction(x: np.ndarray, inputs: Sequence[Variable]) -> tuple[np.ndarray, bool]:
    """Direction (d,) of the steps, and whether both points lie on one side of x because a bound is near."""
    low, high = column_bounds(inputs)
    width = _scales(x, low, high, inputs)
    room = 2.0 * _STEPS[0] * width
    near = (x - low < room) | (high - x < room)
    rng = np.random.default_rng(0)
    lengths, signs = rng.uniform(0.5, 1.0, x.size), rng.choice([-1.0, 1.0], x.size)
    direction = lengths * width * np.where(near, np.where(high - x < x - low, -1.0, 1.0), signs)
    return direction, bool(near.any())


def _contradicted(
    expected: np.ndarray, slopes: list[np.ndarray], steps: list[float], magnitude: np.ndarray
) -> np.ndarray:
    """Mask (m,) of the outputs whose expected slopes contradict the finite differences.

    Slopes of two steps count where they agree with each other better than with the expected slope. An error that the
    noise of a solver could make at the longer step takes two such pairs: noise grows tenfold from step to step.
    """
    if len(slopes) == 1:
        return np.abs(slopes[0] - expected) > _NOISE * magnitude / steps[0]
    pairs, beyond = [], []
    for one, two, step in zip(slopes, slopes[1:], steps, strict=False):
        apart, error = np.abs(one - two), np.minimum(np.abs(one - expected), np.abs(two - expected))
        pairs.append((apart <= _STEADY * np.maximum(np.abs(one), np.abs(two))) & (error > apart))
        beyond.append(error > _NOISE * magnitude / step)
    single = np.any(np.array(pairs) & np.array(beyond), axis=0)
    return single | (np.all(pairs, axis=0) if len(pairs) > 1 else False)


def _scales(x: np.ndarray, low: np.ndarray, high: np.ndarray, inputs: Sequence[Variable]) -> np.ndarray:
    """Scales (d,) of the steps: lengths of the bounds, or values where there are no bounds or a transform."""
    relative = np.array([variable.transform is not None for variable in inputs for _ in range(variable.size)])
    bounded = (low > -NO_BOUND) & (high < NO_BOUND)
    size = np.minimum(np.where(x != 0.0, np.abs(x), 1.0), high - low)
    return np.where(bounded & ~relative, lengths_of(low, high, x), size)
