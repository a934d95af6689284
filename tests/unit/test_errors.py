"""The error classes, the form of their messages and the import of extras."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from gradopt import errors
from gradopt.errors import GradoptError, MissingExtraError, ShapeError, explain, import_extra


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.FileFormatError, ValueError),
        (errors.EvaluationError, RuntimeError),
        (errors.MissingExtraError, ImportError),
        (errors.StoreError, RuntimeError),
        (errors.StaleStoreError, RuntimeError),
    ],
)
def test_every_error_is_ours_and_the_builtin_a_caller_looks_for(
    ours: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(ours, GradoptError)
    assert issubclass(ours, builtin)


def test_shape_error_is_an_input_error() -> None:
    assert issubclass(ShapeError, errors.InputError)


def test_evaluation_error_is_not_a_value_error() -> None:
    assert not issubclass(errors.EvaluationError, ValueError)


@pytest.mark.parametrize("kind", [errors.StoreError, errors.StaleStoreError])
def test_what_an_error_of_a_store_carries_goes_to_another_process(kind: type[Exception]) -> None:
    error = kind("words")
    name = "evaluations" if kind is errors.StoreError else "stored"
    assert getattr(error, name) is None
    setattr(error, name, [1.0])
    assert getattr(pickle.loads(pickle.dumps(error)), name) == [1.0]


def test_explain_names_argument_expectation_value_and_remedy() -> None:
    assert explain("n", "be at least 1", 0, "Try 5.") == "`n` must be at least 1, got 0. Try 5."


def test_import_extra_returns_the_module() -> None:
    assert import_extra("os.path", "any") is sys.modules["os.path"]


def test_import_extra_names_the_package_and_the_command_that_installs_it() -> None:
    remedy = r"package `gradopt_absent`, which is not installed\. Install it with: pip install 'gradopt\[airfoil\]'$"
    with pytest.raises(MissingExtraError, match=remedy) as caught:
        import_extra("gradopt_absent", "airfoil")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_import_extra_names_the_extra_of_a_missing_parent_package() -> None:
    with pytest.raises(MissingExtraError, match=r"`gradopt_absent`.*'gradopt\[peers\]'"):
        import_extra("gradopt_absent.inner", "peers")


def test_import_extra_raises_failures_inside_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradopt_broken.py").write_text("import gradopt_unrelated\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'gradopt_unrelated'") as caught:
        import_extra("gradopt_broken", "peers")
    assert not isinstance(caught.value, MissingExtraError)


def test_import_extra_raises_nameless_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradopt_nameless.py").write_text("raise ModuleNotFoundError('no name given')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no name given"):
        import_extra("gradopt_nameless", "peers")
