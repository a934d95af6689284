"""A solver run from several initial parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from gradopt.surrogates.gradinn.loss import SurrogateProblem
from gradopt.training.evidence import Evidence, EvidenceResult, Precisions, log_evidence
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.result import Callback, SolverResult, Status
from gradopt.training.solvers import Solver

ENDS_ALL = (Status.INTERRUPTED, Status.STOPPED, Status.TIME_LIMIT)  # status of a run after which no other run is made
# Pairs (iterations, number of starts) chosen by hand: after so many iterations only so many starts of the highest
# evidence continue. In fits of values alone all starts are trained to the end: the evidence hardly distinguishes them,
# and an average of many networks is better than one of few.
_STAGES = ((25, 6), (75, 3))
_VALUES_FIRST = 8  # number of starts that are also tried on the values alone; chosen by hand

Result = TypeVar("Result", bound=SolverResult)


@dataclass(frozen=True)
class Start:
    """The initial state of a run.

    Attributes:
        problem: Problem to minimize, with the network of this start.
        theta: Initial parameters (n_parameters,).
    """

    problem: SurrogateProblem
    theta: np.ndarray

    @property
    def tensor(self) -> torch.Tensor:
        """Initial parameters in the type and on the device of the problem."""
        dtype, device = self.problem.tensor_options
        return torch.tensor(self.theta, dtype=dtype, device=device)


def fixed_weights(
    solver: Solver, starts: Sequence[Start], with_evidence: bool, callback: Callback | None
) -> tuple[list[SolverResult], list[float]]:
    """Run a solver from each start.

    Args:
        solver: The solver; its time limit is that of all starts together.
        starts: The starts.
        with_evidence: Whether to compute the log evidence of each run.
        callback: See `gradopt.training.result.Callback`; `Progress.start` is the number of the start.

    Returns:
        The runs, the last one being the first with a status in `ENDS_ALL`; and the log evidence of each, if it was
        requested and the solver is Levenberg-Marquardt.
    """
    evidence: list[float] = []

    def run(index: int, left: float | None) -> SolverResult:
        start = starts[index]
        return _limited(solver, left).solve(start.problem, start.tensor, numbered(callback, index))

    runs = _one_by_one(run, len(starts), solver.time_limit)
    try:
        if with_evidence and isinstance(solver, LevenbergMarquardt):
            for start, found in zip(starts, runs, strict=False):
                evidence.append(log_evidence(start.problem, found.theta, solver.memory_limit))
    except KeyboardInterrupt:
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs, evidence


def learned_weights(
    solver: Evidence, starts: Sequence[Start], callback: Callback | None, begin: Precisions | None = None
) -> list[EvidenceResult]:
    """Maximize the evidence from each start.

    With partials or a prior on the gradient the runs have stages, after each of which only the best runs continue.
    Noisy partials mislead a network with random parameters. So after the first stage the first few starts are also
    fitted to the values alone. The best of these fits is continued on all data, and replaces the run of its start if
    its evidence is higher.

    Args:
        solver: The solver; its time limit is that of all starts together.
        starts: The starts.
        callback: See `gradopt.training.result.Callback`; `Progress.start` is the number of the start.
        begin: Initial precisions; None = those of `Evidence.at_start`.

    Returns:
        The runs, the last one being the first with a status in `ENDS_ALL`.
    """
    several = len(starts) > _STAGES[-1][1] and starts[0].problem.uses_gradients
    limits = [min(until, solver.max_iterations) for until, _ in _STAGES] if several else []
    limits.append(solver.max_iterations)
    trial = replace(solver, max_iterations=limits[0])
    began = time.perf_counter()

    def left() -> float | None:
        return None if solver.time_limit is None else max(solver.time_limit - (time.perf_counter() - began), 0.0)

    def first(index: int, limit: float | None) -> EvidenceResult:
        start = starts[index]
        begun = _limited(trial.at_start(index), limit)
        return begun.solve(start.problem, start.tensor, numbered(callback, index), begin)

    runs = _one_by_one(first, len(starts), solver.time_limit)
    try:
        data = starts[0].problem.data
        if several and data.has_partials and data.has_values and not _ended(runs):
            index, second = _values_first(trial, starts[:_VALUES_FIRST], callback, left())
            seconds = runs[index].seconds + second.seconds
            better = second if second.loss < runs[index].loss else runs[index]
            runs[index] = replace(better, seconds=seconds, status=second.status if _ended([second]) else better.status)
        for (_, many), until in zip(_STAGES, limits[1:], strict=False):
            if _ended(runs):
                break
            best = np.argsort([found.loss for found in runs], kind="stable")[:many].tolist()

            def next_stage(
                position: int, limit: float | None, best: list[int] = best, until: int = until
            ) -> EvidenceResult:
                index = best[position]
                return _continued(_limited(solver, limit), until, starts[index], runs[index], numbered(callback, index))

            for index, found in zip(best, _one_by_one(next_stage, len(best), left()), strict=False):
                runs[index] = found
    except KeyboardInterrupt:
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs


def _ended(runs: Sequence[SolverResult]) -> bool:
    """Return whether any run has a status in `ENDS_ALL`."""
    return any(run.status in ENDS_ALL for run in runs)


def _continued(
    solver: Evidence, until: int, start: Start, first: EvidenceResult, callback: Callback | None
) -> EvidenceResult:
    """Continue a run up to a number of iterations, if it ended at its iteration limit."""
    if first.status is not Status.ITERATION_LIMIT:
        return first
    rest = replace(solver, max_iterations=until - first.iterations)
    second = rest.solve(start.problem, first.theta, _further(callback, first.iterations), first.precisions)
    whole = first.history + second.history[1:]
    return replace(second, history=whole, seconds=first.seconds + second.seconds)


def _values_first(
    solver: Evidence, starts: Sequence[Start], callback: Callback | None, limit: float | None
) -> tuple[int, EvidenceResult]:
    """Fit the values alone from each start, continue the best on all data; return its number and its run."""

    def of_values(index: int, left: float | None) -> EvidenceResult:
        start = starts[index]
        begun = _limited(solver.at_start(index), left)
        return begun.solve(start.problem.without_partials(), start.tensor, numbered(callback, index))

    began = time.perf_counter()
    firsts = _one_by_one(of_values, len(starts), limit)
    spent = time.perf_counter() - began
    index = int(np.argmin([found.loss for found in firsts]))
    start, found = starts[index], firsts[index].precisions
    both, values = start.problem.prior_groups, start.problem.without_partials().prior_groups
    noise = found.noise.new_ones(len(both))
    noise[both] = found.noise[values]
    noise[: int((~values).sum())] = found.noise[~values]
    precisions = Precisions(found.alpha, noise)
    rest = solver if limit is None else replace(solver, time_limit=max(limit - spent, 0.0))
    ended = _ended(firsts)
    if ended:
        rest, callback = replace(rest, max_iterations=0), None
    run = rest.solve(start.problem, firsts[index].theta, numbered(callback, index), precisions)
    return index, replace(run, seconds=spent + run.seconds, status=firsts[-1].status if ended else run.status)


def _one_by_one(run: Callable[[int, float | None], Result], count: int, limit: float | None) -> list[Result]:
    """Make runs in turn until one has a status in `ENDS_ALL`; after Ctrl-C return the runs so far."""
    runs: list[Result] = []
    started = time.perf_counter()
    try:
        for index in range(count):
            left = None if limit is None else max(limit - (time.perf_counter() - started), 0.0)
            runs.append(run(index, left))
            if _ended(runs[-1:]):
                break
    except KeyboardInterrupt:
        if not runs:
            raise
        runs[-1] = replace(runs[-1], status=Status.INTERRUPTED)
    return runs


AnySolver = TypeVar("AnySolver", bound=Solver | Evidence)


def _limited(solver: AnySolver, left: float | None) -> AnySolver:
    """Return the solver with the time that is left, s, as its limit."""
    return solver if left is None else replace(solver, time_limit=left)  # type: ignore[type-var]


def numbered(callback: Callback | None, start: int) -> Callback | None:
    """Return a callback that gets the number of the start in `Progress.start`."""
    return None if callback is None else lambda progress: callback(replace(progress, start=start))


def _further(callback: Callback | None, done: int) -> Callback | None:
    """Return a callback that gets the number of iterations with `done` added."""
    if callback is None:
        return None
    return lambda progress: callback(replace(progress, iteration=progress.iteration + done))
