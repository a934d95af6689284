"""Floors: a file imports only from floors below its own or from its own folder, and no imports run in a circle.

Imports for type checking count. Private names of OpenMDAO are used in one file.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import openmdao
import openmdao.api as om
import pytest

import gradopt

ROOT = Path(__file__).parents[1]
FLOORS = {
    "gradopt.errors": 0,
    "gradopt.openmdao_private": 1,
    "gradopt.versions": 0,
    "gradopt.data": 1,
    "gradopt.workers": 1,
    "gradopt.networks": 2,
    "gradopt.training": 3,
    "gradopt.surrogates": 4,
    "gradopt.truth": 4,
    "gradopt.optimality": 5,
    "gradopt.corrected": 5,
    "gradopt.loop": 6,
    "gradopt.om": 7,
    "gradopt.optimizer": 7,
    "gradopt.plots": 8,
    "gradopt.report": 8,
    "gradopt.cli": 8,
    "gradopt": 8,  # the package itself only gathers names
    "cases": 9,
    "scripts": 10,
}
EXTRAS = {
    *("aerosandbox", "casadi", "chaospy", "cloudpickle", "distributed", "executorlib", "gest_api"),
    *("jenn", "mpi4py", "neuralfoil", "openaerostruct", "rich", "sklearn", "smt"),
}
LONGEST = 400  # lines of a file
PACKAGE = Path(gradopt.__file__).parent  # the installed one, where it is installed
FOLDERS = {"gradopt": PACKAGE, "cases": ROOT / "cases", "scripts": ROOT / "scripts"}
FILES = {
    f"{name}/{path.relative_to(folder)}": path for name, folder in FOLDERS.items() for path in folder.rglob("*.py")
}

PRIVATE = "gradopt/openmdao_private.py"
"""The file for private names of OpenMDAO."""

DOCUMENTED = {"openmdao.api", "openmdao.utils.units", "openmdao.core.analysis_error"}
"""Modules of OpenMDAO whose names are documented for users; the last two are imported without all of the API."""


def module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_name(file): path for file, path in FILES.items()}


def floor_of(module: str) -> tuple[str, int]:
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        room = ".".join(parts[:size])
        if room in FLOORS:
            return room, FLOORS[room]
    raise AssertionError(f"{module} stands on no floor: add it to FLOORS")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_in(tree: ast.Module) -> set[str]:
    """Modules of the repository that are imported, wherever it stands: at the top, in functions, for type checking."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else node.module for full in names.values()}
    return found & set(MODULES)


def test_imports_are_absolute() -> None:
    wrong = [
        f"{module}, line {node.lineno}"
        for module, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, "relative imports:\n" + "\n".join(wrong)


def test_imports_come_from_floors_below_or_the_own_folder() -> None:
    wrong = []
    for module, path in MODULES.items():
        room, floor = floor_of(module)
        if module == "gradopt":
            continue
        for imported in imports_in(tree_of(path)):
            other, below = floor_of(imported)
            if not (other == room or below < floor or (other == "gradopt" and floor >= 9)):
                wrong.append(f"{module} (floor {floor}) imports {imported} (floor {below})")
    assert not wrong, "imports from above:\n" + "\n".join(wrong)


def test_no_imports_run_in_a_circle() -> None:
    graph = {module: imports_in(tree_of(path)) - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail("imports in a circle: " + " imports ".join(reversed(circle.args[1])))


def test_imports_in_every_place_are_seen() -> None:
    text = """
from typing import TYPE_CHECKING
import gradopt.errors
if TYPE_CHECKING:
    from gradopt.data import dataset
def function():
    from gradopt.data.variables import Variable
"""
    assert imports_in(ast.parse(text)) == {"gradopt.errors", "gradopt.data.dataset", "gradopt.data.variables"}


def test_the_package_is_imported_without_extras() -> None:
    wrong = []
    for file, path in FILES.items():
        for node in ast.walk(tree_of(path)) if file.startswith("gradopt/") else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{file} imports {n}" for n in names if n.split(".")[0] in EXTRAS]
    assert not wrong, "\n".join(wrong)


def test_files_are_short_enough_to_read() -> None:
    lengths = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    wrong = [f"{file}: {length} lines" for file, length in lengths.items() if length > LONGEST]
    assert not wrong, f"files of more than {LONGEST} lines:\n" + "\n".join(wrong)


DEFINED = re.compile(r"(?:self\.|def )(_[a-z]\w*)")


@cache
def names_in_openmdao() -> frozenset[str]:
    """Private attributes and methods of all classes in OpenMDAO's source."""
    folder = Path(openmdao.__file__).parent
    sources = [path for path in folder.rglob("*.py") if "test" not in str(path.relative_to(folder))]
    return frozenset(name for path in sources for name in DEFINED.findall(path.read_text(errors="replace")))


@cache
def names_in_base(base: str) -> frozenset[str]:
    """Private attributes and methods of a class of OpenMDAO, such as "om.Group", and of its bases."""
    bases = [one for one in getattr(om, base.removeprefix("om.")).__mro__ if one is not object]
    return frozenset(name for one in bases for name in DEFINED.findall(inspect.getsource(one)))


def private_names(tree: ast.Module) -> set[str]:
    """Private names of OpenMDAO that a file uses.

    These are imports from undocumented modules, attributes of its objects, and what a class that inherits from
    OpenMDAO uses or overrides of its base. Attributes that other classes of the file define are their own.
    """
    found: set[str] = set()
    own: set[str] = set()
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in imported:
        if (node.module or "").startswith("openmdao") and node.module not in DOCUMENTED:
            found |= {alias.name for alias in node.names}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    of_self = {id(node) for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "self"}
    for kind in ast.walk(tree):
        if not isinstance(kind, ast.ClassDef):
            continue
        defined = {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
        used = {node.attr for node in ast.walk(kind) if id(node) in of_self and isinstance(node, ast.Attribute)}
        bases = [ast.unparse(base) for base in kind.bases if ast.unparse(base).startswith("om.")]
        for base in bases:
            found |= (defined | used) & names_in_base(base)
        own |= defined | used
    packages = {node.module or "" for node in imported}
    packages |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    if not any(name.startswith("openmdao") for name in packages):
        return found
    others = {node.attr for node in attributes if id(node) not in of_self}
    return found | (others & names_in_openmdao()) - own


def test_private_names_of_openmdao_are_in_one_file() -> None:
    found = {file: private_names(tree_of(path)) for file, path in FILES.items()}
    found.pop(PRIVATE, None)
    wrong = [f"{file}: {', '.join(sorted(names))}" for file, names in found.items() if names]
    assert not wrong, f"private names of OpenMDAO outside {PRIVATE}:\n" + "\n".join(wrong)


def test_private_names_in_every_place_are_seen() -> None:
    text = """
import openmdao.api as om
from openmdao.core.total_jac import _TotalJacInfo
class Driver(om.ScipyOptimizeDriver):
    def __init__(self): self._mine = self._exc_info
    def _objfunc(self, x): return super()._get_name()
class View:
    def __init__(self, problem): self._problem = problem
    def look(self): return self._problem.model._outputs, self._problem.driver._cons
"""
    expected = {"_TotalJacInfo", "_cons", "_exc_info", "_get_name", "_objfunc", "_outputs"}
    assert private_names(ast.parse(text)) == expected
