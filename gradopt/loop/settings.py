"""Settings of the loop: one default each, wherever the loop is driven from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.corrected.correction import CorrectionTerms
from gradopt.errors import InputError, explain
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, KKT, TOLERANCE
from gradopt.optimality.problem import Limits, Responses
from gradopt.optimality.scales import Explored, conditions_at
from gradopt.truth.finite_differences import FiniteDifferences

_FINEST = 0.1  # part of the finite-difference steps below which the trust region is within their error; by hand


@dataclass(frozen=True)
class Settings:
    """Settings of a run of the loop.

    Attributes:
        max_evaluations: Number of truth evaluations, failed ones, the start and those of finite differences included:
            no iteration begins after them.
        tolerance: Limit of stationarity and complementarity, see `gradopt.optimality.kkt`.
        feasibility_tolerance: Limit of feasibility.
        trust_region: First trust region, and its rule.
        correction: Terms of the correction.
        batch: Number of candidates in each iteration, at most, to be evaluated at the same time: as many as there are
            workers. More than one saves rounds and takes more evaluations. See `gradopt.loop.batch`.
        starts: Number of starts of each trust-region subproblem: the current iterate, then the evaluated points nearest
            to it.
        max_failures: Number of truth failures in a row after which the run ends.
        check_derivatives: Whether an optimum is confirmed by the truth at a point beside it, see
            `gradopt.loop.derivative_check`. These evaluations, one as a rule and ten at most, may go beyond
            `max_evaluations`.
        finite_differences: How partials that a truth does not return are finite-differenced, where the surrogates'
            estimates of them do not suffice. Each step counts as an evaluation.

    Raises:
        InputError: If a field is out of its range.
    """

    max_evaluations: int = 100
    tolerance: float = TOLERANCE
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE
    trust_region: TrustRegion = TrustRegion()
    correction: CorrectionTerms = CorrectionTerms()
    batch: int = 1
    starts: int = 1
    max_failures: int = 25
    check_derivatives: bool = True
    finite_differences: FiniteDifferences = FiniteDifferences()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_evaluations", "batch", "starts", "max_failures"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                remedy = "Leave it out for the default."
                raise InputError(explain(name, "be a whole number of at least 1", repr(value), remedy))
        for name in ("tolerance", "feasibility_tolerance"):
            limit = getattr(self, name)
            if not 0.0 < limit < 1.0:
                raise InputError(explain(name, "be a positive number below 1", limit, "Leave it out for the default."))
        for name, kind in (
            ("trust_region", TrustRegion),
            ("correction", CorrectionTerms),
            ("finite_differences", FiniteDifferences),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                remedy = f"Pass an object, such as {kind.__name__}()."
                raise InputError(explain(name, f"be a {kind.__name__}", repr(value), remedy))

    @property
    def smallest_differenced(self) -> float:
        """Trust-region radius below which the run ends where partials are finite-differenced, in units of the ranges.

        What happens within the steps cannot be seen.
        """
        return _FINEST * float(np.max(self.finite_differences.step))

    def conditions(self, point: Responses, points: Explored, limits: Limits) -> KKT:
        """Return the optimality conditions at a point, to these tolerances.

        Args:
            point: Responses at the point.
            points: All points that were evaluated, which tell the scales.
            limits: Bounds.
        """
        return conditions_at(point, points, limits, self.tolerance, self.feasibility_tolerance)[0]
