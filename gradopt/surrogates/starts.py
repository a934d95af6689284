"""A solver run from several initial parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from gradopt.training.evidence import Evidence, EvidenceResult, Precisions, log_evidence
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, SolverResult, Status
from gradopt.training.solvers import Solver

ENDS_ALL = (Status.INTERRUPTED, Status.STOPPED, Status.TIME_LIMIT)  # no further start is made after one of these
_TRIAL = 50  # iterations after which the evidence tells which starts are worth continuing
_CYCLE, _THOSE = 8, (5, 6)  # of each cycle of starts, those that fit the values first
_VALUES_FIRST = 30  # iterations at most, before the partials come
_CONTINUED = 3  # of several starts, how many are

Result = TypeVar("Result", bound=SolverResult)


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        problem: What is fitted, with the network of this start.
        theta: Initial parameters (n_parameters,).
    """

    problem: NetworkProblem
    theta: np.ndarray

    @property
    def tensor(self) -> torch.Tensor:
        """The parameters in the type and on the device of the problem."""
        dtype, device = self.problem.tensor_options
        return torch.tensor(self.theta, dtype=dtype, device=device)

    @property
    def has_both(self) -> bool:
        """Whether values and partials are fitted."""
        return self.problem.has_partials and self.problem.of_values().n_residuals > 0


def fixed_weights(
    solver: Solver, starts: Sequence[Start], judged: bool, callback: Callback | None
) -> tuple[list[SolverResult], list[float]]:
    """Run a solver from each start.

    Args:
        solver: The solver; its time limit is that of all starts together.
        starts: Where to begin.
        judged: Whether the evidence of each is wanted.
        callback: Told which start is running.

    Returns:
        The runs, up to one that ended them all, and where asked and after Levenberg-Marquardt the log evidence of each.
    """
    evidence: list[float] = []

    def run(index: int, left: float | None) -> SolverResult:
        start = starts[index]
        return _limited(solver, left).solve(start.problem, start.tensor, numbered(callback, index))

    runs = _one_by_one(run, len(starts), solver.time_limit)
    try:
        if judged and isinstance(solver, LevenbergMarquardt):
            for start, found in zip(starts, runs, strict=False):
                evidence.append(log_evidence(start.problem, found.theta, solver.memory_limit))
    except KeyboardInterrupt:
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs, evidence


def learned_weights(
    solver: Evidence, starts: Sequence[Start], callback: Callback | None, begin: Precisions | None = None
) -> list[EvidenceResult]:
    """Maximize the evidence from each start: a trial of each, then the best of them to the end.

    Args:
        solver: The solver; its time limit is that of all starts together.
        starts: Where to begin.
        callback: Told which start is running.
        begin: Precisions to begin with; None = another pair at each start.

    Returns:
        The runs, up to one that ended them all.
    """
    trial = solver
    if len(starts) > _CONTINUED:
        trial = replace(solver, max_iterations=min(_TRIAL, solver.max_iterations))
    started = time.perf_counter()

    def run(index: int, left: float | None) -> EvidenceResult:
        start = starts[index]
        begun = _limited(trial.at_start(index), left)
        told = numbered(callback, index)
        if begin is None and index % _CYCLE in _THOSE and start.has_both:
            return _values_first(begun, start, told)
        return begun.solve(start.problem, start.tensor, told, begin)

    runs = _one_by_one(run, len(starts), solver.time_limit)
    left = None if solver.time_limit is None else solver.time_limit - (time.perf_counter() - started)
    if trial is solver or runs[-1].status in ENDS_ALL:
        return runs
    promising = np.argsort([found.loss for found in runs], kind="stable")[:_CONTINUED].tolist()

    def continued(position: int, left: float | None) -> EvidenceResult:
        index = promising[position]
        first = runs[index]
        if first.status is not Status.ITERATION_LIMIT:
            return first
        rest = _limited(replace(solver, max_iterations=solver.max_iterations - first.iterations), left)
        told = numbered(callback, index, first.iterations)
        second = rest.solve(starts[index].problem, first.theta, told, first.precisions)
        whole = first.history + second.history[1:]
        return replace(second, history=whole, seconds=first.seconds + second.seconds)

    try:
        for index, found in zip(promising, _one_by_one(continued, len(promising), left), strict=False):
            runs[index] = found
    except KeyboardInterrupt:
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs


def _values_first(solver: Evidence, start: Start, callback: Callback | None) -> EvidenceResult:
    """Fit the values, then all: noisy partials mislead a network that knows nothing yet."""
    brief = replace(solver, max_iterations=min(_VALUES_FIRST, solver.max_iterations))
    first = brief.solve(start.problem.of_values(), start.tensor, callback)
    ended = first.status in ENDS_ALL
    left = None if solver.time_limit is None else max(solver.time_limit - first.seconds, 0.0)
    rest = replace(solver, max_iterations=0 if ended else solver.max_iterations, time_limit=left)
    values = first.precisions.noise
    vague = values.new_ones(len(start.problem.residual_pools) - len(values))
    precisions = Precisions(first.precisions.alpha, torch.cat([values, vague]))
    found = rest.solve(start.problem, first.theta, None if ended else callback, precisions)
    return replace(found, seconds=first.seconds + found.seconds, status=first.status if ended else found.status)


def _one_by_one(run: Callable[[int, float | None], Result], count: int, limit: float | None) -> list[Result]:
    """Make runs one after another until one ends them all; Ctrl-C keeps what was made."""
    runs: list[Result] = []
    started = time.perf_counter()
    try:
        for index in range(count):
            left = None if limit is None else max(limit - (time.perf_counter() - started), 0.0)
            runs.append(run(index, left))
            if runs[-1].status in ENDS_ALL:
                break
    except KeyboardInterrupt:
        if not runs:
            raise
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs


AnySolver = TypeVar("AnySolver", bound=Solver | Evidence)


def _limited(solver: AnySolver, left: float | None) -> AnySolver:
    return solver if left is None else replace(solver, time_limit=left)  # type: ignore[type-var]


def numbered(callback: Callback | None, start: int, done: int = 0) -> Callback | None:
    """Return the callback, told which start is running and how many iterations it made before."""
    if callback is None:
        return None
    return lambda progress: callback(replace(progress, start=start, iteration=progress.iteration + done))
