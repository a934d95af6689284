"""Derivative check: the last one before a verdict, of partials against values beside an optimum.

At an optimum the gradient of the Lagrangian, f + multipliers' c + bound multipliers' u, is zero by the partials. The
check compares the change of the Lagrangian's value over a short step with that. It so measures what wrong partials do
to the optimality conditions, however steep objective and constraints are by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradopt.loop.state import State
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses, Scales
from gradopt.optimality.scales import scales_of

_STEPS = (5e-5, 5e-4, 5e-3, 5e-6, 5e-7)  # in units of the scales: short against curvature, long against noise; by hand
_SHARES = (1.0, 3.0)  # tolerances that a directional derivative of the Lagrangian may be off: always, at most; by hand
_ADJOINT = 1e-3  # relative error of a partial that solvers leave, in more than the first share; by hand
_ROUND_OFF = 1e-13  # relative error of a value: some hundred times machine precision; by hand
_SAME = 0.02  # relative difference of two errors per length up to which they are one and the same; by hand
_SEEN = 0.7  # part of the allowed difference that round-off may make up, or the step shows nothing; by hand


@dataclass(frozen=True, eq=False)
class DerivativeCheck:
    """Derivative check at one point.

    Attributes:
        iterate: Responses at the point.
        conditions: Optimality conditions there.
        scales: Scales by which they were measured.
        limits: Bounds.
        values_only: Whether the partials beside the point are not exact, so that each step is made twice and values
            alone are compared.
    """

    iterate: Responses
    conditions: KKT
    scales: Scales
    limits: Limits
    values_only: bool = False

    @classmethod
    def of(cls, state: State, limits: Limits) -> DerivativeCheck:
        """Make the check of the current iterate of a run."""
        at = state.conditions
        scales = scales_of(state.iterate, state.explored, limits, at.multipliers, at.bound_multipliers)
        return cls(state.iterate, at, scales, limits, state.finite_differenced)

    @property
    def points(self) -> list[np.ndarray]:
        """Points (k,) in the order in which they are to be tried; in pairs where values alone are compared."""
        found = []
        for side in (1.0, -1.0):
            for step in _STEPS:
                move = self._move(side, step)
                found.append(self._clipped(self.iterate.u + move))
                if self.values_only:
                    back = self.iterate.u - move
                    found.append(
                        back if np.array_equal(back, self._clipped(back)) else self._clipped(self.iterate.u + 2 * move)
                    )
        return found

    def agrees(self, probe: Responses, before: Responses | None = None) -> bool:
        """Whether values at a point agree with the partials.

        Args:
            probe: Responses at the point.
            before: Where values alone are compared, the responses at the first point of the pair. Else those at the
                point before it, or None: two steps of different length tell curvature, whose part of the difference
                grows with the third power of the step, from wrong partials.
        """
        difference, noise, allowed = self._difference(probe, before if self.values_only else None)
        if noise <= _SEEN * allowed and abs(difference) <= allowed + noise:
            return True
        if before is None or self.values_only:
            return False
        error, unsure, allowed = self._error(probe, before)
        return unsure <= _SEEN * allowed and abs(error) <= allowed

    def contradicts(self, probe: Responses, before: Responses) -> bool:
        """Whether two steps of different length show the same error of the partials, above noise.

        Args:
            probe: Responses at a point, with exact partials.
            before: Responses at the point before it.
        """
        shown = [self._difference(point) for point in (probe, before)]
        error, unsure, allowed = self._error(probe, before)
        seen = all(noise <= _SEEN * limit for _, noise, limit in shown) and abs(error) > allowed + unsure
        each = [one[0] / self._reach(point) for one, point in zip(shown, (probe, before), strict=True)]
        return seen and abs(each[0] - each[1]) <= _SAME * abs(error)

    def _error(self, probe: Responses, before: Responses) -> tuple[float, float, float]:
        """Error of the Lagrangian's slope per length by two steps, its round-off, and what is allowed.

        It is 0 and nothing is allowed where the steps go to different sides or are equally long.
        """
        steps = [point.u - self.iterate.u for point in (probe, before)]
        one, other = (self._reach(point) for point in (probe, before))
        if not float(steps[0] @ steps[1]) > 0.0 or one == other:
            return 0.0, np.inf, 0.0
        (first, noise, allowed), (second, more, _) = (self._difference(point) for point in (probe, before))
        weights = np.array([other**2, -(one**2)]) / (other**2 - one**2)  # leaves out what grows with the third power
        found = weights @ np.array([first / one, second / other])
        return float(found), float(np.abs(weights) @ np.array([noise / one, more / other])), allowed / one

    def _reach(self, point: Responses) -> float:
        return float(np.abs((point.u - self.iterate.u) / self.scales.lengths).max(initial=0.0))

    def _difference(self, probe: Responses, first: Responses | None = None) -> tuple[float, float, float]:
        """Difference of the change of the Lagrangian from what the partials say, its round-off, and what is allowed."""
        near = probe if first is None else first
        step = near.u - self.iterate.u
        change, noise = self._change(near)
        expected = self.slope(self.iterate) @ step
        if first is None:  # trapezoidal rule: exact up to the third power of the step
            expected = 0.5 * (expected + self.slope(probe) @ step)
        else:
            other, more = self._change(probe)
            doubled = float(np.dot(probe.u - self.iterate.u, step)) > 0.0
            change = 0.5 * (4.0 * change - other) if doubled else 0.5 * (change - other)
            noise += more
        return float(change - expected), noise, self._allowed(step)

    def _move(self, side: float, step: float) -> np.ndarray:
        """A step (k,) along the active constraints and bounds, and a little off those that carry a force.

        All design variables move, each by a length of its own, so that no wrong entry stays unseen and two wrong ones
        cancel by chance only. Fixed ones stay.
        """
        u, limits, force = self.iterate.u, self.limits, self.unit
        lengths = step * self.scales.lengths
        drawn = np.random.default_rng(0)
        move = drawn.uniform(0.5, 1.0, u.shape) * drawn.choice([-1.0, 1.0], u.shape) * side
        up, down = (limits.upper - u) / lengths, (u - limits.lower) / lengths
        free = (up >= 2.0) & (down >= 2.0)
        pushed = np.abs(self.conditions.bound_multipliers) * self.scales.lengths / force
        off = self._off(pushed, free)
        inward = np.where(up >= down, np.minimum(up, 1.0), -np.minimum(down, 1.0))
        move = np.where(free, move, inward * off * np.abs(move))
        active = np.flatnonzero(self.conditions.active)
        if active.size and free.any():
            normals = self.iterate.jacobian[active] * self.scales.lengths
            size = np.linalg.norm(normals, axis=1)
            kept = size > 0.0
            normals, size = normals[kept] / size[kept, None], size[kept]
            multipliers = self.conditions.multipliers[active][kept]
            carried = np.abs(multipliers) * size / force
            aside = self._off(carried, free)
            inverse = np.linalg.pinv(normals[:, free], rcond=1e-10)
            target = -0.5 * np.sign(multipliers) * aside - normals[:, ~free] @ move[~free]
            along = _largest_one(move[free] - inverse @ (normals[:, free] @ move[free]), always=True)
            move[free] = _largest_one(along + _largest_one(inverse @ target))
        return np.asarray(move * lengths)

    def _off(self, carried: np.ndarray, free: np.ndarray) -> np.ndarray:
        """How far to step off what carries a force: as far as the error of that force may hide nothing else."""
        if not free.any():
            return np.ones_like(carried)
        return np.minimum(1.0, self.conditions.tolerance / np.maximum(_ADJOINT * carried, 1e-300))

    def _clipped(self, u: np.ndarray) -> np.ndarray:
        return np.clip(u, self.limits.lower, self.limits.upper)

    @property
    def unit(self) -> float:
        """Force that counts as one, times a length."""
        if np.isfinite(self.scales.objective):
            return self.scales.objective
        return float(np.abs(self.iterate.gradient * self.scales.lengths).max(initial=0.0)) or 1.0

    def slope(self, at: Responses) -> np.ndarray:
        """Gradient (k,) of the Lagrangian."""
        found = at.gradient + self.conditions.multipliers @ at.jacobian + self.conditions.bound_multipliers
        return np.asarray(found)

    def _change(self, probe: Responses) -> tuple[float, float]:
        """Change of the Lagrangian's value to a point, and its round-off."""
        at, multipliers = self.iterate, self.conditions.multipliers
        change = probe.f - at.f + multipliers @ (probe.c - at.c)
        change += self.conditions.bound_multipliers @ (probe.u - at.u)
        noise = abs(probe.f) + abs(at.f) + np.abs(multipliers) @ (np.abs(probe.c) + np.abs(at.c))
        return float(change), float(_ROUND_OFF * noise)

    def _allowed(self, step: np.ndarray) -> float:
        """Difference that is no contradiction: what moves the answer by the tolerance."""
        reach = float(np.abs(step / self.scales.lengths).max(initial=0.0))
        held = np.abs(self.conditions.multipliers) @ np.abs(self.iterate.jacobian @ step)
        held += np.abs(self.conditions.bound_multipliers) @ np.abs(step)
        least, most = (share * self.conditions.tolerance * self.unit * reach for share in _SHARES)
        terms = float(np.abs(self.iterate.gradient) @ np.abs(step)) + held
        allowed = min(max(_ADJOINT * terms, least), most) + _ADJOINT * held
        if self.iterate.error is not None:
            error = self.iterate.error[0] + np.abs(self.conditions.multipliers) @ self.iterate.error[1:]
            allowed += error @ np.abs(step)
        return float(allowed)


def _largest_one(move: np.ndarray, always: bool = False) -> np.ndarray:
    """The step, shortened, or always scaled, to one whose largest component is 1; a step of round-off becomes 0."""
    largest = float(np.abs(move).max(initial=0.0))
    if largest < 1e-8:
        return np.zeros_like(move)
    return move / (largest if always else max(largest, 1.0))
