"""SLSQP on the truth itself: the baseline against which the adaptive loop is compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.om.component import SurrogateComp
from gradopt.om.quantities import Quantities
from gradopt.om.truth_evaluator import TruthEvaluator
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.truth.store import EvaluationStore

FEASIBLE = 1e-4
"""Largest violation of a feasible design where runs are compared, in the driver's scaling; by hand: looser than a
certificate's tolerance, so that designs before the end of a run count."""

_WORSE = 10.0
"""Increase of the objective that a line search sees at a failed point, in units of the last objective (at least 1 in
the driver's scaling); by hand: enough that SLSQP shortens the step, whatever its penalties."""


@dataclass(frozen=True, eq=False)
class BaselineVisit:
    """A design at which SLSQP evaluated the objective, in the driver's scaling.

    Attributes:
        evaluations: Truth evaluations spent up to this design, those of finite differences included.
        u: Design variables (k,).
        objective: Objective of the truth.
        constraints: Constraints of the truth (p,).
        violation: Largest distance of a constraint beyond its bound, 0 where all are met.
    """

    evaluations: int
    u: np.ndarray
    objective: float
    constraints: np.ndarray
    violation: float


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """Outcome of SLSQP on the truth.

    Attributes:
        visits: Designs at which SLSQP evaluated the objective, in order; failed ones are not among them.
        best: Visit of the least feasible objective, None where no visit is feasible.
        evaluations: Distinct points at which a truth was evaluated; values and partials of a point count once, each
            step of a finite difference counts one, failed points count.
        failed: Number of them that failed.
        converged: Whether SLSQP reports convergence.
        seconds: Wall time in s.
    """

    visits: tuple[BaselineVisit, ...]
    best: BaselineVisit | None
    evaluations: int
    failed: int
    converged: bool
    seconds: float


class FailureTolerantSLSQP(private.SurvivingSLSQP):
    """SciPy's SLSQP whose line search steps back from designs at which the model raises `AnalysisError`.

    The first design has to succeed. At a failed design the line search sees an objective much worse than the last one.
    """

    def __init__(
        self, tolerance: float = 1e-8, callback: Callable[[om.Problem], object] = lambda problem: None
    ) -> None:
        """Make the driver.

        Args:
            tolerance: Tolerance of SLSQP on the scaled objective.
            callback: Function that is called with the problem after each successful run of the model.
        """
        super().__init__(callback, _WORSE, tol=tolerance, maxiter=500, disp=False)


def run_slsqp_on_truth(
    problem: om.Problem,
    *,
    max_evaluations: int | None = None,
    tolerance: float = 1e-8,
    feasibility_tolerance: float = FEASIBLE,
    finite_differences: FiniteDifferences | None = None,
    store: EvaluationStore | None = None,
    callback: Callable[[BaselineVisit], object] | None = None,
) -> BaselineResult:
    """Run SLSQP on the truth of every `SurrogateComp(truth=...)` of a problem.

    SLSQP has what the adaptive loop has: partials that a truth does not return are finite-differenced by the same
    steps, where SLSQP needs a gradient, and a line search steps back from where the truth fails.

    Build a problem for this run alone: its driver is replaced, and it is left where SLSQP ended.

    Args:
        problem: Problem that is set up, with its initial design.
        max_evaluations: Truth evaluations after which the run is stopped, at the next design; None = no limit.
        tolerance: Tolerance of SLSQP on the scaled objective.
        feasibility_tolerance: Largest violation of a feasible visit, in the driver's scaling.
        finite_differences: Steps for partials that a truth does not return; None = `FiniteDifferences()`.
        store: Store of the evaluations; None = in memory. Points that the store holds already are not evaluated again
            but count.
        callback: Function that is called with each visit; the run stops where it returns True.

    Returns:
        Visits, counts and the best feasible visit.

    Raises:
        InputError: If no component of the problem has a truth.
        EvaluationError: If the truth fails at the initial design.
    """
    clock = time.perf_counter()
    components = [
        comp
        for comp in problem.model.system_iter(include_self=True, recurse=True, typ=SurrogateComp)
        if comp.truth is not None
    ]
    if not components:
        remedy = "Put SurrogateComp(truth=...) in the place of the expensive component, and call problem.setup()."
        raise InputError(explain("problem.model", "hold a SurrogateComp with a truth", "none", remedy))
    counter = _Counter()
    kept = EvaluationStore() if store is None else store
    steps = FiniteDifferences() if finite_differences is None else finite_differences
    for component in components:
        component.evaluate_with(_OnDemand(component.truth, kept, finite_differences=steps, counter=counter))
    visits: list[BaselineVisit] = []

    def note(problem: om.Problem) -> None:
        visits.append(_visit(problem, counter.evaluations))
        stopped = callback is not None and callback(visits[-1]) is True
        if stopped or (max_evaluations is not None and counter.evaluations >= max_evaluations):
            raise _Stopped

    problem.driver = FailureTolerantSLSQP(tolerance, note)
    try:
        converged = bool(problem.run_driver().success)
    except _Stopped:
        converged = False
    except om.AnalysisError as failed:
        if not visits:
            raise EvaluationError(f"The truth failed at the initial design. {failed}") from failed
        converged = False
    feasible = [visit for visit in visits if visit.violation <= feasibility_tolerance]
    return BaselineResult(
        visits=tuple(visits),
        best=min(feasible, key=lambda visit: visit.objective, default=None),
        evaluations=counter.evaluations,
        failed=counter.failed,
        converged=converged,
        seconds=time.perf_counter() - clock,
    )


