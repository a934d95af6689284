"""Fifty designs from one surrogate, and the baselines for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cases.airfoil.aerodynamics import N_INPUTS
from cases.airfoil_study.baselines import BaselineRun, Scaling, run_direct, run_warm
from cases.airfoil_study.conditions import Condition, coordinates_of, neighbor_order
from cases.airfoil_study.engine import Design, Engine, Rules
from cases.airfoil_study.problem import AirfoilProblem, drag_of, kkt_of, violation
from gradopt.data.dataset import Dataset
from gradopt.data.sampling import sobol
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Limits, Responses
from gradopt.truth.store import EvaluationStore

DIRECT = WARM = Scaling(0.2, 3.0, 1.0, 1e-6)
"""Scaling with which both baselines take the fewest evaluations on seed 0, and SciPy's own tolerance.

At a tolerance of 1e-4 SLSQP takes two thirds of the evaluations from one start and half of them from the nearest
design, and the drag is 0.1 count higher.
"""

_SPREAD = 0.03  # largest distance of the first samples' weights from the start's, chord fractions; by hand


@dataclass(frozen=True, eq=False)
class FinalDesign:
    """The design for one condition, and its evaluations.

    Attributes:
        condition: Condition of the design.
        responses: Responses of the truth.
        kkt: KKT conditions on the truth.
        violation: Largest scaled violation on the truth.
        evaluations: Truth evaluations for this condition that succeeded.
        predicted_reduction: Last reduction of the merit that the surrogate predicted, as a drag coefficient.
        stopped: Whether that is too little for another evaluation.
    """

    condition: Condition
    responses: Responses
    kkt: KKT
    violation: float
    evaluations: int
    predicted_reduction: float
    stopped: bool

    @property
    def drag(self) -> float:
        """Drag coefficient."""
        return drag_of(self.responses)


@dataclass(frozen=True, eq=False)
class Study:
    """Outcome of the study.

    Attributes:
        problem: Parts that are the same for all conditions.
        designs: Designs, one for each condition.
        engine: Engine with the surrogate and its data.
        samples: Truth evaluations before the first design.
        evaluations: All truth evaluations, with samples and failures.
        stored: Number of them that an earlier run had stored.
        seconds: Wall time, s.
    """

    problem: AirfoilProblem
    designs: tuple[FinalDesign, ...]
    engine: Engine
    samples: int
    evaluations: int
    stored: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Baselines:
    """SLSQP on the truth for the same conditions.

    Attributes:
        direct: Runs from one shape.
        warm: Runs from the design of the nearest condition solved before.
        seconds: Wall time of all, s.
    """

    direct: tuple[BaselineRun, ...]
    warm: tuple[BaselineRun, ...]
    seconds: float


class AirfoilProblems:
    """The problems of all conditions for the engine, with a store for evaluations of the truth."""

    def __init__(self, problem: AirfoilProblem, conditions: Sequence[Condition], store: EvaluationStore) -> None:
        """Evaluate the truth once, for lift and lift slope of the shape at the start.

        Raises:
            EvaluationError: If that evaluation fails.
        """
        self.problem, self.conditions = problem, tuple(conditions)
        self._store = store
        self._known: set[bytes] = set()
        self._points: list[np.ndarray] = []
        found = self.evaluate(problem.first_inputs[None])
        self._y, self._dydx = found.y[0], found.partials[0]

    @property
    def size(self) -> int:
        """Number of conditions."""
        return len(self.conditions)

    @property
    def evaluations(self) -> int:
        """Number of different points evaluated, with failures."""
        return len(self._points)

    def limits(self, index: int) -> Limits:
        """Return the bounds of the problem of a condition."""
        return self.problem.limits(self.conditions[index])

    def start(self, index: int) -> np.ndarray:
        """Return the first design (17,) of a condition without neighbors."""
        return self.problem.start(self.conditions[index], self._y, self._dydx)

    def inputs_at(self, index: int, u: np.ndarray) -> np.ndarray:
        """Return inputs of the truth (18,) at a design (17,)."""
        return self.problem.inputs_at(self.conditions[index], u)

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Return responses from outputs (4,) and partials (4, 18)."""
        return self.problem.responses(u, y, dydx)

    def kkt(self, index: int, responses: Responses) -> KKT:
        """Return the KKT conditions."""
        return kkt_of(responses, self.limits(index))

    def evaluate(self, x: np.ndarray) -> Dataset:
        """Evaluate the truth at points (n, 18); return all points evaluated here, not others in the store."""
        for point in x + 0.0:
            if point.tobytes() not in self._known:
                self._known.add(point.tobytes())
                self._points.append(point)
        found = self._store.evaluate(self.problem.truth, np.array(self._points))
        return found.dataset(self.problem.truth.inputs, self.problem.truth.outputs)

    def samples(self, n: int, seed: int) -> np.ndarray:
        """Return the first points (n, 18) about the shape at the start, each at an angle of attack for some lift.

        Args:
            n: Number of points.
            seed: Seed of the scrambled Sobol sequence.
        """
        weights = self.problem.weights
        inputs = [Variable("w", shape=weights.shape, lower=weights - _SPREAD, upper=weights + _SPREAD)]
        inputs += [Variable("lift", lower=0.3, upper=0.9), Variable("exponent", lower=6.0, upper=7.0)]
        found = sobol(inputs, n, seed)
        slopes, first = self._dydx[0], self.problem.first_inputs
        missing = found[:, N_INPUTS - 1] - self._y[0] - (found[:, : N_INPUTS - 1] - weights) @ slopes[: N_INPUTS - 1]
        found[:, N_INPUTS - 1] = first[N_INPUTS - 1] + missing / slopes[N_INPUTS - 1]
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
        problem: Parts that are the same for all conditions.
        conditions: Conditions, one for each design.
        store: Store of evaluations; a stored point is not evaluated again.
        rules: Settings of the engine.
        samples: Number of points about the shape at the start, evaluated before the first design.
        seed: Seed of these points.
        report: Function called with a line of text after each iteration.

    Returns:
        The study.

    Raises:
        EvaluationError: If the truth failed at every design of a condition.
    """
    clock, before = time.perf_counter(), store.evaluated - store.verified
    problems = AirfoilProblems(problem, conditions, store)

    def report_iteration(begun: int, size: int, evaluations: int) -> None:
        report(f"{begun} of {size} conditions begun, {evaluations} truth evaluations")

    engine = Engine(problems, rules, coordinates_of(conditions), report_iteration)
    designs = engine.solve(neighbor_order(conditions)[0], problems.samples(samples, seed))
    return Study(
        problem=problem,
        designs=tuple(_final(problems, rules, design) for design in designs),
        engine=engine,
        samples=samples + 1,
        evaluations=problems.evaluations,
        stored=max(problems.evaluations - (store.evaluated - store.verified - before), 0),
        seconds=time.perf_counter() - clock,
    )


def _final(problems: AirfoilProblems, rules: Rules, design: Design) -> FinalDesign:
    if design.best is None or design.kkt is None:
        raise EvaluationError(
            f"The truth failed at every design for {problems.conditions[design.index]}. Leave that condition out."
        )
    limits = problems.limits(design.index)
    return FinalDesign(
        condition=problems.conditions[design.index],
        responses=design.best,
        kkt=design.kkt,
        violation=violation(design.best, limits),
        evaluations=design.evaluations,
        predicted_reduction=drag_of(replace(design.best, f=design.predicted_reduction)),
        stopped=design.predicted_reduction < rules.least_reduction,
    )


def run_baselines(problem: AirfoilProblem, conditions: Sequence[Condition], report: Callable[[str], None]) -> Baselines:
    """Run both baselines for all conditions.

    Args:
        problem: Parts that are the same for all conditions.
        conditions: Conditions, one for each design.
        report: Function called with a line of text before each baseline.
    """
    clock = time.perf_counter()
    report("SLSQP on the truth, from one shape")
    direct = run_direct(problem, conditions, DIRECT)
    report("SLSQP on the truth, from the nearest design so far")
    warm = run_warm(problem, conditions, WARM)
    return Baselines(tuple(direct), tuple(warm), time.perf_counter() - clock)
