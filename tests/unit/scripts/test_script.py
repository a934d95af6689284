"""The call of a script: one thread for NumPy, and the exit code of its `main`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import pytest

from scripts.shared.script import THREADS, run


class Replaced(Exception):
    """The process would be replaced here."""


def test_a_process_with_several_threads_is_replaced_by_one_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def execve(program: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        assert program == command[0] == sys.executable and command[1:] == sys.orig_argv[1:]
        assert [environment[name] for name in THREADS] == ["1", "1"]
        raise Replaced

    monkeypatch.setattr("os.execve", execve)
    monkeypatch.setenv(THREADS[0], "1")
    monkeypatch.delenv(THREADS[1], raising=False)
    with pytest.raises(Replaced):
        run(lambda: 0)


def test_a_process_with_one_thread_runs_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit, match="3"):
        run(lambda: 3)
