"""The merit that decides whether a step is accepted: objective plus weighted violations (exact l1 penalty)."""

from __future__ import annotations

import numpy as np

from gradopt.optimality.problem import Limits, Responses

_MARGIN = 1.5  # over the multipliers: at exactly their size the penalty ceases to be exact
_STALLED = 0.8  # part of a violation that a step leaves at most, or its penalty is too low
_RAISE = 4.0
_LEAST = 1e-3  # so that an inactive constraint cannot be violated for nothing


def merit(responses: Responses, limits: Limits, penalties: np.ndarray) -> float:
    """Objective plus violations weighted by penalties (p,)."""
    return float(responses.f + penalties @ limits.violations(responses.c))


def initial_penalties(center: Responses, multipliers: np.ndarray) -> np.ndarray:
    """Penalties (p,) before any step: above the multipliers (p,), and worth following where these say nothing."""
    slopes = np.linalg.norm(center.jacobian, axis=1)
    steepness = float(np.linalg.norm(center.gradient))
    typical = np.divide(steepness, slopes, out=np.ones_like(slopes), where=slopes > 0.0)
    return np.maximum(np.maximum(_MARGIN * np.abs(multipliers), 0.1 * typical), _LEAST)


def next_penalties(penalties: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """Follow the multipliers: at once upwards, by half downwards, so that penalties stay near them (Powell 1978)."""
    wanted = _MARGIN * np.abs(multipliers)
    return np.maximum(np.maximum(wanted, 0.5 * (penalties + wanted)), _LEAST)


def raised_penalties(penalties: np.ndarray, before: np.ndarray, after: np.ndarray, tolerance: float) -> np.ndarray:
    """Raise the penalties of constraints that an accepted step did not bring nearer.

    Multipliers from estimated or differenced derivatives may be far too small, and a merit with such penalties trades
    feasibility for the objective.

    Args:
        penalties: (p,).
        before: Violations at the old center (p,).
        after: Violations at the new center (p,).
        tolerance: Violation that is none.

    Returns:
        Penalties (p,).
    """
    return np.where((after > tolerance) & (after > _STALLED * before), _RAISE * penalties, penalties)
