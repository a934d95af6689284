"""What a run leaves behind: result.json, tables, surrogates that load again, pictures that show something."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from rich.table import Table

from cases.case import Case, Stage
from cases.one_shot import OneShot, run_one_shot, run_reference
from cases.outcome import stages_table, summary_table, write_outcome
from cases.rosenbrock.case import rosenbrock_case
from cases.rosenbrock.pictures import draw
from gradopt import JENN, MLP, load
from gradopt.solvers import LevenbergMarquardt
from gradopt.versions import versions

MakeCase = Callable[..., Case]
SOLVER = LevenbergMarquardt(max_iterations=5)
STAGES = (
    Stage("MLP", MLP((4,), solver=SOLVER, starts=1)),
    Stage("JENN", JENN((4,), solver=SOLVER, starts=1)),
    Stage("polish"),
)


@pytest.fixture(scope="module")
def result(case_maker: MakeCase, tmp_path_factory: pytest.TempPathFactory) -> OneShot:
    calls: list[np.ndarray] = []
    case = case_maker(calls, lambda x: len(calls) == 4, stages=STAGES, optimum=np.array([0.6, -0.2, 0.1]))
    folder = tmp_path_factory.mktemp("run")
    with chdir(folder):
        return run_one_shot(case, 5, folder, lambda line: None)


def written(result: OneShot, folder: Path, reference: bool = False) -> dict[str, Any]:
    write_outcome(result, run_reference(result.case) if reference else None, folder)
    return dict(json.loads((folder / "result.json").read_text()))


def shown(table: Table) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def assert_shows_something(picture: Path) -> None:
    pixels = imread(picture)
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.02, f"{picture.name} is blank"


@pytest.mark.usefixtures("undrawn")
def test_result_file_holds_the_result(result: OneShot, tmp_path: Path) -> None:
    record = written(result, tmp_path)
    assert (record["case"], record["title"], record["citation"]) == ("bowl", "the bottom of a bowl", "nobody")
    assert record["x"] == result.final.x.tolist()
    assert record["x_names"] == ["a[0]", "a[1]", "b"]
    assert record["predicted"] == {name: value.tolist() for name, value in result.final.predicted.items()}
    assert record["true"] == {name: value.tolist() for name, value in result.final.true.items()}
    assert set(record["true"]) == {"f", "g", "h"}
    assert record["start"] == {"x": [1.0, 1.0, 1.0], "true": {k: v.tolist() for k, v in result.start.items()}}
    assert record["known_optimum"] == [0.6, -0.2, 0.1]
    assert record["violations"]["g"] == max(0.5 - record["true"]["g"][0], 0.0)
    assert record["reference"] is None


@pytest.mark.usefixtures("undrawn")
def test_result_file_holds_evaluations_and_provenance(result: OneShot, tmp_path: Path) -> None:
    record = written(result, tmp_path)
    assert record["seed"] == 5
    assert record["truth_evaluations"] == result.truth_evaluations == 21
    assert record["failed_evaluations"] == result.failures == 1
    assert record["held_out_evaluations"] == result.held_out.n
    assert record["seconds"] == result.seconds > 0.0
    assert record["versions"] == versions()
    assert "commit" in record


@pytest.mark.usefixtures("undrawn")
def test_result_file_holds_the_settings(result: OneShot, tmp_path: Path) -> None:
    settings = written(result, tmp_path)["settings"]
    assert (settings["depth"], settings["samples"], settings["held_out"]) == (0.0, 20, 6)
    assert settings["stages"]["MLP"]["kind"] == "MLP"
    assert settings["stages"]["MLP"]["solver"]["max_iterations"] == 5
    assert settings["stages"]["polish"]["polish"]["about"] == "flat"


@pytest.mark.usefixtures("undrawn")
def test_result_file_holds_every_stage(result: OneShot, tmp_path: Path) -> None:
    stages = written(result, tmp_path)["stages"]
    assert [stage["label"] for stage in stages] == ["MLP", "JENN", "polish"]
    for stage, one in zip(stages, result.stages, strict=True):
        y, dydx = one.surrogates[0].linearize(result.held_out.x)
        spread = result.held_out.x.std(axis=0)
        error, slope_error = y - result.held_out.y, (dydx - result.held_out.partials) * spread
        values = np.sqrt((error**2).mean(axis=0)) / result.held_out.y.std(axis=0)
        slopes = np.sqrt((slope_error**2).mean(axis=(0, 2))) / (result.held_out.partials * spread).std(axis=(0, 2))
        np.testing.assert_allclose(stage["held_out_nrmse_values"], values)
        np.testing.assert_allclose(stage["held_out_nrmse_partials"], slopes)
        assert stage["slsqp_steps"] == len(one.path)
        assert stage["fit"][0]["iterations"] == one.surrogates[0].fit_result.iterations


@pytest.mark.usefixtures("undrawn")
def test_reference_is_written_and_shown(result: OneShot, tmp_path: Path) -> None:
    reference = run_reference(result.case)
    write_outcome(result, reference, tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())["reference"]
    assert record["x"] == reference.x.tolist()
    assert (record["evaluations"], record["success"]) == (reference.evaluations, True)
    text = shown(summary_table(result, reference))
    assert "SLSQP on truth" in text
    assert f"SLSQP on the truth: {reference.evaluations} evaluations" in text


@pytest.mark.usefixtures("undrawn")
def test_error_relative_to_an_output_that_does_not_vary_is_null(result: OneShot, tmp_path: Path) -> None:
    one = result.held_out.select(np.array([0]))
    stages = written(replace(result, held_out=one), tmp_path)["stages"]
    assert stages[0]["held_out_nrmse_values"] == [None, None]


def test_summary_mentions_every_response(result: OneShot) -> None:
    text = shown(summary_table(result, None))
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") > 2}
    assert set(rows) == {"f", "g", "h[0]", "h[1]"}
    for name, target in (("f", "minimize"), ("g", ">= 0.5"), ("h[0]", "<= 3"), ("h[1]", "<= 3.5")):
        assert target in rows[name]
    numbers = [float(cell) for cell in rows["f"].split("│")[3:-1]]
    values = [result.start["f"][0], result.final.predicted["f"][0], result.final.true["f"][0]]
    np.testing.assert_allclose(numbers, values, rtol=1e-3)
    assert f"21 truth evaluations for the final design ({result.failures} of them failed)" in text


def test_summary_admits_what_is_wrong(result: OneShot) -> None:
    bad = replace(result.final, success=False, true={**result.final.true, "g": np.array([-9.5])})
    text = shown(summary_table(replace(result, stages=(bad,)), None))
    assert "SLSQP did not converge on polish." in text
    assert "Largest true violation at the final design: 10 in g" in text


def test_stages_table_has_a_row_for_each_training(result: OneShot) -> None:
    text = shown(stages_table(result))
    rows = [line for line in text.splitlines() if line.count("│") > 2]
    assert [row.split("│")[1].strip() for row in rows] == ["MLP", "JENN", "polish"]
    assert "off optimum" in text
    assert "off optimum" not in shown(stages_table(replace(result, case=replace(result.case, optimum=None))))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("separate", "names"), [(False, ["surrogate_0"]), (True, ["surrogate_f", "surrogate_g"])])
def test_surrogates_load_again_and_predict_alike(
    make_case: MakeCase, tmp_path: Path, separate: bool, names: list[str]
) -> None:
    case = make_case(separate=separate, stages=(Stage("JENN", JENN((3,), solver=SOLVER, starts=1)),))
    result = run_one_shot(case, 0, tmp_path, lambda line: None)
    write_outcome(result, None, tmp_path)
    assert sorted(file.stem for file in tmp_path.glob("*.gradopt")) == names
    for name, surrogate in zip(names, result.final.surrogates, strict=True):
        twin = load(tmp_path / f"{name}.gradopt")
        for one, other in zip(twin.linearize(result.data.x), surrogate.linearize(result.data.x), strict=True):
            np.testing.assert_array_equal(one, other)


def test_pictures_of_every_case_show_something(result: OneShot, tmp_path: Path) -> None:
    pictures = write_outcome(result, None, tmp_path)
    assert [picture.name for picture in pictures] == ["predicted_against_true.png", "history.png"]
    for picture in pictures:
        assert_shows_something(picture)


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_an_earlier_run_are_not_taken_for_this_ones(result: OneShot, tmp_path: Path) -> None:
    (tmp_path / "contours.png").touch()
    assert tmp_path / "contours.png" not in write_outcome(result, None, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_a_case_are_returned(result: OneShot, tmp_path: Path) -> None:
    case = replace(result.case, draw=lambda result, folder: [folder / "own.png"])
    assert write_outcome(replace(result, case=case), None, tmp_path)[-1] == tmp_path / "own.png"


@pytest.mark.parametrize(("dimension", "names"), [(2, ["contours.png"]), (3, [])])
def test_rosenbrock_draws_contours_of_two_dimensions(dimension: int, names: list[str], tmp_path: Path) -> None:
    case = replace(rosenbrock_case(dimension, 12, quick=True), stages=STAGES[1:2])
    result = run_one_shot(case, 0, tmp_path, lambda line: None)
    pictures = draw(result, tmp_path)
    assert [picture.name for picture in pictures] == names == [file.name for file in tmp_path.glob("*.png")]
    for picture in pictures:
        assert_shows_something(picture)
