"""Record of an iteration."""

from __future__ import annotations

import numpy as np

from gradopt.loop.state import Iteration, TruthPoint
from gradopt.loop.subproblem import Candidate
from gradopt.optimality.kkt import KKT


def record(
    number: int,
    u: np.ndarray,
    true: TruthPoint | None,
    conditions: KKT,
    radius: float,
    evaluations: int,
    predicted: Candidate | None = None,
    ratio: float = np.nan,
    accepted: bool = True,
    fit: str = "",
    failure: str = "",
    constraints: int = 0,
) -> Iteration:
    """Make the record of an iteration.

    Args:
        number: Number of the iteration.
        u: Candidate (k,).
        true: Its evaluation on the truth, None where that failed.
        conditions: Optimality conditions at the current iterate after the iteration.
        radius: Radius of the trust region in which the candidate was sought.
        evaluations: Number of truth evaluations so far.
        predicted: Candidate with its prediction, None at the start.
        ratio: Actual over predicted reduction of the merit.
        accepted: Whether the candidate became the current iterate.
        fit: What was done to the global surrogates.
        failure: Why the truth failed.
        constraints: Number p of constraints.

    Returns:
        The record; its `seconds` are still 0.
    """
    nothing = np.full(constraints, np.nan)
    return Iteration(
        number=number,
        u=u,
        objective=np.nan if true is None else true.f,
        constraints=nothing if true is None else true.c,
        predicted_objective=np.nan if predicted is None else predicted.predicted.f,
        predicted_constraints=nothing if predicted is None else predicted.predicted.c,
        ratio=ratio,
        accepted=accepted,
        restoration=predicted is not None and predicted.restoration,
        radius=radius,
        evaluations=evaluations,
        feasibility=conditions.feasibility,
        stationarity=conditions.stationarity,
        complementarity=conditions.complementarity,
        fit=fit,
        failure=failure,
        seconds=0.0,
    )
