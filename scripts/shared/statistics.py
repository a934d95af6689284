"""Statistics over seeds and the error measures behind them; for most scripts on surrogates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradopt import Dataset, Surrogate


def over_seeds(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Return median, mean, least and largest of values, and all of them."""
    numbers = [float(value) for value in values]
    middle = {"median": float(np.median(numbers)), "mean": float(np.mean(numbers))}
    return {**middle, "least": min(numbers), "largest": max(numbers), "all": numbers}


def cell(of: dict[str, Any]) -> str:
    """Write median (least to largest) for a table."""
    return f"{of['median']:.2g} ({of['least']:.2g} to {of['largest']:.2g})"


def worst_cell(of: dict[str, Any], digits: str = ".2f") -> str:
    """Write median (largest) for a table."""
    return f"{of['median']:{digits}} ({of['largest']:{digits}})"


def rmse(surrogate: Surrogate, test: Dataset) -> float:
    """Return the root-mean-square error of the values at test points, in physical units."""
    return float(np.sqrt(((surrogate.predict(test.x) - test.y) ** 2).mean()))


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance of the truth (n, 1) that is explained."""
    return float(1.0 - ((predicted - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
