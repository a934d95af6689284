"""Polishing: a second training that magnifies the flat regions of the response, where its optima are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, explain
from gradopt.training.options import number


@dataclass(frozen=True)
class Polish:
    """How to magnify samples while training goes on from the present parameters.

    The weight of each partial's residual is multiplied by

        1 + magnitude * exp(-(slope / width)^2)

    where slope is that partial at that sample.

    Attributes:
        magnitude: Extra weight where the slope vanishes (eta in the paper).
        width: Slope at which the extra weight has fallen to 1/e (1/epsilon in the paper), in `units`.
        about: "flat", the only choice so far: magnify small slopes.
        units: "standardized": slopes of standardized outputs per standardized input, so that one width fits all
            problems; "raw": physical units, with width=10 the formula of the paper.

    References:
        Berguin (2024), Jacobian-enhanced neural networks, arXiv 2406.09132.
    """

    magnitude: float = 1000.0
    width: float = 0.1
    about: str = "flat"
    units: str = "standardized"

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "magnitude", number("magnitude", self.magnitude))
        object.__setattr__(self, "width", number("width", self.width, positive=True))
        if self.about != "flat":
            raise InputError(explain("about", "be 'flat'", repr(self.about), "Magnify small slopes."))
        if self.units not in ("standardized", "raw"):
            raise InputError(explain("units", "be 'standardized' or 'raw'", repr(self.units), "Raw is the paper's."))

    def factors(self, data: Dataset, scaling: Scaling) -> np.ndarray:
        """Factors on the weights of the partials.

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
        slopes = data.partials
        if self.units == "standardized":
            slopes = scaling.scale_partials(data.x, data.y, slopes)
        return 1.0 + self.magnitude * np.nan_to_num(np.exp(-((slopes / self.width) ** 2)))
