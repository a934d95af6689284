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
    """One forward pass of a surrogate; partials follow on request without repeating it.

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
        """Partials (n, m, d), physical: exact derivatives of `y`."""
        return self._scaling.unscale_partials(self.x, self.y, self.standardized_dydx())

    def standardized_dydx(self) -> np.ndarray:
        """Partials (n, m, d), standardized."""
        with torch.no_grad():
            return weighted_mean([run.partials() for run in self._traces], self._shares).numpy()


def weighted_mean(answers: list[Tensor], shares: tuple[float, ...]) -> Tensor:
    """The average of the networks' answers; of one network its own, to the last bit."""
    if len(answers) == 1:
        return answers[0]
    return sum(share * answer for share, answer in zip(shares[1:], answers[1:], strict=True)) + shares[0] * answers[0]
