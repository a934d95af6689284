"""Initial surrogate step: to the optimum of the initial surrogates, uncorrected, wherever within the bounds that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.settings import Settings
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.optimality.merit import initial_penalties, merit
from gradopt.optimality.problem import Limits, Responses
from gradopt.optimality.scales import Explored

_PASSES = 3  # runs of SLSQP: multipliers at the start say little of the penalties needed at a far optimum; by hand
_WORSE = 10.0  # relative rise of the last objective that stands for a point where the surrogates fail; by hand


@dataclass(frozen=True, eq=False)
class InitialOptimum:
    """Optimum of the initial surrogates.

    Attributes:
        candidate: The optimum.
        predicted_reduction: Reduction of the merit from the start to the optimum, on the surrogates.
        penalties: Penalties of that merit (p,), high enough for both ends.
        radius: Half edge of the box that was searched, in units of the ranges of the design variables.
    """

    candidate: Candidate
    predicted_reduction: float
    penalties: np.ndarray
    radius: float


def find_initial_optimum(
    model: Callable[[np.ndarray], Responses],
    limits: Limits,
    start: np.ndarray,
    penalties: np.ndarray,
    settings: Settings,
) -> InitialOptimum | None:
    """Minimize on the initial surrogates; no truth is evaluated.

    Where the surrogates fail outside their domain, the search ends at an edge of the domain, not always at the best
    place there.

    Args:
        model: Responses on the initial surrogates at u (k,).
        limits: Bounds of the problem.
        start: Start (k,).
        penalties: Penalties of the merit at the start (p,).
        settings: Settings of the run. Its largest trust region is the box, by default all within the bounds; without
            bounds, one width to either side.

    Returns:
        The optimum; None where the surrogates fail at the start or predict no reduction.
    """
    evaluate = _surviving_failures(model)
    try:
        first = evaluate(start)
    except EvaluationError:
        return None
    region = settings.trust_region.within(limits)
    widest = replace(region, radius=region.largest)
    box = widest.box(start, limits)
    candidate = Candidate(first, restoration=False)
    for _ in range(_PASSES):
        here = candidate.predicted
        conditions = settings.conditions(here, Explored((first,)), limits)
        if conditions.certified:
            break
        penalties = np.maximum(penalties, initial_penalties(here, conditions.multipliers))
        candidate = solve_subproblem(evaluate, limits, here, box, penalties)
        if candidate.predicted is here:
            break
    reduction = merit(first, limits, penalties) - merit(candidate.predicted, limits, penalties)
    return InitialOptimum(candidate, reduction, penalties, widest.radius) if reduction > 0.0 else None


def _surviving_failures(surrogates: Callable[[np.ndarray], Responses]) -> Callable[[np.ndarray], Responses]:
    """Let a line search back away from where surrogates fail, as outside their domain.

    Only a failure before the first success is raised.
    """
    last: Responses | None = None

    def evaluate(u: np.ndarray) -> Responses:
        nonlocal last
        try:
            last = surrogates(u)
        except EvaluationError:
            if last is None:
                raise
            return replace(last, u=u, f=last.f + _WORSE * max(1.0, abs(last.f)))
        return last

    return evaluate
