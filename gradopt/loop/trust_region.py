"""The trust region: a box about the center, in units of the design variables' ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradopt.optimality.problem import Limits

_LEAST = 0.1  # part of the radius that a step counts for at least


@dataclass(frozen=True)
class TrustRegion:
    """Half the edge of the box, as part of each design variable's width, and the rule by which it changes.

    Attributes:
        radius: Present half edge.
        smallest: Below it the loop gives up.
        largest: It never grows beyond this.
        poor: Ratio of true to predicted improvement below which it shrinks.
        good: Ratio above which it grows.
        shrink: Factor on the length of a poor step.
        grow: Factor on the length of a good step.
        retreat: Factor on the length of a step that made things worse, or where the truth failed.
    """

    radius: float = 0.1
    smallest: float = 1e-8
    largest: float = 1.0
    poor: float = 0.25
    good: float = 0.75
    shrink: float = 0.7
    grow: float = 1.5
    retreat: float = 0.5

    @property
    def exhausted(self) -> bool:
        """Whether it has become too small to go on."""
        return self.radius < self.smallest

    def box(self, center: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper edges, each (k,), within the bounds of the problem."""
        reach = self.radius * limits.width
        return np.maximum(limits.lower, center - reach), np.minimum(limits.upper, center + reach)

    def length(self, step: np.ndarray, limits: Limits) -> float:
        """Half edge of the smallest box that holds a step (k,)."""
        return float(np.abs(step / limits.width).max(initial=0.0))

    def after(self, ratio: float, length: float) -> TrustRegion:
        """Return the region after a step.

        Args:
            ratio: True improvement of the merit over the predicted one; NaN where the truth failed.
            length: See `length`.
        """
        length = max(length, _LEAST * self.radius)  # a failure of a step much shorter than the region is mostly noise
        if not ratio >= 0.0:
            radius = self.retreat * length
        elif ratio < self.poor:
            radius = self.shrink * length
        elif ratio > self.good:
            radius = min(max(self.radius, self.grow * length), self.largest)
        else:
            radius = self.radius
        return replace(self, radius=radius)
