"""One forward pass of a fitted surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradopt.data.scaling import Scaling
from gradopt.networks.jacobian import Trace


@dataclass(frozen=True, eq=False)
class SurrogateEvaluation:
    """One forward pass of a surrogate; partials can be computed from it without repeating the pass.

    Attributes:
        x: Inputs (n, d), physical.
        y: Outputs (n, m), physical.
    """

    x: np.ndarray
    y: np.ndarray
    _scaling: Scaling
    _traces: tuple[Trace, ...]
    _shares: tuple[float, ...]

    def dydx(self) -> np.ndarray:
        """Compute partials (n, m, d), unit of y per unit of x: exact derivatives of `y`."""
        return self._scaling.unscale_partials(self.x, self.y, self.standardized_dydx())

    def standardized_dydx(self) -> np.ndarray:
        """Compute partials (n, m, d), standardized."""
        with torch.no_grad():
            return weighted_mean([run.partials() for run in self._traces], self._shares).numpy()


def weighted_mean(outputs: list[Tensor], shares: tuple[float, ...]) -> Tensor:
    """Average the outputs of networks by their shares; the output of a single network is returned unchanged."""
    if len(outputs) == 1:
        return outputs[0]
    return sum(share * output for share, output in zip(shares[1:], outputs[1:], strict=True)) + shares[0] * outputs[0]
