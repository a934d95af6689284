"""The first-order optimality conditions of a constrained minimum, measured on flat arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear, nnls

from gradopt.errors import InputError, ShapeError, explain
from gradopt.optimality.problem import Limits, Responses, Scales

TOLERANCE = 1e-4
"""Default limit of stationarity and complementarity, scaled."""

FEASIBILITY_TOLERANCE = 1e-6
"""Default limit of violations, scaled: the usual accuracy of optimizers."""

_RANK = 1e-10  # part of a unit vector that is independent of others below which it counts as their combination; by hand


@dataclass(frozen=True, eq=False)
class KKT:
    """How far a point is from the Karush-Kuhn-Tucker conditions, see `kkt`.

    Entries are the constraints, then the design variables with their bounds. At a point that is not finite all
    measures are infinite and all arrays NaN.

    Attributes:
        certified: Whether the three measures are within their tolerances.
        feasibility: Largest violation of a constraint or bound, divided by max(1, |bound|).
        stationarity: Largest |residual_j| / max(1, |gradient_j|).
        complementarity: Largest min(force, distance) over entries that carry a multiplier.
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.
        multipliers: Of the constraints (m,): >= 0 at an upper bound, <= 0 at a lower one.
        bound_multipliers: Of the bounds of the design variables (n,), with the same signs.
        residual: gradient + jacobian' multipliers + bound_multipliers (n,).
        active: Of the constraints (m,): 1 at the upper bound, -1 at the lower, 2 where both are the same, 0 inside.
        bound_active: Of the bounds of the design variables (n,), likewise.
        worst_feasibility: Index of the entry with the largest violation, or None where there is none.
        worst_stationarity: Index of the design variable with the largest residual, or None where it is zero.
        worst_complementarity: Index of the entry with the largest product, or None where all are zero.
        scale_known: Whether the scale of the objective is known; where it is not, each residual is measured by the
            gradient of its own design variable alone.
    """

    certified: bool
    feasibility: float
    stationarity: float
    complementarity: float
    tolerance: float
    feasibility_tolerance: float
    multipliers: np.ndarray
    bound_multipliers: np.ndarray
    residual: np.ndarray
    active: np.ndarray
    bound_active: np.ndarray
    worst_feasibility: int | None
    worst_stationarity: int | None
    worst_complementarity: int | None
    scale_known: bool = True

    @property
    def finite(self) -> bool:
        """Whether all values and derivatives were finite numbers."""
        return math.isfinite(self.feasibility)


def kkt(
    u: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    gradient: np.ndarray,
    c: np.ndarray,
    c_lower: np.ndarray,
    c_upper: np.ndarray,
    jacobian: np.ndarray,
    tolerance: float = TOLERANCE,
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE,
    error: np.ndarray | None = None,
    scale_known: bool = True,
) -> KKT:
    """Measure the optimality conditions of min f(u) with lower <= u <= upper and c_lower <= c(u) <= c_upper.

    Multipliers make `gradient + jacobian' multipliers + bound_multipliers` as small as they can by nonnegative least
    squares: they push from a bound to the inside only, and not at all from bounds that are far. A near bound takes
    part, but |multiplier| * gap is a residual as well, so that a force on a bound that is not quite reached shows up
    as complementarity.

    All is meant in a scaling in which design variables, objective and constraints are of order one:

    - feasibility: the violation by max(1, |bound|);
    - stationarity: each residual by max(1, |gradient_j|) of the same design variable, so that a steep
      direction does not loosen another one; not by the multipliers, which are huge where constraints degenerate;
    - complementarity: min(force, distance), where force is |multiplier| times the length of the constraint's gradient,
      and distance how far the design variables must go along the other active constraints until the gap is closed.

    The measures do not change when constraints and design variables are reordered, when c is negated with its bounds,
    or when u is shifted; stationarity and complementarity not when a constraint is rescaled, while the gradients of
    active constraints are linearly independent: where they are not, the gap itself counts. Feasibility is relative to
    bounds above 1, so that a shift or another scale of these changes it. All measures change with the scaling of f and
    u: an objective whose gradient is everywhere below the tolerance is stationary everywhere.

    Args:
        u: Design variables (n,).
        lower: Their lower bounds (n,), -inf where there is none.
        upper: Their upper bounds (n,), inf where there is none; equal to `lower` for a fixed variable.
        gradient: Of the objective (n,).
        c: Constraints (m,), m may be 0.
        c_lower: Their lower bounds (m,), -inf where there is none.
        c_upper: Their upper bounds (m,), inf where there is none; equal to `c_lower` for an equality.
        jacobian: dc/du (m, n).
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.
        error: Estimated absolute errors (1 + m, n) of the gradient and of the Jacobian's rows; None for none. What they
            may change in a residual, |error| weighted with the multipliers, is added to its size.
        scale_known: Whether a gradient of 1 counts as one. Without that, each residual is measured by |gradient_j| of
            its own design variable alone.

    Returns:
        The measures, the multipliers and the verdict. Minima, saddles and maxima are not distinguished.

    Raises:
        InputError: If a tolerance is not a positive number below one.
        ShapeError: If the arrays do not fit together.
    """
    for name, limit in (("tolerance", tolerance), ("feasibility_tolerance", feasibility_tolerance)):
        if not 0.0 < limit < 1.0:
            raise InputError(explain(name, "be a positive number below 1", limit, "Leave it out for the default."))
    u, c = np.asarray(u, dtype=float), np.asarray(c, dtype=float)
    n, m = u.size, c.size
    arrays = {"u": u, "lower": lower, "upper": upper, "gradient": gradient, "c": c, "c_lower": c_lower}
    shapes = dict.fromkeys(arrays, (n,)) | {"c": (m,), "c_lower": (m,), "c_upper": (m,), "jacobian": (m, n)}
    if error is not None:
        arrays["error"], shapes["error"] = error, (1 + m, n)
    for name, array in (arrays | {"c_upper": c_upper, "jacobian": jacobian}).items():
        if np.shape(array) != shapes[name]:
            remedy = "Pass flat arrays of n design variables and m constraints, and the Jacobian as (m, n)."
            raise ShapeError(explain(name, f"have shape {shapes[name]}", np.shape(array), remedy))

    gradient, jacobian = np.asarray(gradient, dtype=float), np.asarray(jacobian, dtype=float)
    value, low, high = np.append(c, u), np.append(c_lower, lower), np.append(c_upper, upper)
    rows = np.vstack([jacobian, np.eye(n)])
    numbers = (value, gradient, rows, np.nan_to_num(low, nan=math.nan, posinf=0.0, neginf=0.0))
    known = all(np.isfinite(array).all() for array in numbers) and not np.isnan(high).any()
    if known:
        violation = np.maximum(_excess(low - value, low), _excess(value - high, high))
        # Bounds within the tolerance decide; with bounds farther off, the measures say what a failure is about.
        weight = np.maximum(float(scale_known), np.abs(gradient))
        near, wide = (_near(value, low, high, rows, window * tolerance) for window in (1.0, tolerance**-0.5))
        windows = (near, wide) if len(wide.entry) > len(near.entry) else (near,)
        fits = [_fit(value, low, high, gradient, rows, weight, tolerance, sides) for sides in windows]
        fit = min(fits, key=_Fit.worst)
        if error is not None:
            unsure = error[0] + np.abs(fit.multipliers[:m]) @ error[1:]
            fit = fit._replace(imbalance=fit.imbalance + _over(unsure, weight))
    else:
        violation = np.full(m + n, math.inf)
        nothing = np.full(m + n, math.nan)
        fit = _Fit(nothing, np.full(n, math.nan), np.full(n, math.inf), violation, np.zeros(m + n, dtype=int))
    feasibility = float(violation.max(initial=0.0))
    stationarity, complementarity = float(fit.imbalance.max(initial=0.0)), float(fit.slack.max(initial=0.0))
    return KKT(
        certified=feasibility <= feasibility_tolerance and fit.worst() <= tolerance,
        feasibility=feasibility,
        stationarity=stationarity,
        complementarity=complementarity,
        tolerance=tolerance,
        feasibility_tolerance=feasibility_tolerance,
        multipliers=fit.multipliers[:m],
        bound_multipliers=fit.multipliers[m:],
        residual=fit.residual,
        active=fit.active[:m],
        bound_active=fit.active[m:],
        worst_feasibility=_largest(violation),
        worst_stationarity=_largest(fit.imbalance),
        worst_complementarity=_largest(fit.slack),
        scale_known=scale_known,
    )


def scaled_kkt(point: Responses, limits: Limits, scales: Scales, tolerance: float, feasibility_tolerance: float) -> KKT:
    """Measure the optimality conditions at a point by scales, so that no measure depends on the units of the problem.

    The measures are those of `kkt` in design variables, objective and constraints divided by their scales.

    Args:
        point: Responses at the point.
        limits: Bounds.
        scales: What counts as one.
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.

    Returns:
        The measures; multipliers and residual in the driver's scaling.
    """
    length, size = scales.lengths, scales.constraints
    known = math.isfinite(scales.objective)
    # Without a scale any unit of the force will do, as nothing is compared with it.
    steepest = float(np.abs(point.gradient * length).max(initial=0.0))
    unit = scales.objective if known else steepest if 0.0 < steepest < math.inf else 1.0
    error = None
    if point.error is not None:
        error = point.error * length / np.append(unit, size)[:, None]
    found = kkt(
        point.u / length,
        limits.lower / length,
        limits.upper / length,
        point.gradient * length / unit,
        point.c / size,
        limits.c_lower / size,
        limits.c_upper / size,
        point.jacobian * length / size[:, None],
        tolerance,
        feasibility_tolerance,
        error,
        known,
    )
    return replace(
        found,
        multipliers=found.multipliers * unit / size,
        bound_multipliers=found.bound_multipliers * unit / length,
        residual=found.residual * unit / length,
    )


class _Fit(NamedTuple):
    """The multipliers (m + n,) and what they leave: see the fields of `KKT`."""

    multipliers: np.ndarray
    residual: np.ndarray
    imbalance: np.ndarray
    slack: np.ndarray
    active: np.ndarray

    def worst(self) -> float:
        return float(max(self.imbalance.max(initial=0.0), self.slack.max(initial=0.0)))


def _fit(
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    gradient: np.ndarray,
    rows: np.ndarray,
    weight: np.ndarray,
    tolerance: float,
    sides: _Sides,
) -> _Fit:
    """Fit multipliers of the bounds that may carry one."""
    multipliers = _multipliers(gradient, rows, sides)
    residual = gradient + rows.T @ multipliers
    imbalance = _over(np.abs(residual), weight)
    slack = _complementarity(rows, sides, multipliers, tolerance)
    return _Fit(multipliers, residual, imbalance, slack, _active(value, low, high, sides, multipliers, tolerance))


class _Sides(NamedTuple):
    """The bounds that may carry a multiplier.

    Attributes:
        equal: Indices of entries whose lower bound is the upper one.
        entry: Index of the entry of each other bound that is near (k,).
        sign: 1 for an upper bound, -1 for a lower one (k,).
        gap: How far inside the entry is, 0 where it is outside (k,).
        length: Of the entry's gradient (k,).
    """

    equal: np.ndarray
    entry: np.ndarray
    sign: np.ndarray
    gap: np.ndarray
    length: np.ndarray


def _near(value: np.ndarray, low: np.ndarray, high: np.ndarray, rows: np.ndarray, distance: float) -> _Sides:
    """Bounds within this distance of the point, by first order in u."""
    length = np.linalg.norm(rows, axis=1)
    equal = (low == high) & (length > 0.0)
    found: list[tuple[int, int, float]] = []
    for side, room in ((1, high - value), (-1, value - low)):
        near = (room <= distance * length) & (length > 0.0) & (low != high)
        found += [(int(i), side, max(float(room[i]), 0.0)) for i in np.flatnonzero(near)]
    entry = np.array([index for index, _, _ in found], dtype=int)
    sign = np.array([side for _, side, _ in found], dtype=float)
    gap = np.array([room for _, _, room in found], dtype=float)
    return _Sides(np.flatnonzero(equal), entry, sign, gap, length[entry])


def _multipliers(gradient: np.ndarray, rows: np.ndarray, sides: _Sides) -> np.ndarray:
    """Multipliers of all entries: free on equalities, pushing inwards on near bounds, zero elsewhere."""
    multipliers = np.zeros(len(rows))
    equal = _unit(rows[sides.equal]).T
    normals = rows[sides.entry].T * (sides.sign / sides.length)
    free = _orthonormal(equal)  # what the equalities can balance is left to them
    if sides.entry.size:
        matrix = np.vstack([normals - free @ (free.T @ normals), np.diag(sides.gap / sides.length)])
        target = np.append(free @ (free.T @ gradient) - gradient, np.zeros(sides.entry.size))
        force = _nonnegative(matrix, target)
        np.add.at(multipliers, sides.entry, sides.sign * force / sides.length)
        gradient = gradient + normals @ force
    if sides.equal.size:
        force = np.linalg.lstsq(equal, -gradient, rcond=_RANK)[0]
        multipliers[sides.equal] = force / np.linalg.norm(rows[sides.equal], axis=1)
    return multipliers


def _nonnegative(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The x >= 0 with the least ||matrix x - target||."""
    try:
        return nnls(matrix, target, maxiter=50 * (matrix.shape[1] + 1))[0]
    except RuntimeError:  # no convergence; approximate multipliers can only raise the measures
        return lsq_linear(matrix, target, bounds=(0.0, np.inf), tol=1e-12).x


