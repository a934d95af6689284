"""Gradient-enhanced kriging of a few points near the origin, with the length scale that the evidence prefers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

LENGTHS = tuple(0.05 * 2.0**k for k in range(8))
"""Length scales tried, in units of the distance of the farthest point from the origin."""

_NUGGETS = (1e-10, 1e-8, 1e-6)  # relative variance of a residual that stands for round-off; more where that fails
_NOISES = (1e-10, 1e-6, 1e-4, 1e-3, 1e-2)  # likewise, that may stand for noise: the evidence chooses
_SHARP = 1e-4  # part of the nugget that is left at the nearest points: the digits are wanted there
_START = 3  # where the search for a length scale begins in LENGTHS


@dataclass(frozen=True, eq=False)
class Kriging:
    """The mean of Gaussian processes with a squared exponential kernel, conditioned on values and partials.

    Attributes:
        points: Where it was conditioned (n, d).
        lengths: Index into `LENGTHS` for each output (m,).
        reach: Distance of the farthest point from the origin.
        value_weights: Weights of the kernels (n, m).
        partial_weights: Weights of their derivatives (n, m, d).
    """

    points: np.ndarray
    lengths: tuple[int, ...]
    reach: float
    value_weights: np.ndarray
    partial_weights: np.ndarray

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate mean values and their partials.

        Args:
            z: Points (k, d), real or complex.

        Returns:
            Values (k, m) and partials (k, m, d).
        """
        apart = z[:, None, :] - self.points
        square = (apart**2).sum(axis=-1)  # not the absolute value: complex step must pass
        values = np.empty((len(z), len(self.lengths)), dtype=apart.dtype)
        partials = np.empty((*values.shape, z.shape[1]), dtype=apart.dtype)
        for index in set(self.lengths):
            at = np.array([length == index for length in self.lengths])
            inverse = 1.0 / (LENGTHS[index] * self.reach) ** 2
            kernel = np.exp(-0.5 * inverse * square)
            slopes = self.partial_weights[:, at]
            heights = self.value_weights[:, at] + inverse * np.einsum("nmd,knd->knm", slopes, apart)
            values[:, at] = np.einsum("kn,knm->km", kernel, heights)
            pull = np.einsum("kn,knm,knd->kmd", kernel, heights, apart)
            partials[:, at] = inverse * (np.einsum("kn,nmd->kmd", kernel, slopes) - pull)
        return values, partials


def krige(
    points: np.ndarray,
    values: np.ndarray,
    partials: np.ndarray,
    lengths: Sequence[int] | None = None,
    noisy: bool = False,
) -> Kriging:
    """Condition on values and partials.

    Args:
        points: (n, d), not all at the origin.
        values: (n, m).
        partials: (n, m, d), NaN where not known.
        lengths: Indices into `LENGTHS` where the search starts, one for each output, such as the last ones found.
        noisy: Whether values and partials may have noise; else they are met to round-off.

    Returns:
        The processes, each with the length scale whose evidence is a maximum near the start.
    """
    reach = float(np.sqrt((points**2).sum(axis=1).max()))
    m = values.shape[1]
    found = list(lengths) if lengths is not None else [_START] * m
    value_weights, partial_weights = np.empty(values.shape), np.empty(partials.shape)
    known = ~np.isnan(partials)
    for group in _alike(known):
        targets = _rows(values[:, group], partials[:, group])
        mask = np.isfinite(targets).all(axis=1)
        conditioned: dict[int, tuple[np.ndarray, np.ndarray]] = {}

        def at(
            index: int,
            conditioned: dict[int, tuple[np.ndarray, np.ndarray]] = conditioned,
            targets: np.ndarray = targets,
            mask: np.ndarray = mask,
        ) -> tuple[np.ndarray, np.ndarray]:
            if index not in conditioned:
                nuggets = [[nugget] for nugget in _NOISES] if noisy else [_NUGGETS]
                tried = [_condition(points, LENGTHS[index] * reach, targets, mask, some) for some in nuggets]
                best = np.argmax([evidence for _, evidence in tried], axis=0)  # of each output
                outputs = np.arange(targets.shape[1])
                weights = np.array([weights for weights, _ in tried])[best, :, outputs].T
                conditioned[index] = weights, np.array([evidence for _, evidence in tried])[best, outputs]
            return conditioned[index]

        for place, output in enumerate(group):
            index = found[output]
            while True:  # evidence has one maximum in practice: walk uphill from where it was last
                near = [i for i in (index - 1, index, index + 1) if 0 <= i < len(LENGTHS)]
                best = max(near, key=lambda i: (at(i)[1][place], -abs(i - index)))  # noqa: B023 (used at once)
                if best == index:
                    break
                index = best
            found[output] = index
            weights = at(index)[0][:, place]
            value_weights[:, output] = weights[: len(points)]
            partial_weights[:, output] = weights[len(points) :].reshape(points.shape)
    return Kriging(points, tuple(found), reach, value_weights, partial_weights)


