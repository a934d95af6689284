"""What the parts of this floor, and those above it, ask of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.networks.mlp import Network
from gradopt.surrogates.gradinn.priors import Belief
from gradopt.training.solvers import Solver


class Configuration(Protocol):
    """The settings of a fit: a frozen record such as `JENN`."""

    @property
    def hidden_sizes(self) -> Sequence[int]:
        """Widths of the hidden layers."""
        ...

    @property
    def activation(self) -> str:
        """Name of the activation."""
        ...

    @property
    def weights(self) -> str:
        """Whether weights are learned: "auto", "evidence" or "fixed"."""
        ...

    @property
    def alpha(self) -> float | None:
        """Precision of the prior on the parameters, None where it is learned or the default."""
        ...

    @property
    def solver(self) -> str | Solver:
        """Name of a solver, "auto", or a solver."""
        ...

    @property
    def starts(self) -> int | None:
        """Number of initializations tried, None = a default."""
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
    def belief(self) -> Belief | None:
        """What is believed about the gradient beside the data."""
        ...

    @property
    def weight(self) -> float | None:
        """Weight of the belief, None where it is learned or there is none."""
        ...

    @property
    def collocation(self) -> int | None:
        """Number of collocation points beside the samples, None = a default."""
        ...

    def makes(self, network: Network) -> bool:
        """Whether a fit with these settings may make such a network."""
        ...

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        ...


class Evaluation(Protocol):
    """One forward pass of a surrogate; partials follow on request without repeating it."""

    @property
    def y(self) -> np.ndarray:
        """Outputs (n, m), physical."""
        ...

    def dydx(self) -> np.ndarray:
        """Partials (n, m, d), physical."""
        ...


class SupportsEvaluate(Protocol):
    """What an OpenMDAO component needs of a surrogate."""

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the input columns."""
        ...

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the output columns."""
        ...

    @property
    def lower(self) -> np.ndarray:
        """Lower edge of the domain (d,)."""
        ...

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain (d,)."""
        ...

    @property
    def digest(self) -> str:
        """Hash of everything that determines the answers."""
        ...

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate x (n, d) in physical units, real or complex, anywhere."""
        ...
