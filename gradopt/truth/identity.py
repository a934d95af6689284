"""Identity of a function: a hash of its source, so that stored evaluations are never used for another function."""

from __future__ import annotations

import dis
import hashlib
import inspect
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def identity_of(function: Callable[..., Any]) -> str | None:
    """Identify a function by module, name and source, including what the function uses of its own module.

    The hash includes the source of functions and classes of the same module, and the values of plain constants. Names
    from other modules are included as names alone.

    Args:
        function: Any callable.

    Returns:
        "module.name sha256", or None where the source does not determine the result: lambdas, closures, partials, bound
        methods, callable objects, mutable defaults, and functions that read arrays or other objects of their module.
    """
    if not isinstance(function, FunctionType) or not function.__qualname__.isidentifier():
        return None
    found = hashlib.sha256()
    if not _take(function, function.__module__, found, set()):
        return None
    module = "__main__" if function.__module__ == "__mp_main__" else function.__module__
    return f"{module}.{function.__qualname__} {found.hexdigest()}"


def _take(thing: Any, home: str, found: Any, seen: set[int]) -> bool:
    """Add an object to the hash, with all that an object of the module `home` uses; return whether that is possible."""
    if isinstance(thing, ModuleType) or _is_plain(thing):
        found.update(f"{thing.__name__ if isinstance(thing, ModuleType) else repr(thing)}\n".encode())
        return True
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    module = getattr(thing, "__module__", None) or type(thing).__module__
    if not isinstance(name, str):
        return False
    if module != home:
        found.update(f"{module}.{name}\n".encode())
        return True
    if id(thing) in seen:
        return True
    seen.add(id(thing))
    if isinstance(thing, FunctionType):
        return _take_function(thing, home, found, seen)
    return isinstance(thing, type) and _take_class(thing, home, found, seen)


def _take_function(function: FunctionType, home: str, found: Any, seen: set[int]) -> bool:
    code = function.__code__
    captured: Iterable[Any] = [cell.cell_contents for cell in function.__closure__ or ()]
    if any(not isinstance(value, type) or value.__module__ != home for value in captured):  # `super` needs its class
        return False
    try:
        found.update(inspect.getsource(function).encode())
    except (OSError, TypeError):
        found.update(code.co_code + repr(code.co_consts).encode())
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    if not all(_is_plain(value) for value in defaults):
        return False
    found.update(repr(defaults).encode())
    for name in sorted(_looked_up(code) & set(function.__globals__)):
        found.update(f"{name} = ".encode())
        if not _take(function.__globals__[name], home, found, seen):
            return False
    return True


def _take_class(kind: type, home: str, found: Any, seen: set[int]) -> bool:
    try:
        found.update(inspect.getsource(kind).encode())
    except (OSError, TypeError):
        return False
    if not all(_take(base, home, found, seen) for base in kind.__bases__):
        return False
    for name, value in vars(kind).items():
        value = getattr(value, "__func__", getattr(value, "fget", value))  # static and class methods, properties
        if (isinstance(value, FunctionType) or not name.startswith("__")) and not _take(value, home, found, seen):
            return False
    return True


def _looked_up(code: CodeType) -> set[str]:
    """Global names that a code object and the code objects within it look up."""
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_looked_up(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(_is_plain(entry) for entry in value))
