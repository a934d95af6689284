"""Scales by which optimality conditions are measured, so that these do not depend on the units of a problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gradopt.optimality.kkt import KKT, scaled_kkt
from gradopt.optimality.problem import Limits, Responses, Scales

_PART = (
    0.25  # part of a change over the lengths that counts as one: so |u|^2 near 1 is measured about as it is; by hand
)
# Ratios of a change to what the slopes at both ends make of it up to which a point is explored; by hand. It is
# 2 from the minimum of a quartic, and half the exponent far out on an exponential.
_WALKED = 3.0  # of an iterate
_TRIED = 1.5  # of a rejected point, which may be anywhere
_BESIDE = 0.5  # part of the widest exploration that counts for a variable that did not move itself; by hand
_ALONE = 0.01  # part of the unit of its trust region that a length has at least before anything is explored; by hand
_LOOSE = 1e4  # range, in units of the trust region, from which it says nothing; by hand
_NEAR = 0.02  # distance, in lengths, up to which a point is near this one; by hand
_RESOLVED = 1e-4  # distance below which a change is round-off or noise where a farther point is known; by hand
_FLAT = 0.01  # least slope of a constraint, as a part of its typical one; by hand
_LEAST = 1e-6  # least scale of the objective, as a part of its steepest change over one length; by hand


class Explored(NamedTuple):
    """Points that a run has evaluated.

    Attributes:
        iterates: Points that were current iterates.
        tried: Other points, with exact gradients.
        far: Ends of steps that were far too long, with exact gradients: they tell lengths, nothing of the objective.
    """

    iterates: tuple[Responses, ...] = ()
    tried: tuple[Responses, ...] = ()
    far: tuple[Responses, ...] = ()


def conditions_at(
    at: Responses, points: Explored, limits: Limits, tolerance: float, feasibility_tolerance: float
) -> tuple[KKT, Scales]:
    """Measure the optimality conditions at a point, by the scales that a run has seen.

    A declared scale (`ref`) is 1 in the driver's scaling. Without one:

    - the length of a design variable is its size or the range that was explored (by iterates if there
      are two), whichever is more, and at most the range between its bounds;
    - the scale of the objective is a quarter of the median, over the explored points, of the change of the Lagrangian
      to this point, extrapolated to one length, from near points by its square to a fiftieth of a length first. Half of
      the points of a run are near its end: a steep beginning loosens little. The Lagrangian leaves out what constraints
      and bounds balance, so that a steep direction that they hold does not loosen the others. Without another point the
      scale is not known;
    - that of a constraint is a quarter of what its slopes change over the lengths, but at most of the median of that
      over the explored points, and at least of a hundredth of it: a constraint may be flat at its bound.

    A point is explored where the slopes at both ends explain the change of the Lagrangian to it (trapezoidal rule, up
    to a factor): one that was tried far out, where a function grows exponentially, gives no scale.

    None of these changes when a variable, the objective or a constraint is written in other units.

    Args:
        at: Responses at the point.
        points: Points that were evaluated; iterates without exact gradients count as explored.
        limits: Bounds, and the scales that were declared.
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.

    Returns:
        The conditions and the scales.
    """
    rough = without_objective(at, (), limits)
    found = scaled_kkt(at, limits, rough, tolerance, feasibility_tolerance)
    if not found.finite:
        return found, rough
    scales = scales_of(at, points, limits, found.multipliers, found.bound_multipliers)
    return scaled_kkt(at, limits, scales, tolerance, feasibility_tolerance), scales


def scales_of(
    at: Responses, points: Explored, limits: Limits, multipliers: np.ndarray, bound_multipliers: np.ndarray
) -> Scales:
    """Measure the scales about a point, see `conditions_at`.

    Args:
        at: Responses at the point.
        points: Points that were evaluated.
        limits: Bounds, and the scales that were declared.
        multipliers: Multipliers of the constraints (p,) at the point.
        bound_multipliers: Multipliers of the bounds (k,).

    Returns:
        The scales.
    """

    def among(points: Sequence[Responses], factor: float) -> list[Responses]:
        """The points that are explored."""
        changes, _, expected = _along(at, points, multipliers, bound_multipliers)
        least, most = np.minimum(changes / factor, changes * factor), np.maximum(changes / factor, changes * factor)
        told = (least <= expected) & (expected <= most)
        others = ((point.u != at.u).any() for point in points)
        return [
            point for point, so, other in zip(points, told, others, strict=True) if other and (so or not point.exact)
        ]

    walked, tried = among(points.iterates, _WALKED), among(points.tried, _TRIED)
    others = walked + tried
    found = without_objective(at, walked or tried + among(points.far, _TRIED), limits)
    if limits.declared is not None and np.isfinite(limits.declared.objective):
        return replace(found, objective=limits.declared.objective)
    if not others:
        return found
    changes, bends, _ = _along(at, others, multipliers, bound_multipliers)
    reach = np.abs((np.array([point.u for point in others]) - at.u) / found.lengths).max(axis=1)
    # Beside an optimum the Lagrangian changes with the square of the distance, as far as its slopes tell.
    bends = np.where([point.exact for point in others], np.abs(bends), 0.0) / reach
    changes = np.abs(changes) / reach
    changes = np.maximum(changes, np.where(reach < _NEAR, bends * _NEAR / reach, 0.0))
    if (reach >= _RESOLVED).any():
        changes = changes[reach >= _RESOLVED]
    if not changes.any():
        return found
    objective = _PART * float(np.median(changes[changes > 0.0]))
    least = _LEAST * float(np.abs(at.gradient * found.lengths).max(initial=0.0))
    return replace(found, objective=max(objective, least) or np.nan)


def _along(
    at: Responses, points: Sequence[Responses], multipliers: np.ndarray, bound_multipliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the Lagrangian from a point to others.

    Returns:
        Its changes (n,), the parts of them by which its slopes bend it on the way, and what its slopes at both ends
        make of the changes.
    """
    if not points:
        return np.empty(0), np.empty(0), np.empty(0)
    steps = np.array([point.u for point in points]) - at.u
    turned = np.array([point.gradient for point in points]) - at.gradient
    turned = turned + multipliers @ (np.array([point.jacobian for point in points]) - at.jacobian)
    bends = 0.5 * (steps * turned).sum(axis=1)
    held = steps @ bound_multipliers
    changes = np.array([point.f for point in points]) - at.f
    changes = changes + (np.array([point.c for point in points]) - at.c) @ multipliers + held
    return changes, bends, steps @ (at.gradient + multipliers @ at.jacobian) + bends + held


