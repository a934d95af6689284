"""Smooth problems of order one whose optima are known; for `loop.certificates_by_kind`.

Values, partials, bounds and ranges are of order one to a thousand, so that the tolerances of a certificate have their
meaning as they stand. The trials write these problems in other units, with other bounds and with spoiled truths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from scripts.loop.misleading_trials import Evaluation, hs6, hs71, saddle_problem
from scripts.shared.loop_problems import LoopProblem, disk_problem, loop_problem, rosenbrock_problem

OPTIMA: dict[str, Sequence[float]] = {
    "branin": [np.pi, 2.275],
    "exponential_1": [np.log(20.0 / 3.0) / 3.0],
    "exponential_2": [2.23551, 2.23551],
    "coupled": [3.0, 4.0],
    "bounded bowl": [0.0, 0.3],
    "disk of 1": [0.7864, 0.6177],
    "circle of 1": [0.7864, 0.6177],
    "hs6": [1.0, 1.0],
    "hs71": [1.0, 4.743, 3.8211, 1.3794],
    "sellar of one truth": [0.0, 1.977638883487764, 0.0],
    "section": [0.5, 0.7],
}
"""Near optima, by the name of the problem; of bowls 0.3, of Rosenbrock's function 1 in each entry."""


def unconstrained() -> list[LoopProblem]:
    """Make all problems without constraints, the small ones first."""
    bowls, valleys = [bowl(d) for d in (1, 2, 3)], [rosenbrock_problem(d) for d in (2, 4, 6)]
    return [*bowls, exponential_1(), exponential_2(), coupled(), bounded_bowl(), branin(), *valleys]


def constrained() -> list[LoopProblem]:
    """Make all problems with constraints."""
    return [disk_problem(), disk_problem(equality=True), hs6(), hs71(), sellar_of_one_truth(), section()]


def saddles() -> list[tuple[LoopProblem, np.ndarray]]:
    """Make problems with a strict saddle, and that saddle."""
    return [(saddle_problem(), np.zeros(2)), (waves(), np.zeros(2)), (hill_in_bowl(), np.zeros(3))]


def bowl(d: int) -> LoopProblem:
    """Make 5 + |x - 0.3|^2."""
    return loop_problem(
        f"bowl_{d}", lambda x: (np.array([5.0 + ((x - 0.3) ** 2).sum()]), 2.0 * (x - 0.3)[None]), [1.5] * d
    )


def bounded_bowl() -> LoopProblem:
    """Make (x1 + 0.5)^2 + (x2 - 0.3)^2, whose first bound is active."""

    def function(x: np.ndarray) -> Evaluation:
        return np.array([(x[0] + 0.5) ** 2 + (x[1] - 0.3) ** 2]), 2.0 * np.array([[x[0] + 0.5, x[1] - 0.3]])

    return loop_problem("bounded bowl", function, [1.0, 1.5], (0.0, 2.0))


def exponential_1() -> LoopProblem:
    """Make exp(3 x) - 20 x."""

    def function(x: np.ndarray) -> Evaluation:
        return np.exp(3.0 * x) - 20.0 * x, (3.0 * np.exp(3.0 * x) - 20.0)[None]

    return loop_problem("exponential_1", function, [-1.0])


def exponential_2() -> LoopProblem:
    """Make (x1 - 3)^2 + (x2 - x1)^2 + exp(x1 / 2)."""

    def function(x: np.ndarray) -> Evaluation:
        a, b = x
        slope = np.array([2.0 * (a - 3.0) - 2.0 * (b - a) + 0.5 * np.exp(0.5 * a), 2.0 * (b - a)])
        return np.array([(a - 3.0) ** 2 + (b - a) ** 2 + np.exp(0.5 * a)]), slope[None]

    return loop_problem("exponential_2", function, [1.0, 1.0], (-5.0, 5.0))


def coupled() -> LoopProblem:
    """Make u^2 + v^2 + u v / 2 of u = x1 - 3 and v = x2 - 4."""

    def function(x: np.ndarray) -> Evaluation:
        u, v = x - [3.0, 4.0]
        return np.array([u * u + v * v + 0.5 * u * v]), np.array([[2.0 * u + 0.5 * v, 2.0 * v + 0.5 * u]])

    return loop_problem("coupled", function, [5.0, 2.0], (0.1, 10.0))


def branin() -> LoopProblem:
    """Make Branin's function within [-5, 15]^2."""
    curve, slope, level = 5.1 / (4.0 * np.pi**2), 5.0 / np.pi, 10.0 * (1.0 - 1.0 / (8.0 * np.pi))

    def function(x: np.ndarray) -> Evaluation:
        rest = x[1] - curve * x[0] ** 2 + slope * x[0] - 6.0
        first = 2.0 * rest * (slope - 2.0 * curve * x[0]) - level * np.sin(x[0])
        return np.array([rest**2 + level * np.cos(x[0]) + 10.0]), np.array([[first, 2.0 * rest]])

    return loop_problem("branin", function, [2.0, 8.0], (-5.0, 15.0))


