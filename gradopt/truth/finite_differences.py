"""Partials by finite differences for truths that do not return them, and an estimate of the noise of a truth."""

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

_SUSPICIOUS = 20.0  # size of a suspicious slope, times the median size of the output's slopes; by hand
_AGREE = 0.5  # difference up to which the slopes of both sides agree, as a part of the larger one; by hand
_SAME_NOISE = 4.0  # ratio up to which the noise levels of three orders of differences agree; Moré & Wild (2011)
_ROUND_OFF = 1e-14  # noise level called 0, as a part of the largest value; by hand, some 50 times machine precision

Evaluate = Callable[[np.ndarray], Evaluations]
"""Function that evaluates points (n, d)."""


@dataclass(frozen=True)
class FiniteDifferences:
    """One-sided finite differences.

    Attributes:
        step: Length of a step, one number or one for each input column (d,), as a part of the range between the
            bounds of the input. Without both bounds, as a part of the larger of 1 and the absolute value of the input.
            The error of a partial is about the noise of the truth divided by the step; `estimate_noise` estimates
            this noise. The default is not tuned.

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
        """Return the lengths (d,), physical, of the steps from x (d,)."""
        step = np.asarray(self.step)
        if step.ndim and step.shape != x.shape:
            remedy = "Pass one number, or one for each input column."
            raise ShapeError(explain("step", f"have shape (d,) = {x.shape}", step.shape, remedy))
        low, high = column_bounds(inputs)
        width = high - low
        return step * np.where(np.isfinite(width) & (width > 0.0), width, np.maximum(np.abs(x), 1.0))

    def plan(self, x: np.ndarray, y: np.ndarray, known: np.ndarray, inputs: Sequence[Variable]) -> FiniteDifferencePlan:
        """Plan the evaluations that give the unknown partials at one point.

        Args:
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where unknown.
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
            evaluate: Function that evaluates points; called with one point at a time, in the order of
                `FiniteDifferencePlan.points`.
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where unknown.
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
    solution near the point gives a slope far above all others. The second stage therefore has a point on the other
    side for each column whose first point failed or gave such a slope. A suspicious slope is used only where both
    sides agree.

    Attributes:
        x: The point (d,), physical.
        y: Outputs there (m,).
        known: Partials there (m, d), NaN where unknown.
        steps: Signed lengths (d,) of the steps of the first stage, physical. Those of the second are their negatives.
        slopes: Slopes (2, m, d) of the two stages, NaN where not evaluated or where the truth failed.
        evaluated: Mask (2, d) of the steps of the two stages that have been evaluated, bool.
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
        """Mask (m, d) of the slopes of the first stage that failed or are suspicious; usual sizes (m,) of slopes."""
        # Sizes are changes of the output over a step: step lengths are chosen so that all inputs count alike.
        size = np.abs(self.slopes[0] * np.abs(self.steps))
        unknown = self._unknown()
        found = size[:, unknown[~np.isnan(size[:, unknown]).any(axis=0)]]
        usual = np.median(found, axis=1) if found.size else np.full(len(size), np.inf)
        return ~(size <= _SUSPICIOUS * usual[:, None]), usual


@dataclass(frozen=True)
class FiniteDifferenceTruth:
    """A truth with the missing partials by finite differences: up to 2 d + 1 evaluations for each point.

    For designs of experiments and for other optimizers. The adaptive loop needs no such wrapper: it takes a truth
    without partials and finite-differences only where estimates of the partials do not suffice.

    Attributes:
        truth: Truth to evaluate; the partials that it returns are kept.
        finite_differences: Steps of the finite differences of the other partials.
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
        """Identity of the truth with the lengths of the steps, which follow from the bounds."""
        if self.truth.identity is None:
            return None
        lengths = self.finite_differences.lengths(np.zeros(total_size(self.inputs)), self.inputs)
        return f"{self.truth.identity}, differences {lengths.tolist()}"

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points x (n, d), physical, and the points of their finite differences."""
        return point_by_point(self._one, as_points(x, self.inputs), total_size(self.outputs))

    def _one(self, point: np.ndarray) -> Evaluations:
        found = self.truth.evaluate(point)
        if not found.ok[0]:
            return found
        spent = found.seconds.tolist()

        def beside(x: np.ndarray) -> Evaluations:
            evaluations = self.truth.evaluate(x)
            spent.extend(evaluations.seconds)
            return evaluations

        dydx = self.finite_differences.partials(beside, point[0], found.y[0], found.dydx[0], self.inputs)
        return replace(found, dydx=dydx[None], seconds=np.array([sum(spent)]))


def estimate_noise(
    truth: Truth, x: ArrayLike, step: float = 1e-5, points: int = 9, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """Estimate the noise of a truth's outputs near a point, from differences of high order along a random line.

    Differences of high order of a smooth function vanish, those of noise do not. With noise e and second derivative c
    the best step of a one-sided difference is about 1.7 sqrt(e / |c|), and the error of the slope 1.7 sqrt(e |c|).
    Periodic noise, such as that of a mesh that follows the shape, shows only at steps longer than the period.

    Args:
        truth: The truth.
        x: The point (d,), physical.
        step: Distance between points, as a part of the ranges of the inputs, see `FiniteDifferences`; by default not
            tuned.
        points: Number of points to evaluate.
        seed: Seed or generator of the direction of the line.

    Returns:
        Standard deviation of the noise (m,), physical units. 0 where the differences are round-off. NaN where the
        levels of three orders never agree: the step is too long, so that the function itself dominates.

    Raises:
        InputError: If `points` is below 6, or the truth fails at one of the points.

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
        got = f"{found.x[row].tolist()}, where it failed with {found.message[row]!r}"
        raise InputError(explain("x", "be away from points where the truth fails", got, "Choose another point."))
    return np.array([_noise(column) for column in found.y.T])


def _noise(values: np.ndarray) -> float:
    """Noise of equally spaced values: the level of differences that three orders agree on, with changing signs."""
    levels, differences, factor = [], values, 1.0
    for order in range(1, len(values) - 1):
        differences = np.diff(differences)
        factor *= order / (2.0 * (2.0 * order - 1.0))  # of (k!)^2 / (2k)!, the variance of differences of noise
        levels.append(float(np.sqrt(factor * (differences**2).mean())))
        alternates = (differences > 0.0).any() and (differences < 0.0).any()
        if len(levels) >= 3 and alternates:
            least, most = min(levels[-3:]), max(levels[-3:])
            if most <= _SAME_NOISE * least:
                return levels[-3]
    return 0.0 if max(levels) <= _ROUND_OFF * float(np.abs(values).max()) else np.nan
