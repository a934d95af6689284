"""The protocol by which OpenMDAO components evaluate a surrogate; importing this module does not import torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from gradopt.data.variables import Variable


class Evaluation(Protocol):
    """One forward pass of a surrogate; partials can be computed from it without repeating the pass."""

    @property
    def y(self) -> np.ndarray:
        """Outputs (n, m), physical."""
        ...

    def dydx(self) -> np.ndarray:
        """Compute partials (n, m, d), unit of y per unit of x."""
        ...


class SupportsEvaluate(Protocol):
    """A surrogate as an OpenMDAO component uses it."""

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
        """Lower edge of the domain (d,), physical."""
        ...

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain (d,), physical."""
        ...

    @property
    def digest(self) -> str:
        """Hash of everything that determines the predictions."""
        ...

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate the surrogate at x (n, d), physical, real or complex, inside the domain or outside."""
        ...
