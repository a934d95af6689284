"""Where curves reach a level; for `jenn.noise_break_even` and `jenn.samples_to_accuracy`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def first_reach(x: Sequence[float], y: Sequence[float], level: float) -> float | None:
    """Return where a line through points is first at or above a level.

    Args:
        x: Rising abscissas (n,).
        y: Ordinates (n,), joined by straight lines.
        level: Level to reach.

    Returns:
        The abscissa; x[0] where the first point reaches the level, None where no point does.
    """
    if y[0] >= level:
        return float(x[0])
    for i in range(1, len(x)):
        if y[i] >= level:
            return float(x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1]))
    return None


def samples_needed(curve: dict[int, float], target: float) -> float | None:
    """Return the number of samples at which R2 first reaches a target, log(1 - R2) being linear in log n between them.

    Args:
        curve: R2, below 1, of each number of samples, rising.
        target: R2 to reach, below 1.

    Returns:
        The number; the first of the curve where it is enough, None where the last is not.
    """
    found = first_reach(
        np.log(list(curve)).tolist(), [-np.log(1.0 - of) for of in curve.values()], -np.log(1.0 - target)
    )
    return None if found is None else float(np.exp(found))
