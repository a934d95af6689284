"""Problems with a cheap truth model, and the loop on them; for `loop` and `shared.airfoil_problem`.

The *truth model*, short truth, is what an adaptive component evaluates. A `LoopProblem` is min f(x) with lower <= x <=
upper and c_lower <= c(x) <= c_upper, scaled by the driver. The truth is all of f and c, or one discipline of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import openmdao.api as om

from cases.rosenbrock.function import rosenbrock
from gradopt import AdaptiveDriver, FunctionTruth, SurrogateComp, Variable

Function = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x (d,) -> y (m,) and dydx (m, d)."""


class Counted:
    """A function that keeps its evaluations in order; a repeated point is evaluated and counted once.

    Attributes:
        function: The function.
        points: Evaluations x (d,), y (m,) and dydx (m, d), by the bytes of x.
    """

    def __init__(self, function: Function) -> None:
        """Wrap a function."""
        self.function = function
        self.points: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at x (d,), or return the earlier evaluation."""
        key = (x + 0.0).tobytes()
        if key not in self.points:
            self.points[key] = (x.copy(), *self.function(x))
        return self.points[key][1:]

    def __len__(self) -> int:
        """Return the number of different points."""
        return len(self.points)

    def first(self, reached: Callable[[np.ndarray, np.ndarray, np.ndarray], bool]) -> int | None:
        """Return the number of the first evaluation, from 1, whose x, y and dydx satisfy `reached`; or None."""
        return next((n for n, point in enumerate(self.points.values(), 1) if reached(*point)), None)


@dataclass(frozen=True, eq=False)
class LoopProblem:
    """One problem for the loop.

    Attributes:
        name: Name in tables.
        truth: Truth model.
        inputs: Inputs of the truth.
        outputs: Outputs of the truth.
        responses: Function from the design variables x (d,) to objective and constraints (1 + m,), scaled by the
            driver, computed without OpenMDAO, surrogates and partials.
        lower: Lower bounds of the design variables (d,).
        upper: Upper bounds of the design variables (d,).
        c_lower: Lower bounds of the constraints (m,), scaled by the driver.
        c_upper: Upper bounds of the constraints (m,), scaled by the driver.
        start: Start (d,).
        declare: Function that adds the other components, design variables, objective and constraints to a group
            that holds the component of the truth.
        split: Names of the design variables and number of entries of x of each.
    """

    name: str
    truth: Function
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    responses: Callable[[np.ndarray], np.ndarray]
    lower: np.ndarray
    upper: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray
    start: np.ndarray
    declare: Callable[[om.Group], None]
    split: tuple[tuple[str, int], ...]

    def loop(
        self,
        driver: AdaptiveDriver,
        start: np.ndarray | None = None,
        truth: Function | None = None,
        failures: Sequence[type[Exception]] = (),
    ) -> om.Problem:
        """Set up the loop on the problem.

        Args:
            driver: Driver, with its settings.
            start: Start (d,) instead of that of the problem.
            truth: Truth instead of that of the problem.
            failures: Exceptions of a failed evaluation.

        Returns:
            The OpenMDAO problem, at its start.
        """
        problem = om.Problem(reports=None)
        evaluated = FunctionTruth(
            self.truth if truth is None else truth, self.inputs, self.outputs, failures, identity=self.name
        )
        model = problem.model.add_subsystem("model", om.Group(), promotes=["*"])
        model.add_subsystem("truth", SurrogateComp(truth=evaluated), promotes=["*"])
        self.declare(model)
        problem.driver = driver
        problem.setup()
        offset, x = 0, self.start if start is None else start
        for name, size in self.split:
            problem.set_val(name, x[offset : offset + size])
            offset += size
        return problem

    def design_of(self, problem: om.Problem) -> np.ndarray:
        """Return the design variables x (d,) of an OpenMDAO problem."""
        return np.concatenate([np.ravel(problem.get_val(name)) for name, _ in self.split])


def loop_problem(
    name: str,
    function: Function,
    start: Sequence[float],
    bounds: tuple[float, float] = (-2.0, 2.0),
    c_lower: Sequence[float] = (),
    c_upper: Sequence[float] = (),
) -> LoopProblem:
    """Make a problem whose truth is f and all c together, with the same bounds for every entry of x."""
    x, low, high = np.array(start, dtype=float), np.array(c_lower, dtype=float), np.array(c_upper, dtype=float)
    d, m = x.size, low.size
    lower, upper = np.full(d, bounds[0]), np.full(d, bounds[1])

    def declare(model: om.Group) -> None:
        model.add_design_var("x", lower=lower, upper=upper)
        model.add_objective("f")
        for k in range(m):
            limits = {"lower": low[k], "upper": high[k]}
            finite = {side: limit for side, limit in limits.items() if np.isfinite(limit)}
            model.add_constraint(f"c{k}", **({"equals": low[k]} if low[k] == high[k] else finite))

    outputs = (Variable("f"), *(Variable(f"c{k}") for k in range(m)))
    inputs = (Variable("x", (d,), lower=lower, upper=upper),)
    values = lambda at: function(at)[0]  # noqa: E731
    return LoopProblem(name, function, inputs, outputs, values, lower, upper, low, high, x, declare, (("x", d),))


def rosenbrock_problem(d: int, start: Sequence[float] | None = None, scale: float = 1.0) -> LoopProblem:
    """Make Rosenbrock's function within [-2, 2]^d, times a scale."""

    def scaled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, gradient = rosenbrock(x)
        return scale * f, scale * gradient

    name = f"rosenbrock_{d}" + ("" if scale == 1.0 else f" times {scale:g}")
    return loop_problem(name, scaled, start if start is not None else list(np.resize([1.25, -1.75], d)))


