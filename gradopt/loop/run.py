"""The loop: ask the surrogates for a candidate, tell what the truth says of it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.derivative_check import contradiction, probes
from gradopt.loop.initial_optimum import jump
from gradopt.loop.recovery import detour, with_failure
from gradopt.loop.state import Exit, Iteration, Settings, State
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.optimality.kkt import KKT
from gradopt.optimality.merit import initial_penalties, merit, next_penalties, raised_penalties
from gradopt.optimality.problem import Limits, Model, Responses

_ROUND_OFF = 1e-12  # improvements of the merit below this, in scaled units or as a part of it, may be noise
_NOISE = 1e-8  # rises of the merit up to this, likewise, are forgiven to steps towards the optimality conditions
_NO_STEP = 1e-12  # part of a width
_VIOLATED = 1e-3  # scaled; what noise and differences leave of feasibility is below
_IDLE = 0.2  # no truth is spent on a region without a candidate, so it may shrink faster than after a bad one


def begin(model: Model, u: np.ndarray, settings: Settings) -> State:
    """Evaluate the truth at the start.

    Args:
        model: The problem.
        u: The start (k,).
        settings: Settings of the loop.

    Returns:
        The state after round 0; ended already if the start is an optimum or the budget is one evaluation. Where
        surrogates were given, partials that the truth does not know there are theirs: see `advance`.

    Raises:
        EvaluationError: If the truth fails there.
    """
    clock = time.perf_counter()
    center = model.truth(u)
    if model.can_differentiate(u) and not model.believes:
        center = model.differentiate(u)
    conditions = settings.conditions(center, model.limits)
    penalties = initial_penalties(center, conditions.multipliers)
    fit = model.learn(center, [], settings.region.radius)
    nothing = np.full_like(center.c, np.nan)
    first = Iteration(
        number=0,
        u=center.u,
        objective=center.f,
        constraints=center.c,
        predicted_objective=np.nan,
        predicted_constraints=nothing,
        ratio=np.nan,
        accepted=True,
        restoration=False,
        radius=settings.region.radius,
        evaluations=model.evaluations,
        feasibility=conditions.feasibility,
        stationarity=conditions.stationarity,
        complementarity=conditions.complementarity,
        fit=fit,
        failure="",
        seconds=time.perf_counter() - clock,
    )
    state = State(center, conditions, (center,), (), settings.region, penalties, (), (first,), None)
    return _ended(state, model, settings)


def advance(state: State, model: Model, settings: Settings) -> State:
    """Play one round.

    Where surrogates were given, the first one asks the truth at their own optimum, far as that may be. The better of
    it and the start is the first center, and only there are partials differenced that the truth does not know.

    Args:
        state: A state that has not ended.
        model: The problem.
        settings: Settings of the loop.

    Returns:
        The next state.
    """
    clock = time.perf_counter()
    limits = model.limits
    if model.believes and len(state.rounds) == 1:
        state = _jumped(state, model, settings)
        if len(state.rounds) > 1 or state.exit is not None:
            return state
    state = _sharpened(state, model, settings)
    if state.exit is not None:
        return state
    found, state = _ask(state, model, settings)
    if found is None and model.can_differentiate(state.center.u):
        state = _differentiated(state, model, settings)
        if state.exit is not None:
            return state
        found, state = _ask(state, model, settings)
    if found is None:
        infeasible = state.kkt.feasibility > settings.feasibility_tolerance
        return replace(state, exit=Exit.INFEASIBLE if infeasible else Exit.EXHAUSTED)
    radius = state.region.radius
    length = state.region.length(found.predicted.u - state.center.u, limits)
    failure, ratio, accepted, fit = "", np.nan, False, ""
    try:
        true = model.truth(found.predicted.u)
    except EvaluationError as failed:
        true, failure = None, str(failed)
        state = replace(state, failed=with_failure(state.failed, found))
    if true is not None:
        ratio, accepted, conditions = _judge(state, found, true, limits, settings)
        state = replace(
            state,
            points=(*state.points, true),
            steps=(*state.steps, (state.center, true)),
            region=state.region.after(ratio, length),
            failed=(),
        )
        if accepted:
            penalties = next_penalties(state.penalties, conditions.multipliers)
            if model.differenced:
                before, after = limits.violations(state.center.c), limits.violations(true.c)
                penalties = np.maximum(penalties, raised_penalties(state.penalties, before, after, _VIOLATED))
            state = replace(state, center=true, kkt=conditions, penalties=penalties)
        fit = model.learn(state.center, list(state.steps), state.region.radius)
        if not state.center.exact:
            state = _estimated(state, model, settings)
    record = Iteration(
        number=len(state.rounds),
        u=found.predicted.u,
        objective=np.nan if true is None else true.f,
        constraints=np.full_like(found.predicted.c, np.nan) if true is None else true.c,
        predicted_objective=found.predicted.f,
        predicted_constraints=found.predicted.c,
        ratio=ratio,
        accepted=accepted,
        restoration=found.restoration,
        radius=radius,
        evaluations=model.evaluations,
        feasibility=state.kkt.feasibility,
        stationarity=state.kkt.stationarity,
        complementarity=state.kkt.complementarity,
        fit=fit,
        failure=failure,
        seconds=time.perf_counter() - clock,
    )
    return _ended(replace(state, rounds=(*state.rounds, record)), model, settings)


def _jumped(state: State, model: Model, settings: Settings) -> State:
    """The state after the jump, about the better end of it; without a new round where there is nowhere to jump to."""
    clock = time.perf_counter()
    start = state.center
    found = jump(model, start.u, state.penalties, settings)
    if found is None:
        return _ended(_settled(state, start, model, settings), model, settings)
    candidate = found.candidate.predicted
    true, ratio, failure = None, np.nan, ""
    try:
        true = model.truth(candidate.u)
    except EvaluationError as failed:  # no detours: between here and the start there is nothing that was promised
        failure = str(failed)
    if true is not None:
        improvement = merit(start, model.limits, found.penalties) - merit(true, model.limits, found.penalties)
        ratio = improvement / found.promised
        state = replace(state, points=(*state.points, true), steps=((start, true),))
    evaluations = model.evaluations
    state = _settled(state, true if true is not None and ratio > 0.0 else start, model, settings)
    record = Iteration(
        number=1,
        u=candidate.u,
        objective=np.nan if true is None else true.f,
        constraints=np.full_like(candidate.c, np.nan) if true is None else true.c,
        predicted_objective=candidate.f,
        predicted_constraints=candidate.c,
        ratio=ratio,
        accepted=ratio > 0.0,
        restoration=found.candidate.restoration,
        radius=found.radius,
        evaluations=evaluations,
        feasibility=state.kkt.feasibility,
        stationarity=state.kkt.stationarity,
        complementarity=state.kkt.complementarity,
        fit="",  # given surrogates stay what they are
        failure=failure,
        seconds=time.perf_counter() - clock,
    )
    return _ended(replace(state, rounds=(*state.rounds, record)), model, settings)


def _settled(state: State, center: Responses, model: Model, settings: Settings) -> State:
    """The state about the first center, exact where the budget allows."""
    if model.can_differentiate(center.u) and model.evaluations < settings.max_evaluations:
        center = model.differentiate(center.u)
    conditions = settings.conditions(center, model.limits)
    penalties = initial_penalties(center, conditions.multipliers)
    model.learn(center, list(state.steps), state.region.radius)
    return replace(state, center=center, kkt=conditions, penalties=penalties)


def _sharpened(state: State, model: Model, settings: Settings) -> State:
    """Difference the partials at a center that has none, where estimates have done what they can.

    They have where they say that it is an optimum, and where the last step was a poor one.
    """
    last = state.rounds[-1]
    done = state.kkt.certified or not last.accepted or not last.ratio >= state.region.poor
    if not done or not model.can_differentiate(state.center.u):
        return state
    return _differentiated(state, model, settings)


def _differentiated(state: State, model: Model, settings: Settings) -> State:
    """The same state with exact derivatives at the center."""
    center = model.differentiate(state.center.u)
    conditions = settings.conditions(center, model.limits)
    penalties = next_penalties(state.penalties, conditions.multipliers)
    steps = tuple((a, center if b.u is state.center.u else b) for a, b in state.steps)
    region = state.region
    if not state.rounds[-1].accepted:  # that was not for the length of the step
        region = replace(region, radius=state.rounds[-1].radius)
    state = replace(state, center=center, kkt=conditions, penalties=penalties, steps=steps, region=region)
    model.learn(center, list(state.steps), region.radius)
    return _ended(state, model, settings)


def _estimated(state: State, model: Model, settings: Settings) -> State:
    """The same state with the derivatives at the center that the surrogates have now."""
    found = model.corrected(state.center.u)
    center = replace(state.center, gradient=found.gradient, jacobian=found.jacobian)
    return replace(state, center=center, kkt=settings.conditions(center, model.limits))


def _ask(state: State, model: Model, settings: Settings) -> tuple[Candidate | None, State]:
    """A candidate that the surrogates hold for better than the center, shrinking the region until there is one."""
    limits = model.limits
    distance = [float(np.abs((point.u - state.center.u) / limits.width).max()) for point in state.points]
    nearest = [state.points[i].u for i in np.argsort(distance, kind="stable")[1 : settings.starts]]
    if state.failed:
        found = detour(state, model, nearest)
        if found is not None:
            return found, state
        length = state.region.length(state.failed[-1][0] - state.center.u, limits)
        state = replace(state, region=state.region.after(np.nan, length))
    least = settings.resolution if model.differenced else 0.0
    while not state.region.exhausted and state.region.radius >= least:
        box = state.region.box(state.center.u, limits)
        found = solve_subproblem(model.corrected, limits, state.center, box, state.penalties, nearest)
        length = state.region.length(found.predicted.u - state.center.u, limits)
        if length > _NO_STEP:
            return found, state
        state = replace(state, region=state.region.after(np.nan, _IDLE * state.region.radius))
    return None, state


def _judge(
    state: State, found: Candidate, true: Responses, limits: Limits, settings: Settings
) -> tuple[float, bool, KKT]:
    """Ratio of true to predicted improvement, whether to accept, and the optimality conditions at the candidate."""
    conditions = settings.conditions(true, limits)
    before = merit(state.center, limits, state.penalties)
    predicted = before - merit(found.predicted, limits, state.penalties)
    improvement = before - merit(true, limits, state.penalties)
    size = max(1.0, abs(before))
    better = _distance(conditions) < _distance(state.kkt)
    if predicted <= _ROUND_OFF * size or (improvement <= 0.0 and max(predicted, -improvement) <= _NOISE * size):
        # Values have no digits left to compare; gradients have.
        return (1.0 if better else -1.0), better, conditions
    return improvement / predicted, improvement > 0.0, conditions


def _distance(conditions: KKT) -> float:
    return max(conditions.feasibility, conditions.stationarity, conditions.complementarity)


def _ended(state: State, model: Model, settings: Settings) -> State:
    if state.kkt.certified and state.center.exact:
        verdict = _verified(state.center, model, settings)
        last = replace(state.rounds[-1], evaluations=model.evaluations)
        return replace(state, rounds=(*state.rounds[:-1], last), exit=verdict)
    if model.evaluations >= settings.max_evaluations:
        return replace(state, exit=Exit.BUDGET)
    if sum(map(len, state.failed)) >= settings.max_failures:
        return replace(state, exit=Exit.TRUTH_FAILED)
    return state


def _verified(center: Responses, model: Model, settings: Settings) -> Exit:
    """Whether the partials that say "optimum" belong to the values: one more evaluation, up to four in doubt."""
    if not settings.verify or model.differenced:
        return Exit.CERTIFIED
    for point in probes(center, model.limits):
        try:
            probe = model.truth(point)
        except EvaluationError:
            continue
        if contradiction(center, probe, settings.tolerance)[0] <= 1.0:
            return Exit.CERTIFIED
    return Exit.CONTRADICTED
