"""Whether a point satisfies the first-order conditions, judged from values alone.

Shares no code with `gradopt.optimality.kkt`, and asks for no partials: it takes differences of the responses, and
multipliers from bounded least squares over what is active.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

MARGIN = 10.0
"""Times its tolerance a certificate may be wrong: multipliers may be least in another norm (n <= 17: up to
sqrt(17) = 4 times), a bound may be up to a tolerance away, and differences are not exact."""

STEP = 1e-3
"""Of the differences, times max(1, |x|): of fourth order, so exact for quartics, and with round-off near 1e-12."""


@dataclass(frozen=True)
class Verdict:
    """What the check found.

    Attributes:
        agrees: Whether feasibility and stationarity are within `MARGIN` of the tolerances.
        feasibility: Largest violation of a bound by max(1, |bound|).
        stationarity: Largest |residual_j| / max(1, |gradient_j|).
        error: Largest difference of derivatives between two steps, by max(1, |gradient_j|) or the row's length; what
            the check itself may be wrong by.
    """

    agrees: bool
    feasibility: float
    stationarity: float
    error: float


def check(
    responses: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    limits: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    feasibility_tolerance: float,
) -> Verdict:
    """Check a point.

    Args:
        responses: Objective and constraints (1 + m,) at x (d,), true and without noise.
        x: The point (d,).
        bounds: Lower and upper bounds of x, each (d,).
        limits: Lower and upper bounds of the constraints, each (m,).
        tolerance: What the certificate was asked, of stationarity.
        feasibility_tolerance: Likewise.

    Returns:
        The verdict. Minima, maxima and saddles are not told apart.
    """
    values, rough, rows = responses(x), differences(responses, x, STEP), differences(responses, x, 0.5 * STEP)
    gradient = rows[0]
    weight = np.maximum(1.0, np.abs(gradient))
    of_gradient = np.abs(rough - rows)[0] / weight
    size = np.linalg.norm(rows[1:], axis=1)
    of_rows = np.abs(rough - rows)[1:].max(axis=1, initial=0.0) / np.maximum(size, 1e-12)
    value, normals = np.append(values[1:], x), np.vstack([rows[1:], np.eye(x.size)])
    low, high = np.append(limits[0], bounds[0]), np.append(limits[1], bounds[1])
    feasibility = 0.0
    for beyond, bound in ((low - value, low), (value - high, high)):
        finite = np.isfinite(bound)
        feasibility = float((beyond[finite] / np.maximum(1.0, np.abs(bound[finite]))).max(initial=feasibility))

    window = MARGIN * tolerance * np.linalg.norm(normals, axis=1)
    at_high, at_low, equal = high - value <= window, value - low <= window, low == high
    columns, least = [], []
    for row, upper, lower, both in zip(normals, at_high, at_low, equal, strict=True):
        if both:
            columns.append(row)
            least.append(-np.inf)
        else:
            columns += [row] * bool(upper) + [-row] * bool(lower)
            least += [0.0] * (bool(upper) + bool(lower))
    residual = gradient / weight
    if columns:
        matrix = np.array(columns).T / weight[:, None]
        length = np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
        fit = lsq_linear(matrix / length, -residual, bounds=(np.array(least), np.inf), tol=1e-14, max_iter=1000)
        residual = residual + matrix / length @ fit.x
    stationarity = float(np.abs(residual).max())
    fine = feasibility <= MARGIN * feasibility_tolerance and stationarity <= MARGIN * tolerance
    return Verdict(bool(fine), feasibility, stationarity, float(np.append(of_gradient, of_rows).max()))


def differences(responses: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float) -> np.ndarray:
    """Derivatives (1 + m, d) by central differences of fourth order."""
    columns = []
    for j in range(x.size):
        h = np.zeros_like(x)
        h[j] = step * max(1.0, abs(x[j]))
        near, far = responses(x + h) - responses(x - h), responses(x + 2.0 * h) - responses(x - 2.0 * h)
        columns.append((8.0 * near - far) / (12.0 * h[j]))
    return np.array(columns).T
