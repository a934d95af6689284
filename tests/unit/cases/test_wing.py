"""The wing: totals of the truth, the algebra around it, the optimum, and what is said without OpenAeroStruct."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec

import numpy as np
import openmdao.api as om
import pytest

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveResult, evaluations_to, objective
from cases.baseline import run_baseline
from cases.cli import main
from cases.model import get_responses, pose, set_design
from cases.wing.aerostructure import POINT, wing_problem, wing_truth
from cases.wing.case import start_of, wing_case
from cases.wing.pictures import look
from gradopt import EvaluationStore
from gradopt.data.variables import column_bounds
from gradopt.errors import InputError, MissingExtraError
from gradopt.om.baseline import FailureTolerantSLSQP

needs_openaerostruct = pytest.mark.skipif(find_spec("openaerostruct") is None, reason="needs the extra `wing`")
PANELS, POINTS = 3, 2
RESPONSES = {
    "fuelburn": f"{POINT}.fuelburn",
    "L_equals_W": f"{POINT}.L_equals_W",
    "failure": f"{POINT}.wing_perf.failure",
    "thickness_intersects": f"{POINT}.wing_perf.thickness_intersects",
}


@cache
def loop_from(start: str) -> AdaptiveResult:
    return run_adaptive(wing_case(start, PANELS, POINTS), 0, EvaluationStore(), lambda line: None)


def a_design() -> np.ndarray:
    draw = np.random.default_rng(5)
    return np.concatenate([draw.uniform(-2.0, 4.0, POINTS), draw.uniform(0.03, 0.1, POINTS), [5.5]])


def whole_model(x: np.ndarray) -> om.Problem:
    problem = wing_problem(PANELS, POINTS)
    for name, value in zip(("twist_cp", "thickness_cp", "alpha"), np.split(x, [POINTS, 2 * POINTS]), strict=True):
        problem.set_val(name, value)
    problem.run_model()
    return problem


@needs_openaerostruct
@pytest.mark.parametrize("whole", [False, True])
def test_partials_are_those_of_central_differences(whole: bool) -> None:
    truth, x = wing_truth(PANELS, POINTS, whole), a_design()
    steps = np.diag([1e-4] * POINTS + [1e-6] * POINTS + [1e-4])
    found = truth.evaluate([x, *(x + steps), *(x - steps)])
    assert found.ok.all(), found.message
    ahead, behind = np.split(found.y[1:], 2)
    difference = ((ahead - behind) / 2.0).T / np.diag(steps)
    scale = np.abs(found.dydx[0]).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found.dydx[0] / scale, difference / scale, atol=2e-5)


@needs_openaerostruct
@pytest.mark.parametrize("whole", [False, True])
def test_algebra_around_the_truth_agrees_with_the_whole_model(whole: bool) -> None:
    case, x = wing_case("crm", PANELS, POINTS, whole=whole), a_design()
    problem = pose(
        case.model(case.truths),
        case.inputs,
        column_bounds(case.inputs),
        case.responses,
        case.start,
        FailureTolerantSLSQP(),
    )
    set_design(problem, case, x)
    problem.run_model()
    expected = whole_model(x)
    for name, values in get_responses(problem, case).items():
        np.testing.assert_allclose(values, expected.get_val(RESPONSES[name]), rtol=1e-7, atol=1e-9, err_msg=name)


@needs_openaerostruct
@pytest.mark.parametrize("start", [pytest.param("crm", marks=pytest.mark.slow), "flat"])
def test_loop_ends_certified_where_slsqp_ends_and_sooner(start: str) -> None:
    result = loop_from(start)
    case, direct = result.case, run_baseline(result.case, lambda line: None)
    assert direct.success and result.certificate.certified
    assert objective(case, result.final.true) == pytest.approx(direct.best, rel=1e-3)
    assert result.evaluations <= direct.evaluations <= case.max_evaluations
    mine, its = (evaluations_to(case, visits, direct.best, 1e-3) for visits in (result.visits, direct.visits))
    assert mine and its and mine <= its


@needs_openaerostruct
def test_answer_is_a_wing_on_its_limits() -> None:
    result = loop_from("flat")
    case = result.case
    start, answer = (look(PANELS, POINTS)(x) for x in (case.start, result.final.x))
    assert answer.fuel == pytest.approx(objective(case, result.final.true) / 1e3)
    assert answer.mass < start.mass
    assert 0.9 < answer.stress.max() < 1.0, "KS is above the largest stress, and at its limit"
    assert start.stress.max() < 0.5


@needs_openaerostruct
def test_lift_that_is_drawn_carries_the_wing() -> None:
    wing, problem = look(PANELS, POINTS)(a_design()), whole_model(a_design())
    drawn = 2.0 * np.sum(wing.lift * -np.diff(wing.y))
    assert drawn == pytest.approx(problem.get_val(f"{POINT}.total_perf.L", units="kN")[0], rel=1e-6)
    assert (np.diff(wing.y) < 0.0).all() and wing.y[-1] == pytest.approx(0.0)
    assert wing.bent[0, 0, 2] > wing.built[0, 0, 2], "the tip bends up"


@needs_openaerostruct
def test_starts_are_within_the_bounds() -> None:
    lower, upper = column_bounds(wing_case("flat", PANELS, POINTS).inputs)
    for name in ("crm", "flat"):
        start = start_of(name, PANELS, POINTS)
        assert start.size == 2 * POINTS + 1
        assert (lower < start).all() and (start < upper).all()


@pytest.mark.parametrize(
    ("panels", "points", "text"),
    [
        (1, 2, "`panels` must be at least 2, got 1"),
        (3, 5, r"`points` must be between 2 and panels \+ 1 = 4, got 5"),
        (3, 1, r"`points` must be between 2 and panels \+ 1 = 4, got 1"),
    ],
)
def test_sizes_are_checked(panels: int, points: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        wing_case("flat", panels, points)


def test_missing_openaerostruct_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "openaerostruct"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openaerostruct", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradopt\[wing\]'"):
        wing_case()
    assert main(["run", "wing", "--quick", "--out", "out"]) == 1
    assert "error: This needs the package `openaerostruct" in capsys.readouterr().err
