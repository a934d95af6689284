"""Verdicts on finite-differenced partials: central differences before a certificate, and what their errors allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradopt.data.lengths import lengths_of
from gradopt.data.variables import column_bounds, column_names
from gradopt.loop.problem import Problem
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Stage, State

_TIMES = 3  # refinements of one point: two change the step by a factor of 20 in each direction or twice in one; by hand
_GAIN = 20.0  # factor by which one refinement lowers an error of noise at most: that of its step
_VAGUE = 0.1  # error of a constraint's gradient, as a part of it, from which the gradient has no direction; by hand


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


def exhausted(state: State, problem: Problem, settings: Settings) -> State:
    """Return the state after no better candidate was found: ended, or about to refine the partials at the iterate.

    An end says "infeasible" only where the violations exceed the resolutions of the constraints and their gradients are
    known.
    """
    infeasible = state.conditions.feasibility > settings.feasibility_tolerance
    ended = replace(state, exit=Exit.INFEASIBLE if infeasible else Exit.EXHAUSTED)
    if not state.finite_differenced:
        return ended
    if _can_refine(state, problem, settings) and not _times(state, problem):
        return replace(state, stage=Stage.REFINING)
    error = state.iterate.error
    doubtful = error is not None and state.conditions.stationarity > settings.tolerance
    if doubtful and not infeasible:
        exact = settings.conditions(replace(state.iterate, error=None), problem.limits)
        doubtful = state.conditions.stationarity > 2.0 * exact.stationarity
    if infeasible:
        resolution, violation = _resolutions(state, problem), problem.limits.violations(state.iterate.c)
        known = state.iterate.exact and error is not None or not is_differenced(state, problem)
        vague = np.zeros(len(violation), dtype=bool)
        if error is not None:
            vague = np.linalg.norm(error[1:], axis=1) > _VAGUE * np.linalg.norm(state.iterate.jacobian, axis=1)
        doubtful = bool(((violation > 0.0) & ((violation <= resolution) | vague | (not known))).any())
    if not doubtful:
        return ended
    return replace(state, exit=Exit.RESOLUTION, failure=_explanation(state, problem, settings))


def judged_differences(state: State, problem: Problem, settings: Settings) -> State | None:
    """Judge a current iterate with exact partials, some of them finite-differenced.

    Returns:
        The state, ended, or about to refine the partials; None where its optimality conditions stand as they are.
    """
    if not is_differenced(state, problem):
        return None
    without = settings.conditions(replace(state.iterate, error=None), problem.limits)
    if not without.certified:
        return None
    if state.conditions.certified and state.iterate.error is not None:
        if not _hidden(state, problem, settings).any():
            return None
    elif _can_refine(state, problem, settings) and _may_suffice(state, problem, settings):
        if state.evaluations >= settings.max_evaluations:
            return replace(state, exit=Exit.BUDGET)
        return replace(state, stage=Stage.REFINING)
    return replace(state, exit=Exit.RESOLUTION, failure=_explanation(state, problem, settings))


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
    return settings.conditions(replace(state.iterate, error=lower), problem.limits).certified


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
    for bound, room in ((limits.c_lower, c - limits.c_lower), (limits.c_upper, limits.c_upper - c)):
        size = np.where(np.isfinite(bound), np.maximum(1.0, np.abs(bound)), np.inf)
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
        least = float(_resolutions(state, problem)[hidden].max())
        words += f" Violations are hidden below {least:.1e}: feasibility_tolerance={2.0 * least:.0e} can be met."
    elif settings.tolerance < attainable < 0.5:
        words += f" tolerance={2.0 * attainable:.0e} can be met."
    else:
        words += " No tolerance can be met."
    return words.strip()
