"""Trust-region subproblem: minimize on the corrected surrogates within the trust region, by SLSQP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from gradopt.errors import EvaluationError
from gradopt.optimality.merit import merit
from gradopt.optimality.problem import Limits, Responses

_ITERATIONS = 100  # of SLSQP, its own default
_TOLERANCE = (
    1e-12  # on the change of the objective, relative to its change over the trust region to first order; by hand
)
# Violations in parts of what the constraint changes, by its slope at the iterate, over the lengths of the variables.
_FEASIBLE = 1e-8  # up to which a point of the model counts as feasible; by hand
_RESTORED = 1e-6  # above which the region is said to have no feasible point; the usual accuracy of optimizers


@dataclass(frozen=True, eq=False)
class Candidate:
    """Point proposed for evaluation.

    Attributes:
        predicted: Responses there, on the surrogates.
        restoration: Whether no feasible point was found in the trust region, so that violations were minimized with
            the objective.
        along_step: Whether the point is on the line of a candidate that failed.
    """

    predicted: Responses
    restoration: bool
    along_step: bool = False


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
        The point with the lowest merit that was evaluated; the current iterate itself if there is none better.
    """
    lower, upper = box
    seen = _Seen(model, limits, iterate, penalties)
    for start in (iterate.u, *starts):
        begin = np.clip(start, lower, upper)
        done = seen.search(begin, lower, upper, elastic=False)
        if not done and len(iterate.c):
            seen.search(begin, lower, upper, elastic=True)
    best = seen.best
    violated = seen.violation(best) > _RESTORED
    return Candidate(best, violated)


class _Seen:
    """The model with a memory: each point is evaluated once for value and gradient, and the best one is kept."""

    def __init__(
        self, model: Callable[[np.ndarray], Responses], limits: Limits, iterate: Responses, penalties: np.ndarray
    ) -> None:
        self._model, self._limits, self._iterate, self._penalties = model, limits, iterate, penalties
        self._last: tuple[np.ndarray, Responses] | None = None
        self.best = iterate
        self._lowest = merit(iterate, limits, penalties)

    def violation(self, point: Responses) -> float:
        """Return the largest violation, in parts of what the constraint changes over the lengths of the variables."""
        sizes = np.linalg.norm(self._iterate.jacobian * self._limits.width, axis=1)
        sizes = np.where(sizes > 0.0, sizes, 1.0)
        return float((self._limits.violations(point.c) / sizes).max(initial=0.0))

    def search(self, start: np.ndarray, lower: np.ndarray, upper: np.ndarray, elastic: bool) -> bool:
        """Run SLSQP from a start; returns whether it ended well at a feasible point of the model."""
        iterate, limits = self._iterate, self._limits
        k, p = len(start), len(iterate.c)
        # All of order one, or SLSQP ends early: steps in parts of the box, values in what a step across it may change.
        reach = np.maximum(iterate.u - lower, upper - iterate.u)
        origin, scale = iterate.u, np.where(reach > 0.0, reach, 1.0)
        size = _size(iterate.gradient * scale)
        sizes = np.array([_size(row * scale) for row in iterate.jacobian])
        low, high = (lower - origin) / scale, (upper - origin) / scale
        extra = p if elastic else 0
        begin = (start - origin) / scale
        violations = limits.violations(iterate.c) / sizes if p else iterate.c
        begin = np.concatenate([begin, violations[:extra]])
        bounds = [*zip(low, high, strict=True), *[(0.0, None)] * extra]
        weights = (self._penalties * sizes / size)[:extra] if p else self._penalties

        def at(v: np.ndarray) -> Responses:
            return self._evaluate(np.clip(origin + v[:k] * scale, lower, upper))

        def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
            found = at(v)
            slope = np.concatenate([found.gradient * scale / size, weights])
            return (found.f - iterate.f) / size + float(weights @ v[k:]), slope

        try:
            outcome = minimize(
                objective,
                begin,
                jac=True,
                method="SLSQP",
                bounds=bounds,
                constraints=self._constraints(at, k, extra, scale, sizes),
                options={"maxiter": _ITERATIONS, "ftol": _TOLERANCE},
            )
            end = at(outcome.x)
        except EvaluationError:  # the exact rest of the model fails there; what was evaluated before still counts
            return self.violation(self.best) <= _FEASIBLE
        stuck = outcome.status != 0 and self.best is iterate  # such as where constraints depend on each other
        return not stuck and self.violation(end) <= _FEASIBLE

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
        if self._last is None or not np.array_equal(self._last[0], u):
            found = self._model(u)
            if not found.finite:
                raise EvaluationError(f"The model on the surrogates is not finite at {u}.")
            self._last = (u.copy(), found)
            height = merit(found, self._limits, self._penalties)
            if height < self._lowest:
                self.best, self._lowest = found, height
        return self._last[1]


def _size(gradient: np.ndarray) -> float:
    """Length of a gradient, 1 where it is zero."""
    return float(np.linalg.norm(gradient)) or 1.0
