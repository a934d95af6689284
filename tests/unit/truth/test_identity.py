"""An identity changes with what the function computes, and is None where the source does not determine that."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from gradopt import CommandTruth, Variable
from gradopt.truth.function import FunctionTruth
from gradopt.truth.identity import identity_of, identity_of_program, unidentified
from gradopt.truth.reached import UnidentifiedError, digest_of_file

SOURCE = """
import enum
import functools
import threading
import math
import numpy as np
from math import sin

SCALE = 2.0
TABLE = np.zeros(3)

class Base:
    offset = 1.0

class Part(Base):
    def __init__(self, k=1.0):
        super().__init__()
        self.k = k
    def value(self, x):
        return inner(x) * self.k

def inner(x):
    return x[0] + 1.0

def f(x, power=2):
    table = [math.cos(v) for v in x]
    return SCALE * inner(x) ** power + sin(table[0])

def g(x):
    return Part(3.0).value(x)

def reads_array(x):
    return TABLE[0] + x[0]

def default_list(x, values=[1.0]):
    return values[0]

def recursive(x):
    return recursive(x)

def default_constant(x, power=SCALE):
    return x[0] ** power

def nested(x):
    return sum((lambda v: v * SCALE)(v) for v in x)

def decorator(f):
    @functools.wraps(f)
    def wrapper(x):
        return f(x)
    return wrapper

@decorator
def wrapped(x):
    return x[0]

class Table:
    rows = np.zeros(3)

def reads_class(x):
    return Table.rows[0]

def closed(k):
    def inside(x):
        return k * x[0]
    return inside

class Kind(enum.Enum):
    FIRST = 1
    SECOND = 2

def reads_kind(x):
    return Kind.SECOND.value * x

LOCK = threading.Lock()

def guarded(x):
    with LOCK:
        return x

COUNT = 0

def counts(x):
    global COUNT
    COUNT += 1
    return x

GENERATOR = (number for number in range(3))

def reads_generator(x):
    return next(GENERATOR)

def reads_nothing(x):
    return NOWHERE + x

class Refusing:
    def __reduce_ex__(self, protocol):
        raise ValueError("no pickle")

REFUSING = Refusing()

def refuses(x):
    return REFUSING

def imports_broken(x):
    import broken_module
    return broken_module.y

NESTED = []
for _ in range(5000):
    NESTED = [NESTED]

def reads_nested(x):
    return NESTED

def outer():
    def inside(x):
        return later(x)
    return inside
    later = None

recursive_cell = outer()

class Callable:
    def __call__(self, x):
        return x[0]
    def method(self, x):
        return x[0]
"""


def module(folder: Path, source: str = SOURCE) -> ModuleType:
    folder.mkdir()
    path = folder / "source.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("source", path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules["source"] = made  # as an import would; the source of classes is found by it
    spec.loader.exec_module(made)
    return made


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the module afterwards."""
    yield
    sys.modules.pop("source", None)


def identity_in(folder: Path, name: str, source: str = SOURCE) -> str | None:
    return identity_of(getattr(module(folder, source), name))


def test_an_identity_has_module_and_function(tmp_path: Path) -> None:
    identity = identity_of(module(tmp_path / "a").f)
    assert identity and identity.startswith("source.f ") and len(identity.split()[1]) == 64


@pytest.mark.parametrize("name", ["f", "g", "recursive"])
def test_the_same_source_has_the_same_identity(tmp_path: Path, name: str) -> None:
    identity = identity_in(tmp_path / "a", name)
    assert identity is not None and identity == identity_in(tmp_path / "b", name)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("f", "SCALE * inner", "SCALE - inner"),
        ("f", "power=2", "power=3"),
        ("f", "SCALE = 2.0", "SCALE = 3.0"),
        ("default_constant", "SCALE = 2.0", "SCALE = 3.0"),
        ("nested", "SCALE = 2.0", "SCALE = 3.0"),
        ("f", "x[0] + 1.0", "x[0] + 2.0"),
        ("f", "from math import sin", "from math import cos as sin"),
        ("g", "x[0] + 1.0", "x[0] + 2.0"),
        ("g", "* self.k", "+ self.k"),
        ("g", "offset = 1.0", "offset = 2.0"),
    ],
)
def test_a_change_of_used_source_changes_the_identity(tmp_path: Path, name: str, old: str, new: str) -> None:
    assert old in SOURCE
    changed = identity_in(tmp_path / "b", name, SOURCE.replace(old, new))
    assert changed is not None and changed != identity_in(tmp_path / "a", name)


