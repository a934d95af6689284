"""A case by the adaptive loop, and by SLSQP on the truth itself for comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cases.case import AdaptiveCase, Response
from cases.model import get_design, get_responses, pose, run
from gradopt.data.dataset import Dataset
from gradopt.data.variables import column_bounds
from gradopt.errors import GradoptError
from gradopt.loop.state import Exit, Iteration
from gradopt.om.driver import AdaptiveDriver
from gradopt.optimality.certificate import Certificate
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.truth.store import EvaluationStore

Report = Callable[[str], None]
"""Is told what is being done, one line at a time."""

Values = dict[str, np.ndarray]
"""Objective and constraints by name, each flat, in the units of the model."""

FEASIBLE = 1e-4
"""Scaled violation up to which an optimum counts when evaluations are compared."""

CLOSE = 0.01
"""Part of the best objective within which an optimum counts."""

_CLOSE_TO_ZERO = 1e-6  # in units of its ref, for an optimum of 0


@dataclass(frozen=True)
class Answer:
    """A design and what the truth says of it.

    Attributes:
        x: Design variables (d,).
        true: Objective and constraints there.
    """

    x: np.ndarray
    true: Values


@dataclass(frozen=True)
class Visit:
    """Objective and constraints at a design that an optimizer tried.

    Attributes:
        evaluations: Truth evaluations spent until then.
        x: The design (d,).
        true: What the truth says, NaN where it failed.
        predicted: What the surrogates said before, NaN where they were not asked.
        accepted: Whether the optimizer went on from there.
    """

    evaluations: int
    x: np.ndarray
    true: Values
    predicted: Values
    accepted: bool


@dataclass(frozen=True)
class Adaptive:
    """Outcome of a run of the loop.

    Attributes:
        case: What was asked.
        seed: Seed of the run.
        visits: The start and the candidate of each round.
        rounds: The loop's own record of them.
        answer: Where it ended.
        exit: Why it ended.
        certificate: Optimality conditions of the true model at the answer.
        data: What was learned of each truth, by the path of its component.
        surrogates: Global surrogates by the path of their component, of the loop or fitted at its end; none where none
            was asked for.
        evaluations: Truth evaluations, stored and failed ones, those of differences, and those that verify the answer
            after the last round.
        evaluated: How many of them were made in this run.
        seconds: Wall time.
    """

    case: AdaptiveCase
    seed: int
    visits: tuple[Visit, ...]
    rounds: tuple[Iteration, ...]
    answer: Answer
    exit: Exit
    certificate: Certificate
    data: dict[str, Dataset | None]
    surrogates: dict[str, Surrogate]
    evaluations: int
    evaluated: int
    seconds: float

    @property
    def start(self) -> Values:
        """What the truth says of the start."""
        return self.visits[0].true

    @property
    def stored(self) -> int:
        """How many of the evaluations an earlier run had left in the store."""
        return max(self.evaluations - self.evaluated, 0)


def run_adaptive(case: AdaptiveCase, seed: int, store: EvaluationStore, report: Report) -> Adaptive:
    """Optimize a case by the adaptive loop.

    Args:
        case: The case.
        seed: Seed of the networks.
        store: Where evaluations are kept; what it holds already is not evaluated again.
        report: Told of each round.

    Returns:
        The outcome.

    Raises:
        GradoptError: If the truth fails at the start.
    """
    clock, before = time.perf_counter(), store.evaluated
    configuration = None if case.configuration is None else replace(case.configuration, seed=seed)

    def tell(last: Iteration) -> None:
        value = shown(case.responses[0], last.objective * case.responses[0].driver_ref)
        report(f"round {last.number}: {value}, {last.evaluations} evaluations")

    driver = AdaptiveDriver(
        store=store,
        configuration=configuration,
        callback=tell,
        max_evaluations=case.max_evaluations,
        tolerance=case.tolerance,
        finite_differences=case.finite_differences,
        seed=seed,
    )
    problem = pose(case.model(case.truths), case.inputs, column_bounds(case.inputs), case.responses, case.start, driver)
    report("round 0: the truth at the start")
    run(problem)
    if driver.exit is None or driver.certificate is None:
        raise GradoptError(f"The truth of the case {case.name} failed at its start. {Exit.TRUTH_FAILED.advice}")
    return Adaptive(
        case=case,
        seed=seed,
        visits=tuple(_visit(case, one) for one in driver.history),
        rounds=driver.history,
        answer=Answer(get_design(problem, case), get_responses(problem, case)),
        exit=driver.exit,
        certificate=driver.certificate,
        data=driver.data,
        surrogates=_surrogates(case, driver, seed, report),
        evaluations=driver.evaluations,
        evaluated=store.evaluated - before,
        seconds=time.perf_counter() - clock,
    )


def _surrogates(case: AdaptiveCase, driver: AdaptiveDriver, seed: int, report: Report) -> dict[str, Surrogate]:
    """Global surrogates of the loop, or those that are fitted once, at its end."""
    if case.closing is None:
        return {path: one for path, one in driver.surrogates.items() if isinstance(one, Surrogate)}  # not given ones
    report("fitting surrogates to all that was learned")
    configuration = replace(case.closing, seed=seed)
    known = {path: data for path, data in driver.data.items() if data is not None and data.n > 1}
    # The loop leaves the region that one shot samples: the surrogate's domain is that of the true problem.
    return {path: configuration.fit(replace(data, inputs=case.inputs)) for path, data in known.items()}


def objective(case: AdaptiveCase, values: Values) -> float:
    """The objective among values of the responses."""
    return float(values[case.responses[0].name][0])


def violation(case: AdaptiveCase, values: Values) -> float:
    """Largest violation of a constraint, in units of its `ref`."""
    return max((r.violation(values[r.name]) / r.ref for r in case.responses[1:]), default=0.0)


def evaluations_to(case: AdaptiveCase, visits: Sequence[Visit], best: float, close: float = CLOSE) -> int | None:
    """Evaluations to the first feasible visit within 1 % of an objective, or 1e-6 `ref`; None where there is none.

    Args:
        case: The case.
        visits: In order.
        best: The objective.
        close: Another part of it than 1 %.
    """
    ref = case.responses[0].driver_ref
    limit = best / ref + max(close * abs(best / ref), _CLOSE_TO_ZERO)
    for visit in visits:
        if objective(case, visit.true) / ref <= limit and violation(case, visit.true) <= FEASIBLE:
            return visit.evaluations
    return None


def shown(response: Response, value: float) -> str:
    """Write a value of a response as people call it, such as "CD 33.1 counts"."""
    return f"{response.name} {value * response.shown_per_unit:.4g} {response.shown_unit}".rstrip()


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
        begin, end = end, end + _size(case, response)
        values[response.name] = scaled_constraints[begin:end] * response.ref
    return values


def _size(case: AdaptiveCase, response: Response) -> int:
    return len(response.bound) if isinstance(response.bound, tuple) else 1


def unknown(values: Values) -> Values:
    """Values of the same shapes that say nothing, NaN."""
    return {name: np.full_like(value, np.nan) for name, value in values.items()}
