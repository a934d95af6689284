"""How far a call is that evaluates many points: counts, an estimate of the time left, and lines in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from time import monotonic

logger = logging.getLogger("gradopt")

_LOG_EVERY = 10.0  # time between lines in the log, s; by hand
_LOG_SHARE = 0.05  # of the time since the call began, where that is longer: some 100 lines in a day; by hand
_CALL_EVERY = 0.1  # time between calls of the callback, s; by hand: more often nobody reads it


@dataclass(frozen=True)
class Progress:
    """How far a call is that evaluates points at the same time.

    Attributes:
        done: Number of evaluations that have ended, failed ones included.
        running: Number of evaluations that run now, as far as the executor tells: Dask's says 0.
        failed: Number of failed evaluations among `done`.
        total: Number of evaluations of the call.
        seconds_left: Estimated time left, s, from the times of the evaluations done; NaN while there is none.
    """

    done: int
    running: int
    failed: int
    total: int
    seconds_left: float

    def __str__(self) -> str:
        """Return one line for a log or a terminal."""
        left = f", about {_duration(self.seconds_left)} left" if isfinite(self.seconds_left) else ""
        counts = f"{self.done} of {self.total} evaluations done ({self.failed} failed), {self.running} running"
        return f"{counts}{left}"


class Watch:
    """Counts the evaluations of a call, and reports them from time to time."""

    def __init__(self, total: int, running: Callable[[], int], report: Callable[[Progress], object] | None) -> None:
        """Begin to count, and make the first report.

        Args:
            total: Number of evaluations of the call.
            running: Returns the number of evaluations that run now.
            report: Function that receives the progress: now, at the end, and in between ten times a second at most.
        """
        self._total, self._running, self._report = total, running, report
        self._done = self._failed = 0
        self._seconds = 0.0  # sum of the times of the evaluations
        self._began = self._logged = self._reported = monotonic()
        self._lines = 0
        if report is not None and total:
            report(self._progress())

    def ended(self, failed: bool, seconds: float) -> None:
        """Count an evaluation that has ended.

        Args:
            failed: Whether it failed.
            seconds: Its time, s.
        """
        self._done += 1
        self._failed += failed
        self._seconds += seconds
        now, last = monotonic(), self._done == self._total
        if self._report is not None and (last or now - self._reported >= _CALL_EVERY):
            self._reported = now
            self._report(self._progress())
        due = now - self._logged >= max(_LOG_EVERY, _LOG_SHARE * (now - self._began))
        if due or (last and self._lines):
            self._logged = now
            self._lines += 1
            logger.info("%s.", self._progress())

    def _progress(self) -> Progress:
        left = self._total - self._done
        running = min(self._running(), left)
        seconds = 0.0 if not left else float("nan")
        if left and self._done:
            at_once = running or max(self._seconds / max(monotonic() - self._began, 1e-9), 1.0)
            seconds = self._seconds / self._done * (left - 0.5 * running) / at_once  # on average half of one is done
        return Progress(self._done, running, self._failed, self._total, seconds)


def _duration(seconds: float) -> str:
    """Write a time with its two largest units."""
    minutes, hours = round(seconds / 60.0), round(seconds / 3600.0)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 24 * 60 else f"{hours // 24} d {hours % 24} h"
