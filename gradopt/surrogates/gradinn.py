"""GradINN: a surrogate that is drawn towards a prior belief about its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.dataset import Dataset
from gradopt.errors import InputError, explain
from gradopt.surrogates.beliefs import Belief, Smooth
from gradopt.surrogates.jenn import NetworkConfiguration, broadcast, checked_weight
from gradopt.training.options import number, whole


@dataclass(frozen=True, eq=False, kw_only=True)
class GradINN(NetworkConfiguration):
    """Gradient-informed neural network, and with known partials its hybrid with JENN.

    An auxiliary network F carries a belief about the gradient. Both are trained together: on the data, and to agree
    about the gradient at collocation points. Known partials are fitted as by `JENN`, so that F carries them on between
    the samples; where nothing is known the belief speaks. By default the belief is a Gaussian prior whose weight omega
    the evidence learns, so that it relaxes where the data contradict it.

    Its attributes are those of `JENN` and:

    Attributes:
        gamma: Weights of the known partials, a number or an array broadcastable to (n, m, d).
        prior: The belief.
        weight: Weight of the belief beside the data, a mean over the collocation points; giving it fixes all weights.
            None = learned, or 1 where weights are fixed.
        collocation: Number of collocation points beside the samples; None = 20 for each input.

    References:
        Aglietti et al. (2024), GradINN: gradient informed neural network, arXiv 2409.01914. Neural Networks 199 (2026),
        108681. A re-implementation from the abstracts and secondary descriptions; that the belief is a prior whose
        weight the evidence learns, and the hybrid, are not theirs.
    """

    gamma: ArrayLike = 1.0
    prior: Belief = Smooth()  # noqa: RUF009 (frozen)
    weight: float | None = None
    collocation: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "gamma", checked_weight("gamma", self.gamma))
        if not isinstance(self.prior, Belief):
            remedy = "Pass an object, such as Smooth() or Monotone(sign=1, inputs='x0')."
            raise InputError(explain("prior", "be a belief", repr(self.prior), remedy))
        if self.weight is not None:
            object.__setattr__(self, "weight", number("weight", self.weight))
            if self.weights == "evidence":
                remedy = "The evidence learns it; to set it yourself use weights='fixed'."
                raise InputError(explain("weight", "be None with weights='evidence'", self.weight, remedy))
            object.__setattr__(self, "weights", "fixed")
        if self.collocation is not None:
            object.__setattr__(self, "collocation", whole("collocation", self.collocation, 1))

    @property
    def belief(self) -> Belief | None:
        """The prior; None where its weight is 0."""
        return None if self.weight == 0.0 else self.prior

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        beta = broadcast("beta", self.beta, (data.n, data.m), "(n, m)")
        gamma = broadcast("gamma", self.gamma, (data.n, data.m, data.d), "(n, m, d)")
        return beta, np.where(data.known, gamma, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        return {**super().to_dict(), "prior": self.prior.to_dict()}
