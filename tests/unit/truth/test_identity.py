"""An identity changes with what the function computes, and is None where the source does not determine that."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gradopt import Variable
from gradopt.truth.function import FunctionTruth
from gradopt.truth.identity import identity_of

SOURCE = """
import functools
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
    ],
    ids=[
        "lambda",
        "closure",
        "partial",
        "object",
        "method",
        "array",
        "class",
        "list",
        "decorated",
        "cache",
        "numpy",
    ],
)
def test_functions_with_hidden_state_have_no_identity(tmp_path: Path, make: Any) -> None:
    assert identity_of(make(module(tmp_path / "a"))) is None


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
