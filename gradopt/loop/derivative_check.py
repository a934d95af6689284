"""Derivative check: the last one before a verdict, of partials against values beside an optimum."""

from __future__ import annotations

import numpy as np

from gradopt.optimality.problem import Limits, Responses

_STEPS = (1e-4, 1e-3)  # in units of the ranges: the short one against curvature, the long one against noise; by hand
_WRONG = 1e-3  # part of the slope along the step that may be missing: adjoints are that exact; by hand


def probes(iterate: Responses, limits: Limits) -> list[np.ndarray]:
    """Return points (k,) near the current iterate, at which the partials can be checked, in the order to be tried.

    All design variables move, each by a length of its own, so that no wrong entry stays unseen and two wrong ones
    cancel by chance only; at a bound they move inside. Fixed ones stay.
    """
    room_up, room_down = limits.upper - iterate.u, iterate.u - limits.lower
    generator = np.random.default_rng(0)
    lengths = generator.uniform(0.5, 1.0, iterate.u.shape) * limits.width
    signs = generator.choice([-1.0, 1.0], iterate.u.shape)
    found = []
    for side in (1.0, -1.0):
        for step in _STEPS:
            moves = side * signs * lengths * step
            blocked = np.where(moves > 0.0, room_up, room_down) < np.abs(moves)
            moved = np.where(blocked, -moves, moves)
            found.append(np.clip(iterate.u + moved, limits.lower, limits.upper))
    return found


def contradiction(iterate: Responses, probe: Responses, tolerance: float) -> tuple[float, int]:
    """Measure how far values and partials of two near points contradict each other.

    Between them the change of a smooth response is the mean of its two slopes along the step, up to the third power
    of the step (trapezoidal rule). The rest is measured against the slopes themselves, or against the tolerance of
    the optimality conditions, whichever is more.

    Args:
        iterate: Responses at the current iterate.
        probe: Responses at the point beside it.
        tolerance: Limit of the optimality conditions.

    Returns:
        The largest contradiction over objective and constraints, above 1 where it cannot be put down to curvature or
        round-off, and its row: 0 for the objective, then the constraints.
    """
    step = probe.u - iterate.u
    change = np.append(probe.f - iterate.f, probe.c - iterate.c)
    at = np.vstack([iterate.gradient, iterate.jacobian])
    beyond = np.vstack([probe.gradient, probe.jacobian])
    expected = 0.5 * (at + beyond) @ step
    size = 0.5 * (np.abs(at) + np.abs(beyond)) @ np.abs(step)
    round_off = 1e-13 * np.append(abs(iterate.f) + abs(probe.f), np.abs(iterate.c) + np.abs(probe.c))
    allowed = np.maximum(_WRONG * size, tolerance * np.abs(step).sum()) + round_off
    measure = np.abs(change - expected) / np.maximum(allowed, np.finfo(float).tiny)
    row = int(measure.argmax())
    return float(measure[row]), row
