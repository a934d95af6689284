"""Tell: from the outcomes of a request to the next state of the run. Evaluates no truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradopt.errors import ShapeError, explain
from gradopt.loop.asking import samples_first
from gradopt.loop.derivative_check import DerivativeCheck
from gradopt.loop.learning import can_differentiate, learned, on_corrected
from gradopt.loop.problem import Problem, initial_surrogates
from gradopt.loop.record import record
from gradopt.loop.recovery import with_failures
from gradopt.loop.refinement import exhausted, judged_differences, undecided
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Stage, State, TruthPoint, with_iterate
from gradopt.loop.trials import FORGIVEN, judged_trials
from gradopt.loop.trust_region import FAR_TOO_LONG
from gradopt.optimality.curvature import negative_curvature
from gradopt.optimality.merit import initial_penalties, merit, next_penalties, raised_penalties
from gradopt.optimality.scales import Explored, without_objective

logger = logging.getLogger("gradopt")

_VIOLATED = 1e-3  # violation, in parts of its scale, above which a penalty may rise: finite differences leave less
_IDLE = 10  # iterations in a row without a new evaluation after which a run ends, as it would go on for ever; by hand
_REOPENED = 0.1  # part of the first trust-region radius that central differences start again with at least; by hand


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
        state = _sampled(state, outcomes) if sampling else _started(state, outcome, problem, settings)
    elif state.stage is Stage.INITIAL_STEP:
        state = _initial_step_made(state, request, outcome, problem, settings)
    elif state.stage is Stage.SETTLING:
        state = _settled(_differentiated(state, outcome, problem), problem, settings)
    elif state.stage is Stage.CHECKING:
        return _checked(state, outcome, problem, settings)
    elif state.stage is Stage.ESCAPING:
        state = _escaped(state, request, outcome, problem, settings)
    elif request.purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
        state = _sharpened(state, request, outcome, problem, settings)
    elif not len(request.points):
        state = exhausted(replace(state, trust_region=request.trust_region), problem, settings)
    else:
        state = _iterated(state, request, outcomes, problem, settings)
    seconds = request.seconds + time.perf_counter() - clock
    return _with_seconds(state, seconds)


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


def _sampled(state: State, outcomes: Sequence[Outcome]) -> State:
    for outcome in outcomes:
        if outcome.responses is None:
            logger.info("An initial sample failed. %s", outcome.failure)
    return replace(state, waiting=state.waiting[len(outcomes) :])


def _started(state: State, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    point = _point(state, outcome, problem)
    state = replace(state, waiting=state.waiting[:0])
    if point is None:
        return replace(state, exit=Exit.TRUTH_FAILED, failure=outcome.failure)
    conditions = settings.conditions(point, Explored(), problem.limits)
    radius, p = state.trust_region.radius, len(point.c)
    first = record(0, point.u, point, conditions, radius, state.evaluations, constraints=p)
    state = replace(state, points=(point,), at=0, kkt=conditions, pending=first)
    if initial_surrogates(problem) is None and can_differentiate(state, problem):
        return replace(state, stage=Stage.SETTLING)
    return _settled(state, problem, settings)


def _settled(state: State, problem: Problem, settings: Settings) -> State:
    """The state about its first iterate, whose partials are as exact as they can be had."""
    conditions = settings.conditions(state.iterate, state.explored, problem.limits)
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
    if request.candidates:
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
            request.candidates[0],
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
    conditions = settings.conditions(state.iterate, state.explored, problem.limits)
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


def _iterated(
    state: State, request: Request, outcomes: Sequence[Outcome], problem: Problem, settings: Settings
) -> State:
    """The state after candidates were evaluated: one of them accepted, all rejected, or all failed."""
    found, limits = request.candidates[0], problem.limits
    penalties = found.penalties if len(found.penalties) else state.penalties
    state = replace(state, trust_region=request.trust_region, penalties=penalties)
    true, ratio, accepted, tied, fit = None, np.nan, False, False, ""
    trues = [_point(state, outcome, problem) for outcome in outcomes]
    trials = judged_trials(state, request, trues, problem, settings)
    if not trials:
        state = replace(state, failed=with_failures(state.failed, request.candidates))
    else:
        for trial in trials:
            # A step that was far too long tells nothing of the curvature here.
            step = () if trial.ratio < FAR_TOO_LONG else ((state.at, len(state.points)),)
            state = replace(state, points=(*state.points, trial.true), steps=(*state.steps, *step))
        found, true, ratio, accepted, tied = trial.candidate, trial.true, trial.ratio, trial.accepted, trial.tied
        smallest = min((one.region for one in trials), key=lambda region: region.radius)
        state = replace(state, trust_region=trial.region if accepted else smallest, failed=())
        iterate = true if accepted else state.iterate
        conditions = settings.conditions(iterate, state.explored, limits)
        if accepted:
            penalties = next_penalties(state.penalties, conditions.multipliers)
            if state.finite_differenced:
                before, after = limits.violations(state.iterate.c), limits.violations(true.c)
                least = _VIOLATED * without_objective(true, state.explored.iterates, limits).constraints
                penalties = np.maximum(penalties, raised_penalties(state.penalties, before, after, least))
            state = replace(state, at=len(state.points) - 1, penalties=penalties)
        state = replace(state, kkt=conditions)
        state, fit = learned(state, problem, settings)
        if not state.iterate.exact:
            state = _estimated(state, problem, settings)
    done = record(
        len(state.history),
        found.predicted.u,
        true,
        state.conditions,
        request.trust_region.radius if np.isnan(found.radius) else found.radius,
        state.evaluations,
        found,
        ratio,
        accepted,
        fit,
        outcomes[0].failure if true is None else "",
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
    return replace(state, kkt=settings.conditions(state.iterate, state.explored, problem.limits))


def _judged(state: State, problem: Problem, settings: Settings) -> State:
    """The state, ended where there is a reason, or about to refine or check the derivatives of an optimum."""
    if state.iterate.exact:
        judged = judged_differences(state, problem, settings)
        if judged is not None:
            return judged
    if state.conditions.certified and state.iterate.exact:
        if not settings.check_derivatives or not state.partials_given:
            return replace(state, exit=Exit.CERTIFIED)
        return replace(state, stage=Stage.CHECKING, checks=0, beside=None)
    if state.evaluations >= settings.max_evaluations:
        return replace(state, exit=Exit.BUDGET)
    if sum(map(len, state.failed)) >= settings.max_failures:
        return replace(state, exit=Exit.TRUTH_FAILED)
    idle = [record.evaluations == state.evaluations for record in state.history[-_IDLE:]]
    if len(idle) == _IDLE and all(idle):
        return replace(state, exit=Exit.EXHAUSTED)
    return state


def _checked(state: State, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state after a point of the derivative check: one that agrees with the partials certifies the optimum."""
    last = replace(state.history[-1], evaluations=state.evaluations)
    check = DerivativeCheck.of(state, problem.limits)
    number, beside = state.checks, state.beside
    probe = outcome.responses
    first_of_pair = check.values_only and number % 2 == 0
    kept = probe if first_of_pair or not check.values_only else None
    state = replace(state, checks=number + 1, history=(*state.history[:-1], last), beside=kept)
    complete = probe is not None and not first_of_pair and (beside is not None or not check.values_only)
    if complete and probe is not None and check.agrees(probe, beside):
        known = [point for point in state.points if point.exact] + [probe] * (not check.values_only)
        direction = negative_curvature(state.iterate, known, problem.limits, check.conditions, check.scales)
        if direction is None or state.evaluations >= settings.max_evaluations:
            return replace(state, exit=Exit.CERTIFIED)
        return replace(state, stage=Stage.ESCAPING, saddle=direction * check.scales.lengths)
    shown = not check.values_only and probe is not None and beside is not None and check.contradicts(probe, beside)
    if shown or state.checks == len(check.points):
        return replace(state, exit=Exit.CONTRADICTED)
    return state


