"""Gaussian process for noisy values and several outputs; for `surrogates.friedman_few_samples` and `gradinn`."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from gradopt import Dataset
from scripts.shared.peer_methods import Predictor

GP_RESTARTS, LEAST_NOISE = 4, 1e-10  # by hand; the latter in variances of the values


def gaussian_process(data: Dataset, seed: int) -> Predictor:
    """Train scikit-learn's Gaussian process for each output: RBF with a length for each input, white noise."""
    mean, scale = data.x.mean(axis=0), data.x.std(axis=0)
    points, parts = (data.x - mean) / scale, []
    for y in data.y.T:
        smooth = ConstantKernel(1.0, (1e-3, 1e5)) * RBF(np.ones(data.d), (1e-2, 1e3))
        kernel = smooth + WhiteKernel(1e-2, (LEAST_NOISE, 1e1))
        model = GaussianProcessRegressor(
            kernel, alpha=LEAST_NOISE, normalize_y=True, n_restarts_optimizer=GP_RESTARTS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of bounds that are reached, as without noise
            parts.append(model.fit(points, y))

    def values(at: np.ndarray) -> np.ndarray:
        return np.stack([part.predict((at - mean) / scale) for part in parts], axis=1)

    def partials(at: np.ndarray) -> np.ndarray:
        scaled, found = (at - mean) / scale, []
        for part, y in zip(parts, data.y.T, strict=True):
            smooth = part.kernel_.k1
            correlation = smooth(scaled, points) * part.alpha_.ravel() * y.std()  # (n, samples)
            gaps = correlation.sum(axis=1)[:, None] * scaled - correlation @ points  # of each input, weighed and summed
            found.append(-gaps / np.broadcast_to(smooth.k2.length_scale, data.d) ** 2 / scale)
        return np.stack(found, axis=1)

    return values, partials
