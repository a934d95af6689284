"""Runs built to mislead the loop: wrong partials, failures, noise, flat, degenerate and infeasible problems.

For `loop.false_certificates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cases.rosenbrock.function import rosenbrock
from gradopt.errors import EvaluationError
from scripts.shared.airfoil_problem import Airfoil
from scripts.shared.loop_problems import (
    Function,
    LoopProblem,
    disk_problem,
    loop_problem,
    rosenbrock_problem,
    sellar_problem,
)

Evaluation = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of the loop.

    Attributes:
        kind: Kind of misleading.
        label: Variant of the kind.
        problem: True problem.
        start: Start (d,).
        truth: Misleading truth, which the loop evaluates.
    """

    kind: str
    label: str
    problem: LoopProblem
    start: np.ndarray
    truth: Function


def trials(quick: bool) -> list[Trial]:
    """Make all trials, or one of each kind."""
    made = [*_problems(), *_failing(), *_noisy(), *_wrong_partials()]
    if quick:
        return list({trial.kind: trial for trial in reversed(made)}.values())
    return [*made, *_airfoils()]


def starts(of: LoopProblem, count: int, about: float | None = None) -> list[np.ndarray]:
    """Draw points within the bounds, or within a distance of the start of the problem."""
    drawn = []
    for seed in range(count):
        rng = np.random.default_rng([of.start.size, seed, 55])
        lower = of.lower if about is None else np.maximum(of.lower, of.start - about)
        upper = of.upper if about is None else np.minimum(of.upper, of.start + about)
        drawn.append(rng.uniform(lower, upper))
    return drawn


def _plain(kind: str, problems: Sequence[LoopProblem], count: int) -> Iterator[Trial]:
    for of in problems:
        for start in starts(of, count):
            yield Trial(kind, of.name, of, start, of.truth)


def _problems() -> Iterator[Trial]:
    """Make trials whose problem misleads while the truth is right."""
    yield from _plain("flat valley", [quartic_valley(), powell(), rosenbrock_problem(2, scale=1e-3)], 8)
    yield from _plain("active equality", [disk_problem(equality=True), hs6(), hs71()], 6)
    twice, on_edge = disk_problem(times=2), disk_problem(radius=2.0**0.5)
    circle_twice = disk_problem(times=2, equality=True)
    yield from _plain("degenerate constraint", [twice, circle_twice, on_edge, cusp()], 4)
    yield from _plain("infeasible", [apart(), too_far(), no_root()], 4)
    saddle = saddle_problem()
    for number, start in enumerate(starts(saddle, 8)):
        yield Trial("maximum or saddle", saddle.name, saddle, start * [1.0, number % 2 * 1e-9], saddle.truth)


def quartic_valley() -> LoopProblem:
    """Make (x1 - x2)^4 with a nearly level floor: 1e-3 (x1 + x2 - 1)^2."""

    def function(x: np.ndarray) -> Evaluation:
        apart, along = x[0] - x[1], x[0] + x[1] - 1.0
        gradient = np.array([4.0 * apart**3 + 2e-3 * along, -4.0 * apart**3 + 2e-3 * along])
        return np.array([apart**4 + 1e-3 * along**2]), gradient[None]

    return loop_problem("quartic valley", function, [1.5, -1.0])


def powell() -> LoopProblem:
    """Make Powell's function, whose second derivatives are singular at its minimum."""

    def function(x: np.ndarray) -> Evaluation:
        a, b, c, d = x
        p, q, r, s = a + 10.0 * b, c - d, b - 2.0 * c, a - d
        gradient = np.array(
            [
                2.0 * p + 40.0 * s**3,
                20.0 * p + 4.0 * r**3,
                10.0 * q - 8.0 * r**3,
                -10.0 * q - 40.0 * s**3,
            ]
        )
        return np.array([p**2 + 5.0 * q**2 + r**4 + 10.0 * s**4]), gradient[None]

    return loop_problem("powell", function, [1.0, -1.0, 0.0, 1.0])


def hs6() -> LoopProblem:
    """Make problem 6 of Hock and Schittkowski: on a parabola."""

    def function(x: np.ndarray) -> Evaluation:
        values = np.array([(1.0 - x[0]) ** 2, 10.0 * (x[1] - x[0] ** 2)])
        return values, np.array([[-2.0 * (1.0 - x[0]), 0.0], [-20.0 * x[0], 10.0]])

    return loop_problem("hs6", function, [-1.2, 1.0], c_lower=[0.0], c_upper=[0.0])


def hs71() -> LoopProblem:
    """Make problem 71 of Hock and Schittkowski: an equality, an inequality and an active bound."""

    def function(x: np.ndarray) -> Evaluation:
        a, b, c, d = x
        values = np.array([a * d * (a + b + c) + c, a * b * c * d, x @ x])
        first = [d * (2.0 * a + b + c), a * d, a * d + 1.0, a * (a + b + c)]
        return values, np.array([first, a * b * c * d / x, 2.0 * x])

    return loop_problem("hs71", function, [1.0, 5.0, 5.0, 1.0], (1.0, 5.0), [25.0, 40.0], [np.inf, 40.0])


def cusp() -> LoopProblem:
    """Make the cusp of Kuhn and Tucker: no multipliers exist at its minimum (1, 0)."""

    def function(x: np.ndarray) -> Evaluation:
        values = np.array([-x[0], x[1] - (1.0 - x[0]) ** 3, x[1]])
        return values, np.array([[-1.0, 0.0], [3.0 * (1.0 - x[0]) ** 2, 1.0], [0.0, 1.0]])

    return loop_problem("cusp", function, [-0.5, 0.5], c_lower=[-np.inf, 0.0], c_upper=[0.0, np.inf])


