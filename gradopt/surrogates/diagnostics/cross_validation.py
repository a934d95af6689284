"""Cross-validation: how well a configuration predicts samples that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np

from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.variables import Variable, column_names
from gradopt.errors import GradoptError, InputError, explain
from gradopt.training.options import whole

_CONSTANT = 1e-13  # standard deviation over the largest magnitude, below which a column is rounding
_SHOWN = 5  # rows named in a message


class SupportsLinearize(Protocol):
    """What a fit must return."""

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict outputs (n, m) and partials (n, m, d) at x (n, d), physical."""
        ...


@runtime_checkable
class SupportsCrossValidation(Protocol):
    """A configuration, such as `JENN` or `MLP`."""

    def fit(self, data: Dataset) -> SupportsLinearize:
        """Train on data."""
        ...


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Predictions of each sample by a fit that did not see it, and their errors; `print` it for a report.

    All is physical, in the units of the variables, also where a variable has a transform. Partials that are not known
    count nowhere. A figure that would divide by a spread of 0 is NaN: NRMSE and R2 of an output or partial that does
    not vary, and everything about a partial that is known nowhere.

    Attributes:
        data: The samples, which are the truth.
        y: Predicted outputs (n, m).
        dydx: Predicted partials (n, m, d), also where the true one is not known.
        fold: Number of the fold (n,) in which each sample was left out, from 0.
    """

    data: Dataset
    y: np.ndarray
    dydx: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("y", "dydx", "fold"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def rmse(self) -> np.ndarray:
        """Root of the mean squared error of each output (m,)."""
        return np.sqrt(np.mean((self.y - self.data.y) ** 2, axis=0))

    @property
    def nrmse(self) -> np.ndarray:
        """`rmse` over the standard deviation of the true output (m,)."""
        return _ratio(self.rmse, _spread(self.data.y))

    @property
    def max_error(self) -> np.ndarray:
        """Largest absolute error of each output (m,)."""
        return np.abs(self.y - self.data.y).max(axis=0)

    @property
    def r2(self) -> np.ndarray:
        """1 - `nrmse`^2 of each output (m,): 1 is perfect, 0 no better than the mean of all samples."""
        return 1.0 - self.nrmse**2

    @property
    def n_known(self) -> np.ndarray:
        """In how many samples each partial is known (m, d)."""
        return self.data.known.sum(axis=0)

    @property
    def rmse_partials(self) -> np.ndarray:
        """Root of the mean squared error of each partial (m, d)."""
        return np.sqrt(_mean((self.dydx - self.data.partials) ** 2, self.data.known))

    @property
    def r2_partials(self) -> np.ndarray:
        """R2 of each partial (m, d), about its own mean; far below 0 for a partial that hardly varies."""
        return 1.0 - _ratio(self.rmse_partials, _spread(self.data.partials)) ** 2

    @property
    def pooled_partials_r2(self) -> np.ndarray:
        """R2 of all partials of each output together (m,), on the standardized scale.

        Each partial is multiplied by the standard deviation of its input and divided by that of its output, which
        cancels. Then R2 = 1 - sum of squared errors / sum of squared deviations of each true partial from its own
        mean, both sums over all inputs and all samples in which the partial is known. So a partial that hardly
        varies, whose own R2 means little, counts by its error on the scale of the others, whatever the units.
        NaN where no partial of the output varies.
        """
        weights = self.n_known * _spread(self.data.x) ** 2  # (m, d)
        pairs = self.rmse_partials, _spread(self.data.partials)
        wrong, spread = (np.where(self.n_known > 0, weights * each**2, 0.0).sum(axis=1) for each in pairs)
        return 1.0 - _ratio(wrong, spread)

    def worst(self, k: int = 5) -> np.ndarray:
        """Find the samples that are predicted worst.

        Args:
            k: How many.

        Returns:
            Row numbers (k,), by the largest error of an output over its standard deviation, the worst first.
        """
        errors = np.nan_to_num(np.abs(self.y - self.data.y), nan=np.inf)
        scaled = np.nan_to_num(_ratio(errors, _spread(self.data.y)))
        return np.argsort(-scaled.max(axis=1), kind="stable")[: whole("k", k, 1)]

    def __str__(self) -> str:
        """Write a table of the outputs and, below, one of the partials."""
        inputs, outputs = self.data.input_variables, self.data.output_variables
        units, per = _column_units(outputs), _column_units(inputs)
        kind = "Leave-one-out" if self.folds == self.data.n else f"{self.folds}-fold"
        names, wrt = column_names(outputs), column_names(inputs)
        rows = [[f"{kind} cross-validation, {self.data.n} samples", "units", "RMSE", "RMSE/std", "max error", "R2"]]
        for k, name in enumerate(names):
            figures = self.rmse[k], self.nrmse[k], self.max_error[k]
            rows.append([name, units[k] or "-", *(f"{figure:.3g}" for figure in figures), f"{self.r2[k]:.4f}"])
        text = _aligned(rows)
        if not self.n_known.any():
            return f"{text}\nNo partials are known."
        rows = [["partials", "units", "RMSE", "known", "R2"]]
        rmse, r2 = self.rmse_partials, self.r2_partials
        for k, name in enumerate(names):
            for j, other in enumerate(wrt):
                unit = f"{units[k] or '1'}/({per[j]})" if per[j] else units[k] or "-"
                figures_of = [f"{rmse[k, j]:.3g}", f"{self.n_known[k, j]}", f"{r2[k, j]:.4f}"]
                rows.append([f"d {name} / d {other}", unit, *figures_of])
            rows.append([f"all of {name}, standardized", "", "", "", f"{self.pooled_partials_r2[k]:.4f}"])
        return f"{text}\n{_aligned(rows)}"


def cross_validate(
    configuration: SupportsCrossValidation,
    data: Dataset,
    folds: int | str = 10,
    seed: int = 0,
    callback: Callable[[int, int], object] | None = None,
) -> CrossValidation:
    """Fit to all samples but some, predict these, and so on until every sample has been left out once.

    Samples at the very same point are left out together: else a fit would know the answer. Weights with an entry for
    each sample do not fit to a part of the samples; use weights without that axis.

    Args:
        configuration: What is fitted, afresh in each fold.
        data: The samples, at two or more different points.
        folds: Number of parts, at least 2, each left out once; "leave-one-out", or no less than there are points, for
            one point at a time.
        seed: Seed of the shuffle; leave-one-out goes in order.
        callback: Called after each fold with the number of folds done and of all.

    Returns:
        The predictions and their errors.

    Raises:
        InputError: If an argument is wrong, or a fold fails; the message then says which.
    """
    if isinstance(configuration, type) or not isinstance(configuration, SupportsCrossValidation):
        raise InputError(explain("configuration", "have a method `fit(data)`", repr(configuration), "Such as JENN()."))
    check_dataset("data", data)
    fold = _assign(data, folds, whole("seed", seed, 0))
    count = int(fold.max()) + 1
    y, dydx = np.empty_like(data.y), np.empty_like(data.partials)
    for number in range(count):
        out = fold == number
        try:
            y[out], dydx[out] = configuration.fit(data.select(~out)).linearize(data.x[out])
        except GradoptError as failure:
            rows = ", ".join(map(str, np.flatnonzero(out)[:_SHOWN])) + (", ..." if out.sum() > _SHOWN else "")
            raise InputError(f"Fold {number} of 0 to {count - 1}, which leaves out row {rows}: {failure}") from failure
        if callback is not None:
            callback(number + 1, count)
    return CrossValidation(data, y, dydx, fold)


def _assign(data: Dataset, folds: int | str, seed: int) -> np.ndarray:
    """Fold of each sample (n,); points are numbered in the order of the samples, then shuffled."""
    if not (isinstance(folds, Integral) and folds >= 2) and folds != "leave-one-out":
        remedy = "10 is usual."
        raise InputError(explain("folds", "be a whole number of at least 2 or 'leave-one-out'", repr(folds), remedy))
    _, first, point = np.unique(data.x, axis=0, return_index=True, return_inverse=True)
    n = len(first)
    if n < 2:
        raise InputError(explain("data", "hold samples at two or more different points", n, "Add samples."))
    point = first.argsort().argsort()[point.ravel()]
    if isinstance(folds, str) or folds >= n:
        return point
    assigned = np.empty(n, dtype=int)
    assigned[np.random.default_rng(seed).permutation(n)] = np.arange(n) % folds
    return assigned[point]


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over the samples that are known; NaN where there is none."""
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the samples without NaN; 0 where there is only rounding, NaN where there is no sample."""
    known = ~np.isnan(values)
    spread = np.sqrt(_mean((values - _mean(values, known)) ** 2, known))
    return np.where(spread > _CONSTANT * np.abs(np.where(known, values, 0.0)).max(axis=0), spread, 0.0 * spread)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient; NaN where `below` is 0 or NaN."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _column_units(variables: tuple[Variable, ...]) -> list[str | None]:
    return [variable.units for variable in variables for _ in range(variable.size)]


def _aligned(rows: list[list[str]]) -> str:
    """Lay out cells in columns, the first two to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
