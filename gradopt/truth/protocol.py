"""What a truth is, and what it answers: evaluations, of which some may have failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

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
    """What a truth answered at n points, immutable, in physical units.

    A failed point is an outcome: its row stays, with NaN for all it did not give.

    Attributes:
        x: Points (n, d).
        y: Outputs (n, m), NaN in the rows of failed points.
        dydx: Partials (n, m, d), index order sample, of, wrt. NaN = not known, or failed.
        status: How each of the n points ended.
        message: Why each of the n points failed, "" where it did not.
        seconds: Wall clock of each evaluation (n,).

    Raises:
        InputError: If a good row holds NaN or infinity in `x` or `y`, or infinity in `dydx`, or a failed one numbers.
        ShapeError: If shapes do not fit together.
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
        for name, array in arrays.items():
            object.__setattr__(self, name, frozen(array))
        good = self.ok
        if not np.isfinite(x).all() or not np.isfinite(y[good]).all() or np.isinf(self.dydx[good]).any():
            remedy = "Give such a row the status 'not_finite' and NaN."
            raise InputError(explain("y", "be finite in good rows, as `x`, and `dydx` finite or NaN", "others", remedy))
        if not np.isnan(y[~good]).all() or not np.isnan(self.dydx[~good]).all():
            remedy = "A number in a failed row could be taken for a result."
            raise InputError(explain("y", "be NaN in failed rows, as `dydx`", "numbers", remedy))

    @classmethod
    def join(cls, parts: Sequence[Evaluations], m: int, d: int) -> Evaluations:
        """Append evaluations of the same truth, in the order given.

        Args:
            parts: The evaluations; none gives one of n = 0 points.
            m: Number of output columns.
            d: Number of input columns.

        Returns:
            All rows.
        """
        return cls(
            np.concatenate([np.empty((0, d)), *(part.x for part in parts)]),
            np.concatenate([np.empty((0, m)), *(part.y for part in parts)]),
            np.concatenate([np.empty((0, m, d)), *(part.dydx for part in parts)]),
            [status for part in parts for status in part.status],
            [message for part in parts for message in part.message],
            np.concatenate([np.empty(0), *(part.seconds for part in parts)]),
        )

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.x)

    @property
    def ok(self) -> np.ndarray:
        """Which points succeeded, bool (n,)."""
        return np.array([status is PointStatus.OK for status in self.status], dtype=bool)

    def dataset(self, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Dataset:
        """Keep the good rows as training data.

        Args:
            inputs: Variables of the columns of `x`.
            outputs: Variables of the columns of `y`.

        Returns:
            Dataset of the points that succeeded, in their order.

        Raises:
            InputError: If there are none.
        """
        good = self.ok
        if not good.any():
            got = f"{self.n} failed ones, the first with {self.message[0]!r}" if self.n else "no rows at all"
            remedy = "Look at `message`; evaluate other points."
            raise InputError(explain("evaluations", "hold at least one good row", got, remedy))
        return Dataset(self.x[good], self.y[good], self.dydx[good], inputs, outputs)


class Truth(Protocol):
    """What is learned from: an analysis that costs much, and may fail."""

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
        """What is evaluated, in words that another truth does not have; None = cannot be told."""
        ...

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points x (n, d) in physical units; a point that fails is a row of the answer."""
        ...
