"""Designs of experiments within the bounds of the variables, over `scipy.stats.qmc`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
from scipy.stats import qmc

from gradopt.data.variables import Variable, as_variables, column_bounds, column_names
from gradopt.errors import InputError, explain

Seed = int | np.random.Generator


def latin_hypercube(inputs: Sequence[Variable], n: int, seed: Seed) -> np.ndarray:
    """Draw a Latin hypercube: one point of each column lies in each of n equal intervals.

    Args:
        inputs: Variables with lower and upper bounds.
        n: Number of points.
        seed: Seed or generator.

    Returns:
        Points (n, d) in physical units.

    Raises:
        InputError: If a bound is missing or n < 1.
    """
    low, high = _finite_bounds(inputs, n)
    return qmc.scale(qmc.LatinHypercube(len(low), rng=np.random.default_rng(seed)).random(n), low, high)


def sobol(inputs: Sequence[Variable], n: int, seed: Seed) -> np.ndarray:
    """Return the first n points of a scrambled Sobol sequence; a power of 2 gives the best balance.

    Args:
        inputs: Variables with lower and upper bounds.
        n: Number of points.
        seed: Seed or generator of the scrambling.

    Returns:
        Points (n, d) in physical units.

    Raises:
        InputError: If a bound is missing or n < 1.
    """
    low, high = _finite_bounds(inputs, n)
    exponent = int(np.ceil(np.log2(n)))
    return qmc.scale(qmc.Sobol(len(low), rng=np.random.default_rng(seed)).random_base2(exponent)[:n], low, high)


def full_factorial(inputs: Sequence[Variable], levels: int | Sequence[int]) -> np.ndarray:
    """Return a regular grid that includes the bounds.

    Args:
        inputs: Variables with lower and upper bounds.
        levels: Number of levels, at least 2, one number for all columns or one for each.

    Returns:
        Points (product of levels, d) in physical units, the last column varying fastest.

    Raises:
        InputError: If a bound is missing, a level is below 2, or there is not one level for each column.
    """
    low, high = _finite_bounds(inputs, 1)
    counts = list(levels) if isinstance(levels, Iterable) else [levels] * len(low)
    if len(counts) != len(low) or not all(isinstance(count, Integral) and count >= 2 for count in counts):
        raise InputError(
            explain(
                "levels",
                f"be a whole number of at least 2, or {len(low)} of them",
                levels,
                "Two levels are the corners.",
            )
        )
    axes: list[np.ndarray] = [np.linspace(a, b, count) for a, b, count in zip(low, high, counts, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _finite_bounds(inputs: Sequence[Variable], n: int) -> tuple[np.ndarray, np.ndarray]:
    inputs = as_variables("inputs", inputs)
    if not isinstance(n, Integral) or n < 1:
        remedy = "A good first design has 2 to 5 points for each input."
        raise InputError(explain("n", "be a whole number of at least 1", n, remedy))
    low, high = column_bounds(inputs)
    missing = {
        name: (float(a), float(b))
        for name, a, b in zip(column_names(inputs), low, high, strict=True)
        if not np.isfinite([a, b]).all()
    }
    if missing:
        remedy = "Pass them: Variable(..., lower=..., upper=...)."
        raise InputError(explain("inputs", "have finite lower and upper bounds", missing, remedy))
    return low, high
