"""Ask: from the state of a run to the points that are to be evaluated next. Evaluates no truth, changes no state."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice

import numpy as np

from gradopt.errors import InputError, explain
from gradopt.loop.batch import further_candidates
from gradopt.loop.derivative_check import DerivativeCheck
from gradopt.loop.initial_optimum import find_initial_optimum
from gradopt.loop.learning import can_differentiate, on_alternatives, on_corrected
from gradopt.loop.problem import Problem, initial_surrogates
from gradopt.loop.recovery import recoveries
from gradopt.loop.refinement import is_coarse, is_one_sided, moved_blindly
from gradopt.loop.request import Purpose, Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import Stage, State
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits

_REJECTED = 3  # candidates rejected in a row after which partials by one-sided differences are refined; by hand
_NO_STEP = 1e-12  # largest component of a step, in units of the ranges, that counts as none: round-off
_ESCAPE = 0.1  # length of the step from a saddle point, in units of the scales; by hand
_SHRINK_UNEVALUATED = 0.2  # factor on a trust region without a candidate: no evaluation is spent on it; by hand


def ask(state: State, problem: Problem, settings: Settings) -> Request:
    """Find the points that are to be evaluated next.

    The same state gives the same request. Where no better point is known the request has no points: tell it, and the
    run goes on by other means or ends.

    Args:
        state: State of a run that has not ended.
        problem: Problem.
        settings: Settings of the run.

    Returns:
        The request.

    Raises:
        InputError: If the run has ended.
    """
    if state.exit is not None:
        remedy = "Begin a new run; to go on with this one raise what ended it."
        raise InputError(explain("state", "be that of a run that has not ended", f"{state.exit.value!r}", remedy))
    clock = time.perf_counter()
    if state.stage is Stage.START:
        if samples_first(state, settings):  # all at once, with one evaluation each at least; one is for the start
            return Request(state.waiting[: settings.max_evaluations - 1 - state.evaluations], Purpose.START)
        return Request(state.start[None], Purpose.START)
    if state.stage is Stage.CHECKING:
        u = DerivativeCheck.of(state, problem.limits).points[state.checks]
        return Request(u[None], Purpose.VERIFICATION, trust_region=state.trust_region)
    if state.stage is Stage.ESCAPING:
        return Request(_escape(state, problem.limits)[None], Purpose.CANDIDATE, trust_region=state.trust_region)
    if state.stage is Stage.INITIAL_STEP:
        request = _initial_optimum(state, problem, settings)
    elif state.stage in (Stage.SETTLING, Stage.REFINING) or _differentiates_first(state, problem, settings):
        request = _differences(state, problem, state.trust_region)
    else:
        request = _candidate(state, problem, settings)
    return replace(request, seconds=time.perf_counter() - clock)


def _escape(state: State, limits: Limits) -> np.ndarray:
    """A point (k,) along negative curvature, to the side with more room within the bounds."""
    assert state.saddle is not None
    ends = [
        np.clip(state.iterate.u + side * _ESCAPE * state.saddle, limits.lower, limits.upper) for side in (1.0, -1.0)
    ]
    return max(ends, key=lambda u: float(np.abs((u - state.iterate.u) / limits.width).max()))


def samples_first(state: State, settings: Settings) -> bool:
    """Whether initial samples are to be evaluated before the start, for which one evaluation must be left."""
    return bool(len(state.waiting)) and state.evaluations < settings.max_evaluations - 1


def _initial_optimum(state: State, problem: Problem, settings: Settings) -> Request:
    surrogates = initial_surrogates(problem)
    assert surrogates is not None
    found = find_initial_optimum(
        lambda u: problem.evaluate_on(surrogates, u), problem.limits, state.iterate.u, state.penalties, settings
    )
    if found is None:
        return Request(_nothing(state), Purpose.INITIAL_OPTIMUM)
    return Request(
        found.candidate.predicted.u[None],
        Purpose.INITIAL_OPTIMUM,
        (found.candidate,),
        replace(settings.trust_region, radius=found.radius),
        found.predicted_reduction,
        found.penalties,
    )


def _differentiates_first(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether partials at the current iterate are to be finite-differenced before the next candidate.

    Estimates have done what they can where they say that the iterate is an optimum, after a poor step, and after one
    that values could not judge.
    """
    last = state.history[-1]
    spent = state.conditions.certified or not last.accepted or not last.ratio >= state.trust_region.poor
    if can_differentiate(state, problem):
        return spent or moved_blindly(state, problem, settings)
    return _rejected(state) and is_one_sided(state, problem)


def _rejected(state: State) -> bool:
    """Whether so many candidates in a row were rejected that the derivatives may be at fault."""
    last = state.history[-_REJECTED:]
    return len(last) == _REJECTED and not any(one.accepted for one in last)


def _candidate(state: State, problem: Problem, settings: Settings) -> Request:
    found, region = _search(state, problem, settings)
    purpose = Purpose.RECOVERY if state.failed else Purpose.CANDIDATE
    if found:
        return Request(np.array([one.predicted.u for one in found]), purpose, tuple(found), region)
    if can_differentiate(state, problem):
        return _differences(state, problem, region)
    return Request(_nothing(state), purpose, trust_region=region)


def _search(state: State, problem: Problem, settings: Settings) -> tuple[list[Candidate], TrustRegion]:
    """A batch of candidates, the first with a lower predicted merit than the iterate; and the region, shrunk for it."""
    count = min(settings.batch, max(settings.max_evaluations - state.evaluations, 1))
    limits, iterate, region = problem.limits, state.iterate, state.trust_region
    model = on_corrected(state, problem, settings)
    distance = [float(np.abs((point.u - iterate.u) / limits.width).max()) for point in state.points]
    nearest = [state.points[i].u for i in np.argsort(distance, kind="stable")[1 : settings.starts]]
    if state.failed:
        others = list(islice(recoveries(state, model, limits, nearest), count))
        if others:
            return others, region
        region = region.after(np.nan, region.length(state.failed[-1][0] - iterate.u, limits))
    smallest = 0.0
    if state.finite_differenced and (not state.refined or is_coarse(state, problem, settings)):
        smallest = settings.smallest_differenced
    while not region.exhausted and region.radius >= smallest:
        box = region.box(iterate.u, limits)
        found = solve_subproblem(model, limits, iterate, box, state.penalties, nearest)
        known = any(np.array_equal(found.predicted.u, point.u) for point in state.points)  # it would show nothing new
        if not known and region.length(found.predicted.u - iterate.u, limits) > _NO_STEP:
            if count == 1:  # on_alternatives prepares models that would not be used
                return [found], region
            models = [model, *on_alternatives(state, problem, settings)]
            return further_candidates(count, found, models, state, region, limits, nearest), region
        region = region.after(np.nan, _SHRINK_UNEVALUATED * region.radius)
    return [], region


def _differences(state: State, problem: Problem, region: TrustRegion) -> Request:
    """Finite differences at the current iterate: central ones before a verdict, and after it did not hold."""
    refines = state.stage is Stage.REFINING or state.refined or not can_differentiate(state, problem)
    purpose = Purpose.REFINEMENT if refines else Purpose.DIFFERENCE
    return Request(state.iterate.u[None], purpose, trust_region=region)


def _nothing(state: State) -> np.ndarray:
    return np.empty((0, len(state.start)))
