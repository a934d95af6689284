"""One-sided finite differences at one point, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from gradopt.data.arrays import frozen
from gradopt.errors import InputError, explain
from gradopt.truth.protocol import Evaluations
from gradopt.truth.resolution import resolutions_beside

_SUSPICIOUS = 20.0  # size of a suspicious slope, times the median size of the output's slopes; by hand
_AGREE = 0.5  # difference up to which the slopes of both sides agree, as a part of the larger one; by hand
_SEEN = 10.0  # resolutions in a change from which a slope has a digit; by hand

LONGEST = 0.1
"""Longest step of finite differences, as a part of the length of the input; by hand."""

STAGES = 5
"""Number of stages: the first side, the other side, and three longer steps, the last of them `LONGEST` or a bound."""


@dataclass(frozen=True, eq=False)
class FiniteDifferencePlan:
    """Finite differences at one point, in stages; `FiniteDifferences.plan` makes the first.

    The first stage has one point for each column of x that has an unknown partial. A solver that jumps to another
    solution near the point gives a slope far above all others. The second stage therefore has a point on the other
    side for each column whose first point failed or gave such a slope. A suspicious slope is used only where both
    sides agree.

    A change of a few resolutions says nothing of the slope, and no change says nothing either: printed values have
    plateaus. Where that is so for an output, and no other column shows its slope to a digit, the next stages have
    longer steps in those columns. Each output takes its slope from the shortest step that shows it.

    Attributes:
        x: The point (d,), physical.
        y: Outputs there (m,).
        known: Partials there (m, d), NaN where unknown.
        steps: Signed lengths (s, d) of the steps of the stages, physical.
        values: Outputs (s, m, d) at the points of the stages, NaN where not evaluated or where the truth failed.
        evaluated: Mask (s, d) of the steps that have been evaluated, bool.
        met: Other outputs of the truth (r, m), from which its resolution is estimated; r may be 0.
        matters: Mask (m,) of the outputs for which longer steps are taken, bool.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray
    steps: np.ndarray
    values: np.ndarray
    evaluated: np.ndarray
    met: np.ndarray
    matters: np.ndarray

    def __post_init__(self) -> None:
        """Copy and freeze."""
        for each in fields(self):
            object.__setattr__(self, each.name, frozen(np.array(getattr(self, each.name))))

    @property
    def points(self) -> np.ndarray:
        """Points (q, d) to evaluate next, one for each remaining column of the stage; q = 0 after the last stage."""
        stage, columns = self._next()
        points = np.repeat(self.x[None], len(columns), axis=0)
        points[np.arange(len(columns)), columns] += self.steps[stage, columns]
        return points

    @property
    def resolution(self) -> np.ndarray:
        """Resolutions (m,) of the outputs, estimated from all values met."""
        beside = np.moveaxis(self.values, 1, 2).reshape(-1, len(self.y))
        return resolutions_beside(self.met, beside, self.y)

    def after(self, evaluations: Evaluations) -> FiniteDifferencePlan:
        """Add the evaluations of one stage.

        Args:
            evaluations: Evaluations at `points`, one row for each, failed ones included.

        Returns:
            Plan of the next stage; without points after the last.

        Raises:
            InputError: If the evaluations are not those at `points`.
        """
        check_points(evaluations, self.points)
        stage, columns = self._next()
        values, evaluated = self.values.copy(), self.evaluated.copy()
        values[stage, :, columns] = evaluations.y
        evaluated[stage, columns] = True
        return replace(self, values=values, evaluated=evaluated)

    def partials(self) -> np.ndarray:
        """Compute the partials from the evaluations of all stages.

        Returns:
            Partials (m, d); NaN where the truth failed on both sides, or the two sides contradict each other.

        Raises:
            InputError: If points are left to evaluate.
        """
        check_finished(self.points)
        slopes, resolution = self._slopes(), self.resolution
        doubtful, usual = self._doubtful()
        partials, lengths = slopes[0].copy(), np.abs(self.steps[0])
        for column in map(int, self._unknown()):
            first, second = slopes[:2, :, column]
            if np.isnan(first).all():
                partials[:, column] = second
            elif doubtful[:, column].any():
                apart = np.abs(first - second) > _AGREE * np.maximum(np.abs(first), np.abs(second))
                better = np.where(np.abs(second) * lengths[column] <= _SUSPICIOUS * usual, second, np.nan)
                both = np.where(apart, better, 0.5 * (first + second))
                partials[:, column] = np.where(doubtful[:, column] & ~np.isnan(second), both, first)
        unseen = self._unseen(0)
        for stage in range(2, STAGES):
            partials = np.where(unseen & ~np.isnan(slopes[stage]), slopes[stage], partials)
            unseen &= ~(np.abs(self._changes()[stage]) >= _SEEN * resolution[:, None])
        return np.where(np.isnan(self.known), partials, self.known)

    def _unknown(self) -> np.ndarray:
        """Columns (q,) of x that have an unknown partial."""
        return np.flatnonzero(np.isnan(self.known).any(axis=0))

    def _next(self) -> tuple[int, np.ndarray]:
        """Index of the stage to evaluate next, and its columns of x; no columns after the last stage."""
        unknown = self._unknown()
        first = unknown[~self.evaluated[0, unknown]]
        if len(first):
            return 0, first
        again = unknown[self._doubtful()[0][:, unknown].any(axis=0) & ~self.evaluated[1, unknown]]
        if len(again):
            return 1, again
        for stage in range(2, STAGES):
            before = 0 if stage == 2 else stage - 1
            unseen = (self._unseen(before) & self.matters[:, None] & np.isnan(self.known)).any(axis=0)
            longer = np.abs(self.steps[stage]) > np.abs(self.steps[before])
            columns = np.flatnonzero(unseen & longer & self.evaluated[before] & ~self.evaluated[1])
            columns = columns[~self.evaluated[stage, columns]]
            if len(columns):
                return stage, columns
        return STAGES - 1, unknown[:0]

    def _moved(self) -> np.ndarray:
        """Steps (s, d) as they are in floating-point numbers."""
        return (self.x + self.steps) - self.x

    def _changes(self) -> np.ndarray:
        """Changes (s, m, d) of the outputs over the steps, NaN where not evaluated or failed."""
        return self.values - self.y[:, None]

    def _slopes(self) -> np.ndarray:
        """Slopes (s, m, d), likewise."""
        moved = self._moved()[:, None, :]
        return self._changes() / np.where(moved == 0.0, np.nan, moved)

    def _doubtful(self) -> tuple[np.ndarray, np.ndarray]:
        """Mask (m, d) of the slopes of the first stage that failed or are suspicious; usual sizes (m,) of slopes."""
        # Sizes are changes of the output over a step: step lengths are chosen so that all inputs count alike.
        size = np.abs(self._changes()[0])
        unknown = self._unknown()
        found = size[:, unknown[~np.isnan(size[:, unknown]).any(axis=0)]]
        usual = np.median(found, axis=1) if found.size else np.full(len(size), np.inf)
        usual = np.maximum(usual, self.resolution)
        return ~(size <= _SUSPICIOUS * usual[:, None]), usual

    def _unseen(self, stage: int) -> np.ndarray:
        """Mask (m, d) of partials whose change over the step of a stage is too small to show a slope that matters."""
        change, resolution = np.abs(self._changes()[stage]), self.resolution[:, None]
        per_length = np.abs(self.steps[0]) / np.where(self.evaluated[stage], np.abs(self.steps[stage]), np.nan)
        seen = np.abs(self._changes()) * (np.abs(self.steps[0]) / np.abs(self.steps))[:, None, :]
        seen = np.where(np.abs(self._changes()) >= _SEEN * resolution, seen, 0.0)  # NaN is not seen
        usual = seen.max(axis=(0, 2))[:, None]
        matters = resolution * per_length >= usual / _SEEN
        return np.asarray((change < _SEEN * resolution) | (change == 0.0)) & matters


def odd(column: int) -> float:
    """Factor a little above 1 for the steps in a column, another one for each.

    Equal or round steps give values with few digits, or with a common quantum, also where a function has none.
    """
    return 1.0 + 1e-3 * float(((column + 1) * 0.6180339887498949) % 1.0)


def check_points(evaluations: Evaluations, points: np.ndarray) -> None:
    """Raise `InputError` unless evaluations are those at points (q, d), in their order."""
    if not np.array_equal(evaluations.x, points):
        remedy = "Pass one row for each point, in the order of the points, failed ones included."
        raise InputError(explain("evaluations", f"be at `points` = {points.tolist()}", evaluations.x.tolist(), remedy))


def check_finished(points: np.ndarray) -> None:
    """Raise `InputError` where points (q, d) are left to evaluate."""
    if left := len(points):
        remedy = "Evaluate `points` and pass the evaluations to `after`."
        raise InputError(explain("plan", "have no points left", f"{left} points", remedy))
