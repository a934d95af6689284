"""Curvature from secants: what differences of gradients say about second derivatives."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_DAMPING = 0.2  # Powell's: least share of the present curvature that an update leaves along its step


def secant_hessian(pairs: Iterable[tuple[np.ndarray, np.ndarray]], sign: float, d: int) -> np.ndarray:
    """Accumulate damped BFGS updates into a definite matrix.

    Args:
        pairs: Steps (d,) and the differences of the gradient along them (d,), oldest first.
        sign: 1 for a positive definite matrix, -1 for a negative definite one, 0 for none.
        d: Dimension.

    Returns:
        Symmetric matrix (d, d), zero without any usable pair. The first pair sets its size in all directions.

    References:
        Powell (1978), A fast algorithm for nonlinearly constrained optimization calculations.
    """
    hessian: np.ndarray | None = None
    for step, difference in pairs:
        difference = sign * difference
        if not step.any() or not np.isfinite(difference).all():
            continue
        if hessian is None:
            size = abs(difference @ step) / (step @ step)
            if size == 0.0:
                continue
            hessian = size * np.eye(d)
        along = hessian @ step
        present = step @ along
        found = difference @ step
        damped = 1.0 if found >= _DAMPING * present else (1.0 - _DAMPING) * present / (present - found)
        target = damped * difference + (1.0 - damped) * along
        hessian = hessian - np.outer(along, along) / present + np.outer(target, target) / (step @ target)
    return np.zeros((d, d)) if hessian is None else sign * hessian
