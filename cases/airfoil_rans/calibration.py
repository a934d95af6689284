"""Error of the surrogate by distance to the data: intervals from held-out samples, and their coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cases.airfoil_rans.data import MODES
from gradopt import Dataset
from gradopt.om.data_distance import DataDistance
from gradopt.surrogates.fitted.surrogate import Surrogate

LEVEL = 0.9  # coverage of intervals; the usual one
QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)  # of the distance: edges of the classes in the table; by hand
_HALF_WIDTH = 1.6448536269514722  # of the 90 % interval of a normal distribution, in standard deviations
_SIMILAR = 100  # held-out samples, of the distance nearest to that of a design, that give its interval; by hand
_SPLITS = 50  # splits into halves over which a coverage is averaged; by hand
_LEAST = 5  # held-out samples at least as far away as a design for an interval to be given; by hand


@dataclass(frozen=True, eq=False)
class Calibration:
    """Errors of the surrogate on held-out samples.

    Attributes:
        distances: Distances of their shapes to the data (n,), in standard deviations.
        errors: Predicted drag over true drag, less 1 (n,).
        scores: Absolute errors in units of the predicted standard deviation (n,).
        stds: Predicted standard deviation over predicted drag (n,).
    """

    distances: np.ndarray
    errors: np.ndarray
    scores: np.ndarray
    stds: np.ndarray

    @classmethod
    def of(cls, surrogate: Surrogate, data_distance: DataDistance, held_out: Dataset) -> Calibration:
        """Evaluate the surrogate at samples that were held out."""
        drag, std = surrogate.predict(held_out.x), surrogate.std(held_out.x)
        scores = np.abs(drag - held_out.y) / std
        return cls(
            data_distance.distances(held_out.x[:, MODES]),
            (drag / held_out.y - 1.0)[:, 0],
            scores[:, 0],
            (std / drag)[:, 0],
        )

    def limit(self, quantile: float) -> float:
        """Distance that a fraction of the held-out samples does not exceed."""
        return float(np.quantile(self.distances, quantile))

    def part_beyond(self, distance: float) -> float:
        """Fraction of the held-out samples that are farther away."""
        return float((self.distances > distance).mean())

    def part_worse(self, distance: float, error: float) -> float:
        """Fraction of the held-out samples at a distance to the data whose relative error is larger than `error`."""
        return float((np.abs(self.errors[self._similar(distance)]) > error).mean())

    def backed(self, distance: float) -> bool:
        """Whether enough held-out samples are as far from the data for an interval."""
        return int((self.distances >= distance).sum()) >= _LEAST

    def factor(self, distance: float) -> float:
        """Half width of the 90 % interval at a distance to the data, in predicted standard deviations."""
        return float(np.quantile(self.scores[self._similar(distance)], LEVEL))

    def coverage(self, distance: float, seed: int) -> float:
        """Measure the coverage of that interval: factors from one half of the similar samples, tested on the other.

        Args:
            distance: Distance to the data, in standard deviations.
            seed: Seed of the random halves.

        Returns:
            The fraction of the other halves that lies within, averaged.
        """
        scores, generator = self.scores[self._similar(distance)], np.random.default_rng(seed)
        found = []
        for _ in range(_SPLITS):
            one, other = np.array_split(generator.permutation(scores), 2)
            # The quantile of a finite sample that a new one exceeds with probability 0.1 (split conformal).
            rank = min(int(np.ceil(LEVEL * (len(one) + 1))), len(one)) - 1
            found.append((other <= np.sort(one)[rank]).mean())
        return float(np.mean(found))

    def rows(self) -> list[dict[str, Any]]:
        """Errors in classes of distance, from the middle of the data outwards."""
        found = []
        for low, high in zip(QUANTILES[:-1], QUANTILES[1:], strict=True):
            edges = self.limit(low), self.limit(high)
            inside = (self.distances >= edges[0]) & ((self.distances < edges[1]) | (high == 1.0))
            errors = np.abs(self.errors[inside])
            found.append(
                {
                    "quantiles": (low, high),
                    "distances": edges,
                    "samples": int(inside.sum()),
                    "relative_rms": float(np.sqrt((errors**2).mean())),
                    "relative_p90": float(np.quantile(errors, LEVEL)),
                    "std": float(np.median(self.stds[inside])),
                    "coverage_of_std": float((self.scores[inside] <= _HALF_WIDTH).mean()),
                }
            )
        return found

    def _similar(self, distance: float) -> np.ndarray:
        return np.argsort(np.abs(self.distances - distance), kind="stable")[:_SIMILAR]
