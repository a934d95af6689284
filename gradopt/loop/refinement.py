"""Verdicts on finite-differenced partials: central differences before a certificate, and what their errors allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradopt.data.lengths import lengths_of
from gradopt.data.variables import column_bounds, column_names
from gradopt.loop.learning import can_differentiate
from gradopt.loop.problem import Problem
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Stage, State, TruthPoint
from gradopt.loop.subproblem import Candidate
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Responses
from gradopt.optimality.scales import without_objective

_TIMES = 4  # refinements of one point: the slopes, their check, and steps changed twice by a factor of 20; by hand
_GAIN = 20.0  # factor by which one refinement lowers an error of noise at most: that of its step
_COARSE = (
    1e-9  # noise, as a part of the changes of an output, from which slopes near an optimum are always checked; by hand
)
_ROUND_OFF = 1e-12  # noise of the merit, as a part of the objective or its changes, that may be round-off; by hand
_VAGUE = 0.1  # part of a gradient from which an error takes its direction, or up to which it counts as none; by hand


def outputs_that_matter(state: State, problem: Problem) -> list[np.ndarray]:
    """Return for each truth the mask (m,) of the outputs that objective or constraints depend on at the iterate."""
    return [weights > 0.0 for weights in _weights(state, problem, every=True)]


def output_weights(state: State, problem: Problem) -> list[np.ndarray]:
    """Return for each truth the weights (m,) of the outputs in the Lagrangian, with those of violated constraints."""
    return _weights(state, problem, every=False)


def _weights(state: State, problem: Problem, every: bool) -> list[np.ndarray]:
    found = [np.zeros(samples.values.shape[1]) for samples in state.samples]
    for index, component in enumerate(problem.components):
        weights = np.ones_like(found[component.truth])
        if state.at >= 0 and state.iterate.sensitivities:
            sensitivities = np.abs(state.iterate.sensitivities[index])
            if sensitivities.any():  # else the model is approximated as a whole: nothing is known of its parts
                size = np.ones(len(sensitivities) - 1)
                if not every:
                    size = np.nan_to_num(np.abs(state.conditions.multipliers), nan=1.0)
                    size = size + (problem.limits.violations(state.iterate.c) > 0.0)
                weights = sensitivities[0] + size @ sensitivities[1:]
        found[component.truth] = found[component.truth] + weights
    return found


def is_differenced(state: State, problem: Problem) -> bool:
    """Whether partials at the current iterate were finite-differenced."""
    return bool(_places(state, problem))


def is_one_sided(state: State, problem: Problem) -> bool:
    """Whether partials at the current iterate are one-sided differences, so that central ones can add to them."""
    return is_differenced(state, problem) and not _times(state, problem)


def checks(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether central differences at the current iterate are to come with their error.

    They are before a verdict, and wherever values have few digits or noise.
    """
    return state.stage is Stage.REFINING or is_coarse(state, problem, settings)


