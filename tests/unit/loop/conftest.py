"""Runs of the loop on flat problems: objective and constraints are outputs of one function of the design variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.samples import Gain
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError
from gradopt.loop.asking import samples_first
from gradopt.loop.learning import guesses, no_partials
from gradopt.loop.refinement import checks, output_weights
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.running import Loop, Watch, run
from gradopt.loop.settings import Settings
from gradopt.loop.state import Stage, State, begin
from gradopt.optimizer.flat_problem import Constraint, FlatProblem, Objective
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Evaluations

Function = Callable[[np.ndarray], Any]
"""Function of u (k,): objective and constraints (1 + p,), or the pair of these and their partials (1 + p, k)."""

FROM = (1.25, -1.75)


def valley(u: np.ndarray, minimum: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function, by default with its minimum at (1, 1)."""
    bend = u[1] - u[0] ** 2
    f = 100.0 * bend**2 + (minimum - u[0]) ** 2
    return np.array([f]), np.array([[-400.0 * u[0] * bend - 2.0 * (minimum - u[0]), 200.0 * bend]])


def valley_in_disk(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function and the squared distance from the origin."""
    f, gradient = valley(u)
    return np.append(f, u @ u), np.vstack([gradient, 2.0 * u])


@dataclass(frozen=True, eq=False)
class Values:
    """Evaluation of a function."""

    y: np.ndarray
    partials: np.ndarray

    def dydx(self) -> np.ndarray:
        """Return the partials (n, m, d)."""
        return self.partials


@dataclass(frozen=True)
class Formula:
    """A function in the place of a fitted surrogate.

    Attributes:
        function: Function that returns values and partials.
        inputs: Design variables.
        outputs: Objective and constraints.
        reach: Absolute value of the design variables up to which the domain extends.
        digest: Identity.
    """

    function: Function
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    reach: float = np.inf
    digest: str = "formula"

    @property
    def lower(self) -> np.ndarray:
        """Lower edge of the domain."""
        return np.full(sum(variable.size for variable in self.inputs), -self.reach)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain."""
        return -self.lower

    def evaluate(self, x: np.ndarray) -> Values:
        """Evaluate points (n, d)."""
        found = [self.function(point) for point in x]
        return Values(np.array([y for y, _ in found]), np.array([dydx for _, dydx in found]))


class FlatRun:
    """A run of the loop on a function, and the points at which that was evaluated.

    Attributes:
        problem: Problem.
        settings: Settings of the loop.
        loop: Run in progress.
        evaluated: Points at which the function was evaluated, in order, those of finite differences among them.
        requests: Requests of the loop.
    """

    def __init__(
        self,
        function: Function = valley,
        start: Sequence[float] | np.ndarray = FROM,
        c_lower: Sequence[float] = (),
        c_upper: Sequence[float] = (),
        fails: Callable[[np.ndarray], bool] | None = None,
        initial: Function | None = None,
        reach: float = np.inf,
        bound: float = 2.0,
        configuration: Any = None,
        initial_samples: np.ndarray | None = None,
        state: State | None = None,
        **settings: Any,
    ) -> None:
        """Begin a run with the design variables between -bound and bound, or go on from a state."""
        k, p = len(start), len(c_lower)
        self.inputs = (Variable("u", shape=(k,), lower=-bound, upper=bound),)
        self.outputs = (Variable("f"), *([Variable("c", shape=(p,))] if p else []))
        constraints = [Constraint("c", lower=np.array(c_lower), upper=np.array(c_upper))] if p else []
        surrogate = None if initial is None else Formula(initial, self.inputs, self.outputs, reach)
        x0, edge = np.array(start, dtype=float), np.full(k, bound)
        self.problem = FlatProblem(
            self.inputs, self.outputs, x0, (-edge, edge), Objective("f"), constraints, None, configuration, surrogate
        )
        self.settings = Settings(**settings)
        self.evaluated: list[np.ndarray] = []
        self.requests: list[Request] = []

        def counted(u: np.ndarray) -> Any:
            self.evaluated.append(u.copy())
            if fails is not None and fails(u):
                raise EvaluationError("no mesh")
            return function(u)

        self._truth = FunctionTruth(counted, self.inputs, self.outputs)
        begun = begin(self.problem, x0, self.settings, initial_samples=initial_samples)
        self.loop = Loop(begun if state is None else state, self.problem, self.settings)

    @property
    def state(self) -> State:
        """State of the run."""
        return self.loop.state

    def run(self, watch: Watch | None = None) -> State:
        """Run to the end."""
        return run(self.loop, self.outcomes, watch)

    def step(self) -> State:
        """Ask, evaluate and tell once."""
        request = self.loop.ask()
        self.loop.tell(request, self.outcomes(request))
        return self.loop.state

    def outcomes(self, request: Request) -> list[Outcome]:
        """Evaluate the points of a request."""
        self.requests.append(request)
        if request.purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
            return [self._finite_differenced(request.purpose)]
        return [self._outcome(u) for u in request.points]

    def _outcome(self, u: np.ndarray) -> Outcome:
        found = self._truth.evaluate(u[None])
        gains = (Gain.of(found),)
        if not found.ok[0]:
            return Outcome(None, found.message[0], gains)
        samples = self.state.samples[0].with_evaluations(found)
        assert samples.data is not None
        return self._of(u, found.y[0], samples.data.partials[samples.row(u)], gains)

    def _finite_differenced(self, purpose: Purpose) -> Outcome:
        samples, row, steps = self.state.samples[0], self.state.iterate.rows[0], self.settings.finite_differences
        plan: FiniteDifferencePlan | CentralDifferencePlan = samples.plan(row, steps)
        if purpose is Purpose.REFINEMENT:
            checked = checks(self.state, self.problem, self.settings)
            plan = samples.refinement(row, steps, output_weights(self.state, self.problem)[0], checked)
        found = []
        while len(plan.points):
            found.append(self._truth.evaluate(plan.points))
            plan = plan.after(found[-1])
        partials, x = plan.partials(), plan.x
        beside = Evaluations.join(found, *partials.shape)
        refined = np.array([purpose is Purpose.REFINEMENT])
        gain = Gain(Evaluations.join([], *partials.shape), beside.x, beside.y, x[None], partials[None], refined)
        outcome = self._of(x, plan.y, partials, (gain,))
        if isinstance(plan, CentralDifferencePlan) and plan.checked:
            assert outcome.responses is not None
            error = np.abs(self.problem.sensitivities) @ plan.errors()
            outcome = replace(outcome, responses=replace(outcome.responses, error=error))
        return outcome

    def _of(self, u: np.ndarray, y: np.ndarray, partials: np.ndarray, gains: tuple[Gain, ...]) -> Outcome:
        sampling = self.state.stage is Stage.START and samples_first(self.state, self.settings)
        (guess,) = no_partials(self.state) if sampling else guesses(self.state, self.problem, self.settings)
        if np.isnan(partials).any():
            partials = np.where(np.isnan(partials), 0.0 if guess is None else guess(u), partials)
        return Outcome(self.problem.responses(u, y, partials), "", gains, (u,), (self.problem.sensitivities,))


def equal_to_the_bit(a: Any, b: Any) -> bool:
    """Whether two values are equal to the bit."""
    if is_dataclass(a):
        return type(a) is type(b) and all(equal_to_the_bit(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal_to_the_bit, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal_to_the_bit(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray | float):
        return np.array_equal(a, b, equal_nan=True)
    return bool(a == b)


def copied(value: Any) -> Any:
    """A copy of a state whose arrays are copies."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: copied(getattr(value, f.name)) for f in fields(value) if f.init})
    if isinstance(value, tuple):
        return tuple(copied(entry) for entry in value)
    return value.copy() if isinstance(value, np.ndarray) else value


@pytest.fixture
def flat() -> Callable[..., FlatRun]:
    """Return a maker of runs, by default of Rosenbrock's function without constraints from (1.25, -1.75)."""
    return FlatRun


@pytest.fixture
def disk() -> Callable[..., FlatRun]:
    """Return a maker of runs of Rosenbrock's function in the unit disk, whose minimum is at (0.7864, 0.6177)."""

    def make(*, c_lower: float = -np.inf, c_upper: float = 1.0, **changes: Any) -> FlatRun:
        return FlatRun(**{"function": valley_in_disk, **changes}, c_lower=[c_lower], c_upper=[c_upper])

    return make


@pytest.fixture
def points() -> Callable[[FlatRun], list[tuple[str, bytes]]]:
    """Return a function that lists purposes and points of the requests of a run."""

    def listed(made: FlatRun) -> list[tuple[str, bytes]]:
        return [(request.purpose.value, request.points.tobytes()) for request in made.requests]

    return listed


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Return a function that compares records to the bit."""
    return equal_to_the_bit


@pytest.fixture
def snapshot() -> Callable[[Any], Any]:
    """Return a function that copies records with their arrays."""
    return copied
