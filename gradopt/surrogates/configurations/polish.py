"""Polishing: further training with larger weights where the response is flat, as near optima, or at a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.data.arrays import as_floats, check_finite
from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, check_input_domain
from gradopt.data.variables import column_names
from gradopt.errors import InputError, ShapeError, explain
from gradopt.training.options import number

# Extra weight by `about`: "flat" is kept by the sweep of scripts/jenn/polishing_sweep.py, in which no other value was
# reliably better; "candidate" was chosen by hand: a larger weight raises the errors of the other samples.
_MAGNITUDES = {"flat": 1000.0, "candidate": 100.0}


@dataclass(frozen=True)
class Polish:
    """Settings of polishing: training continues from the present parameters with magnified weights.

    About "flat" the weight of each partial's residual is multiplied by

        1 + magnitude * flat,    flat = exp(-(slope / width)^2)

    where slope is that partial at that sample. About "candidate" it is multiplied by

        1 + magnitude * near * (1 + flat),    near = exp(-(distance / reach)^2)

    and the weight of each value's residual by 1 + magnitude * near, where distance is the root mean square over the
    input columns of the sample's standardized distance from the candidate. Distant samples keep their weights, so that
    the fit to them is kept.

    Attributes:
        magnitude: Extra weight where the slope is 0 (eta in the paper), or at the candidate; None = 1000 about "flat",
            100 about "candidate".
        width: Slope at which the extra weight has fallen to 1/e (1/epsilon in the paper), in `units`.
        about: Place of the extra weight: "flat" for small slopes, "candidate" for the samples near the point that
            `Surrogate.polish` gets.
        units: Units of the slopes: "standardized" for standardized outputs per standardized input, so that one width
            suits all problems; "raw" for physical units, with width=10 the formula of the paper.
        reach: Distance from the candidate at which the extra weight has fallen to 1/e, always in standardized units;
            without effect about "flat".

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
            remedy = "'flat' magnifies small slopes, 'candidate' the samples near a point."
            raise InputError(explain("about", "be 'flat' or 'candidate'", repr(self.about), remedy))
        magnitude = _MAGNITUDES[self.about] if self.magnitude is None else self.magnitude
        object.__setattr__(self, "magnitude", number("magnitude", magnitude))
        object.__setattr__(self, "width", number("width", self.width, positive=True))
        object.__setattr__(self, "reach", number("reach", self.reach, positive=True))
        if self.units not in ("standardized", "raw"):
            raise InputError(
                explain("units", "be 'standardized' or 'raw'", repr(self.units), "'standardized' is usual.")
            )

    def factors(self, data: Dataset, scaling: Scaling) -> np.ndarray:
        """Compute factors on the weights of the partials about "flat".

        Args:
            data: Samples with partials.
            scaling: Scaling of the surrogate.

        Returns:
            Factors (n, m, d), 1 where the partial is not known.

        Raises:
            InputError: If no partial is known, because flat regions are found by partials.
        """
        if not data.known.any():
            got = f"NaN in all {data.partials.size} entries of `dydx`"
            remedy = "Pass data with partials, or polish about a candidate."
            raise InputError(explain("data", "have at least one known partial", got, remedy))
        return 1.0 + self._magnitude * self._flatness(data, scaling)

    def factors_near(self, data: Dataset, scaling: Scaling, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute factors on the weights about "candidate".

        Args:
            data: Samples, with partials or without.
            scaling: Scaling of the surrogate.
            candidate: Point (d,), physical, checked by `check_candidate`.

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
        """Compute the flatness (n, m, d): 1 for a partial of 0, near 0 for a large one, 0 for one that is not known."""
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
        InputError: If the candidate is not finite, or lies outside the domain of a transform.
        ShapeError: If the candidate has another shape.
    """
    point = as_floats("candidate", candidate)  # type: ignore[arg-type]
    if point.shape != (data.d,):
        raise ShapeError(explain("candidate", f"have shape (d,) = ({data.d},)", point.shape, "Pass one point."))
    check_finite("candidate", point[None, :], column_names(data.input_variables), "Pass the point to magnify.")
    check_input_domain(point[None, :], data.input_variables)
    return point
