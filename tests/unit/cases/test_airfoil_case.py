"""The airfoil case samples where it says, starts at the lift wanted, and refuses what it cannot do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cases.adaptive import run_adaptive
from cases.adaptive_case import violation
from cases.airfoil import case as airfoil_module
from cases.airfoil.case import STATIONS, THICKNESS, airfoil_case
from cases.airfoil.geometry import load_shape, thickness_matrix, thickness_offset
from cases.case import Case, Stage
from cases.model import adaptive_case
from cases.one_shot import run_one_shot
from gradopt import MLP, EvaluationStore
from gradopt.data.variables import column_bounds, column_names
from gradopt.errors import InputError, MissingExtraError
from gradopt.solvers import LevenbergMarquardt

pytest.importorskip("neuralfoil")
pytest.importorskip("aerosandbox")
SEEDS = range(3)


@pytest.fixture(scope="module")
def case() -> Case:
    return airfoil_case(quick=True)


def shortfall(points: np.ndarray, airfoil: str) -> np.ndarray:
    """How much thinner than the limit each design (n, 17) is at its worst station."""
    offset = thickness_offset(STATIONS, load_shape(airfoil).trailing_edge_thickness)
    thickness = points[:, :-1] @ thickness_matrix(STATIONS).T + offset
    return np.asarray((np.array(THICKNESS) - thickness).max(axis=1))


@pytest.mark.parametrize("seed", SEEDS)
def test_design_points_are_inside_the_declared_bounds(case: Case, seed: int) -> None:
    points = case.design(128, seed)
    low, high = column_bounds(case.inputs)
    assert points.shape == (128, 17)
    assert ((low <= points) & (points <= high)).all()
    assert len(np.unique(points, axis=0)) == 128


def test_declared_bounds_hold_the_region_of_the_driver_and_that_the_start(case: Case) -> None:
    low, high = column_bounds(case.inputs)
    assert ((low <= case.lower) & (case.lower < case.start) & (case.start < case.upper) & (case.upper <= high)).all()
    assert ((case.limits[0] <= case.lower) & (case.upper <= case.limits[1])).all()
    assert column_names(case.inputs)[7:9] == ["upper_weights[7]", "lower_weights[0]"]


def test_seed_decides_the_design(case: Case) -> None:
    np.testing.assert_array_equal(case.design(20, 4), case.design(20, 4))
    assert (case.design(20, 4) != case.design(20, 5)).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_are_thick_enough_within_the_tolerance(case: Case, seed: int) -> None:
    assert shortfall(case.design(128, seed), "rae2822").max() <= airfoil_module._THIN + 1e-12


def test_start_too_thin_for_the_limit_is_sampled_where_it_is_least_thin() -> None:
    thin = airfoil_case("naca0006", quick=True)
    chosen = shortfall(thin.design(20, 0), "naca0006")
    assert len(chosen) == 20
    assert chosen.mean() < shortfall(thin.design(2000, 0), "naca0006").mean()


@pytest.mark.parametrize(("airfoil", "lift"), [("rae2822", 0.6), ("naca4412", 0.3), ("naca0012", 0.8)])
def test_start_is_the_given_airfoil_at_about_the_target_lift(airfoil: str, lift: float) -> None:
    case = airfoil_case(airfoil, lift=lift, moment=-0.2, quick=True)
    shape = load_shape(airfoil)
    np.testing.assert_array_equal(case.start[:-1], np.concatenate([shape.upper_weights, shape.lower_weights]))
    assert abs(case.truth(case.start)[0][0] - lift) < 0.05
    bounds = {response.name: (response.kind, response.bound) for response in case.responses}
    assert bounds["CL"] == ("equals", lift)
    assert bounds["CM"] == ("lower", -0.2)
    assert bounds["thickness"] == ("lower", THICKNESS)
    assert case.settings["airfoil"] == airfoil


def test_samples_have_about_the_target_lift(case: Case) -> None:
    lifts = np.array([case.truth(x)[0][0] for x in case.design(40, 0)])
    assert np.median(np.abs(lifts - 0.6)) < 0.15


def test_reynolds_number_reaches_the_truth(case: Case) -> None:
    slow = airfoil_case(reynolds=1e5, quick=True)
    assert slow.truth(case.start)[0][1] > 1.2 * case.truth(case.start)[0][1]


def test_unknown_airfoil_is_explained() -> None:
    message = r"`name_or_path` must be an airfoil that AeroSandbox ships, got 'rae2823'\. Close names are: .*rae2822"
    with pytest.raises(InputError, match=message):
        airfoil_case("rae2823")


@pytest.mark.parametrize("missing", ["neuralfoil", "casadi", "aerosandbox"])
def test_missing_extra_is_named_with_its_installation(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = rf"needs the package `{missing}`, which is not installed\. .* pip install 'gradopt\[airfoil\]'"
    with pytest.raises(MissingExtraError, match=message):
        airfoil_case()


def test_picture_shows_both_shapes(case: Case, tmp_path: Path) -> None:
    stage = Stage("MLP", MLP((3,), solver=LevenbergMarquardt(max_iterations=2), starts=1))
    small = replace(case, stages=(stage,), samples=6, held_out=2)
    result = run_one_shot(small, 0, tmp_path, lambda line: None)
    assert case.draw(result, tmp_path) == [tmp_path / name for name in ("shape.png", "polars.png", "optimum.dat")]
    pixels = imread(tmp_path / "shape.png")[..., :3]
    assert pixels.std() > 0.02
    blue = (pixels[..., 2] > 0.6) & (pixels[..., 0] < 0.2)
    assert blue.sum() > 100, "the optimum is not drawn"
    assert (pixels.max(axis=2) < 0.2).sum() > 100, "the start is not drawn"
    answer = replace(result.final, x=np.append(1.2 * result.final.x[:8], result.final.x[8:]))
    case.draw(replace(result, stages=(answer,)), tmp_path)
    assert (imread(tmp_path / "shape.png")[..., :3] != pixels).any(), "the upper side is not that of the optimum"


@pytest.mark.parametrize("name", ["lift", "moment"])
def test_coefficient_that_is_not_a_number_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be a finite number, got nan. Coefficients are of order 1."):
        airfoil_case(**{name: np.nan})  # type: ignore[arg-type]


def test_loop_has_the_limits_of_the_true_problem_and_the_transforms(case: Case) -> None:
    loop = adaptive_case(case, configuration=None)
    low, high = column_bounds(loop.inputs)
    np.testing.assert_allclose(loop.start - low, [*[0.25] * 16, 5.0])
    np.testing.assert_allclose(high - loop.start, [*[0.25] * 16, 5.0])
    assert {v.name: v.transform for v in loop.truths[0].outputs if v.transform} == {
        "CD": "log",
        "analysis_confidence": "logit",
    }
    assert loop.truths[0].identity == case.identity


def test_loop_halves_the_drag_in_few_evaluations(case: Case, tmp_path: Path) -> None:
    loop = adaptive_case(case, configuration=None, max_evaluations=25, tolerance=1e-3)
    result = run_adaptive(loop, 0, EvaluationStore(), lambda line: None)
    assert result.final.true["CD"][0] < 0.55 * result.start["CD"][0]
    assert violation(loop, result.final.true) < 1e-2
    pictures = case.draw(result, tmp_path)
    assert imread(pictures[0])[..., :3].std() > 0.02
