"""The optimization problem on flat arrays, in the driver's scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scales:
    """What counts as one when optimality conditions are measured, in the driver's scaling; NaN where that is not known.

    Attributes:
        lengths: Of the design variables (k,).
        objective: Change of the objective over these lengths.
        constraints: Changes of the constraints over these lengths (p,).
    """

    lengths: np.ndarray
    objective: float
    constraints: np.ndarray


@dataclass(frozen=True, eq=False)
class Limits:
    """Bounds of min f(u) with lower <= u <= upper and c_lower <= c(u) <= c_upper.

    Attributes:
        lower: Lower bounds of the design variables (k,), -inf where there is none.
        upper: Upper bounds (k,), inf where there is none.
        c_lower: Lower bounds of the constraints (p,), equal to `c_upper` for an equality.
        c_upper: Upper bounds (p,).
        width: Length of one unit of the trust region for each design variable (k,), see `gradopt.data.lengths`.
        declared: Scales that were declared by `ref`, 1 in the driver's scaling; None where none were.
    """

    lower: np.ndarray
    upper: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray
    width: np.ndarray
    declared: Scales | None = None

    @property
    def equal(self) -> np.ndarray:
        """Which constraints are equalities, bool (p,)."""
        return self.c_lower == self.c_upper

    def violations(self, c: np.ndarray) -> np.ndarray:
        """How far each constraint is beyond its bounds (p,), 0 where it is within."""
        return np.maximum(np.maximum(self.c_lower - c, c - self.c_upper), 0.0)


@dataclass(frozen=True, eq=False)
class Responses:
    """Objective and constraints with their gradients at one point.

    Attributes:
        u: Design variables (k,).
        f: Objective.
        gradient: Gradient of the objective, df/du (k,).
        c: Constraints (p,).
        jacobian: Jacobian of the constraints, dc/du (p, k).
        exact: Whether the derivatives are the truth's, returned by it or finite-differenced; else they are estimates.
        error: Estimated absolute errors (1 + p, k) of `gradient` and of the rows of `jacobian`; None for none.
    """

    u: np.ndarray
    f: float
    gradient: np.ndarray
    c: np.ndarray
    jacobian: np.ndarray
    exact: bool = True
    error: np.ndarray | None = None

    @property
    def finite(self) -> bool:
        """Whether all entries are finite numbers."""
        parts = (self.gradient, self.c, self.jacobian)
        return math.isfinite(self.f) and all(np.isfinite(part).all() for part in parts)