def sellar_of_one_truth() -> LoopProblem:
    """Make Sellar's problem of x, z1 and z2, with its coupling solved within the truth."""

    def function(x: np.ndarray) -> Evaluation:
        own, z1, z2 = x
        root = 1.0  # of y1, by Newton's method on y1 + 0.2 y2(y1) = z1^2 + z2 + x
        for _ in range(60):
            gap = root**2 + 0.2 * (root + z1 + z2) - (z1**2 + z2 + own)
            root -= gap / (2.0 * root + 0.2)
        slope = np.array([1.0, 2.0 * z1 - 0.2, 0.8]) / (2.0 * root + 0.2)
        y1, y2, first, second = root**2, root + z1 + z2, 2.0 * root * slope, slope + [0.0, 1.0, 1.0]
        values = np.array([own**2 + z2 + y1 + np.exp(-y2), 3.16 - y1, y2 - 24.0])
        return values, np.array([[2.0 * own, 0.0, 1.0] + first - np.exp(-y2) * second, -first, second])

    limits = {"c_lower": [-np.inf] * 2, "c_upper": [0.0] * 2}
    return loop_problem("sellar of one truth", function, [1.0, 5.0, 2.0], (0.0, 10.0), **limits)


def section() -> LoopProblem:
    """Make the least area of a rectangle of given stiffness and slenderness."""

    def function(x: np.ndarray) -> Evaluation:
        b, h = x
        values = np.array([10.0 * b * h, 10.0 * b * h**3, 1.6 * b - h])
        return values, np.array([[10.0 * h, 10.0 * b], [10.0 * h**3, 30.0 * b * h**2], [1.6, -1.0]])

    return loop_problem("section", function, [1.0, 1.0], (0.1, 2.5), [1.0, 0.0], [np.inf] * 2)


def steep_at_bound(slope: float) -> LoopProblem:
    """Make slope x1 + (x2 - 0.3)^2, whose first bound is active."""

    def function(x: np.ndarray) -> Evaluation:
        return np.array([slope * x[0] + (x[1] - 0.3) ** 2]), np.array([[slope, 2.0 * (x[1] - 0.3)]])

    return loop_problem(f"slope {slope:g} at a bound", function, [0.8, 0.9], (0.0, 1.0))


def steep_at_constraint(slope: float, tilt: float) -> LoopProblem:
    """Make slope (x1 + tilt x2) + (x2 - 0.3)^2 with the constraint x1 + tilt x2 >= 0.4."""

    def function(x: np.ndarray) -> Evaluation:
        along = x[0] + tilt * x[1]
        rows = np.array([[slope, slope * tilt + 2.0 * (x[1] - 0.3)], [1.0, tilt]])
        return np.array([slope * along + (x[1] - 0.3) ** 2, along]), rows

    name = f"slope {slope:g} at a constraint of tilt {tilt:g}"
    return loop_problem(name, function, [0.8, 0.9], (0.0, 1.0), [0.4], [np.inf])


def waves() -> LoopProblem:
    """Make x1^2 / 2 + x2^2 / 10 + cos(2 x2) / 2: a saddle at the origin."""

    def function(x: np.ndarray) -> Evaluation:
        value = 0.5 * x[0] ** 2 + 0.1 * x[1] ** 2 + 0.5 * np.cos(2.0 * x[1])
        return np.array([value]), np.array([[x[0], 0.2 * x[1] - np.sin(2.0 * x[1])]])

    return loop_problem("waves", function, [1.0, 0.0])


def hill_in_bowl() -> LoopProblem:
    """Make |x|^2 + 3 exp(-x2^2 - x3^2): a saddle at the origin with two directions of negative curvature."""

    def function(x: np.ndarray) -> Evaluation:
        rest = np.array([0.0, x[1], x[2]])
        hill = 3.0 * np.exp(-(rest @ rest))
        return np.array([x @ x + hill]), (2.0 * x - 2.0 * hill * rest)[None]

    return loop_problem("hill in bowl", function, [1.0, 0.0, 0.0])


def optimum(of: LoopProblem) -> np.ndarray:
    """Return the optimum (d,), refined by SLSQP on the clean function."""
    d = of.start.size
    near = OPTIMA.get(of.name, [1.0] * d if of.name.startswith("rosenbrock") else [0.3] * d)
    equal, at_least, at_most = of.c_lower == of.c_upper, np.isfinite(of.c_lower), np.isfinite(of.c_upper)
    sides = [(equal, of.c_lower, 1.0), (at_least & ~equal, of.c_lower, 1.0), (at_most & ~equal, of.c_upper, -1.0)]
    rules = [_rule("ineq" if number else "eq", of, *side) for number, side in enumerate(sides)]
    found = minimize(
        lambda x: (of.truth(x)[0][0], of.truth(x)[1][0]),
        np.array(near),
        jac=True,
        bounds=list(zip(of.lower, of.upper, strict=True)),
        constraints=[rule for rule, (rows, _, _) in zip(rules, sides, strict=True) if rows.any()],
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 200},
    )
    return np.clip(found.x, of.lower, of.upper)


def _rule(kind: str, of: LoopProblem, rows: np.ndarray, limit: np.ndarray, sign: float) -> dict[str, Any]:
    """Return constraints of SLSQP: sign (c - limit) of some rows is zero or not negative."""
    return {
        "type": kind,
        "fun": lambda x: sign * (of.truth(x)[0][1:] - limit)[rows],
        "jac": lambda x: sign * of.truth(x)[1][1:][rows],
    }
