"""Gradient-enhanced kriging: Gaussian processes conditioned on values and partials, with lengths chosen by evidence.

Kernel, metric and trend are fields of a configuration. A trend is subtracted first; the metric gives coordinates in
which one length is enough; each output has the length whose evidence is a maximum near the start of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from gradopt.corrected.kernels import KERNELS
from gradopt.corrected.metric import METRICS
from gradopt.corrected.trend import Quadratic, alike, fit_quadratic
from gradopt.errors import InputError, explain

LENGTHS = tuple(0.05 * 2.0**k for k in range(8))
"""Kernel lengths that are compared by default, in units of the distance of the farthest point from the origin.

Chosen by hand.
"""

COMPARED = 400
"""Values and partials by whose evidence lengths are compared by default: an eighth of the cost of 800; by hand."""

TRENDS = ("none", "quadratic")
"""Trends by name."""

_NOISES = (1e-10, 1e-6, 1e-4, 1e-3, 1e-2)
"""Relative variances of noise that are compared where there may be noise; chosen by hand."""

_ROUND_OFF = 1e-12  # part of the largest partial of an output that a trend leaves as round-off; by hand


@dataclass(frozen=True)
class KrigingConfiguration:
    """What a kriging assumes; the defaults are those of the adaptive loop, which adds one with the kernel "additive".

    Attributes:
        kernel: Name in `KERNELS`.
        metric: Name in `METRICS`.
        metric_output: Column of the output whose gradients give the metric "gradients".
        trend: Name in `TRENDS`.
        lengths: Kernel lengths that are compared, ascending, in the unit of the metric.
        first: Index in `lengths` where a search starts.
        nuggets: Relative variances that stand for round-off, ascending; each is used where the one before it fails.
        compared: Values and partials together, at the points nearest to the origin, by whose evidence lengths are
            compared; all where there are fewer.
        near_nugget: Share of the nugget at the origin; the share grows with the squared distance, to 1 at the farthest
            point.

    Raises:
        InputError: If a name is unknown, or `first` is no index of `lengths`.
    """

    kernel: str = "squared exponential"
    metric: str = "isotropic"
    metric_output: int = 0
    trend: str = "none"
    lengths: tuple[float, ...] = LENGTHS
    first: int = 3
    nuggets: tuple[float, ...] = (1e-10, 1e-8, 1e-6)
    near_nugget: float = 1e-4
    compared: int = COMPARED

    def __post_init__(self) -> None:
        """Check names and the index."""
        for name, known in (("kernel", KERNELS), ("metric", METRICS), ("trend", TRENDS)):
            value = getattr(self, name)
            if value not in known:
                names = ", ".join(repr(one) for one in known)
                raise InputError(explain(name, f"be one of {names}", repr(value), "Choose one of these names."))
        if not 0 <= self.first < len(self.lengths):
            expected = f"be an index of `lengths`, from 0 to {len(self.lengths) - 1}"
            raise InputError(explain("first", expected, self.first, "The middle is a good start."))


@dataclass(frozen=True, eq=False)
class Kriging:
    """Mean of Gaussian processes, one for each output, conditioned on values and partials.

    Attributes:
        kernel: Name of the kernel in `KERNELS`.
        root: Metric T (d, d); points z have the coordinates z @ T.
        points: Points with data (n, d), in these coordinates.
        lengths: Kernel lengths (m,), in these coordinates.
        length_indices: Indices of these in the configuration's `lengths` (m,).
        value_weights: Weights of the kernels (n, m).
        partial_weights: Weights of the derivatives of the kernels (n, m, d).
        trend: Trend that is added, or None.
    """

    kernel: str
    root: np.ndarray
    points: np.ndarray
    lengths: np.ndarray
    length_indices: tuple[int, ...]
    value_weights: np.ndarray
    partial_weights: np.ndarray
    trend: Quadratic | None = None

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate mean values and their partials.

        Args:
            z: Points (k, d), real or complex.

        Returns:
            Values (k, m) and partials (k, m, d).
        """
        apart = (z @ self.root)[:, None, :] - self.points
        predict = KERNELS[self.kernel].predict
        values, partials = predict(apart, self.lengths, self.value_weights, self.partial_weights)
        partials = partials @ self.root.T
        if self.trend is None:
            return values, partials
        common, inclined = self.trend.evaluate(z)
        return common + values, inclined + partials

    def times(self, factor: np.ndarray, unit: float) -> Kriging:
        """Return the process times factors (m,), as a function of coordinates a `unit` of which was 1; no trend."""
        assert self.trend is None
        return replace(
            self,
            points=self.points * unit,
            lengths=self.lengths * unit,
            value_weights=self.value_weights * factor,
            partial_weights=self.partial_weights * (unit * factor)[:, None],
        )

    def in_lengths(self, output: int) -> np.ndarray:
        """Return the matrix (d, d) that turns differences of points into kernel lengths of an output."""
        return self.root / self.lengths[output]


