"""Tell: from the outcomes of a request to the next state of the run. Evaluates no truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradopt.errors import ShapeError, explain
from gradopt.loop.asking import samples_first
from gradopt.loop.derivative_check import contradiction, probes
from gradopt.loop.learning import can_differentiate, learned, on_corrected
from gradopt.loop.problem import Problem, initial_surrogates
from gradopt.loop.recovery import with_failure
from gradopt.loop.refinement import exhausted, judged_differences, undecided, value_noise
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration, Stage, State, TruthPoint, with_iterate
from gradopt.loop.subproblem import Candidate
from gradopt.optimality.kkt import KKT
from gradopt.optimality.merit import initial_penalties, merit, next_penalties, raised_penalties
from gradopt.optimality.problem import Limits

logger = logging.getLogger("gradopt")

_ROUND_OFF = 1e-12  # reduction of the merit, in scaled units or relative to the merit, below which it may be round-off
_FORGIVEN = 1e-8  # rise of the merit, likewise, up to which a step towards the optimality conditions is accepted
_REOPENED = 0.1  # part of the first trust-region radius that central differences start again with at least; by hand
_VIOLATED = 1e-3  # scaled violation above which a penalty may be raised: noise and finite differences leave less


def tell(state: State, request: Request, outcomes: Sequence[Outcome], problem: Problem, settings: Settings) -> State:
    """Take in the outcomes of a request.

    Args:
        state: State that gave the request.
        request: Request.
        outcomes: Outcome for each of its points, in their order.
        problem: Problem.
        settings: Settings of the run.

    Returns:
        The next state; ended where its `exit` says why.

    Raises:
        ShapeError: If there is not one outcome for each point.
    """
    if len(outcomes) != len(request.points):
        remedy = "A failed evaluation is an outcome too: Outcome(None, failure='why')."
        raise ShapeError(explain("outcomes", f"have {len(request.points)} entries", len(outcomes), remedy))
    clock = time.perf_counter()
    sampling = state.stage is Stage.START and samples_first(state, settings)
    for outcome in outcomes:
        state = with_gains(state, outcome)
    outcome = outcomes[0] if len(outcomes) else Outcome(None)
    if state.stage is Stage.START:
        state = _sampled(state, outcome) if sampling else _started(state, outcome, problem, settings)
    elif state.stage is Stage.INITIAL_STEP:
        state = _initial_step_made(state, request, outcome, problem, settings)
    elif state.stage is Stage.SETTLING:
        state = _settled(_differentiated(state, outcome, problem), problem, settings)
    elif state.stage is Stage.CHECKING:
        return _checked(state, outcome, problem, settings)
    elif request.purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
        state = _sharpened(state, request, outcome, problem, settings)
    elif not len(request.points):
        state = exhausted(replace(state, trust_region=request.trust_region), problem, settings)
    else:
        state = _iterated(state, request, outcome, problem, settings)
    seconds = request.seconds + time.perf_counter() - clock
    return _with_seconds(state, seconds)


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


def with_gains(state: State, outcome: Outcome) -> State:
    """Return the state with the samples that the evaluation of a point added."""
    samples = state.samples
    if outcome.gains:
        samples = tuple(one.with_gain(gain) for one, gain in zip(samples, outcome.gains, strict=True))
    return replace(state, samples=samples, coupled=state.coupled or outcome.coupled)


def _point(state: State, outcome: Outcome, problem: Problem) -> TruthPoint | None:
    """The outcome as a point of the state, None where the evaluation failed."""
    found = outcome.responses
    if found is None:
        return None
    places = list(zip(problem.components, outcome.inputs, strict=True))
    rows = tuple(state.samples[component.truth].row(x) for component, x in places)
    exact = all(
        state.samples[component.truth].known(row) for component, row in zip(problem.components, rows, strict=True)
    )
    error = found.error if exact else None
    return TruthPoint(
        found.u,
        found.f,
        found.gradient,
        found.c,
        found.jacobian,
        exact,
        error,
        rows,
        outcome.sensitivities,
        outcome.context,
    )


def _sampled(state: State, outcome: Outcome) -> State:
    if outcome.responses is None:
        logger.info("An initial sample failed. %s", outcome.failure)
    return replace(state, waiting=state.waiting[1:])


def _started(state: State, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    point = _point(state, outcome, problem)
    state = replace(state, waiting=state.waiting[:0])
    if point is None:
        return replace(state, exit=Exit.TRUTH_FAILED, failure=outcome.failure)
    conditions = settings.conditions(point, problem.limits)
    radius, p = state.trust_region.radius, len(point.c)
    first = record(0, point.u, point, conditions, radius, state.evaluations, constraints=p)
    state = replace(state, points=(point,), at=0, kkt=conditions, pending=first)
    if initial_surrogates(problem) is None and can_differentiate(state, problem):
        return replace(state, stage=Stage.SETTLING)
    return _settled(state, problem, settings)


def _settled(state: State, problem: Problem, settings: Settings) -> State:
    """The state about its first iterate, whose partials are as exact as they can be had."""
    conditions = settings.conditions(state.iterate, problem.limits)
    penalties = initial_penalties(state.iterate, conditions.multipliers)
    state, fit = learned(replace(state, kkt=conditions, penalties=penalties), problem, settings)
    stage, history = Stage.ITERATING, state.history
    if state.pending is not None:
        done = state.pending.at(conditions)
        if done.number == 0:
            done = replace(done, fit=fit, evaluations=state.evaluations)
            stage = Stage.INITIAL_STEP if initial_surrogates(problem) else stage
        history = (*history, done)
    return _judged(replace(state, stage=stage, pending=None, history=history), problem, settings)


def _initial_step_made(state: State, request: Request, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state after the initial surrogate step, about the better one of its ends."""
    if request.candidate is not None:
        start, true, limits = state.iterate, _point(state, outcome, problem), problem.limits
        ratio = np.nan
        if true is not None:
            reduction = merit(start, limits, request.penalties) - merit(true, limits, request.penalties)
            ratio = reduction / request.predicted_reduction
            state = replace(state, points=(*state.points, true), steps=((0, 1),), at=1 if ratio > 0.0 else 0)
        pending = record(
            1,
            request.points[0],
            true,
            state.conditions,
            request.trust_region.radius,
            state.evaluations,
            request.candidate,
            ratio,
            ratio > 0.0,
            failure=outcome.failure,
            constraints=len(start.c),
        )
        state = replace(state, pending=pending)
    if can_differentiate(state, problem) and state.evaluations < settings.max_evaluations:
        return replace(state, stage=Stage.SETTLING)
    return _settled(state, problem, settings)


