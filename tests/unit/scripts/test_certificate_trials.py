"""Trials of certificates: smooth problems, what spoils their truths, units, and the verdict on a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from gradopt.optimizer import Objective
from scripts.loop import judged_runs
from scripts.loop.base_problems import (
    bowl,
    constrained,
    coupled,
    optimum,
    saddles,
    section,
    steep_at_bound,
    steep_at_constraint,
    unconstrained,
)
from scripts.loop.certificates_by_kind import COUNTS, all_trials, count, earlier
from scripts.loop.independent_check import check, finite_differences
from scripts.loop.judged_runs import run_trial
from scripts.loop.misleading_trials import starts
from scripts.loop.spoiled_truths import (
    QUANTIZERS,
    CertificateTrial,
    Units,
    after,
    column_missing,
    entries_missing,
    few_digits,
    no_partials,
    off,
    relative,
    row_missing,
    wide,
)
from scripts.shared.loop_problems import LoopProblem

STEEP = [steep_at_bound(100.0), steep_at_constraint(100.0, 0.3)]
PROBLEMS = [*unconstrained(), *constrained(), *(of for of, _ in saddles()), *STEEP]
WITH_OPTIMUM = [*unconstrained(), *constrained()]


def name_of(problem: LoopProblem) -> str:
    return problem.name


@pytest.mark.parametrize("of", PROBLEMS, ids=name_of)
def test_partials_of_the_smooth_problems_are_right(of: LoopProblem) -> None:
    (x,) = starts(of, 1)
    expected = finite_differences(of.responses, x, 1e-3)
    np.testing.assert_allclose(of.truth(x)[1], expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("of", WITH_OPTIMUM, ids=name_of)
def test_the_check_agrees_at_the_known_optima(of: LoopProblem) -> None:
    limits = (of.c_lower, of.c_upper)
    verdict = check(of.responses, optimum(of), (of.lower, of.upper), limits, TOLERANCE, FEASIBILITY_TOLERANCE)
    assert verdict.stationarity < 1e-8
    assert verdict.feasibility < 1e-10


@pytest.mark.parametrize(("of", "at"), saddles(), ids=[of.name for of, _ in saddles()])
def test_saddles_are_stationary_with_negative_curvature(of: LoopProblem, at: np.ndarray) -> None:
    trial = CertificateTrial("saddle", "", of, at)
    assert np.abs(of.truth(at)[1]).max() < 1e-12
    assert judged_runs.curvature(trial, at) < -0.5


def test_there_are_more_than_2000_trials_each_with_a_label_of_its_own() -> None:
    trials = all_trials()
    labels = Counter((trial.kind, trial.label) for trial in trials)
    assert len(trials) > 2000
    assert max(labels.values()) == 1
    assert {trial.kind for trial in all_trials(quick=True)} == {trial.kind for trial in trials}


def test_trials_are_chosen_by_a_text() -> None:
    chosen = all_trials(only="two truths: two bowls")
    assert chosen
    assert all(trial.kind == "two truths" and trial.base.name == "two bowls" for trial in chosen)


def test_units_change_values_and_partials_alike() -> None:
    trial = CertificateTrial("", "", section(), np.array([1.0, 1.0]), units=Units(1e-5, (1e-2, 1e3), (1e-8, 10.0)))
    y, dydx = trial.truth()(np.array([1.1e-2, 0.9e3]))
    clean, slopes = section().truth(np.array([1.1, 0.9]))
    np.testing.assert_allclose(y, clean * [1e-5, 1e-8, 10.0], rtol=1e-12)
    np.testing.assert_allclose(dydx, slopes * np.array([[1e-5], [1e-8], [10.0]]) / [1e-2, 1e3], rtol=1e-12)


@pytest.mark.parametrize("rows", ["objective", "constraints", "all"])
def test_few_digits_are_left_of_the_chosen_rows(rows: str) -> None:
    x = np.array([1.2345678, 0.7654321])
    y, dydx = few_digits("3 digits", rows)(section().truth)(x)
    clean = section().truth(x)[0]
    spoiled = np.array([rows != "constraints", *[rows != "objective"] * 2])
    np.testing.assert_array_equal(y != clean, spoiled)
    np.testing.assert_allclose(y, clean, rtol=5e-3)
    assert np.isnan(dydx).all()


def test_every_quantizer_leaves_few_digits() -> None:
    assert {name: quantized(1.23456789) for name, quantized in QUANTIZERS.items()} == {
        "3 digits": 1.23,
        "4 digits": 1.235,
        "5 digits": 1.2346,
        "6 digits": 1.23457,
        "8 digits": 1.2345679,
        "2 decimals": 1.23,
        "4 decimals": 1.2346,
        "6 decimals": 1.234568,
        "float32": float(np.float32(1.23456789)),
        "integers": 1.2,
    }


def test_partials_are_missing_or_wrong_where_they_should_be() -> None:
    x = np.array([1.5, 0.5])
    right = section().truth(x)[1]
    column = column_missing(-1)(section().truth)(x)[1]
    np.testing.assert_array_equal(np.isnan(column), np.array([[False, True]] * 3))
    row = row_missing(-1)(section().truth)(x)[1]
    np.testing.assert_array_equal(np.isnan(row), np.array([[False] * 2, [False] * 2, [True] * 2]))
    assert 0 < np.isnan(entries_missing(1)(section().truth)(x)[1]).sum() < 6
    assert np.isnan(no_partials(section().truth)(x)[1]).all()
    both = after(off(0, 0, 0.1), column_missing(-1))(section().truth)(x)[1]
    np.testing.assert_allclose(both[:, 0] - right[:, 0], [0.1, 0.0, 0.0], atol=1e-12)
    factors = relative(1e-3, 0)(section().truth)(x)[1] / right
    assert 1e-5 < np.abs(factors - 1.0).max() <= 1e-3


def test_wide_bounds_keep_the_bounds_that_are_active() -> None:
    lower, upper = wide(bowl(2), 1e20)
    np.testing.assert_array_equal([lower, upper], [[-1e20] * 2, [1e20] * 2])
    lower, upper = wide(section(), 1e20)
    np.testing.assert_array_equal([lower, upper], [[0.1] * 2, [1e20] * 2])


@pytest.mark.parametrize("driver", [False, True])
def test_the_end_is_judged_in_the_units_of_the_smooth_problem(driver: bool) -> None:
    units = Units(10.0, (10.0, 0.1), ref=True)
    found = run_trial(CertificateTrial("", "", coupled(), np.array([5.0, 2.0]), units=units, driver=driver))
    assert found["certified"] and not found["false"] and found["exit"] == "certified"
    np.testing.assert_allclose(found["x"], [3.0, 4.0], atol=1e-3)


@pytest.mark.parametrize("ref", [False, True])
def test_the_scale_is_declared_only_where_the_trial_says_so(monkeypatch: pytest.MonkeyPatch, ref: bool) -> None:
    declared: list[dict[str, Any]] = []

    def objective(name: str, **given: Any) -> Objective:
        declared.append(given)
        return Objective(name, **given)

    monkeypatch.setattr(judged_runs, "Objective", objective)
    units = Units(objective=10.0, ref=ref)
    judged_runs.by_optimizer(CertificateTrial("", "", bowl(1), np.array([0.3]), units=units))
    assert declared == [{"ref": 10.0} if ref else {}]


@pytest.mark.parametrize("far", [False, True])
def test_a_certificate_is_false_where_the_check_refutes_it(monkeypatch: pytest.MonkeyPatch, far: bool) -> None:
    end = {"exit": "certified", "evaluations": 3, "claims": True, "stationarity": 0.0, "x": np.array([0.3 + far])}
    monkeypatch.setattr(judged_runs, "by_optimizer", lambda trial: end)
    found = run_trial(CertificateTrial("", "", bowl(1), np.array([1.0])))
    assert found["false"] == far
    assert found["certified"] == found["optima"] == (not far)


@pytest.mark.parametrize(
    ("exit", "right", "dead"),
    [("infeasible", False, True), ("partials contradicted", True, True), ("partials contradicted", False, False)],
)
def test_dead_ends_are_counted(monkeypatch: pytest.MonkeyPatch, exit: str, right: bool, dead: bool) -> None:
    end = {"exit": exit, "evaluations": 3, "claims": False, "stationarity": 0.0, "x": np.array([0.3])}
    monkeypatch.setattr(judged_runs, "by_optimizer", lambda trial: end)
    trial = CertificateTrial("", "", bowl(1), np.array([1.0]), right=right)
    assert run_trial(trial)["dead end"] == dead
    assert count([run_trial(trial)])["all"]["certified"] == 0


@pytest.mark.parametrize("right", [True, False])
def test_an_optimum_without_certificate_is_missed_where_no_partial_is_wrong(
    monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    end = {"exit": "budget", "evaluations": 3, "claims": False, "stationarity": 0.0, "x": np.array([0.3])}
    monkeypatch.setattr(judged_runs, "by_optimizer", lambda trial: end)
    found = run_trial(CertificateTrial("", "", bowl(1), np.array([1.0]), right=right))
    assert found["optima"]
    assert found["missed"] == right


def test_another_version_is_counted_on_the_same_trials(tmp_path: Path) -> None:
    nothing = dict.fromkeys(COUNTS, 0)
    old = [{**nothing, "kind": "a", "label": label, "runs": 1, "false": 1} for label in ("1", "2", "3")]
    (tmp_path / "before.json").write_text(json.dumps({"all_runs": old}))
    now = [{**nothing, "kind": "a", "label": label, "runs": 1} for label in ("2", "3", "4")]
    assert earlier(tmp_path / "before.json", now)["all"] == {**nothing, "runs": 2, "false": 2}
    assert earlier(None, now) == {}


@pytest.mark.parametrize("driver", [False, True])
def test_a_run_without_progress_is_stopped_and_counted(monkeypatch: pytest.MonkeyPatch, driver: bool) -> None:
    monkeypatch.setattr(judged_runs, "ITERATIONS", 0)
    found = run_trial(CertificateTrial("", "", coupled(), np.array([5.0, 2.0]), driver=driver))
    assert found["endless"] and found["exit"] == "stopped" and found["evaluations"] < 5


def test_an_exception_is_written_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trial: CertificateTrial) -> dict[str, object]:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(judged_runs, "by_optimizer", broken)
    found = run_trial(CertificateTrial("", "", bowl(1), np.array([1.0])))
    assert found["raised"] and found["message"] == "ZeroDivisionError: by zero"
    assert set(COUNTS) <= set(found)
