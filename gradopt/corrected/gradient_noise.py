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
_COARSE = tuple((length, noise) for length in (1, 3, 5, 7) for noise in (3, 7, 11, 15))  # compared first
_NUGGETS = (1e-10, 1e-8)  # relative variances of values that stand for round-off; the second where the first fails
_NEAR_NUGGET = 1e-4  # share of the nugget at the origin, as of the krigings
_SEEN_ROWS = 200  # values and partials together at the nearest points, by which noise is seen: these cost little
_MOST_ROWS = 600  # the same at the points whose partials are changed at most
_FEWEST = 16  # such points at least
_CLEAR = 1.0  # gain of the log evidence, per value and partial, from which there is noise: without noise up to 0.7
_HINT = 0.1  # the same over the coarse ones, from which the search goes on: every noise that was seen gained more
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
    known = np.flatnonzero(~np.isnan(slopes[rows]).any(axis=(0, 2)))
    if not len(known):
        return data
    found = denoised(z[rows], values[np.ix_(rows, known)], slopes[np.ix_(rows, known)])
    noisy = known[(found != slopes[np.ix_(rows, known)]).any(axis=(0, 2))]
    if not len(noisy):
        return data
    slopes[np.ix_(rows, known)] = found
    partials = data.partials.copy()
    partials[:, noisy] = scaling.unscale_partials(data.x, data.y, slopes)[:, noisy]
    return replace(data, dydx=partials)


