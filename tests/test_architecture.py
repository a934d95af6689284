"""Floors: a file imports only from floors below its own or from its own folder, and no imports run in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "gradopt.errors": 0,
    "gradopt.versions": 0,
    "gradopt.data": 1,
    "gradopt.networks": 2,
    "gradopt.training": 3,
    "gradopt.surrogates": 4,
    "gradopt.truth": 4,
    "gradopt.optimality": 5,
    "gradopt.corrected": 5,
    "gradopt.loop": 6,
    "gradopt.om": 7,
    "gradopt.plots": 8,
    "gradopt.cli": 8,
    "gradopt": 8,  # the package itself only gathers names
    "cases": 9,
    "scripts": 10,
}
FILES = sorted(path for folder in ("gradopt", "cases", "scripts") for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def floor_of(module: str) -> tuple[str, int]:
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        room = ".".join(parts[:size])
        if room in FLOORS:
            return room, FLOORS[room]
    raise AssertionError(f"{module} stands on no floor: add it to FLOORS")


def type_checking_lines(tree: ast.Module) -> set[int]:
    """Lines of `if TYPE_CHECKING:` blocks, which import nothing when the program runs."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {line for block in blocks for line in range(block.lineno, (block.end_lineno or block.lineno) + 1)}


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    skipped = type_checking_lines(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                for alias in node.names
            ]
        else:
            continue
        if node.lineno not in skipped:
            found |= {name for name in names if name in MODULES}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_come_from_floors_below_or_the_own_folder(path: Path) -> None:
    room, floor = floor_of(module_name(path))
    if room == "gradopt" and path.name == "__init__.py":
        return
    for imported in imports_of(path):
        other, below = floor_of(imported)
        if other == "gradopt" and floor >= 9:
            continue  # cases and scripts use the package as its users do
        assert other == room or below < floor, f"{module_name(path)} imports {imported}"


def test_no_imports_run_in_a_circle() -> None:
    graph = {name: imports_of(path) - {name} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_the_reader_of_imports_sees_them() -> None:
    assert "gradopt.data.scaling" in imports_of(ROOT / "gradopt/surrogates/fitted/surrogate.py")


@pytest.mark.parametrize("package", ["aerosandbox", "neuralfoil", "casadi", "jenn", "openaerostruct", "smt"])
def test_no_file_of_the_package_needs_an_extra_to_be_imported(package: str) -> None:
    for path in (ROOT / "gradopt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert package not in [name.split(".")[0] for name in names], path


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
