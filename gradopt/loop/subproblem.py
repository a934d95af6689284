"""Trust-region subproblem: minimize on the corrected surrogates within the trust region, by SLSQP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from gradopt.errors import EvaluationError
from gradopt.loop.newton import newton, residual_of
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Limits, Responses, Scales

_ITERATIONS = 100  # of SLSQP, its own default
_TOLERANCE = 1e-9  # change of the objective, in parts of its first-order change over the trust region; by hand
_EXHAUSTED = 10  # evaluations of one line search after which SLSQP gives up, its own constant
_GIVEN_UP = 2  # such line searches in a row after which it ends: values have no digits left to compare; by hand
_TIGHT = 1e-16  # the same where it ended too early: its first step is along the gradient, whose square it compares
_STATIONARY = 1e-8  # residual of the KKT conditions above which it ended too early, in parts of the scales; by hand
_NEWTON = 60  # free design variables up to which Newton's method improves the end: its Hessian costs; by hand
# Violations in parts of what the constraint changes, by its slope at the iterate, over the lengths of the variables.
_FEASIBLE = 1e-8  # up to which a point of the model counts as feasible; by hand
_RESTORED = 1e-6  # above which the region is said to have no feasible point; the usual accuracy of optimizers
# Steering of penalties (Byrd, Nocedal & Waltz 2008).
_SHARE = 0.3  # part of the predicted reduction of the weighted violations by which the merit falls at least; by hand
_FACTOR = 10.0  # on the penalties where a higher one gains feasibility; by hand
_TRIES = 3  # such factors at most; by hand
_GAINS = 0.5  # part of the violation left by lower penalties that higher ones have to leave at most; by hand


@dataclass(frozen=True, eq=False)
class Candidate:
    """Point proposed for evaluation.

    Attributes:
        predicted: Responses there, on the surrogates.
        restoration: Whether no feasible point was found in the trust region, so that violations were minimized with
            the objective.
        along_step: Whether the point is on the line of a candidate that failed.
        penalties: Penalties of the merit that the point lowers (p,); empty for those of the state.
        radius: Radius of the trust region in which it was found; NaN for that of the request.
    """

    predicted: Responses
    restoration: bool
    along_step: bool = False
    penalties: np.ndarray = field(default_factory=lambda: np.empty(0))
    radius: float = np.nan


def solve_subproblem(
    model: Callable[[np.ndarray], Responses],
    limits: Limits,
    iterate: Responses,
    box: tuple[np.ndarray, np.ndarray],
    penalties: np.ndarray,
    starts: Sequence[np.ndarray] = (),
) -> Candidate:
    """Minimize within a box.

    Args:
        model: Responses on the surrogates at u (k,); raises `EvaluationError` where the rest of the model fails.
        limits: Bounds of the problem.
        iterate: Responses of the truth at the current iterate, with which those of the model agree.
        box: Lower and upper edges, each (k,).
        penalties: Penalties of the merit (p,).
        starts: Further points (k,) to start from than the current iterate.

    Returns:
        The end of the search with the lowest merit; the current iterate itself if there is none better. Penalties are
        raised so far that an end within the constraints of the model lowers the merit, and where that gains much of
        what is missing.
    """
    lower, upper = box
    seen = _Seen(model, limits, iterate, penalties, box)
    for start in (iterate.u, *starts):
        seen.search(np.clip(start, lower, upper))
    best = seen.best
    return Candidate(best, seen.violation(best) > _RESTORED, penalties=seen.penalties)


class _Seen:
    """The model with a memory: each point is evaluated once for value and gradient, and the best one is kept."""

    def __init__(
        self,
        model: Callable[[np.ndarray], Responses],
        limits: Limits,
        iterate: Responses,
        penalties: np.ndarray,
        box: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self._model, self._limits, self._iterate, self._box = model, limits, iterate, box
        lower, upper = box
        # All of order one, or SLSQP ends early: steps in parts of the box, values in what a step across it may change.
        reach = np.maximum(iterate.u - lower, upper - iterate.u)
        scale = np.where(reach > 0.0, reach, 1.0)
        sizes = np.array([_size(row * scale) for row in iterate.jacobian])
        self._scales = Scales(scale, _size(iterate.gradient * scale), sizes)
        self._last: tuple[bytes, Responses] | None = None
        self.best, self.penalties = iterate, penalties

    def violation(self, point: Responses) -> float:
        """Return the largest violation, in parts of what the constraint changes over the lengths of the variables."""
        sizes = np.linalg.norm(self._iterate.jacobian * self._limits.width, axis=1)
        sizes = np.where(sizes > 0.0, sizes, 1.0)
        return float((self._limits.violations(point.c) / sizes).max(initial=0.0))

    def search(self, start: np.ndarray) -> None:
        """Search from a start, and keep the end, or the best point on the way, if it is better."""
        end = self._slsqp(start, None)
        if len(self._iterate.c) and (end is None or self.violation(end) > _FEASIBLE):
            end = self._restored(start if end is None else end.u)
        if end is not None:
            end = self._improved(end)
            self._steer(end)
            self._keep(end)

    def _restored(self, start: np.ndarray) -> Responses | None:
        """The end of a search with slack variables, by penalties that are raised while that gains feasibility."""
        end, penalties = self._slsqp(start, self.penalties), self.penalties
        for _ in range(_TRIES):
            if end is not None and self.violation(end) <= _FEASIBLE:
                break
            higher = _FACTOR * penalties
            found = self._slsqp(start if end is None else end.u, higher)
            if found is None or (end is not None and self._missed(found) > _GAINS * self._missed(end)):
                break
            end, penalties = found, higher
            self.penalties = penalties
        return end

    def _improved(self, end: Responses) -> Responses:
        """The end, by Newton's method where the trust region does not hold it."""
        lower, upper = self._box
        held = ((end.u <= lower) & (lower > self._limits.lower)) | ((end.u >= upper) & (upper < self._limits.upper))
        if held.any():
            return end
        within = replace(self._limits, lower=lower, upper=upper)
        found = newton(self._evaluate, end, within, self._scales, _NEWTON)
        if residual_of(found, within, self._scales) > _STATIONARY:
            closer = self._slsqp(found.u, None, _TIGHT)
            if closer is not None and self.violation(closer) <= max(_FEASIBLE, self.violation(found)):
                found = newton(self._evaluate, closer, within, self._scales, _NEWTON)
        return found

    def _steer(self, end: Responses) -> None:
        """Raise the penalties until an end with smaller violations has a lower merit than the iterate."""
        if not len(end.c):
            return
        gained = self._limits.violations(self._iterate.c) - self._limits.violations(end.c)
        weighted, rise = float(self.penalties @ gained), end.f - self._iterate.f
        if weighted > 0.0 and rise > (1.0 - _SHARE) * weighted:
            self.penalties = self.penalties * (rise / ((1.0 - _SHARE) * weighted))

    def _keep(self, end: Responses) -> None:
        here, there = (merit(point, self._limits, self.penalties) for point in (self.best, end))
        if there < here:
            self.best = end

    def _missed(self, point: Responses) -> float:
        """Sum of the violations, in parts of their scales."""
        return float((self._limits.violations(point.c) / self._scales.constraints).sum())

    def _slsqp(
        self, start: np.ndarray, penalties: np.ndarray | None, tolerance: float = _TOLERANCE
    ) -> Responses | None:
        """Run SLSQP from a start, with slack variables where penalties (p,) of these are given.

        Returns:
            Its end; None where the model fails there, or where it ended at the iterate without success.
        """
        iterate, limits, (lower, upper) = self._iterate, self._limits, self._box
        origin, scale, size, sizes = iterate.u, self._scales.lengths, self._scales.objective, self._scales.constraints
        k, p = len(start), len(iterate.c)
        extra = 0 if penalties is None else p
        violations = limits.violations(iterate.c) / sizes if p else iterate.c
        begin = np.concatenate([(start - origin) / scale, violations[:extra]])
        bounds = [*zip((lower - origin) / scale, (upper - origin) / scale, strict=True), *[(0.0, None)] * extra]
        weights = np.zeros(0) if penalties is None else penalties * sizes / size

        last: tuple[bytes, Responses] | None = None

        def at(v: np.ndarray) -> Responses:  # SLSQP asks for values and slopes of objective and constraints apart
            nonlocal last
            key = v[:k].tobytes()
            if last is None or last[0] != key:
                last = key, self._evaluate(np.clip(origin + v[:k] * scale, lower, upper))
            return last[1]

        tried: list[np.ndarray] = []  # points of the line search
        given_up, end = 0, None

        def watch(v: np.ndarray) -> None:
            """Take note of the line search that has ended with the last point but one, before the step to v."""
            nonlocal given_up, end
            given_up = given_up + 1 if len(tried) > _EXHAUSTED else 0
            if given_up == _GIVEN_UP:
                end = tried[-2]
                raise StopIteration
            del tried[:-1]

        def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
            tried.append(v.copy())
            found = at(v)
            slope = np.concatenate([found.gradient * scale / size, weights])
            return (found.f - iterate.f) / size + float(weights @ v[k:]), slope

        try:
            with suppress(StopIteration):  # SciPy before 1.17 lets it through
                outcome = minimize(
                    objective,
                    begin,
                    jac=True,
                    method="SLSQP",
                    bounds=bounds,
                    constraints=self._constraints(at, k, extra, scale, sizes),
                    callback=watch,
                    options={"maxiter": _ITERATIONS, "ftol": tolerance},
                )
            found = at(outcome.x if end is None else end)
        except EvaluationError:  # the exact rest of the model fails there; what was evaluated before still counts
            return None
        succeeded = end is None and outcome.success
        stuck = not succeeded and np.array_equal(found.u, iterate.u)  # as where constraints depend on each other
        return None if stuck else found

    def _constraints(
        self, at: Callable[[np.ndarray], Responses], k: int, extra: int, scale: np.ndarray, sizes: np.ndarray
    ) -> list[Any]:
        limits = self._limits
        equal = np.flatnonzero(limits.equal)
        above = np.flatnonzero(~limits.equal & np.isfinite(limits.c_lower))
        below = np.flatnonzero(~limits.equal & np.isfinite(limits.c_upper))

        def value(v: np.ndarray, rows: np.ndarray, sign: float, bound: np.ndarray) -> np.ndarray:
            gap = sign * (at(v).c[rows] - bound[rows]) / sizes[rows]
            return gap + v[k:][rows] if extra else gap

        def slope(v: np.ndarray, rows: np.ndarray, sign: float, bound: np.ndarray) -> np.ndarray:
            found = sign * at(v).jacobian[rows] * scale / sizes[rows, None]
            return np.hstack([found, np.eye(extra)[rows]]) if extra else found

        sides = [("ineq", above, 1.0, limits.c_lower), ("ineq", below, -1.0, limits.c_upper)]
        if extra:  # an equality is two inequalities that share their slack
            sides += [("ineq", equal, 1.0, limits.c_lower), ("ineq", equal, -1.0, limits.c_upper)]
        else:
            sides += [("eq", equal, 1.0, limits.c_lower)]
        return [
            {"type": kind, "fun": value, "jac": slope, "args": (rows, sign, bound)}
            for kind, rows, sign, bound in sides
            if len(rows)
        ]

    def _evaluate(self, u: np.ndarray) -> Responses:
        key = u.tobytes()
        if self._last is None or self._last[0] != key:
            found = self._model(u)
            if not found.finite:
                raise EvaluationError(f"The model on the surrogates is not finite at {u}.")
            self._last = key, found
            self._keep(found)
        return self._last[1]


def _size(gradient: np.ndarray) -> float:
    """Length of a gradient, 1 where it is zero."""
    return float(np.linalg.norm(gradient)) or 1.0