def test_a_change_elsewhere_does_not_change_the_identity(tmp_path: Path) -> None:
    changed = identity_in(tmp_path / "b", "g", SOURCE.replace("SCALE = 2.0", "SCALE = 3.0"))
    assert changed == identity_in(tmp_path / "a", "g")


@pytest.mark.parametrize(
    "make",
    [
        lambda source: lambda x: x[0],
        lambda source: source.closed(2.0),
        lambda source: functools.partial(source.f, power=3),
        lambda source: source.Callable(),
        lambda source: source.Callable().method,
        lambda source: source.reads_array,
        lambda source: source.reads_class,
        lambda source: source.default_list,
        lambda source: source.wrapped,
        lambda source: functools.lru_cache(source.f),
        lambda source: np.sum,
        lambda source: np.sin,
        lambda source: CubicSpline([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 4.0, 9.0]),
        lambda source: source.Kind.SECOND,
        lambda source: source.guarded,
    ],
)
def test_whatever_has_a_value_has_an_identity_that_stays(tmp_path: Path, make: Any) -> None:
    identity = identity_of(make(module(tmp_path / "a")))
    assert identity is not None and len(identity.split()[-1]) == 64
    assert identity == identity_of(make(module(tmp_path / "b")))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("reads_array", "np.zeros(3)\n\nclass Base", "np.ones(3)\n\nclass Base"),
        ("reads_class", "rows = np.zeros(3)", "rows = np.ones(3)"),
        ("default_list", "[1.0]", "[2.0]"),
        ("wrapped", "    def wrapper(x):\n        return", "    def wrapper(x):\n        return 2.0 *"),
        ("reads_kind", "SECOND = 2", "SECOND = 3"),
        ("guarded", "with LOCK:\n        return x", "with LOCK:\n        return 2.0 * x"),
    ],
)
def test_a_changed_value_changes_the_identity(tmp_path: Path, name: str, old: str, new: str) -> None:
    assert old in SOURCE
    assert identity_in(tmp_path / "a", name) != identity_in(tmp_path / "b", name, SOURCE.replace(old, new))


def test_closures_and_arguments_count(tmp_path: Path) -> None:
    source = module(tmp_path / "a")
    kinds = [source.closed(2.0), source.closed(3.0), functools.partial(source.f, power=3), functools.partial(source.f)]
    assert len({identity_of(kind) for kind in kinds}) == 4


def test_a_counter_that_the_function_sets_is_no_part_of_its_identity(tmp_path: Path) -> None:
    source = module(tmp_path / "a")
    before = identity_of(source.counts)
    source.counts([1.0])
    assert before is not None and identity_of(source.counts) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reads_generator", r"function 'reads_generator': the name 'GENERATOR': an object of builtins.generator"),
        ("reads_nothing", r"function 'reads_nothing': the name 'NOWHERE', which is not defined yet"),
        ("refuses", r"the name 'REFUSING': an object of source.Refusing \(no pickle\)"),
        ("imports_broken", r"the module 'broken_module', which cannot be imported \(broken\)"),
        ("reads_nested", r"an object that is nested too deeply"),
        ("recursive_cell", r"the name 'later', which has no value yet"),
    ],
)
def test_what_has_no_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    thing = getattr(module(tmp_path / "a"), name)
    assert identity_of(thing) is None
    assert re.search(message, unidentified(thing))


