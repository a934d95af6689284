"""Result files: plain JSON with provenance, whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gradopt import versions as versions_module
from gradopt.report import records
from gradopt.report.records import provenance, write_result
from gradopt.versions import versions


def test_result_is_written_with_versions_and_commit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "result.json"
    write_result(path, {"drag": 0.5})
    result = json.loads(path.read_text())
    assert result == {"drag": 0.5, "versions": versions(), "commit": provenance()["commit"]}
    assert path.read_text().endswith("}\n")


def test_versions_are_those_of_what_runs() -> None:
    found = versions()
    assert set(found) == {"python", "gradopt", "numpy", "openmdao", "scipy", "torch"}
    assert (found["python"], found["numpy"]) == (platform.python_version(), np.__version__)


def test_package_that_is_missing_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(versions_module, "version", missing)
    assert versions()["torch"] == "not installed"


def git(stdout: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, stdout, "")


@pytest.mark.parametrize(("stdout", "commit"), [("0123456789ab-dirty\n", "0123456789ab-dirty"), ("", None)])
def test_commit_is_what_git_says(monkeypatch: pytest.MonkeyPatch, stdout: str, commit: str | None) -> None:
    monkeypatch.setattr(subprocess, "run", git(stdout))
    assert provenance()["commit"] == commit


def test_commit_is_that_of_the_main_program(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    program = tmp_path / "work" / "program.py"
    program.parent.mkdir()
    program.write_text("from gradopt.report.records import provenance; print(provenance()['commit'])")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=program.parent, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=program.parent, capture_output=True, text=True).stdout
    path = os.pathsep.join([str(Path(records.__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == commit[:12], done.stderr
    assert provenance(program.parent)["commit"] == commit[:12]


@pytest.mark.parametrize("program", [None, "/no/such/program.py"])
def test_commit_is_that_of_the_working_directory_without_a_program(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    if program is not None:
        main.__file__ = program
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.chdir(tmp_path)
    seen: list[Path] = []

    def run(*args: Any, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        seen.append(cwd)
        return subprocess.CompletedProcess(args, 0, "0123456789ab\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert provenance()["commit"] == "0123456789ab"
    assert seen == [tmp_path]


def test_commit_is_none_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert provenance(tmp_path / "gone")["commit"] is None


def test_commit_is_none_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance() == {"versions": versions(), "commit": None}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), None),
        (np.inf, None),
        (np.float64("-inf"), None),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(2.5), 2.5),
        (np.bool_(True), True),
        (np.int64(3), 3),
        ((1, "two", None), [1, "two", None]),
        ({1: {"deep": [np.array([0.1]), float("inf")]}}, {"1": {"deep": [[0.1], None]}}),
    ],
)
def test_arrays_become_lists_and_what_is_not_finite_null(tmp_path: Path, value: Any, written: Any) -> None:
    path = tmp_path / "result.json"
    write_result(path, {"value": value})
    assert json.loads(path.read_text())["value"] == written


def test_numbers_keep_every_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=20) * 10.0 ** np.arange(-10, 10)
    write_result(tmp_path / "result.json", {"numbers": numbers})
    np.testing.assert_array_equal(json.loads((tmp_path / "result.json").read_text())["numbers"], numbers)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_result(path, {"run": 1})
    old = path.read_bytes()

    def full(source: Path, target: Path) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr(os, "replace", full)
        write_result(path, {"run": 2})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    write_result(path, {"run": 3})
    assert json.loads(path.read_text())["run"] == 3


def test_value_that_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, {"run": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_result(path, {"run": object()})
    assert json.loads(path.read_text())["run"] == 1
