"""What the loop knows between rounds: frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, KKT, TOLERANCE, kkt
from gradopt.optimality.problem import Limits, Responses


class Exit(StrEnum):
    """Why a loop ended. Only `CERTIFIED` means converged."""

    CERTIFIED = "certified"
    BUDGET = "budget"
    EXHAUSTED = "region exhausted"
    INFEASIBLE = "infeasible"
    TRUTH_FAILED = "truth failed"
    CONTRADICTED = "partials contradicted"
    STOPPED = "stopped"

    @property
    def advice(self) -> str:
        """What it means and what to try, one or two sentences."""
        return _ADVICE[self]


_ADVICE = {
    Exit.CERTIFIED: "The KKT conditions of the true problem hold at the answer.",
    Exit.BUDGET: "The evaluations are spent. Raise max_evaluations and run again with the same store: it continues.",
    Exit.EXHAUSTED: (
        "The region shrank to nothing without the KKT conditions being met. Check the partials of the truth "
        "(problem.check_partials), its noise, and the scaling (ref) of objective, constraints and design variables. "
        "Where partials are differenced, the answer is as good as the noise of their steps allows."
    ),
    Exit.INFEASIBLE: (
        "No feasible point was found near the last one, where violations cannot be lowered further. Relax a "
        "constraint or start elsewhere."
    ),
    Exit.TRUTH_FAILED: "The truth failed at the start, or again and again near the last point. Start elsewhere.",
    Exit.CONTRADICTED: (
        "By its partials this is an optimum, but the values beside it do not agree with them, or could not be had. "
        "Check the partials of the truth (problem.check_partials) and the convergence of its solvers."
    ),
    Exit.STOPPED: "The callback asked to stop. Run again with the same store to continue.",
}


@dataclass(frozen=True)
class Settings:
    """Settings of a loop.

    Attributes:
        max_evaluations: Truth evaluations, failed ones and the start included.
        tolerance: Of stationarity and complementarity, see `gradopt.optimality.kkt`.
        feasibility_tolerance: Of feasibility.
        region: The first trust region, and its rule.
        starts: Starts of the inner optimization: the center, then the evaluated points nearest to it.
        max_failures: Truth failures in a row after which the loop gives up.
        verify: Whether an optimum is confirmed by the truth at a point beside it, see `gradopt.loop.derivative_check`;
            these evaluations, one as a rule and four at most, may go beyond `max_evaluations`.
        resolution: Radius of the region below which it is given up where derivatives are differenced.
    """

    max_evaluations: int = 100
    tolerance: float = TOLERANCE
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE
    region: TrustRegion = field(default_factory=TrustRegion)
    starts: int = 3
    max_failures: int = 25
    verify: bool = True
    resolution: float = 0.0

    def conditions(self, point: Responses, limits: Limits) -> KKT:
        """Optimality conditions at a point, to these tolerances."""
        return kkt(
            point.u,
            limits.lower,
            limits.upper,
            point.gradient,
            point.c,
            limits.c_lower,
            limits.c_upper,
            point.jacobian,
            self.tolerance,
            self.feasibility_tolerance,
        )


@dataclass(frozen=True, eq=False)
class Iteration:
    """Record of one round: one candidate and what the truth said of it.

    Values are in the driver's scaling.

    Attributes:
        number: 0 for the start.
        u: The candidate (k,).
        objective: True objective there, NaN where the truth failed.
        constraints: True constraints (p,).
        predicted_objective: What the surrogates said before; NaN in round 0.
        predicted_constraints: Likewise (p,).
        ratio: True over predicted improvement of the merit; NaN in round 0 and after a failure. Of a jump to the
            optimum of given surrogates, what these predicted between its two ends.
        accepted: Whether the candidate became the center.
        restoration: Whether the surrogates knew no feasible point in the region.
        radius: Half edge of the region in which the candidate was sought.
        evaluations: Truth evaluations spent so far.
        feasibility: Of the center after the round, see `KKT`.
        stationarity: Likewise.
        complementarity: Likewise.
        fit: What was done to the global surrogates after the round; "" without any.
        failure: Why the truth failed; "" if it did not.
        seconds: Of the round: inner optimization, truth and fits.
    """

    number: int
    u: np.ndarray
    objective: float
    constraints: np.ndarray
    predicted_objective: float
    predicted_constraints: np.ndarray
    ratio: float
    accepted: bool
    restoration: bool
    radius: float
    evaluations: int
    feasibility: float
    stationarity: float
    complementarity: float
    fit: str
    failure: str
    seconds: float


@dataclass(frozen=True, eq=False)
class State:
    """State of a loop between two rounds.

    Attributes:
        center: Responses of the truth at the best point so far.
        kkt: Its optimality conditions.
        points: Responses of the truth at all points, in order.
        steps: Start and end of each step that the truth answered.
        region: The trust region.
        penalties: Of the merit (p,).
        failed: Where the truth failed since it last answered: for each candidate the candidate, then its detours.
        rounds: The record.
        exit: Why it ended; None while it goes on.
    """

    center: Responses
    kkt: KKT
    points: tuple[Responses, ...]
    steps: tuple[tuple[Responses, Responses], ...]
    region: TrustRegion
    penalties: np.ndarray
    failed: tuple[tuple[np.ndarray, ...], ...]
    rounds: tuple[Iteration, ...]
    exit: Exit | None
