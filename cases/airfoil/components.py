"""Geometry of a section as OpenMDAO components: exact functions of the weights with exact partials.

All take `upper_weights` (8,) and `lower_weights` (8,), fractions of chord. Their formulas follow from the section's
(see `geometry`): the leading edge term is of order x at the nose, where the sides are of order x^0.5, and of order
(1 - x)^8.5 at the trailing edge, so that it bends neither end; in all differences of the two sides it cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from cases.airfoil.geometry import (
    WEIGHTS_PER_SIDE,
    area_row,
    thickness_matrix,
    thickness_offset,
    thickness_slope,
)

Floats = NDArray[np.float64]

_LAST = WEIGHTS_PER_SIDE - 1
_SIDES = ("upper_weights", "lower_weights")
_PLACES = np.linspace(0.0, 1.0, 202)[1:-1]  # where the thickest station is looked for before it is found exactly


class _WeightsComp(om.ExplicitComponent):  # type: ignore[misc]
    """What all have in common: the weights come in."""

    def _add_weights(self) -> None:
        for side in _SIDES:
            self.add_input(side, shape=WEIGHTS_PER_SIDE)

    def _add_affine(self, name: str, matrix: Floats, offset: Floats) -> None:
        """Add an output matrix (k, 16) @ weights + offset (k,), whose partials are constant."""
        self._add_weights()
        self._name, self._matrix, self._offset = name, matrix, offset
        self.add_output(name, shape=len(offset))
        for side, columns in zip(_SIDES, np.split(matrix, 2, axis=1), strict=True):
            self.declare_partials(name, side, val=columns)


def _weights(inputs: Any) -> Any:
    return np.concatenate([inputs[side] for side in _SIDES])


class ThicknessComp(_WeightsComp):
    """Thickness at given stations, an exact linear function of the weights.

    Output `thickness` (k,), fractions of chord. Options: `stations` (k,) and `trailing_edge_thickness`.
    """

    def initialize(self) -> None:
        """Declare the options."""
        self.options.declare("stations", desc="fractions of chord, (k,)")
        self.options.declare("trailing_edge_thickness", types=float, desc="gap at x = 1, fraction of chord")

    def setup(self) -> None:
        """Declare the variables and their constant partials."""
        stations: ArrayLike = self.options["stations"]
        offset = thickness_offset(stations, self.options["trailing_edge_thickness"])
        self._add_affine("thickness", thickness_matrix(stations), offset)

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the thickness."""
        outputs[self._name] = self._matrix @ _weights(inputs) + self._offset


