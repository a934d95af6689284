"""The protocol of a truth, and the evaluations that a truth returns."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats, check_matrix, frozen
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import InputError, ShapeError, explain


class PointStatus(StrEnum):
    """How the evaluation of a point ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, eq=False)
class Evaluations:
    """Results of a truth at n points, immutable, in physical units.

    A failed point keeps its row, with NaN in `y` and `dydx`.

    Attributes:
        x: Points (n, d).
        y: Outputs (n, m), NaN in the rows of failed points.
        dydx: Partials (n, m, d), index order sample, of, wrt; NaN = unknown, or the point failed.
        status: Status of each of the n points.
        message: Reason of each of the n failures, "" where the point succeeded.
        seconds: Wall-clock time (n,) of each evaluation, s.

    Raises:
        InputError: If `x` is not finite, a good row has NaN or infinity in `y` or infinity in `dydx`, or the row of a
            failed point has numbers in them.
        ShapeError: If the shapes do not agree.
    """

    x: np.ndarray
    y: np.ndarray
    dydx: np.ndarray
    status: Sequence[PointStatus]
    message: Sequence[str]
    seconds: np.ndarray

    def __post_init__(self) -> None:
        """Copy, check and freeze."""
        arrays = {name: as_floats(name, getattr(self, name)) for name in ("x", "y", "dydx", "seconds")}
        x, y = arrays["x"], arrays["y"]
        check_matrix("x", x, None, "(n, d)")
        check_matrix("y", y, None, "(n, m)")
        n = len(x)
        for name, shape in (("y", (n, y.shape[1])), ("dydx", (n, y.shape[1], x.shape[1])), ("seconds", (n,))):
            if arrays[name].shape != shape:
                remedy = "Samples come first; index order of `dydx` is sample, of, wrt."
                raise ShapeError(explain(name, f"have shape {shape}", arrays[name].shape, remedy))
        for name in ("status", "message"):
            if len(getattr(self, name)) != n:
                remedy = "Give one for each row of `x`."
                raise ShapeError(explain(name, f"have {n} entries", len(getattr(self, name)), remedy))
        object.__setattr__(self, "status", tuple(PointStatus(status) for status in self.status))
        object.__setattr__(self, "message", tuple(self.message))
        for name, array in arrays.items():  # in one order: sums over another one differ in their last bits
            object.__setattr__(self, name, frozen(np.ascontiguousarray(array)))
        self._check_numbers()

    def _check_numbers(self) -> None:
        good = self.ok
        if good.all() and np.isfinite(self.x).all() and np.isfinite(self.y).all() and not np.isinf(self.dydx).any():
            return  # nearly always so, and quick
        not_finite = "Give such a row the status 'not_finite' and NaN."
        failed = "Put NaN there: a number could be taken for a result."
        for name, wrong, expected, remedy in (
            ("x", ~np.isfinite(self.x), "be finite", "Leave the row out."),
            ("y", ~np.isfinite(self.y) & good[:, None], "be finite in good rows", not_finite),
            ("dydx", np.isinf(self.dydx) & good[:, None, None], "be finite or NaN in good rows", not_finite),
            ("y", ~np.isnan(self.y) & ~good[:, None], "be NaN in failed rows", failed),
            ("dydx", ~np.isnan(self.dydx) & ~good[:, None, None], "be NaN in failed rows", failed),
        ):
            if wrong.any():
                index = tuple(map(int, np.argwhere(wrong)[0]))
                raise InputError(explain(name, expected, f"{getattr(self, name)[index]} at {list(index)}", remedy))

    @classmethod
    def join(cls, parts: Sequence[Evaluations], m: int, d: int) -> Evaluations:
        """Concatenate evaluations of the same truth, in the given order.

        Args:
            parts: Evaluations; an empty sequence gives n = 0 points.
            m: Number of output columns.
            d: Number of input columns.

        Returns:
            All rows.
        """
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([np.empty((0, d)), *(part.x for part in parts)]),
            np.concatenate([np.empty((0, m)), *(part.y for part in parts)]),
            np.concatenate([np.empty((0, m, d)), *(part.dydx for part in parts)]),
            [status for part in parts for status in part.status],
            [message for part in parts for message in part.message],
            np.concatenate([np.empty(0), *(part.seconds for part in parts)]),
        )

    def rows(self, rows: slice) -> Evaluations:
        """Return some of the rows."""
        parts = (getattr(self, name)[rows] for name in ("x", "y", "dydx", "status", "message", "seconds"))
        return Evaluations(*parts)

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.x)

    @property
    def ok(self) -> np.ndarray:
        """Mask (n,) of the points that succeeded, bool."""
        return np.array([status is PointStatus.OK for status in self.status], dtype=bool)

    def dataset(self, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Dataset:
        """Keep the good rows as training data.

        Args:
            inputs: Variables of the columns of `x`.
            outputs: Variables of the columns of `y`.

        Returns:
            Dataset of the points that succeeded, in the same order.

        Raises:
            InputError: If no point succeeded.
        """
        good = self.ok
        if not good.any():
            got = f"{self.n} failed rows, the first with message {self.message[0]!r}" if self.n else "0 rows"
            remedy = "Read `message`; evaluate other points."
            raise InputError(explain("evaluations", "hold at least one good row", got, remedy))
        return Dataset(self.x[good], self.y[good], self.dydx[good], inputs, outputs)


class Truth(Protocol):
    """An expensive analysis that is optimized, short for *truth model*; an evaluation may fail."""

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `x`."""
        ...

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `y`."""
        ...

    @property
    def identity(self) -> str | None:
        """Words that distinguish this truth from all others in a store; None = there are none."""
        ...

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points x (n, d), physical units; the result has a row for each point, failed ones included."""
        ...


@runtime_checkable
class EvaluatesAtOnce(Protocol):
    """A truth that evaluates several points at the same time."""

    def as_completed(self, x: ArrayLike) -> Generator[tuple[int, Evaluations]]:
        """Evaluate points x (n, d), physical; yield the row of each and its evaluation, as they come."""
        ...
