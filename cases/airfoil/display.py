"""A hidden display, for programs that cannot run without one."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import subprocess
from functools import cache

_PATIENCE = 10.0  # seconds within which a display must write its number; by hand


def hidden_display() -> str | None:
    """Start an Xvfb display that lives as long as this process, or return the one there is.

    Returns:
        Its name, such as ":12", for the environment variable DISPLAY; None where Xvfb is not installed or fails.
    """
    started = _start()
    if started is not None and started[0].poll() is not None:  # ended by somebody, or left behind by a fork
        _start.cache_clear()
        started = _start()
    return None if started is None else started[1]


@cache
def _start() -> tuple[subprocess.Popen[bytes], str] | None:
    program = shutil.which("Xvfb")
    if program is None:
        return None
    guard = shutil.which("setpriv")  # has it end with this process even if that is killed
    command = [guard, "--pdeathsig", "TERM", program] if guard else [program]
    ours, theirs = os.pipe()
    command += ["-displayfd", str(theirs), "-screen", "0", "320x240x8", "-nolisten", "tcp", "-noreset"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, pass_fds=(theirs,), stdin=quiet, stdout=quiet, stderr=quiet)
    atexit.register(_end, server, os.getpid())
    os.close(theirs)
    text = b""
    with open(ours, "rb", buffering=0) as stream:
        # To the end of the line: the server gives up where it cannot write all of it.
        while not text.endswith(b"\n") and select.select([stream], [], [], _PATIENCE)[0]:
            more = stream.read(16)
            if not more:  # it has died
                break
            text += more
    return (server, f":{int(text)}") if text.endswith(b"\n") else None


def _end(server: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a fork must not take it from its parent
        server.terminate()  # not killed, or its socket stays
        server.wait()
