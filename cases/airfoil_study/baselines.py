"""The baselines: SLSQP on the truth itself for each condition, from one start or from the nearest design so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from cases.airfoil.aerodynamics import N_INPUTS
from cases.airfoil_study.conditions import Condition, neighbor_order
from cases.airfoil_study.problem import COUNT, AirfoilProblem, drag_of, kkt_of, violation
from gradopt.optimality.problem import Limits, Responses

FEASIBLE = 1e-3
"""Largest scaled violation of a feasible design; by hand, that of the study's certificate."""

CLOSE = 0.1 * COUNT
"""Largest difference from the drag coefficient at the end at which a run has arrived; by hand."""


@dataclass(frozen=True)
class Scaling:
    """Scaling of the problem for SLSQP.

    Attributes:
        weight: Length of one unit of a weight, chord fractions.
        alpha: Length of one unit of the angle of attack, degrees.
        drag: Factor on the objective CD / 0.005.
        tolerance: SLSQP's option `ftol`.
    """

    weight: float = 0.06
    alpha: float = 3.0
    drag: float = 1.0
    tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class BaselineRun:
    """SLSQP on the truth for one condition.

    Attributes:
        responses: Responses of the truth at the end.
        evaluations: Number of different designs at which the truth was evaluated.
        arrived: Number of them until the first feasible one within `CLOSE` of the drag at the end; None without any.
        violation: Largest scaled violation at the end.
        certified: Whether the KKT conditions hold at the end.
        success: Whether SLSQP reports convergence.
    """

    responses: Responses
    evaluations: int
    arrived: int | None
    violation: float
    certified: bool
    success: bool

    @property
    def drag(self) -> float:
        """Drag coefficient at the end."""
        return drag_of(self.responses)


class _Evaluated:
    """The truth at one Reynolds number; each design is evaluated once, and the order is kept."""

    def __init__(self, problem: AirfoilProblem, condition: Condition) -> None:
        self._problem, self._condition = problem, condition
        self.known: dict[bytes, Responses] = {}

    def __call__(self, design: np.ndarray) -> Responses:
        key = design.tobytes()
        if key not in self.known:
            y, dydx = self._problem.truth.f(self._problem.inputs_at(self._condition, design))
            self.known[key] = self._problem.responses(design.copy(), y, dydx)
        return self.known[key]


def run_slsqp(problem: AirfoilProblem, condition: Condition, start: np.ndarray, scaling: Scaling) -> BaselineRun:
    """Run SLSQP on the truth.

    Args:
        problem: Parts that are the same for all conditions.
        condition: Condition of the design.
        start: First design (17,).
        scaling: Scaling for SLSQP.

    Returns:
        The run.
    """
    evaluated, limits = _Evaluated(problem, condition), problem.limits(condition)
    unit = np.append(np.full(N_INPUTS - 1, scaling.weight), scaling.alpha)
    done = _slsqp(evaluated, limits, unit, start, scaling)
    end = evaluated(np.clip(done.x * unit, limits.lower, limits.upper))
    final = drag_of(end)
    arrived = None
    for count, found in enumerate(evaluated.known.values(), 1):
        if violation(found, limits) <= FEASIBLE and drag_of(found) <= final + CLOSE:
            arrived = count
            break
    certified = kkt_of(end, limits).certified
    return BaselineRun(end, len(evaluated.known), arrived, violation(end, limits), certified, bool(done.success))


def _slsqp(
    evaluate: Callable[[np.ndarray], Responses], limits: Limits, unit: np.ndarray, start: np.ndarray, scaling: Scaling
) -> Any:
    equal = limits.equal

    def at(v: np.ndarray) -> Responses:
        return evaluate(np.clip(v * unit, limits.lower, limits.upper))

    def gap(v: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return (at(v).c - limits.c_lower)[rows]

    def slope(v: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return at(v).jacobian[rows] * unit

    solve: Any = minimize
    return solve(
        lambda v: scaling.drag * at(v).f,
        start / unit,
        jac=lambda v: scaling.drag * at(v).gradient * unit,
        bounds=list(zip(limits.lower / unit, limits.upper / unit, strict=True)),
        constraints=[
            {"type": "eq", "fun": gap, "jac": slope, "args": (equal,)},
            {"type": "ineq", "fun": gap, "jac": slope, "args": (~equal,)},
        ],
        method="SLSQP",
        options={"ftol": scaling.tolerance, "maxiter": 300},
    )


def run_direct(problem: AirfoilProblem, conditions: Sequence[Condition], scaling: Scaling) -> list[BaselineRun]:
    """Run SLSQP for each condition from one shape, at an angle of attack at which the lift nearly fits."""
    y, dydx = problem.truth.f(problem.first_inputs)
    return [run_slsqp(problem, one, problem.start(one, y, dydx), scaling) for one in conditions]


def run_warm(problem: AirfoilProblem, conditions: Sequence[Condition], scaling: Scaling) -> list[BaselineRun]:
    """Run SLSQP for each condition from the design of the nearest condition solved before.

    The angle of attack is moved along the lift slope to where the lift nearly fits.

    Returns:
        The runs, in the order of the conditions.
    """
    y, dydx = problem.truth.f(problem.first_inputs)
    runs: dict[int, BaselineRun] = {}
    for index, parent in zip(*neighbor_order(conditions), strict=True):
        condition = conditions[index]
        if parent < 0:
            start = problem.start(condition, y, dydx)
        else:
            found = runs[parent].responses
            start = found.u.copy()
            start[-1] += (condition.lift - found.c[0]) / found.jacobian[0, -1]
            start = np.clip(start, problem.lower, problem.upper)
        runs[index] = run_slsqp(problem, condition, start, scaling)
    return [runs[index] for index in range(len(conditions))]