def _differentiated(state: State, outcome: Outcome, problem: Problem) -> State:
    """The state with the current iterate as it was evaluated after its partials were finite-differenced."""
    point = _point(state, outcome, problem)
    return state if point is None else with_iterate(state, point)


def _sharpened(state: State, request: Request, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state with exact derivatives at the current iterate."""
    state = _differentiated(state, outcome, problem)
    conditions = settings.conditions(state.iterate, problem.limits)
    penalties = next_penalties(state.penalties, conditions.multipliers)
    region = request.trust_region
    if not state.history[-1].accepted:  # the derivatives were at fault, not the length of the step
        region = replace(region, radius=state.history[-1].radius)
    if request.purpose is Purpose.REFINEMENT:
        if state.stage is Stage.REFINING:  # the region had shrunk on partials that were not good enough
            radius = max(region.radius, _REOPENED * settings.trust_region.radius)
            region = replace(region, radius=radius)
        last = replace(state.history[-1].at(conditions), evaluations=state.evaluations)
        state = replace(state, stage=Stage.ITERATING, history=(*state.history[:-1], last))
    state, _ = learned(replace(state, kkt=conditions, penalties=penalties, trust_region=region), problem, settings)
    return _judged(state, problem, settings)


def _iterated(state: State, request: Request, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state after a candidate was evaluated: accepted, rejected, or failed."""
    found, limits = request.candidate, problem.limits
    assert found is not None
    state = replace(state, trust_region=request.trust_region)
    true, ratio, accepted, tied, fit = _point(state, outcome, problem), np.nan, False, False, ""
    if true is None:
        state = replace(state, failed=with_failure(state.failed, found))
    else:
        length = state.trust_region.length(found.predicted.u - state.iterate.u, limits)
        tied = _tied(state, found, true, limits, value_noise(state, problem, settings))
        ratio, accepted, conditions = _compared(state, found, true, limits, settings, tied)
        state = replace(
            state,
            points=(*state.points, true),
            steps=(*state.steps, (state.at, len(state.points))),
            trust_region=state.trust_region.after(ratio, length),
            failed=(),
        )
        if accepted:
            penalties = next_penalties(state.penalties, conditions.multipliers)
            if state.finite_differenced:
                before, after = limits.violations(state.iterate.c), limits.violations(true.c)
                penalties = np.maximum(penalties, raised_penalties(state.penalties, before, after, _VIOLATED))
            state = replace(state, at=len(state.points) - 1, kkt=conditions, penalties=penalties)
        state, fit = learned(state, problem, settings)
        if not state.iterate.exact:
            state = _estimated(state, problem, settings)
    done = record(
        len(state.history),
        found.predicted.u,
        true,
        state.conditions,
        request.trust_region.radius,
        state.evaluations,
        found,
        ratio,
        accepted,
        fit,
        outcome.failure,
        len(found.predicted.c),
    )
    state = replace(state, history=(*state.history, done))
    if tied and not accepted:
        state = undecided(state, problem, settings)
    return state if state.done or state.stage is Stage.REFINING else _judged(state, problem, settings)


def _estimated(state: State, problem: Problem, settings: Settings) -> State:
    """The state with the derivatives at the current iterate that the corrected surrogates have now."""
    found = on_corrected(state, problem, settings)(state.iterate.u)
    state = with_iterate(state, replace(state.iterate, gradient=found.gradient, jacobian=found.jacobian))
    return replace(state, kkt=settings.conditions(state.iterate, problem.limits))


def _compared(
    state: State, found: Candidate, true: TruthPoint, limits: Limits, settings: Settings, tied: bool
) -> tuple[float, bool, KKT]:
    """Ratio of actual to predicted reduction, whether to accept, and the optimality conditions at the candidate."""
    conditions = settings.conditions(true, limits)
    before = merit(state.iterate, limits, state.penalties)
    predicted = before - merit(found.predicted, limits, state.penalties)
    actual = before - merit(true, limits, state.penalties)
    size = max(1.0, abs(before))
    better = _distance(conditions) < _distance(state.conditions)
    if tied or predicted <= _ROUND_OFF * size or (actual <= 0.0 and max(predicted, -actual) <= _FORGIVEN * size):
        # Values have no digits left to compare; gradients have.
        return (1.0 if better else -1.0), better, conditions
    return actual / predicted, actual > 0.0, conditions


def _tied(state: State, found: Candidate, true: TruthPoint, limits: Limits, noise: np.ndarray) -> bool:
    """Whether predicted and actual reduction are within the noise (1 + p,) of the values, and that is no round-off."""
    before = merit(state.iterate, limits, state.penalties)
    reductions = [before - merit(point, limits, state.penalties) for point in (found.predicted, true)]
    violated = limits.violations(state.iterate.c) + limits.violations(true.c) > 0.0
    of_merit = float(noise[0] + (state.penalties * violated) @ noise[1:])
    return of_merit > _ROUND_OFF * max(1.0, abs(before)) and float(np.abs(reductions).max()) <= of_merit


def _distance(conditions: KKT) -> float:
    return max(conditions.feasibility, conditions.stationarity, conditions.complementarity)


def _judged(state: State, problem: Problem, settings: Settings) -> State:
    """The state, ended where there is a reason, or about to refine or check the derivatives of an optimum."""
    if state.iterate.exact:
        judged = judged_differences(state, problem, settings)
        if judged is not None:
            return judged
    if state.conditions.certified and state.iterate.exact:
        if not settings.check_derivatives or state.finite_differenced:
            return replace(state, exit=Exit.CERTIFIED)
        return replace(state, stage=Stage.CHECKING, checks=0)
    if state.evaluations >= settings.max_evaluations:
        return replace(state, exit=Exit.BUDGET)
    if sum(map(len, state.failed)) >= settings.max_failures:
        return replace(state, exit=Exit.TRUTH_FAILED)
    return state


def _checked(state: State, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state after a point of the derivative check: one that agrees with the partials certifies the optimum."""
    last = replace(state.history[-1], evaluations=state.evaluations)
    state = replace(state, checks=state.checks + 1, history=(*state.history[:-1], last))
    found = outcome.responses
    if found is not None and contradiction(state.iterate, found, settings.tolerance)[0] <= 1.0:
        return replace(state, exit=Exit.CERTIFIED)
    if state.checks == len(probes(state.iterate, problem.limits)):
        return replace(state, exit=Exit.CONTRADICTED)
    return state


def _with_seconds(state: State, seconds: float) -> State:
    """Add the time of one ask and tell to the last record, or to the one that is pending."""
    if state.pending is not None:
        return replace(state, pending=replace(state.pending, seconds=state.pending.seconds + seconds))
    if not state.history:
        return state
    last = state.history[-1]
    return replace(state, history=(*state.history[:-1], replace(last, seconds=last.seconds + seconds)))
