"""Derivative check: the last one before a verdict, of partials against values beside an optimum."""

from __future__ import annotations

import numpy as np

from gradopt.optimality.problem import Limits, Responses

_STEPS = (1e-4, 1e-3)  # in units of the ranges: the short one against curvature, the long one against noise; by hand
_WRONG = 1e-3  # part of the slope along the step that may be missing: adjoints are that exact; by hand


def probes(center: Responses, limits: Limits) -> list[np.ndarray]:
    """Return points (k,) near the center from which the partials can be checked, in the order to be tried.

    All design variables move, each by a length of its own, so that no wrong entry stays unseen and two wrong ones
    cancel by chance only; at a bound they move inside. Fixed ones stay.
    """
    room_up, room_down = limits.upper - center.u, center.u - limits.lower
    generator = np.random.default_rng(0)
    lengths = generator.uniform(0.5, 1.0, center.u.shape) * limits.width
    signs = generator.choice([-1.0, 1.0], center.u.shape)
    found = []
    for side in (1.0, -1.0):
        for step in _STEPS:
            wanted = side * signs * lengths * step
            blocked = np.where(wanted > 0.0, room_up, room_down) < np.abs(wanted)
            moved = np.where(blocked, -wanted, wanted)
            found.append(np.clip(center.u + moved, limits.lower, limits.upper))
    return found


def contradiction(center: Responses, probe: Responses, tolerance: float) -> tuple[float, int]:
    """Measure how far values and partials of two near points contradict each other.

    Between them the change of a smooth response is the mean of its two slopes along the step, up to the third power
    of the step (trapezoidal rule). The rest is measured against the slopes themselves, or against the tolerance of
    the optimality conditions, whichever is more.

    Args:
        center: Responses at one point.
        probe: Responses at the other.
        tolerance: Limit of the optimality conditions.

    Returns:
        The largest contradiction over objective and constraints, above 1 where it cannot be put down to curvature or
        round-off, and its row: 0 for the objective, then the constraints.
    """
    step = probe.u - center.u
    change = np.append(probe.f - center.f, probe.c - center.c)
    at = np.vstack([center.gradient, center.jacobian])
    beyond = np.vstack([probe.gradient, probe.jacobian])
    expected = 0.5 * (at + beyond) @ step
    size = 0.5 * (np.abs(at) + np.abs(beyond)) @ np.abs(step)
    round_off = 1e-13 * np.append(abs(center.f) + abs(probe.f), np.abs(center.c) + np.abs(probe.c))
    allowed = np.maximum(_WRONG * size, tolerance * np.abs(step).sum()) + round_off
    measure = np.abs(change - expected) / np.maximum(allowed, np.finfo(float).tiny)
    row = int(measure.argmax())
    return float(measure[row]), row
