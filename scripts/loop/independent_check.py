"""First-order conditions at a point, checked by values alone; for `loop.false_certificates`.

The check shares no code with `gradopt.optimality.kkt` and evaluates no partials: gradients are finite differences of
the responses, multipliers are from bounded least squares over the active bounds and constraints. `judge` is the same
with given derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear

MARGIN = 10.0
"""Factor on the tolerances of a certificate; by hand.

Multipliers may be least in another norm (n <= 17: up to sqrt(17) = 4 times), a bound may be up to a tolerance away, and
finite differences are not exact.
"""

STEP = 1e-3
"""Step of the finite differences, relative to max(1, |x|); by hand.

The finite differences are of fourth order, so exact for quartics, with round-off near 1e-12.
"""


@dataclass(frozen=True)
class Verdict:
    """Result of the check.

    Attributes:
        agrees: Whether feasibility and stationarity are within `MARGIN` of the tolerances.
        feasibility: Largest violation of a bound by max(1, |bound|).
        stationarity: Largest |residual_j| / max(1, |gradient_j|).
        error: Estimated error of the check: largest difference of the derivatives by two steps, over
            max(1, |gradient_j|) or the length of the row.
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
        responses: Function from x (d,) to the true objective and constraints (1 + m,), without noise.
        x: Point (d,).
        bounds: Lower and upper bounds of x, each (d,).
        limits: Lower and upper bounds of the constraints, each (m,).
        tolerance: Tolerance of the certificate, of stationarity.
        feasibility_tolerance: Tolerance of the certificate, of feasibility.

    Returns:
        The verdict. Minima, maxima and saddles all satisfy the conditions.
    """
    values = responses(x)
    rough, rows = (finite_differences(responses, x, step) for step in (STEP, 0.5 * STEP))
    of_gradient = np.abs(rough - rows)[0] / np.maximum(1.0, np.abs(rows[0]))
    size = np.linalg.norm(rows[1:], axis=1)
    of_rows = np.abs(rough - rows)[1:].max(axis=1, initial=0.0) / np.maximum(size, 1e-12)
    error = float(np.append(of_gradient, of_rows).max())
    return replace(judge(values, rows, x, bounds, limits, tolerance, feasibility_tolerance), error=error)


def judge(
    values: np.ndarray,
    rows: np.ndarray,
    x: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    limits: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    feasibility_tolerance: float,
) -> Verdict:
    """Judge a point whose derivatives are known.

    Args:
        values: Objective and constraints (1 + m,).
        rows: Their derivatives (1 + m, d).
        x: Point (d,).
        bounds: Lower and upper bounds of x, each (d,).
        limits: Lower and upper bounds of the constraints, each (m,).
        tolerance: Tolerance of the certificate, of stationarity.
        feasibility_tolerance: Tolerance of the certificate, of feasibility.

    Returns:
        The verdict, with an error of zero.
    """
    gradient = rows[0]
    weight = np.maximum(1.0, np.abs(gradient))
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
    return Verdict(bool(fine), feasibility, stationarity, 0.0)


def finite_differences(responses: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float) -> np.ndarray:
    """Return derivatives (1 + m, d) by central finite differences of fourth order."""
    columns = []
    for j in range(x.size):
        h = np.zeros_like(x)
        h[j] = step * max(1.0, abs(x[j]))
        near, far = responses(x + h) - responses(x - h), responses(x + 2.0 * h) - responses(x - 2.0 * h)
        columns.append((8.0 * near - far) / (12.0 * h[j]))
    return np.array(columns).T
