"""The rivals: SLSQP on the truth itself, condition by condition, cold or from the nearest condition solved before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from cases.airfoil.aerodynamics import N_INPUTS
from cases.airfoil_study.conditions import Condition, neighbor_order
from cases.airfoil_study.problem import COUNT, AirfoilProblem, conditions_of, drag_of, violation
from gradopt.optimality.problem import Limits, Responses

FEASIBLE = 1e-3
"""Largest scaled violation of a design that counts as feasible."""

CLOSE = 0.1 * COUNT
"""How near to its own last drag a rival is said to have arrived."""


@dataclass(frozen=True)
class Scaling:
    """How SLSQP sees the problem.

    Attributes:
        weight: Length of one unit of a weight, chord fractions.
        alpha: Of the angle of attack, degrees.
        drag: Factor on the objective, which is CD / 0.005.
        tolerance: Of SLSQP, `ftol`.
    """

    weight: float = 0.06
    alpha: float = 3.0
    drag: float = 1.0
    tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class RivalRun:
    """SLSQP on the truth for one condition.

    Attributes:
        responses: Where it ended.
        evaluations: Different designs at which the truth was asked.
        arrived: Those until it was first feasible and within `CLOSE` of its last drag; None where it never was.
        violation: Largest scaled violation at the end.
        certified: Whether the optimality conditions hold at the end.
        success: Whether SLSQP says that it converged.
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


class _Asked:
    """The truth at one Reynolds number, each design asked once, in order."""

    def __init__(self, problem: AirfoilProblem, condition: Condition) -> None:
        self._problem, self._condition = problem, condition
        self.known: dict[bytes, Responses] = {}

    def __call__(self, design: np.ndarray) -> Responses:
        key = design.tobytes()
        if key not in self.known:
            y, dydx = self._problem.truth.f(self._problem.inputs_at(self._condition, design))
            self.known[key] = self._problem.responses(design.copy(), y, dydx)
        return self.known[key]


def run_rival(problem: AirfoilProblem, condition: Condition, start: np.ndarray, scaling: Scaling) -> RivalRun:
    """Run SLSQP on the truth.

    Args:
        problem: What all conditions share.
        condition: The condition.
        start: Design (17,).
        scaling: How SLSQP sees it.

    Returns:
        The outcome.
    """
    asked, limits = _Asked(problem, condition), problem.limits(condition)
    unit = np.append(np.full(N_INPUTS - 1, scaling.weight), scaling.alpha)
    done = _slsqp(asked, limits, unit, start, scaling)
    end = asked(np.clip(done.x * unit, limits.lower, limits.upper))
    final = drag_of(end)
    arrived = None
    for count, found in enumerate(asked.known.values(), 1):
        if violation(found, limits) <= FEASIBLE and drag_of(found) <= final + CLOSE:
            arrived = count
            break
    certified = conditions_of(end, limits).certified
    return RivalRun(end, len(asked.known), arrived, violation(end, limits), certified, bool(done.success))


def _slsqp(
    ask: Callable[[np.ndarray], Responses], limits: Limits, unit: np.ndarray, start: np.ndarray, scaling: Scaling
) -> Any:
    equal = limits.equal

    def at(v: np.ndarray) -> Responses:
        return ask(np.clip(v * unit, limits.lower, limits.upper))

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


def run_direct(problem: AirfoilProblem, conditions: Sequence[Condition], scaling: Scaling) -> list[RivalRun]:
    """Run SLSQP for each condition from the same shape, at an angle where its lift should be right."""
    y, dydx = problem.truth.f(problem.probe)
    return [run_rival(problem, one, problem.start(one, y, dydx), scaling) for one in conditions]


def run_warm(problem: AirfoilProblem, conditions: Sequence[Condition], scaling: Scaling) -> list[RivalRun]:
    """Run SLSQP for each condition from the solution of the nearest one solved before.

    The angle of attack is moved to where the lift should be right by the slope known there.

    Returns:
        The runs, in the order of the conditions.
    """
    y, dydx = problem.truth.f(problem.probe)
    runs: dict[int, RivalRun] = {}
    for index, parent in zip(*neighbor_order(conditions), strict=True):
        condition = conditions[index]
        if parent < 0:
            start = problem.start(condition, y, dydx)
        else:
            found = runs[parent].responses
            start = found.u.copy()
            start[-1] += (condition.lift - found.c[0]) / found.jacobian[0, -1]
            start = np.clip(start, problem.lower, problem.upper)
        runs[index] = run_rival(problem, condition, start, scaling)
    return [runs[index] for index in range(len(conditions))]
