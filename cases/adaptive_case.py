"""A case for the adaptive loop, and the records of its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om

from cases.case import Response
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.loop.state import Exit, Iteration
from gradopt.optimality.certificate import Certificate
from gradopt.report.progress import Progress
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Truth

Report = Callable[[str], None]
"""Receives one line on each step of a run."""

Values = dict[str, np.ndarray]
"""Objective and constraints by name, each flat, in the units of the model."""


@dataclass(frozen=True)
class AdaptiveCase:
    """An optimization problem for the adaptive loop: a model with one or several truths.

    Attributes:
        name: Name on the command line.
        title: One line on what is optimized.
        citation: Source of truths and problem.
        inputs: Design variables, with the bounds of the true problem.
        start: Initial design (d,).
        responses: Objective first, then constraints.
        truths: Expensive parts; the identity of each names everything that its values depend on.
        model: Function that makes the model around such truths, each in a `SurrogateComp`; design variables are
            promoted to the top.
        configuration: Global surrogate of each truth, or None for the correction alone.
        closing: Surrogate that is fitted once, after the loop, to all samples of each truth, for other uses; or None.
        max_evaluations: Truth evaluations, over all truths together.
        workers: Processes that evaluate the truths, and candidates that they evaluate at the same time; 1 = this one.
        tolerance: Tolerance of the certificate.
        finite_differences: Steps for partials that the truths do not return.
        baseline_ref: Lengths of the design variables (d,) that SLSQP on the truth sees as 1; None = 1 of their units.
            The loop needs none.
        optimum: Known optimum x (d,), or None.
        draw: Function that draws the pictures of this case into a folder and returns their paths.
        settings: Settings of the problem, for `result.json`.
    """

    name: str
    title: str
    citation: str
    inputs: tuple[Variable, ...]
    start: np.ndarray
    responses: tuple[Response, ...]
    truths: tuple[Truth, ...]
    model: Callable[[Sequence[Truth]], om.Group]
    configuration: JENN | MLP | None
    closing: JENN | MLP | None = None
    max_evaluations: int = 100
    workers: int = 1
    tolerance: float = 1e-4
    finite_differences: FiniteDifferences = FiniteDifferences()
    baseline_ref: np.ndarray | None = None
    optimum: np.ndarray | None = None
    draw: Callable[[AdaptiveResult, Path], list[Path]] = lambda result, folder: []
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FinalDesign:
    """Design at which a run ended, with the truth's values.

    Attributes:
        x: Design variables (d,).
        true: Objective and constraints of the truth at x.
    """

    x: np.ndarray
    true: Values


@dataclass(frozen=True)
class Visit:
    """Objective and constraints at a design that an optimizer tried.

    Attributes:
        evaluations: Truth evaluations spent up to this design.
        x: Design variables (d,).
        true: Values of the truth, NaN where it failed.
        predicted: Values of the surrogates before the evaluation, NaN where there was no surrogate.
        accepted: Whether the design became the current iterate.
    """

    evaluations: int
    x: np.ndarray
    true: Values
    predicted: Values
    accepted: bool


@dataclass(frozen=True)
class AdaptiveResult:
    """Outcome of a run of the loop.

    Attributes:
        case: Case that was run.
        seed: Seed of the run.
        visits: Start, then the candidate of each iteration.
        iterations: Record of each iteration, by the loop.
        final: Design at which the run ended.
        exit: Reason of the termination.
        certificate: Optimality conditions of the true model at the final design.
        data: Samples of each truth, by the path of its component.
        surrogates: Global surrogates by the path of their component, those of the loop or those fitted after it; empty
            where the case has neither.
        evaluations: Truth evaluations: stored and failed ones, those of finite differences, and those of the derivative
            check.
        evaluated: Truth evaluations that were made in this run, without a stored one that was made again to verify it.
        seconds: Wall time in s.
    """

    case: AdaptiveCase
    seed: int
    visits: tuple[Visit, ...]
    iterations: tuple[Iteration, ...]
    final: FinalDesign
    exit: Exit
    certificate: Certificate
    data: dict[str, Dataset | None]
    surrogates: dict[str, Surrogate]
    evaluations: int
    evaluated: int
    seconds: float

    @property
    def start(self) -> Values:
        """Values of the truth at the start."""
        return self.visits[0].true

    @property
    def stored(self) -> int:
        """Number of evaluations that came from the store of an earlier run."""
        return max(self.evaluations - self.evaluated, 0)


def objective(case: AdaptiveCase, values: Values) -> float:
    """Return the objective among values of the responses."""
    return float(values[case.responses[0].name][0])


def violation(case: AdaptiveCase, values: Values) -> float:
    """Return the largest violation of a constraint, in units of its `ref`; 0 where all are met."""
    return max((r.violation(values[r.name]) / r.ref for r in case.responses[1:]), default=0.0)


def shown(response: Response, value: float) -> str:
    """Write a value of a response in its customary unit, such as "CD 33.1 counts"."""
    return f"{response.name} {value * response.shown_per_unit:.4g} {response.shown_unit}".rstrip()


def unknown(values: Values) -> Values:
    """Return NaN in the shapes of `values`."""
    return {name: np.full_like(value, np.nan) for name, value in values.items()}


def evaluations_to(case: AdaptiveCase, visits: Sequence[Visit], best: float, close: float = 0.01) -> int | None:
    """Count evaluations to the first feasible visit within 1 %, or 1e-6 `ref`, of an objective; None without one.

    Args:
        case: The case.
        visits: Visits in order.
        best: Objective to reach.
        close: Fraction of the objective that may be missing, 1 % by default.
    """
    ref = case.responses[0].driver_ref
    progress = Progress(
        np.array([visit.evaluations for visit in visits]),
        np.array([objective(case, visit.true) / ref for visit in visits]),
        np.array([violation(case, visit.true) for visit in visits]),
    )
    return progress.evaluations_to(best / ref, relative=close)
