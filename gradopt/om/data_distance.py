"""Distance of a point to data, as a smooth constraint that keeps an optimum where a surrogate has samples.

The samples x_i (n of them) are whitened with their covariance: w = L^-1 (x - mean), covariance = L L'. The distance is
a kernel density of the whitened samples in other words:

    distance(x) = sqrt(-2 h^2 log(1/n sum_i exp(-|w - w_i|^2 / (2 h^2))))

Far from the data it grows as the distance to the nearest sample. Its unit is one standard deviation of the whitened
data. A limit for an optimization is a quantile of the distances of held-out samples, for which the errors of the
surrogate are known: `DataDistance.limit`.

A Mahalanobis distance is one ellipsoid about all data. This distance also sees empty room between clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmdao.api as om
from scipy.spatial import KDTree

from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable, column_slices, flatten, total_size
from gradopt.errors import InputError, ShapeError, explain

_NEIGHBORS = 2000
"""First samples whose nearest neighbors give the bandwidth; by hand, to bound the time of the search."""

_BANDWIDTH = 0.5
"""Bandwidth over the median distance of a sample to its nearest neighbor; by hand: several samples count at a usual
place."""


@dataclass(frozen=True, eq=False)
class DataDistance:
    """Distance of points to samples.

    Attributes:
        inputs: Variables of the columns, d columns together.
        mean: Mean of the samples (d,), physical.
        whitening: Matrix L^-1 (d, d) from physical differences to standard deviations.
        samples: Whitened samples (n, d), in standard deviations.
        bandwidth: Bandwidth h of the kernels, in standard deviations.
    """

    inputs: tuple[Variable, ...]
    mean: np.ndarray
    whitening: np.ndarray
    samples: np.ndarray
    bandwidth: float

    @classmethod
    def of(cls, data: Dataset, names: Sequence[str] | None = None) -> DataDistance:
        """Make the measure from the inputs of samples.

        Args:
            data: Samples; more than d of them, which span all directions of the inputs.
            names: Input variables that count, in the order of the data; None = all.

        Returns:
            The measure; its bandwidth is half the median distance of a sample to its nearest neighbor.

        Raises:
            InputError: If `names` are no input variables, the samples do not span all directions, or more than half of
                them are repeated.
        """
        slices = column_slices(data.input_variables)
        wanted = list(slices) if names is None else list(names)
        inputs = tuple(variable for variable in data.input_variables if variable.name in wanted)
        if not inputs or sorted(variable.name for variable in inputs) != sorted(wanted):
            raise InputError(explain("names", f"be input variables among {list(slices)}", wanted, "Check the names."))
        x = np.concatenate([data.x[:, slices[variable.name]] for variable in inputs], axis=1)
        mean, d = x.mean(axis=0), x.shape[1]
        covariance = np.atleast_2d(np.cov(x.T)) if len(x) > d else np.zeros((d, d))
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as flat:
            got = f"{len(x)} samples with a covariance of rank {np.linalg.matrix_rank(covariance)}"
            remedy = "Take more samples, or name only inputs that vary independently."
            raise InputError(explain("data", f"span all {d} directions of the inputs", got, remedy)) from flat
        whitening = np.linalg.inv(factor)
        samples = (x - mean) @ whitening.T
        nearest = np.asarray(KDTree(samples).query(samples[:_NEIGHBORS], k=[2])[0])
        bandwidth = _BANDWIDTH * float(np.median(nearest))
        if bandwidth == 0.0:
            repeated = f"{int((nearest == 0.0).sum())} of the first {len(nearest)} repeated"
            raise InputError(explain("data", "have mostly different samples", repeated, "Drop the repeated samples."))
        return cls(inputs, mean, whitening, samples, bandwidth)

    def distance(self, x: np.ndarray) -> tuple[Any, np.ndarray]:
        """Distance of one point to the samples.

        Args:
            x: Point (d,), physical; complex numbers pass (complex step).

        Returns:
            The distance in standard deviations, and its partials (d,) per unit of x.
        """
        apart = self.whitening @ (x - self.mean) - self.samples
        exponents = -(apart**2).sum(axis=1) / (2.0 * self.bandwidth**2)
        largest = exponents.real.max()
        kernels = np.exp(exponents - largest)  # the nearest one is about 1, so that none far away underflows to 0 / 0
        total = kernels.sum()
        distance = self.bandwidth * np.sqrt(2.0 * (np.log(len(kernels)) - largest - np.log(total)))
        return distance, (kernels / total) @ apart @ self.whitening / distance

    def distances(self, x: np.ndarray) -> np.ndarray:
        """Distances (n,) of points (n, d), physical, in standard deviations.

        Raises:
            ShapeError: If `x` is not (n, d).
        """
        d = total_size(self.inputs)
        if np.ndim(x) != 2 or np.shape(x)[1] != d:
            names = ", ".join(variable.name for variable in self.inputs)
            raise ShapeError(explain("x", f"have shape (n, {d})", np.shape(x), f"Pass the columns of {names}."))
        return np.array([self.distance(point)[0] for point in x])

    def limit(self, held_out: np.ndarray, quantile: float = 0.99) -> float:
        """Distance that a fraction of held-out samples does not exceed: a limit for an optimization.

        Args:
            held_out: Samples (n, d), physical, that are not among those of the measure.
            quantile: Fraction, 0 to 1.

        Returns:
            The distance in standard deviations.

        Raises:
            InputError: If `quantile` is not from 0 to 1.
            ShapeError: If `held_out` is not (n, d).
        """
        if not 0.0 <= quantile <= 1.0:
            raise InputError(explain("quantile", "be from 0 to 1", quantile, "0.99 is usual."))
        return float(np.quantile(self.distances(held_out), quantile))

    def nearest(self, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (k,) of the k samples nearest to a point (d,), and their distances (k,) in standard deviations."""
        apart = np.sqrt(((self.whitening @ (x - self.mean) - self.samples) ** 2).sum(axis=1))
        rows = np.argsort(apart, kind="stable")[:k]
        return rows, apart[rows]


class DataDistanceComp(om.ExplicitComponent):  # type: ignore[misc]
    """Component with the output `distance`, `DataDistance.distance` of the inputs, and its exact partials."""

    def __init__(self, data_distance: DataDistance, **options: Any) -> None:
        """Make the component.

        Args:
            data_distance: Measure; its variables are the inputs.
            **options: Options of every OpenMDAO component.
        """
        self._measure = data_distance
        super().__init__(**options)

    def setup(self) -> None:
        """Add the variables of the measure, and the distance."""
        for variable in self._measure.inputs:
            self.add_input(variable.name, shape=variable.shape, units=variable.units, desc="Input of the measure.")
        self.add_output("distance", desc="Distance to the samples, in standard deviations.")

    def setup_partials(self) -> None:
        """Declare exact partials."""
        self.declare_partials("distance", [variable.name for variable in self._measure.inputs])

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Compute the distance."""
        outputs["distance"] = self._evaluate(inputs)[0]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Compute the partials of the distance."""
        slopes = self._evaluate(inputs)[1]
        for name, columns in column_slices(self._measure.inputs).items():
            partials["distance", name] = slopes[columns]

    def _evaluate(self, inputs: Any) -> tuple[Any, np.ndarray]:
        variables = self._measure.inputs
        return self._measure.distance(flatten({v.name: inputs[v.name] for v in variables}, variables))
