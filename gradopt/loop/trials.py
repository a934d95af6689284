"""Trials: candidates that were evaluated, judged by the reduction of the merit that they predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradopt.loop.problem import Problem
from gradopt.loop.refinement import tells_nothing
from gradopt.loop.request import Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import State, TruthPoint
from gradopt.loop.subproblem import Candidate
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT, scaled_kkt
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Limits
from gradopt.optimality.scales import conditions_at

# Changes of the merit, in parts of it or of the objective's scale.
_ROUND_OFF = 1e-12  # predicted reduction that may be round-off

FORGIVEN = 1e-8
"""Rise up to which a step towards the optimality conditions is accepted."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate that was evaluated.

    Attributes:
        candidate: The candidate.
        true: Its evaluation.
        ratio: Ratio of actual to predicted reduction of the merit.
        accepted: Whether it may become the current iterate.
        tied: Whether values tell it and the current iterate not apart.
        region: Trust region that follows from it.
    """

    candidate: Candidate
    true: TruthPoint
    ratio: float
    accepted: bool
    tied: bool
    region: TrustRegion


def judged_trials(
    state: State, request: Request, trues: Sequence[TruthPoint | None], problem: Problem, settings: Settings
) -> list[Trial]:
    """Judge the candidates that did not fail.

    Args:
        state: State that gave the request.
        request: Request with candidates.
        trues: Their evaluations, None where one failed.
        problem: Problem.
        settings: Settings of the run.

    Returns:
        The candidates, last the acceptable one with the least merit, or else the first one.
    """
    trials, limits = [], problem.limits
    for candidate, true in zip(request.candidates, trues, strict=True):
        if true is not None:
            tied = tells_nothing(state, candidate, true, problem, settings)
            ratio, accepted = _compared(state, candidate, true, limits, settings, tied)
            length = state.trust_region.length(candidate.predicted.u - state.iterate.u, limits)
            radius = state.trust_region.radius if np.isnan(candidate.radius) else candidate.radius
            region = replace(state.trust_region, radius=radius).after(ratio, length)
            trials.append(Trial(candidate, true, ratio, accepted, tied, region))
    best = min(
        (one for one in trials if one.accepted),
        key=lambda one: merit(one.true, limits, state.penalties),
        default=trials[0] if trials else None,
    )
    return sorted(trials, key=lambda one: one is best)


def _compared(
    state: State, found: Candidate, true: TruthPoint, limits: Limits, settings: Settings, tied: bool
) -> tuple[float, bool]:
    """Ratio of actual to predicted reduction, and whether to accept the candidate."""
    points = state.explored._replace(iterates=(*state.explored.iterates, true))
    scales = conditions_at(true, points, limits, settings.tolerance, settings.feasibility_tolerance)[1]
    before = merit(state.iterate, limits, state.penalties)
    predicted = before - merit(found.predicted, limits, state.penalties)
    actual = before - merit(true, limits, state.penalties)
    size = np.nanmax([scales.objective, abs(before)])
    if tied or predicted <= _ROUND_OFF * size or (actual <= 0.0 and max(predicted, -actual) <= FORGIVEN * size):
        # Values have no digits left to compare; gradients have.
        steepest = max(float(np.abs(point.gradient * scales.lengths).max()) for point in (true, state.iterate))
        scales = replace(scales, objective=np.nanmax([scales.objective, steepest]))
        there, here = (
            scaled_kkt(point, limits, scales, settings.tolerance, settings.feasibility_tolerance)
            for point in (true, state.iterate)
        )
        better = _distance(there) < _distance(here)
        return (1.0 if better else -1.0), better
    return actual / predicted, actual > 0.0


def _distance(conditions: KKT) -> float:
    return max(conditions.feasibility, conditions.stationarity, conditions.complementarity)
