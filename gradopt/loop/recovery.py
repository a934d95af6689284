"""Ways round a point where the truth failed: along the step first, then to other candidates, nearer and farther."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.state import State
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Model

_ALONG = (0.6, 1.5, 0.3, 2.2)  # parts of the step: where a truth fails is often thinner than the step is long
_RADII = (2.0, 0.5, 4.0, 0.25)  # of other regions, in turn, for a candidate beyond the failures or before them
_SAME = 1e-3  # of a step: candidates nearer to a failure than this would fail as well

Failed = tuple[tuple[np.ndarray, ...], ...]
"""Failures since the truth last answered: for each candidate that failed the candidate (k,), then its detours."""


def with_failure(failed: Failed, found: Candidate) -> Failed:
    """Append a candidate that failed."""
    if found.detour:
        return (*failed[:-1], (*failed[-1], found.predicted.u))
    return (*failed, (found.predicted.u,))


def detour(state: State, model: Model, nearest: Sequence[np.ndarray]) -> Candidate | None:
    """Find another candidate after a failure.

    Args:
        state: A state whose last candidate failed.
        model: The problem.
        nearest: Further starts of the inner optimization, each (k,).

    Returns:
        One that the surrogates hold for better than the center and that is not where the truth failed; None when there
        is none left, so that the region must shrink.
    """
    return _along(state, model) or _elsewhere(state, model, nearest)


def _along(state: State, model: Model) -> Candidate | None:
    limits, center, series = model.limits, state.center, state.failed[-1]
    step = series[0] - center.u
    height = merit(center, limits, state.penalties)
    for part in _ALONG:
        u = np.clip(center.u + part * step, limits.lower, limits.upper)
        if any(np.array_equal(u, tried) for tried in series):
            continue
        try:
            predicted = model.corrected(u)
        except EvaluationError:
            continue
        if merit(predicted, limits, state.penalties) < height:
            return Candidate(predicted, restoration=False, detour=True)
    return None


def _elsewhere(state: State, model: Model, nearest: Sequence[np.ndarray]) -> Candidate | None:
    limits, center, region = model.limits, state.center, state.region
    tried = [point for series in state.failed for point in series]
    for factor in _RADII[len(state.failed) - 1 :]:
        box = replace(region, radius=min(factor * region.radius, region.largest)).box(center.u, limits)
        found = solve_subproblem(model.corrected, limits, center, box, state.penalties, nearest)
        length = region.length(found.predicted.u - center.u, limits)
        apart = min(region.length(found.predicted.u - point, limits) for point in tried)
        if apart > _SAME * length:
            return found
    return None
