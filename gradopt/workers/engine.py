"""An engine calls a function at many arguments at the same time; what happens to one call costs that call alone."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral, Real
from queue import SimpleQueue
from typing import Any

from gradopt.errors import InputError, WorkersError, explain, import_extra
from gradopt.workers.child import Function, Raised, Recipe, Returned, call
from gradopt.workers.process import LostEvaluation, Processes, TimeLimitExceeded

Workers = int | Executor | Callable[[], Executor]
"""Number of processes of this machine, an executor, or a function that returns one."""

_AHEAD = 2000  # calls that are given to the executor before others have ended; by hand: more than it has workers
_REBUILDS = 3  # executors that may break one after the other without a result in between; by hand
_LOST_BY_DASK = {"KilledWorker"}  # error of an evaluation whose worker died several times
_BROKEN = {"ExecutorlibSocketError"}  # errors of executors that break, besides `BrokenExecutor`

_local = threading.local()  # functions made in this thread
_beside: dict[int | None, Processes] = {}  # processes beside this one, a worker of an executor, by their threads


@dataclass(frozen=True)
class Lost:
    """The worker died before the function returned.

    Attributes:
        reason: Of what.
        seconds: Time after which, s; 0 where it is not known.
    """

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class TimedOut(Lost):
    """The worker was ended at the time limit."""


Outcome = Returned | Raised | Lost


def recipe_of(factory: Callable[[], Function]) -> Recipe:
    """Pickle what makes a function: by cloudpickle, so that it may be defined anywhere.

    Args:
        factory: Callable without arguments that returns the function.

    Raises:
        InputError: If it cannot be pickled.
        MissingExtraError: If cloudpickle is not installed.
    """
    try:
        pickled = import_extra("cloudpickle", "workers").dumps(factory)
    except ImportError:
        raise
    except Exception as error:
        remedy = "Pass a function without arguments that returns the truth: it is called in each worker."
        got = f"one that cannot ({type(error).__name__}: {error})"
        raise InputError(explain("truth", "be an object that can be pickled", got, remedy)) from error
    return Recipe(hashlib.sha256(pickled).hexdigest(), pickled)


def call_here(recipe: Recipe, argument: Any) -> Returned | Raised:
    """Call a function in this thread, which makes it at the first call."""
    if not hasattr(_local, "made"):
        _local.made = {}
    return call(_local.made, recipe, argument)


def call_beside(recipe: Recipe, argument: Any, time_limit: float, threads: int | None) -> Outcome:
    """Call a function in a process beside this one, see `Processes.call`."""
    return _call_in(_beside.setdefault(threads, Processes(threads)), recipe, argument, time_limit)


def _call_in(processes: Processes, recipe: Recipe, argument: Any, time_limit: float) -> Outcome:
    try:
        return processes.call(recipe, argument, time_limit)
    except LostEvaluation as lost:
        kind = TimedOut if isinstance(lost, TimeLimitExceeded) else Lost
        return kind(str(lost), lost.seconds)


class Engine:
    """Calls functions at many arguments at the same time.

    Each call runs in a process of its own beside the worker of the executor that takes it, unless `isolated` is False:
    a crash or a hang of the function is no crash or hang of the executor's worker.
    """

    def __init__(
        self,
        workers: Workers,
        *,
        time_limit: float = float("inf"),
        retries: int = 0,
        threads: int | None = 1,
        isolated: bool = True,
    ) -> None:
        """Take what calls; nothing is started yet.

        Args:
            workers: Number of processes of this machine; or an executor, which stays the caller's to shut down; or a
                function that returns an executor, called again where one broke.
            time_limit: Time after which the process of a call is ended, s.
            retries: Number of further calls where a process died.
            threads: Number of threads of OpenMP, BLAS and torch in each process; None = what the environment says.
            isolated: Whether each call runs in a process of its own. False: in the executor's worker itself.

        Raises:
            InputError: If an argument is of another kind.
        """
        _check(workers, time_limit, retries, threads, isolated)
        self._workers = int(workers) if isinstance(workers, Integral) else workers
        self._time_limit, self._retries, self._threads = float(time_limit), retries, threads
        self._isolated = isolated
        self._processes = Processes(threads)
        self._executor: Executor | None = None
        self._submitted: dict[Future[Any], int] = {}
        self._lock = threading.RLock()
        self._finalizer: weakref.finalize[..., Any] | None = None

    def as_completed(self, recipe: Recipe, arguments: Sequence[Any]) -> Generator[tuple[int, Returned | Lost]]:
        """Call a function at all arguments.

        Where a call raises, those that wait are not begun, and the error is raised after those that run have ended.
        Closing the iterator, as an exception of its consumer does, kills what runs.

        Args:
            recipe: How to make the function.
            arguments: Its arguments.

        Yields:
            Index of an argument, and what the function returned there, or why it was lost; as they come.

        Raises:
            WorkersError: If the executor broke.
        """
        left = [self._retries] * len(arguments)
        again, rebuilds = deque(range(len(arguments))), 0
        ended: SimpleQueue[Future[Any]] = SimpleQueue()
        running = self._submitted = dict[Future[Any], int]()
        error: Exception | None = None
        broken: BrokenExecutor | None = None
        try:
            while again or running:
                while again and error is None and broken is None and len(running) < _AHEAD:
                    try:
                        future = self._submit(recipe, arguments[again[0]])
                    except BrokenExecutor as failed:
                        broken = failed
                    else:
                        running[future] = again.popleft()
                        future.add_done_callback(ended.put)
                if not running:
                    if error is not None or broken is None:
                        break
                    rebuilds += 1
                    self._rebuild(broken, rebuilds)
                    broken = None
                    continue
                future = ended.get()
                index, outcome = running.pop(future), _outcome(future)
                if error is not None and future.cancelled():
                    continue
                if isinstance(outcome, BrokenExecutor):
                    broken = outcome
                    again.append(index)
                elif isinstance(outcome, Raised):
                    error = error or outcome.error
                    for other in running:
                        other.cancel()
                elif type(outcome) is Lost and left[index] > 0:
                    left[index] -= 1
                    again.append(index)
                else:
                    rebuilds = 0
                    yield index, outcome
            if error is not None:
                raise error
        finally:
            if running:
                self._interrupt(list(running))

    def running(self) -> int:
        """Return the number of calls that run now, as far as the executor tells."""
        return sum(future.running() for future in list(self._submitted))

    def close(self) -> None:
        """End the processes of this engine, and the executor where it is its own; later calls start others."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._finalizer = self._executor = None

    def _interrupt(self, running: list[Future[Any]]) -> None:
        """Cancel calls; those that run in processes of this engine are killed."""
        for future in running:
            future.cancel()
        self._processes.interrupt()

    def _submit(self, recipe: Recipe, argument: Any) -> Future[Any]:
        executor = self._running()
        if not self._isolated:
            return executor.submit(call_here, recipe, argument)
        if isinstance(executor, ThreadPoolExecutor):
            return executor.submit(_call_in, self._processes, recipe, argument, self._time_limit)
        return executor.submit(call_beside, recipe, argument, self._time_limit, self._threads)

    def _running(self) -> Executor:
        with self._lock:
            if self._executor is None:
                own: Executor | None = None
                if isinstance(self._workers, Executor):
                    self._executor = self._workers
                else:
                    self._executor = own = self._made(self._workers)
                self._finalizer = weakref.finalize(self, _end, self._processes, own)
            return self._executor

    def _made(self, workers: int | Callable[[], Executor]) -> Executor:
        if isinstance(workers, int):
            return ThreadPoolExecutor(workers, "gradopt-worker")
        found = workers()
        if not isinstance(found, Executor):
            remedy = "Such as lambda: ProcessPoolExecutor(4, mp_context=get_context('spawn'))."
            raise InputError(explain("workers()", "return an executor", repr(found), remedy))
        return found

    def _rebuild(self, broken: BrokenExecutor, rebuilds: int) -> None:
        factory = not isinstance(self._workers, int | Executor)
        if factory and rebuilds <= _REBUILDS:
            self.close()
            return
        what = f"The executor of the workers broke ({type(broken).__name__}: {broken})."
        if not self._isolated:
            what += " An evaluation that dies breaks it: leave out isolated=False."
        remedy = "Make a new executor and run again, with the same store: what was evaluated is kept."
        if not factory:
            remedy += " Or pass a function that returns an executor, which is then called again."
        raise WorkersError(f"{what} {remedy}") from broken


