"""Fifty designs from one surrogate, and the evaluations of SLSQP for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cases.airfoil.aerodynamics import N_INPUTS
from cases.airfoil_study.conditions import Condition, coordinates_of, neighbor_order
from cases.airfoil_study.family import Engine, Member, Rules
from cases.airfoil_study.problem import AirfoilProblem, conditions_of, drag_of, violation
from cases.airfoil_study.rivals import RivalRun, Scaling, run_direct, run_warm
from gradopt.data.dataset import Dataset
from gradopt.data.sampling import sobol
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses
from gradopt.truth.store import EvaluationStore

DIRECT = WARM = Scaling(0.2, 3.0, 1.0, 1e-6)
"""Scaling with the fewest evaluations of both baselines on seed 0, and SciPy's own tolerance.

At 1e-4 direct SLSQP takes two thirds of the evaluations, warm-started SLSQP half, and both leave 0.1 count.
"""

_SPREAD = 0.03  # half width of the weights of the first samples, chord fractions; by hand


@dataclass(frozen=True, eq=False)
class Design:
    """The design for one condition.

    Attributes:
        condition: Its condition.
        responses: Responses of the truth.
        kkt: Optimality conditions on the truth.
        violation: Largest scaled violation on the truth.
        asked: Truth evaluations for this condition.
        promised: Last predicted reduction of the drag coefficient.
        resting: Whether that is below the limit for another evaluation.
    """

    condition: Condition
    responses: Responses
    kkt: KKT
    violation: float
    asked: int
    promised: float
    resting: bool

    @property
    def drag(self) -> float:
        """Drag coefficient."""
        return drag_of(self.responses)


@dataclass(frozen=True, eq=False)
class Study:
    """Outcome of the study.

    Attributes:
        problem: The part that all conditions share.
        designs: One for each condition.
        engine: The engine with the surrogate and all samples.
        samples: Truth evaluations before the first design.
        evaluations: Truth evaluations, samples and failed ones included.
        stored: Number of them that came from the store of an earlier run.
        seconds: Wall time in s.
    """

    problem: AirfoilProblem
    designs: tuple[Design, ...]
    engine: Engine
    samples: int
    evaluations: int
    stored: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Rivals:
    """SLSQP on the truth for the same conditions.

    Attributes:
        direct: Runs from the same shape.
        warm: Runs from the nearest condition solved before.
        seconds: Wall time of both in s.
    """

    direct: tuple[RivalRun, ...]
    warm: tuple[RivalRun, ...]
    seconds: float


class AirfoilFamily:
    """The conditions for the engine; evaluations of the truth go through a store."""

    def __init__(self, problem: AirfoilProblem, conditions: Sequence[Condition], store: EvaluationStore) -> None:
        """Evaluate lift and lift slope at the start shape.

        Raises:
            EvaluationError: If the truth fails there.
        """
        self.problem, self.conditions_asked = problem, tuple(conditions)
        self._store = store
        self._asked: dict[bytes, int] = {}
        self._points: list[np.ndarray] = []
        found = self.ask(problem.probe[None])
        self._y, self._dydx = found.y[0], found.partials[0]

    @property
    def size(self) -> int:
        """Number of conditions."""
        return len(self.conditions_asked)

    @property
    def evaluations(self) -> int:
        """Number of distinct points evaluated, failed ones too."""
        return len(self._points)

    def limits(self, member: int) -> Limits:
        """Bounds of a condition's problem."""
        return self.problem.limits(self.conditions_asked[member])

    def start(self, member: int) -> np.ndarray:
        """The start shape at an angle of attack for the condition's lift (17,)."""
        return self.problem.start(self.conditions_asked[member], self._y, self._dydx)

    def inputs_at(self, member: int, u: np.ndarray) -> np.ndarray:
        """Inputs of the truth (18,) at a design (17,)."""
        return self.problem.inputs_at(self.conditions_asked[member], u)

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Responses from outputs (4,) and partials (4, 18)."""
        return self.problem.responses(u, y, dydx)

    def conditions(self, member: int, responses: Responses) -> KKT:
        """Optimality conditions."""
        return conditions_of(responses, self.limits(member))

    def ask(self, x: np.ndarray) -> Dataset:
        """Evaluate the truth at points (n, 18); return the samples of this run, not others of the store."""
        for point in x + 0.0:
            if point.tobytes() not in self._asked:
                self._asked[point.tobytes()] = len(self._points)
                self._points.append(point)
        found = self._store.evaluate(self.problem.truth, np.array(self._points))
        return found.dataset(self.problem.truth.inputs, self.problem.truth.outputs)

    def samples(self, n: int, seed: int) -> np.ndarray:
        """Spread the first points (n, 18) about the start shape, each at an angle for some lift.

        Args:
            n: Number of points.
            seed: Seed of the scrambled Sobol sequence.
        """
        weights = self.problem.weights
        inputs = [Variable("w", shape=weights.shape, lower=weights - _SPREAD, upper=weights + _SPREAD)]
        inputs += [Variable("lift", lower=0.3, upper=0.9), Variable("exponent", lower=6.0, upper=7.0)]
        found = sobol(inputs, n, seed)
        slopes, probe = self._dydx[0], self.problem.probe
        missing = found[:, N_INPUTS - 1] - self._y[0] - (found[:, : N_INPUTS - 1] - weights) @ slopes[: N_INPUTS - 1]
        found[:, N_INPUTS - 1] = probe[N_INPUTS - 1] + missing / slopes[N_INPUTS - 1]
        return found


def run_study(
    problem: AirfoilProblem,
    conditions: Sequence[Condition],
    store: EvaluationStore,
    rules: Rules,
    samples: int,
    seed: int,
    report: Callable[[str], None],
) -> Study:
    """Design an airfoil for each condition on one surrogate.

    Args:
        problem: The part that all conditions share.
        conditions: The conditions.
        store: Evaluations of earlier runs, which are not repeated; those of this run are added.
        rules: Settings of the engine.
        samples: Points spread about the start shape before the first design.
        seed: Seed of these.
        report: Function that receives a line on each iteration.

    Returns:
        The outcome.

    Raises:
        EvaluationError: If the truth failed at every design of a condition.
    """
    clock, before = time.perf_counter(), store.evaluated
    family = AirfoilFamily(problem, conditions, store)

    def show(started: int, size: int, evaluations: int) -> None:
        report(f"{started} of {size} conditions begun, {evaluations} truth evaluations")

    engine = Engine(family, rules, coordinates_of(conditions), show)
    members = engine.solve(neighbor_order(conditions)[0], family.samples(samples, seed))
    return Study(
        problem=problem,
        designs=tuple(_design(family, rules, member) for member in members),
        engine=engine,
        samples=samples + 1,
        evaluations=family.evaluations,
        stored=max(family.evaluations - (store.evaluated - before), 0),
        seconds=time.perf_counter() - clock,
    )


def _design(family: AirfoilFamily, rules: Rules, member: Member) -> Design:
    if member.best is None or member.kkt is None:
        raise EvaluationError(
            f"The truth failed at every design for {family.conditions_asked[member.index]}. Leave that condition out."
        )
    limits = family.limits(member.index)
    return Design(
        condition=family.conditions_asked[member.index],
        responses=member.best,
        kkt=member.kkt,
        violation=violation(member.best, limits),
        asked=member.asked,
        promised=drag_of(replace(member.best, f=member.promised)),
        resting=member.promised < rules.gain,
    )


def run_rivals(problem: AirfoilProblem, conditions: Sequence[Condition], report: Callable[[str], None]) -> Rivals:
    """Run both baselines for all conditions.

    Args:
        problem: The part that all conditions share.
        conditions: The conditions.
        report: Function that receives a line on each.
    """
    clock = time.perf_counter()
    report("SLSQP on the truth, from the same shape each")
    direct = run_direct(problem, conditions, DIRECT)
    report("SLSQP on the truth, from the nearest condition solved before")
    warm = run_warm(problem, conditions, WARM)
    return Rivals(tuple(direct), tuple(warm), time.perf_counter() - clock)
