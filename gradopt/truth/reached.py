"""Hash of an object with the code and the values that it reaches, the same in every process."""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from gradopt.truth.bytecode import Chain, Import, operations, uses_of
from gradopt.truth.installed import compiled_file, package_of, package_of_file, package_of_module

PLAIN = (bool, int, float, complex, str, bytes, type(None))
_UNWRAPPED = ("__wrapped__", "py_func")  # what functools, jax and numba call the function within an object of theirs
_WITHOUT_VALUE = tuple(
    type(made)
    for made in (threading.Lock(), threading.RLock(), threading.Event(), threading.Condition(), threading.local())
)
_BUFFER = 2**20  # number of bytes of a file read at once, by hand


class UnidentifiedError(Exception):
    """A part of a truth has no value that is the same in every process; the text names the part."""


def digest_of_file(path: Path) -> str:
    """Hash the bytes of a file; raises `UnidentifiedError` where it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_BUFFER):
                found.update(part)
    except OSError as error:
        raise UnidentifiedError(f"the file {str(path)!r}, which cannot be read ({error})") from error
    return found.hexdigest()


class Digest:
    """A hash of objects, the same in every process."""

    def __init__(self) -> None:
        """Start without an object."""
        self._hash = hashlib.sha256()
        self._seen: dict[int, tuple[int, Any]] = {}  # the objects are referenced, so that no other gets the `id` of one
        self._trail: list[str] = []
        self._later: list[tuple[FunctionType | type, tuple[str, ...]]] = []

    def hexdigest(self) -> str:
        """Return the hash."""
        return self._hash.hexdigest()

    def add(self, *words: str) -> None:
        """Add words."""
        for word in words:
            coded = word.encode("utf-8", "surrogatepass")
            self._hash.update(f"{len(coded)}:".encode() + coded)

    def take(self, thing: Any) -> None:
        """Add an object with all that it reaches.

        Raises:
            UnidentifiedError: If a part has no value that is the same in every process.
        """
        try:
            self._take(thing)
            for later, trail in self._later:  # grows within the loop
                self._trail = list(trail)
                self._function(later) if isinstance(later, FunctionType) else self._class(later)
        except RecursionError as error:
            raise self._without("an object that is nested too deeply") from error
        self._later.clear()

    def _take(self, thing: Any) -> None:
        kind = type(thing)
        if kind in PLAIN:
            self.add(kind.__name__, repr(thing))
        elif kind in (tuple, list) and all(type(entry) in PLAIN for entry in thing):
            self.add(kind.__name__, repr(thing))
        elif kind is tuple:
            self._entries("tuple", thing)
        elif isinstance(thing, np.generic) and not thing.dtype.hasobject:
            self.add("number", thing.dtype.str, thing.tobytes().hex())
        elif id(thing) in self._seen:
            self.add("again", str(self._seen[id(thing)][0]))
        else:
            self._seen[id(thing)] = (len(self._seen), thing)
            self._take_new(thing)

    def _take_new(self, thing: Any) -> None:
        kind = type(thing)
        if kind is np.ndarray and not thing.dtype.hasobject:
            self.add("array", str(thing.dtype.descr), str(thing.shape))
            self._hash.update(np.ascontiguousarray(thing).tobytes())
        elif kind is list:
            self._entries("list", thing)
        elif kind is dict:
            self._mapping(thing)
        elif kind in (set, frozenset):
            self.add(kind.__name__, *sorted(self._alone(entry) for entry in thing))
        elif isinstance(thing, CodeType):
            self._code(thing)
        elif isinstance(thing, FunctionType | type):
            self.add("later")  # in a list, as the calls of functions by functions may be nested deeply
            self._later.append((thing, tuple(self._trail)))
        elif isinstance(thing, MethodType):
            self.add("method")
            self._take(thing.__func__)
            self._named("the object of the method", thing.__self__)
        elif isinstance(thing, ModuleType):
            self._module(thing)
        elif isinstance(thing, BuiltinFunctionType):
            self._builtin(thing)
        elif isinstance(thing, staticmethod | classmethod):
            self.add(kind.__name__)
            self._take(thing.__func__)
        elif isinstance(thing, property):
            self._entries("property", (thing.fget, thing.fset, thing.fdel))
        else:
            self._object(thing)

    def _entries(self, word: str, things: Iterable[Any]) -> None:
        entries = list(things)
        self.add(word, str(len(entries)))
        for number, entry in enumerate(entries):
            self._named(f"[{number}]", entry)

    def _mapping(self, things: dict[Any, Any]) -> None:
        self.add("dict", str(len(things)))
        for key, value in things.items():
            self._take(key)
            self._named(f"[{key!r}]", value)

    def _alone(self, thing: Any) -> str:
        """Hash an entry of a set by itself, as a set has no order."""
        found = Digest()
        found._trail = list(self._trail)
        found.take(thing)
        return found.hexdigest()

    def _module(self, module: ModuleType) -> None:
        """Add a module that is used as a whole."""
        package = package_of(module)
        if package is not None:
            self.add("package", package, module.__name__)
        elif not self._compiled(module):
            for name, value in sorted(vars(module).items()):
                if not name.startswith("__"):
                    self._named(name, value)

    def _package(self, module: object) -> bool:
        """Add the installed package of a module by name and version; return False for a module of the user."""
        if not isinstance(module, str):  # the metatype of a compiled extension has a descriptor there
            return False
        try:
            package = package_of_module(module)
        except (ImportError, ValueError):
            return False  # made by `exec`, or loaded from a file without an entry in `sys.modules`
        if package is not None:
            self.add("package", package, module)
        return package is not None

    def _compiled(self, module: ModuleType) -> bool:
        path = compiled_file(module)
        if path is not None:
            self.add("compiled", digest_of_file(path))
        return path is not None

    def _builtin(self, thing: Any) -> None:
        owner = thing.__self__
        self.add("builtin", thing.__qualname__)
        if isinstance(owner, ModuleType):
            self._module(owner)
        elif owner is not None:
            self._take(owner)
        elif thing.__module__ is not None:
            self._package(thing.__module__)

    def _function(self, function: FunctionType) -> None:
        with self._within(f"function {function.__qualname__!r}"):
            code = function.__code__
            package = package_of_file(code.co_filename)
            if package is not None or (code.co_filename.startswith("<") and self._package(function.__module__ or "")):
                self.add("function", package or "", code.co_name)
            else:
                self._code(code)
                self._globals(function)
            self._entries("defaults", function.__defaults__ or ())
            self._mapping(function.__kwdefaults__ or {})
            self._closure(function)
            for name, value in sorted(vars(function).items()):
                self._named(name, value)

    def _closure(self, function: FunctionType) -> None:
        chains = uses_of(function.__code__).local
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                raise self._without(f"the name {name!r}, which has no value yet") from None
            self.add(name)
            self._reached(name, value, chains.get(name, {()}))

    def _code(self, code: CodeType) -> None:
        self.add("code")
        for word, value in operations(code):
            self.add(word)
            if word == "constant":
                self._take(value)
            else:
                self.add(str(value))

    def _globals(self, function: FunctionType) -> None:
        """Add what a function of the user reaches by global names and by imports within it."""
        uses, space = uses_of(function.__code__), function.__globals__
        builtins = space.get("__builtins__", {})
        builtins = vars(builtins) if isinstance(builtins, ModuleType) else builtins
        for name, chains in sorted(uses.names.items()):
            if name in uses.stored:
                continue  # a state, which is no part of what the function is
            if name in space:
                self.add(name)
                self._reached(name, space[name], chains)
            elif name not in builtins and name in uses.certain:
                raise self._without(f"the name {name!r}, which is not defined yet")
        for one in uses.imports:
            self._imported(one, str(space.get("__package__") or ""), uses.local)

    def _imported(self, one: Import, package: str, local: dict[str, set[Chain]]) -> None:
        name = resolve_name("." * one.level + one.module, package) if one.level else one.module
        self.add("import", name)
        if self._package(name):
            return
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise self._without(f"the module {name!r}, which cannot be imported ({error})") from error
            self.add("missing")
            return
        except Exception as error:  # whatever the module raises
            raise self._without(f"the module {name!r}, which cannot be imported ({error})") from error
        if one.names:
            self._reached(name, module, {(entry,) for entry in one.names})
        else:
            held = module if one.whole else import_module(name.partition(".")[0])
            self._reached(name, held, local.get(one.variable, {()}))

    def _reached(self, name: str, value: Any, chains: set[Chain]) -> None:
        """Add a value; of a module of the user only the attributes that are looked up."""
        for chain in sorted(chains):
            found, words, path = value, [name], chain
            while path and isinstance(found, ModuleType) and package_of(found) is None and not compiled_file(found):
                words.append(path[0])
                found, path = self._attribute(found, path[0], ".".join(words)), path[1:]
            self.add(*words)
            self._named(f"the name {'.'.join(words)!r}", found)

    def _attribute(self, module: ModuleType, name: str, full: str) -> Any:
        if not hasattr(module, name):
            try:
                return import_module(f"{module.__name__}.{name}")
            except ImportError:
                raise self._without(f"the name {full!r}, which is not defined yet") from None
        return getattr(module, name)

    def _class(self, kind: type) -> None:
        self.add("class", kind.__name__)
        if self._package(kind.__module__):
            self.add(kind.__qualname__)
            return
        with self._within(f"class {kind.__qualname__!r}"):
            self._entries("bases", kind.__bases__)
            self._take(type(kind))
            members = dict(vars(kind))
            if issubclass(kind, Enum):
                self._mapping({name: member.value for name, member in kind.__members__.items()})
                members = {name: value for name, value in members.items() if isinstance(value, FunctionType)}
            for name, value in sorted(members.items()):
                special = name.startswith("__") and name.endswith("__") and name != "__slots__"
                described = isinstance(value, MemberDescriptorType | GetSetDescriptorType) or name == "_abc_impl"
                if described or (special and not _is_code(value)):
                    continue
                self.add(name)
                self._named(f"the attribute {name!r}", value)

    def _object(self, thing: Any) -> None:
        """Add any other object by its class and its state, as pickle and copy see them."""
        kind = type(thing)
        if isinstance(thing, _WITHOUT_VALUE):
            self.add(kind.__name__)
        elif isinstance(thing, np.ufunc):
            self.add("ufunc", thing.__name__)
            self._take(kind)
        elif isinstance(thing, Enum):
            self._take(kind)
            self.add(thing.name)
        elif isinstance(thing, ctypes.CDLL):
            path = Path(str(thing._name))
            self.add("library", digest_of_file(path) if path.is_file() else str(thing._name))
        elif callable(getattr(thing, "detach", None)) and kind.__module__.partition(".")[0] == "torch":
            self._take(thing.detach().cpu().numpy())
        else:
            within = [getattr(thing, name, None) for name in _UNWRAPPED]
            self._take(kind)
            if any(callable(function) for function in within):
                self._entries("wrapped", [function for function in within if callable(function)])
            else:
                self._state(thing)

    def _state(self, thing: Any) -> None:
        try:
            reduced = thing.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception as error:  # whatever a class of the user raises; most often it cannot be pickled
            kind = type(thing)
            raise self._without(f"an object of {kind.__module__}.{kind.__qualname__} ({error})") from error
        if isinstance(reduced, str):
            self.add("global", reduced)
            return
        maker, arguments, state, entries, items = (*reduced, None, None, None)[:5]
        self._take(maker)
        self._entries("arguments", arguments)
        for name, value in state.items() if isinstance(state, dict) else [("state", state)]:
            self.add(str(name))
            self._named(f"the attribute {name!r}", value)
        self._entries("entries", entries or ())
        self._entries("items", items or ())

    def _named(self, name: str, thing: Any) -> None:
        with self._within(name):
            self._take(thing)

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        self._trail.append(name)
        yield
        self._trail.pop()

    def _without(self, what: str) -> UnidentifiedError:
        return UnidentifiedError(self._place() + what)

    def _place(self) -> str:
        return "".join(f"{name}: " for name in self._trail[-_PLACES:])


_PLACES = 3  # number of names that say where a part is, by hand


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | staticmethod | classmethod | property)
