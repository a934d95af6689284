"""Result files: plain JSON with provenance, whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases.records import provenance, write_result
from gradopt import versions as versions_module
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
