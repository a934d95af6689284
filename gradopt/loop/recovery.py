"""Failure recovery: other candidates after the truth failed, along the step first, then in other trust regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.state import State
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Limits, Responses

# By hand: where a truth fails is often thinner than the step is long, so points before and beyond it come first.
_ALONG = (0.6, 1.5, 0.3, 2.2)  # parts of the step
_RADII = (2.0, 0.5, 4.0, 0.25)  # factors on the trust-region radius, in turn
_UNTRIED = (0.1, 1e-2, 1e-4, 1e-6, 1e-8)  # likewise before any step has succeeded: the unit itself may be far too long
_SAME = 1e-3  # part of a step: a candidate nearer to a failed point than this would fail as well; by hand

Failed = tuple[tuple[np.ndarray, ...], ...]
"""Failed points since the truth last succeeded: for each failed candidate the point (k,), then those of `_along`."""


def with_failures(failed: Failed, found: Sequence[Candidate]) -> Failed:
    """Append a batch of candidates that all failed: those on the line of an earlier one to it, the others as one."""
    along = [one.predicted.u for one in found if one.along_step]
    if along:
        failed = (*failed[:-1], (*failed[-1], *along))
    elsewhere = [one.predicted.u for one in found if not one.along_step]
    return (*failed, tuple(elsewhere)) if elsewhere else failed


def recoveries(
    state: State, model: Callable[[np.ndarray], Responses], limits: Limits, nearest: Sequence[np.ndarray]
) -> Iterator[Candidate]:
    """Find other candidates after a failure.

    Args:
        state: State whose last candidate failed.
        model: Responses on the corrected surrogates at u (k,).
        limits: Bounds of the problem.
        nearest: Further starts of the trust-region subproblem, each (k,).

    Yields:
        Candidates with a lower predicted merit than the current iterate, away from the failed points and from each
        other; none when there are none left, so that the trust region must shrink.
    """
    yield from _along(state, model, limits)
    yield from _elsewhere(state, model, limits, nearest)


def _along(state: State, model: Callable[[np.ndarray], Responses], limits: Limits) -> Iterator[Candidate]:
    iterate, series = state.iterate, state.failed[-1]
    step = series[0] - iterate.u
    height = merit(iterate, limits, state.penalties)
    for part in _ALONG:
        u = np.clip(iterate.u + part * step, limits.lower, limits.upper)
        if any(np.array_equal(u, tried) for tried in series):
            continue
        try:
            predicted = model(u)
        except EvaluationError:
            continue
        if merit(predicted, limits, state.penalties) < height:
            yield Candidate(predicted, restoration=False, along_step=True)


def _elsewhere(
    state: State, model: Callable[[np.ndarray], Responses], limits: Limits, nearest: Sequence[np.ndarray]
) -> Iterator[Candidate]:
    iterate, region = state.iterate, state.trust_region
    tried = [point for series in state.failed for point in series]
    radii = _RADII if state.steps else _UNTRIED
    for factor in radii[len(state.failed) - 1 :]:
        box = replace(region, radius=min(factor * region.radius, region.largest)).box(iterate.u, limits)
        found = solve_subproblem(model, limits, iterate, box, state.penalties, nearest)
        length = region.length(found.predicted.u - iterate.u, limits)
        apart = min(region.length(found.predicted.u - point, limits) for point in tried)
        if apart > _SAME * length:
            tried.append(found.predicted.u)
            yield found
