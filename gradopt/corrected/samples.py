"""Samples of one truth in the order in which a run evaluated them, and the global surrogate fitted to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.lengths import lengths_of
from gradopt.data.scaling import Scaling
from gradopt.data.variables import Variable, column_bounds, total_size
from gradopt.errors import InputError
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import LONGEST, FiniteDifferencePlan
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Evaluations
from gradopt.truth.resolution import resolutions

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import IncrementalFit, SupportsFit


@dataclass(frozen=True, eq=False)
class Gain:
    """What the evaluation of one point of a problem adds to the samples of one truth.

    Attributes:
        evaluations: Rows in the order in which they were evaluated, failed ones too.
        beside: Points (b, d) that were evaluated for finite differences.
        values: Outputs there (b, m), NaN where the truth failed.
        points: Points (g, d) whose partials were finite-differenced.
        partials: Partials there (g, m, d), NaN where they could not be had.
        refined: Mask (g,) of the points where the differences were central, bool.
    """

    evaluations: Evaluations
    beside: np.ndarray
    values: np.ndarray
    points: np.ndarray
    partials: np.ndarray
    refined: np.ndarray

    @classmethod
    def of(cls, evaluations: Evaluations) -> Gain:
        """Make the gain of evaluations without finite differences."""
        m, d = evaluations.dydx.shape[1:]
        none, nowhere = np.empty((0, d)), np.zeros(0, dtype=bool)
        return cls(evaluations, none, np.empty((0, m)), none, np.empty((0, m, d)), nowhere)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one truth, immutable.

    Rows that a store holds from elsewhere do not count. So a run repeated on the same store takes the same steps as
    one that was never interrupted, without evaluating anything again.

    Attributes:
        inputs: Variables of the input columns.
        outputs: Variables of the output columns.
        data: Successful samples with the partials that are known; None before the first.
        evaluated: Points (e, d) that were evaluated, failed ones too, each once.
        beside: Points (b, d) that were evaluated for finite differences, each once.
        values: Outputs there (b, m), NaN where the truth failed.
        difference_rows: Rows of `data` whose partials were finite-differenced.
        differenced: For each of these rows the mask (m, d) of the partials that the truth had not returned, bool.
        refinements: Rows whose partials were measured by central differences, once for each time.
        fitted: Global surrogate and how it was made; None before the first fit.
        partials_given: Whether an evaluation of the truth has returned any partials.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    data: Dataset | None
    evaluated: np.ndarray
    beside: np.ndarray
    values: np.ndarray
    difference_rows: tuple[int, ...] = ()
    differenced: tuple[np.ndarray, ...] = ()
    refinements: tuple[int, ...] = ()
    fitted: IncrementalFit | None = None
    partials_given: bool = False

    @classmethod
    def start(
        cls, inputs: Sequence[Variable], outputs: Sequence[Variable], initial_data: Dataset | None = None
    ) -> Samples:
        """Start without rows, or with those of initial data, which do not count as evaluations.

        Raises:
            InputError: If the initial data have other variables, or a value is outside the domain of its transform.
        """
        none = np.empty((0, total_size(inputs)))
        data = None if initial_data is None else initial_data.with_variables("initial_data", inputs, outputs)
        if data is not None:
            Scaling.of(data)  # raises if the data lie outside the domain of a transform
        return cls(tuple(inputs), tuple(outputs), data, none, none, np.empty((0, total_size(outputs))))

    @property
    def evaluations(self) -> int:
        """Number of different points evaluated, failed ones and those of finite differences among them."""
        return len(self.evaluated) + sum(1 for point in self.beside if not _holds(self.evaluated, point))

    @property
    def finite_differenced(self) -> bool:
        """Whether any partials were finite-differenced."""
        return bool(self.difference_rows)

    def row(self, x: np.ndarray) -> int:
        """Row of `data` at x (d,)."""
        assert self.data is not None
        return int(_rows(self.data.x, x)[-1])

    def known(self, row: int) -> bool:
        """Whether all partials of a row are known."""
        return self.data is not None and not bool(np.isnan(self.data.partials[row]).any())

    def can_differentiate(self, row: int) -> bool:
        """Whether finite differences could add to the partials of a row."""
        return not self.known(row) and row not in self.difference_rows

    def plan(
        self, row: int, finite_differences: FiniteDifferences, matters: np.ndarray | None = None
    ) -> FiniteDifferencePlan:
        """Plan one-sided finite differences of the unknown partials of a row.

        Args:
            row: Row of `data`.
            finite_differences: Steps.
            matters: Mask (m,) of the outputs whose slopes are worth longer steps; None for all. An output that has
                been the same everywhere is not.
        """
        assert self.data is not None
        data = self.data
        x, every = data.x[row], np.vstack([data.y, self.values])
        far = np.abs(data.x - x) >= LONGEST * lengths_of(*column_bounds(self.inputs), x)
        constant = (np.isnan(every) | (every == data.y[row])).all(axis=0) & bool(far.any())
        matters = ~constant if matters is None else matters & ~constant
        return finite_differences.plan(x, data.y[row], data.partials[row], self.inputs, every, matters)

    def refinement(
        self, row: int, finite_differences: FiniteDifferences, weights: np.ndarray, checked: bool = True
    ) -> CentralDifferencePlan:
        """Plan central differences of the partials of a row that the truth has not returned.

        Args:
            row: Row of `data`.
            finite_differences: Steps.
            weights: Weights (m,) of the outputs in what is minimized.
            checked: Whether the error of the partials is estimated too.
        """
        assert self.data is not None
        data = self.data
        known = data.partials[row]
        if row in self.difference_rows:
            known = np.where(self.differenced[self.difference_rows.index(row)], np.nan, known)
        return finite_differences.refinement(
            data.x[row], data.y[row], known, self.inputs, self.beside, self.values, data.y, weights, checked
        )

    def resolution(self, row: int) -> np.ndarray:
        """Return the resolutions (m,) of the outputs at a row, estimated from all values met."""
        assert self.data is not None
        return resolutions(np.vstack([self.data.y, self.values]), self.data.y[row])

    def with_gain(self, gain: Gain) -> Samples:
        """Return the samples with those of a gain."""
        found = self.with_evaluations(gain.evaluations)
        for x, partials, refined in zip(gain.points, gain.partials, gain.refined, strict=True):
            found = found.with_partials(found.row(x), partials, bool(refined))
        return found.with_beside(gain.beside, gain.values)

    def with_evaluations(self, found: Evaluations) -> Samples:
        """Return the samples with further rows; a point that is there already counts once."""
        evaluated, data = self.evaluated, self.data
        for index, x in enumerate(found.x):
            if _holds(evaluated, x):
                continue
            evaluated = np.vstack([evaluated, x])
            if not found.ok[index]:
                continue
            y, dydx = found.y[index : index + 1], found.dydx[index : index + 1]
            new = Dataset(x[None], y, dydx, self.inputs, self.outputs)
            if data is None:
                data = new
            elif _holds(data.x, x):  # among the initial data: an evaluation of the truth takes precedence
                data = _replaced(data, int(_rows(data.x, x)[-1]), new)
            else:
                data = data.concat(new)
        given = self.partials_given or bool(np.isfinite(found.dydx[found.ok]).any())
        return replace(self, evaluated=evaluated, data=data, partials_given=given)

    def with_partials(self, row: int, partials: np.ndarray, refined: bool = False) -> Samples:
        """Return the samples with finite-differenced partials (m, d) in a row, central ones if `refined`."""
        assert self.data is not None
        every = self.data.partials.copy()
        rows, differenced = self.difference_rows, self.differenced
        if row not in rows:
            rows, differenced = (*rows, row), (*differenced, np.isnan(every[row]))
        every[row] = partials
        return replace(
            self,
            data=replace(self.data, dydx=every),
            difference_rows=rows,
            differenced=differenced,
            refinements=(*self.refinements, row) if refined else self.refinements,
        )

    def with_beside(self, points: np.ndarray, values: np.ndarray) -> Samples:
        """Return the samples with further points (b, d) evaluated for finite differences, and outputs there (b, m)."""
        beside, known = self.beside, self.values
        for point, y in zip(points, values, strict=True):
            if not _holds(beside, point):
                beside, known = np.vstack([beside, point]), np.vstack([known, y])
        return replace(self, beside=beside, values=known)

    def refitted(self, configuration: SupportsFit | None, candidate: np.ndarray) -> tuple[Samples, str]:
        """Bring the global surrogate up to the data.

        Args:
            configuration: Configuration of the surrogate; None fits none.
            candidate: Point (d,) about which the fit is polished.

        Returns:
            The samples with the surrogate, and what was done; "" where nothing was.
        """
        if configuration is None or self.data is None or self.data.n < 2:
            return self, ""
        if self.fitted is not None and self.fitted.samples == self.data.n:
            return self, ""
        from gradopt.surrogates.fitting.incremental import incremental_fit

        try:
            with _without_warnings():
                fitted = incremental_fit(configuration, self.data, self.fitted, candidate)
        except InputError as impossible:  # such as inputs that have not moved yet: the correction works without
            return self, f"none: {impossible}"
        return replace(self, fitted=fitted), f"{fitted.how}: {fitted.reason}"


def _rows(x: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.flatnonzero((x == point).all(axis=1))


def _holds(x: np.ndarray, point: np.ndarray) -> bool:
    return bool((x == point).all(axis=1).any())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep back what a fit remarks on its data: those of a loop never cover their ranges, and each iteration fits."""
    below = _BelowError()
    logger = logging.getLogger("gradopt")
    logger.addFilter(below)
    try:
        yield
    finally:
        logger.removeFilter(below)


class _BelowError(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING


def _replaced(data: Dataset, row: int, new: Dataset) -> Dataset:
    """Put a sample in the place of another."""
    y, partials = data.y.copy(), data.partials.copy()
    y[row], partials[row] = new.y[0], new.partials[0]
    return Dataset(data.x, y, partials, data.input_variables, data.output_variables)
