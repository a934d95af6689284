"""The front that viscous Burgers' equation makes of a sine."""

from __future__ import annotations

import numpy as np

from cases.learning.problem import LearningProblem
from gradopt import Variable

VISCOSITY = 0.1 / np.pi  # ten times that of the source, whose front takes thousands of points
NODES = 100  # of Gauss-Hermite quadrature: 1e-12 in the partials


def front(tx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve u_t + u u_x = nu u_xx from u = -sin(pi x), with u = 0 at x = -1 and 1.

    By Cole and Hopf u = -2 nu (log theta)_x, and theta is the mean of exp(-cos(pi y) / (2 pi nu)) over y, normal around
    x with variance 2 nu t. So the derivatives of log theta are cumulants of the slope of that exponent.

    Args:
        tx: Times, not negative, and places (n, 2), without unit.

    Returns:
        u (n, 1) without unit, and its partials by t and x (n, 1, 2).
    """
    t, x = tx.T
    nodes, weights = np.polynomial.hermite.hermgauss(NODES)
    y = np.pi * (x[:, None] - 2.0 * np.sqrt(VISCOSITY * t)[:, None] * nodes)
    exponent = -np.cos(y) / (2.0 * np.pi * VISCOSITY)
    weights = weights * np.exp(exponent - exponent.max(axis=1, keepdims=True))  # free of overflow
    weights /= weights.sum(axis=1, keepdims=True)

    def mean(q: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nk->n", weights, q)

    slope = np.sin(y) / (2.0 * VISCOSITY)
    bend = np.pi * np.cos(y) / (2.0 * VISCOSITY)
    first = mean(slope)
    gap = slope - first[:, None]
    second = mean(bend + gap**2)
    third = mean(-(np.pi**2) * slope + 3.0 * bend * gap + gap**3)
    u, u_x, u_xx = -2.0 * VISCOSITY * np.stack([first, second, third])
    return u[:, None], np.stack([VISCOSITY * u_xx - u * u_x, u_x], axis=1)[:, None]


BURGERS = LearningProblem(
    name="burgers",
    title="velocity by viscous Burgers' equation, from a sine",
    inputs=(Variable("t", lower=0.0, upper=1.0), Variable("x", lower=-1.0, upper=1.0)),
    outputs=(Variable("u"),),
    evaluate=front,
    sizes=(30, 80, 200),
    source="Basdevant et al. (1986), Spectral and finite difference solutions of the Burgers equation, "
    "Computers & Fluids 14, 23-41",
)
