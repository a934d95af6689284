"""An identity covers the files of the user that a function reaches, and neither comments nor what it does not reach."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openmdao.api as om
import pytest

from gradopt import ModelTruth
from gradopt.truth.identity import identity_of, unidentified

FILES = {
    "main.py": """
import functools

import numpy as np
import openmdao.api as om
import solver
import tools.deep
from parts import Wing, limited
from physics import area as surface

TABLE = np.linspace(0.0, 1.0, 5)
WORDS = {"model": "panel", "sizes": [3, 4], "kinds": {"a", "b"}}


def f(x):
    return solver.solve(x) * surface(x[0]) + TABLE[2] + len(WORDS["sizes"])


def late(x):
    from physics import area
    import constants as values

    try:
        return area(x[0]) * values.GRAVITY
    except ValueError:
        return 0.0


def deep(x):
    return tools.deep.deepest(x)


@limited
def decorated(x):
    return x[0]


@functools.lru_cache
def cached(x):
    return solver.solve(x)


def held(x):
    return wing.lift(x)


def total(x):
    return sum(
        part(x)
        for part in (solver.solve, surface)
    )


wing = Wing(2.0)
method = wing.lift
part = functools.partial(f, power=3)
shorter = lambda x: TABLE[1] * x


def factory():
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("beam", Beam(panels=4), promotes=["*"])
    return problem


class Beam(om.ExplicitComponent):
    def initialize(self):
        self.options.declare("panels")

    def setup(self):
        self.add_input("x")
        self.add_output("y")
        self.declare_partials("*", "*")

    def compute(self, inputs, outputs):
        outputs["y"] = surface(inputs["x"])

    def compute_partials(self, inputs, partials):
        partials["y", "x"] = 1.0
""",
    "solver.py": """
import constants

UNUSED = 1.0


def solve(x):
    # a comment
    return x[0] * constants.GRAVITY + _inner(x)


def _inner(x, order=2):
    return x[0] ** order


def other(x):
    return 3.0
""",
    "constants.py": "GRAVITY = 9.81\nDENSITY = 1.2\n",
    "physics.py": "def area(x):\n    '''Return the area.'''\n    return x * x\n",
    "parts.py": """
import functools

from constants import DENSITY


class Lifting:
    slope = 6.28

    def lift(self, x):
        return self.slope * self._half(x) * self.span * DENSITY

    @property
    def double(self):
        return 2.0

    @staticmethod
    def _half(x):
        return 0.5 * x


class Wing(Lifting):
    def __init__(self, span):
        super().__init__()
        self.span = span


def limited(function):
    @functools.wraps(function)
    def wrapper(x):
        return min(function(x), 10.0)

    return wrapper
