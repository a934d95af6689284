"""The optimization problem as the loop sees it: flat arrays in the driver's scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Limits:
    """Bounds of min f(u) with lower <= u <= upper and c_lower <= c(u) <= c_upper.

    Attributes:
        lower: Of the design variables (k,), -inf where there is none.
        upper: (k,), inf where there is none.
        c_lower: Of the constraints (p,), equal to `c_upper` for an equality.
        c_upper: (p,).
        width: Length of one unit of the trust region for each design variable (k,): its range, if it has one.
    """

    lower: np.ndarray
    upper: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray
    width: np.ndarray

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
        gradient: df/du (k,).
        c: Constraints (p,).
        jacobian: dc/du (p, k).
        exact: Whether the derivatives are the truth's, given by it or differenced; else they are estimates.
    """

    u: np.ndarray
    f: float
    gradient: np.ndarray
    c: np.ndarray
    jacobian: np.ndarray
    exact: bool = True

    @property
    def finite(self) -> bool:
        """Whether everything is a finite number."""
        return all(bool(np.isfinite(part).all()) for part in (self.f, self.gradient, self.c, self.jacobian))


class Model(Protocol):
    """What the loop asks of the side that knows the truth and the surrogates."""

    @property
    def limits(self) -> Limits:
        """Bounds of the problem."""
        ...

    @property
    def evaluations(self) -> int:
        """Truth evaluations spent so far, failed ones too."""
        ...

    @property
    def differenced(self) -> bool:
        """Whether derivatives are differences of the values, which then need no comparison with these."""
        ...

    @property
    def believes(self) -> bool:
        """Whether surrogates were given for every truth, so that `believed` answers."""
        ...

    def believed(self, u: np.ndarray) -> Responses:
        """Evaluate the problem on the given surrogates as they are; raises `EvaluationError` where these fail."""
        ...

    def truth(self, u: np.ndarray) -> Responses:
        """Evaluate the true problem at u (k,); raises `EvaluationError` where it fails."""
        ...

    def can_differentiate(self, u: np.ndarray) -> bool:
        """Whether `differentiate` could tell more at an answer of `truth`."""
        ...

    def differentiate(self, u: np.ndarray) -> Responses:
        """Give the responses at an answer of `truth` with exact derivatives, as far as they can be had."""
        ...

    def corrected(self, u: np.ndarray) -> Responses:
        """Evaluate the problem on the corrected surrogates at u (k,); raises `EvaluationError` where it fails."""
        ...

    def learn(self, center: Responses, steps: list[tuple[Responses, Responses]], radius: float) -> str:
        """Bring what is known into the surrogates and correct them about a center.

        Args:
            center: An answer of `truth`.
            steps: Start and end of each step tried so far, answers of `truth`, oldest first.
            radius: Of the region in which the next candidate is sought.

        Returns:
            What was done to the global surrogates, for the record; "" without any.
        """
        ...
