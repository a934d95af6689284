"""Metrics of gradient-enhanced kriging: in which coordinates a kernel has the same length in all directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_RIDGE = 0.1  # share of the mean eigenvalue of a metric that is added to every eigenvalue; chosen by hand


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Points and partials in a metric T.

    Attributes:
        root: T (d, d); points z have the coordinates z @ T.
        points: Points (n, d) in these coordinates.
        partials: Partials (n, m, d) with respect to these coordinates, NaN where unknown.
        unit: Unit of kernel lengths in these coordinates.
    """

    root: np.ndarray
    points: np.ndarray
    partials: np.ndarray
    unit: float


def isotropic(points: np.ndarray, partials: np.ndarray, output: int) -> Coordinates:
    """Keep the coordinates; the unit is the distance of the farthest point from the origin.

    Args:
        points: Points (n, d), not all at the origin.
        partials: Partials (n, m, d), NaN where unknown.
        output: Not used.
    """
    del output
    farthest = float(np.sqrt((points**2).sum(axis=1).max()))
    return Coordinates(np.eye(points.shape[1]), points, partials, farthest)


def from_gradients(points: np.ndarray, partials: np.ndarray, output: int) -> Coordinates:
    """Turn and stretch the coordinates so that the gradients of an output have nearly the same size in all directions.

    A draw of a Gaussian process with the kernel k(|T'(p - q)|) has gradients whose covariance is proportional to T T'.
    So the sample covariance of the known gradients gives T: short lengths where the output bends.

    Args:
        points: Points (n, d).
        partials: Partials (n, m, d), NaN where unknown. A point at which one partial of an output is unknown has none
            of that output in the new coordinates.
        output: Column of the output whose gradients give the metric.

    Returns:
        Coordinates whose T T' has a mean eigenvalue of one; the unit is one.
    """
    d = points.shape[1]
    gradients = partials[:, output]
    gradients = gradients[np.isfinite(gradients).all(axis=1)]
    covariance = gradients.T @ gradients / max(len(gradients), 1)
    size = np.trace(covariance) / d
    covariance = covariance / (size if size > 0.0 else 1.0) + _RIDGE * np.eye(d)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(eigenvalues / eigenvalues.mean())
    return Coordinates(vectors * root, points @ (vectors * root), partials @ (vectors / root), 1.0)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], Coordinates]] = {
    "isotropic": isotropic,
    "gradients": from_gradients,
}
"""Metrics by name."""
