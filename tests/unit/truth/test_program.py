"""Runs of a program: whatever it leaves and prints, and wrong arguments."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradopt import CommandTruth, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.truth import Evaluations, Finished, Program
from gradopt.truth.run_folders import keep, size_of

pytestmark = pytest.mark.usefixtures("temporary")
X, Y = (Variable("x"),), (Variable("y"),)


def printed(run: Finished) -> float:
    return float(run.stdout)


def evaluated(script: str, parse: Callable[[Finished], Any] = printed, **options: Any) -> Evaluations:
    """Evaluate a shell script as a truth at one point."""
    program = Program(["/bin/sh", "-c", script], **options)
    return CommandTruth(program, {"in": "{x}"}, parse, X, Y, "script").evaluate([[1.0]])


def kept(place: Path) -> Path:
    (folder,) = place.iterdir()
    return folder


@pytest.mark.parametrize(
    ("script", "there", "absent"),
    [
        ("mkfifo pipe; echo text > a", "a", "pipe"),
        ("ln -s /nowhere link; echo text > a", "link", ""),
        ("ln -s link link; mkdir b; ln -s .. b/up", "b/up", ""),
        ("mkdir b; mkfifo b/pipe; echo text > b/a", "b/a", "b/pipe"),
    ],
)
def test_what_a_failed_run_leaves_is_kept_as_it_is(tmp_path: Path, script: str, there: str, absent: str) -> None:
    found = evaluated(script, keep_failed=tmp_path / "kept")
    assert [one.value for one in found.status] == ["failed"] and "The results cannot be read" in found.message[0]
    folder = kept(tmp_path / "kept")
    assert os.path.lexists(folder / there) and (folder / "in").read_text() == "1.0"
    assert not absent or not os.path.lexists(folder / absent)


def test_sockets_and_unreadable_files_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "run"
    (folder / "closed").mkdir(parents=True)
    (folder / "a").write_text("text")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(folder / "endpoint"))
    with caplog.at_level(logging.WARNING):
        keep(folder, tmp_path / "kept")
    assert "1 entries of a failed run were not kept" in caplog.text
    assert "the first: 'endpoint' is a FIFO, a socket or a device." in caplog.text
    assert sorted(entry.name for entry in kept(tmp_path / "kept").iterdir()) == ["a", "closed"]


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert not evaluated("echo no", keep_failed=tmp_path / "file").ok[0]
    assert "The folder of a failed run could not be kept in" in caplog.text


def test_folders_nested_too_deeply_for_python_are_removed_and_measured(tmp_path: Path, temporary: Path) -> None:
    code = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\nopen('a', 'w').write('text')"
    program = Program([sys.executable, "-S", "-c", code], keep_failed=tmp_path / "kept")
    try:
        assert not CommandTruth(program, {"in": "{x}"}, printed, X, Y, "deep").evaluate([[1.0]]).ok[0]
        assert size_of(kept(tmp_path / "kept")) == len("1.0") + len("text")
        assert list(temporary.iterdir()) == []
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "kept"), str(temporary)], check=True)  # pytest cannot
        temporary.mkdir()


@pytest.mark.parametrize(
    "script",
    [
        "rm -rf ../$(basename $PWD); echo 1",
        "mv $PWD $PWD.x; rm -rf $PWD.x",
        "d=$PWD; cd ..; rm -rf $d; ln -s /etc $d; echo 1",
    ],
)
def test_a_program_that_removes_its_folder_has_failed(tmp_path: Path, script: str) -> None:
    found = evaluated(script, keep_failed=tmp_path / "kept")
    assert [one.value for one in found.status] == ["failed"]
    assert found.message[0].startswith("The program removed the folder of its run. The program ended with exit code 0")
    assert Path("/etc/passwd").exists()


def test_a_program_that_removes_what_it_printed_has_failed() -> None:
    found = evaluated("rm .stdout .stderr; mkfifo .stdout .stderr; echo 1")
    assert found.message == ("The program wrote no file '.stdout'. The program ended with exit code 0.",)


def test_output_that_is_not_text_is_a_failed_point() -> None:
    found = evaluated("printf '\\377\\000\\001'")
    assert not found.ok[0] and "could not convert string to float" in found.message[0]


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 2**70, 1])
def test_a_time_limit_may_be_infinite_or_large(timeout: float) -> None:
    assert evaluated("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo 1", timeout=timeout).y.tolist() == [[1.0]]


WRONG: list[tuple[dict[str, Any], str]] = [
    *(({"timeout": value}, "`timeout` must be positive, got") for value in (float("nan"), 0, -1.0, "5", None, True)),
    ({"max_printed_bytes": 0}, "`max_printed_bytes` must be positive, got 0"),
    ({"max_written_bytes": -1}, "`max_written_bytes` must be positive, got -1"),
    ({"environment": None}, "`environment` must map names to strings, got None"),
    ({"environment": [("A", "1")]}, "`environment` must map names to strings"),
    *(
        ({"environment": {name: value}}, "`environment` must map names without '=' to strings, both without NUL")
        for name, value in (("A", 1), ("A", None), (1, "a"), ("A", "b\0"), ("A=", "b"), ("", "b"), ("A", "\ud800"))
    ),
    *(({"keep_failed": value}, "`keep_failed` must be a string without NUL") for value in (5, b"kept", "a\0")),
    *(({"stdin": value}, "`stdin` must be a string without NUL") for value in (5, b"in", "a\0")),
    ({"install": None}, "`install` must be a string without NUL"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Program(["true"], **options)


@pytest.mark.parametrize("command", [["echo", 1], ["echo", b"1"], ["echo", "a\0"], ["echo", "\ud800"], [""], [None]])
def test_arguments_are_strings_that_the_system_takes(command: Any) -> None:
    with pytest.raises(InputError, match="`command` must be a list of strings, without NUL characters, that begins"):
        Program(command)


@pytest.mark.parametrize("command", ["echo", b"echo", [], {"echo"}, 5, None])
def test_a_command_is_a_sequence(command: Any) -> None:
    with pytest.raises(InputError, match="`command` must be a list of strings, got .* Pass each argument as a string"):
        Program(command)


def executable(place: Path, content: bytes, mode: int = 0o755) -> list[str]:
    place.write_bytes(content)
    place.chmod(mode)
    return [str(place)]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"\x7fELF garbage", 0o755, r"can execute, got '.*/solver' \(Exec format error\)\. Give an executable"),
        (b"", 0o755, r"can execute, got '.*/solver' \(Exec format error\)"),
        (b"#!/no/such/python\n", 0o755, "Its interpreter does not exist: correct the first line of '.*/solver'"),
        (b"#!/tmp\n", 0o755, r"can execute, got '.*/solver' \(Permission denied\)"),
        (b"#!/bin/sh\n", 0o644, "an installed program, got '.*', which may not be executed. Run `chmod"),
    ],
)
def test_a_program_that_cannot_be_executed_is_an_error(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    with pytest.raises(InputError, match=f"`command` must name .*{message}"):
        Program(executable(tmp_path / "solver", content, mode)).run({}, printed)


def test_a_folder_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`command` must name an installed program, got the folder '.*'. Name a file"):
        Program([str(tmp_path)]).run({}, printed)


def test_a_program_that_cannot_be_started_now_is_a_failed_point(tmp_path: Path) -> None:
    command = executable(tmp_path / "solver", Path("/bin/sh").read_bytes())
    with open(command[0], "ab"), pytest.raises(EvaluationError, match="could not be started: .*Text file busy"):
        Program(command).run({}, printed)


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("group"),
        TypeError("None"),
        AssertionError("rows"),
        RecursionError(),
        MemoryError(),
        StopIteration(),
        SyntaxError("no element found"),
        UnboundLocalError("last"),
        RuntimeError(),
        OSError(5, "disk"),
    ],
)
def test_an_error_of_reading_is_a_failed_point(error: Exception) -> None:
    def parse(run: Finished) -> float:
        raise error

    found = evaluated("echo 1", parse)
    assert [one.value for one in found.status] == ["failed"]
    assert found.message[0].startswith(f"The results cannot be read ({type(error).__name__}: {error})")


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (lambda run: run.result, "AttributeError: 'Finished' object has no attribute 'result'"),
        (lambda run: missing, "NameError: name 'missing' is not defined"),  # type: ignore[name-defined]  # noqa: F821
        (lambda: 1.0, "TypeError: .*takes 0 positional arguments"),
        (float, "TypeError: float"),
    ],
)
def test_a_mistake_in_parse_is_an_error(parse: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"`parse` must be a function that reads a Finished, got {message}"):
        evaluated("echo 1", parse)


@pytest.mark.parametrize("name", ["../a", "/a", "", ".", ".stdout", "./.stderr", "a\0", 5, "in/b"])
def test_files_have_names_within_the_folder(name: Any) -> None:
    with pytest.raises(InputError, match="`files` must have names of files within the folder of the run, other than"):
        Program(["true"]).run({"in": "", name: ""}, printed)


@pytest.mark.parametrize("text", [5, b"text", None, "\ud800"])
def test_files_hold_texts(text: Any) -> None:
    with pytest.raises(InputError, match="`files` must hold texts, got .* for 'in'"):
        Program(["true"]).run({"in": text}, printed)


def test_files_are_a_mapping() -> None:
    with pytest.raises(InputError, match="`files` must map names to texts, got 'text'"):
        Program(["true"]).run("text", printed)  # type: ignore[arg-type]


def test_a_name_that_the_disk_refuses_is_a_failed_point() -> None:
    with pytest.raises(EvaluationError, match="The folder of the run cannot be used: .*too long"):
        Program(["true"]).run({"n" * 300: ""}, printed)


@pytest.mark.parametrize(
    "script",
    [
        "head -c 60000 /dev/zero > a; head -c 60000 /dev/zero > b; sleep 60",
        "mkdir -p c/d; head -c 60000 /dev/zero > c/d/a; head -c 60000 /dev/zero > c/b; echo 1",
        "head -c 200000 /dev/zero > a; echo 1",
    ],
)
def test_the_size_of_all_files_is_limited(script: str) -> None:
    found = evaluated(script, max_written_bytes=100_000)
    assert found.message[0].startswith("The program wrote ")
    assert found.message[0].endswith("bytes, max_written_bytes is 100000.")
    assert evaluated(script.replace("sleep 60", "echo 1"), max_written_bytes=300_000).ok[0]


def test_printed_bytes_are_counted_at_the_end_too() -> None:
    found = evaluated("echo 12345", max_printed_bytes=5)
    assert found.message == ("The program printed 6 bytes, max_printed_bytes is 5.",)