def is_coarse(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether an output that matters has few digits or noise, beside its changes so far."""
    parts = zip(output_weights(state, problem), _noise(state, problem, settings), state.samples, strict=True)
    for weights, noise, samples in parts:
        assert samples.data is not None
        if (noise > _COARSE * np.ptp(samples.data.y, axis=0))[weights > 0.0].any():
            return True
    return False


def value_noise(state: State, problem: Problem, settings: Settings) -> np.ndarray:
    """Return the noise (1 + p,) of objective and constraints at the iterate, 0 where no partials are differenced.

    It is the resolution of the values, or what central differences have shown beyond that.
    """
    found = np.zeros(1 + len(state.iterate.c))
    if not state.finite_differenced:
        return found
    noise = _noise(state, problem, settings)
    for index, component in enumerate(problem.components):
        if state.iterate.sensitivities:
            found += np.abs(state.iterate.sensitivities[index]) @ noise[component.truth]
    return found


def exhausted(state: State, problem: Problem, settings: Settings) -> State:
    """Return the state after no better candidate was found: ended, or about to refine the partials at the iterate.

    An end on finite differences says "infeasible" only where the violations exceed the resolutions of the constraints,
    the gradients of these are known, and no direction lowers the violations to first order.
    """
    infeasible = state.conditions.feasibility > settings.feasibility_tolerance
    if not state.finite_differenced:
        return replace(state, exit=Exit.INFEASIBLE if infeasible else Exit.EXHAUSTED)
    stuck = infeasible and not _can_lower_violations(state, problem)
    ended = replace(state, exit=Exit.INFEASIBLE if stuck else Exit.EXHAUSTED)
    if state.iterate.error is None and _can_refine(state, problem, settings):
        return replace(state, stage=Stage.REFINING)
    error, noise = state.iterate.error, value_noise(state, problem, settings)
    if infeasible:
        violation = problem.limits.violations(state.iterate.c)
        vague = np.full(len(violation), is_differenced(state, problem) or not state.iterate.exact)
        if error is not None:
            vague = np.linalg.norm(error[1:], axis=1) >= _VAGUE * np.linalg.norm(state.iterate.jacobian, axis=1)
        doubtful = bool(((violation > 0.0) & ((violation <= noise[1:]) | vague)).any())
    else:
        doubtful = _unsure(state, problem, settings)
    if not doubtful:
        return ended
    return undecided(state, problem, settings)


def _can_lower_violations(state: State, problem: Problem) -> bool:
    """Whether the sum of squared violations has a slope at the iterate, within the bounds of the design variables."""
    limits, iterate = problem.limits, state.iterate
    beyond = iterate.c - np.clip(iterate.c, limits.c_lower, limits.c_upper)
    slope = beyond @ iterate.jacobian
    room = np.where(slope > 0.0, iterate.u - limits.lower, limits.upper - iterate.u) > 0.0
    size = np.linalg.norm((np.abs(beyond) @ np.abs(iterate.jacobian)) * limits.width)
    return float(np.linalg.norm(slope * room * limits.width)) > _VAGUE * float(size)


def undecided(state: State, problem: Problem, settings: Settings) -> State:
    """Return the state where values tell candidates apart no more: ended unless better partials can be had first."""
    if can_differentiate(state, problem):
        return state
    if state.iterate.error is None and _can_refine(state, problem, settings):
        return replace(state, stage=Stage.REFINING)
    return replace(state, exit=Exit.RESOLUTION, failure=_explanation(state, problem, settings))


def judged_differences(state: State, problem: Problem, settings: Settings) -> State | None:
    """Judge a current iterate with exact partials, some of them finite-differenced.

    Returns:
        The state, ended, or about to refine the partials; None where its optimality conditions stand as they are.
    """
    if not is_differenced(state, problem):
        return None
    without = settings.conditions(replace(state.iterate, error=None), state.explored, problem.limits)
    if without.certified and state.conditions.certified and state.iterate.error is not None:
        if not _hidden(state, problem, settings).any():
            return None
    elif not without.certified and not (moved_blindly(state, problem, settings) and _unsure(state, problem, settings)):
        return None
    elif _can_refine(state, problem, settings) and _may_suffice(state, problem, settings):
        if state.evaluations >= settings.max_evaluations:
            return replace(state, exit=Exit.BUDGET)
        return replace(state, stage=Stage.REFINING)
    return replace(state, exit=Exit.RESOLUTION, failure=_explanation(state, problem, settings))


def tells_nothing(state: State, found: Candidate, true: TruthPoint, problem: Problem, settings: Settings) -> bool:
    """Whether predicted and actual reduction of the merit are within noise of the values above round-off."""
    noise = _merit_noise(state, [state.iterate, true], problem, settings)
    before = merit(state.iterate, problem.limits, state.penalties)
    reductions = [before - merit(point, problem.limits, state.penalties) for point in (found.predicted, true)]
    return float(np.abs(reductions).max()) <= noise


def moved_blindly(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether the step to the current iterate changed the merit by no more than noise of the values above round-off."""
    if not state.finite_differenced or not state.steps or state.steps[-1][1] != state.at:
        return False
    ends = [state.points[index] for index in state.steps[-1]]
    before, after = (merit(point, problem.limits, state.penalties) for point in ends)
    return abs(before - after) <= _merit_noise(state, ends, problem, settings)


def _merit_noise(state: State, points: Sequence[Responses], problem: Problem, settings: Settings) -> float:
    """Noise of the merit at points, -1 where it is no more than round-off."""
    if not state.finite_differenced:
        return -1.0
    noise = value_noise(state, problem, settings)
    violated = np.sum([problem.limits.violations(point.c) for point in points], axis=0) > 0.0
    found = float(noise[0] + (state.penalties * violated) @ noise[1:])
    span = max(point.f for point in state.points) - min(point.f for point in state.points)
    return found if found > _ROUND_OFF * max(span, abs(state.iterate.f)) else -1.0


def _unsure(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether what is left of the gradient at a feasible iterate is within the errors of its partials."""
    if state.iterate.error is None or state.conditions.feasibility > settings.feasibility_tolerance:
        return False
    without = settings.conditions(replace(state.iterate, error=None), state.explored, problem.limits)
    left = max(without.stationarity, without.complementarity)
    return left <= max(state.conditions.stationarity, state.conditions.complementarity) - left


def _places(state: State, problem: Problem) -> list[tuple[int, int]]:
    """Truth and row of each sample at the current iterate whose partials were finite-differenced."""
    parts = zip(problem.components, state.iterate.rows, strict=True)
    places = [(component.truth, row) for component, row in parts]
    return [(truth, row) for truth, row in dict.fromkeys(places) if row in state.samples[truth].difference_rows]


def _times(state: State, problem: Problem) -> int:
    """Number of refinements at the current iterate."""
    return min((state.samples[truth].refinements.count(row) for truth, row in _places(state, problem)), default=0)


def _can_refine(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether central differences can add to the partials at the current iterate."""
    if not state.iterate.exact or _times(state, problem) >= _TIMES:
        return False
    weights = output_weights(state, problem)
    return any(
        len(state.samples[truth].refinement(row, settings.finite_differences, weights[truth]).points)
        for truth, row in _places(state, problem)
    )


def _may_suffice(state: State, problem: Problem, settings: Settings) -> bool:
    """Whether the refinements that are left can lower the errors below the tolerance."""
    if state.iterate.error is None:
        return True
    lower = state.iterate.error / _GAIN ** (_TIMES - _times(state, problem))
    return settings.conditions(replace(state.iterate, error=lower), state.explored, problem.limits).certified


def _noise(state: State, problem: Problem, settings: Settings) -> list[np.ndarray]:
    """Noise (m,) of the outputs of each truth: at the last point with central differences, and the resolution here."""
    found = []
    weights = output_weights(state, problem)
    rows = {c.truth: row for c, row in zip(problem.components, state.iterate.rows, strict=True)}
    for truth, samples in enumerate(state.samples):
        noise = samples.resolution(rows[truth])
        if samples.refinements:
            last = samples.refinement(samples.refinements[-1], settings.finite_differences, weights[truth], False)
            noise = np.maximum(noise, last.noise())
        found.append(noise)
    return found


def _resolutions(state: State, problem: Problem) -> np.ndarray:
    """Resolutions (p,) of the constraints at the current iterate; 0 where nothing is known of them."""
    found = np.zeros(len(state.iterate.c))
    for index, component in enumerate(problem.components):
        if state.iterate.sensitivities:
            resolution = state.samples[component.truth].resolution(state.iterate.rows[index])
            found += np.abs(state.iterate.sensitivities[index][1:]) @ resolution
    return found


def _hidden(state: State, problem: Problem, settings: Settings) -> np.ndarray:
    """Mask (p,) of the constraints at a bound whose violation the resolution may hide, bool."""
    limits, c = problem.limits, state.iterate.c
    resolution = _resolutions(state, problem)
    found = np.zeros(len(c), dtype=bool)
    size = without_objective(state.iterate, state.explored.iterates, limits).constraints
    for room in (c - limits.c_lower, limits.c_upper - c):
        found |= (resolution > settings.feasibility_tolerance * size) & (room < resolution)
    return found


def _explanation(state: State, problem: Problem, settings: Settings) -> str:
    """Name the output whose noise or resolution is behind the errors, and what can be done."""
    weights, worst, words = output_weights(state, problem), -1.0, ""
    for truth, row in _places(state, problem):
        samples = state.samples[truth]
        plan = samples.refinement(row, settings.finite_differences, weights[truth])
        plan = replace(plan, steps=np.full_like(plan.steps, np.nan))  # as it is, without further points
        lengths = lengths_of(*column_bounds(samples.inputs), plan.x)
        share = weights[truth][:, None] * plan.errors() * lengths
        output, column = np.unravel_index(int(share.argmax()), share.shape)
        if share[output, column] > worst:
            worst = float(share[output, column])
            name, wrt = column_names(samples.outputs)[output], column_names(samples.inputs)[column]
            resolution, noise = plan.resolution[output], plan.noise()[output]
            what = f"a resolution of {resolution:.1e}"
            if noise > 2.0 * resolution:
                what = f"noise of about {noise:.1e}"
            step = plan.steps_used()[output, column] / lengths[column]
            words = (
                f"The output {name!r} has {what} at {plan.y[output]:.6g}, which leaves an error of "
                f"{plan.errors()[output, column]:.1e} in its partial by {wrt!r}; the best step is "
                f"FiniteDifferences({step:.1e})."
            )
    hidden = _hidden(state, problem, settings)
    attainable = state.conditions.stationarity
    if hidden.any():
        size = without_objective(state.iterate, state.explored.iterates, problem.limits).constraints
        least = float((_resolutions(state, problem) / size)[hidden].max())
        words += f" Violations are hidden below {least:.1e}: feasibility_tolerance={2.0 * least:.0e} can be met."
    elif settings.tolerance < attainable < 0.5:
        words += f" tolerance={2.0 * attainable:.0e} can be met."
    else:
        words += " No tolerance can be met."
    return words.strip()