def _complementarity(rows: np.ndarray, sides: _Sides, multipliers: np.ndarray, tolerance: float) -> np.ndarray:
    """min(force, distance) of each entry."""
    slack = np.zeros(len(rows))
    force = sides.sign * multipliers[sides.entry] * sides.length
    carrying = np.flatnonzero(force > tolerance)
    entries = np.append(sides.equal, sides.entry[carrying])
    reach = sides.length.copy()
    if carrying.size:
        reach[carrying] *= _independent_parts(_unit(rows[entries]))[sides.equal.size :]
        # Where the others could carry the force, gap and distance must both be small.
        reach = np.where(reach > 0.0, reach, np.minimum(sides.length, 1.0))
    np.maximum.at(slack, sides.entry, np.minimum(np.maximum(force, 0.0), sides.gap / reach))
    return slack


def _independent_parts(normals: np.ndarray) -> np.ndarray:
    """Length (k,) of what each unit vector of (k, n) has beside all others; 0 where it is a combination of them."""
    left, size, right = np.linalg.svd(normals, full_matrices=False)
    kept = size > _RANK * size.max(initial=0.0)
    inverse = (left[:, kept] / size[kept]) @ right[kept]
    independent = np.sum(left[:, kept] ** 2, axis=1) > 1.0 - _RANK
    return independent / np.linalg.norm(inverse, axis=1)


