"""Plain JSON values of results and records, and checks of what a file holds in their place."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from reprlib import repr as shortened
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from gradopt.errors import FileFormatError, explain

_DEEPEST = 150  # levels of JSON values that are read, by hand; a state has some 50
_REMEDY = "Copy the original file again."


def plain_json(value: Any) -> Any:
    """Convert a value to plain JSON values, recursively.

    Args:
        value: Number, string, None, array or NumPy scalar, or mappings, lists and tuples of them.

    Returns:
        The same in dictionaries with string keys, lists, strings, finite numbers, booleans and None. A number that is
        not finite becomes None.
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_json(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def check_nesting(values: object) -> None:
    """Raise `FileFormatError` if JSON values from a file are nested so deeply that recursion would fail."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [
            entry
            for each in level
            if isinstance(each, dict | list)
            for entry in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise FileFormatError(explain("header", f"be nested at most {_DEEPEST} levels deep", "deeper values", _REMEDY))


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value has the type that a record declares for a field; a whole number passes for a real one."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(value) == len(each) and all(map(fits, value, each))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, parts[0]) and fits(entry, parts[1]) for key, entry in value.items()
        )
    if origin is not None:  # such as a sequence: the record checks it
        return True
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if getattr(hint, "_is_protocol", False):  # an object of any class, but a plain value
        return not isinstance(value, str | float | int | tuple | list | Mapping | np.ndarray | None)
    return isinstance(value, hint)


def check_fields(record: object, names: Mapping[str, type] | None = None) -> None:
    """Check the types of the fields of a record that was made of a file.

    Args:
        record: Dataclass.
        names: Classes that its annotations name beside those of its module.

    Raises:
        FileFormatError: If a field has another type than declared.
    """
    for name, hint in get_type_hints(type(record), localns=dict(names or {})).items():
        value = getattr(record, name)
        if not fits(value, hint):
            expected = hint.__name__ if isinstance(hint, type) else hint
            field = f"{type(record).__name__}.{name}"
            raise FileFormatError(explain(field, f"be {expected}", shortened(value), _REMEDY))
