"""Two streams that collide: a solution of Stokes' equations in closed form."""

from __future__ import annotations

import numpy as np

from cases.learning.problem import LearningProblem
from gradopt import Variable


def colliding_flow(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate u = 20 x y^3, v = 5 x^4 - 5 y^4 and p = 60 x^2 y - 20 y^3: grad p = lap (u, v) and div (u, v) = 0.

    Args:
        xy: Points (n, 2), without unit.

    Returns:
        Velocities u and v and pressure p (n, 3), without unit, and their partials (n, 3, 2).
    """
    x, y = xy.T
    values = [20.0 * x * y**3, 5.0 * x**4 - 5.0 * y**4, 60.0 * x**2 * y - 20.0 * y**3]
    by_x = [20.0 * y**3, 20.0 * x**3, 120.0 * x * y]
    by_y = [60.0 * x * y**2, -20.0 * y**3, 60.0 * x**2 - 60.0 * y**2]
    return np.stack(values, axis=1), np.transpose([by_x, by_y])


STOKES = LearningProblem(
    name="stokes",
    title="velocities and pressure of the colliding flow, by Stokes' equations",
    inputs=(Variable("x", lower=-1.0, upper=1.0), Variable("y", lower=-1.0, upper=1.0)),
    outputs=(Variable("u"), Variable("v"), Variable("p")),
    evaluate=colliding_flow,
    sizes=(20, 40, 80),
    source="Elman, Silvester and Wathen (2014), Finite Elements and Fast Iterative Solvers, 2nd ed.: colliding flow",
)
