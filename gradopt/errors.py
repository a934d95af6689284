"""Errors that gradopt raises on purpose, and the form of their messages.

A message has four parts: the argument, what was expected, the value that came instead, and a remedy. Each class is also
a subclass of the matching built-in error (`ValueError`, `ImportError`, ...), so that callers can catch that one.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = [
    "EvaluationError",
    "FileFormatError",
    "GradoptError",
    "InputError",
    "MissingExtraError",
    "ShapeError",
    "StaleStoreError",
    "StoreError",
    "WorkersError",
]


class GradoptError(Exception):
    """Base of every error that gradopt raises on purpose."""


class InputError(GradoptError, ValueError):
    """An argument has a wrong value."""


class ShapeError(InputError):
    """An array has a wrong shape."""


class FileFormatError(GradoptError, ValueError):
    """A file is truncated, of another program, newer than this version, or was changed after it was written."""


class EvaluationError(GradoptError, RuntimeError):
    """The evaluation of a truth failed at a point; a result of that point, not an error of the program."""


class StoreError(GradoptError, RuntimeError):
    """A store of evaluations cannot be read or written any more.

    Attributes:
        evaluations: `Evaluations` of the truth that are not on the disk, None where there are none.
    """

    evaluations: Any = None


class StaleStoreError(GradoptError, RuntimeError):
    """A stored point, evaluated again, gives other results: the truth has changed since, or is noisy.

    Attributes:
        stored: `Evaluations` of the point in the store.
        got: `Evaluations` of the point now.
    """

    stored: Any = None
    got: Any = None


class WorkersError(GradoptError, RuntimeError):
    """The executor that evaluates points broke.

    Attributes:
        evaluations: `Evaluations` of the truth that had been made, None where there are none.
    """

    evaluations: Any = None


class MissingExtraError(GradoptError, ImportError):
    """An optional dependency is not installed."""


def explain(argument: str, expected: str, got: object, remedy: str) -> str:
    """Format an error message.

    Args:
        argument: Name of the wrong argument as the caller wrote it.
        expected: Requirement, which continues "must ...".
        got: Value that came instead, with row and column where there are many.
        remedy: What to do about it, one sentence.

    Returns:
        "`argument` must `expected`, got `got`. `remedy`"
    """
    return f"`{argument}` must {expected}, got {got}. {remedy}"


def import_extra(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or name the extra that installs it.

    Args:
        module: Dotted name of the module.
        extra: Name of the extra of gradopt that installs the module.

    Returns:
        The module.

    Raises:
        MissingExtraError: If the module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"This needs the package `{missing.name}`, which is not installed. "
            f"Install it with: pip install 'gradopt[{extra}]'"
        ) from missing
