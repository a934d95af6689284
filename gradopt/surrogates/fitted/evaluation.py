"""One forward pass of a fitted surrogate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradopt.data.scaling import Scaling
from gradopt.errors import EvaluationError
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
        """Compute partials (n, m, d), unit of y per unit of x: exact derivatives of `y`.

        Raises:
            EvaluationError: If a partial is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the check names the row
            partials = self._scaling.unscale_partials(self.x, self.y, self.standardized_dydx())
        return checked_finite("partials", partials)

    def standardized_dydx(self) -> np.ndarray:
        """Compute partials (n, m, d), standardized."""
        with torch.no_grad():
            return weighted_mean([run.partials() for run in self._traces], self._shares).numpy()


def checked_finite(what: str, predicted: np.ndarray) -> np.ndarray:
    """Return what a surrogate predicts, (n, m) or (n, m, d); raise `EvaluationError` if an entry is not finite."""
    finite = np.isfinite(predicted)
    if finite.all():
        return predicted
    row, output, *column = (int(index) for index in np.argwhere(~finite)[0])
    place = f"row {row}, output column {output}" + (f", input column {column[0]}" if column else "")
    count = int((~finite.reshape(len(finite), -1)).any(axis=1).sum())
    raise EvaluationError(
        f"The {what} that the surrogate predicts must be finite, got {predicted[(row, output, *column)]} in {place} "
        f"({count} such rows of {len(finite)}). Predict nearer to the training data, or write them in units in which "
        "they have sizes near 1, and fit again."
    )


def checked_std(unscale: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Return standard deviations in physical units; raise `EvaluationError` if one is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return checked_finite("standard deviations", unscale(*arrays))


def failure_of(evaluate: Callable[[], SurrogateEvaluation]) -> str:
    """Return why a surrogate has no finite values and partials at its training data; "" if it has."""
    try:
        evaluate().dydx()
    except EvaluationError as failed:
        return f"The surrogate fails at its training data. {failed}"
    return ""


def weighted_mean(outputs: list[Tensor], shares: tuple[float, ...]) -> Tensor:
    """Average the outputs of networks by their shares; the output of a single network is returned unchanged."""
    if len(outputs) == 1:
        return outputs[0]
    return sum(share * output for share, output in zip(shares[1:], outputs[1:], strict=True)) + shares[0] * outputs[0]
