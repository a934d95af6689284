"""Negative curvature of the Lagrangian at a point that satisfies the first-order conditions, seen in gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses, Scales

_NEAR = 1.0  # largest distance of a point whose gradient tells of the curvature, in units of the scales; by hand
_QUADRATIC = 0.1  # part of the change of slope along a step that the value may miss for a quadratic; by hand
_ROUND_OFF = 1e-13  # relative error of a value: some hundred times machine precision; by hand
_NEGATIVE = -0.02  # curvature, as a part of the largest, below which it is not the error of few gradients; by hand
_PARALLEL = 0.3  # part of the largest singular value of the steps below which these are too parallel to tell; by hand
_ALONG = 0.1  # part of a step that may leave the active constraints and bounds, along which curvature counts; by hand


def negative_curvature(
    at: Responses, points: Sequence[Responses], limits: Limits, conditions: KKT, scales: Scales
) -> np.ndarray | None:
    """Find a direction along which the point is a maximum, by the gradients of the points about it.

    With steps S to these points and changes Y of the Lagrangian's gradient, S'Y is S'HS. A negative eigenvalue of the
    Hessian H within the span of the steps is negative curvature along a combination of them. Only steps count along
    which values and slopes agree with a quadratic, along the active constraints, of design variables that are not at a
    bound.

    Args:
        at: Responses at the point.
        points: Responses at points about it, with exact gradients.
        limits: Bounds.
        conditions: Optimality conditions at the point.
        scales: Scales by which they were measured.

    Returns:
        A direction (k,) of length 1 in units of the scales, None where none was seen: which is no proof of a minimum.

    References:
        Nocedal & Wright (2006), Numerical Optimization, section 12.5 (second-order conditions).
    """
    lengths = scales.lengths

    def slope(point: Responses) -> np.ndarray:
        found = point.gradient + conditions.multipliers @ point.jacobian + conditions.bound_multipliers
        return np.asarray(found * lengths)

    def change(point: Responses) -> float:
        moved = conditions.bound_multipliers @ (point.u - at.u)
        return float(point.f - at.f + conditions.multipliers @ (point.c - at.c) + moved)

    basis = _free_directions(at, limits, conditions, lengths)
    pairs = []
    for point in points:
        step = (point.u - at.u) / lengths
        reach = float(np.linalg.norm(step))
        if not 0.0 < reach <= _NEAR * np.sqrt(len(step)):
            continue
        bend = slope(point) - slope(at)
        expected, found = 0.5 * float((slope(point) + slope(at)) @ step), change(point)
        noise = _ROUND_OFF * (abs(point.f) + abs(at.f))
        quadratic = abs(found - expected) <= _QUADRATIC * abs(float(bend @ step)) + noise
        if quadratic and np.linalg.norm(step - basis @ (basis.T @ step)) <= _ALONG * reach:
            pairs.append((reach, step / reach, bend / reach))
    if not pairs:
        return None
    nearest = sorted(pairs, key=lambda pair: pair[0])[: len(lengths) + 1]
    steps, changes = (np.array([pair[index] for pair in nearest]).T for index in (1, 2))
    axes, sizes, mixed = np.linalg.svd(steps, full_matrices=False)
    kept = sizes > _PARALLEL * sizes[0]
    axes, mixed = axes[:, kept], mixed[kept] / sizes[kept, None]
    products = mixed @ (steps.T @ changes) @ mixed.T
    values, vectors = np.linalg.eigh(0.5 * (products + products.T))
    if values[0] >= _NEGATIVE * float(np.abs(values).max()):
        return None
    return np.asarray(axes @ vectors[:, 0])


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