def _escaped(state: State, request: Request, outcome: Outcome, problem: Problem, settings: Settings) -> State:
    """The state after a step along negative curvature: about its end where that is lower, else certified."""
    iterate, limits, true = state.iterate, problem.limits, _point(state, outcome, problem)
    if true is None:
        return replace(state, exit=Exit.CERTIFIED)
    step = true.u - iterate.u
    drop = merit(iterate, limits, state.penalties) - merit(true, limits, state.penalties)
    check = DerivativeCheck.of(state, limits)
    accepted = drop > FORGIVEN * max(check.unit, abs(iterate.f))
    bends = (check.slope(true) - check.slope(iterate)) @ step
    state = replace(
        state,
        points=(*state.points, true),
        steps=(*state.steps, (state.at, len(state.points))),
        saddle=state.saddle if bends < 0.0 and not accepted else None,
    )
    if accepted:
        length = state.trust_region.length(step, limits)
        region = replace(state.trust_region, radius=max(state.trust_region.radius, length))
        state = replace(state, at=len(state.points) - 1, trust_region=region, stage=Stage.ITERATING)
        conditions = settings.conditions(true, state.explored, limits)
        penalties = next_penalties(state.penalties, conditions.multipliers)
        state, fit = learned(replace(state, kkt=conditions, penalties=penalties), problem, settings)
    else:
        conditions, fit = settings.conditions(iterate, state.explored, limits), ""
        ended = replace(state, kkt=conditions, exit=Exit.CERTIFIED)
        # The point may tell a smaller scale, by which the iterate is no optimum yet.
        state = ended if conditions.certified else replace(ended, stage=Stage.ITERATING, exit=None)
    radius, number, spent = state.trust_region.radius, len(state.history), state.evaluations
    done = record(number, true.u, true, state.conditions, radius, spent, None, np.nan, accepted, fit, "", len(true.c))
    state = replace(state, history=(*state.history, done))
    return _judged(state, problem, settings) if accepted else state


def _with_seconds(state: State, seconds: float) -> State:
    """Add the time of one ask and tell to the last record, or to the one that is pending."""
    if state.pending is not None:
        return replace(state, pending=replace(state.pending, seconds=state.pending.seconds + seconds))
    if not state.history:
        return state
    last = state.history[-1]
    return replace(state, history=(*state.history[:-1], replace(last, seconds=last.seconds + seconds)))