""",
    "tools/__init__.py": "",
    "tools/deep.py": "from . import deeper\n\n\ndef deepest(x):\n    return deeper.value(x)\n",
    "tools/deeper.py": "def value(x):\n    return x + 1.0\n",
}
NAMES = ["f", "late", "deep", "decorated", "cached", "held", "total", "method", "part", "shorter", "factory"]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the modules afterwards."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    forget()


def forget() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in {"main", "solver", "constants", "physics", "parts", "tools"}:
            del sys.modules[name]


def write(folder: Path, *edits: tuple[str, str, str]) -> Path:
    """Write the files with edits (file, old, new)."""
    for name, text in FILES.items():
        for file, old, new in edits:
            if file == name:
                assert old in text
                text = text.replace(old, new)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def load(folder: Path) -> Any:
    forget()
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("main")
    finally:
        sys.path.remove(str(folder))


def identity_in(folder: Path, name: str, *edits: tuple[str, str, str]) -> str:
    main = load(write(folder, *edits))
    sys.path.insert(0, str(folder))  # for imports within functions
    try:
        thing = getattr(main, name)
        assert unidentified(thing) == ""
        found = identity_of(thing)
    finally:
        sys.path.remove(str(folder))
    assert found is not None
    return found


CHANGES = [
    ("f", "constants.py", "9.81", "9.80665"),
    ("f", "solver.py", "_inner(x)\n", "2.0 * _inner(x)\n"),
    ("f", "solver.py", "order=2", "order=3"),
    ("f", "solver.py", "x[0] ** order", "x[0] ** order + 1e-9"),
    ("f", "physics.py", "x * x", "x + x"),
    ("f", "main.py", "np.linspace(0.0, 1.0, 5)", "np.linspace(0.0, 1.0, 6)"),
    ("f", "main.py", "linspace(0.0, 1.0", "linspace(0.0, 1.0000001"),
    ("f", "main.py", '"panel"', '"vortex"'),
    ("f", "main.py", "[3, 4]", "[3, 5]"),
    ("f", "main.py", '{"a", "b"}', '{"a", "c"}'),
    ("late", "physics.py", "x * x", "x + x"),
    ("late", "constants.py", "9.81", "9.82"),
    ("late", "main.py", "except ValueError", "except OverflowError"),
    ("deep", "tools/deeper.py", "x + 1.0", "x + 2.0"),
    ("decorated", "parts.py", "10.0", "11.0"),
    ("decorated", "main.py", "    return x[0]\n\n\n@functools", "    return x[1]\n\n\n@functools"),
    ("cached", "constants.py", "9.81", "9.82"),
    ("held", "parts.py", "slope = 6.28", "slope = 6.3"),
    ("held", "parts.py", "0.5 * x", "0.25 * x"),
    ("held", "main.py", "Wing(2.0)", "Wing(3.0)"),
    ("held", "constants.py", "DENSITY = 1.2", "DENSITY = 1.3"),
    ("total", "physics.py", "x * x", "x + x"),
    ("method", "main.py", "Wing(2.0)", "Wing(3.0)"),
    ("method", "parts.py", "self.span * DENSITY", "self.span"),
    ("part", "main.py", "power=3", "power=4"),
    ("part", "constants.py", "9.81", "9.82"),
    ("shorter", "main.py", "TABLE[1] * x", "TABLE[2] * x"),
    ("factory", "physics.py", "x * x", "x + x"),
    ("factory", "main.py", 'partials["y", "x"] = 1.0', 'partials["y", "x"] = 2.0'),
    ("factory", "main.py", "panels=4", "panels=5"),
]


@pytest.mark.parametrize(("name", "file", "old", "new"), CHANGES)
def test_a_change_of_what_is_reached_changes_the_identity(
    tmp_path: Path, name: str, file: str, old: str, new: str
) -> None:
    assert identity_in(tmp_path / "a", name) != identity_in(tmp_path / "b", name, (file, old, new))


EDITS = [
    ("main.py", "    return solver", "    # checked by Ann\n\n    return solver"),
    ("main.py", "def f(x):\n", 'def f(x):\n    """Return the drag."""\n'),
    ("main.py", "def late(x):\n", 'def late(x):\n    """Return the drag, or 0."""\n'),
    ("main.py", "    try:\n", "    try:  # may fail\n\n"),
    (
        "main.py",
        "sum(\n        part(x)\n        for part in (solver.solve, surface)\n    )",
        "sum(part(x) for part in (solver.solve, surface))",
    ),
    ("main.py", "class Beam(om.ExplicitComponent):\n", 'class Beam(om.ExplicitComponent):\n    """A beam."""\n\n'),
    ("main.py", "def f(x):", "def f(x: float) -> float:"),
    ("solver.py", "    # a comment\n", "    # another one\n"),
    ("solver.py", "UNUSED = 1.0", "UNUSED = 2.0"),
    ("solver.py", "return 3.0", "return 4.0"),
    ("physics.py", "Return the area.", "Return the wetted area."),
    ("parts.py", "class Lifting:\n", 'class Lifting:\n    """Parts with lift."""\n\n'),
    ("tools/__init__.py", "", '"""Tools."""\n'),
]


@pytest.mark.parametrize(("file", "old", "new"), EDITS)
def test_comments_docstrings_format_and_other_code_do_not_change_an_identity(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    for name in NAMES:
        assert identity_in(tmp_path / "a", name) == identity_in(tmp_path / "b", name, (file, old, new)), name


def test_another_process_has_the_same_identities(tmp_path: Path) -> None:
    expected = [identity_in(tmp_path / "a", name) for name in NAMES]
    code = f"import main\nfrom gradopt.truth.identity import identity_of\nfor name in {NAMES}:\n"
    code += "    print(identity_of(getattr(main, name)))"
    for seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "a"), *sys.path]),
        }
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == expected


def model_identity(folder: Path, *edits: tuple[str, str, str], value: float | None = None) -> str | None:
    main = load(write(folder, *edits))

    def factory() -> om.Problem:
        problem = main.factory()
        if value is not None:
            problem.model.add_subsystem("fixed", om.IndepVarComp("k", float(os.environ["K"])))
        return problem

    return ModelTruth(main.factory if value is None else factory, ["x"], ["y"]).identity


def test_a_model_is_identified_by_its_components_options_and_other_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = model_identity(tmp_path / "a")
    assert same is not None and same.startswith("main.factory ") and same == model_identity(tmp_path / "b")
    assert model_identity(tmp_path / "c", ("physics.py", "x * x", "x + x")) != same
    assert model_identity(tmp_path / "d", ("main.py", "panels=4", "panels=5")) != same
    found = []
    for number, value in enumerate((1.0, 1.0, 2.0)):  # read from the environment, out of reach of the code
        monkeypatch.setenv("K", str(value))
        found.append(model_identity(tmp_path / f"e{number}", value=value))
    assert found[0] == found[1] != found[2] and found[0] is not None