def _alike(known: np.ndarray) -> list[list[int]]:
    """Outputs whose partials are known at the same places: they share their matrices."""
    groups: dict[bytes, list[int]] = {}
    for output in range(known.shape[1]):
        groups.setdefault(known[:, output].tobytes(), []).append(output)
    return list(groups.values())


def _rows(values: np.ndarray, partials: np.ndarray) -> np.ndarray:
    """Targets (n + n d, m): values, then partials point by point."""
    n, m = values.shape
    return np.concatenate([values, partials.swapaxes(1, 2).reshape(-1, m)]) if n else values


def _condition(
    points: np.ndarray, length: float, targets: np.ndarray, mask: np.ndarray, nuggets: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n + n d, m) of the kernels and their derivatives, and the log evidence of each output (m,)."""
    n, d = points.shape
    size = np.concatenate([np.ones(n), np.full(n * d, length)])[mask]  # makes the diagonal of the matrix one
    matrix = _covariance(points, length)[np.ix_(mask, mask)]
    scaled = targets[mask] * size[:, None]
    weights = np.zeros(targets.shape)
    square = (points**2).sum(axis=1)
    near = np.clip(square / square.max(), _SHARP, 1.0)
    if len(nuggets) == 1:  # noise, which is the same everywhere
        near = np.ones(n)
    slack = np.concatenate([near, np.repeat(near, d)])[mask]
    for nugget in nuggets:
        matrix[np.diag_indices_from(matrix)] = 1.0 + nugget * slack
        try:
            factor = cho_factor(matrix, lower=True, check_finite=False)
        except LinAlgError:
            continue
        solved = cho_solve(factor, scaled, check_finite=False)
        weights[mask] = solved * size[:, None]
        variance = np.maximum((scaled * solved).mean(axis=0), np.finfo(float).tiny)
        evidence = -0.5 * len(scaled) * np.log(variance) - np.log(np.diag(factor[0])).sum()
        # Targets in these units change with the length; their density must not.
        return weights, evidence + np.log(size).sum()
    return weights, np.full(targets.shape[1], -np.inf)


def _covariance(points: np.ndarray, length: float) -> np.ndarray:
    """Covariance (n + n d, n + n d) of values and of partials times the length scale."""
    n, d = points.shape
    apart = (points[:, None] - points) / length
    kernel = np.exp(-0.5 * (apart**2).sum(axis=-1))
    matrix = np.empty((n + n * d, n + n * d))
    matrix[:n, :n] = kernel
    cross = kernel[..., None] * apart  # value at the first point, partials at the second
    matrix[:n, n:] = cross.reshape(n, n * d)
    matrix[n:, :n] = matrix[:n, n:].T
    curvature = kernel[..., None, None] * (np.eye(d) - apart[..., :, None] * apart[..., None, :])
    matrix[n:, n:] = curvature.transpose(0, 2, 1, 3).reshape(n * d, n * d)
    return matrix
