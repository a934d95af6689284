"""Worker processes of this machine: each calls one function at a time, and is replaced when it dies or is ended."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from gradopt.errors import EvaluationError, InputError, explain
from gradopt.workers.child import Raised, Recipe, Returned, Started
from gradopt.workers.processes import end_all, has_ended

_LONGEST_START = 600.0  # time in which a process has to start and make its function, s; by hand: large imports on NFS
_GRACE = 0.5  # time in which idle processes may end by themselves, s; by hand: Python takes some 0.1 s
_PAUSE = 0.005  # time between checks whether one has, s; by hand
_UNLIMITED = 1e6  # time from which there is no limit, s: `poll` takes no number of any size

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_CODE = "import sys; sys.path[:] = {path!r}; from gradopt.workers.child import main; main({descriptor}, {parent})"


class LostEvaluation(EvaluationError):
    """The process of an evaluation died, or was ended at its time limit.

    Attributes:
        seconds: Time of the evaluation until its process had ended, s, without the start of the process.
    """

    seconds = 0.0


class TimeLimitExceeded(LostEvaluation):
    """The process of an evaluation was ended at its time limit."""


class WorkerProcess:
    """A process that calls functions, one at a time. It is started, and started again, when it is needed.

    It is a new Python process, not a fork, in a session of its own: signals from the terminal do not reach it, and what
    it has started ends with it. Where this process ends first, by whatever signal, it ends too (on other systems than
    Linux: after the evaluation in progress).
    """

    def __init__(self, threads: int | None) -> None:
        """Describe the process; it is not started yet.

        Args:
            threads: Number of threads of OpenMP, BLAS and torch; None = what the environment says.
        """
        if os.name != "posix":
            remedy = "Pass an executor of your own, and isolated=False."
            raise InputError(explain("workers", "be an executor on this system", sys.platform, remedy))
        self._threads = threads
        self._lock = Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def call(self, recipe: Recipe, argument: Any, time_limit: float) -> Returned | Raised:
        """Call a function there.

        Args:
            recipe: How the process makes the function, the first time.
            argument: Its argument.
            time_limit: Time after which the process is ended, s, from when the function has been made.

        Returns:
            What the function returned or raised.

        Raises:
            LostEvaluation: If the process died, or exceeded the time limit.
        """
        while True:
            connection, new = self._started()
            what, limit, began = "Making the function", _LONGEST_START, time.monotonic()
            begun = False
            try:
                connection.send_bytes(pickle.dumps((recipe, argument)))
                answer = _received(connection, limit)
                if isinstance(answer, Started):
                    what, limit, began, begun = "The evaluation", time_limit, time.monotonic(), True
                    answer = _received(connection, limit)
                return answer
            except TimeoutError:
                self.end()
                lost: LostEvaluation = TimeLimitExceeded(
                    f"{what} exceeded its time limit of {limit:g} s; its process was ended."
                )
                lost.seconds = time.monotonic() - began
                raise lost from None
            except (EOFError, ConnectionError):
                death = self._death()
                if begun or new:  # else it has died while it was idle, and nothing is lost
                    lost = LostEvaluation(f"{death} after {time.monotonic() - began:.3g} s.")
                    lost.seconds = time.monotonic() - began
                    raise lost from None
            except BaseException:
                self.end()
                raise

    def close(self) -> None:
        """Have the process end by itself, where it is idle; `end` ends it for certain."""
        if self._connection is not None:
            self._connection.close()

    def end(self, for_good: bool = False) -> int:
        """Kill the process and all that it started.

        Args:
            for_good: Whether it must not be started again.

        Returns:
            Its return code, 0 where it was not running.
        """
        with self._lock:
            self._ended |= for_good
            process, self._process = self._process, None
            code = 0 if process is None else end_all(process)
            if self._connection is not None and not for_good:  # else its thread reads from it
                self._connection.close()
            return code

    def wait(self, seconds: float) -> None:
        """Wait for the process to end by itself."""
        until = time.monotonic() + seconds
        while self._process is not None and not has_ended(self._process) and time.monotonic() < until:
            time.sleep(_PAUSE)

    def _started(self) -> tuple[Connection, bool]:
        """The connection to the process, and whether it has been started now."""
        with self._lock:
            if self._ended:
                raise LostEvaluation("The evaluation was interrupted.")
            new = self._process is None
            if new:
                self._connection, theirs = Pipe()
                try:
                    self._process = self._start(theirs.fileno())
                finally:
                    theirs.close()
            assert self._connection is not None
            return self._connection, new

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        limits = {} if self._threads is None else dict.fromkeys(_THREADS, str(self._threads))
        code = _CODE.format(path=sys.path, descriptor=descriptor, parent=os.getpid())
        try:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                env={**os.environ, **limits},
                start_new_session=True,
            )
        except OSError as error:
            raise LostEvaluation(f"A worker process could not be started: {error}.") from error

    def _death(self) -> str:
        code = self.end()
        if code >= 0:
            return f"The worker process ended with exit code {code}"
        signals = {int(one): one.name for one in signal.Signals}
        cause = " (by somebody, or for lack of memory)" if -code == signal.SIGKILL else ""
        return f"The worker process was ended by {signals.get(-code, f'signal {-code}')}{cause}"


def _received(connection: Connection, seconds: float) -> Any:
    """Receive an object; raises `TimeoutError` where none comes in time."""
    if not connection.poll(seconds if seconds < _UNLIMITED else None):
        raise TimeoutError(seconds)
    return pickle.loads(connection.recv_bytes())


class Processes:
    """As many worker processes as functions are called at the same time. For use by several threads."""

    def __init__(self, threads: int | None) -> None:
        """Start none yet; `threads` is that of `WorkerProcess`."""
        self._threads = threads
        self._lock = Lock()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()

    def call(self, recipe: Recipe, argument: Any, time_limit: float) -> Returned | Raised:
        """Call a function in an idle process, see `WorkerProcess.call`."""
        with self._taken() as process:
            return process.call(recipe, argument, time_limit)

    def interrupt(self) -> None:
        """Kill the processes that are busy."""
        with self._lock:
            busy, self._busy = self._busy, set()
        for process in busy:
            process.end(for_good=True)

    def close(self) -> None:
        """End all processes; later calls start others."""
        self.interrupt()
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()
        until = time.monotonic() + _GRACE
        for process in idle:
            process.wait(max(0.0, until - time.monotonic()))
            process.end()

    @contextmanager
    def _taken(self) -> Iterator[WorkerProcess]:
        with self._lock:
            process = self._idle.pop() if self._idle else WorkerProcess(self._threads)  # the last one: few are started
            self._busy.add(process)
        try:
            yield process
        finally:
            with self._lock:
                if process in self._busy:  # else it was interrupted
                    self._busy.remove(process)
                    self._idle.append(process)
