"""Friedman's first function."""

from __future__ import annotations

import numpy as np

from cases.learning.problem import LearningProblem
from gradopt import Variable


def friedman(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5.

    Args:
        x: Points (n, 5), without unit.

    Returns:
        Values (n, 1) and partials (n, 1, 5).
    """
    a, b, c, d, e = x.T
    slope = 10.0 * np.pi * np.cos(np.pi * a * b)
    value = 10.0 * np.sin(np.pi * a * b) + 20.0 * (c - 0.5) ** 2 + 10.0 * d + 5.0 * e
    partials = [slope * b, slope * a, 40.0 * (c - 0.5), np.full_like(d, 10.0), np.full_like(e, 5.0)]
    return value[:, None], np.stack(partials, axis=1)[:, None]


FRIEDMAN = LearningProblem(
    name="friedman",
    title="Friedman's first function without its idle inputs",
    inputs=(Variable("x", (5,), lower=0.0, upper=1.0),),
    outputs=(Variable("f"),),
    evaluate=friedman,
    sizes=(30, 100, 200),
    source="Friedman (1991), Multivariate adaptive regression splines, doi 10.1214/aos/1176347963",
)
