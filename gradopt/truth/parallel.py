"""A truth whose points are evaluated at the same time, in other processes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.variables import Variable, total_size
from gradopt.errors import InputError, WorkersError, explain
from gradopt.truth.points import as_points
from gradopt.truth.progress import Progress, Watch
from gradopt.truth.protocol import Evaluations, PointStatus, Truth
from gradopt.truth.rows import check_shape, check_truth, row_at
from gradopt.workers.engine import Engine, Lost, Workers, recipe_of


@dataclass(frozen=True)
class _Given:
    """Returns a truth that is there already."""

    truth: Truth

    def __call__(self) -> Truth:
        return self.truth


@dataclass(frozen=True)
class _Evaluate:
    """Builds a truth in a worker, and returns the function of one point (d,) that evaluates it."""

    factory: Callable[[], Truth]

    def __call__(self) -> Callable[[np.ndarray], Evaluations]:
        truth = self.factory()
        return lambda point: truth.evaluate(point[None])


class ParallelTruth:
    """A truth whose points are evaluated at the same time, each in a process of its own.

    It stands wherever a truth does. An evaluation whose process dies, of a segmentation fault, for lack of memory or at
    the time limit, is a failed row; the others go on. An exception that is none of the truth's `failures` is raised, as
    it would be without workers, after the evaluations that run have ended. Use an object in one thread at a time.

    Example:
        Four processes of this machine, each of which builds the truth once::

            def make() -> go.Truth:
                return go.FunctionTruth(analysis, inputs, outputs)

            with go.truth.ParallelTruth(make, workers=4, time_limit=600.0) as truth:
                found = store.evaluate(truth, points)
    """

    def __init__(
        self,
        truth: Truth | Callable[[], Truth],
        workers: Workers,
        *,
        time_limit: float = float("inf"),
        retries: int = 0,
        threads: int | None = 1,
        isolated: bool = True,
        progress: Callable[[Progress], object] | None = None,
    ) -> None:
        """Describe the truth; processes are started at the first evaluation.

        Args:
            truth: Truth, or a function without arguments that returns it: called once in this process, for its
                variables and its identity, and once in each worker.
            workers: Number of processes of this machine; or an executor of `concurrent.futures`, which stays yours to
                shut down; or a function without arguments that returns an executor, called again where one broke.
            time_limit: Time after which the process of an evaluation is killed, s, from when the truth has been built
                in it. The point has failed then.
            retries: Number of further evaluations of a point whose process died, not at the time limit. 0: what killed
                a process will do so again most often. For machines that are taken away (preempted) more.
            threads: Number of threads of OpenMP, BLAS and torch in each process; None = what the environment says.
            isolated: Whether each evaluation runs in a process beside the worker of the executor, which then survives
                all that happens there. False evaluates in the executor's worker itself, without a time limit.
            progress: Function that receives the `Progress` of each call that evaluates points: at its beginning, at its
                end, and in between ten times a second at most. Its exceptions end the call. The logger "gradopt" has
                the same as lines of level INFO, of calls that take longer than ten seconds.

        Raises:
            InputError: If an argument is of another kind, or the truth cannot be pickled.
            MissingExtraError: If cloudpickle is not installed.
        """
        self._engine = Engine(workers, time_limit=time_limit, retries=retries, threads=threads, isolated=isolated)
        if progress is not None and not callable(progress):
            remedy = "Such as progress=lambda progress: bar.update(progress.done)."
            raise InputError(explain("progress", "be a function of a Progress, or None", repr(progress), remedy))
        self._progress = progress
        if callable(truth):
            self.truth: Truth = truth()
            self._recipe = recipe_of(_Evaluate(truth))
        else:
            self.truth = truth
            self._recipe = recipe_of(_Evaluate(_Given(truth)))
        check_truth(self.truth)

    def __enter__(self) -> ParallelTruth:
        """Return the truth itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes; a later evaluation starts others. The end of Python ends them too."""
        self._engine.close()

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `x`."""
        return self.truth.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of `y`."""
        return self.truth.outputs

    @property
    def identity(self) -> str | None:
        """Identity of the truth: a store holds the same rows with and without workers."""
        return self.truth.identity

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points at the same time.

        Args:
            x: Points (n, d), physical.

        Returns:
            Evaluations with one row for each point, in their order, failed points included.

        Raises:
            InputError: If `x` is not finite.
            ShapeError: If `x` is not (n, d), or the truth returns another number of rows or columns.
            WorkersError: If the executor broke; its `evaluations` are those that had been made.
        """
        found: dict[int, Evaluations] = {}
        shape = total_size(self.outputs), total_size(self.inputs)
        try:
            found.update(self.as_completed(x))
        except WorkersError as error:
            error.evaluations = Evaluations.join([found[row] for row in sorted(found)], *shape)
            raise
        return Evaluations.join([found[row] for row in sorted(found)], *shape)

    def as_completed(self, x: ArrayLike) -> Generator[tuple[int, Evaluations]]:
        """Evaluate points at the same time, and yield each when it is there.

        Closing the iterator, as an exception does, kills what runs.

        Args:
            x: Points (n, d), physical.

        Yields:
            Row of a point, and its evaluation.

        Raises:
            InputError: If `x` is not finite.
            ShapeError: If `x` is not (n, d), or the truth returns another number of rows or columns.
            WorkersError: If the executor broke.
        """
        points = as_points(x, self.inputs)
        m, d = total_size(self.outputs), total_size(self.inputs)
        watch = Watch(len(points), self._engine.running, self._progress)
        with closing(self._engine.as_completed(self._recipe, list(points))) as outcomes:
            for row, outcome in outcomes:
                if isinstance(outcome, Lost):
                    found = _failed(points[row], m, outcome)
                else:
                    check_shape("dydx of truth.evaluate(x)", outcome.value, (1, m, d))
                    found = row_at(outcome.value, 0, points[row])
                yield row, found
                watch.ended(not found.ok[0], float(found.seconds[0]))  # a store has written it


def on_workers(truth: Truth, workers: Workers | None, time_limit: float) -> Truth:
    """Return a truth on workers, or the truth itself where there are none."""
    if workers is not None:
        return ParallelTruth(truth, workers, time_limit=time_limit)
    if time_limit != float("inf"):
        remedy = "Pass workers=1: the time limit ends the process of an evaluation."
        raise InputError(explain("time_limit", "be left out without workers", time_limit, remedy))
    return truth


def batch_for(workers: Workers | None) -> int:
    """Return the number of candidates that a run evaluates at the same time by default.

    Args:
        workers: Number of processes, an executor, which does not tell how many it has, or None.
    """
    return workers if isinstance(workers, int) and workers > 1 else 1


def _failed(point: np.ndarray, m: int, lost: Lost) -> Evaluations:
    y, dydx = np.full((1, m), np.nan), np.full((1, m, len(point)), np.nan)
    return Evaluations(point[None], y, dydx, [PointStatus.FAILED], [lost.reason], np.array([lost.seconds]))
