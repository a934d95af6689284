"""SLSQP on the truth itself, the rival of the loop."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import openmdao.api as om

from cases.adaptive import FEASIBLE, Answer, Report, Visit, objective, shown, unknown, violation
from cases.case import AdaptiveCase
from cases.model import SLSQP, get_design, get_responses, pose, run
from gradopt.data.variables import column_bounds
from gradopt.errors import GradoptError
from gradopt.loop.state import Exit
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_evaluator import TruthEvaluator
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Evaluations
from gradopt.truth.store import EvaluationStore


@dataclass(frozen=True)
class Direct:
    """SLSQP on the truth itself, from the same start within the same bounds.

    Attributes:
        visits: Designs at which SLSQP asked for the objective.
        answer: Where it ended.
        evaluations: Truth evaluations, values and partials together, and those of differences.
        failed: How many of them failed.
        success: Whether SLSQP says that it converged.
        best: Best feasible objective on its way; NaN where there is none.
        seconds: Wall time.
    """

    visits: tuple[Visit, ...]
    answer: Answer
    evaluations: int
    failed: int
    success: bool
    best: float
    seconds: float


def run_direct(case: AdaptiveCase, report: Report, most: int | None = None) -> Direct:
    """Run SLSQP on the truth itself, for comparison.

    It has what the loop has: partials that the truth does not know are differenced by the same steps, once it wants
    them, and a line search backs away from where the truth fails.

    Args:
        case: The case.
        report: Told of each design that it tries.
        most: Truth evaluations after which it is stopped, None = it ends by itself.

    Returns:
        The outcome.
    """
    clock = time.perf_counter()
    store = EvaluationStore()
    visits: list[Visit] = []
    first = case.responses[0]
    lowest = np.inf  # feasible objective, as the driver sees it

    def note(problem: om.Problem) -> None:
        nonlocal lowest
        true = get_responses(problem, case)
        evaluations = store.evaluated
        merit = objective(case, true) / first.driver_ref if violation(case, true) <= FEASIBLE else np.inf
        better, lowest = merit < lowest or not visits, min(lowest, merit)
        visits.append(Visit(evaluations, get_design(problem, case), true, unknown(true), better))
        report(f"SLSQP on the truth: {shown(first, objective(case, true))}, {evaluations} evaluations")

        if most is not None and evaluations >= most:
            raise om.AnalysisError("stopped")

    bounds = column_bounds(case.inputs)
    driver = SLSQP(note=note)
    problem = pose(case.model(case.truths), case.inputs, bounds, case.responses, case.start, driver, case.direct_ref)
    for component in problem.model.system_iter(recurse=True, typ=SurrogateComp):
        if component.truth is not None:
            component.evaluate_with(_OnDemand(component.truth, store, finite_differences=case.finite_differences))
    try:
        success = run(problem)
    except om.AnalysisError:
        success = False
    if not visits:
        raise GradoptError(f"The truth of the case {case.name} failed at its start. {Exit.TRUTH_FAILED.advice}")
    best = lowest * first.driver_ref if np.isfinite(lowest) else np.nan
    failed = sum(int((~store.evaluations(truth).ok).sum()) for truth in {id(t): t for t in case.truths}.values())
    last = Answer(get_design(problem, case), get_responses(problem, case))
    return Direct(tuple(visits), last, store.evaluated, failed, success, best, time.perf_counter() - clock)


@dataclass(frozen=True, eq=False)
class _OnDemand(TruthEvaluator):
    """Answers of a truth at one point; partials it does not know are differenced when they are asked for."""

    finite_differences: FiniteDifferences = FiniteDifferences()

    def evaluate(self, x: np.ndarray) -> _Evaluation:
        found = self.store.evaluate(self.truth, x)
        if not found.ok.all():
            raise om.AnalysisError(f"The truth failed at {found.x[0]}: {found.message[0]}")
        return _Evaluation(self, found)


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Values of a truth at one point, and partials on demand."""

    answers: _OnDemand
    found: Evaluations

    @property
    def y(self) -> np.ndarray:
        return self.found.y

    def dydx(self) -> np.ndarray:
        def beside(x: np.ndarray) -> Evaluations:
            return self.answers.store.evaluate(self.answers.truth, x)

        x, y, known = (part[0] for part in (self.found.x, self.found.y, self.found.dydx))
        partials = self.answers.finite_differences.partials(beside, x, y, known, self.answers.inputs)
        return np.nan_to_num(partials)[None]  # what cannot be differenced is 0 to an optimizer