def disk_problem(radius: float = 1.0, times: int = 1, equality: bool = False) -> LoopProblem:
    """Make Rosenbrock's function in a disk, or on its edge, the constraint declared `times` times."""

    def function(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, gradient = rosenbrock(x)
        return np.append(f, np.full(times, x @ x)), np.vstack([gradient, *[2.0 * x] * times])

    high = np.full(times, radius**2)
    low = high if equality else np.full(times, -np.inf)
    name = f"{'circle' if equality else 'disk'} of {radius:g}" + (f", {times} times" if times > 1 else "")
    return loop_problem(name, function, [-0.5, 0.5], c_lower=list(low), c_upper=list(high))


def sellar_problem() -> LoopProblem:
    """Make Sellar's problem with its first discipline as the truth."""

    def first(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z1, z2, own, y2 = x
        return np.array([z1**2 + z2 + own - 0.2 * y2]), np.array([[2.0 * z1, 1.0, 1.0, -0.2]])

    def responses(x: np.ndarray) -> np.ndarray:
        own, z1, z2 = x
        root = 1.0  # of y1, by Newton's method on y1 + 0.2 y2(y1) = z1^2 + z2 + x
        for _ in range(60):
            gap = root**2 + 0.2 * (root + z1 + z2) - (z1**2 + z2 + own)
            root -= gap / (2.0 * root + 0.2)
        y1, y2 = root**2, root + z1 + z2
        return np.array([own**2 + z2 + y1 + np.exp(-y2), 3.16 - y1, y2 - 24.0])

    def declare(model: om.Group) -> None:
        model.add_subsystem(
            "other", om.ExecComp("y2 = abs(y1)**0.5 + z[0] + z[1]", z=np.zeros(2), y1=1.0), promotes=["*"]
        )
        objective = om.ExecComp("obj = x**2 + z[1] + y1 + exp(-y2)", z=np.zeros(2))
        model.add_subsystem("objective", objective, promotes=["*"])
        model.add_subsystem("limits", om.ExecComp(["con1 = 3.16 - y1", "con2 = y2 - 24.0"]), promotes=["*"])
        model.nonlinear_solver = om.NonlinearBlockGS(iprint=-1, rtol=1e-12, atol=1e-12, maxiter=60)
        model.linear_solver = om.DirectSolver()
        model.add_design_var("x", lower=0.0, upper=10.0)
        model.add_design_var("z", lower=[-10.0, 0.0], upper=[10.0, 10.0])
        model.add_objective("obj")
        model.add_constraint("con1", upper=0.0)
        model.add_constraint("con2", upper=0.0)
        model.set_input_defaults("z", np.array([5.0, 2.0]))
        model.set_input_defaults("x", 1.0)

    inputs = (Variable("z", (2,)), Variable("x"), Variable("y2"))
    lower, upper = np.array([0.0, -10.0, 0.0]), np.array([10.0, 10.0, 10.0])
    free, upper_limits, start = np.full(2, -np.inf), np.zeros(2), np.array([1.0, 5.0, 2.0])
    split = (("x", 1), ("z", 2))
    return LoopProblem(
        "sellar", first, inputs, (Variable("y1"),), responses, lower, upper, free, upper_limits, start, declare, split
    )
