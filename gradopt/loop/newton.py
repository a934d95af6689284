"""Newton's method on the KKT conditions of a model, from a point near its optimum: to the last digits.

A method that compares values of the objective ends where they differ by round-off, which leaves half of the digits of
the optimum. The gradients of the model have all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.optimality.kkt import KKT, scaled_kkt
from gradopt.optimality.problem import Limits, Responses, Scales

_STEP = 1e-6  # step of the finite differences of the gradient, in parts of the lengths: half of the digits
_PASSES = 4  # steps with one Hessian: each gains some digits; by hand
_ENOUGH = 1e-11  # residual, in parts of the scales, that round-off leaves; by hand
_GAIN = 0.5  # factor by which a step has to lower the residual at least; by hand
_LARGEST = 1e-2  # residual above which the active constraints may not be those of the optimum; by hand
_TOLERANCE = 1e-6  # distance from a bound, in parts of the scales, within which it may be active; by hand


def newton(
    model: Callable[[np.ndarray], Responses], end: Responses, limits: Limits, scales: Scales, most: int
) -> Responses:
    """Improve a point near a minimum of a model.

    Args:
        model: Responses at u (k,).
        end: Responses of the model at the point.
        limits: Bounds, with those of the trust region.
        scales: What counts as one.
        most: Largest number of free design variables: the Hessian takes one evaluation of the model for each.

    Returns:
        A point with a lower residual of the KKT conditions; the same point where none was found.
    """
    at = _conditions(end, limits, scales)
    free = np.flatnonzero(at.bound_active == 0)
    if not at.finite or not _ENOUGH < _residual(at) < _LARGEST or not 0 < len(free) <= most:
        return end
    active = np.flatnonzero((at.active != 0) & ((at.multipliers != 0.0) | limits.equal))
    try:
        hessian = _hessian(model, end, at, scales, free)
        for _ in range(_PASSES):
            step = _step(end, at, limits, scales, hessian, free, active)
            if step is None:
                break
            u = end.u.copy()
            u[free] += step
            found = model(np.clip(u, limits.lower, limits.upper))
            there = _conditions(found, limits, scales)
            if not there.finite or not _residual(there) < _GAIN * _residual(at):
                break
            end, at = found, there
            if _residual(at) <= _ENOUGH:
                break
    except EvaluationError:  # the exact rest of the model fails beside the point
        return end
    return end


def _conditions(point: Responses, limits: Limits, scales: Scales) -> KKT:
    return scaled_kkt(point, limits, scales, _TOLERANCE, _TOLERANCE)


def residual_of(point: Responses, limits: Limits, scales: Scales) -> float:
    """Return the largest measure of the KKT conditions at a point, in parts of the scales."""
    return _residual(_conditions(point, limits, scales))


def _residual(at: KKT) -> float:
    return max(at.feasibility, at.stationarity, at.complementarity)


def _hessian(
    model: Callable[[np.ndarray], Responses], end: Responses, at: KKT, scales: Scales, free: np.ndarray
) -> np.ndarray:
    """Second derivatives (f, f) of the Lagrangian along the free design variables, in parts of their lengths."""

    def slope(point: Responses) -> np.ndarray:
        return np.asarray((point.gradient + at.multipliers @ point.jacobian)[free] * scales.lengths[free])

    here, columns = slope(end), []
    for k in free:
        u = end.u.copy()
        u[k] += _STEP * scales.lengths[k]
        columns.append((slope(model(u)) - here) / _STEP)
    found = np.array(columns)
    return 0.5 * (found + found.T)


def _step(
    end: Responses,
    at: KKT,
    limits: Limits,
    scales: Scales,
    hessian: np.ndarray,
    free: np.ndarray,
    active: np.ndarray,
) -> np.ndarray | None:
    """Step of the free design variables, None where the Hessian has no minimum along the active constraints."""
    lengths = scales.lengths[free]
    sizes = scales.constraints[active]
    normals = end.jacobian[np.ix_(active, free)] * lengths / sizes[:, None]
    nearest = np.clip(end.c, limits.c_lower, limits.c_upper)[active]
    bounds = np.where(at.active[active] > 0, limits.c_upper[active], limits.c_lower[active])
    beyond = (end.c[active] - np.where(np.isfinite(bounds), bounds, nearest)) / sizes
    # Null space and range of the normals: the step has a part that closes the gaps and one along the constraints.
    across = np.zeros(len(free))
    along = np.eye(len(free))
    if len(active):
        left, values, right = np.linalg.svd(normals)
        rank = int((values > 1e-10 * values.max(initial=0.0)).sum())
        across = -right[:rank].T @ ((left[:, :rank].T @ beyond) / values[:rank])
        along = right[rank:].T
    slope = (end.gradient + at.multipliers @ end.jacobian)[free] * lengths
    if along.shape[1]:
        reduced = along.T @ hessian @ along
        try:
            factor = np.linalg.cholesky(reduced)
        except np.linalg.LinAlgError:
            return None
        pull = -along.T @ (slope + hessian @ across)
        across = across + along @ np.linalg.solve(factor.T, np.linalg.solve(factor, pull))
    return np.asarray(across * lengths)
