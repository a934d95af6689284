"""Rosenbrock's function with its partials."""

from __future__ import annotations

import numpy as np

CITATION = (
    "Rosenbrock (1960), An automatic method for finding the greatest or least value of a function; "
    "set-up in 2-D: Berguin (2024), arXiv 2406.09132, optimization demonstration"
)


def rosenbrock(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate f = sum over i of 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2.

    Args:
        x: Point (d,), d >= 2, without unit.

    Returns:
        f (1,) and its partials (1, d); the minimum is 0 at (1, ..., 1).
    """
    head, tail = x[:-1], x[1:]
    bend = tail - head**2
    slope = np.zeros_like(x)
    slope[:-1] = -400.0 * head * bend - 2.0 * (1.0 - head)
    slope[1:] += 200.0 * bend
    return np.array([np.sum(100.0 * bend**2 + (1.0 - head) ** 2)]), slope[None]