def test_a_library_that_is_loaded_by_ctypes_counts_by_its_bytes(tmp_path: Path) -> None:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    library._name = str(tmp_path / "solver.so")
    found = []
    for content in (b"1", b"1", b"2"):
        (tmp_path / "solver.so").write_bytes(content)
        found.append(identity_of(lambda x: library.cos(x)))
    assert found[0] == found[1] != found[2] and found[0] is not None


def program(folder: Path, text: str = "#!/bin/sh\necho 1\n", name: str = "solver") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder / name


def test_a_program_counts_by_its_bytes_wherever_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    found = identity_of_program([str(path)])
    assert identity_of_program(["bin/solver"]) == found
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert identity_of_program(["solver"]) == found
    program(tmp_path / "bin", "#!/bin/sh\necho 2\n")
    assert identity_of_program(["solver"]) != found


@pytest.mark.parametrize("first", ["#!{}", "#!/usr/bin/env shell", "#!/usr/bin/env -S A=1 shell -e"])
def test_the_interpreter_of_a_script_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    shell = program(tmp_path / "bin", name="shell")
    script = program(tmp_path / "bin", f"{first.format(shell)}\necho 1\n")
    found = identity_of_program([str(script)])
    program(tmp_path / "bin", "#!/bin/sh\necho 3\n", name="shell")
    assert identity_of_program([str(script)]) != found


@pytest.mark.parametrize("argument", ["{}", "--mesh={}"])
def test_files_among_the_arguments_count(tmp_path: Path, argument: str) -> None:
    mesh = tmp_path / "mesh.dat"
    mesh.write_text("1")
    command = [sys.executable, argument.format(mesh), "x" * 5000, "a\0b"]
    found = identity_of_program(command)
    mesh.write_text("2")
    assert identity_of_program(command) != found


def test_a_missing_program_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(UnidentifiedError, match="the program 'nowhere', which is not installed"):
        identity_of_program(["nowhere"])
    script = program(tmp_path, "#!/nowhere/shell\n")
    with pytest.raises(UnidentifiedError, match="the program '/nowhere/shell', which is not installed"):
        identity_of_program([str(script)])
    with pytest.raises(UnidentifiedError, match="the file .*, which cannot be read"):
        digest_of_file(tmp_path)
    truth = CommandTruth(["nowhere"], {"in": "{x}"}, lambda run: 1.0, (Variable("x"),), (Variable("y"),))
    assert truth.identity is None and "nowhere" in truth.unidentified


def test_without_source_the_identity_is_made_of_the_code(tmp_path: Path) -> None:
    def made(text: str) -> Any:
        space: dict[str, Any] = {"__name__": "typed"}
        exec(text, space)
        return space["f"]

    first = identity_of(made("def f(x):\n    return 2.0 * x[0]"))
    assert first is not None and first == identity_of(made("def f(x):\n    return 2.0 * x[0]"))
    assert first != identity_of(made("def f(x):\n    return 3.0 * x[0]"))
    assert first != identity_of(made("def f(x):\n    return 2.0 + x[0]"))


def test_a_spawned_process_gives_the_same_identity(tmp_path: Path) -> None:
    source = module(tmp_path / "a")
    for thing in (source.f, source.inner):
        thing.__module__ = "__main__"
    identity = identity_of(source.f)
    for thing in (source.f, source.inner):
        thing.__module__ = "__mp_main__"
    assert identity is not None and identity_of(source.f) == identity


def test_a_truth_has_the_identity_of_its_function_unless_one_is_given(tmp_path: Path) -> None:
    f = module(tmp_path / "a").f
    variables = (Variable("u"),), (Variable("v"),)
    assert FunctionTruth(f, *variables).identity == identity_of(f)
    assert FunctionTruth(f, *variables, identity="mine").identity == "mine"


def test_a_function_that_holds_a_generator_can_be_evaluated() -> None:
    """The class of NumPy's generators has a metatype without the name of a module."""
    generator = np.random.default_rng(0)
    truth = FunctionTruth(lambda x: float(x[0] + generator.normal()), (Variable("x"),), (Variable("f"),))
    assert truth.evaluate([[1.0]]).ok.all()