def without_objective(at: Responses, explored: Sequence[Responses], limits: Limits) -> Scales:
    """Measure the scales without that of the objective, which is NaN."""
    lengths = _lengths(at.u, np.array([at.u, *(point.u for point in explored)]), limits)
    if limits.declared is not None:
        lengths = np.where(np.isfinite(limits.declared.lengths), limits.declared.lengths, lengths)
    slopes = np.array([np.abs(point.jacobian) @ lengths for point in (at, *explored)])
    typical = np.median(slopes, axis=0)
    slopes = np.clip(slopes[0], _FLAT * typical, typical)
    bounds = np.where(np.isfinite(limits.c_upper), np.abs(limits.c_upper), np.abs(limits.c_lower))
    constraints = np.where(slopes > 0.0, _PART * slopes, np.where(bounds > 0.0, bounds, 1.0))
    if limits.declared is not None:
        constraints = np.where(np.isfinite(limits.declared.constraints), limits.declared.constraints, constraints)
    return Scales(lengths, np.nan, constraints)


def scales_at(at: Responses, limits: Limits) -> Scales:
    """Estimate the scales from one point alone: that of the objective is its size, NaN where that is 0."""
    found = without_objective(at, (), limits)
    declared = np.nan if limits.declared is None else limits.declared.objective
    return replace(found, objective=declared if np.isfinite(declared) else abs(at.f) or np.nan)


def _lengths(u: np.ndarray, points: np.ndarray, limits: Limits) -> np.ndarray:
    bounded = np.isfinite(limits.lower) & np.isfinite(limits.upper) & (limits.upper > limits.lower)
    width = np.where(bounded, limits.upper, 1.0) - np.where(bounded, limits.lower, 0.0)
    explored = points.max(axis=0) - points.min(axis=0)
    ranged = bounded & (width <= _LOOSE * limits.width)
    if explored.any():  # a range, unlike the size of a variable that has none, says how far it was allowed to move
        beside = np.where(ranged, _BESIDE * limits.width * float((explored / limits.width).max()), 0.0)
    else:
        beside = np.where(ranged, _ALONE * limits.width, limits.width)
    size = np.maximum(np.abs(u), np.maximum(explored, beside))
    size = np.where(size > 0.0, size, limits.width)
    return np.where(bounded, np.minimum(size, width), size)
