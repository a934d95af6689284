"""Identity of a truth: a hash of the code and the values that its results depend on, as far as both can be reached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradopt.errors import InputError, explain
from gradopt.truth.reached import PLAIN, Digest, UnidentifiedError, digest_of_file

_LINE = 256  # number of bytes of the first line of a script that Linux reads (BINPRM_BUF_SIZE)


def identity_of(thing: Any) -> str | None:
    """Identify a function, or another object, by the code and the values that it reaches.

    The hash includes the code of the user's own functions and classes, in whichever modules, without comments,
    docstrings and line numbers; values of constants, arrays, containers, closures, defaults and attributes; names and
    versions of installed packages. Files that the code reads, programs that it starts and names that it looks up by
    strings are not included.

    Args:
        thing: Any object.

    Returns:
        "module.name sha256", the same in every process; None where `unidentified` names a part.
    """
    return attempt(lambda: identify(thing))[0]


def unidentified(thing: Any) -> str:
    """Name the part of an object for which `identity_of` returns None, "" where there is none."""
    return attempt(lambda: identify(thing))[1]


def attempt(make: Callable[[], str]) -> tuple[str | None, str]:
    """Return an identity, or None and the part that cannot be identified."""
    try:
        return make(), ""
    except UnidentifiedError as missing:
        return None, str(missing)


def identify(thing: Any) -> str:
    """Identify an object, see `identity_of`; raises `UnidentifiedError`."""
    found = Digest()
    found.take(thing)
    return f"{_title(thing)} {found.hexdigest()}"


def reason_of(truth: Any) -> str:
    """Name what of a truth could not be identified, "" where that is not known."""
    for name in ("unidentified", "truth", "model"):
        found = getattr(truth, name, None)
        if found is not None:
            return found if isinstance(found, str) else reason_of(found)
    return ""


def check_identity(truth: Any) -> None:
    """Check that a truth can find its rows in a store on disk.

    Args:
        truth: Truth.

    Raises:
        InputError: If it has no identity.
    """
    if truth.identity is None:
        reason = reason_of(truth)
        got = f"None: {reason} cannot be identified" if reason else "None"
        remedy = "Pass identity='wing v3' to the truth: words that you change whenever its results change."
        raise InputError(explain("truth.identity", "be given for a store on disk", got, remedy))


def identify_command(command: Sequence[str], given: object, parse: Callable[..., Any]) -> str:
    """Identify runs of a program.

    Args:
        command: Name or path of the program, and its arguments.
        given: What the program receives.
        parse: Function that reads its results.

    Returns:
        "program module.parse sha256".

    Raises:
        UnidentifiedError: If a part cannot be identified.
    """
    found = Digest()
    found.take((tuple(command), given, parse, identity_of_program(command)))
    return f"{Path(command[0]).name} {_title(parse)} {found.hexdigest()}"


def digest_of_model(model: Any, code: str, values: Mapping[str, Any]) -> str:
    """Hash an OpenMDAO model: the classes and the plain options of its systems, and values that stay as they are.

    Args:
        model: Model that is set up.
        code: Identity of the function that builds the model.
        values: Values by name.

    Returns:
        A hash.

    Raises:
        UnidentifiedError: If the class of a system cannot be identified.
    """
    found = Digest()
    found.add(code)
    for system in model.system_iter(include_self=True, recurse=True):
        found.add(system.pathname)
        found.take(type(system))
        for name, value in system.options.items():
            if _is_plain(value):
                found.add(name)
                found.take(value)
    for name, value in sorted(values.items()):
        found.add(name)
        found.take(value if _is_plain(value) else type(value))
    return found.hexdigest()


def identity_of_program(command: Sequence[str]) -> str:
    """Identify a program by the bytes of its files, wherever they lie.

    The files are the executable, the interpreter that the first line of a script names, and those among the arguments:
    an absolute path by itself or after "=". What the program loads or starts itself is not included.

    Args:
        command: Name or path of the program, and its arguments.

    Returns:
        A hash.

    Raises:
        UnidentifiedError: If the program is not installed, or a file cannot be read.
    """
    found = Digest()
    found.add(*(digest_of_file(path) for path in _executables(command[0])))
    for word in command[1:]:
        path = Path(word.rpartition("=")[2])
        if path.is_absolute() and _is_file(path):
            found.add(digest_of_file(path))
    return found.hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, an array, or a container of such."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return isinstance(value, np.ndarray | np.generic) or type(value) in PLAIN


def _title(thing: Any) -> str:
    """Name of a function, or of the class of another object, with its module."""
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    module = getattr(owner, "__module__", None) or "builtins"
    return f"{'__main__' if module == '__mp_main__' else module}.{owner.__qualname__}"


def _executables(name: str) -> list[Path]:
    """Find the file of a program and the interpreters that first lines of scripts name."""
    found: list[Path] = []
    while name:
        place = shutil.which(name)
        if place is None:
            raise UnidentifiedError(f"the program {name!r}, which is not installed")
        path = Path(place).resolve()
        if path in found:
            break
        found.append(path)
        name = _interpreter(path)
    return found


def _interpreter(path: Path) -> str:
    """Return the interpreter that the first line of a script names, "" where there is none."""
    try:
        with path.open("rb") as file:
            line = file.readline(_LINE)
    except OSError as error:
        raise UnidentifiedError(f"the program {str(path)!r}, which cannot be read ({error})") from error
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an argument that is too long for a path, or has a null character
        return False
