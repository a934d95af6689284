"""What the parts of a study share: settings, figures over several seeds, and where a curve reaches a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradopt.solvers import LevenbergMarquardt


def fit_settings(quick: bool) -> dict[str, Any]:
    """Fields of JENN and MLP: the defaults, or few iterations to see that a study runs."""
    return {"solver": LevenbergMarquardt(max_iterations=4), "starts": 1} if quick else {}


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, largest and all."""
    numbers = [float(value) for value in values]
    return {"median": float(np.median(numbers)), "least": min(numbers), "largest": max(numbers), "all": numbers}


def cell(of: dict[str, Any]) -> str:
    """Median (least to largest), for tables."""
    return f"{of['median']:.2g} ({of['least']:.2g} to {of['largest']:.2g})"


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance of the truth (n, 1) that is explained."""
    return float(1.0 - ((predicted - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def first_reach(x: Sequence[float], y: Sequence[float], level: float) -> float | None:
    """Find where a line through points first is at or above a level.

    Args:
        x: Rising abscissas (n,).
        y: Ordinates (n,), joined by straight lines.
        level: What is to be reached.

    Returns:
        The abscissa; x[0] where it is reached from the start, None where it never is.
    """
    if y[0] >= level:
        return float(x[0])
    for i in range(1, len(x)):
        if y[i] >= level:
            return float(x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1]))
    return None


def samples_needed(curve: dict[int, float], target: float) -> float | None:
    """Number of samples at which R2 first reaches a target, log(1 - R2) being linear in log n between them.

    Args:
        curve: R2, below 1, of each number of samples, rising.
        target: R2 wanted, below 1.

    Returns:
        The number; the first where it is enough, None where the last is not.
    """
    found = first_reach(
        np.log(list(curve)).tolist(), [-np.log(1.0 - of) for of in curve.values()], -np.log(1.0 - target)
    )
    return None if found is None else float(np.exp(found))
