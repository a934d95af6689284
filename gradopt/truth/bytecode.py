"""Code objects without comments, docstrings and line numbers, and the names that they use."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_EMPTY = {"NOP", "RESUME", "CACHE", "EXTENDED_ARG", "NOT_TAKEN"}  # no effect on the result
_DESCRIPTIONS = {"__doc__", "__firstlineno__", "__static_attributes__"}  # set in the body of a class
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_LOCAL = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_TAKES_ARGUMENTS = 0x04 | 0x08  # bits of `co_flags` for *args and **kwargs

Chain = tuple[str, ...]
"""Attributes in the order in which they are looked up: ("linalg", "norm")."""


@dataclass(frozen=True)
class Import:
    """An import within a function.

    Attributes:
        module: Name of the module, relative to the package where `level` is not 0.
        level: Number of leading dots.
        names: Names of "from module import names"; empty = the module itself.
        variable: Name of the local variable that holds the module, "" where `names` are imported.
        whole: Whether the variable holds `module` itself; otherwise its first package.
    """

    module: str
    level: int
    names: tuple[str, ...]
    variable: str = ""
    whole: bool = False


@dataclass
class Uses:
    """Names that a code object uses, with those of the code objects within it.

    Attributes:
        names: Global names, with the attributes that are looked up in each.
        certain: Global names that are no names of a class body.
        local: Local names, likewise with attributes.
        stored: Global names that the code sets.
        imports: Imports within the code.
    """

    names: dict[str, set[Chain]] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    local: dict[str, set[Chain]] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    imports: list[Import] = field(default_factory=list)


def operations(code: CodeType) -> Iterator[tuple[str, object]]:
    """Yield each operation of a code object with its argument; a constant is yielded as ("constant", value).

    Comments, docstrings, line numbers and the file's name have no effect; names of local variables have one.
    """
    flags = code.co_flags & _TAKES_ARGUMENTS
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags)
    yield "signature", repr((counts, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]))
    steps = _steps(code)
    position = {step.offset: number for number, step in enumerate(steps)}
    after: dict[int, int] = {}
    following = end = len(steps)
    for step in reversed(list(dis.get_instructions(code))):
        following = position.get(step.offset, following)
        after[step.offset] = following
    for *places, depth in _handlers(code.co_exceptiontable):
        yield "handler", repr(([after.get(place, end) for place in places], depth))
    for step in steps:
        if step.opcode in dis.hasconst:
            yield step.opname, None
            yield "constant", step.argval
        elif step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            yield step.opname, after.get(step.argval, end)
        else:
            yield step.opname, repr(step.argval if _is_plain(step.argval) else step.arg)


def uses_of(code: CodeType) -> Uses:
    """Return the names that a code object uses."""
    found = Uses()
    _collect(code, found)
    return found


def _steps(code: CodeType) -> list[dis.Instruction]:
    found: list[dis.Instruction] = []
    for step in dis.get_instructions(code):
        if step.opname in _EMPTY:
            continue
        if step.opname == "STORE_NAME" and step.argval in _DESCRIPTIONS and found:
            found.pop()  # what loads the value
            continue
        found.append(step)
    return found


def _handlers(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield start, end and target (offsets) and depth of each handler of exceptions.

    References:
        CPython, `Objects/exception_handling_notes.txt`.
    """
    left = iter(table)
    for first in left:
        entry: list[int] = []
        for _ in range(4):
            byte = next(left) if entry else first
            number = byte & 63
            while byte & 64:
                byte = next(left)
                number = number << 6 | byte & 63
            entry.append(number)
        start, size, target, depth = entry
        yield 2 * start, 2 * (start + size), 2 * target, depth


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(_is_plain(entry) for entry in value))


def _collect(code: CodeType, found: Uses) -> None:
    steps = _steps(code)
    for number, step in enumerate(steps):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found.stored.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            found.imports.append(_import(steps, number))
        elif step.opname in _GLOBAL:
            found.names.setdefault(step.argval, set()).add(_chain(steps, number))
            if step.opname == "LOAD_GLOBAL":
                found.certain.add(step.argval)
        elif step.opname.startswith(_LOCAL):
            *others, last = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            found.local.setdefault(last, set()).add(_chain(steps, number))
            for name in others:
                found.local.setdefault(name, set()).add(())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, found)


def _chain(steps: list[dis.Instruction], number: int) -> Chain:
    found = []
    for step in steps[number + 1 :]:
        if step.opname not in _ATTRIBUTE:
            break
        found.append(str(step.argval))
    return tuple(found)


def _import(steps: list[dis.Instruction], number: int) -> Import:
    step = steps[number]
    level, names = steps[number - 2].argval, steps[number - 1].argval
    if names:
        return Import(step.argval, level, tuple(names))
    whole = "." not in step.argval
    for later in steps[number + 1 :]:
        whole = whole or later.opname == "IMPORT_FROM"
        if later.opname.startswith("STORE_"):
            variable = later.argval[0] if isinstance(later.argval, tuple) else later.argval
            return Import(step.argval, level, (), str(variable), whole)
    return Import(step.argval, level, (), "", True)
