"""Cross-validation: errors of a configuration on held-out samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np

from gradopt.data.arrays import ReadOnly, freeze_fields
from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.variables import Variable, column_names
from gradopt.errors import GradoptError, InputError, explain
from gradopt.training.options import whole

_CONSTANT = 1e-13  # standard deviation over the largest magnitude, below which a column is constant but for rounding
_SHOWN = 5  # number of rows in a message


class SupportsLinearize(Protocol):
    """A fitted surrogate."""

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict outputs (n, m) and partials (n, m, d) at x (n, d), physical."""
        ...


@runtime_checkable
class SupportsCrossValidation(Protocol):
    """A configuration that can be cross-validated, such as `JENN` or `MLP`."""

    def fit(self, data: Dataset) -> SupportsLinearize:
        """Train on data."""
        ...


@dataclass(frozen=True, eq=False)
class CrossValidation(ReadOnly):
    """Predictions of held-out samples, and their errors; `str` of it is a report.

    All numbers are physical, in the units of the variables, also where a variable has a transform. Partials that are
    not known are ignored. A number is NaN where it is not defined: NRMSE and R2 of an output or partial that does not
    vary, and all numbers of a partial that is known in no sample.

    Attributes:
        data: Samples.
        y: Predicted outputs (n, m), physical.
        dydx: Predicted partials (n, m, d), unit of y per unit of x, also where the partial of the data is not known.
        fold: Number of the fold (n,) in which each sample was held out, from 0.
    """

    data: Dataset
    y: np.ndarray
    dydx: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_fields(self, "y", "dydx", "fold")

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def rmse(self) -> np.ndarray:
        """Root mean square error of each output (m,), physical."""
        return np.sqrt(np.mean((self.y - self.data.y) ** 2, axis=0))

    @property
    def nrmse(self) -> np.ndarray:
        """RMSE over the standard deviation of the output in the data (m,)."""
        return _ratio(self.rmse, _spread(self.data.y))

    @property
    def max_error(self) -> np.ndarray:
        """Largest absolute error of each output (m,), physical."""
        return np.abs(self.y - self.data.y).max(axis=0)

    @property
    def r2(self) -> np.ndarray:
        """R2 = 1 - `nrmse`^2 of each output (m,): 1 for exact predictions, 0 for the mean of all samples."""
        return 1.0 - self.nrmse**2

    @property
    def n_known(self) -> np.ndarray:
        """Number of samples in which each partial is known (m, d)."""
        return self.data.known.sum(axis=0)

    @property
    def rmse_partials(self) -> np.ndarray:
        """Root mean square error of each partial (m, d), unit of y per unit of x."""
        return np.sqrt(_mean((self.dydx - self.data.partials) ** 2, self.data.known))

    @property
    def r2_partials(self) -> np.ndarray:
        """R2 of each partial (m, d) about its mean; far below 0 for a partial that hardly varies."""
        return 1.0 - _ratio(self.rmse_partials, _spread(self.data.partials)) ** 2

    @property
    def pooled_partials_r2(self) -> np.ndarray:
        """R2 of all partials of each output together (m,), in standardized units.

        R2 = 1 - sum of squared errors / sum of squared deviations of each partial of the data from its mean, both sums
        over all inputs and all samples in which the partial is known. Each partial is multiplied by the standard
        deviation of its input. (Division by that of the output would cancel.) So a partial that hardly varies counts by
        its error on the scale of the others, in any units. NaN where no partial of the output varies.
        """
        weights = self.n_known * _spread(self.data.x) ** 2  # (m, d)
        pairs = self.rmse_partials, _spread(self.data.partials)
        wrong, spread = (np.where(self.n_known > 0, weights * each**2, 0.0).sum(axis=1) for each in pairs)
        return 1.0 - _ratio(wrong, spread)

    def worst(self, k: int = 5) -> np.ndarray:
        """Find the samples with the largest errors.

        Args:
            k: Number of samples.

        Returns:
            Row numbers (k,), ordered by the largest error of an output over its standard deviation, the largest first.
        """
        errors = np.nan_to_num(np.abs(self.y - self.data.y), nan=np.inf)
        scaled = np.nan_to_num(_ratio(errors, _spread(self.data.y)))
        return np.argsort(-scaled.max(axis=1), kind="stable")[: whole("k", k, 1)]

    def __str__(self) -> str:
        """Write a table of the outputs and a table of the partials."""
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
    """Predict each sample by a fit to samples of the other folds.

    Samples at the same point belong to the same fold, so that no fit has a held-out value in its data. Weights must be
    numbers or have an axis of length 1 for the samples, because each fold is fitted to a part of the samples.

    Args:
        configuration: Settings of the fits.
        data: The samples, at two or more different points.
        folds: Number of folds, at least 2, each held out once; "leave-one-out" holds out one point at a time, and so
            does a number of at least the number of points.
        seed: Seed of the shuffle; leave-one-out takes the points in order.
        callback: Function called after each fold with the number of folds done and the number of all folds.

    Returns:
        The predictions and their errors.

    Raises:
        InputError: If an argument is invalid, or if the fit of a fold fails; the message names the fold.
    """
    if isinstance(configuration, type) or not isinstance(configuration, SupportsCrossValidation):
        raise InputError(explain("configuration", "have a method `fit(data)`", repr(configuration), "Try JENN()."))
    check_dataset("data", data)
    fold = _assign(data, folds, whole("seed", seed, 0))
    count = int(fold.max()) + 1
    y, dydx = np.empty_like(data.y), np.empty_like(data.partials)
    for number in range(count):
        held = fold == number
        try:
            y[held], dydx[held] = configuration.fit(data.select(~held)).linearize(data.x[held])
        except GradoptError as failure:
            rows = ", ".join(map(str, np.flatnonzero(held)[:_SHOWN])) + (", ..." if held.sum() > _SHOWN else "")
            raise InputError(f"Fold {number} of 0 to {count - 1}, which holds out row {rows}: {failure}") from failure
        if callback is not None:
            callback(number + 1, count)
    return CrossValidation(data, y, dydx, fold)


