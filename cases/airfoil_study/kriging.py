"""One surrogate of all that is known: gradient-enhanced kriging in the metric that the gradients themselves show.

Where a response is a draw of a Gaussian process with the kernel s^2 exp(-|T'(a - b)|^2 / 2), the covariance of its
gradient is s^2 T T'. So the sample covariance of the known gradients, less a linear trend, says along which
combinations of inputs the response bends, and how much shorter it is to be trusted there: for airfoils, some waves of
the surface count fifty times as much as others. In inputs turned and stretched by T one length scale is enough; it is
chosen for each output by the evidence. Everything is done in transformed outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from gradopt.adaptive.correction import CorrectedEvaluation, about
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling

_RIDGE = 0.02  # part of the mean of the metric's eigenvalues that no direction goes without
_STEP = 1.4  # between the length scales that are compared
_NUGGETS = (1e-9, 1e-7, 1e-5)  # relative variance that stands for round-off
_FIRST_LENGTH = 1.0  # in units of the metric, in which it would be one for a draw of the process


@dataclass(frozen=True, eq=False)
class Process:
    """One output.

    Attributes:
        metric: T / length, (d, d): distances in z @ metric are in kernel lengths.
        length: Length scale in units of the metric that the gradients show.
        points: Where value and partials are known, in kernel lengths (n, d).
        value_weights: Of the kernels (n,).
        partial_weights: Of their derivatives (n, d).
    """

    metric: np.ndarray
    length: float
    points: np.ndarray
    value_weights: np.ndarray
    partial_weights: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at z (k, d): values (k,) and partials (k, d)."""
        apart = (z @ self.metric)[:, None, :] - self.points
        kernel = np.exp(-0.5 * (apart**2).sum(axis=-1))
        heights = kernel * (self.value_weights + (self.partial_weights * apart).sum(axis=-1))
        partials = kernel @ self.partial_weights - np.einsum("kn,knd->kd", heights, apart)
        return heights.sum(axis=-1), partials @ self.metric.T


@dataclass(frozen=True, eq=False)
class MetricKriging:
    """A fitted surrogate: a linear trend and a process for each output.

    Attributes:
        scaling: Input columns in units of their bounds, output columns transformed.
        center: Mean of the known points in these (d,).
        value: Trend there (m,).
        slope: Of the trend (m, d).
        processes: What the trend misses, one for each output.
    """

    scaling: Scaling
    center: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    processes: tuple[Process, ...]

    def distances(self, output: int) -> np.ndarray:
        """Turns differences of physical inputs into kernel lengths of an output: |(a - b) @ distances|, (d, d)."""
        return self.processes[output].metric / self.scaling.input_scale[:, None]

    def evaluate(self, x: np.ndarray) -> CorrectedEvaluation:
        """Evaluate x (k, d), physical."""
        z = self.scaling.scale_inputs(x) - self.center
        missed = [process.evaluate(z) for process in self.processes]
        values = self.value + z @ self.slope.T + np.stack([value for value, _ in missed], axis=1)
        partials = self.slope + np.stack([partial for _, partial in missed], axis=1)
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
    slope = partials.mean(axis=0)
    value = (values - z @ slope.T).mean(axis=0)
    left, bent = values - value - z @ slope.T, partials - slope
    lengths = [_FIRST_LENGTH] * data.m if previous is None else [one.length for one in previous.processes]
    search = search or previous is None
    turned = _metric(bent[:, output])
    processes = [_process(z, left[:, k], bent[:, k], lengths[k], search, turned) for k in range(data.m)]
    return MetricKriging(scaling, center, value, slope, tuple(processes))


def _process(
    z: np.ndarray,
    values: np.ndarray,
    gradients: np.ndarray,
    length: float,
    search: bool,
    turned: tuple[np.ndarray, np.ndarray],
) -> Process:
    """Condition one output on values (n,) and gradients (n, d) at z (n, d), in inputs turned as `_metric` says."""
    root, inverse = turned
    points = z @ root
    targets = np.append(values, (gradients @ inverse).ravel())
    found: dict[int, tuple[np.ndarray, float]] = {}

    def at(step: int) -> tuple[np.ndarray, float]:
        if step not in found:
            found[step] = _condition(points, length * _STEP**step, targets)
        return found[step]

    step = 0
    while search:  # evidence has one maximum in practice: walk uphill
        best = max((step, step - 1, step + 1), key=lambda one: at(one)[1])
        if best == step:
            break
        step = best
    weights, n = at(step)[0], len(z)
    length = length * _STEP**step
    return Process(root / length, length, points / length, weights[:n], weights[n:].reshape(z.shape))


def _metric(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T (d, d) with T T' the covariance of gradients (n, d), scaled to a mean eigenvalue of one; and T'^-1."""
    d = gradients.shape[1]
    covariance = gradients.T @ gradients / len(gradients)
    size = np.trace(covariance) / d
    covariance = covariance / (size if size > 0.0 else 1.0) + _RIDGE * np.eye(d)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(eigenvalues / eigenvalues.mean())
    return vectors * root, vectors / root


def _condition(points: np.ndarray, length: float, targets: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (n + n d,) of kernels and their derivatives in kernel lengths, and the log evidence."""
    n, d = points.shape
    size = np.append(np.ones(n), np.full(n * d, length))
    scaled = targets * size
    matrix = _covariance(points / length)
    for nugget in _NUGGETS:
        matrix[np.diag_indices_from(matrix)] = 1.0 + nugget
        try:
            factor = cho_factor(matrix, lower=True, check_finite=False)
        except LinAlgError:
            continue
        solved = cho_solve(factor, scaled, check_finite=False)
        variance = max(float(scaled @ solved) / len(scaled), np.finfo(float).tiny)
        # Targets in these units change with the length; their density must not.
        evidence = -0.5 * len(scaled) * np.log(variance) - np.log(np.diag(factor[0])).sum() + np.log(size).sum()
        return solved, float(evidence)
    return np.zeros(targets.shape), -np.inf


def _covariance(points: np.ndarray) -> np.ndarray:
    """Covariance (n + n d, n + n d) of values and partials, points in kernel lengths."""
    n, d = points.shape
    apart = points[:, None] - points
    kernel = np.exp(-0.5 * (apart**2).sum(axis=-1))
    matrix = np.empty((n + n * d, n + n * d))
    matrix[:n, :n] = kernel
    matrix[:n, n:] = (kernel[..., None] * apart).reshape(n, n * d)
    matrix[n:, :n] = matrix[:n, n:].T
    blocks = matrix[n:, n:].reshape(n, d, n, d)
    for j in range(d):  # without the array (n, n, d, d) and its transpose
        blocks[:, j] = -(kernel * apart[..., j])[..., None] * apart
        blocks[:, j, :, j] += kernel
    return matrix
