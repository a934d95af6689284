"""The problems optimized in one shot: consistent truths, and optima that are what they are said to be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cases.case import Case, Stage
from cases.one_shot import StageResult, run_one_shot, run_reference
from gradopt import JENN, Surrogate
from gradopt.solvers import LevenbergMarquardt
from scripts.jenn.one_shot_problems import best, branin, disk, excess, valley, violation
from scripts.jenn.polishing_sweep import MAGNITUDES, WIDTHS, Sweep, polishing

ANALYTIC = [valley(2, 20), valley(5, 100), disk(20), branin(20)]


@pytest.mark.parametrize("case", ANALYTIC, ids=lambda case: case.name)
def test_slsqp_on_the_truth_finds_the_least_objective(case: Case) -> None:
    reference = run_reference(case)
    assert reference.success
    assert reference.responses["f"][0] == pytest.approx(best(case), abs=1e-5)
    assert np.array_equal(case.truth(case.start)[1].shape, (len(case.outputs), len(case.start)))


def test_excess_and_violation_of_a_poor_surrogate_are_those_of_the_truth(tmp_path: Path) -> None:
    poor = JENN((2,), starts=1, solver=LevenbergMarquardt(max_iterations=2))
    case = replace(disk(5), stages=(Stage("JENN", poor),))
    final = run_one_shot(case, 0, tmp_path, lambda line: None).final
    f, r2 = case.truth(final.x)[0]
    assert excess(case, best(case), final) == pytest.approx(f - best(case))
    assert violation(case, final) == pytest.approx(max(r2 - 1.0, 0.0))


def best_of_points(
    case: Case, stage: Stage, surrogates: tuple[Surrogate, ...], folder: Path, fit_seconds: float
) -> StageResult:
    """Take the best of fixed points in the place of SLSQP, which takes longer than all fits together."""
    points = np.random.default_rng(0).uniform(case.lower, case.upper, (2000, len(case.start)))
    (surrogate,) = surrogates
    x = points[surrogate.predict(points)[:, 0].argmin()]
    return StageResult(stage, surrogates, x, {}, {"f": case.truth(x)[0]}, x[None], {}, True, fit_seconds, 0.0)


def test_sweep_compares_with_the_same_fit_without_polish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = JENN((4,), starts=1, solver=LevenbergMarquardt(max_iterations=3))
    grid = ((0.0, 1000.0), (0.1,))  # magnitude 0 magnifies nothing: only further training
    frozen = replace(learned, solver=LevenbergMarquardt(max_iterations=0))
    plans = {
        "frozen": Sweep(lambda: valley(2, 8), frozen, 2, grid),
        "other": Sweep(lambda: branin(8), learned, 2, grid),
    }
    monkeypatch.setattr("scripts.jenn.polishing_sweep.sweeps", lambda quick: plans)
    monkeypatch.setattr("scripts.jenn.polishing_sweep.optimize", best_of_points)
    found = polishing(tmp_path, True)
    still, moved = (found["problems"][name]["settings"] for name in plans)
    assert all(one["log_error"]["all"] == [0.0, 0.0] for one in still), "no iterations, so nothing changes"
    assert any(one["log_error"]["median"] != 0.0 for one in moved)
    ratio = np.log10(np.array(moved[1]["error"]["all"]) / found["problems"]["other"]["without"]["error"]["all"])
    assert moved[1]["log_error"]["all"] == pytest.approx(ratio.tolist())
    mean = moved[1]["log_error"]["median"] / 2.0
    assert found["overall"]["default"]["mean"] == pytest.approx(mean)
    assert (1000.0 in MAGNITUDES) and (0.1 in WIDTHS), "the default is in the grid"
