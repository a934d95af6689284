"""List the scripts: `python -m scripts`."""

from __future__ import annotations

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent


def registry() -> dict[str, str]:
    """Return the first line of the docstring of every script, by THEME.NAME; a script is a file with a `main`."""
    found = {}
    for path in sorted(FOLDER.glob("*/*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[f"{path.parent.name}.{path.stem}"] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


if __name__ == "__main__":
    table = Table("python -m scripts.THEME.NAME", "purpose")
    for name, summary in registry().items():
        table.add_row(name, summary)
    Console().print(table)
