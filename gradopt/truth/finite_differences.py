"""Partials by finite differences, for truths that know none: where they are wanted, and how noisy they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats, frozen
from gradopt.data.variables import Variable, column_bounds, total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth.points import as_points, point_by_point
from gradopt.truth.protocol import Evaluations, Truth

_SUSPICIOUS = 20.0  # times the median of an output's slopes
_AGREE = 0.5  # part of the larger of two slopes by which they may differ

Evaluate = Callable[[np.ndarray], Evaluations]
"""Evaluates points (n, d)."""


@dataclass(frozen=True)
class FiniteDifferences:
    """One-sided finite differences.

    Attributes:
        step: Length of a step, as part of the range between the bounds of each input; where there is none, of the
            larger of 1 and the input's size. One number or one for each input column (d,). Longer than the truth's
            noise divided by its slope by as much as the partials are to be good: `estimate_noise` tells.

    Raises:
        InputError: If a step is not positive.
    """

    step: float | tuple[float, ...] = 1e-4

    def __post_init__(self) -> None:
        """Check the step."""
        step = as_floats("step", self.step)
        if not (np.isfinite(step).all() and (step > 0.0).all()):
            raise InputError(explain("step", "be positive", self.step, "Try 1e-4, or 1e-2 for a noisy truth."))
        object.__setattr__(self, "step", float(step) if step.ndim == 0 else tuple(step.tolist()))

    def lengths(self, x: np.ndarray, inputs: Sequence[Variable]) -> np.ndarray:
        """Physical lengths (d,) of the steps from x (d,)."""
        step = np.asarray(self.step)
        if step.ndim and step.shape != x.shape:
            raise ShapeError(explain("step", f"have shape (d,) = {x.shape}", step.shape, "One for each input column."))
        low, high = column_bounds(inputs)
        width = high - low
        return step * np.where(np.isfinite(width) & (width > 0.0), width, np.maximum(np.abs(x), 1.0))

    def plan(self, x: np.ndarray, y: np.ndarray, known: np.ndarray, inputs: Sequence[Variable]) -> FiniteDifferencePlan:
        """Plan the evaluations that give the unknown partials at one point.

        Args:
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where not known.
            inputs: Variables of the columns of x.

        Returns:
            Plan in its first stage: one point for each column of x that has an unknown partial.
        """
        lengths = self.lengths(x, inputs)
        sides = np.where(x + lengths <= column_bounds(inputs)[1], 1.0, -1.0)
        return FiniteDifferencePlan(
            x, y, known, sides * lengths, np.full((2, *known.shape), np.nan), np.zeros((2, len(x)), dtype=bool)
        )

    def partials(
        self, evaluate: Evaluate, x: np.ndarray, y: np.ndarray, known: np.ndarray, inputs: Sequence[Variable]
    ) -> np.ndarray:
        """Finite-difference the unknown partials at one point.

        Args:
            evaluate: Evaluates points; called with one point at a time, in the order of `FiniteDifferencePlan.points`.
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where not known.
            inputs: Variables of the columns of x.

        Returns:
            Partials (m, d); NaN where the truth failed on both sides, or the two sides contradict each other.
        """
        plan = self.plan(x, y, known, inputs)
        while len(plan.points):
            plan = plan.after(point_by_point(evaluate, plan.points, len(y)))
        return plan.partials()


@dataclass(frozen=True, eq=False)
class FiniteDifferencePlan:
    """Finite differences at one point, in at most two stages; `FiniteDifferences.plan` makes the first.

    The first stage has one point for each column of x that has an unknown partial. A solver that jumps to another
    solution beside the point gives a slope far beyond all others. The second stage therefore has a point on the other
    side for each column whose first point failed or gave such a slope; the slope counts only where both sides agree.

    Attributes:
        x: The point (d,), physical.
        y: Outputs there (m,).
        known: Partials there (m, d), NaN where not known.
        steps: Signed lengths (d,) of the steps of the first stage, physical. Those of the second are their negatives.
        slopes: Slopes (2, m, d) of the two stages, NaN where not evaluated or where the truth failed.
        evaluated: Whether the step of a stage in a column of x has been evaluated, bool (2, d).
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray
    steps: np.ndarray
    slopes: np.ndarray
    evaluated: np.ndarray

    def __post_init__(self) -> None:
        """Copy and freeze."""
        for each in fields(self):
            object.__setattr__(self, each.name, frozen(np.array(getattr(self, each.name))))

    @property
    def points(self) -> np.ndarray:
        """Points (q, d) to evaluate next, one for each remaining column of the stage; q = 0 after the last stage."""
        stage, columns = self._next()
        points = np.repeat(self.x[None], len(columns), axis=0)
        points[np.arange(len(columns)), columns] += (self.steps if stage == 0 else -self.steps)[columns]
        return points

    def after(self, evaluations: Evaluations) -> FiniteDifferencePlan:
        """Add the evaluations of one stage.

        Args:
            evaluations: Evaluations at `points`, one row for each, failed ones included.

        Returns:
            Plan of the next stage; without points after the last.

        Raises:
            InputError: If the evaluations are not those at `points`.
        """
        points = self.points
        if not np.array_equal(evaluations.x, points):
            remedy = "Pass one row for each point, in the order of the points, failed ones included."
            expected = f"be at `points` = {points.tolist()}"
            raise InputError(explain("evaluations", expected, evaluations.x.tolist(), remedy))
        stage, columns = self._next()
        slopes, evaluated = self.slopes.copy(), self.evaluated.copy()
        for column, point, y in zip(map(int, columns), points, evaluations.y, strict=True):
            slopes[stage, :, column] = (y - self.y) / (point[column] - self.x[column])  # NaN where it failed
        evaluated[stage, columns] = True
        return replace(self, slopes=slopes, evaluated=evaluated)

    def partials(self) -> np.ndarray:
        """Compute the partials from the evaluations of all stages.

        Returns:
            Partials (m, d); NaN where the truth failed on both sides, or the two sides contradict each other.

        Raises:
            InputError: If points are left to evaluate.
        """
        if left := len(self.points):
            remedy = "Evaluate `points` and pass the evaluations to `after`."
            raise InputError(explain("plan", "have no points left", f"{left} points", remedy))
        doubtful, usual = self._doubtful()
        partials, lengths = self.slopes[0].copy(), np.abs(self.steps)
        for column in map(int, self._unknown()):
            first, second = self.slopes[:, :, column]
            if np.isnan(first).all():
                partials[:, column] = second
            elif doubtful[:, column].any():
                apart = np.abs(first - second) > _AGREE * np.maximum(np.abs(first), np.abs(second))
                better = np.where(np.abs(second) * lengths[column] <= _SUSPICIOUS * usual, second, np.nan)
                both = np.where(apart, better, 0.5 * (first + second))
                partials[:, column] = np.where(doubtful[:, column] & ~np.isnan(second), both, first)
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
        again = unknown[self._doubtful()[0][:, unknown].any(axis=0)]
        return 1, again[~self.evaluated[1, again]]

    def _doubtful(self) -> tuple[np.ndarray, np.ndarray]:
        """Which slopes of the first stage failed or are suspicious, bool (m, d), and usual sizes of slopes (m,)."""
        # In units of the steps' lengths, which are chosen so that all inputs matter alike.
        size = np.abs(self.slopes[0] * np.abs(self.steps))
        unknown = self._unknown()
        found = size[:, unknown[~np.isnan(size[:, unknown]).any(axis=0)]]
        usual = np.median(found, axis=1) if found.size else np.full(len(size), np.inf)
        return ~(size <= _SUSPICIOUS * usual[:, None]), usual


