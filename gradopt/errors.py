"""Every error gradopt raises on purpose, and the one form their messages take.

A message names the argument, what was expected, what came, and a remedy that can be pasted. The classes are also
the built-in error a caller would look for (`ValueError`, `ImportError`, ...), so that nobody must import ours.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = [
    "EvaluationError",
    "FileFormatError",
    "GradoptError",
    "InputError",
    "MissingExtraError",
    "ShapeError",
]


class GradoptError(Exception):
    """Base of every error that gradopt raises on purpose."""


class InputError(GradoptError, ValueError):
    """An argument has a wrong value."""


class ShapeError(InputError):
    """An array has a wrong shape."""


class FileFormatError(GradoptError, ValueError):
    """A file is truncated, foreign, newer than this version, or was changed after it was written."""


class EvaluationError(GradoptError, RuntimeError):
    """The truth could not be evaluated at a point; an outcome of that point, not a fault of the program."""


class MissingExtraError(GradoptError, ImportError):
    """An optional dependency is not installed."""


def explain(argument: str, expected: str, got: object, remedy: str) -> str:
    """Format an error message.

    Args:
        argument: Name of the offending argument as the caller wrote it.
        expected: What would have been right, continuing "must ...".
        got: What came instead.
        remedy: What to do about it, one sentence.

    Returns:
        "`argument` must `expected`, got `got`. `remedy`"
    """
    return f"`{argument}` must {expected}, got {got}. {remedy}"


def import_extra(module: str, extra: str) -> ModuleType:
    """Import an optional dependency or say which extra brings it.

    Args:
        module: Dotted name of the module.
        extra: Extra of gradopt that installs it.

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
