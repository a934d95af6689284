"""Partials by finite differences, for truths that know none: where they are wanted, and how noisy they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
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

    def partials(
        self, evaluate: Evaluate, x: np.ndarray, y: np.ndarray, known: np.ndarray, inputs: Sequence[Variable]
    ) -> np.ndarray:
        """Difference what is not known at one point.

        A solver that jumps to another solution beside the point gives a slope far beyond all others. Such a one is
        compared with that on the other side: it counts only where both agree.

        Args:
            evaluate: Evaluates points; one call with one point for each input of which a partial is not known, and a
                second on the other side where the first fails or is suspicious.
            x: The point (d,).
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where not known.
            inputs: Variables of the columns of x.

        Returns:
            Partials (m, d); NaN where the truth failed on both sides, or these contradict each other.
        """
        lengths = self.lengths(x, inputs)
        sides = np.where(x + lengths <= column_bounds(inputs)[1], 1.0, -1.0)

        def slope(column: int, side: float) -> np.ndarray:
            beside = x.copy()
            beside[column] += side * lengths[column]
            answer = evaluate(beside[None])
            return (answer.y[0] - y) / (beside[column] - x[column])  # NaN where it failed

        wanted = np.flatnonzero(np.isnan(known).any(axis=0))
        slopes = np.full(known.shape, np.nan)
        for column in map(int, wanted):
            slopes[:, column] = slope(column, sides[column])
        # In units of the steps' lengths, which are chosen so that all inputs matter alike.
        size = np.abs(slopes * lengths)
        answered = size[:, wanted[~np.isnan(size[:, wanted]).any(axis=0)]]
        usual = np.median(answered, axis=1) if answered.size else np.full(len(size), np.inf)
        for column in map(int, wanted):
            first = slopes[:, column]
            doubtful = ~(size[:, column] <= _SUSPICIOUS * usual)
            if np.isnan(first).all():
                slopes[:, column] = slope(column, -sides[column])
            elif doubtful.any():
                second = slope(column, -sides[column])
                apart = np.abs(first - second) > _AGREE * np.maximum(np.abs(first), np.abs(second))
                better = np.where(np.abs(second) * lengths[column] <= _SUSPICIOUS * usual, second, np.nan)
                both = np.where(apart, better, 0.5 * (first + second))
                slopes[:, column] = np.where(doubtful & ~np.isnan(second), both, first)
        return np.where(np.isnan(known), slopes, known)


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
