"""One-shot optimization: design of experiments, fit, polish, SLSQP on the surrogate, the truth at its optimum."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmdao.api as om

from cases.case import Case, Stage
from cases.model import TruthComp, build_problem, get_design, get_responses, set_design
from gradopt.data.dataset import Dataset
from gradopt.errors import EvaluationError, GradoptError
from gradopt.om.component import SurrogateComp
from gradopt.surrogates.fitted.surrogate import Surrogate

Report = Callable[[str], None]
"""Receives one line on each step of a run."""


@dataclass(frozen=True)
class StageResult:
    """Outcome of one stage.

    Attributes:
        stage: Stage that was run.
        surrogates: The fitted surrogates, one for all outputs or one for each.
        x: Optimum on them (d,).
        predicted: Objective and constraints of the surrogates at x.
        true: Objective and constraints of the truth at x.
        path: Designs that the driver visited (k, d).
        history: Objective and constraints along the path, each (k, size).
        success: Whether SLSQP reports convergence on the surrogate.
        fit_seconds: Time of the fit or polish in s.
        optimize_seconds: Time of SLSQP in s.
    """

    stage: Stage
    surrogates: tuple[Surrogate, ...]
    x: np.ndarray
    predicted: dict[str, np.ndarray]
    true: dict[str, np.ndarray]
    path: np.ndarray
    history: dict[str, np.ndarray]
    success: bool
    fit_seconds: float
    optimize_seconds: float


@dataclass(frozen=True)
class OneShot:
    """Outcome of a run.

    Attributes:
        case: Case that was run.
        seed: Seed of the run.
        data: Training data.
        held_out: Data that only check the surrogates.
        start: Objective and constraints of the truth at the start.
        stages: Outcome of each stage; the last has the final design.
        failures: Truth evaluations that failed.
        seconds: Wall time of the whole run in s.
    """

    case: Case
    seed: int
    data: Dataset
    held_out: Dataset
    start: dict[str, np.ndarray]
    stages: tuple[StageResult, ...]
    failures: int
    seconds: float

    @property
    def final(self) -> StageResult:
        """The last stage."""
        return self.stages[-1]

    @property
    def truth_evaluations(self) -> int:
        """Truth evaluations for the final design: probes, the design of experiments with its failures, and x."""
        return self.case.probes + self.data.n + self.failures + 1


@dataclass(frozen=True)
class Reference:
    """SLSQP on the truth itself, within the limits of the true problem.

    Attributes:
        x: Its optimum (d,).
        responses: Objective and constraints there.
        evaluations: Truth evaluations, values and partials together.
        success: Whether SLSQP reports convergence.
    """

    x: np.ndarray
    responses: dict[str, np.ndarray]
    evaluations: int
    success: bool


def run_one_shot(case: Case, seed: int, folder: Path, report: Report) -> OneShot:
    """Optimize a case on surrogates fitted once.

    Args:
        case: The case.
        seed: Seed of the design of experiments; the networks have their own in their configurations.
        folder: Folder of the driver's recordings.
        report: Function that receives one line on each step.

    Returns:
        The outcome.

    Raises:
        GradoptError: If every evaluation of the truth failed.
    """
    started = time.perf_counter()
    data, failures = training_data(case, seed, report)
    held_out, _ = _evaluate(case, case.design(case.held_out, seed + 1_000_003), "held-out", report)
    known = (data.x[0], data.y[0], data.partials[0])  # the start, unless the truth failed there
    start = _true_responses(case, case.start, known)
    stages: list[StageResult] = []
    for stage in case.stages:
        clock = time.perf_counter()
        report(f"{stage.label}: training")
        surrogates = train(case, stage, data, stages)
        fit_seconds = time.perf_counter() - clock
        report(f"{stage.label}: SLSQP on the surrogate")
        stages.append(optimize(case, stage, surrogates, folder, fit_seconds))
    seconds = time.perf_counter() - started
    return OneShot(case, seed, data, held_out, start, tuple(stages), failures, seconds)


def run_reference(case: Case) -> Reference:
    """Run SLSQP on the truth itself from the same start, for comparison."""
    truth = TruthComp(case)
    problem = build_problem(case, [truth], case.limits)
    outcome = problem.run_driver()
    return Reference(get_design(problem, case), get_responses(problem, case), truth.evaluations, bool(outcome.success))


def training_data(case: Case, seed: int, report: Report) -> tuple[Dataset, int]:
    """Evaluate the start and the design of experiments; also the number of evaluations that failed."""
    points = np.concatenate([case.start[None], case.design(case.samples - 1, seed)])
    return _evaluate(case, points, "training", report)


def _evaluate(case: Case, points: np.ndarray, what: str, report: Report) -> tuple[Dataset, int]:
    """Evaluate the truth at points (n, d); failed ones are counted, not kept."""
    x, y, dydx, failed = [], [], [], []
    for index, point in enumerate(points):
        report(f"truth at {what} point {index + 1} of {len(points)}")
        try:
            value, partials = case.truth(point)
        except EvaluationError as failure:
            failed.append(str(failure))
            continue
        x.append(point)
        y.append(value)
        dydx.append(partials)
    if not x:
        raise GradoptError(f"All {len(points)} {what} evaluations of the truth failed; the first with: {failed[0]}")
    return Dataset(np.array(x), np.array(y), np.array(dydx), case.inputs, case.outputs), len(failed)


def train(case: Case, stage: Stage, data: Dataset, before: list[StageResult]) -> tuple[Surrogate, ...]:
    """Fit the surrogates of a stage, or polish those of the last stage before."""
    parts = [data]
    if case.separate:
        parts = [data.select_outputs([variable.name]) for variable in case.outputs]
    if stage.configuration is not None:
        return tuple(stage.configuration.fit(part) for part in parts)
    surrogates = before[-1].surrogates
    return tuple(one.polish(part, stage.polish) for one, part in zip(surrogates, parts, strict=True))


def optimize(
    case: Case, stage: Stage, surrogates: tuple[Surrogate, ...], folder: Path, fit_seconds: float
) -> StageResult:
    """Run SLSQP on surrogates, its recording in a folder, and evaluate the truth at their optimum."""
    clock = time.perf_counter()
    recording = folder / f"{stage.label.replace(' ', '_')}.sql"
    components = [SurrogateComp(surrogate) for surrogate in surrogates]
    problem = build_problem(case, components, (case.lower, case.upper), recording)
    outcome = problem.run_driver()
    x, predicted = get_design(problem, case), get_responses(problem, case)
    problem.cleanup()
    seconds = time.perf_counter() - clock
    path, history = _read_recording(case, recording)
    return StageResult(
        stage,
        surrogates,
        x,
        predicted,
        _true_responses(case, x),
        path,
        history,
        bool(outcome.success),
        fit_seconds,
        seconds,
    )


def _true_responses(
    case: Case, x: np.ndarray, known: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Objective and constraints of the truth at x (d,); NaN where it fails: an outcome, not a crash."""
    problem = build_problem(case, [TruthComp(case, known)], case.limits)
    set_design(problem, case, x)
    try:
        problem.run_model()
    except om.AnalysisError:
        return {name: np.full_like(value, np.nan) for name, value in get_responses(problem, case).items()}
    return get_responses(problem, case)


def _read_recording(case: Case, recording: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    reader = om.CaseReader(str(recording))
    visited = [reader.get_case(name) for name in reader.list_cases("driver", out_stream=None)]
    path = [np.concatenate([np.ravel(step.get_val(v.name, units=v.units)) for v in case.inputs]) for step in visited]
    history = {r.name: np.array([np.ravel(step.get_val(r.name)) for step in visited]) for r in case.responses}
    return np.array(path), history