def _outcome(future: Future[Any]) -> Outcome | BrokenExecutor:
    try:
        found: Outcome = future.result()
        return found
    except CancelledError:
        return Lost("The executor cancelled the evaluation: its worker died or was ended.")
    except BrokenExecutor as broken:
        return broken
    except Exception as error:
        if type(error).__name__ in _LOST_BY_DASK:
            return Lost(f"The worker of the executor died ({type(error).__name__}: {error}).")
        if type(error).__name__ in _BROKEN:
            return BrokenExecutor(f"{type(error).__name__}: {error}")
        return Raised(error)


def _end(processes: Processes, executor: Executor | None) -> None:
    processes.close()
    if executor is not None:
        executor.shutdown(wait=False, cancel_futures=True)


def _check(workers: Any, time_limit: Any, retries: Any, threads: Any, isolated: Any) -> None:
    number = isinstance(workers, Integral) and not isinstance(workers, bool)
    if not (isinstance(workers, Executor) or callable(workers) or (number and workers > 0)):
        remedy = "Such as workers=4, or client.get_executor() of Dask."
        expected = "be a positive number, an executor of concurrent.futures, or a function that returns one"
        raise InputError(explain("workers", expected, repr(workers), remedy))
    if isinstance(time_limit, bool) or not isinstance(time_limit, Real) or not float(time_limit) > 0.0:
        raise InputError(explain("time_limit", "be a positive number of seconds", repr(time_limit), "Such as 600.0."))
    for name, value, least in (("retries", retries, 0), ("threads", threads, 1)):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole and value >= least) and not (name == "threads" and value is None):
            expected = f"be a whole number of at least {least}"
            raise InputError(explain(name, expected, repr(value), "Leave it out for the default."))
    if not isolated and (number or float(time_limit) < float("inf")):
        remedy = "Leave isolated=False out, which is for executors whose workers may start no processes."
        expected = "be True for a number of workers, and for a time limit"
        raise InputError(explain("isolated", expected, isolated, remedy))
