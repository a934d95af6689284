"""Problems of the airfoil: what is maximized or averaged is that of the truth, and conditions share what they can."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, violation
from cases.airfoil.case import STATIONS, THICKNESS, airfoil_case
from cases.airfoil.geometry import load_shape, thickness_matrix, thickness_offset, write_dat
from cases.airfoil.problems import Condition, default_conditions, lift_to_drag, multipoint
from cases.case import Case
from cases.cli import main
from cases.model import adaptive_case, get_responses, pose
from gradopt import EvaluationStore
from gradopt.data.variables import column_bounds
from gradopt.errors import InputError
from gradopt.om.baseline import FailureTolerantSLSQP

pytest.importorskip("neuralfoil")
pytest.importorskip("aerosandbox")

CONDITIONS = (Condition(0.4, 5e6), Condition(0.6, 5e6, 3.0), Condition(0.7, 2e6, 2.0))
PART = np.array([1.0, 3.0, 2.0]) / 6.0


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [airfoil_case("rae2822", one.reynolds, one.lift, -0.08, quick=True) for one in CONDITIONS]


@pytest.fixture(scope="module")
def joined(cases: list[Case]) -> AdaptiveCase:
    return multipoint(cases, [one.weight for one in CONDITIONS], configuration=None)


def test_ratio_is_that_of_the_true_lift_and_drag(cases: list[Case]) -> None:
    case = adaptive_case(lift_to_drag(cases[1]), configuration=None)
    problem = pose(
        case.model(case.truths),
        case.inputs,
        column_bounds(case.inputs),
        case.responses,
        case.start,
        FailureTolerantSLSQP(),
    )
    problem.run_model()
    lift, drag, moment, _ = cases[1].truth(case.start)[0]
    found = get_responses(problem, case)
    assert list(found) == ["lift_to_drag", "CM", "thickness", "analysis_confidence"]
    np.testing.assert_allclose([found["lift_to_drag"][0], found["CM"][0]], [lift / drag, moment])


def test_angle_of_attack_is_free_within_ten_degrees_where_lift_is(cases: list[Case]) -> None:
    case = lift_to_drag(cases[1])
    np.testing.assert_allclose(case.limits[1] - case.start, [*[0.25] * 16, 10.0])
    np.testing.assert_allclose(case.start - case.limits[0], [*[0.25] * 16, 10.0])
    np.testing.assert_allclose(cases[1].limits[1] - case.start, [*[0.25] * 16, 5.0])


def test_loop_doubles_the_ratio_in_few_evaluations(cases: list[Case]) -> None:
    case = adaptive_case(lift_to_drag(cases[1]), configuration=None, max_evaluations=15, tolerance=1e-3)
    result = run_adaptive(case, 0, EvaluationStore(), lambda line: None)
    assert result.final.true["lift_to_drag"][0] > 2.0 * result.start["lift_to_drag"][0]
    assert violation(case, result.final.true) < 0.05


def test_conditions_by_default_are_about_lift_and_reynolds_number() -> None:
    conditions = default_conditions(0.6, 5e6)
    assert [one.lift for one in conditions] == [0.4, 0.6, 0.8] * 2
    assert [one.reynolds for one in conditions] == [5e6] * 3 + [2e6] * 3
    assert [one.weight for one in conditions] == [1.0, 2.0, 1.0] * 2


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
def test_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="`weight` must be a positive number, got .* Leave out conditions of"):
        Condition(0.5, 1e6, weight)


def test_drag_of_several_conditions_is_the_weighted_mean_of_the_true_ones(
    cases: list[Case], joined: AdaptiveCase
) -> None:
    inputs, bounds = joined.inputs, column_bounds(joined.inputs)
    problem = pose(joined.model(joined.truths), inputs, bounds, joined.responses, joined.start, FailureTolerantSLSQP())
    problem.run_model()
    found = get_responses(problem, joined)
    y, dydx = zip(*(case.truth(case.start) for case in cases), strict=True)
    values, partials = np.array(y), np.array(dydx)
    np.testing.assert_allclose(found["drag"], [PART @ values[:, 1]])
    for column, name in ((0, "CL"), (2, "CM"), (3, "analysis_confidence")):
        np.testing.assert_allclose(found[name], values[:, column])
    shape = load_shape("rae2822")
    offset = thickness_offset(STATIONS, shape.trailing_edge_thickness)
    np.testing.assert_allclose(found["thickness"], thickness_matrix(STATIONS) @ joined.start[:16] + offset)
    totals = problem.compute_totals(of=["drag", "CL"], wrt=["alpha", "lower_weights"])
    np.testing.assert_allclose(totals["drag", "alpha"], [PART * partials[:, 1, 16]])
    np.testing.assert_allclose(totals["drag", "lower_weights"], [PART @ partials[:, 1, 8:16]])
    np.testing.assert_allclose(totals["CL", "alpha"], np.diag(partials[:, 0, 16]))


def test_every_condition_has_its_lift_and_the_other_limits(cases: list[Case], joined: AdaptiveCase) -> None:
    asked = {response.name: (response.kind, response.bound) for response in joined.responses}
    assert asked == {
        "drag": ("minimize", 0.0),
        "CL": ("equals", (0.4, 0.6, 0.7)),
        "CM": ("lower", (-0.08,) * 3),
        "thickness": ("lower", THICKNESS),
        "analysis_confidence": ("lower", (0.9,) * 3),
    }
    low, high = column_bounds(joined.inputs)
    np.testing.assert_array_equal(joined.start[16:], [case.start[16] for case in cases])
    np.testing.assert_allclose(joined.start - low, [*[0.25] * 16, *[5.0] * 3])
    np.testing.assert_allclose(high - joined.start, [*[0.25] * 16, *[5.0] * 3])


def test_conditions_at_one_reynolds_number_share_a_truth_and_its_data(cases: list[Case], joined: AdaptiveCase) -> None:
    assert [truth.identity for truth in joined.truths] == [cases[0].identity, cases[2].identity]
    low, high = column_bounds(joined.truths[0].inputs)
    both = [column_bounds(case.inputs) for case in cases[:2]]
    assert (low[16], high[16]) == (both[0][0][16], both[1][1][16])
    apart = multipoint(cases, [1.0, 1.0, 1.0], share=False, configuration=None)
    assert len(apart.truths) == 3
    for case, sizes in (
        (joined, {"point_0": 8, "point_1": 8, "point_2": 4}),
        (apart, {f"point_{k}": 4 for k in range(3)}),
    ):
        store = EvaluationStore()
        result = run_adaptive(replace(case, max_evaluations=12), 0, store, lambda line: None)
        assert {path: data.n for path, data in result.data.items() if data is not None} == sizes
        assert result.evaluations == store.evaluated == 12


@pytest.mark.parametrize(
    ("options", "more", "conditions"),
    [
        (["lift-to-drag"], ["polars"], None),
        (["multipoint", "--lift", "0.5", "--max-evaluations", "12"], ["polars_2000000", "polars_5000000"], 6),
        (["multipoint", "--condition", "0.4", "3e6", "1", "--condition", "0.6", "3e6", "2"], ["polars"], 2),
    ],
)
def test_quick_run_of_a_problem_writes_its_files(
    options: list[str], more: list[str], conditions: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "airfoil", "--quick", "--out", "out", "--problem", *options]) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["settings"]["problem"] == options[0]
    assert len(found["settings"].get("conditions", [])) == (conditions or 0)
    pictures = {file.stem for file in (tmp_path / "out").glob("*.png")}
    assert pictures == {"convergence", "prediction", "trust_region", "shape", *more}
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("undrawn")
def test_optimum_is_written_as_a_file_that_is_a_start_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "airfoil", "--quick", "--max-evaluations", "3", "--out", "out"]) == 0
    assert "optimum.dat" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    shape = load_shape(str(tmp_path / "out" / "optimum.dat"))
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    np.testing.assert_allclose(weights, found["final"]["x"][:16], rtol=0, atol=2e-8)


def test_name_of_a_file_is_text_in_pictures_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A formula of TeX, markup of the console, and a point."""
    name = r"$\frac{$[red]TE 1.0 0.002"
    write_dat(load_shape("rae2822"), tmp_path / f"{name}.dat")
    airfoil = ["--airfoil", str(tmp_path / f"{name}.dat")]
    assert main(["run", "airfoil", "--quick", "--max-evaluations", "3", "--out", "out", *airfoil]) == 0
    assert capsys.readouterr().err == ""
    assert json.loads((tmp_path / "out" / "result.json").read_text())["settings"]["airfoil"] == name
    assert load_shape(str(tmp_path / "out" / "optimum.dat")).name == "optimum"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--problem", "multipoint", "--one-shot"], "`--problem` must be drag with --one-shot, got multipoint."),
        (["--condition", "0.5", "1e6", "1"], "`--condition` must come with --problem multipoint, got drag."),
        (
            ["--problem", "multipoint", "--condition", "0.5", "-1", "1"],
            "`reynolds` must be a positive number, got -1.0",
        ),
    ],
)
def test_options_that_do_not_go_together_are_explained(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "airfoil", *options]) == 1
    assert message in capsys.readouterr().err
