"""What OpenMDAO keeps of a run of AdaptiveDriver: cases of recorders, counts, and the optimization report."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, FunctionTruth, Variable
from gradopt.om.component import SurrogateComp
from gradopt.truth import FiniteDifferences

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


def recorded(problem: om.Problem, **options: Any) -> list[Any]:
    """Run with a recorder; returns the driver's cases."""
    problem.driver.recording_options.update(options)
    problem.driver.add_recorder(om.SqliteRecorder("cases.sql", record_viewer_data=False))
    problem.run_driver()
    problem.cleanup()
    reader = om.CaseReader(problem.get_outputs_dir() / "cases.sql")
    return [reader.get_case(name) for name in reader.list_cases("driver", out_stream=None)]


def test_recorders_get_one_case_for_each_truth_pass_and_the_answer_last(valley: Problems) -> None:
    problem = valley(constraint={"upper": 1.0})
    cases = recorded(problem)
    history = problem.driver.history
    check = -2  # point of the derivative check; the last case is the answer
    assert [case["f"][0] for case in cases[:check]] == [record.objective for record in history]
    assert [case["g"][0] for case in cases[:check]] == [record.constraints[0] for record in history]
    np.testing.assert_array_equal(cases[-1]["x"], problem.get_val("x"))
    assert problem.driver.result.iter_count == len(cases) == len(history) + 2


def test_with_record_derivatives_each_case_holds_the_totals_of_its_pass(valley: Problems) -> None:
    problem = valley(constraint={"upper": 1.0}, objective={"ref": 10.0}, max_evaluations=6)
    cases = recorded(problem, record_derivatives=True)
    assert len(cases) == 7
    for case in cases:
        x = case["x"]
        bend = x[1] - x[0] ** 2
        expected = [-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend]
        np.testing.assert_allclose(case.derivatives["f", "x"][0], np.array(expected) / 10.0)  # in the driver's scaling
        np.testing.assert_allclose(case.derivatives["g", "x"][0], 2.0 * x)
    assert len({case["x"].tobytes() for case in cases}) == 6  # the answer is one of them


def test_without_record_derivatives_there_are_none(valley: Problems) -> None:
    assert [case.derivatives for case in recorded(valley(max_evaluations=3))] == [None] * 4


def test_a_pass_that_fails_has_no_totals(valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    problem = valley(rosenbrock(lambda x: len(evaluated) == 3), max_evaluations=5)
    cases = recorded(problem, record_derivatives=True)
    assert [bool(record.failure) for record in problem.driver.history] == [False, False, True, False, False]
    assert [case.derivatives is not None for case in cases] == [True, True, False, True, True, True]


# ---- counts ----


def test_evaluations_of_the_result_are_those_of_the_truth(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley(constraint={"upper": 1.0})
    result = problem.run_driver()
    assert result.model_evals == result.deriv_evals == problem.driver.evaluations == len(evaluated)
    assert result.iter_count == len(evaluated) + 1  # the answer is run again, without an evaluation
    assert result.model_time > 0.0


def test_failed_evaluations_and_finite_differences_count_too(valley: Problems) -> None:
    def f(x: np.ndarray) -> float:
        return float(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)

    truth = FunctionTruth(f, (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),))
    problem = valley(truth, finite_differences=FiniteDifferences(1e-7), max_evaluations=7)
    result = problem.run_driver()
    assert result.model_evals == problem.driver.evaluations == problem.driver.store.evaluated >= 7


def test_counts_are_there_after_an_error_too(valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    def interrupt(x: np.ndarray) -> bool:
        if len(evaluated) == 4:
            raise KeyboardInterrupt
        return False

    problem = valley(rosenbrock(interrupt))
    with pytest.raises(KeyboardInterrupt):
        problem.run_driver()
    assert problem.driver.result.model_evals == problem.driver.evaluations == 3


def test_a_second_run_counts_anew(valley: Problems) -> None:
    problem = valley()
    first = problem.run_driver().model_evals
    problem.set_val("x", [-1.2, 1.0])
    assert problem.run_driver().model_evals == problem.driver.evaluations != first


def test_the_optimization_report_has_the_number_of_truth_evaluations(rosenbrock: Truths) -> None:
    problem = om.Problem(driver=AdaptiveDriver(configuration=None, max_evaluations=6), reports=["optimizer"])
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    problem.run_driver()
    text = re.sub(r"<[^>]*>", " ", (problem.get_reports_dir() / "opt_report.html").read_text())
    assert re.search(r"Number of model evals:\s+6\s", text)
    assert re.search(r"Number of deriv evals:\s+6\s", text)
    assert re.search(r"Exit status:\s+budget\s", text)
