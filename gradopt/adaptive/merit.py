"""The merit that decides whether a step is accepted: objective plus weighted violations (exact l1 penalty)."""

from __future__ import annotations

import numpy as np

from gradopt.adaptive.problem import Limits, Responses

_MARGIN = 1.5  # over the multipliers: at exactly their size the penalty ceases to be exact
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
