"""Initial design: points that are evaluated before the start."""

from __future__ import annotations

import numpy as np

from gradopt.data.sampling import latin_hypercube
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain
from gradopt.optimality.problem import Limits

_THIN = 1e-12  # in units of the ranges: the edge of the design where a design variable is fixed


def initial_design(limits: Limits, start: np.ndarray, count: int, seed: int, max_evaluations: int) -> np.ndarray | None:
    """Return a Latin hypercube within the bounds; without bounds, within one width to either side of the start.

    Args:
        limits: Bounds of the problem.
        start: Start (k,).
        count: Number of points; 0 = none.
        seed: Seed of the design.
        max_evaluations: Budget of the run, of which one must be left for the start.

    Returns:
        Points (count, k), None without any.

    Raises:
        InputError: If there are as many points as evaluations.
    """
    if not count:
        return None
    if count >= max_evaluations:
        expected = f"be below max_evaluations = {max_evaluations}"
        raise InputError(explain("initial_samples", expected, count, "Raise the latter."))
    lower = np.where(np.isfinite(limits.lower), limits.lower, start - limits.width)
    upper = np.where(np.isfinite(limits.upper), limits.upper, start + limits.width)
    upper = np.where(upper > lower, upper, lower + _THIN * limits.width)
    return latin_hypercube([Variable("u", shape=start.shape, lower=lower, upper=upper)], count, seed)
