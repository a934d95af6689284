"""Training data: samples of a model with values and partials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from reprlib import repr as shortened

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import ReadOnly, as_array, as_floats, check_finite, check_matrix, frozen
from gradopt.data.variables import (
    Variable,
    check_different_names,
    check_same_variables,
    check_variables,
    column_names,
    column_slices,
)
from gradopt.errors import InputError, ShapeError, explain


@dataclass(frozen=True, eq=False)
class Dataset(ReadOnly):
    """Samples of a model, immutable, in physical units.

    Attributes:
        x: Inputs (n, d).
        y: Outputs (n, m).
        dydx: Partials (n, m, d), index order sample, of, wrt. NaN = this entry is unknown; None = all are.
        inputs: Variables of the columns of `x`; None = one variable "x" of shape (d,).
        outputs: Variables of the columns of `y`; None = one variable "y" of shape (m,).

    Raises:
        InputError: If `x` or `y` hold NaN or infinity, or `dydx` infinity.
        ShapeError: If the shapes do not agree.
    """

    x: np.ndarray
    y: np.ndarray
    dydx: np.ndarray | None = None
    inputs: Sequence[Variable] | None = None
    outputs: Sequence[Variable] | None = None

    def __post_init__(self) -> None:
        """Copy, check and freeze the arrays."""
        x, y = as_floats("x", self.x), as_floats("y", self.y)
        check_matrix("x", x, None, "(n, d)")
        check_matrix("y", y, None, "(n, m)")
        if len(x) != len(y):
            remedy = "Samples come first in both."
            if x.shape[1] == y.shape[1]:
                remedy = "If samples are the columns of both, pass `x.T` and `y.T`."
            elif x.shape[1] == len(y):
                remedy = "If samples are the columns of `x`, pass `x.T`."
            elif y.shape[1] == len(x):
                remedy = "If samples are the columns of `y`, pass `y.T`."
            raise ShapeError(explain("y", f"have as many rows as `x`, {len(x)}", y.shape, remedy))
        if not len(x) or not x.shape[1] or not y.shape[1]:
            got = f"shape {x.shape} and `y` {y.shape}"
            raise ShapeError(explain("x", "hold at least one sample and column, as `y`", got, "Add samples."))
        inputs = check_variables("inputs", self.inputs, x.shape[1], "x")
        outputs = check_variables("outputs", self.outputs, y.shape[1], "y")
        check_different_names(inputs, outputs)
        remedy = "Drop those samples: a failed evaluation is no training data."
        check_finite("x", x, column_names(inputs), remedy)
        check_finite("y", y, column_names(outputs), remedy)
        dydx = self._check_partials((len(x), y.shape[1], x.shape[1]))
        for name, array in (("x", x), ("y", y), ("dydx", dydx)):
            object.__setattr__(self, name, frozen(array))
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outputs", outputs)

    def _check_partials(self, shape: tuple[int, int, int]) -> np.ndarray:
        if self.dydx is None:
            return np.full(shape, np.nan)
        dydx = as_floats("dydx", self.dydx)
        if dydx.shape != shape:
            n, m, d = shape
            remedy = "Index order is sample, of, wrt."
            if dydx.shape == (n, d, m):
                remedy = "If it is (n, d, m), pass `dydx.swapaxes(1, 2)`."
            elif dydx.shape == (m, d, n):
                remedy = "If it is (m, d, n), pass `dydx.transpose(2, 0, 1)`."
            elif m == 1 and dydx.shape == (n, d):
                remedy = "With one output pass `dydx[:, None, :]`."
            raise ShapeError(explain("dydx", f"have shape (n, m, d) = {shape}", dydx.shape, remedy))
        if np.isinf(dydx).any():
            i, k, j = (int(index) for index in np.argwhere(np.isinf(dydx))[0])
            raise InputError(
                explain("dydx", "be finite or NaN", f"{dydx[i, k, j]} at [{i}, {k}, {j}]", "Mark it NaN: not known.")
            )
        return dydx

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.x)

    @property
    def d(self) -> int:
        """Number of input columns."""
        return self.x.shape[1]

    @property
    def m(self) -> int:
        """Number of output columns."""
        return self.y.shape[1]

    @property
    def partials(self) -> np.ndarray:
        """Partials (n, m, d), NaN where unknown; `dydx`, but never None."""
        assert self.dydx is not None
        return self.dydx

    @property
    def input_variables(self) -> tuple[Variable, ...]:
        """Variables of the columns of `x`; `inputs`, but never None."""
        return tuple(self.inputs or ())

    @property
    def output_variables(self) -> tuple[Variable, ...]:
        """Variables of the columns of `y`; `outputs`, but never None."""
        return tuple(self.outputs or ())

    @property
    def known(self) -> np.ndarray:
        """Mask (n, m, d) of the known partials, bool."""
        return ~np.isnan(self.partials)

    @property
    def digest(self) -> str:
        """SHA-256 of arrays and variables; equal for equal data."""
        found = hashlib.sha256()
        for array in (self.x, self.y, self.partials):
            plain = np.where(np.isnan(array), np.nan, array + 0.0)  # one NaN, one zero
            found.update(str(plain.shape).encode() + plain.tobytes())
        variables = [variable.to_dict() for variable in (*self.input_variables, *self.output_variables)]
        found.update(json.dumps(variables, sort_keys=True).encode())
        return found.hexdigest()

    def select(self, rows: ArrayLike) -> Dataset:
        """Keep some samples.

        Args:
            rows: Row numbers (k,) in the order to return, or a bool mask (n,).

        Returns:
            Dataset of those samples.

        Raises:
            InputError: If a row does not exist, or no row is kept.
        """
        rows = as_array("rows", rows)
        fits = rows.shape == (self.n,) if rows.dtype == bool else rows.ndim == 1 and rows.dtype.kind in "iu"
        if not fits or not rows.size or (rows.dtype != bool and (rows.min() < -self.n or rows.max() >= self.n)):
            remedy = f"Row numbers run from 0 to {self.n - 1}; at least one must be kept."
            got = f"{rows.dtype} of shape {rows.shape}: {shortened(rows.tolist())}"
            raise InputError(explain("rows", f"be row numbers, or a bool mask of shape ({self.n},)", got, remedy))
        return replace(self, x=self.x[rows], y=self.y[rows], dydx=self.partials[rows])

    def select_outputs(self, names: str | Sequence[str]) -> Dataset:
        """Keep some outputs, for instance to fit one surrogate each.

        Args:
            names: Names of the output variables to keep, in the order to return; or a single name.

        Returns:
            Dataset of all samples with those outputs.

        Raises:
            InputError: If an output does not exist, or no name is given.
        """
        slices = column_slices(self.output_variables)
        if isinstance(names, str):
            names = [names]
        unknown = [name for name in names if name not in slices]
        if unknown or not names:
            remedy = "Check the spelling."
            raise InputError(explain("names", f"be among the outputs {sorted(slices)}", unknown or names, remedy))
        columns = np.concatenate([np.arange(slices[name].start, slices[name].stop) for name in names])
        by_name = {variable.name: variable for variable in self.output_variables}
        return replace(
            self, y=self.y[:, columns], dydx=self.partials[:, columns], outputs=[by_name[name] for name in names]
        )

    def concat(self, other: Dataset) -> Dataset:
        """Append the samples of `other`.

        Args:
            other: Samples of the same variables, in the same units.

        Returns:
            Dataset of n + other.n samples, those of `self` first.

        Raises:
            InputError: If the variables differ.
        """
        check_dataset("other", other)
        remedy = "Bring both to the same names, order, units and bounds first."
        check_same_variables("other.inputs", self.input_variables, other.input_variables, remedy, exact=True)
        check_same_variables("other.outputs", self.output_variables, other.output_variables, remedy, exact=True)
        return replace(
            self,
            x=np.concatenate([self.x, other.x]),
            y=np.concatenate([self.y, other.y]),
            dydx=np.concatenate([self.partials, other.partials]),
        )

    def with_variables(self, argument: str, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Dataset:
        """Give the samples variables that differ from theirs in bounds and transforms only.

        Args:
            argument: Name of the argument that the data came by, for messages.
            inputs: Variables of the input columns.
            outputs: Variables of the output columns.

        Raises:
            InputError: If names, shapes or units differ.
        """
        remedy = "Make it with them: Dataset(x, y, dydx, truth.inputs, truth.outputs)."
        check_same_variables(f"{argument}.inputs", inputs, self.input_variables, remedy)
        check_same_variables(f"{argument}.outputs", outputs, self.output_variables, remedy)
        return Dataset(self.x, self.y, self.partials, inputs, outputs)

    def split(self, fraction: float, seed: int | np.random.Generator) -> tuple[Dataset, Dataset]:
        """Split the samples at random.

        Args:
            fraction: Fraction of the samples in the second part, in (0, 1); both parts get at least one sample.
            seed: Seed or generator of the shuffle.

        Returns:
            The two parts, which together hold every sample once.

        Raises:
            InputError: If the fraction is outside (0, 1), or there is only one sample.
        """
        if not 0.0 < fraction < 1.0:
            raise InputError(explain("fraction", "lie in (0, 1)", fraction, "0.2 keeps a fifth for the second part."))
        if self.n < 2:
            raise InputError(explain("data", "hold at least 2 samples to be split", self.n, "Add samples."))
        order = np.random.default_rng(seed).permutation(self.n)
        held = min(max(round(fraction * self.n), 1), self.n - 1)
        return self.select(np.sort(order[held:])), self.select(np.sort(order[:held]))

    def duplicates(self) -> list[np.ndarray]:
        """Find samples at exactly the same point.

        Returns:
            Row numbers, in ascending order, of each point that occurs more than once.
        """
        _, group, counts = np.unique(self.x, axis=0, return_inverse=True, return_counts=True)
        return [np.flatnonzero(group.ravel() == index) for index in np.flatnonzero(counts > 1)]

    def merge_duplicates(self) -> Dataset:
        """Replace samples at exactly the same point by their mean, each partial by the mean of its known entries.

        Returns:
            Dataset without duplicates, in the order of first occurrence.
        """
        y, dydx = self.y.copy(), self.partials.copy()
        keep = np.ones(self.n, dtype=bool)
        for rows in self.duplicates():
            y[rows[0]] = self.y[rows].mean(axis=0)
            known = self.known[rows].sum(axis=0)
            total = np.where(self.known[rows], self.partials[rows], 0.0).sum(axis=0)
            dydx[rows[0]] = np.where(known > 0, total / np.maximum(known, 1), np.nan)
            keep[rows[1:]] = False
        return replace(self, x=self.x[keep], y=y[keep], dydx=dydx[keep])


def check_dataset(argument: str, data: object) -> None:
    """Raise `InputError` unless the argument is a `Dataset`."""
    if not isinstance(data, Dataset):
        raise InputError(explain(argument, "be a Dataset", type(data).__name__, "Build one: Dataset(x, y, dydx)."))
