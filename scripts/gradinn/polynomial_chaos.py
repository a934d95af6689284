"""Polynomial chaos, a peer that learns from values; for `gradinn.experiments`.

Expansion and partials are by chaospy. The expansion is sparse, as by Blatman and Sudret (2011), doi
10.1016/j.jcp.2010.12.021: for each total degree, least angle regression of scikit-learn ranks the terms; those leading
terms are kept whose fit by least squares has the least leave-one-out error, corrected for few samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import Any

import chaospy
import numpy as np
from sklearn.linear_model import lars_path

from gradopt import Dataset
from gradopt.data.variables import column_bounds
from scripts.shared.peer_methods import Predictor

MOST_DEGREES = 20  # by hand: chaospy sums monomials, with errors of 4e-9 at this degree


def fit_chaos(data: Dataset, seed: int, candidates: int = 3) -> Predictor:
    """Fit a sparse expansion in Legendre polynomials of limited total degree for each output.

    Args:
        data: Samples (n, d) and values (n, m) of inputs with bounds; partials are not used.
        seed: Not used: nothing is drawn.
        candidates: Largest number of terms to choose from, for each sample; not tuned.

    Returns:
        Functions of x (k, d) for values (k, m) and for partials (k, m, d).
    """
    low, high = column_bounds(data.input_variables)

    def scale(at: np.ndarray) -> np.ndarray:
        return (2.0 * at - (high + low)) / (high - low)

    x = scale(data.x)
    sizes = [comb(data.d + degree, degree) for degree in range(MOST_DEGREES + 1)]
    sizes = [size for size in sizes if size <= max(1, candidates * data.n)]
    cube = chaospy.J(*[chaospy.Uniform(-1.0, 1.0) for _ in range(data.d)])
    terms = chaospy.generate_expansion(len(sizes) - 1, cube, normed=True)  # lower degrees come first
    columns = _at(terms, x)
    models = []
    for y in data.y.T:
        kept = min(_choices(columns, sizes, y), key=lambda choice: _leave_one_out(columns[:, choice], y))
        models.append(chaospy.fit_regression(terms[kept], x.T, y))
    gradients = [chaospy.gradient(model) for model in models]

    def values(at: np.ndarray) -> np.ndarray:
        return np.stack([_at(model, scale(at)) for model in models], axis=1)

    def partials(at: np.ndarray) -> np.ndarray:
        return np.stack([_at(gradient, scale(at)) for gradient in gradients], axis=1) * 2.0 / (high - low)

    return values, partials


def _at(polynomials: Any, x: np.ndarray) -> np.ndarray:
    """Evaluate polynomials (...) at points (n, d), as (n, ...)."""
    return np.moveaxis(polynomials(*x.T), -1, 0)


def _choices(columns: np.ndarray, sizes: list[int], y: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the constant alone, then for each degree the terms that lead by least angle regression: 1, 2, 3 ..."""
    yield np.array([0])
    for size in sizes[1:]:
        centered = columns[:, 1:size] - columns[:, 1:size].mean(axis=0)
        scaled = centered / np.maximum(np.linalg.norm(centered, axis=0), 1e-12)
        _, ranked, _ = lars_path(scaled, y - y.mean(), method="lar", max_iter=max(0, len(y) - 2))
        for count in range(1, len(ranked) + 1):
            yield np.array([0, *(column + 1 for column in ranked[:count])])


def _leave_one_out(columns: np.ndarray, y: np.ndarray) -> float:
    """Return the leave-one-out mean squared error of least squares in closed form, corrected for few samples.

    The correction is that of Chapelle, Vapnik and Bengio (2002), doi 10.1023/A:1013943418833.
    """
    n, p = columns.shape
    q, r = np.linalg.qr(columns)
    if p >= n or np.linalg.cond(r) > 1e8:
        return np.inf
    errors = (y - q @ (q.T @ y)) / (1.0 - (q**2).sum(axis=1))
    return float(np.mean(errors**2)) * n / (n - p) * (1.0 + float(np.sum(np.linalg.inv(r) ** 2)))
