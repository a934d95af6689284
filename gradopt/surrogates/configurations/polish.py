"""Polishing: a second training that magnifies the flat regions of the response, where optima are, or a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.data.arrays import as_floats, check_finite
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, check_input_domain
from gradopt.data.variables import column_names
from gradopt.errors import InputError, ShapeError, explain
from gradopt.training.options import number

_MAGNITUDES = {"flat": 1000.0, "candidate": 100.0}  # a candidate's samples, magnified by more, cost the others


@dataclass(frozen=True)
class Polish:
    """How to magnify samples while training goes on from the present parameters.

    About "flat" the weight of each partial's residual is multiplied by

        1 + magnitude * flat,    flat = exp(-(slope / width)^2)

    where slope is that partial at that sample. About "candidate" it is multiplied by

        1 + magnitude * near * (1 + flat),    near = exp(-(distance / reach)^2)

    and the weight of each value's residual by 1 + magnitude * near, where distance is the root mean square over the
    input columns of the sample's standardized distance from the candidate. Far samples keep their weights, so that
    what was learned of them is kept.

    Attributes:
        magnitude: Extra weight where the slope vanishes (eta in the paper), or at the candidate; None = 1000 about
            "flat", 100 about "candidate".
        width: Slope at which the extra weight has fallen to 1/e (1/epsilon in the paper), in `units`.
        about: "flat" magnifies small slopes; "candidate" the samples near the point that is given to
            `Surrogate.polish`.
        units: "standardized": slopes of standardized outputs per standardized input, so that one width fits all
            problems; "raw": physical units, with width=10 the formula of the paper.
        reach: Distance from the candidate at which the extra weight has fallen to 1/e, in standardized units
            whatever `units` says; of no effect about "flat".

    References:
        Berguin (2024), Jacobian-enhanced neural networks, arXiv 2406.09132.
    """

    magnitude: float | None = None
    width: float = 0.1
    about: str = "flat"
    units: str = "standardized"
    reach: float = 0.1

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.about not in _MAGNITUDES:
            remedy = "Magnify small slopes, or the samples near a candidate."
            raise InputError(explain("about", "be 'flat' or 'candidate'", repr(self.about), remedy))
        magnitude = _MAGNITUDES[self.about] if self.magnitude is None else self.magnitude
        object.__setattr__(self, "magnitude", number("magnitude", magnitude))
        object.__setattr__(self, "width", number("width", self.width, positive=True))
        object.__setattr__(self, "reach", number("reach", self.reach, positive=True))
        if self.units not in ("standardized", "raw"):
            raise InputError(explain("units", "be 'standardized' or 'raw'", repr(self.units), "Raw is the paper's."))

    def factors(self, data: Dataset, scaling: Scaling) -> np.ndarray:
        """Factors on the weights of the partials about "flat".

        Args:
            data: Samples with partials.
            scaling: Scaling of the surrogate.

        Returns:
            (n, m, d), 1 where the partial is not known.

        Raises:
            InputError: If no partial is known: then nothing tells where the response is flat.
        """
        if not data.known.any():
            remedy = "Polishing looks for small slopes in `dydx`."
            raise InputError(explain("data", "know at least one partial", "none", remedy))
        return 1.0 + self._magnitude * self._flatness(data, scaling)

    def factors_near(self, data: Dataset, scaling: Scaling, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Factors on the weights about "candidate".

        Args:
            data: Samples, with partials or without.
            scaling: Scaling of the surrogate.
            candidate: Point (d,), physical, as `check_candidate` returns it.

        Returns:
            Factors on the weights of the values (n, m), and of the partials (n, m, d).
        """
        apart = scaling.scale_inputs(data.x) - scaling.scale_inputs(candidate[None, :])
        free = max(int((~scaling.constant).sum()), 1)
        near = np.exp(-(apart**2).sum(axis=1) / (free * self.reach**2))
        values = np.broadcast_to(1.0 + self._magnitude * near[:, None], (data.n, data.m))
        return values, 1.0 + self._magnitude * near[:, None, None] * (1.0 + self._flatness(data, scaling))

    @property
    def _magnitude(self) -> float:
        assert self.magnitude is not None
        return self.magnitude

    def _flatness(self, data: Dataset, scaling: Scaling) -> np.ndarray:
        """1 where a partial vanishes, falling to 0 where it is steep or not known; (n, m, d)."""
        slopes = data.partials
        if self.units == "standardized":
            slopes = scaling.scale_partials(data.x, data.y, slopes)
        return np.nan_to_num(np.exp(-((slopes / self.width) ** 2)))


def check_candidate(candidate: object, data: Dataset) -> np.ndarray:
    """Check a candidate against the inputs of some data.

    Args:
        candidate: Point (d,), physical.
        data: Samples of the same inputs.

    Returns:
        The candidate as float64 (d,).

    Raises:
        InputError: If it is not finite, or leaves the domain of a transform.
        ShapeError: If it has another shape.
    """
    point = as_floats("candidate", candidate)  # type: ignore[arg-type]
    if point.shape != (data.d,):
        raise ShapeError(explain("candidate", f"have shape (d,) = ({data.d},)", point.shape, "It is one point."))
    check_finite("candidate", point[None, :], column_names(data.input_variables), "Pass the point to magnify.")
    check_input_domain(point[None, :], data.input_variables)
    return point