class AreaComp(_WeightsComp):
    """Area between the sides, an exact linear function of the weights.

    Output `area` (1,), chord squared. Option: `trailing_edge_thickness`.
    """

    def initialize(self) -> None:
        """Declare the option."""
        self.options.declare("trailing_edge_thickness", types=float, desc="gap at x = 1, fraction of chord")

    def setup(self) -> None:
        """Declare the variables and their constant partials."""
        offset = np.array([self.options["trailing_edge_thickness"] / 2])
        self._add_affine("area", area_row()[np.newaxis], offset)

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the area."""
        outputs[self._name] = self._matrix @ _weights(inputs) + self._offset


class LeadingEdgeRadiusComp(_WeightsComp):
    """Radius of curvature at the nose, of the upper and of the lower side.

    Output `leading_edge_radius` (2,), upper and lower, fractions of chord: half the square of the side's first weight,
    because y tends to w x^0.5 and x to (y / w)^2. Where the two differ, the curvature jumps at the nose. A side that
    begins in the wrong direction has a negative radius, so that a lower bound keeps it out and partials vary smoothly.
    """

    def setup(self) -> None:
        """Declare the variables."""
        self._add_weights()
        self.add_output("leading_edge_radius", shape=2)
        for row, side in enumerate(_SIDES):
            self.declare_partials("leading_edge_radius", side, rows=[row], cols=[0])

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the radii."""
        upper, lower = inputs["upper_weights"][0], -inputs["lower_weights"][0]
        outputs["leading_edge_radius"] = [np.sign(first.real) * first**2 / 2 for first in (upper, lower)]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Evaluate the partials."""
        partials["leading_edge_radius", "upper_weights"] = np.abs(inputs["upper_weights"][0])
        partials["leading_edge_radius", "lower_weights"] = -np.abs(inputs["lower_weights"][0])


class TrailingEdgeAngleComp(_WeightsComp):
    """Angle between the sides where they end, from their slopes at x = 1.

    Output `trailing_edge_angle` (1,), degrees: atan(upper_7 - te / 2) - atan(lower_7 + te / 2). Option:
    `trailing_edge_thickness`, te.
    """

    def initialize(self) -> None:
        """Declare the option."""
        self.options.declare("trailing_edge_thickness", types=float, desc="gap at x = 1, fraction of chord")

    def setup(self) -> None:
        """Declare the variables."""
        self._add_weights()
        self.add_output("trailing_edge_angle", units="deg")
        self.declare_partials("trailing_edge_angle", list(_SIDES), rows=[0], cols=[_LAST])

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the angle."""
        upper, lower = self._slopes(inputs)
        outputs["trailing_edge_angle"] = (np.arctan(upper) - np.arctan(lower)) * 180 / np.pi

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Evaluate the partials."""
        upper, lower = self._slopes(inputs)
        partials["trailing_edge_angle", "upper_weights"] = 180 / np.pi / (1 + upper**2)
        partials["trailing_edge_angle", "lower_weights"] = -180 / np.pi / (1 + lower**2)

    def _slopes(self, inputs: Any) -> tuple[Any, Any]:
        """How fast each side falls towards x = 1."""
        half_gap = self.options["trailing_edge_thickness"] / 2
        return inputs["upper_weights"][_LAST] - half_gap, inputs["lower_weights"][_LAST] + half_gap


class MaximumThicknessComp(_WeightsComp):
    """Thickness at the thickest station.

    Output `maximum_thickness` (1,), fraction of chord. Option: `trailing_edge_thickness`. The partials are those of the
    thickness at that station held fixed, exact because the thickness has no slope there. They are continuous as long
    as one hump is the thickest; where two are equally thick they jump.
    """

    def initialize(self) -> None:
        """Declare the option."""
        self.options.declare("trailing_edge_thickness", types=float, desc="gap at x = 1, fraction of chord")

    def setup(self) -> None:
        """Declare the variables."""
        self._add_weights()
        self._matrix = thickness_matrix(_PLACES)
        self._offset = thickness_offset(_PLACES, self.options["trailing_edge_thickness"])
        self.add_output("maximum_thickness")
        self.declare_partials("maximum_thickness", list(_SIDES))

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the thickness."""
        station = self._thickest(inputs)
        offset = thickness_offset([station], self.options["trailing_edge_thickness"])
        outputs["maximum_thickness"] = thickness_matrix([station]) @ _weights(inputs) + offset

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Evaluate the partials."""
        row = thickness_matrix([self._thickest(inputs)])
        for side, columns in zip(_SIDES, np.split(row, 2, axis=1), strict=True):
            partials["maximum_thickness", side] = columns

    def _thickest(self, inputs: Any) -> float:
        weights = _weights(inputs).real
        gap = self.options["trailing_edge_thickness"]
        k = int((self._matrix @ weights + self._offset).argmax())

        def slope(x: float) -> float:
            return float(thickness_slope(np.array([x]))[0] @ weights + gap)

        low, high = _PLACES[max(k - 1, 0)], _PLACES[min(k + 1, len(_PLACES) - 1)]
        if slope(low) <= 0 or slope(high) >= 0:  # thickest at an end: no section that flies
            return float(_PLACES[k])
        return float(brentq(slope, low, high, xtol=1e-14))
