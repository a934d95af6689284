"""Resolution of the outputs of a truth: the smallest change that its values can show, read from values met."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

ROUND_OFF = 4.0 * float(np.finfo(float).eps)
"""Resolution of a double, as a part of its size: round-off, some of it within the function; by hand."""

_FULL_DECIMAL = 15  # significant decimal digits from which a number counts as a full double, which has up to 17
_FULL_BINARY = 50  # significant bits from which it does, of 53
_ALIKE = 12  # number of nearest values that are read: far ones may be of another source; by hand
_NEAREST = 5  # number of values whose differences may have a common quantum: near ones share their exponent; by hand
_FINER = 0.1  # part of a value below which others are not read for a common quantum: theirs may be finer; by hand
_CLEAR = 1e4  # times that a common quantum exceeds the round-off in it: of random numbers 1 in 10000 has one; by hand


def resolutions(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Estimate the resolution (m,) of outputs, in their own units, at one of their values.

    Three readings are compared, and the coarsest counts: all values have few decimal digits (printed), or few binary
    ones (single precision, integers), either in significant digits or in a fixed last one; or the differences of the
    nearest values are multiples of one quantum (printed, then multiplied by a factor). Values without any of these are
    doubles, with a resolution of round-off; so has an output that is the same at all points.

    Args:
        values: Values met (n, m), NaN where there is none.
        y: Value (m,) of each output at which the resolution is wanted.

    Returns:
        Resolutions (m,), positive but for values that are all 0.
    """
    return np.array([_resolution(column, float(at)) for column, at in zip(values.T, y, strict=True)])


def resolutions_beside(met: np.ndarray, beside: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Estimate the resolution (m,) of outputs where finite differences are taken.

    Where all values beside a point are exactly the same and others are not, the output has a plateau. Its resolution
    is then no finer than the least change seen.

    Args:
        met: Values at other points (n, m), NaN where there is none.
        beside: Values beside the point (b, m), likewise.
        y: Value (m,) at the point.
    """
    found = resolutions(np.vstack([met, beside]), y)
    known = ~np.isnan(beside)
    flat = (known.sum(axis=0) >= 2) & (~known | (beside == y)).all(axis=0)
    change = np.abs(met - y)
    least = np.min(np.where(change > 0.0, change, np.inf), axis=0, initial=np.inf)
    return np.where(flat & np.isfinite(least), np.maximum(found, least), found)


def _resolution(values: np.ndarray, at: float) -> float:
    met = np.unique(np.append(values[np.isfinite(values)], at))
    if len(met) == 1:
        return ROUND_OFF * abs(at)
    met = met[np.argsort(np.abs(met - at), kind="stable")[:_ALIKE]]
    apart = np.abs(met - at)
    size = abs(at) if at != 0.0 else float(np.sort(apart)[1])
    like = np.sort(apart[np.abs(met) >= _FINER * abs(at)])[1:_NEAREST]
    return max(ROUND_OFF * size, _decimal(met, abs(at)), _binary(met, abs(at)), _common_quantum(like, size))


def _decimal(values: np.ndarray, size: float) -> float:
    """Resolution of decimal digits, 0 where there are as many as in full doubles."""
    parts = []
    for value in values[values != 0.0]:
        parts.append(Decimal(repr(float(value))).normalize().as_tuple())
        if len(parts[-1].digits) >= _FULL_DECIMAL:
            return 0.0
    if not parts:
        return 0.0
    digits = max(len(part.digits) for part in parts)
    last = min(int(part.exponent) for part in parts)
    leading = last if size == 0.0 else int(np.floor(np.log10(size))) - digits + 1
    return float(10.0 ** max(last, leading))


def _binary(values: np.ndarray, size: float) -> float:
    """Resolution of binary digits, likewise."""
    fraction, exponent = np.frexp(values[values != 0.0])
    whole = (np.abs(fraction) * 2.0**53).astype(np.int64)
    zeros = np.array([(int(one) & -int(one)).bit_length() - 1 for one in whole], dtype=int)
    digits = 53 - int(zeros.min(initial=53))
    if not len(zeros) or digits >= _FULL_BINARY:
        return 0.0
    last = int((exponent - 53 + zeros).min())
    leading = last if size == 0.0 else int(np.frexp(size)[1]) - digits
    return float(2.0 ** max(last, leading))


def _common_quantum(apart: Sequence[float] | np.ndarray, size: float) -> float:
    """Largest number of which all distances are multiples, 0 where there is none above round-off."""
    if len(apart) < 2:
        return 0.0
    fuzz = 2.0 * ROUND_OFF * (size + float(apart[-1]))
    quantum = float(apart[0])
    for other in apart[1:]:
        longest = longer = float(other)
        while True:
            # Euclid's algorithm; the round-off of both grows with the multiples that it has taken.
            unsure = fuzz * longest / quantum
            if quantum < _CLEAR * unsure:
                return 0.0
            rest = abs(longer - round(longer / quantum) * quantum)
            if rest <= unsure:
                break
            longer, quantum = quantum, rest
        quantum = float(other) / round(float(other) / quantum)  # the longest distance has it with the least round-off
    return quantum
