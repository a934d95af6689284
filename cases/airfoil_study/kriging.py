"""One surrogate of all that is known: gradient-enhanced kriging in the metric that the gradients themselves show.

A quadratic trend carries what is common to all points; a Gaussian process learns what it misses. Where a response is a
draw of a process with the covariance s^2 k(|T'(a - b)|), that of its gradient is proportional to T T'. So the sample
covariance of the known gradients, less those of the trend, says along which combinations of inputs the response bends,
and how much shorter it is to be trusted there: for airfoils, some waves of the surface count fifty times as much as
others. In inputs turned and stretched by T one length scale is enough; it is chosen for each output by the evidence.
Everything is done in transformed outputs.

The covariance is Matern's with smoothness 3/2 (Rasmussen and Williams 2006, sections 4.2 and 9.4): partials are known,
second derivatives are not believed to be smooth. The squared exponential, which believes that, and a straight trend
both see too little drag to be saved beyond the designs that are known, and designs rest too early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from gradopt.corrected.correction import CorrectedEvaluation, about
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling

_RIDGE = 0.1  # part of the mean of the metric's eigenvalues that no direction goes without
_STEP = 1.4  # between the length scales that are compared
_NUGGETS = (1e-9, 1e-7, 1e-5)  # relative variance that stands for round-off
_FIRST_LENGTH = 2.0  # in units of the metric
_FLAT = 1.0  # weight of the belief in a straight trend, as a part of what the mean bend is known with
_NEAR = 1e-12  # kernel lengths: points nearer to each other are one


@dataclass(frozen=True, eq=False)
class Process:
    """One output.

    Attributes:
        metric: T over the length scale (d, d): distances in z @ metric are in kernel lengths.
        step: Which length scale it has, in units of the metric that the gradients show: a place in `_length`.
        points: Where value and partials are known, in kernel lengths (n, d).
        value_weights: Of the kernels (n,).
        partial_weights: Of their derivatives (n, d).
    """

    metric: np.ndarray
    step: int
    points: np.ndarray
    value_weights: np.ndarray
    partial_weights: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d): values (k,) and partials (k, d)."""
        apart = (z @ self.metric)[:, None, :] - self.points
        kernel, first, second = _matern(apart)
        along = (self.partial_weights * apart).sum(axis=-1)
        values = kernel @ self.value_weights + (first * along).sum(axis=-1)
        heights = first * self.value_weights + second * along
        partials = first @ self.partial_weights - np.einsum("kn,knd->kd", heights, apart)
        return values, partials @ self.metric.T


@dataclass(frozen=True, eq=False)
class MetricKriging:
    """A fitted surrogate: a quadratic trend and a process for each output.

    Attributes:
        scaling: Input columns in units of their bounds, output columns transformed.
        center: Mean of the known points in these (d,).
        value: Trend there (m,).
        slope: Of the trend there (m, d).
        curvature: Of the trend (m, d, d).
        processes: What the trend misses, one for each output.
    """

    scaling: Scaling
    center: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    processes: tuple[Process, ...]

    def distances(self, output: int) -> np.ndarray:
        """Turns differences of physical inputs into kernel lengths of an output: |(a - b) @ distances|, (d, d)."""
        return self.processes[output].metric / self.scaling.input_scale[:, None]

    def evaluate(self, x: np.ndarray) -> CorrectedEvaluation:
        """Evaluate x (k, d), physical."""
        z = self.scaling.scale_inputs(x) - self.center
        missed = [process.evaluate(z) for process in self.processes]
        bent = np.einsum("kd,mde->kme", z, self.curvature)
        trend = self.value + z @ self.slope.T + 0.5 * np.einsum("kmd,kd->km", bent, z)
        values = trend + np.stack([value for value, _ in missed], axis=1)
        partials = self.slope + bent + np.stack([partial for _, partial in missed], axis=1)
        y = self.scaling.unscale_outputs(values)
        return CorrectedEvaluation(x, y, partials, self.scaling)


def fit(data: Dataset, output: int, previous: MetricKriging | None = None, search: bool = True) -> MetricKriging:
    """Condition on all values and partials.

    Args:
        data: At least two points, all partials known, all inputs with bounds.
        output: Column whose gradients show the metric: the objective's, where the others are smoother.
        previous: An earlier fit, at whose length scales the search starts.
        search: Whether to search; otherwise the length scales are those of `previous`.

    Returns:
        The surrogate.
    """
    scaling = about(data, 0)
    z = scaling.scale_inputs(data.x)
    values = scaling.scale_outputs(data.y)
    partials = scaling.scale_partials(data.x, data.y, data.partials)
    center = z.mean(axis=0)
    z = z - center
    slope, curvature = _trend(z, partials)
    bent = np.einsum("kd,mde->kme", z, curvature)
    left = values - z @ slope.T - 0.5 * np.einsum("kmd,kd->km", bent, z)
    value = left.mean(axis=0)
    left, missed = left - value, partials - slope - bent
    root, inverse = _metric(missed[:, output])
    points, (n, m, d) = z @ root, missed.shape
    targets = np.concatenate([left, (missed @ inverse).swapaxes(1, 2).reshape(n * d, m)])
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def at(step: int) -> tuple[np.ndarray, np.ndarray]:
        if step not in found:
            found[step] = _condition(points, _length(step), targets)
        return found[step]

    processes = []
    for k in range(m):
        step = 0 if previous is None else previous.processes[k].step
        while search or previous is None:  # evidence has one maximum in practice: walk uphill
            best = max((step, step - 1, step + 1), key=lambda one: at(one)[1][k])  # noqa: B023 (used at once)
            if best == step:
                break
            step = best
        weights, length = at(step)[0][:, k], _length(step)
        processes.append(Process(root / length, step, points / length, weights[:n], weights[n:].reshape(n, d)))
    return MetricKriging(scaling, center, value, slope, curvature, tuple(processes))


