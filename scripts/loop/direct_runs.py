"""Runs of solvers in a process of their own, which is ended where it does not end; for `loop.evaluations_vs_solvers`.

A run ends at its budget of evaluations or of processor time: at the next evaluation, or by a signal where the solver
runs in Python. A process that still computes after `PATIENCE` times that budget is ended by the operating system, and
its evaluations are lost. Other processes on the machine do not count.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import warnings
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from scripts.loop.cutest_problems import DirectProblem, load
from scripts.loop.independent_check import judge
from scripts.loop.rival_solvers import SOLVERS, TOLERANCE, Budgeted, Ended, Spent
from scripts.shared.loop_problems import rosenbrock_problem
from scripts.shared.rows import Row

PATIENCE = 1.5  # factor on the processor time; by hand
FEASIBLE = 1e-6  # largest violation over max(1, |bound|)
RECORDED = 1e-3  # largest violation of the points that are kept in a row
EXACT = 1e-10  # violation that counts as none in a row
BUILT_IN = ("ROSENBROCK", "HS71")


def built_in(name: str) -> DirectProblem:
    """Make a problem that needs no other package."""
    if name == "HS71":
        from scripts.loop.misleading_trials import hs71  # needs torch

        of = hs71()
    else:
        of = rosenbrock_problem(2)
    return DirectProblem(name, of.truth, of.start, of.lower, of.upper, of.c_lower, of.c_upper)


def front(points: list[tuple[float, float]]) -> list[tuple[int, float, float]]:
    """Return the evaluations that no earlier one beats in both objective and violation.

    Args:
        points: Objective and violation of each evaluation.

    Returns:
        Number of the evaluation, from 1, objective and violation; violations below `EXACT` are zero, and evaluations
        with more than `RECORDED` are left out. Their first entry with an objective and a violation below given limits
        is the first such evaluation of all.
    """
    kept: list[tuple[int, float, float]] = []
    for number, (f, violation) in enumerate(points, 1):
        beyond = 0.0 if violation <= EXACT else violation
        if np.isfinite(f) and beyond <= RECORDED and not any(g <= f and v <= beyond for _, g, v in kept):
            kept.append((number, f, beyond))
    return kept


def measure(problem: DirectProblem, name: str, solver_seconds: float | None = None) -> Row:
    """Run a solver on a problem, and judge the point where it ended."""
    solver = SOLVERS[name]
    seconds = solver.seconds if solver_seconds is None else solver_seconds
    truth = Budgeted(problem, solver.evaluations, seconds)
    clock, wall = time.process_time(), time.perf_counter()
    signal.signal(signal.SIGPROF, _spent)
    signal.setitimer(signal.ITIMER_PROF, seconds + 1.0)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            ended = solver.solve(problem, truth)
    except Spent:
        ended = Ended(None, "budget spent")
    except Exception as wrong:
        spent = isinstance(wrong.__cause__, Spent) or truth.spent
        ended = Ended(None, "budget spent" if spent else f"{type(wrong).__name__}: {wrong}"[:300])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    row: Row = {
        **key_of(problem.name, name),
        "n": problem.n,
        "m": problem.m,
        "evaluations": len(truth),
        "seconds": time.process_time() - clock,
        "wall": time.perf_counter() - wall,
        "message": ended.message[:300],
        "certified": ended.certified,
        "front": front([(float(y[0]), problem.violation(x, y)) for x, y, _ in truth.points.values()]),
    }
    return {**row, **_end(problem, truth, ended)}


def _spent(*of: Any) -> None:
    raise Spent


def _end(problem: DirectProblem, truth: Budgeted, ended: Ended) -> Row:
    """Judge the point that a solver returned, or else the best one that it evaluated."""
    x = ended.x
    if x is None or not np.isfinite(x).all():
        feasible = [
            (y[0], n) for n, (x, y, _) in enumerate(truth.points.values()) if problem.violation(x, y) <= FEASIBLE
        ]
        if not feasible:
            return {"f": None, "verdict": None, "x": None}
        x = list(truth.points.values())[min(feasible)[1]][0]
    y, dydx = problem.function(x)
    if not (np.isfinite(y).all() and np.isfinite(dydx).all()):
        return {"f": None, "verdict": None, "x": x.tolist()}
    limits, c_limits = (problem.lower, problem.upper), (problem.c_lower, problem.c_upper)
    verdict = judge(y, dydx, x, limits, c_limits, TOLERANCE, FEASIBLE)
    return {"f": float(y[0]), "verdict": asdict(verdict), "x": x.tolist()}


def key_of(problem: str, solver: str) -> Row:
    """Return the key of a row."""
    return {"problem": problem, "solver": solver}


def _work(pipe: Connection, folder: Path | None) -> None:
    """Run the solvers that are asked for, one after the other; the problem is loaded once."""
    problem: DirectProblem | None = None
    while True:
        try:
            name, solver = pipe.recv()
        except EOFError:
            return
        if problem is None or problem.name != name:
            problem = built_in(name) if folder is None else load(folder, name)
            problem.function(problem.start)  # compiles
        last = int(time.process_time() + PATIENCE * SOLVERS[solver].seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (last, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        found = measure(problem, solver) if SOLVERS[solver].suits(problem) else None
        resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU)[1:] * 2)
        pipe.send(found)


class Worker:
    """A process that runs solvers.

    Attributes:
        folder: Folder of the exported problems; None for those that are built in.
    """

    def __init__(self, folder: Path | None) -> None:
        """Start no process yet."""
        self.folder = folder
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, problem: str, solver: str) -> Row | None:
        """Run a solver on a problem.

        Returns:
            The row, also of a process that was killed or died; None if the solver is not made for such a problem.
        """
        if self._pipe is None:
            os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_work, args=(other, self.folder), daemon=True)
            self._process.start()
            other.close()
        try:
            self._pipe.send((problem, solver))
            found: Row | None = self._pipe.recv()
            return found
        except (EOFError, OSError):
            self._process.join()
            by_time = self._process.exitcode == -signal.SIGXCPU
            message = "ended by the operating system at the limit of time" if by_time else "the process died"
        self.close()
        lost: Row = {"message": message, "front": [], "evaluations": 0, "certified": False}
        return {**key_of(problem, solver), **lost, "f": None, "verdict": None, "x": None, "n": None, "m": None}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
