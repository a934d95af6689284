"""One-shot runs: what is evaluated, what is dropped, what is counted, and that a seed decides all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cases.case import Case, Response, Stage
from cases.one_shot import OneShot, run_one_shot, run_reference
from gradopt import JENN
from gradopt.errors import GradoptError
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates import Polish

MakeCase = Callable[..., Case]
OPTIMUM = [0.6, -0.2, 0.1]
QUICK = JENN((4,), solver=LevenbergMarquardt(max_iterations=5), starts=1)


def run(case: Case, folder: Path, seed: int = 0) -> OneShot:
    return run_one_shot(case, seed, folder, lambda line: None)


def test_final_design_is_near_the_optimum_of_the_truth(make_case: MakeCase, tmp_path: Path) -> None:
    result = run(make_case(), tmp_path)
    assert result.final.success
    np.testing.assert_allclose(result.final.x, OPTIMUM, atol=0.02)
    np.testing.assert_allclose(result.final.predicted["g"], 0.5, atol=1e-6)


def test_true_responses_are_those_of_the_truth_at_the_final_design(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case()
    result = run(case, tmp_path)
    for x, true in ((case.start, result.start), *((stage.x, stage.true) for stage in result.stages)):
        np.testing.assert_allclose(np.concatenate([true["f"], true["g"]]), case.truth(x)[0], rtol=1e-12)
        np.testing.assert_allclose(true["h"], [x[2], 2.0 * x[2]], rtol=1e-12)


def test_path_leads_from_the_start_to_the_final_design(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case()
    for stage in run(case, tmp_path).stages:
        np.testing.assert_array_equal(stage.path[0], case.start)
        np.testing.assert_allclose(stage.path[-1], stage.x, atol=1e-9)
        assert {name: values.shape for name, values in stage.history.items()} == {
            "f": (len(stage.path), 1),
            "g": (len(stage.path), 1),
            "h": (len(stage.path), 2),
        }


def test_truth_is_called_as_often_as_is_counted(make_case: MakeCase, calls: list[np.ndarray], tmp_path: Path) -> None:
    case = make_case(stages=(Stage("JENN", QUICK),))
    result = run(case, tmp_path)
    assert result.truth_evaluations == case.samples + 1
    assert len(calls) == result.truth_evaluations + case.held_out
    np.testing.assert_array_equal(calls[0], case.start)
    np.testing.assert_array_equal(calls[-1], result.final.x)
    assert len({x.tobytes() for x in calls}) == len(calls), "a point was paid for twice"


def test_failed_evaluations_are_counted_and_dropped(
    make_case: MakeCase, calls: list[np.ndarray], tmp_path: Path
) -> None:
    case = make_case(lambda x: len(calls) in (3, 7, 22), stages=(Stage("JENN", QUICK),))
    result = run(case, tmp_path)
    assert result.failures == 2
    np.testing.assert_array_equal(result.data.x, np.delete(calls[:20], [2, 6], axis=0))
    np.testing.assert_array_equal(result.held_out.x, np.delete(calls[20:26], [1], axis=0))
    assert result.truth_evaluations == case.samples + 1
    for x, y, dydx in zip(result.data.x, result.data.y, result.data.partials, strict=True):
        np.testing.assert_array_equal(y, case.truth(x)[0])
        np.testing.assert_array_equal(dydx, case.truth(x)[1])


def test_failure_of_all_evaluations_is_explained(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(fails=lambda x: True)
    message = r"All 20 training evaluations of the truth failed; the first with: no convergence at \[1\. 1\. 1\.\]"
    with pytest.raises(GradoptError, match=message):
        run(case, tmp_path)


def test_failure_of_all_held_out_evaluations_is_explained(
    make_case: MakeCase, calls: list[np.ndarray], tmp_path: Path
) -> None:
    case = make_case(fails=lambda x: len(calls) > 20)
    with pytest.raises(GradoptError, match="All 6 held-out evaluations of the truth failed"):
        run(case, tmp_path)


def test_failure_at_the_start_is_an_outcome(make_case: MakeCase, tmp_path: Path) -> None:
    result = run(make_case(fails=lambda x: bool((x == 1.0).all())), tmp_path)
    assert result.failures == 1
    assert np.isnan(result.start["f"]).all() and np.isfinite(result.final.true["f"]).all()


def test_failure_at_the_optimum_is_an_outcome(make_case: MakeCase, calls: list[np.ndarray], tmp_path: Path) -> None:
    expected = len(run(make_case(), tmp_path).data.x) + 6
    calls.clear()
    result = run(make_case(fails=lambda x: len(calls) > expected), tmp_path)
    assert np.isnan(result.final.true["f"]).all() and np.isfinite(result.final.predicted["f"]).all()


def test_other_faults_of_the_truth_pass(make_case: MakeCase, tmp_path: Path) -> None:
    def broken(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ZeroDivisionError("a bug, not an outcome")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(make_case(truth=broken), tmp_path)


def test_polish_continues_from_the_stage_before(make_case: MakeCase, tmp_path: Path) -> None:
    stages = (Stage("one", QUICK), Stage("two", polish=Polish(magnitude=10.0)), Stage("three", polish=Polish()))
    result = run(make_case(stages=stages), tmp_path)
    assert [stage.stage.label for stage in result.stages] == ["one", "two", "three"]
    assert result.final is result.stages[-1]
    x = result.data.x
    first = result.stages[0].surrogates[0]
    second = first.polish(result.data, Polish(magnitude=10.0))
    third = second.polish(result.data, Polish())
    for stage, expected in zip(result.stages, (first, second, third), strict=True):
        np.testing.assert_array_equal(stage.surrogates[0].predict(x), expected.predict(x))
    assert (first.predict(x) != second.predict(x)).any()
    assert (second.predict(x) != third.predict(x)).any()


@pytest.mark.parametrize(("separate", "outputs"), [(True, [("f",), ("g",)]), (False, [("f", "g")])])
def test_separate_gives_each_output_a_surrogate(
    make_case: MakeCase, tmp_path: Path, separate: bool, outputs: list[tuple[str, ...]]
) -> None:
    stages = (Stage("JENN", QUICK), Stage("polished", polish=Polish()))
    result = run(make_case(separate=separate, stages=stages), tmp_path)
    for stage in result.stages:
        assert [tuple(v.name for v in surrogate.outputs) for surrogate in stage.surrogates] == outputs


def test_seed_decides_the_samples_and_the_final_design_to_the_last_bit(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(stages=(Stage("JENN", QUICK),))
    one, again, other = (run(case, tmp_path, seed) for seed in (3, 3, 4))
    for name in ("x", "y", "dydx"):
        np.testing.assert_array_equal(getattr(one.data, name), getattr(again.data, name))
    np.testing.assert_array_equal(one.held_out.x, again.held_out.x)
    np.testing.assert_array_equal(one.final.surrogates[0].theta, again.final.surrogates[0].theta)
    np.testing.assert_array_equal(one.final.x, again.final.x)
    np.testing.assert_array_equal(one.final.path, again.final.path)
    assert (one.data.x[1:] != other.data.x[1:]).all()
    assert (one.held_out.x != other.held_out.x).all()
    assert (one.final.x != other.final.x).any()


def test_held_out_points_are_not_training_points(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(stages=(Stage("JENN", QUICK),), held_out=19)  # as many as the design has
    result = run(case, tmp_path)
    distances = np.linalg.norm(result.held_out.x[:, None] - result.data.x[None], axis=2)
    assert distances.min() > 1e-3


def test_driver_stays_where_the_surrogate_can_be_trusted(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(upper=np.array([2.0, 2.0, 0.0]), start=np.zeros(3), responses=(Response("f", "minimize"),))
    result = run(case, tmp_path)
    assert (result.final.path <= case.upper + 1e-12).all()
    np.testing.assert_allclose(result.final.x, [0.5, -0.3, 0.0], atol=0.02)


def test_each_step_is_reported(make_case: MakeCase, tmp_path: Path) -> None:
    lines: list[str] = []
    run_one_shot(make_case(stages=(Stage("JENN", QUICK),)), 0, tmp_path, lines.append)
    assert lines[0] == "truth at training point 1 of 20"
    assert lines[-3:] == ["truth at held-out point 6 of 6", "JENN: training", "JENN: SLSQP on the surrogate"]


def test_second_run_in_a_folder_replaces_the_recording_of_the_first(make_case: MakeCase, tmp_path: Path) -> None:
    case = make_case(stages=(Stage("two words", QUICK),))
    first, second = run(case, tmp_path), run(case, tmp_path)
    np.testing.assert_array_equal(first.final.path, second.final.path)
    assert [file.name for file in tmp_path.glob("*.sql")] == ["two_words.sql"]


def test_reference_counts_the_evaluations_of_the_truth(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    reference = run_reference(make_case())
    assert reference.success
    assert reference.evaluations == len(calls) > 1
    np.testing.assert_allclose(reference.x, OPTIMUM, atol=1e-6)
    np.testing.assert_allclose(reference.responses["f"], 0.03, atol=1e-6)


def test_reference_may_leave_the_region_of_the_surrogate(make_case: MakeCase) -> None:
    case = make_case(lower=np.ones(3), upper=np.full(3, 2.0))
    np.testing.assert_allclose(run_reference(case).x, OPTIMUM, atol=1e-6)
