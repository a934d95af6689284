"""Run a case by the adaptive loop."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from cases.adaptive_case import AdaptiveCase, AdaptiveResult, FinalDesign, Report, Values, Visit, shown
from cases.case import Response
from cases.model import get_design, get_responses, pose, run
from gradopt.data.variables import column_bounds
from gradopt.errors import GradoptError
from gradopt.loop.state import Exit, Iteration
from gradopt.om.driver import AdaptiveDriver
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.truth.parallel import ParallelTruth
from gradopt.truth.store import EvaluationStore


def run_adaptive(case: AdaptiveCase, seed: int, store: EvaluationStore, report: Report) -> AdaptiveResult:
    """Optimize a case by the adaptive loop.

    Args:
        case: The case.
        seed: Seed of the networks.
        store: Evaluations of earlier runs, which are not repeated; those of this run are added.
        report: Receives a line on each iteration.

    Returns:
        The outcome.

    Raises:
        GradoptError: If the truth fails at the start.
    """
    clock, before = time.perf_counter(), store.evaluated - store.verified
    configuration = None if case.configuration is None else replace(case.configuration, seed=seed)

    def show(last: Iteration) -> None:
        value = shown(case.responses[0], last.objective * case.responses[0].driver_ref)
        report(f"iteration {last.number}: {value}, {last.evaluations} evaluations")

    driver = AdaptiveDriver(
        store=store,
        configuration=configuration,
        callback=show,
        max_evaluations=case.max_evaluations,
        batch=case.workers,
        tolerance=case.tolerance,
        finite_differences=case.finite_differences,
        seed=seed,
    )
    with ExitStack() as processes:
        truths = case.truths
        if case.workers > 1:
            truths = tuple(processes.enter_context(ParallelTruth(truth, case.workers)) for truth in truths)
        problem = pose(case.model(truths), case.inputs, column_bounds(case.inputs), case.responses, case.start, driver)
        report("iteration 0: the truth at the start")
        run(problem)
    if driver.exit is None or driver.certificate is None:
        raise GradoptError(f"The truth of the case {case.name} failed at its start. {Exit.TRUTH_FAILED.advice}")
    return AdaptiveResult(
        case=case,
        seed=seed,
        visits=tuple(_visit(case, one) for one in driver.history),
        iterations=driver.history,
        final=FinalDesign(get_design(problem, case), get_responses(problem, case)),
        exit=driver.exit,
        certificate=driver.certificate,
        data=driver.data,
        surrogates=_surrogates(case, driver, seed, report),
        evaluations=driver.evaluations,
        evaluated=store.evaluated - store.verified - before,
        seconds=time.perf_counter() - clock,
    )


def _surrogates(case: AdaptiveCase, driver: AdaptiveDriver, seed: int, report: Report) -> dict[str, Surrogate]:
    """Return the global surrogates of the loop, or fit those of `closing`."""
    if case.closing is None:
        return {path: one for path, one in driver.surrogates.items() if isinstance(one, Surrogate)}  # not given ones
    report("fitting surrogates to all samples")
    configuration = replace(case.closing, seed=seed)
    samples = {path: data for path, data in driver.data.items() if data is not None and data.n > 1}
    # The loop leaves the region that one shot samples: the domain of these surrogates is that of the true problem.
    return {path: configuration.fit(replace(data, inputs=case.inputs)) for path, data in samples.items()}


def _visit(case: AdaptiveCase, one: Iteration) -> Visit:
    true = _values(case, one.objective, one.constraints)
    predicted = _values(case, one.predicted_objective, one.predicted_constraints)
    return Visit(one.evaluations, one.u, true, predicted, one.accepted)


def _values(case: AdaptiveCase, scaled_objective: float, scaled_constraints: np.ndarray) -> Values:
    """Undo the driver's scaling, which is `ref` alone."""
    first, *others = case.responses
    values = {first.name: np.array([scaled_objective * first.driver_ref])}
    end = 0
    for response in others:
        begin, end = end, end + _size(response)
        values[response.name] = scaled_constraints[begin:end] * response.ref
    return values


def _size(response: Response) -> int:
    return len(response.bound) if isinstance(response.bound, tuple) else 1
