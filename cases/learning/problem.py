"""A function to be learned: its box, its values with exact partials, and samples of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradopt import Dataset, Variable
from gradopt.data.variables import column_bounds, total_size
from gradopt.errors import InputError, explain
from gradopt.sampling import latin_hypercube

TEST_SEED = 20_260_101


@dataclass(frozen=True, eq=False)
class LearningProblem:
    """A function of d inputs on a box, with m outputs.

    Attributes:
        name: In tables.
        title: What it is, in a line.
        inputs: Variables with lower and upper bounds, d columns together.
        outputs: Variables of the values, m columns together.
        evaluate: Values (n, m) and exact partials (n, m, d) at points (n, d) in the box.
        sizes: Sample sizes of studies, ascending.
        source: Where the function comes from.
    """

    name: str
    title: str
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    sizes: tuple[int, int, int]
    source: str

    @property
    def d(self) -> int:
        """Number of input columns."""
        return total_size(self.inputs)

    @property
    def m(self) -> int:
        """Number of output columns."""
        return total_size(self.outputs)

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation of each output (m,) over the box, from the test points."""
        spread: np.ndarray = self.evaluate(self.test_points())[0].std(axis=0)
        return spread

    def test_points(self, count: int = 2000) -> np.ndarray:
        """Draw uniform points (count, d) in the box, the same each time."""
        return np.random.default_rng(TEST_SEED).uniform(*column_bounds(self.inputs), (count, self.d))

    def draw(self, n: int, seed: int, noise: float = 0.0, partials: bool = False) -> Dataset:
        """Evaluate the function on a Latin hypercube.

        Args:
            n: Number of samples.
            seed: Seed of the points and of the noise; the points do not depend on how much noise there is.
            noise: Standard deviation of the Gaussian noise on the values, as a fraction of `spread`.
            partials: Whether to give the partials, which have no noise.

        Returns:
            The samples.

        Raises:
            InputError: If n < 1, or the noise is negative or infinite.
        """
        if not 0.0 <= noise < np.inf:
            remedy = "0.1 is a tenth of the standard deviation of the values."
            raise InputError(explain("noise", "be a finite number, not negative", noise, remedy))
        generator = np.random.default_rng(seed)
        x = latin_hypercube(self.inputs, n, generator)
        y, dydx = self.evaluate(x)
        if noise:
            y = y + noise * self.spread * generator.standard_normal(y.shape)
        return Dataset(x, y, dydx if partials else None, self.inputs, self.outputs)
