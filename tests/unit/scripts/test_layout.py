"""Folders of scripts: themes import from themselves and from shared parts; each part says for which scripts it is."""

import ast
import re
from pathlib import Path

import pytest

from scripts.__main__ import FOLDER, registry

SCRIPTS = registry()
PARTS = sorted(path for path in FOLDER.glob("*/*.py") if f"{path.parent.name}.{path.stem}" not in SCRIPTS)
FILES = sorted(FOLDER.glob("*/*.py"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}.{path.stem}"


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {module.split(".")[1] for module in found if module.startswith("scripts.")}


def test_all_files_belong_to_a_theme() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_theme_imports_from_itself_and_from_the_shared_parts(path: Path) -> None:
    assert imports_of(path) <= {path.parent.name, "shared"}


@pytest.mark.parametrize("path", [path for path in PARTS if path.stem != "__init__"], ids=name_of)
def test_a_file_without_a_main_says_for_which_scripts_it_is(path: Path) -> None:
    assert re.search(
        r"[Ff]or (`|all scripts|most scripts|the scripts)", ast.get_docstring(ast.parse(path.read_text())) or ""
    )
    users = [other for other in FILES if other != path and _uses(other, path)]
    assert users, "nothing uses it: delete it"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_run_on_one_thread_by_its_name(name: str) -> None:
    text = (FOLDER / f"{name.replace('.', '/')}.py").read_text()
    assert text.endswith('\n\nif __name__ == "__main__":\n    run(main)\n')


def _uses(other: Path, part: Path) -> bool:
    text = other.read_text()
    return f"scripts.{name_of(part)} import" in text or (
        f"from scripts.{part.parent.name} import" in text and part.stem in text
    )
