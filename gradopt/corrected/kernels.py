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
        """Return the covariance of the values, and after them of partials times the length by point.

        Returns:
            Matrix (n + n d, n + n d), of which the lower triangle is set: it is symmetric.

        Args:
            points: Points (n, d).
            length: Kernel length.
        """
        ...

    def predict(
        self, apart: np.ndarray, lengths: np.ndarray, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sum kernels and their derivatives.

        Args:
            apart: Differences (k, n, d) of where to evaluate and of points, real or complex.
            lengths: Kernel lengths (m,).
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
        apart = (points[:, None] - points) / length
        k, u, h = self.profile((apart**2).sum(axis=-1, keepdims=True))
        first = u * k
        pull = first * apart
        return _joined(k[..., 0], pull, -h * pull, apart, first)

    def predict(
        self, apart: np.ndarray, lengths: np.ndarray, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Kernel`."""
        inverse = 1.0 / lengths**2
        square = np.einsum("knd,knd->kn", apart, apart)  # not the absolute value: complex step must pass
        k, u, h = self.profile(square[..., None] * inverse)
        first = u * k
        along = inverse * np.einsum("knd,nmd->knm", apart, slopes)
        values = (k * (heights + u * along)).sum(axis=1)
        pull = (first * (heights + h * along)).swapaxes(1, 2) @ apart
        return values, inverse[:, None] * (np.einsum("knm,nmd->kmd", first, slopes) - pull)


class AdditiveKernel:
    """Sum of squared exponential kernels of single variables and of products of two.

    Unlike a radial kernel it is tied to the axes: a metric that turns these changes what it can learn.
    """

    def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
        """See `Kernel`."""
        count = _terms(points.shape[1])
        apart = (points[:, None] - points) / length
        each = np.exp(-0.5 * apart**2)
        total = each.sum(axis=-1)
        others = (1.0 + total[..., None] - each) / count
        pulled = apart * each
        own = (1.0 - apart**2) * each * others + pulled**2 / count  # less the product below
        return _joined(_additive(each, total) / count, pulled * others, -pulled / count, pulled, own)

    def predict(
        self, apart: np.ndarray, lengths: np.ndarray, heights: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Kernel`."""
        count = _terms(apart.shape[-1])
        heights, slopes = heights.T, slopes.swapaxes(0, 1) / lengths[:, None, None]
        of_length = lengths[:1] if (lengths == lengths[0]).all() else lengths
        apart = apart[:, None] / of_length[:, None, None]  # (k, m or 1, n, d)
        square = apart * apart
        each = np.exp(-0.5 * square)
        total = each.sum(axis=-1)
        inner = each * (1.0 + total[..., None] - each)
        pulled, inclined = apart * each, apart * inner
        own = inner - square * inner + pulled * pulled
        along = np.einsum("kmni,mni->kmn", pulled, slopes)
        values = np.einsum("kmn,mn->km", _additive(each, total), heights) + np.einsum("kmni,mni->km", inclined, slopes)
        pull = along[:, :, None] @ pulled + heights[:, None] @ inclined
        partials = np.einsum("kmni,mni->kmi", own, slopes) - pull[:, :, 0]
        return values / count, partials / (count * lengths[:, None])


def _terms(d: int) -> float:
    """Number of single variables and pairs."""
    return d + 0.5 * d * (d - 1)


def _additive(each: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.asarray(total + 0.5 * (total**2 - np.einsum("...i,...i->...", each, each)))


def _joined(values: np.ndarray, across: np.ndarray, left: np.ndarray, right: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Lower triangle of the covariances of values (n, n), with partials (n, n, d), and of partials with partials.

    The latter are the outer products of `left` and `right` (n, n, d); `own`, (n, n, d) or (n, n, 1), is added for each
    variable with itself.
    """
    n, d = across.shape[1:]
    matrix = np.empty((n + n * d, n + n * d))
    matrix[:n, :n] = values
    matrix[n:, :n] = across.reshape(n, n * d).T  # value at the first point, partials at the second
    both = matrix[n:, n:].reshape(n, d, n, d)
    for p in range(n):  # point by point, without an array (n, n, d, d)
        near = slice(p + 1)
        block = np.einsum("qi,qj->iqj", left[p, near], right[p, near], out=both[p, :, near])
        diagonal = np.einsum("iqi->qi", block)
        diagonal += own[p, near]
    return matrix


KERNELS: dict[str, Kernel] = {
    **{name: RadialKernel(profile) for name, profile in RADIAL.items()},
    "additive": AdditiveKernel(),
}
"""Kernels by name."""