@dataclass(frozen=True)
class FiniteDifferenceTruth:
    """A truth with its partials by finite differences, at every point: d + 1 evaluations for each.

    The adaptive loop needs no such wrapper: it takes a truth without partials as it is, and differences only where
    that pays. This one is for designs of experiments, and for other optimizers.

    Attributes:
        truth: The truth; what it knows of its partials is kept.
        differences: How the rest is differenced.
    """

    truth: Truth
    finite_differences: FiniteDifferences = FiniteDifferences()

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `x`."""
        return self.truth.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `y`."""
        return self.truth.outputs

    @property
    def identity(self) -> str | None:
        """Identity of the truth and the steps; bounds are part of it, as they make the steps."""
        if self.truth.identity is None:
            return None
        lengths = self.finite_differences.lengths(np.zeros(total_size(self.inputs)), self.inputs)
        return f"{self.truth.identity}, differences {lengths.tolist()}"

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points x (n, d) and the points beside them."""
        return point_by_point(self._one, as_points(x, self.inputs), total_size(self.outputs))

    def _one(self, point: np.ndarray) -> Evaluations:
        found = self.truth.evaluate(point)
        if not found.ok[0]:
            return found
        spent = found.seconds.tolist()

        def beside(x: np.ndarray) -> Evaluations:
            answer = self.truth.evaluate(x)
            spent.extend(answer.seconds)
            return answer

        dydx = self.finite_differences.partials(beside, point[0], found.y[0], found.dydx[0], self.inputs)
        return replace(found, dydx=dydx[None], seconds=np.array([sum(spent)]))


def estimate_noise(
    truth: Truth, x: ArrayLike, step: float = 1e-5, points: int = 9, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """Estimate the noise of a truth's outputs near a point, from differences of high order along a random line.

    A smooth function vanishes in them, noise does not. With noise e and second derivative c the best step of a
    one-sided difference is about 1.7 sqrt(e / |c|), and its error 1.7 sqrt(e |c|). Noise in waves, as where a mesh
    follows the shape, is seen only by steps longer than a wave.

    Args:
        truth: The truth.
        x: The point (d,), physical.
        step: Length between points as part of the ranges of the inputs, as in `Differences`.
        points: How many points are evaluated.
        seed: Of the direction.

    Returns:
        Standard deviation of the noise (m,), physical units; 0 where the differences are those of round-off alone, NaN
        where no order of them settles: then the step is too long, and it is the function that is seen.

    Raises:
        InputError: If there are fewer than 6 points, or the truth fails at one of them.

    References:
        Moré & Wild (2011), Estimating computational noise, SIAM J. Sci. Comput. 33(3).
    """
    if points < 6:
        raise InputError(explain("points", "be at least 6", points, "Leave it out for the default."))
    center = as_points(np.asarray(x, dtype=np.float64)[None], truth.inputs)[0]
    direction = np.random.default_rng(seed).choice([-1.0, 1.0], center.shape)
    low, high = column_bounds(truth.inputs)
    lengths = FiniteDifferences(step).lengths(center, truth.inputs)
    direction = np.where(
        center + points * lengths > high, -1.0, np.where(center - points * lengths < low, 1.0, direction)
    )
    found = truth.evaluate(center + np.arange(points)[:, None] * (direction * lengths))
    if not found.ok.all():
        row = int(np.flatnonzero(~found.ok)[0])
        raise InputError(explain("x", "be away from where the truth fails", found.message[row], "Take another point."))
    return np.array([_noise(column) for column in found.y.T])


def _noise(values: np.ndarray) -> float:
    """Noise of values at even distances: where three orders of differences agree and signs change as noise's do."""
    levels, differences, factor = [], values, 1.0
    for order in range(1, len(values) - 1):
        differences = np.diff(differences)
        factor *= order / (2.0 * (2.0 * order - 1.0))  # of (k!)^2 / (2k)!, the variance of differences of noise
        levels.append(float(np.sqrt(factor * (differences**2).mean())))
        alternates = (differences > 0.0).any() and (differences < 0.0).any()
        if len(levels) >= 3 and alternates:
            least, most = min(levels[-3:]), max(levels[-3:])
            if most <= 4.0 * least:
                return levels[-3]
    return 0.0 if max(levels) <= 1e-14 * float(np.abs(values).max()) else np.nan
