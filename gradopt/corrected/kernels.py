"""Kernels of gradient-enhanced kriging, with the derivatives that partials need.

With a difference of points a = p - q in kernel lengths, a radial kernel k(|a|) has the derivatives

    dk/dq = u k a        d2k/dp dq' = u k (I - h a a')

and is given by a function that computes k, u and h. The additive kernel is a sum over single variables and over pairs:

    k = (sum_i k_i + sum_{i<j} k_i k_j) / C        k_i = exp(-a_i^2 / 2)        C = d + d (d - 1) / 2

It is 1 where points coincide, and stands for responses that are sums of functions of one and two variables. With
S = sum k_i the second sum is (S^2 - sum k_i^2) / 2, so that it costs what a radial kernel costs. Its derivatives are

    dk/dq_i = a_i k_i (1 + S - k_i) / C
    d2k/dp_i dq_j = -a_i k_i a_j k_j / C  for i != j        d2k/dp_i dq_i = (1 - a_i^2) k_i (1 + S - k_i) / C

References:
    Rasmussen & Williams (2006), Gaussian processes for machine learning, sections 4.2 and 9.4.
    Duvenaud, Nickisch & Rasmussen (2011), Additive Gaussian processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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


RADIAL: dict[str, Callable[[np.ndarray], Radial]] = {
    "squared exponential": squared_exponential,
    "Matern 3/2": matern_3_2,
    "Matern 5/2": matern_5_2,
}
"""Radial kernels by name."""


class Kernel(Protocol):
    """Covariance of values and partials."""

    def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
        """Return the covariance (n + n d, n + n d) of the values, and after them of partials times the length by point.

        Args:
            points: Points (n, d).
            length: Kernel length.
        """
        ...

    def predict(
        self, apart: np.ndarray, length: float, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sum kernels and their derivatives.

        Args:
            apart: Differences (k, n, d) of where to evaluate and of points, real or complex.
            length: Kernel length.
            heights: Weights (n, m) of the kernels.
            slopes: Weights (n, m, d) of their derivatives with respect to the points.

        Returns:
            Values (k, m) and partials (k, m, d).
        """
        ...


@dataclass(frozen=True)
class RadialKernel:
    """Kernel of the distance.

    Attributes:
        profile: Function that computes the kernel and its derivatives from squared distances.
    """

    profile: Callable[[np.ndarray], Radial]

    def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
        """See `Kernel`."""
        n, d = points.shape
        apart = (points[:, None] - points) / length
        k, u, h = self.profile((apart**2).sum(axis=-1, keepdims=True))
        first = u * k
        matrix, blocks = _joined(k[..., 0], first * apart)
        outer = np.empty_like(apart)
        for i in range(d):  # row by row, without an array (n, n, d, d)
            np.multiply(h * apart[..., i : i + 1], apart, out=outer)
            np.multiply(-first, outer, out=blocks[:, i])
            blocks[:, i, :, i] = first[..., 0] * (1.0 - outer[..., i])
        return matrix

    def predict(
        self, apart: np.ndarray, length: float, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Kernel`."""
        inverse = 1.0 / length**2
        square = (apart**2).sum(axis=-1, keepdims=True)  # not the absolute value: complex step must pass
        k, u, h = self.profile(inverse * square)
        first = (u * k)[..., 0]
        along = inverse * np.einsum("nmd,knd->knm", slopes, apart)
        values = np.einsum("kn,knm->km", k[..., 0], heights + u * along)
        pull = np.einsum("kn,knm,knd->kmd", first, heights + h * along, apart)
        return values, inverse * (np.einsum("kn,nmd->kmd", first, slopes) - pull)


class AdditiveKernel:
    """Sum of squared exponential kernels of single variables and of products of two.

    Unlike a radial kernel it is tied to the axes: a metric that turns these changes what it can learn.
    """

    def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
        """See `Kernel`."""
        d = points.shape[1]
        count = _terms(d)
        apart = (points[:, None] - points) / length
        each = np.exp(-0.5 * apart**2)
        total = each.sum(axis=-1)
        others = 1.0 + total[..., None] - each
        pulled = apart * each
        matrix, blocks = _joined(_additive(each, total) / count, pulled * others / count)
        for i in range(d):
            np.multiply(-pulled[..., i : i + 1] / count, pulled, out=blocks[:, i])
            blocks[:, i, :, i] = (1.0 - apart[..., i] ** 2) * each[..., i] * others[..., i] / count
        return matrix

    def predict(
        self, apart: np.ndarray, length: float, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Kernel`."""
        count = _terms(apart.shape[-1])
        apart, slopes = apart / length, slopes / length
        each = np.exp(-0.5 * apart**2)
        total = each.sum(axis=-1)
        others = 1.0 + total[..., None] - each
        pulled = apart * each
        inclined = pulled * others
        values = _additive(each, total) @ heights + np.einsum("kni,nmi->km", inclined, slopes)
        along = np.einsum("kni,nmi->knm", pulled, slopes)
        own = (1.0 - apart**2) * each * others + pulled**2
        partials = np.einsum("kni,nmi->kmi", own, slopes) - np.einsum("kni,knm->kmi", pulled, along)
        partials -= np.einsum("kni,nm->kmi", inclined, heights)
        return values / count, partials / (count * length)


def _terms(d: int) -> float:
    """Number of single variables and pairs."""
    return d + 0.5 * d * (d - 1)


def _additive(each: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.asarray(total + 0.5 * (total**2 - (each**2).sum(axis=-1)))


def _joined(values: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix with the covariances of values (n, n), and with partials (n, n, d); and its part of partials alone."""
    n, d = across.shape[1:]
    matrix = np.empty((n + n * d, n + n * d))
    matrix[:n, :n] = values
    matrix[:n, n:] = across.reshape(n, n * d)  # value at the first point, partials at the second
    matrix[n:, :n] = matrix[:n, n:].T
    return matrix, matrix[n:, n:].reshape(n, d, n, d)


KERNELS: dict[str, Kernel] = {
    **{name: RadialKernel(profile) for name, profile in RADIAL.items()},
    "additive": AdditiveKernel(),
}
"""Kernels by name."""
