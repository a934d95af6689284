"""What runs in a worker process: make the function once, call it at each argument that comes."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's <sys/prctl.h>

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Recipe:
    """How a worker makes the function that it calls.

    Attributes:
        key: Words that distinguish it: equal keys, equal functions.
        factory: Pickle of a callable without arguments that returns the function.
    """

    key: str
    factory: bytes


@dataclass(frozen=True)
class Started:
    """The function has been made, and is called now."""


@dataclass(frozen=True)
class Returned:
    """What the function returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What making or calling the function raised."""

    error: Exception


def call(
    made: dict[str, Function], recipe: Recipe, argument: Any, started: Callable[[], object] = lambda: None
) -> Returned | Raised:
    """Call a function, which is made where it has not been before.

    Args:
        made: Functions by the key of their recipe; a new one is added.
        recipe: How to make the function.
        argument: Its argument.
        started: Called between making and calling it.

    Returns:
        What it returned or raised.
    """
    try:
        if recipe.key not in made:
            made[recipe.key] = pickle.loads(recipe.factory)()
        started()
        return Returned(made[recipe.key](argument))
    except Exception as error:
        return Raised(_portable(error))


def main(descriptor: int, parent: int) -> None:
    """Answer what the parent process sends, until it closes the connection.

    Args:
        descriptor: Descriptor of the connection.
        parent: Process id of the parent.
    """
    _end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what ends
    faulthandler.enable()
    connection, made = Connection(descriptor), dict[str, Function]()
    with suppress(EOFError, ConnectionError):
        while True:
            recipe, argument = pickle.loads(connection.recv_bytes())
            answer = call(made, recipe, argument, lambda: connection.send(Started()))
            try:
                sent = pickle.dumps(answer)
            except Exception as error:
                error.add_note("The result of an evaluation cannot be sent from its worker process.")
                sent = pickle.dumps(Raised(_portable(error)))
            connection.send_bytes(sent)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, by whatever signal (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        sys.exit()


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with the place where it was raised."""
    error.add_note("Raised in a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        other = RuntimeError(f"{type(error).__name__}: {error}")
        for note in error.__notes__:
            other.add_note(note)
        return other
    return error
