"""Merit by which a step is accepted or rejected: objective plus weighted violations (exact l1 penalty)."""

from __future__ import annotations

import numpy as np

from gradopt.optimality.problem import Limits, Responses

# All in units of scaled objective per scaled violation, or ratios; chosen by hand.
_MARGIN = 1.5  # factor over the multipliers: at exactly their size the penalty is exact no more
_TYPICAL = (
    0.1  # first penalty over the ratio of the gradients of objective and constraint, where multipliers are smaller
)
_STALLED = 0.8  # part of a violation that an accepted step leaves at most, or its penalty is raised
_RAISE = 4.0  # factor by which it is raised
_LEAST = 1e-3  # smallest penalty, so that no violation of an inactive constraint is free


def merit(responses: Responses, limits: Limits, penalties: np.ndarray) -> float:
    """Return the objective plus the violations weighted by penalties (p,)."""
    return float(responses.f + penalties @ limits.violations(responses.c))


def initial_penalties(iterate: Responses, multipliers: np.ndarray) -> np.ndarray:
    """Return penalties (p,) before any step: above the multipliers (p,), and above zero where these are zero."""
    slopes = np.linalg.norm(iterate.jacobian, axis=1)
    steepness = float(np.linalg.norm(iterate.gradient))
    typical = np.divide(steepness, slopes, out=np.ones_like(slopes), where=slopes > 0.0)
    return np.maximum(np.maximum(_MARGIN * np.abs(multipliers), _TYPICAL * typical), _LEAST)


def next_penalties(penalties: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """Return penalties (p,) near the multipliers (p,): raised at once, lowered by half of the way (Powell 1978)."""
    target = _MARGIN * np.abs(multipliers)
    return np.maximum(np.maximum(target, 0.5 * (penalties + target)), _LEAST)


def raised_penalties(penalties: np.ndarray, before: np.ndarray, after: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Raise the penalties of constraints whose violation an accepted step left.

    Multipliers from estimated or finite-differenced derivatives may be far too small, and a merit with such penalties
    trades feasibility for the objective.

    Args:
        penalties: Penalties (p,).
        before: Violations at the previous iterate (p,).
        after: Violations at the new iterate (p,).
        tolerance: Violations (p,) below which no penalty is raised.

    Returns:
        Penalties (p,).
    """
    return np.where((after > tolerance) & (after > _STALLED * before), _RAISE * penalties, penalties)
