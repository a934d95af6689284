"""One forward pass of a fitted surrogate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradopt.data.scaling import Scaling
from gradopt.data.variables import Variable, column_names
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.networks.forks import use_one_thread_after_fork
from gradopt.networks.jacobian import Trace

_FAR = 10.0  # domain widths outside the domain beyond which units or order of inputs must be wrong; chosen by hand


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


@contextmanager
def inference() -> Iterator[None]:
    """Compute without gradients and warnings; the results are checked. In a forked process torch uses one thread."""
    use_one_thread_after_fork()
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        yield


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


def check_near_domain(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, inputs: Sequence[Variable]) -> None:
    """Raise `InputError` if a row of x (n, d) is far outside the domain between `lower` and `upper`, each (d,)."""
    with np.errstate(over="ignore"):
        width = upper - lower
        reach = _FAR * np.where(width > 0.0, width, np.inf)
        far = (x.real < lower - reach) | (x.real > upper + reach)
    if not far.any():
        return
    names = column_names(inputs)
    row, column = (int(index) for index in np.argwhere(far)[0])
    variable = next(v for v in inputs if names[column] in v.columns)
    raise InputError(
        explain(
            "x",
            f"lie near the domain [{lower[column]:g}, {upper[column]:g}] in column {names[column]!r}",
            f"{x[row, column].real:g} in row {row}, over {_FAR:g} widths away",
            f"Are its units {variable.units or '(none)'}, and are the columns in the order {names}?",
        )
    )


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
