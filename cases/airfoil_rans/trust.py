"""How far a shape is from the shapes in the data, as a smooth constraint that keeps an optimum among them.

The modes are whitened with the covariance of the data, w = L^-1 (modes - mean). With the n shapes w_i of the data,

    distance(w) = sqrt(-2 h^2 log(1/n sum_i exp(-|w - w_i|^2 / (2 h^2))))

is a kernel density in other words; far from the data it grows as the distance to the nearest shape, in standard
deviations. The bandwidth h is half the median distance of a shape to its nearest neighbor: at a usual place several
shapes count. The limit is a quantile of held-out shapes: so far away is still where the errors were measured.

The predicted standard deviation is no such measure here. That of one network, Laplace's approximation of the last layer
is all noise with so many samples, about the same 0.3 % of the drag anywhere. The disagreement of several networks does
grow, but they learned from the same samples and err alike: on the sweep they differ by less than they are off.

A Mahalanobis distance would be one ellipsoid about all. The data are clusters in it with much empty room between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openmdao.api as om
from scipy.spatial import KDTree

from cases.airfoil_rans.data import CAMBER, MODES, THICKNESS
from gradopt import Dataset
from gradopt.errors import InputError, explain

_NEIGHBORS = 2000  # shapes whose nearest neighbors give the bandwidth


@dataclass(frozen=True, eq=False)
class Trust:
    """The measure.

    Attributes:
        mean: Mean of the modes (14,).
        whitening: L^-1 (14, 14).
        shapes: Whitened modes of the data (n, 14).
        bandwidth: h, in standard deviations.
    """

    mean: np.ndarray
    whitening: np.ndarray
    shapes: np.ndarray
    bandwidth: float

    @classmethod
    def of(cls, data: Dataset) -> Trust:
        """Make the measure of some samples, at least 15 that differ in all their modes.

        Raises:
            InputError: If the modes of the samples do not span their space.
        """
        modes = data.x[:, MODES]
        mean = modes.mean(axis=0)
        covariance = np.cov(modes.T)
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as flat:
            got = f"{data.n} samples with a covariance of rank {np.linalg.matrix_rank(covariance)}"
            remedy = "Take more samples."
            raise InputError(explain("data", "have shapes that differ in all 14 modes", got, remedy)) from flat
        whitening = np.linalg.inv(factor)
        shapes = (modes - mean) @ whitening.T
        nearest = np.asarray(KDTree(shapes).query(shapes[:_NEIGHBORS], k=[2])[0])
        return cls(mean, whitening, shapes, 0.5 * float(np.median(nearest)))

    def distance(self, modes: np.ndarray) -> tuple[Any, np.ndarray]:
        """Distance of one shape from the data.

        Args:
            modes: Modes (14,); complex numbers pass (complex step).

        Returns:
            The distance, in standard deviations, and its partials (14,).
        """
        apart = self.whitening @ (modes - self.mean) - self.shapes
        exponents = -(apart**2).sum(axis=1) / (2.0 * self.bandwidth**2)
        largest = exponents.real.max()
        kernels = np.exp(exponents - largest)  # the nearest has about 1, so that none far away underflows to 0 / 0
        total = kernels.sum()
        distance = self.bandwidth * np.sqrt(2.0 * (np.log(len(kernels)) - largest - np.log(total)))
        return distance, (kernels / total) @ apart @ self.whitening / distance

    def distances(self, x: np.ndarray) -> np.ndarray:
        """Distances (n,) of the shapes of inputs (n, 16)."""
        return np.array([self.distance(modes)[0] for modes in x[:, MODES]])

    def nearest(self, modes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the k samples of nearest shape, and how far away each is, in standard deviations."""
        apart = np.sqrt(((self.whitening @ (modes - self.mean) - self.shapes) ** 2).sum(axis=1))
        rows = np.argsort(apart, kind="stable")[:k]
        return rows, apart[rows]


class TrustComp(om.ExplicitComponent):  # type: ignore[misc]
    """`Trust.distance` of the modes as a component with exact partials."""

    def __init__(self, trust: Trust) -> None:
        """Keep the measure."""
        self._trust = trust
        super().__init__()

    def setup(self) -> None:
        """Add the modes and the distance."""
        self.add_input("camber", shape=(CAMBER,), desc="Modes of the mean line.")
        self.add_input("thickness", shape=(THICKNESS,), desc="Modes of the thickness.")
        self.add_output("distance", desc="From the shapes in the data, in standard deviations.")

    def setup_partials(self) -> None:
        """Declare exact partials."""
        self.declare_partials("distance", ["camber", "thickness"])

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Measure."""
        outputs["distance"] = self._measured(inputs)[0]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Differentiate."""
        slopes = self._measured(inputs)[1]
        partials["distance", "camber"] = slopes[:CAMBER]
        partials["distance", "thickness"] = slopes[CAMBER:]

    def _measured(self, inputs: Any) -> tuple[Any, np.ndarray]:
        return self._trust.distance(np.concatenate([inputs["camber"], inputs["thickness"]]))
