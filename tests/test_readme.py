"""The pages: their commands install as CI does, examples pass `mypy --strict`, every public name has an example."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import gradopt

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
INSTALL = r'pip"? install [^\n]*-c constraints\.txt "\.\[(\w+)\]"'
STRICT = "# mypy: warn-return-any"
WRONG = "import gradopt as go\n\ngo.Datasets(go.sampling.latin_hypercube(n='ten'))\n"


def examples() -> dict[str, str]:
    """Python blocks by page and line, each at the lines where it stands on its page.

    The configuration of mypy is strict but for `warn_return_any`, which the first line adds.
    """
    found = {}
    for page in PAGES:
        for block in re.finditer(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
            above = page.read_text().count("\n", 0, block.start(1))
            found[f"{page.stem}_line_{above}"] = STRICT + "\n" * above + block[1]
    return found


def test_both_commands_install_with_constraints() -> None:
    assert re.findall(INSTALL, (ROOT / "README.md").read_text()) == ["airfoil", "test"]


def test_ci_installs_as_the_test_command_does() -> None:
    assert re.findall(INSTALL, (ROOT / ".ci/run").read_text()) == ["test"]


def test_every_tested_version_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_examples_pass_strict_type_checking_and_wrong_names_do_not(tmp_path: Path) -> None:
    for name, text in {**examples(), "wrong": WRONG}.items():
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, sorted(tmp_path.glob("*.py")))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [Path(line).name for line in done.stdout.splitlines() if "error:" in line]
    assert done.stderr == ""
    assert [error for error in errors if not error.startswith("wrong.py")] == []
    assert any('no attribute "Datasets"' in error for error in errors), done.stdout
    assert any('"latin_hypercube" has incompatible type' in error for error in errors), done.stdout


def test_every_public_name_has_an_example() -> None:
    trees = [ast.parse(text) for text in examples().values()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    public = {*gradopt.__all__, *(name for names in gradopt._SUBMODULES.values() for name in names)}
    assert public - used == set()