def _active(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, sides: _Sides, multipliers: np.ndarray, tolerance: float
) -> np.ndarray:
    """Which bound each entry is at, within the tolerance; of two that close the one that carries the multiplier."""
    active = np.where(low == high, 2, np.where(value <= low, -1, np.where(value >= high, 1, 0)))
    for entry, sign, gap, length in zip(sides.entry, sides.sign, sides.gap, sides.length, strict=True):
        if multipliers[entry] * sign > 0.0 or (gap <= tolerance * length and not active[entry]):
            active[entry] = int(sign)
    return active


def _excess(violation: np.ndarray, bound: np.ndarray) -> np.ndarray:
    size = np.where(np.isfinite(bound), np.maximum(1.0, np.abs(bound)), 1.0)
    return np.maximum(violation / size, 0.0)


def _over(size: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sizes by their weights; 0 where both are 0."""
    return np.divide(size, weight, out=np.where(size > 0.0, np.inf, 0.0), where=weight > 0.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis (n, r) of the space that the columns (n, k) span."""
    basis, size, _ = np.linalg.svd(columns, full_matrices=False)
    return basis[:, size > _RANK * size.max(initial=0.0)]


def _largest(measure: np.ndarray) -> int | None:
    return int(measure.argmax()) if measure.any() else None