class _Stopped(Exception):
    """The limit of evaluations is reached, or the callback stopped the run."""


class _Counter:
    """Distinct points at which truths were evaluated; truths of one identity count as one."""

    def __init__(self) -> None:
        self._ok: dict[tuple[object, tuple[float, ...]], bool] = {}

    @property
    def evaluations(self) -> int:
        return len(self._ok)

    @property
    def failed(self) -> int:
        return sum(not ok for ok in self._ok.values())

    def add(self, truth: Truth, found: Evaluations) -> None:
        owner = truth.identity or id(truth)
        self._ok.update({(owner, tuple(x.tolist())): bool(ok) for x, ok in zip(found.x, found.ok, strict=True)})


def _visit(problem: om.Problem, evaluations: int) -> BaselineVisit:
    driver = problem.driver
    design = Quantities(problem, "design_var", private.design_variables(driver))
    objective = Quantities(problem, "objective", private.objectives(driver))
    constraints = Quantities(problem, "constraint", private.constraints(driver))
    beyond = np.maximum(constraints.lower - constraints.value, constraints.value - constraints.upper)
    violation = float(np.max(beyond, initial=0.0))
    return BaselineVisit(evaluations, design.value, float(objective.value[0]), constraints.value, violation)


@dataclass(frozen=True, eq=False)
class _OnDemand(TruthEvaluator):
    """A truth at one point; partials that it does not return are finite-differenced where they are needed."""

    finite_differences: FiniteDifferences = FiniteDifferences()
    counter: _Counter | None = None

    def counted(self, x: np.ndarray) -> Evaluations:
        found = self.store.evaluate(self.truth, x)
        if self.counter is not None:
            self.counter.add(self.truth, found)
        return found

    def evaluate(self, x: np.ndarray) -> _Evaluation:
        found = self.counted(x)
        if not found.ok.all():
            raise om.AnalysisError(f"The truth failed at {found.x[0]}: {found.message[0]}")
        return _Evaluation(self, found)


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Values of a truth at one point, and partials on demand."""

    evaluator: _OnDemand
    found: Evaluations

    @property
    def y(self) -> np.ndarray:
        return self.found.y

    def dydx(self) -> np.ndarray:
        evaluator = self.evaluator
        x, y, known = (part[0] for part in (self.found.x, self.found.y, self.found.dydx))
        partials = evaluator.finite_differences.partials(evaluator.counted, x, y, known, evaluator.inputs)
        return np.nan_to_num(partials)[None]  # 0 where no step gives a difference