@np.errstate(over="ignore", invalid="ignore")  # of points far out on an exponential, by which no noise is seen
def denoised(points: np.ndarray, values: np.ndarray, partials: np.ndarray) -> np.ndarray:
    """Take noise out of partials.

    Args:
        points: Points (n, d), nearest to the iterate first, which is at the origin; not all there.
        values: Values (n, m).
        partials: Partials (n, m, d), all known.

    Returns:
        Partials (n, m, d) with less noise; `partials` itself where the values show none, or little.
    """
    d = points.shape[1]
    if len(points) < 3 or d * (d + 3) // 2 > _MOST_ROWS:  # terms of the trend
        return partials
    many = max(min(max((d + 1) * (d + 2), _FEWEST), _MOST_ROWS // (d + 1)), 3)  # twice the terms of a quadratic
    few = max(min(_SEEN_ROWS // (d + 1), many), 3)
    if not points[:few].any():
        return partials
    near = _Processes(points[:few], values[:few], partials[:few])
    keys = {output: near.noise(output) for output in range(values.shape[1])}
    wide: _Processes | None = None
    for output, noisy in keys.items():
        size = float(np.sqrt((partials[0, output] ** 2).mean()))
        if noisy is None or near.at(output, noisy).deviation <= _LEAST * size:
            continue
        if wide is None:
            wide = _Processes(points[:many], values[:many], partials[:many])
            partials = partials.copy()
        partials[:many, output] -= wide.at(output, wide.climb(output, *noisy)).removed
    return partials


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


class _Processes:
    """Processes of outputs at the same points (n, d), by their keys.

    Noise that is the same everywhere has one matrix for all outputs, which is factored once.
    """

    def __init__(self, points: np.ndarray, values: np.ndarray, partials: np.ndarray) -> None:
        n, d = points.shape
        square = (points**2).sum(axis=1)
        trend, inclined = fit_quadratic(points, values, partials).evaluate(points)
        left = values - trend
        self._left, self._bent = left - left[0], partials - inclined
        self._points, self._farthest = points, float(np.sqrt(square.max()))
        slack = np.clip(square / square.max(), _NEAR_NUGGET, 1.0)
        self._slack = np.concatenate([slack, np.repeat(slack, d)])
        sizes = (partials**2).mean(axis=2)
        self._sizes = sizes / np.maximum(sizes.max(axis=0), np.finfo(float).tiny)  # of noise as the gradient (n, m)
        self.rows = n + n * d
        self._matrices: dict[int, np.ndarray] = {}
        self._factors: dict[tuple[int, int], _Factor | None] = {}
        self._fits: dict[tuple[int, _Key], _Fit] = {}

    def noise(self, output: int) -> _Key | None:
        """Return the key of an output's noise; None where there is none that is clear."""
        exact = self.at(output, self.climb(output, 0, _FIRST[0], 0)).evidence
        coarse = max(self.at(output, (0, *one)).evidence for one in _COARSE)
        if not coarse - exact > _HINT * self.rows:
            return None
        found = max((self.climb(output, kind, *_FIRST) for kind in (0, 1)), key=lambda at: self.at(output, at).evidence)
        return found if self.at(output, found).evidence - exact > _CLEAR * self.rows else None

    def climb(self, output: int, kind: int, length: int, noise: int) -> _Key:
        """Return the key with the highest evidence uphill from a start; noise 0 stays, others stay above it."""
        at = (kind, length, noise)
        while True:
            _, length, noise = at
            near = [(kind, length + 1, noise), (kind, length - 1, noise)]
            near += [(kind, length, noise + 1), (kind, length, noise - 1)] if noise else []
            near = [one for one in near if 0 <= one[1] < len(_LENGTHS) and bool(noise) <= one[2] < len(_NOISES)]
            best = max([at, *near], key=lambda one: self.at(output, one).evidence)
            if best == at:
                return at
            at = best

    def at(self, output: int, key: _Key) -> _Fit:
        """Return the process of an output and a key."""
        if (output, key) not in self._fits:
            self._fits[output, key] = self._conditioned(output, *key)
        return self._fits[output, key]

    def _conditioned(self, output: int, kind: int, index: int, noise: int) -> _Fit:
        n, d = self._points.shape
        length = _LENGTHS[index] * self._farthest
        if kind == 0:
            if (index, noise) not in self._factors:
                self._factors[index, noise] = self._factored(index, noise, np.ones(n))
            factor = self._factors[index, noise]
        else:
            factor = self._factored(index, noise, self._sizes[:, output])
        if factor is not None:
            targets = np.concatenate([self._left[:, output], length * self._bent[:, output].ravel()])
            weights = cho_solve((factor.lower, True), targets, check_finite=False)
            variance = max(float(targets @ weights) / len(targets), np.finfo(float).tiny)
            evidence = -0.5 * len(targets) * np.log(variance) - factor.log_root
            removed = (factor.noise * weights[n:]).reshape(n, d) / length
            deviation = float(np.sqrt(factor.noise[0] * variance)) / length
            if np.isfinite(evidence):
                return _Fit(evidence + n * d * np.log(length), removed, deviation)  # of targets without lengths
        return _Fit(-np.inf, np.zeros((n, d)), 0.0)

    def _factored(self, index: int, noise: int, sizes: np.ndarray) -> _Factor | None:
        """Factor the covariance with the noise in proportion to sizes (n,); None where it is not positive definite."""
        n, d = self._points.shape
        if index not in self._matrices:
            self._matrices[index] = _KERNEL.covariance(self._points, _LENGTHS[index] * self._farthest)
        matrix = self._matrices[index]
        extra = np.concatenate([np.zeros(n), np.repeat(_NOISES[noise] * sizes, d)])
        for nugget in _NUGGETS:
            total = matrix.copy()
            total[np.diag_indices_from(total)] += nugget * self._slack * matrix.diagonal() + extra
            try:
                lower, _ = cho_factor(total, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                continue
            return _Factor(lower, float(np.log(np.diag(lower)).sum()), extra[n:])
        return None


@dataclass(frozen=True, eq=False)
class _Factor:
    """A factored covariance.

    Attributes:
        lower: Cholesky factor in the lower triangle.
        log_root: Half of the log determinant.
        noise: Variances of the noise of the partials (n d,), in parts of that of the process.
    """

    lower: np.ndarray
    log_root: float
    noise: np.ndarray
