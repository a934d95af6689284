"""The loop on the command line: what it prints and writes, and that a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cases.cli as command_line
from cases.adaptive import run_adaptive
from cases.cli import STORE, main
from gradopt import load

NEEDS = {"airfoil": "neuralfoil", "wing": "openaerostruct"}
DISK = ["run", "rosenbrock_disk", "--out", "out"]


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "out" / "result.json").read_text()))


@pytest.mark.parametrize(
    ("name", "more", "surrogates"),
    [
        ("rosenbrock", ["path"], ["rosenbrock"]),
        ("rosenbrock_disk", ["path"], []),
        ("sellar", ["path"], []),
        ("airfoil", ["shape", "polars"], ["airfoil"]),
        ("wing", ["planform", "spanwise"], []),
    ],
)
def test_quick_run_writes_its_files(
    name: str, more: list[str], surrogates: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    assert main(["run", name, "--quick", "--seed", "2", "--out", "out"]) == 0
    found, folder = record(tmp_path), tmp_path / "out"
    assert (found["case"], found["seed"], found["settings"]["quick"]) == (name, 2, True)
    assert 1 < found["evaluations"]
    assert sorted(file.stem for file in folder.glob("*.png")) == sorted(
        ["convergence", "prediction", "trust_region", *more]
    )
    assert sorted(file.stem for file in folder.glob("*.gradopt")) == [f"surrogate_{s}" for s in surrogates]
    for file in folder.glob("*.gradopt"):
        assert load(file).outputs
    assert (folder / STORE).exists()
    captured = capsys.readouterr()
    for text in ("final design", "truth evaluations", "Termination: ", "ertified", "convergence.png"):
        assert text in captured.out
    assert captured.err == ""


@pytest.mark.usefixtures("undrawn")
def test_record_holds_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DISK, "--reference"]) == 0
    found = record(tmp_path)
    assert (found["exit"], found["certificate"]["certified"]) == ("certified", True)
    np.testing.assert_allclose(found["final"]["x"], found["known_optimum"], atol=1e-5)
    assert found["start"]["x"] == [1.25, -1.75]
    assert found["final"]["violation"] <= 1e-6
    assert [one["number"] for one in found["iterations"]] == list(range(len(found["iterations"])))
    assert found["iterations"][0]["predicted"]["f"] == [None]
    assert found["iterations"][-1]["evaluations"] <= found["evaluations"]
    assert found["seconds"] > 0.0
    assert found["versions"]["openmdao"]
    assert "commit" in found
    direct = found["reference"]
    assert direct["converged"] and direct["evaluations"] == direct["visits"][-1]["evaluations"]
    assert direct["evaluations_to_within_1_percent"] <= direct["evaluations"]
    assert direct["evaluations_of_the_loop_to_the_same"] <= found["evaluations"]
    output = capsys.readouterr().out
    for text in (
        "SLSQP on truth",
        "Evaluations to within 1 % of its best objective: the loop",
        "!!",
        "Certified: feasible and stationary",
    ):
        assert text in output


@pytest.mark.usefixtures("undrawn")
def test_run_that_was_stopped_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*DISK, "--fresh"]) == 0
    whole = record(tmp_path)

    def stopped_in_iteration_4(case: Any, seed: int, store: Any, report: Callable[[str], None]) -> Any:
        def stop(line: str) -> None:
            if line.startswith("iteration 4:"):
                raise KeyboardInterrupt

        return run_adaptive(case, seed, store, stop)

    with monkeypatch.context() as patched:
        patched.setattr(command_line, "run_adaptive", stopped_in_iteration_4)
        assert main([*DISK, "--fresh"]) == 130
    assert "run again without --fresh to continue from the stored evaluations" in capsys.readouterr().err
    assert record(tmp_path) == whole, "a run that is stopped leaves the results of an earlier one"
    assert main(DISK) == 0
    resumed = record(tmp_path)
    assert (whole["evaluations_from_store"], resumed["evaluations_from_store"]) == (0, 5)
    assert resumed["evaluations"] == whole["evaluations"]
    assert resumed["final"] == whole["final"]
    assert "(5 of them from an earlier run)" in capsys.readouterr().out
    assert main([*DISK, "--fresh"]) == 0
    assert record(tmp_path)["evaluations_from_store"] == 0


@pytest.mark.usefixtures("undrawn")
def test_iterations_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        command_line, "run_adaptive", lambda case, seed, store, _: run_adaptive(case, seed, store, lines.append)
    )
    assert main([*DISK, "--quick"]) == 0
    assert lines[:2] == ["iteration 0: the truth at the start", "iteration 0: f 1097, 1 evaluations"]
    assert lines[-1].endswith("10 evaluations")


@pytest.mark.usefixtures("undrawn")
def test_limit_of_evaluations_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DISK, "--max-evaluations", "4"]) == 0
    assert (record(tmp_path)["evaluations"], record(tmp_path)["exit"]) == (4, "budget")
    assert "Termination: budget. The evaluations are spent." in capsys.readouterr().out
    assert main([*DISK, "--max-evaluations", "6"]) == 0
    assert (record(tmp_path)["evaluations"], record(tmp_path)["evaluations_from_store"]) == (6, 4)


@pytest.mark.usefixtures("undrawn")
def test_workers_evaluate_a_batch_in_each_iteration(tmp_path: Path) -> None:
    assert main([*DISK, "--workers", "2", "--max-evaluations", "7"]) == 0
    found = record(tmp_path)
    assert (found["evaluations"], found["settings"]["workers"]) == (7, 2)
    assert [one["evaluations"] for one in found["iterations"]] == [1, 3, 5, 7]


def test_samples_without_one_shot_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "rosenbrock", "--samples", "9"]) == 1
    message = "`--samples` must come with --one-shot, got 9. Add --one-shot, or limit the loop with --max-evaluations."
    assert message in capsys.readouterr().err
