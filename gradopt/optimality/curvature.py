"""Negative curvature of the Lagrangian at a point that satisfies the first-order conditions, seen in gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses, Scales

_NEAR = 0.5  # largest distance of a point whose gradient tells of the curvature, in units of the scales; by hand
_NEGATIVE = -0.01  # curvature in units of the scales below which it is not the error of few gradients; by hand
_STEEP = 1e-8  # part of its size below which a symmetric rank-one update is left out: it would divide by nothing


def negative_curvature(
    at: Responses, points: Sequence[Responses], limits: Limits, conditions: KKT, scales: Scales
) -> np.ndarray | None:
    """Find a direction along which the point is a maximum, by the gradients of the points about it.

    The Hessian of the Lagrangian is estimated by symmetric rank-one updates, the nearest point last, along the active
    constraints and the design variables that are not at a bound.

    Args:
        at: Responses at the point.
        points: Responses at points about it, with exact gradients.
        limits: Bounds.
        conditions: Optimality conditions at the point.
        scales: Scales by which they were measured.

    Returns:
        A direction (k,) of length 1 in units of the scales, None where none was seen: which is no proof of a minimum.

    References:
        Nocedal & Wright (2006), Numerical Optimization, sections 6.2 (SR1) and 12.5 (second-order conditions).
    """
    lengths = scales.lengths
    unit = scales.objective if np.isfinite(scales.objective) else 1.0

    def slope(point: Responses) -> np.ndarray:
        found = point.gradient + conditions.multipliers @ point.jacobian + conditions.bound_multipliers
        return np.asarray(found * lengths / unit)

    pairs = []
    for point in points:
        step = (point.u - at.u) / lengths
        reach = float(np.linalg.norm(step))
        if 0.0 < reach <= _NEAR * np.sqrt(len(step)):
            pairs.append((reach, step, slope(point) - slope(at)))
    if not pairs:
        return None
    hessian = np.eye(len(lengths))
    for _, step, change in sorted(pairs, key=lambda pair: -pair[0]):
        rest = change - hessian @ step
        along = float(rest @ step)
        if abs(along) > _STEEP * np.linalg.norm(rest) * np.linalg.norm(step):
            hessian += np.outer(rest, rest) / along
    basis = _free_directions(at, limits, conditions, lengths)
    if not basis.size:
        return None
    values, vectors = np.linalg.eigh(basis.T @ hessian @ basis)
    direction = basis @ vectors[:, 0]
    return direction if values[0] < _NEGATIVE else None


def _free_directions(at: Responses, limits: Limits, conditions: KKT, lengths: np.ndarray) -> np.ndarray:
    """Orthonormal basis (k, r) of the steps along the active constraints that move no variable off its bound."""
    held = (conditions.bound_active != 0) | (limits.lower == limits.upper)
    normals = at.jacobian[conditions.active != 0] * lengths
    rows = np.vstack([normals, np.eye(len(lengths))[held]])
    if not len(rows):
        return np.eye(len(lengths))
    _, size, right = np.linalg.svd(rows)
    rank = int((size > 1e-10 * size.max(initial=0.0)).sum())
    return np.asarray(right[rank:].T)