def apart() -> LoopProblem:
    """Make two constraints, disks without a common point."""

    def function(x: np.ndarray) -> Evaluation:
        f, gradient = rosenbrock(x)
        rows = 2.0 * np.array([x - [1.5, 0.0], x + [1.5, 0.0]])
        return np.append(f, (rows**2).sum(axis=1) / 4.0), np.vstack([gradient, rows])

    return loop_problem("disks apart", function, [0.0, 0.5], c_lower=[-np.inf] * 2, c_upper=[1.0] * 2)


def too_far() -> LoopProblem:
    """Make a constraint that no point within the bounds satisfies."""

    def function(x: np.ndarray) -> Evaluation:
        f, gradient = rosenbrock(x)
        return np.append(f, x.sum()), np.vstack([gradient, np.ones_like(x)])

    return loop_problem("out of bounds", function, [0.0, 0.0], c_lower=[4.5], c_upper=[np.inf])


def no_root() -> LoopProblem:
    """Make an equality without a root: x1^2 + x2^2 = -0.01."""

    def function(x: np.ndarray) -> Evaluation:
        f, gradient = rosenbrock(x)
        return np.append(f, x @ x), np.vstack([gradient, 2.0 * x])

    return loop_problem("no root", function, [0.5, 0.5], c_lower=[-0.01], c_upper=[-0.01])


def saddle_problem() -> LoopProblem:
    """Make x1^2 - x2^2 + x2^4 / 4: a saddle at the origin, minima at x2 = +-sqrt(2)."""

    def function(x: np.ndarray) -> Evaluation:
        value = x[0] ** 2 - x[1] ** 2 + 0.25 * x[1] ** 4
        return np.array([value]), np.array([[2.0 * x[0], -2.0 * x[1] + x[1] ** 3]])

    return loop_problem("saddle", function, [1.0, 0.0])


def _failing() -> Iterator[Trial]:
    """Make trials whose truth fails near the optimum or on the way."""
    for of in (rosenbrock_problem(2), disk_problem(), rosenbrock_problem(5)):
        for number, start in enumerate(starts(of, 6)):
            for label, raises in (("NaN", False), ("raises", True)):
                if (number % 2 == 0) == raises:
                    yield Trial("failing region", label, of, start, failing(of.truth, number / 5.0, raises))


def failing(function: Function, edge: float, raises: bool) -> Function:
    """Make a truth fail between two planes on the way to (1, ..., 1), and beyond a third behind it."""

    def wrapped(x: np.ndarray) -> Evaluation:
        y, dydx = function(x)
        if abs(x.sum() / x.size - 0.5 * edge) < 0.03 or x[0] > 1.0 + 1e-3 + 0.1 * edge:
            if raises:
                raise EvaluationError("The truth failed here.")
            return np.full_like(y, np.nan), dydx
        return y, dydx

    return wrapped


def _noisy() -> Iterator[Trial]:
    for of in (rosenbrock_problem(2), disk_problem()):
        for size in (1e-6, 1e-3):
            for seed, start in enumerate(starts(of, 4)):
                label = f"values, {size:g}"
                yield Trial("noise", label, of, start, noisy(of.truth, size, 0.0, seed))
                if seed < 1:
                    label = f"values and partials, {size:g}"
                    yield Trial("noise", label, of, start, noisy(of.truth, size, size, seed))


def noisy(function: Function, values: float, partials: float, seed: int) -> Function:
    """Add normal noise."""
    rng = np.random.default_rng(seed)

    def wrapped(x: np.ndarray) -> Evaluation:
        y, dydx = function(x)
        return y + values * rng.normal(size=y.shape), dydx + partials * rng.normal(size=dydx.shape)

    return wrapped


WRONG = {"sign flipped": -1.0, "entry zero": 0.0, "entry times 1.1": 1.1}
"""Factors on the partial of the first output with respect to the last input, which make that partial wrong."""


def _wrong_partials() -> Iterator[Trial]:
    problems = [(rosenbrock_problem(2), None), (disk_problem(), None), (hs71(), None), (sellar_problem(), 0.5)]
    for label in (*WRONG, "all times 1.1", "stale"):
        for of, about in problems:
            for start in starts(of, 4, about):
                function = stale(of.truth) if label == "stale" else wrong(of.truth, label)
                yield Trial("wrong partials", f"{label}: {of.name}", of, start, function)


def wrong(function: Function, label: str) -> Function:
    """Make one partial wrong by a factor of `WRONG`, or all of them by 1.1."""

    def wrapped(x: np.ndarray) -> Evaluation:
        y, dydx = function(x)
        if label == "all times 1.1":
            return y, 1.1 * dydx
        spoiled = dydx.copy()
        spoiled[0, -1] *= WRONG[label]
        return y, spoiled

    return wrapped


def stale(function: Function) -> Function:
    """Return the partials of the point evaluated before."""
    before: list[np.ndarray] = []

    def wrapped(x: np.ndarray) -> Evaluation:
        y, dydx = function(x)
        before.append(dydx)
        return y, before[-2 if len(before) > 1 else -1]

    return wrapped


def _airfoils() -> Iterator[Trial]:
    of = Airfoil("naca0012").problem()
    for label in ("sign flipped", "all times 1.1"):
        yield Trial("wrong partials", f"{label}: airfoil", of, of.start, wrong(of.truth, label))
    yield Trial("wrong partials", "stale: airfoil", of, of.start, stale(of.truth))
    yield Trial("noise", "values, 1e-06: airfoil", of, of.start, noisy(of.truth, 1e-6, 0.0, 0))
