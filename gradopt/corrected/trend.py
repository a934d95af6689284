"""A quadratic trend that values and gradients determine: what is common to all points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FLATNESS = 1.0  # weight of the prior at zero, in units of the data's mean weight on a second derivative; by hand


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A quadratic for each output.

    Attributes:
        center: Point (d,) about which the quadratic is written.
        value: Values there (m,).
        gradient: Gradients there (m, d).
        hessian: Second derivatives (m, d, d).
    """

    center: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate values and their partials.

        Args:
            z: Points (k, d), real or complex.

        Returns:
            Values (k, m) and partials (k, m, d).
        """
        z = z - self.center
        bent = np.einsum("kd,mde->kme", z, self.hessian)
        values = self.value + z @ self.gradient.T + 0.5 * np.einsum("kmd,kd->km", bent, z)
        return values, self.gradient + bent


def fit_quadratic(points: np.ndarray, values: np.ndarray, partials: np.ndarray) -> Quadratic:
    """Fit gradients and second derivatives to the known partials by least squares, then the constant to the values.

    The second derivatives have a prior at zero that weighs as much as the data do on average: the trend has a part of
    the curvature that the data show, and none in directions without data.

    Args:
        points: Points (n, d).
        values: Values (n, m).
        partials: Partials (n, m, d), NaN where unknown; unknown partials have no influence.

    Returns:
        The quadratic, written about the mean of the points.
    """
    center = points.mean(axis=0)
    z = points - center
    m, d = partials.shape[1:]
    gradient, hessian = np.zeros((m, d)), np.zeros((m, d, d))
    known = ~np.isnan(partials)
    for group in alike(known):
        gradient[group], hessian[group] = _slopes(z, partials[:, group], known[:, group[0]])
    flat = Quadratic(np.zeros(d), np.zeros(m), gradient, hessian)
    return Quadratic(center, (values - flat.evaluate(z)[0]).mean(axis=0), gradient, hessian)


def alike(known: np.ndarray) -> list[list[int]]:
    """Group outputs whose partials are known at the same places: these outputs share their matrices.

    Args:
        known: Whether a partial is known, bool (n, m, d).
    """
    groups: dict[bytes, list[int]] = {}
    for output in range(known.shape[1]):
        groups.setdefault(known[:, output].tobytes(), []).append(output)
    return list(groups.values())


def _slopes(z: np.ndarray, partials: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient at 0 (m, d) and second derivatives (m, d, d) from partials (n, m, d), known (n, d) for all outputs."""
    n, m, d = partials.shape
    rows, columns = np.triu_indices(d)
    bends = len(rows)
    terms = np.zeros((n, d, bends + d))
    for k, (i, j) in enumerate(zip(rows, columns, strict=True)):
        terms[:, i, k] = z[:, j]
        terms[:, j, k] = z[:, i]
    terms[:, :, bends:] = np.eye(d)
    terms[~known] = 0.0
    terms = terms.reshape(n * d, bends + d)
    targets = np.where(known[:, None], partials, 0.0).transpose(0, 2, 1).reshape(n * d, m)
    normal = terms.T @ terms
    prior = np.zeros(bends + d)
    prior[:bends] = _FLATNESS * np.trace(normal[:bends, :bends]) / bends
    normal[np.diag_indices_from(normal)] += np.maximum(prior, np.finfo(float).tiny)  # no partial known: no slope
    found = np.linalg.solve(normal, terms.T @ targets).T
    hessian = np.zeros((m, d, d))
    hessian[:, rows, columns] = found[:, :bends]
    hessian[:, columns, rows] = found[:, :bends]
    return found[:, bends:], hessian
