"""Central differences at one point, with an estimate of their error: from resolution, noise and truncation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from gradopt.data.arrays import frozen
from gradopt.truth.finite_difference_plan import LONGEST, check_finished, check_points, odd
from gradopt.truth.protocol import Evaluations
from gradopt.truth.resolution import ROUND_OFF, resolutions_beside

_SHORTEST = 1e-5  # shortest step of central differences, likewise: about the third root of round-off
_PART = 0.25  # first step of central differences, in steps of the one-sided ones, so that these check it; by hand
_NOISE = 0.05  # longest step of central differences, likewise: their check is three times as far; by hand
_CHECK = 3.0  # distance of the point that checks a parabola, in steps
_BEYOND = 1.9  # distance from which a point can check it, in steps: nearer ones magnify noise; by hand
_SAFETY = 2.0  # factor on errors that are estimated from one residual; by hand
_OTHER = 20.0  # ratio of the steps of two refinements: the error changes by the same ratio or more; by hand
_SMALL = 0.05  # part of the largest error, over the lengths of the inputs, below which a column is refined no more
_PLAUSIBLE = (
    3.0  # change of an output by its third derivative alone, in changes met, that is put down to noise; by hand
)


class _Parabola(NamedTuple):
    """A parabola in one column of x: its step, slopes (m,), their errors (m,), and whether a value checks them."""

    step: float
    slope: np.ndarray
    error: np.ndarray
    checked: bool


@dataclass(frozen=True, eq=False)
class CentralDifferencePlan:
    """Central differences at one point; `CentralDifferencePlan.start` makes the plan.

    In each column with unknown partials a parabola goes through three values: at the point and one step to both sides;
    where a bound is near, or the truth fails on one side, one and two steps to the other. A fourth value, farther off,
    checks the parabola: what it misses is noise or the third derivative, and the error is what the worse of these two
    does to the slope. To that comes the resolution, which plateaus of printed values hide. Points beside x that have
    been evaluated already are used.

    Attributes:
        x: The point (d,), physical.
        y: Outputs there (m,).
        known: Partials there (m, d), NaN where unknown.
        lower: Lower bounds (d,) of x.
        upper: Upper bounds (d,).
        lengths: Lengths (d,) of the inputs, see `gradopt.data.lengths`.
        beside: Points (b, d) evaluated beside x.
        values: Outputs there (b, m), NaN where the truth failed.
        met: Other outputs of the truth (r, m), from which its resolution is estimated.
        weights: Weights (m,) of the outputs in what is minimized, not negative.
        checked: Whether parabolas are checked, without which their error is not known.
        steps: Steps (d,) of this refinement, positive; NaN in columns that it leaves as they are.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lengths: np.ndarray
    beside: np.ndarray
    values: np.ndarray
    met: np.ndarray
    weights: np.ndarray
    checked: bool
    steps: np.ndarray

    def __post_init__(self) -> None:
        """Copy and freeze."""
        for each in fields(self):
            if each.name != "checked":
                object.__setattr__(self, each.name, frozen(np.array(getattr(self, each.name))))

    @classmethod
    def start(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        known: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        lengths: np.ndarray,
        steps: np.ndarray,
        beside: np.ndarray,
        values: np.ndarray,
        met: np.ndarray,
        weights: np.ndarray,
        checked: bool = True,
    ) -> CentralDifferencePlan:
        """Plan a refinement: the first at this point, or one with other steps than those before.

        Args:
            x: The point (d,), physical.
            y: Outputs there (m,).
            known: Partials there (m, d), NaN where unknown.
            bounds: Lower and upper bounds of x, each (d,).
            lengths: Lengths (d,) of the inputs.
            steps: Steps (d,) of the one-sided differences: the first central ones are a quarter of them or longer.
            beside: Points (b, d) evaluated before, for finite differences at this point and at others.
            values: Outputs there (b, m), NaN where the truth failed.
            met: Other outputs of the truth (r, m).
            weights: Weights (m,) of the outputs.
            checked: Whether parabolas are checked.
        """
        near = ((beside != x).sum(axis=1) == 1) if len(beside) else np.zeros(0, dtype=bool)
        met = np.vstack([met, values[~near]])
        none = np.full(len(x), np.nan)
        plan = cls(x, y, known, *bounds, lengths, beside[near], values[near], met, weights, checked, none)
        return replace(plan, steps=plan._next_steps(steps))

    @property
    def points(self) -> np.ndarray:
        """Points (q, d) to evaluate next; q = 0 after the last."""
        found = []
        for column in np.flatnonzero(np.isfinite(self.steps)):
            for offset in self._missing(int(column), float(self.steps[column])):
                point = self.x.copy()
                point[column] += offset
                found.append(point)
        return np.array(found).reshape(-1, len(self.x))

    @property
    def resolution(self) -> np.ndarray:
        """Resolutions (m,) of the outputs, estimated from all values met."""
        return resolutions_beside(self.met, self.values, self.y)

    def after(self, evaluations: Evaluations) -> CentralDifferencePlan:
        """Add evaluations.

        Args:
            evaluations: Evaluations at `points`, one row for each, failed ones included.

        Returns:
            Plan with the remaining points, such as those on the other side of a failure.

        Raises:
            InputError: If the evaluations are not those at `points`.
        """
        check_points(evaluations, self.points)
        beside, values = np.vstack([self.beside, evaluations.x]), np.vstack([self.values, evaluations.y])
        return replace(self, beside=beside, values=values)

    def partials(self) -> np.ndarray:
        """Return the partials (m, d): the given ones, and the slopes with the least estimated errors.

        Raises:
            InputError: If points are left to evaluate.
        """
        check_finished(self.points)
        return np.where(np.isnan(self.known), self._found()[0], self.known)

    def errors(self) -> np.ndarray:
        """Return the estimated absolute errors (m, d) of `partials`; 0 where they were given.

        Raises:
            InputError: If points are left to evaluate.
        """
        check_finished(self.points)
        return np.where(np.isnan(self.known), self._found()[1], 0.0)

    def noise(self) -> np.ndarray:
        """Return the noise (m,) of the outputs that the checks tell of, not below their resolutions."""
        resolution = self.resolution
        noise = resolution.copy()
        for column in np.flatnonzero(np.isnan(self.known).any(axis=0)):
            levels = [one.error * one.step for one in self._parabolas(int(column), resolution) if one.checked]
            if levels:
                noise = np.maximum(noise, np.where(np.isnan(self.known[:, column]), np.min(levels, axis=0), 0.0))
        return noise

    def steps_used(self) -> np.ndarray:
        """Return the steps (m, d) behind `partials`, NaN where there is none."""
        return self._found()[2]

    def _offsets(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets (q,) of the points beside x in one column, and the outputs there (q, m)."""
        rows = self.beside[:, column] != self.x[column] if len(self.beside) else np.zeros(0, dtype=bool)
        return self.beside[rows, column] - self.x[column], self.values[rows]

    def _inside(self, column: int, offset: float) -> bool:
        at = self.x[column] + offset
        return bool(self.lower[column] <= at <= self.upper[column])

    def _main(self, column: int, step: float) -> tuple[float, float] | None:
        """Offsets of the two points of the parabola; None where the truth fails on both sides."""
        offsets, values = self._offsets(column)
        failed = [float(t) for t, y in zip(offsets, values, strict=True) if np.isnan(y).any()]
        for pair in ((step, -step), (step, 2.0 * step), (-step, -2.0 * step)):
            if all(self._inside(column, t) and not _has(failed, t) for t in pair):
                return pair
        return None

    def _missing(self, column: int, step: float) -> list[float]:
        """Offsets of the points of a parabola and its check that have not been evaluated."""
        main = self._main(column, step)
        if main is None:
            return []
        offsets, values = self._offsets(column)
        missing = [t for t in main if not _has(offsets, t)]
        reach = max(map(abs, main))
        good = np.abs(offsets[~np.isnan(values).any(axis=1)])
        if not self.checked or ((good >= _BEYOND * reach) & (good <= _OTHER * reach)).any():
            return missing
        for check in (_CHECK * main[1], _CHECK * main[0] * (reach / abs(main[0]))):
            if self._inside(column, check):
                if not _has(offsets, check):
                    return [*missing, check]
                if not np.isnan(values[np.argmin(np.abs(offsets - check))]).any():
                    return missing
        return missing

    def _found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes, estimated errors and steps, each (m, d), of the parabola with the least errors."""
        shape = self.known.shape
        slopes, errors, steps = np.full(shape, np.nan), np.full(shape, np.inf), np.full(shape, np.nan)
        resolution = self.resolution
        for column in np.flatnonzero(np.isnan(self.known).any(axis=0)):
            for one in self._parabolas(int(column), resolution):
                better = one.error < errors[:, column]
                slopes[better, column], errors[better, column] = one.slope[better], one.error[better]
                steps[better, column] = one.step
        missing = np.isnan(slopes)
        return slopes, np.where(missing, 0.0, errors), steps

    def _parabolas(self, column: int, resolution: np.ndarray) -> list[_Parabola]:
        """Parabolas in one column."""
        offsets, values = self._offsets(column)
        good = ~np.isnan(values).any(axis=1)
        offsets, values = offsets[good], values[good]
        found = []
        for step in np.unique(np.abs(offsets)):
            main = self._main(column, float(step))
            if main is None or not all(_has(offsets, t) for t in main):
                continue
            rows = [int(np.argmin(np.abs(offsets - t))) for t in main]
            (a, b), through = offsets[rows], values[rows] - self.y
            weights = np.array([-b / (a * (a - b)), -a / (b * (b - a))])
            slope, gain = weights @ through, float(np.sqrt((weights**2).sum() + weights.sum() ** 2))
            sure = 0.5 * resolution * (np.abs(weights).sum() + abs(weights.sum()))
            missed, checked = self._missed(offsets, values, (float(a), float(b)), through, gain)
            found.append(_Parabola(float(step), slope, sure + missed, checked))
        return found

    def _missed(
        self, offsets: np.ndarray, values: np.ndarray, main: tuple[float, float], through: np.ndarray, gain: float
    ) -> tuple[np.ndarray, bool]:
        """Error (m,) of the slope at x that the nearest value beyond a parabola tells of, and whether there is one."""
        a, b = main
        reach = max(abs(a), abs(b))
        distance = np.where(np.abs(offsets) >= _BEYOND * reach, np.abs(offsets), np.inf)
        if not np.isfinite(distance).any():  # no check: as unsure as a one-sided slope
            return np.abs(through[0] / a - through[1] / b), False
        row = int(distance.argmin())
        t = float(offsets[row])
        lagrange = np.array([t * (t - b) / (a * (a - b)), t * (t - a) / (b * (b - a))])
        rest = np.abs(values[row] - self.y - lagrange @ through)
        of_noise = gain / np.sqrt(1.0 + (lagrange**2).sum() + (1.0 - lagrange.sum()) ** 2)
        of_third = abs(a * b / (t * (t - a) * (t - b)))
        return _SAFETY * rest * max(of_noise, of_third), True

    def _next_steps(self, one_sided: np.ndarray) -> np.ndarray:
        """Steps (d,) of the next refinement, NaN in columns that need none or for which no better step is known."""
        steps = np.full(len(self.x), np.nan)
        resolution = self.resolution
        weights = self.weights if self.weights.any() else np.ones_like(self.weights)
        every = np.vstack([self.met, self.values, self.y])
        span = np.nanmax(every, axis=0) - np.nanmin(every, axis=0)
        size = np.nanmedian(np.abs(every), axis=0)
        ratio = np.maximum(resolution, ROUND_OFF * size) / np.where(span > 0.0, span, np.inf)
        third_root = float(np.cbrt(ratio[weights > 0.0].max()))
        unknown = np.flatnonzero(np.isnan(self.known).any(axis=0))
        tried = {int(j): self._parabolas(int(j), resolution) for j in unknown}
        losses = {j: min((float(weights @ one.error) for one in found), default=np.inf) for j, found in tried.items()}
        worst = max((loss * self.lengths[j] for j, loss in losses.items()), default=0.0)
        for j, found in tried.items():
            if not self.lower[j] < self.upper[j]:
                continue
            # Odd steps, so that round functions of round x do not look as if they had few digits.
            length = self.lengths[j] * odd(len(self.x) + j)
            best = length * min(max(third_root, _SHORTEST), _NOISE)
            room = max(self.upper[j] - self.x[j], self.x[j] - self.lower[j]) / 6.0
            if not found:
                steps[j] = min(max(best, _PART * one_sided[j]), LONGEST * length, room)
            elif self.checked and (unchecked := [one.step for one in found if self._missing(j, one.step)]):
                steps[j] = unchecked[0]
            elif losses[j] * self.lengths[j] >= _SMALL * worst:
                steps[j] = self._other_step(j, found, weights, span, third_root * length, min(_NOISE * length, room))
        return steps

    def _other_step(
        self,
        column: int,
        found: list[_Parabola],
        weights: np.ndarray,
        span: np.ndarray,
        best: float,
        longest: float,
    ) -> float:
        """A step that has not been tried, longer where noise is behind the error and shorter else; NaN for none."""
        best_found = min(found, key=lambda one: float(weights @ one.error))
        step, error = best_found.step, best_found.error
        output = int((weights * error).argmax())
        third = 6.0 * error[output] / step**2
        noisy = third * (LONGEST * self.lengths[column]) ** 3 / 6.0 > _PLAUSIBLE * span[output]
        longer, shorter = min(_OTHER * step, longest), max(step / _OTHER, min(best, step))
        for other in (longer, shorter) if noisy else (shorter, longer):
            if not any(0.5 < other / one.step < 2.0 for one in found):
                return float(other)
        return float("nan")


def _has(offsets: np.ndarray | list[float], offset: float) -> bool:
    """Whether an offset is among those of points, which have lost some digits."""
    return bool(np.any(np.abs(np.asarray(offsets) - offset) <= 1e-6 * abs(offset)))
