"""The protocol of a configuration, for the modules that fit and keep networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.networks.mlp import Network
from gradopt.surrogates.gradinn.priors import Prior
from gradopt.training.solvers import Solver


class Configuration(Protocol):
    """The settings of a fit: a frozen dataclass such as `JENN`."""

    @property
    def hidden_sizes(self) -> Sequence[int]:
        """Widths of the hidden layers."""
        ...

    @property
    def activation(self) -> str:
        """Name of the activation, or "auto"."""
        ...

    @property
    def weights(self) -> str:
        """Whether weights are learned: "auto", "evidence" or "fixed"."""
        ...

    @property
    def alpha(self) -> float | None:
        """Precision of the prior on the parameters; None = learned, or a default."""
        ...

    @property
    def solver(self) -> str | Solver:
        """Name of a solver, "auto", or a solver."""
        ...

    @property
    def starts(self) -> int | None:
        """Number of initializations; None = a default."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the initializations."""
        ...

    @property
    def dtype(self) -> str:
        """Floating type of the training."""
        ...

    @property
    def device(self) -> str:
        """Torch device of the training."""
        ...

    @property
    def active_prior(self) -> Prior | None:
        """Prior on the gradient; None where there is none or its weight is 0."""
        ...

    @property
    def weight(self) -> float | None:
        """Weight of the prior on the gradient; None = learned, or no prior."""
        ...

    @property
    def collocation(self) -> int | None:
        """Number of collocation points beside the samples; None = a default."""
        ...

    def allows(self, network: Network) -> bool:
        """Return whether a fit with these settings may have a network of this shape."""
        ...

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        ...
