"""Processes of a program: limits, the end of all of them, and a watchdog for the case that Python ends first."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

_GONE = 0.05  # longest wait for killed child processes to disappear, s; by hand: they need a few milliseconds
_PASSES = 3  # searches for processes of a session, which may start others meanwhile; by hand
_UNLIMITED = 2**53  # CPU seconds or bytes from which there is no limit; by hand: Linux kills at once at 2**62 s

_WATCHDOG = """
trap '' HUP INT QUIT TERM
pid=
while read -r word; do
    case $word in done) exit 0 ;; *) pid=$word ;; esac
done
if [ -z "$pid" ]; then  # this Python process ended after it had started the program, before it could name it
    sleep 0.1
    for process in /proc/[0-9]*; do
        if [ "$process/cwd" -ef "$1" ]; then pid="$pid ${process#/proc/}"; fi
    done
fi
for leader in $pid; do
    kill -KILL -- "-$leader"
    if command -v pkill; then pkill -KILL -s "$leader"; fi
done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""


class Watchdog:
    """A shell that ends a program and removes its folder if this Python process ends first, by whatever signal.

    The shell reads from a pipe whose other end this process alone holds: the end of the process closes the pipe. No
    signal handler is set, and the thread of the caller does not matter. Without a shell (Windows) nothing is watched.
    """

    def __init__(self, folder: Path) -> None:
        """Start the shell.

        Args:
            folder: Folder to remove if this process ends first.
        """
        self._shell: subprocess.Popen[bytes] | None = None
        if os.name == "posix":
            with suppress(OSError):  # no shell, or no process to spare: the program runs without a watchdog
                self._shell = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHDOG, "gradopt-watchdog", str(folder)],
                    bufsize=0,
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={"PATH": os.defpath},
                    start_new_session=True,
                )
        _watchdogs.add(self)

    def watch(self, pid: int) -> None:
        """Name the process whose group and session end with this Python process."""
        self._write(f"{pid}\n")

    def dismiss(self) -> None:
        """End the shell, which then leaves program and folder alone."""
        self._write("done\n")
        self.close()
        if self._shell is not None:
            self._shell.wait()

    def close(self) -> None:
        """Close the pipe of this process."""
        if self._shell is not None and self._shell.stdin is not None:
            self._shell.stdin.close()

    def _write(self, line: str) -> None:
        pipe = None if self._shell is None else self._shell.stdin
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):  # somebody ended the shell
                pipe.write(line.encode())


_watchdogs: WeakSet[Watchdog] = WeakSet()


def _close_all() -> None:
    """Close the pipes of a forked process: they have to close where its parent ends."""
    for watchdog in list(_watchdogs):
        watchdog.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


def limit(pid: int, cpu_seconds: float, file_bytes: float) -> None:
    """Limit the CPU time of a process, s, and the size of each of its files, bytes; on Linux alone."""
    if sys.platform == "linux":  # Windows lacks the module, and only Linux has the call
        import resource

        for kind, value in ((resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_FSIZE, file_bytes)):
            most = math.ceil(value) if value < _UNLIMITED else resource.RLIM_INFINITY
            soft, hard = (_smaller(most, ours, resource.RLIM_INFINITY) for ours in resource.getrlimit(kind))
            with suppress(ProcessLookupError, PermissionError):  # the program has ended already, or is another user's
                resource.prlimit(pid, kind, (soft, hard))


def _smaller(one: int, other: int, infinity: int) -> int:
    """Smaller of two limits, of which infinity is -1."""
    return other if one == infinity else one if other == infinity else min(one, other)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a program has ended; its process id stays taken until `end_all`."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # this process ignores SIGCHLD: the system keeps no record of the end
        return True


def end_all(process: subprocess.Popen[bytes]) -> int:
    """Kill a program, unless it has ended, and what is left of its process group and session.

    Args:
        process: Program, started in a new session. A process that it put into a session of its own is not found.

    Returns:
        Return code of the program.
    """
    if not hasattr(os, "killpg"):  # Windows has no process groups of this kind
        process.kill()
        return process.wait()
    pid = process.pid
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for _ in range(_PASSES):
        others = _session(pid)  # groups of their own, such as the jobs of an interactive shell
        for other in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        if not others:
            break
    code = process.wait()  # the id was taken until here: no other process can have been hit
    end = time.monotonic() + _GONE
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < end:
            os.killpg(pid, 0)
            time.sleep(_GONE / 50.0)
    return code


def _session(leader: int) -> list[int]:
    """Process ids of a session without its leader, on Linux; elsewhere none."""
    found = []
    for name in os.listdir("/proc") if sys.platform == "linux" and os.path.isdir("/proc") else ():
        if name.isdigit() and int(name) != leader:
            with suppress(OSError):
                if os.getsid(int(name)) == leader:
                    found.append(int(name))
    return found
