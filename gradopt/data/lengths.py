"""Lengths of variables: the unit of trust regions, of finite-difference steps and of checks."""

from __future__ import annotations

import numpy as np

NO_BOUND = 1e20
"""Size from which a bound counts as none: the usual infinity of optimizers."""

_TIMES = 100.0  # largest length over the size of the variable: beyond it bounds are loose and say nothing; by hand
_NONE = 1e6  # range over the size, at least 1, from which it is none: steps across it overflow; by hand
_ZERO = (
    1e-8  # size of a variable, as a part of its range, that counts as 0: near an optimum at 0 it says nothing; by hand
)


def without_loose(bound: np.ndarray) -> np.ndarray:
    """Return bounds with those of 1e20 and more, of either sign, as infinity."""
    return np.where(np.abs(bound) >= NO_BOUND, np.copysign(np.inf, bound), bound)


def lengths_of(lower: np.ndarray, upper: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return one length (d,) for each variable, in its own unit.

    A variable with both bounds has its range, or 100 times its size where that is less: bounds that are given only
    because there must be some say nothing. A variable without a range has its size, at least 1.

    Args:
        lower: Lower bounds (d,), -inf where there is none.
        upper: Upper bounds (d,).
        x: Values (d,), such as the start.
    """
    bounded = np.isfinite(lower) & np.isfinite(upper) & (upper > lower)
    width = np.where(bounded, upper, 1.0) - np.where(bounded, lower, 0.0)
    size = np.abs(x)
    bounded &= width <= _NONE * np.maximum(size, 1.0)
    narrow = np.where(size > _ZERO * width, np.minimum(width, _TIMES * size), width)
    return np.where(bounded, narrow, np.maximum(size, 1.0))
