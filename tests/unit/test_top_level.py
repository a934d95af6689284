"""The top level of the package: few names, imported when they are first used, and a message for a wrong one."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import gradopt

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gradopt.__file__).parent  # the installed one, where it is installed
HEAVY = ("torch", "matplotlib", "rich", "openmdao", "numpy", "scipy")


def loaded_by(code: str, *options: str) -> list[str]:
    """Run code in a new process; return the modules that it has loaded."""
    show = "\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, *options, "-c", code + show]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_names_are_few() -> None:
    assert len(gradopt._MODULES) <= 25
    assert sorted(gradopt._MODULES) == list(gradopt._MODULES)
    assert dir(gradopt) == sorted(["__version__", *gradopt._MODULES, *gradopt._SUBMODULES])


@pytest.mark.parametrize("name", gradopt._MODULES)
def test_every_name_is_found_in_its_module(name: str) -> None:
    assert getattr(gradopt, name) is getattr(import_module(gradopt._MODULES[name]), name)
    assert name in vars(gradopt)  # the second use imports nothing


@pytest.mark.parametrize("submodule", gradopt._SUBMODULES)
def test_every_public_name_of_a_submodule_is_listed(submodule: str) -> None:
    module = getattr(gradopt, submodule)
    assert module is sys.modules[f"gradopt.{submodule}"]
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)
    ]
    assert set(gradopt._SUBMODULES[submodule]) == {name for name in names if name not in gradopt._MODULES}


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert len(imports) == len(block.body)
    assert seen == gradopt._MODULES | dict.fromkeys(gradopt._SUBMODULES, "gradopt")


def test_the_import_loads_no_other_package_and_needs_no_installation() -> None:
    loaded = loaded_by("import gradopt\nassert gradopt.__version__", "-S")
    assert "gradopt" in loaded
    assert not [name for name in loaded if name.split(".")[0] in HEAVY or name.startswith("gradopt.")]


def test_truths_and_data_load_neither_torch_nor_plots() -> None:
    loaded = loaded_by("import gradopt as go\ngo.FunctionTruth, go.Dataset, go.Variable")
    assert "torch" not in loaded
    assert "gradopt.plots" not in loaded
    assert not [name for name in loaded_by("import openmdao.api") if name.split(".")[0] in ("torch", "gradopt")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Jenn", "gradopt.JENN"),
        ("Datasets", "gradopt.Dataset"),
        ("samplings", "gradopt.sampling"),
        ("Latin_hypercube", "gradopt.sampling.latin_hypercube"),
    ],
)
def test_a_wrong_name_gives_the_nearest(name: str, path: str) -> None:
    message = f"^module `gradopt` has no attribute `{name}`. The nearest name is `{path}`.$"
    with pytest.raises(AttributeError, match=message):
        getattr(gradopt, name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("LBFGS", "It is `gradopt.solvers.LBFGS`."), ("qqq", "`dir(gradopt)` lists the public names.")],
)
def test_a_name_of_a_submodule_gives_its_path_and_one_near_none_the_list(name: str, sentence: str) -> None:
    message = f"module `gradopt` has no attribute `{name}`. {sentence}"
    with pytest.raises(AttributeError, match=f"^{re.escape(message)}$"):
        getattr(gradopt, name)


def test_the_version_is_that_of_the_distribution() -> None:
    assert gradopt.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
