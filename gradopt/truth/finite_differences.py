"""Partials by finite differences for truths that do not return them, and an estimate of the noise of a truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.lengths import lengths_of
from gradopt.data.variables import Variable, column_bounds, total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import LONGEST, STAGES, FiniteDifferencePlan, odd
from gradopt.truth.points import as_points, point_by_point
from gradopt.truth.protocol import EvaluatesAtOnce, Evaluations, Truth

_SAME_NOISE = 4.0  # ratio up to which the noise levels of three orders of differences agree; Moré & Wild (2011)
_ROUND_OFF = 1e-14  # noise level called 0, as a part of the largest value; by hand, some 50 times machine precision

Evaluate = Callable[[np.ndarray], Evaluations]
"""Function that evaluates points (n, d)."""


@dataclass(frozen=True)
class FiniteDifferences:
    """One-sided finite differences.

    Attributes:
        step: Length of a step, one number or one for each input column (d,), as a part of the length of the input:
            the range between its bounds, or 100 times its size where that is less; without both bounds the larger of
            1 and its size. Steps are longer by up to 0.1 percent, each by another part. The error of a partial is
            about the noise of the truth divided by the step; `estimate_noise` estimates this noise. The default is not
            tuned.

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
        return step * lengths_of(*column_bounds(inputs), x)

    def plan(
        self,
        x: np.ndarray,
        y: np.ndarray,
        known: np.ndarray,
        inputs: Sequence[Variable],
        met: np.ndarray | None = None,
        matters: np.ndarray | None = None,
    ) -> FiniteDifferencePlan:
        """Plan the evaluations that give the unknown partials at one point.

        Args:
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where unknown.
            inputs: Variables of the columns of x.
            met: Outputs of the truth (r, m) at other points, from which its resolution is estimated; None for none.
            matters: Mask (m,) of the outputs whose slopes are worth longer steps where values have few digits; None
                for all.

        Returns:
            Plan in its first stage: one point for each column of x that has an unknown partial.
        """
        low, high = column_bounds(inputs)
        lengths = self.lengths(x, inputs) * np.array([odd(column) for column in range(len(x))])
        up = x + lengths <= high
        room = np.minimum(np.where(up, high - x, x - low), LONGEST * lengths_of(low, high, x))
        longer = STAGES - 2
        factor = np.maximum(10.0, (np.maximum(room, lengths) / lengths) ** (1.0 / longer))
        more = [np.maximum(np.minimum(lengths * factor**power, room), lengths) for power in range(1, longer + 1)]
        steps = np.where(up, 1.0, -1.0) * np.array([lengths, -lengths, *more])
        m, d = known.shape
        return FiniteDifferencePlan(
            x,
            y,
            known,
            steps,
            np.full((STAGES, m, d), np.nan),
            np.zeros((STAGES, d), dtype=bool),
            np.empty((0, m)) if met is None else met,
            np.ones(m, dtype=bool) if matters is None else matters,
        )

    def refinement(
        self,
        x: np.ndarray,
        y: np.ndarray,
        known: np.ndarray,
        inputs: Sequence[Variable],
        beside: np.ndarray,
        values: np.ndarray,
        met: np.ndarray,
        weights: np.ndarray,
        checked: bool = True,
    ) -> CentralDifferencePlan:
        """Plan central differences with an estimated error, from which an optimum can be certified.

        Args:
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d) that the truth returned, NaN where it returned none.
            inputs: Variables of the columns of x.
            beside: Points (b, d) that were evaluated for finite differences, at this point and at others.
            values: Outputs there (b, m), NaN where the truth failed.
            met: Outputs of the truth (r, m) at other points.
            weights: Weights (m,) of the outputs in what is minimized, not negative; all 0 counts as all 1.
            checked: Whether the error is estimated too, which takes a third point where none is there yet.

        Returns:
            The plan: two or three points for each column of x that has an unknown partial. Without points where no
            better step than those tried is known.
        """
        bounds = column_bounds(inputs)
        lengths = lengths_of(*bounds, x)
        steps = self.lengths(x, inputs)
        return CentralDifferencePlan.start(x, y, known, bounds, lengths, steps, beside, values, met, weights, checked)

    def partials(
        self, evaluate: Evaluate, x: np.ndarray, y: np.ndarray, known: np.ndarray, inputs: Sequence[Variable]
    ) -> np.ndarray:
        """Finite-difference the unknown partials at one point.

        Args:
            evaluate: Function that evaluates points (n, d); called with all points of a stage of the plan.
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where unknown.
            inputs: Variables of the columns of x.

        Returns:
            Partials (m, d); NaN where the truth failed on both sides, or the two sides contradict each other.
        """
        plan = self.plan(x, y, known, inputs)
        while len(plan.points):
            plan = plan.after(evaluate(plan.points))
        return plan.partials()


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
        points = as_points(x, self.inputs)
        if isinstance(self.truth, EvaluatesAtOnce):
            return self._together(points)
        return point_by_point(self._together, points, total_size(self.outputs))  # near points after each other

    def _together(self, points: np.ndarray) -> Evaluations:
        """Evaluate points (n, d), then all points of the first stages of their plans, and so on."""
        found = self.truth.evaluate(points)
        spent, plans = found.seconds.copy(), dict[int, FiniteDifferencePlan]()
        for row in map(int, np.flatnonzero(found.ok)):
            plans[row] = self.finite_differences.plan(points[row], found.y[row], found.dydx[row], self.inputs)
        while left := {row: plan.points for row, plan in plans.items() if len(plan.points)}:
            beside = self.truth.evaluate(np.vstack(list(left.values())))
            first = 0
            for row, asked in left.items():
                part = beside.rows(slice(first, first + len(asked)))
                plans[row], first = plans[row].after(part), first + len(asked)
                spent[row] += part.seconds.sum()
        dydx = found.dydx.copy()
        for row, plan in plans.items():
            dydx[row] = plan.partials()
        return replace(found, dydx=dydx, seconds=spent)


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
