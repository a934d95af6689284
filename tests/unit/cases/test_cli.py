"""The command line: what it prints, what it writes, and that errors are explained without a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import openmdao.api as om
import pytest

import cases.cli as command_line
from cases.cli import main
from gradopt.errors import GradoptError

ROOT = Path(__file__).parents[3]
QUICK = ["run", "rosenbrock", "--one-shot", "--quick", "--samples", "5"]


def fail_with(error: BaseException) -> Any:
    def run(*args: object) -> None:
        raise error

    return run


def test_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    output = capsys.readouterr().out
    for name, module in command_line.CASES.items():
        assert f"{name:15} {module.TITLE}" in output


def test_module_runs_as_a_command_and_imports_no_package_of_an_extra() -> None:
    command = [sys.executable, "-W", "error", "-X", "importtime", "-m", "cases", "list"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "rosenbrock" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"gradopt", "cases.cli"} <= imported
    assert not {"openaerostruct", "smt", "neuralfoil", "aerosandbox"} & imported


def test_missing_rich_names_the_extra() -> None:
    code = "import sys; sys.modules['rich'] = None; from cases.__main__ import start; sys.exit(start())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'gradopt[cases]'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "pictures", "surrogates"),
    [
        ("rosenbrock", ["contours", "history", "predicted_against_true"], ["0"]),
        (
            "airfoil",
            ["history", "polars", "predicted_against_true", "shape"],
            ["CD", "CL", "CM", "analysis_confidence"],
        ),
    ],
)
def test_quick_one_shot_writes_its_files(
    name: str, pictures: list[str], surrogates: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "airfoil":
        pytest.importorskip("neuralfoil")
    folder = tmp_path / "new" / "out"
    assert main(["run", name, "--one-shot", "--quick", "--seed", "2", "--out", str(folder)]) == 0
    record = json.loads((folder / "result.json").read_text())
    assert (record["case"], record["seed"], record["settings"]["quick"]) == (name, 2, True)
    assert sorted(file.stem for file in folder.glob("*.png")) == pictures
    assert sorted(file.stem for file in folder.glob("*.gradopt")) == [f"surrogate_{s}" for s in surrogates]
    captured = capsys.readouterr()
    for text in ("truth there", "truth evaluations for the final design", *(f"{picture}.png" for picture in pictures)):
        assert text in captured.out
    assert captured.err == ""


@pytest.mark.usefixtures("undrawn")
def test_results_go_to_a_folder_of_the_case_by_default(tmp_path: Path) -> None:
    assert main([*QUICK, "--dimension", "3"]) == 0
    assert (tmp_path / "results" / "rosenbrock" / "result.json").exists()


@pytest.mark.usefixtures("undrawn")
def test_options_of_a_case_reach_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*QUICK, "--dimension", "3", "--reference", "--out", "out"]) == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (record["settings"]["dimension"], record["settings"]["samples"], len(record["x"])) == (3, 5, 3)
    assert record["reference"]["evaluations"] > 1
    assert "SLSQP on truth" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_picture_of_an_earlier_run_is_not_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "contours.png").touch()
    assert main([*QUICK, "--dimension", "3", "--out", str(tmp_path)]) == 0
    assert "contours" not in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_folder_with_brackets_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--dimension", "3", "--out", "[red]er"]) == 0
    assert "Written to [red]er:" in capsys.readouterr().out
    assert (tmp_path / "[red]er" / "result.json").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "wign"], r"'wign' \(choose from '?airfoil'?, '?rosenbrock'?, '?rosenbrock_disk'?, '?sellar'?"),
        (["run"], "required: NAME"),
        ([], "required: command"),
        (["run", "rosenbrock", "--seed", "-1"], "argument --seed: must not be negative, got -1"),
        (["run", "rosenbrock", "--seed", "one"], "argument --seed: invalid whole_number value: 'one'"),
        (["run", "rosenbrock", "--lift", "0.5"], "unrecognized arguments: --lift"),
        (["run", "sellar", "--one-shot"], "unrecognized arguments: --one-shot"),
        (
            ["run", "sellar", "--replace", "3"],
            r"argument --replace: invalid choice: '3' \(choose from '?1'?, '?2'?, '?both'?",
        ),
        (["run", "sellar", "--max-evaluations", "0"], "argument --max-evaluations: must be at least 1, got 0"),
        (
            [*QUICK, "--fresh"],
            "--fresh, --max-evaluations and --workers are options of the loop: leave them out, or leave out --one-shot",
        ),
        ([*QUICK, "--max-evaluations", "9"], "are options of the loop: leave them out, or leave out --one-shot"),
        ([*QUICK, "--workers", "2"], "are options of the loop: leave them out, or leave out --one-shot"),
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--help"], ["list the cases", "run one case"]),
        (["run", "--help"], ["airfoil", "rosenbrock"]),
        (["run", "rosenbrock", "--help"], ["--dimension", "--samples", "--quick", "--reference", "--seed", "--out"]),
        (["run", "airfoil", "--help"], ["--airfoil", "--reynolds", "--lift", "--moment", "--quick", "(default 0.6)"]),
        (["run", "airfoil", "--help"], ["--one-shot", "--max-evaluations", "--fresh"]),
        (["run", "sellar", "--help"], ["--replace", "--max-evaluations", "--fresh", "--reference"]),
    ],
)
def test_help_lists_the_options(argv: list[str], texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    assert all(text in output for text in texts), output


def explained(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a run prints before it ends with 1."""
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out.strip() == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1, "a message that is broken into lines cannot be pasted"
    return captured.err


def test_file_that_is_no_airfoil_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aerosandbox")
    (tmp_path / "poem.dat").write_text("Roses are red\nviolets are blue\n")
    message = explained(["run", "airfoil", "--airfoil", "poem.dat", "--out", "out"], capsys)
    assert "`poem.dat`: 0 coordinate pairs, too few for an airfoil" in message


def test_missing_extra_is_named_with_its_installation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aerosandbox", None)
    assert "pip install 'gradopt[airfoil]'\n" in explained(["run", "airfoil", "--out", "out"], capsys)


@pytest.mark.parametrize("out", ["taken", "taken/deeper"])
def test_out_that_is_a_file_is_explained(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("mine")
    assert "taken" in explained([*QUICK, "--out", out], capsys)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("more", [[], ["--one-shot"]])
def test_wrong_number_of_the_case_is_explained(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    message = explained(["run", "rosenbrock", *more, "--dimension", "1"], capsys)
    assert "`dimension` must be at least 2, got 1." in message


@pytest.mark.parametrize("error", [GradoptError("see [a, b] [/c]"), om.AnalysisError("see [a, b] [/c]")])
def test_error_is_printed_as_it_is(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "run_one_shot", fail_with(error))
    assert explained(QUICK, capsys) == "error: see [a, b] [/c]\n"


def test_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "run_one_shot", fail_with(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(QUICK)


def test_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "run_one_shot", fail_with(KeyboardInterrupt()))
    assert main(QUICK) == 130
    captured = capsys.readouterr()
    assert captured.err.startswith("stopped")
    assert "Traceback" not in captured.err
