"""Evaluations that an optimizer needs until it is near a known objective."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradopt.errors import ShapeError, explain
from gradopt.loop.state import Iteration
from gradopt.om.baseline import FEASIBLE, BaselineVisit


@dataclass(frozen=True, eq=False)
class Progress:
    """Designs that an optimizer evaluated, in order; the objective is minimized.

    Attributes:
        evaluations: Truth evaluations spent up to each design (n,).
        objective: Objective of the truth (n,), in any unit, NaN where the truth failed.
        violation: Largest violation of a constraint (n,), 0 where all are met.

    Raises:
        ShapeError: If the arrays are not of one length.
    """

    evaluations: np.ndarray
    objective: np.ndarray
    violation: np.ndarray

    def __post_init__(self) -> None:
        """Check the shapes."""
        shapes = tuple(np.shape(part) for part in (self.evaluations, self.objective, self.violation))
        if len(shapes[0]) != 1 or len(set(shapes)) != 1:
            remedy = "Pass one number of each for every design."
            raise ShapeError(explain("evaluations, objective and violation", "have one shape (n,)", shapes, remedy))

    @classmethod
    def of_loop(cls, history: Sequence[Iteration]) -> Progress:
        """Read the accepted candidates of `AdaptiveDriver.history` or `OptimizeResult.history`.

        Rejected candidates are left out: an `Iteration` holds the feasibility of the current iterate only.
        """
        accepted = [one for one in history if one.accepted or one.number == 0]
        return cls._of((one.evaluations, one.objective, one.feasibility) for one in accepted)

    @classmethod
    def of_baseline(cls, visits: Sequence[BaselineVisit]) -> Progress:
        """Read the visits of a `BaselineResult`."""
        return cls._of((one.evaluations, one.objective, one.violation) for one in visits)

    @classmethod
    def _of(cls, rows: Iterable[tuple[int, float, float]]) -> Progress:
        evaluations, objective, violation = np.array(list(rows), dtype=float).reshape(-1, 3).T
        return cls(evaluations.astype(int), objective, violation)

    def evaluations_to(
        self,
        objective: float,
        relative: float = 0.01,
        absolute: float = 1e-6,
        feasibility: float = FEASIBLE,
    ) -> int | None:
        """Count evaluations to the first feasible design near an objective.

        Args:
            objective: Objective to reach, such as the best known one.
            relative: Excess that counts as near, as a fraction of the objective.
            absolute: Excess that counts as near in any case, in units of the objective: for an objective of about 0.
            feasibility: Largest violation of a feasible design.

        Returns:
            Truth evaluations up to that design; None where no design is near.
        """
        limit = objective + max(relative * abs(objective), absolute)
        reached = (self.objective <= limit) & (self.violation <= feasibility)
        return int(self.evaluations[np.argmax(reached)]) if reached.any() else None
