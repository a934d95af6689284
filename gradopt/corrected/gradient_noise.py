"""Noise of partials, learned from what the values say, and partials without most of it.

Values and partials of neighboring points belong to one smooth function. Where partials have noise that the values do
not have, no smooth function has both. The evidence of a Gaussian process about a quadratic trend tells: it is
conditioned on the values to round-off, and on the partials with noise of their own, whose variance is that of the
highest evidence. It is the same at all points, or in proportion to the squared length of the gradient.

With partials y, less their trend, their noise variance N, and the weights w = (K + N)^-1 y, the posterior mean has the
partials y - N w at the points. The values of the points stay. So each further value tells a slope that noise hides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from gradopt.corrected.correction import about
from gradopt.corrected.kernels import KERNELS
from gradopt.corrected.trend import fit_quadratic
from gradopt.data.dataset import Dataset

_KERNEL = KERNELS["squared exponential"]
# All by hand, on two starts of Rosenbrock's function with 10 % noise.
_LENGTHS = tuple(0.05 * 2.0**k for k in range(8))  # of the kernel, in units of the distance of the farthest point
_NOISES = (0.0, *(10.0 ** (0.5 * k) for k in range(-16, 1)))  # variances, in parts of that of the process
_FIRST = (5, 9)  # indices of the length and the noise where a search starts
_NUGGETS = (1e-10, 1e-8)  # relative variances of values that stand for round-off; the second where the first fails
_NEAR_NUGGET = 1e-4  # share of the nugget at the origin, as of the krigings
_SEEN_ROWS = 200  # values and partials together at the nearest points, by which noise is seen: these cost little
_MOST_ROWS = 600  # the same at the points whose partials are changed at most
_FEWEST = 16  # such points at least
_CLEAR = 1.0  # gain of the log evidence, per value and partial, from which there is noise: without noise up to 0.7
_LEAST = 1e-3  # noise, in parts of the root mean square of the partials at the iterate, that does not count
_REACH = 1e3  # reach of the points that tell, in multiples of that of the krigings


def without_noise(data: Dataset, center: int, reach: float) -> Dataset:
    """Take noise that the values show out of partials.

    Args:
        data: Samples of the truth.
        center: Row of the current iterate.
        reach: Distance, in units of the ranges of the inputs, within which krigings take samples.

    Returns:
        The samples with less noise in the partials near the iterate; `data` itself where the values show none, or
        little.
    """
    scaling = about(data, center)
    z, values = scaling.scale_inputs(data.x), scaling.scale_outputs(data.y)
    slopes = scaling.scale_partials(data.x, data.y, data.partials)
    distance = np.sqrt((z**2).sum(axis=1))
    rows = np.argsort(distance, kind="stable")
    rows = rows[distance[rows] <= _REACH * reach]
    if distance[rows[-1]] == 0.0:
        return data
    noisy = []
    for output in range(data.m):
        before = slopes[rows, output]
        if not np.isnan(before).any():
            slopes[rows, output] = denoised(z[rows], values[rows, output], before)
            if (slopes[rows, output] != before).any():
                noisy.append(output)
    if not noisy:
        return data
    partials = data.partials.copy()
    partials[:, noisy] = scaling.unscale_partials(data.x, data.y, slopes)[:, noisy]
    return replace(data, dydx=partials)


@np.errstate(over="ignore", invalid="ignore")  # of points far out on an exponential, by which no noise is seen
def denoised(points: np.ndarray, values: np.ndarray, partials: np.ndarray) -> np.ndarray:
    """Take noise out of the partials of one output.

    Args:
        points: Points (n, d), nearest to the iterate first, which is at the origin; not all there.
        values: Values (n,).
        partials: Partials (n, d), all known.

    Returns:
        Partials (n, d) with less noise; `partials` itself where the values show none, or little.
    """
    d = points.shape[1]
    if len(points) < 3 or d * (d + 3) // 2 > _MOST_ROWS:  # terms of the trend
        return partials
    many = max(min(max((d + 1) * (d + 2), _FEWEST), _MOST_ROWS // (d + 1)), 3)  # twice the terms of a quadratic
    few = max(min(_SEEN_ROWS // (d + 1), many), 3)
    if not points[:few].any():
        return partials
    near = _Process(points[:few], values[:few], partials[:few])
    exact = near.climb(0, _FIRST[0], 0)
    noisy = max((near.climb(kind, *_FIRST) for kind in range(len(near.sizes))), key=near.evidence)
    size = float(np.sqrt((partials[0] ** 2).mean()))
    seen = near.evidence(noisy) - near.evidence(exact) > _CLEAR * near.rows
    if not seen or near.at(noisy).deviation <= _LEAST * size:
        return partials
    wide = _Process(points[:many], values[:many], partials[:many])
    removed = wide.at(wide.climb(*noisy)).removed
    return np.vstack([partials[:many] - removed, partials[many:]])


_Key = tuple[int, int, int]  # kind of noise: the same everywhere, or as the gradient; indices of length and noise


@dataclass(frozen=True, eq=False)
class _Fit:
    """A process with one length and one noise.

    Attributes:
        evidence: Log evidence, up to a constant.
        removed: What is noise of the partials (n, d).
        deviation: Standard deviation of the noise at the iterate.
    """

    evidence: float
    removed: np.ndarray
    deviation: float


class _Process:
    """Processes of one output at points (n, d), by their keys; the squared noise of each kind is as `sizes` (n,)."""

    def __init__(self, points: np.ndarray, values: np.ndarray, partials: np.ndarray) -> None:
        square = (points**2).sum(axis=1)
        trend, inclined = fit_quadratic(points, values[:, None], partials[:, None]).evaluate(points)
        self._points, self._left, self._bent = points, values - trend[:, 0], partials - inclined[:, 0]
        self._left -= self._left[0]
        self._farthest = float(np.sqrt(square.max()))
        self._slack = np.clip(square / square.max(), _NEAR_NUGGET, 1.0)
        sizes = (partials**2).mean(axis=1)
        self.sizes = (np.ones(len(points)), sizes / max(float(sizes.max()), np.finfo(float).tiny))
        self.rows = partials.size + len(values)
        self._matrices: dict[int, np.ndarray] = {}
        self._fits: dict[_Key, _Fit] = {}

    def climb(self, kind: int, length: int, noise: int) -> _Key:
        """Return the key with the highest evidence uphill from a start; noise 0 stays, others stay above it."""
        at = (kind, length, noise)
        while True:
            _, length, noise = at
            near = [(kind, length + 1, noise), (kind, length - 1, noise)]
            near += [(kind, length, noise + 1), (kind, length, noise - 1)] if noise else []
            near = [one for one in near if 0 <= one[1] < len(_LENGTHS) and bool(noise) <= one[2] < len(_NOISES)]
            best = max([at, *near], key=self.evidence)
            if best == at:
                return at
            at = best

    def evidence(self, key: _Key) -> float:
        """Return the log evidence, up to a constant."""
        return self.at(key).evidence

    def at(self, key: _Key) -> _Fit:
        """Return the process of a key."""
        if key not in self._fits:
            self._fits[key] = self._conditioned(*key)
        return self._fits[key]

    def _conditioned(self, kind: int, index: int, noise: int) -> _Fit:
        n, d = self._bent.shape
        length = _LENGTHS[index] * self._farthest
        if index not in self._matrices:
            self._matrices[index] = _KERNEL.covariance(self._points, length)
        matrix = self._matrices[index]
        targets = np.concatenate([self._left, length * self._bent.ravel()])  # partials times the length
        extra = np.concatenate([np.zeros(n), np.repeat(_NOISES[noise] * self.sizes[kind], d)])
        slack = np.concatenate([self._slack, np.repeat(self._slack, d)])
        for nugget in _NUGGETS:
            total = matrix.copy()
            total[np.diag_indices_from(total)] += nugget * slack * matrix.diagonal() + extra
            try:
                factor = cho_factor(total, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                continue
            weights = cho_solve(factor, targets, check_finite=False)
            variance = max(float(targets @ weights) / len(targets), np.finfo(float).tiny)
            evidence = -0.5 * len(targets) * np.log(variance) - np.log(np.diag(factor[0])).sum()
            removed = (extra * weights)[n:].reshape(n, d) / length
            deviation = float(np.sqrt(extra[n] * variance)) / length
            if not np.isfinite(evidence):
                break
            return _Fit(evidence + n * d * np.log(length), removed, deviation)  # of targets in units without length
        return _Fit(-np.inf, np.zeros((n, d)), 0.0)
