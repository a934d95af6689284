"""Trust region: a box about the current iterate, in units of the ranges of the design variables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradopt.optimality.problem import Limits

_LEAST = 0.1  # part of the radius that the length of a step is taken for at least; by hand

FAR_TOO_LONG = -100.0
"""Ratio of actual to predicted reduction below which a step was too long by orders of magnitude; by hand."""

_UNLIMITED = 1e8  # largest radius where a design variable has no bounds, in units of its size: no limit in practice

_LEAST_RETREAT = 1e-3  # smallest factor on the length of such a step; by hand


@dataclass(frozen=True)
class TrustRegion:
    """Half the edge of the box, in units of the range of each design variable, and the rule by which it changes.

    The defaults were chosen by hand on Rosenbrock's function and the airfoil.

    Attributes:
        radius: Present half edge.
        smallest: Radius below which the run ends.
        largest: Radius beyond which the region does not grow.
        poor: Ratio of actual to predicted reduction below which the region shrinks.
        good: Ratio above which it grows.
        shrink: Factor on the length of a poor step.
        grow: Factor on the length of a good step.
        excellent: Ratio from which the model is taken to hold well beyond the step; a ratio as far above 1 shows a
            poor model as well.
        leap: Factor on the length of such a step.
        retreat: Factor on the length of a step that raised the merit, or where the truth failed.
    """

    radius: float = 0.2
    smallest: float = 1e-8
    largest: float = 1.0
    poor: float = 0.25
    good: float = 0.75
    shrink: float = 0.7
    grow: float = 1.5
    excellent: float = 0.9
    leap: float = 3.0
    retreat: float = 0.5

    @property
    def exhausted(self) -> bool:
        """Whether the region is too small to go on."""
        return self.radius < self.smallest

    def within(self, limits: Limits) -> TrustRegion:
        """Return the region that may grow to all between the bounds where the unit is a part of their range."""
        width = (limits.upper - limits.lower) / limits.width
        bounded = np.isfinite(limits.lower) & np.isfinite(limits.upper)
        return replace(self, largest=self.largest * max(1.0, float(width[bounded].max(initial=1.0))))

    def growing(self, limits: Limits) -> TrustRegion:
        """Return the region for a run: without limit to its growth where a design variable has no bounds."""
        found = self.within(limits)
        bounded = np.isfinite(limits.lower) & np.isfinite(limits.upper)
        return found if bounded.all() else replace(found, largest=max(found.largest, _UNLIMITED))

    def box(self, center: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper edges about a point, each (k,), within the bounds of the problem."""
        reach = self.radius * limits.width
        return np.maximum(limits.lower, center - reach), np.minimum(limits.upper, center + reach)

    def length(self, step: np.ndarray, limits: Limits) -> float:
        """Return half the edge of the smallest box that holds a step (k,)."""
        return float(np.abs(step / limits.width).max(initial=0.0))

    def after(self, ratio: float, length: float) -> TrustRegion:
        """Return the region after a step.

        Args:
            ratio: Actual over predicted reduction of the merit; NaN where the truth failed.
            length: Length of the step, see `length`.
        """
        length = max(
            length, _LEAST * self.radius
        )  # a much shorter step says little about the region: its reduction is mostly noise
        if ratio < FAR_TOO_LONG:  # ten times the minimizer of the parabola through both ends
            radius = max(_LEAST_RETREAT, 5.0 / (1.0 - ratio)) * length
        elif not ratio >= 0.0:
            radius = self.retreat * length
        elif ratio < self.poor:
            radius = self.shrink * length
        elif ratio > self.good:
            grow = self.leap if abs(ratio - 1.0) <= 1.0 - self.excellent else self.grow
            radius = min(max(self.radius, grow * length), self.largest)
        else:
            radius = self.radius
        return replace(self, radius=radius)