def _assign(data: Dataset, folds: int | str, seed: int) -> np.ndarray:
    """Assign a fold to each sample (n,); points are numbered in the order of the samples, then shuffled."""
    if not (isinstance(folds, Integral) and folds >= 2) and folds != "leave-one-out":
        remedy = "10 is usual."
        raise InputError(explain("folds", "be a whole number of at least 2 or 'leave-one-out'", repr(folds), remedy))
    _, first, point = np.unique(data.x, axis=0, return_index=True, return_inverse=True)
    n = len(first)
    if n < 2:
        raise InputError(explain("data", "have samples at two or more different points", n, "Add samples."))
    point = first.argsort().argsort()[point.ravel()]
    if isinstance(folds, str) or folds >= n:
        return point
    assigned = np.empty(n, dtype=int)
    assigned[np.random.default_rng(seed).permutation(n)] = np.arange(n) % folds
    return assigned[point]


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Compute the mean over the known samples; NaN where there is none."""
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _spread(values: np.ndarray) -> np.ndarray:
    """Compute the standard deviation over the samples without NaN; 0 of rounding alone, NaN without a sample."""
    known = ~np.isnan(values)
    spread = np.sqrt(_mean((values - _mean(values, known)) ** 2, known))
    return np.where(spread > _CONSTANT * np.abs(np.where(known, values, 0.0)).max(axis=0), spread, 0.0 * spread)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where `below` is 0 or NaN."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _column_units(variables: tuple[Variable, ...]) -> list[str | None]:
    return [variable.units for variable in variables for _ in range(variable.size)]


def _aligned(rows: list[list[str]]) -> str:
    """Align cells in columns: the first two to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
