"""Parts common to all solvers: the best parameters so far, history, limits, callback, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Tensor

from gradopt.training.result import Callback, Progress, SolverResult, Status


class _Stop(Exception):
    """Raised by `Monitor.record` to end a solver."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class Monitor:
    """The best parameters and the history of a run, and the limits that end it."""

    def __init__(self, callback: Callback | None, time_limit: float | None) -> None:
        """Start the clock.

        Args:
            callback: Called with a `Progress` after each iteration; returning True stops the run.
            time_limit: Limit of the run, s, or None.
        """
        self._callback = callback
        self._time_limit = time_limit
        self._started = time.perf_counter()
        self._history: list[float] = []
        self._best: tuple[float, Tensor] | None = None

    def record(self, theta: Tensor, loss: float) -> None:
        """Record the state after an iteration, and end the run at a limit; the first call is before any iteration.

        Args:
            theta: Parameters (n_parameters,); kept by reference, so they must not change in place.
            loss: Loss there; the parameters with the lowest loss are the best.
        """
        if not math.isfinite(loss):
            self._best = self._best or (loss, theta)
            raise _Stop(Status.NOT_FINITE)
        self._history.append(loss)
        if self._best is None or loss <= self._best[0]:
            self._best = (loss, theta)
        iteration, seconds = len(self._history) - 1, time.perf_counter() - self._started
        if iteration and self._callback and self._callback(Progress(iteration, loss, seconds)):
            raise _Stop(Status.STOPPED)
        if self._time_limit is not None and seconds > self._time_limit:
            raise _Stop(Status.TIME_LIMIT)

    def run(self, body: Callable[[], Status]) -> SolverResult:
        """Run a solver's iterations to their end.

        Args:
            body: Function that calls `record` before the first and after each iteration and returns the status.

        Returns:
            The best parameters and why the run ended.

        Raises:
            KeyboardInterrupt: On Ctrl-C before the first `record`, when there is no state to keep.
        """
        try:
            status = body()
        except _Stop as stop:
            status = stop.status
        except KeyboardInterrupt:
            if self._best is None:
                raise
            status = Status.INTERRUPTED
        assert self._best is not None, "a solver records its initial state"
        loss, theta = self._best
        return SolverResult(theta, loss, status, tuple(self._history), time.perf_counter() - self._started)