def krige(
    points: np.ndarray,
    values: np.ndarray,
    partials: np.ndarray,
    length_indices: Sequence[int] | None = None,
    noisy: bool = False,
    configuration: KrigingConfiguration = KrigingConfiguration(),  # noqa: B008 (frozen)
    search: bool = True,
) -> Kriging:
    """Condition on values and partials.

    Args:
        points: Points (n, d), not all at the origin.
        values: Values (n, m).
        partials: Partials (n, m, d), NaN where unknown.
        length_indices: Indices into the configuration's `lengths` where the search starts, one for each output: those
            of an earlier kriging. By default all are the configuration's `first`.
        noisy: Whether values and partials may have noise; without it they are interpolated to round-off.
        configuration: Kernel, metric, trend and lengths.
        search: Whether to search for the lengths; without it they stay at the start of the search.

    Returns:
        The processes, each with the length whose evidence is a maximum near the start.
    """
    found = list(length_indices) if length_indices is not None else [configuration.first] * values.shape[1]
    trend = None
    if configuration.trend == "quadratic":
        trend = fit_quadratic(points, values, partials)
        common, inclined = trend.evaluate(points)
        size = np.nanmax(np.abs(partials), axis=(0, 2), initial=0.0)[:, None]
        values, partials = values - common, partials - inclined
        partials = np.where(np.abs(partials) <= _ROUND_OFF * size, 0.0, partials)  # or it would give the metric
    metric = METRICS[configuration.metric](points, partials, configuration.metric_output)
    n, m = values.shape
    value_weights, partial_weights = np.empty(values.shape), np.empty(partials.shape)
    for group in alike(~np.isnan(metric.partials)):
        fits = _Fits(metric.points, metric.unit, values[:, group], metric.partials[:, group], configuration, noisy)
        compared = fits.nearest(configuration.compared)
        for place, output in enumerate(group):
            if search:
                found[output] = compared.climb(found[output], place)
            weights = fits.at(found[output])[0][:, place]
            value_weights[:, output] = weights[:n]
            partial_weights[:, output] = weights[n:].reshape(points.shape)
    lengths = np.array([configuration.lengths[index] * metric.unit for index in found])
    return Kriging(
        configuration.kernel, metric.root, metric.points, lengths, tuple(found), value_weights, partial_weights, trend
    )


class _Fits:
    """Weights and evidence at each kernel length, computed once for outputs whose partials are known alike."""

    def __init__(
        self,
        points: np.ndarray,
        unit: float,
        values: np.ndarray,
        partials: np.ndarray,
        configuration: KrigingConfiguration,
        noisy: bool,
    ) -> None:
        n, m = values.shape
        self._points, self._unit, self._configuration = points, unit, configuration
        self._targets = np.concatenate([values, partials.swapaxes(1, 2).reshape(-1, m)])  # partials point by point
        self._mask = np.isfinite(self._targets).all(axis=1)
        self._slack = np.ones(n)  # noise is the same everywhere
        self._nuggets: list[Sequence[float]] = [[noise] for noise in _NOISES]
        if not noisy:
            square = (points**2).sum(axis=1)
            self._slack = np.clip(square / square.max(), configuration.near_nugget, 1.0)
            self._nuggets = [configuration.nuggets]
        self._found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def nearest(self, most: int) -> _Fits:
        """Return the fits to the points nearest to the origin, as many as have `most` values and partials together."""
        n, d = self._points.shape
        count = max(most // (d + 1), 2)
        if count >= n:
            return self
        rows = np.argsort((self._points**2).sum(axis=1), kind="stable")[:count]
        found = copy(self)
        found._points, found._slack, found._found = self._points[rows], self._slack[rows], {}
        places = np.concatenate([rows, (n + d * rows[:, None] + np.arange(d)).ravel()])
        found._targets, found._mask = self._targets[places], self._mask[places]
        return found

    def climb(self, index: int, output: int) -> int:
        """Return the index of the length at which the evidence of an output has a maximum, uphill from an index."""
        while True:  # evidence has one maximum in practice
            near = [i for i in (index, index - 1, index + 1) if 0 <= i < len(self._configuration.lengths)]
            best = max(near, key=lambda i: float(self.at(i)[1][output]))  # the first of equals
            if best == index:
                return index
            index = best

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights (n + n d, m) and the log evidence (m,) at a length."""
        if index not in self._found:
            length = self._configuration.lengths[index] * self._unit
            tried = [self._condition(length, nuggets) for nuggets in self._nuggets]
            best = np.argmax([evidence for _, evidence in tried], axis=0)  # of each output
            outputs = np.arange(len(best))
            weights = np.array([weights for weights, _ in tried])[best, :, outputs].T
            self._found[index] = weights, np.array([evidence for _, evidence in tried])[best, outputs]
        return self._found[index]

    def _condition(self, length: float, nuggets: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and log evidence at a length, with the least nugget at which the matrix is positive definite.

        All weights are 0, and the evidence -inf, where it is so with none of them.
        """
        n, d = self._points.shape
        size = np.concatenate([np.ones(n), np.full(n * d, length)])[self._mask]  # partials times the length
        matrix = KERNELS[self._configuration.kernel].covariance(self._points, length)
        if not self._mask.all():
            matrix = matrix[np.ix_(self._mask, self._mask)]
        diagonal = matrix.diagonal().copy()
        slack = np.concatenate([self._slack, np.repeat(self._slack, d)])[self._mask]
        scaled = self._targets[self._mask] * size[:, None]
        weights = np.zeros(self._targets.shape)
        for nugget in nuggets:
            matrix[np.diag_indices_from(matrix)] = diagonal * (1.0 + nugget * slack)
            try:
                factor = cho_factor(matrix.T, check_finite=False)  # its upper triangle, as LAPACK orders entries
            except LinAlgError:
                continue
            solved = cho_solve(factor, scaled, check_finite=False)
            weights[self._mask] = solved * size[:, None]
            variance = np.maximum((scaled * solved).mean(axis=0), np.finfo(float).tiny)
            evidence = -0.5 * len(scaled) * np.log(variance) - np.log(np.diag(factor[0])).sum()
            # Targets in these units change with the length; their density must not.
            return weights, evidence + np.log(size).sum()
        return weights, np.full(self._targets.shape[1], -np.inf)
