"""Kernels of gradient-enhanced kriging, all functions of a distance, with the derivatives that partials need.

With a difference of points a = p - q in kernel lengths, a kernel k(|a|) has the derivatives

    dk/dq = u k a        d2k/dp dq' = u k (I - h a a')

A kernel here is a function that computes k, u and h.

References:
    Rasmussen & Williams (2006), Gaussian processes for machine learning, sections 4.2 and 9.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_COINCIDENT = 1e-12  # kernel lengths, chosen by hand: points nearer to each other are one point


class Radial(NamedTuple):
    """A kernel and its derivatives at distances of any shape (...).

    Attributes:
        k: Values of the kernel (...).
        u: Factor of the first derivative, (...) or a number.
        h: Factor of the second derivative, (...) or a number.
    """

    k: np.ndarray
    u: np.ndarray | float
    h: np.ndarray | float


def squared_exponential(square: np.ndarray) -> Radial:
    """Compute the squared exponential kernel exp(-r^2 / 2): responses with derivatives of every order.

    Args:
        square: Squared distances (...) in kernel lengths, real or complex.
    """
    return Radial(np.exp(-0.5 * square), 1.0, 1.0)


def matern_3_2(square: np.ndarray) -> Radial:
    """Compute the Matern kernel (1 + s) exp(-s), s = sqrt(3) r: responses with one derivative.

    Args:
        square: Squared distances (...) in kernel lengths, real or complex.
    """
    s = np.sqrt(3.0 * square)
    return Radial((1.0 + s) * np.exp(-s), 3.0 / (1.0 + s), 3.0 / np.maximum(s, _COINCIDENT))


def matern_5_2(square: np.ndarray) -> Radial:
    """Compute the Matern kernel (1 + s + s^2 / 3) exp(-s), s = sqrt(5) r: responses with two derivatives.

    Args:
        square: Squared distances (...) in kernel lengths, real or complex.
    """
    s = np.sqrt(5.0 * square)
    polynomial = 1.0 + s + s**2 / 3.0
    return Radial(polynomial * np.exp(-s), 5.0 / 3.0 * (1.0 + s) / polynomial, 5.0 / (1.0 + s))


KERNELS: dict[str, Callable[[np.ndarray], Radial]] = {
    "squared exponential": squared_exponential,
    "Matern 3/2": matern_3_2,
    "Matern 5/2": matern_5_2,
}
"""Kernels by name."""
