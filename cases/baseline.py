"""A case by SLSQP on the truth itself, to compare with the loop."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from cases.adaptive_case import AdaptiveCase, FinalDesign, Report, Visit, objective, shown, unknown, violation
from cases.model import get_design, get_responses, newton_is_meant, pose
from gradopt.data.variables import column_bounds
from gradopt.errors import EvaluationError, GradoptError
from gradopt.loop.state import Exit
from gradopt.om.baseline import FEASIBLE, BaselineVisit, FailureTolerantSLSQP, run_slsqp_on_truth


@dataclass(frozen=True)
class CaseBaseline:
    """Outcome of SLSQP on the truth itself, from the same start within the same bounds as the loop.

    Attributes:
        visits: Designs at which SLSQP evaluated the objective; `accepted` marks those better than all before.
        final: Design at which SLSQP ended.
        evaluations: Truth evaluations, values and partials together, and those of finite differences.
        failed: Number of evaluations that failed.
        success: Whether SLSQP reports convergence.
        best: Best feasible objective of all visits; NaN where no visit is feasible.
        seconds: Wall time in s.
    """

    visits: tuple[Visit, ...]
    final: FinalDesign
    evaluations: int
    failed: int
    success: bool
    best: float
    seconds: float


def run_baseline(case: AdaptiveCase, report: Report, most: int | None = None) -> CaseBaseline:
    """Run SLSQP on the truth of a case, see `gradopt.om.baseline.run_slsqp_on_truth`.

    Args:
        case: The case.
        report: Receives a line on each visit.
        most: Truth evaluations after which the run is stopped, None = no limit.

    Returns:
        The outcome.

    Raises:
        GradoptError: If the truth fails at the start.
    """
    clock = time.perf_counter()
    visits: list[Visit] = []
    first = case.responses[0]
    lowest = np.inf  # feasible objective in the driver's scaling

    def note(one: BaselineVisit) -> None:
        nonlocal lowest
        true = get_responses(problem, case)
        value = objective(case, true) / first.driver_ref if violation(case, true) <= FEASIBLE else np.inf
        better, lowest = value < lowest or not visits, min(lowest, value)
        visits.append(Visit(one.evaluations, get_design(problem, case), true, unknown(true), better))
        report(f"SLSQP on the truth: {shown(first, objective(case, true))}, {one.evaluations} evaluations")

    model, bounds = case.model(case.truths), column_bounds(case.inputs)
    problem = pose(model, case.inputs, bounds, case.responses, case.start, FailureTolerantSLSQP(), case.baseline_ref)
    try:
        with newton_is_meant():
            result = run_slsqp_on_truth(
                problem, max_evaluations=most, finite_differences=case.finite_differences, callback=note
            )
    except EvaluationError as failed:
        message = f"The truth of the case {case.name} failed at its start. {Exit.TRUTH_FAILED.advice}"
        raise GradoptError(message) from failed
    return CaseBaseline(
        visits=tuple(visits),
        final=FinalDesign(get_design(problem, case), get_responses(problem, case)),
        evaluations=result.evaluations,
        failed=result.failed,
        success=result.converged,
        best=lowest * first.driver_ref if np.isfinite(lowest) else np.nan,
        seconds=time.perf_counter() - clock,
    )