def _length(step: int) -> float:
    return _FIRST_LENGTH * _STEP**step


def _trend(z: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quadratic whose gradients fit those (n, m, d) at z (n, d) best: slope at 0 (m, d) and curvature (m, d, d).

    Both by least squares, the curvature's with a belief in 0: where the data say little, the trend is straight.
    """
    n, m, d = gradients.shape
    rows, columns = np.triu_indices(d)
    bends = len(rows)
    terms = np.zeros((n, d, bends + d))
    for k, (i, j) in enumerate(zip(rows, columns, strict=True)):
        terms[:, i, k] = z[:, j]
        terms[:, j, k] = z[:, i]
    terms[:, :, bends:] = np.eye(d)
    terms = terms.reshape(n * d, bends + d)
    normal = terms.T @ terms
    belief = _FLAT * np.trace(normal[:bends, :bends]) / bends
    normal[np.diag_indices(bends)] += max(belief, np.finfo(float).tiny)
    found = np.linalg.solve(normal, terms.T @ gradients.transpose(0, 2, 1).reshape(n * d, m)).T
    curvature = np.zeros((m, d, d))
    curvature[:, rows, columns] = found[:, :bends]
    curvature[:, columns, rows] = found[:, :bends]
    return found[:, bends:], curvature


def _metric(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T (d, d) with T T' the covariance of gradients (n, d), scaled to a mean eigenvalue of one; and T'^-1."""
    d = gradients.shape[1]
    covariance = gradients.T @ gradients / len(gradients)
    size = np.trace(covariance) / d
    covariance = covariance / (size if size > 0.0 else 1.0) + _RIDGE * np.eye(d)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(eigenvalues / eigenvalues.mean())
    return vectors * root, vectors / root


def _condition(points: np.ndarray, length: float, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n + n d, m) of kernels and their derivatives in kernel lengths, and the log evidence of each output."""
    n, d = points.shape
    size = np.append(np.ones(n), np.full(n * d, length))
    scaled = targets * size[:, None]
    matrix = _covariance(points / length)
    diagonal = matrix.diagonal().copy()
    for nugget in _NUGGETS:
        matrix[np.diag_indices_from(matrix)] = (1.0 + nugget) * diagonal
        try:
            factor = cho_factor(matrix, lower=True, check_finite=False)
        except LinAlgError:
            continue
        solved = cho_solve(factor, scaled, check_finite=False)
        variance = np.maximum((scaled * solved).mean(axis=0), np.finfo(float).tiny)
        # Targets in these units change with the length; their density must not.
        evidence = -0.5 * len(scaled) * np.log(variance) - np.log(np.diag(factor[0])).sum() + np.log(size).sum()
        return solved, evidence
    return np.zeros(targets.shape), np.full(targets.shape[1], -np.inf)


def _covariance(points: np.ndarray) -> np.ndarray:
    """Covariance (n + n d, n + n d) of values and partials, points in kernel lengths."""
    n, d = points.shape
    apart = points[:, None] - points
    kernel, first, second = _matern(apart)
    matrix = np.empty((n + n * d, n + n * d))
    matrix[:n, :n] = kernel
    matrix[:n, n:] = (first[..., None] * apart).reshape(n, n * d)
    matrix[n:, :n] = matrix[:n, n:].T
    blocks = matrix[n:, n:].reshape(n, d, n, d)
    for j in range(d):  # without the array (n, n, d, d) and its transpose
        blocks[:, j] = -(second * apart[..., j])[..., None] * apart
        blocks[:, j, :, j] += first
    return matrix


def _matern(apart: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matern's covariance and its derivatives at differences (..., d) = a - b.

    Returns:
        The covariance k of two values; f, where k's derivative by b is f (a - b); and g, where that by a and b is
        f I - g (a - b)(a - b)'.
    """
    r = np.sqrt(3.0 * (apart**2).sum(axis=-1))
    decay = np.exp(-r)
    return (1.0 + r) * decay, 3.0 * decay, 9.0 * decay / np.maximum(r, _NEAR)
