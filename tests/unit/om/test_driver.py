"""AdaptiveDriver: what it leaves behind, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, Exit, FunctionTruth, certify, load
from gradopt.loop import Iteration
from gradopt.loop.trust_region import TrustRegion
from gradopt.solvers import LevenbergMarquardt

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]
SMALL = JENN((6,), starts=1, solver=LevenbergMarquardt(max_iterations=10))


def steps(problem: om.Problem) -> list[tuple[Any, ...]]:
    return [(r.u.tobytes(), r.objective, r.accepted, r.radius, r.evaluations) for r in problem.driver.history]


def test_it_ends_certified_at_the_optimum(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley()
    result = problem.run_driver()
    assert (result.success, result.exit_status) == (True, "certified")
    assert problem.get_val("x") == pytest.approx([1.0, 1.0], abs=1e-3)
    assert problem.driver.exit is Exit.CERTIFIED
    assert problem.driver.history[-1].evaluations == len(evaluated) <= 40
    assert len({point.tobytes() for point in evaluated}) == len(evaluated)


def test_the_model_is_left_at_the_answer_with_the_truths_values(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley(constraint={"upper": 1.0})
    problem.run_driver()
    assert np.any(np.all(np.array(evaluated) == problem.get_val("x"), axis=1))
    x = problem.get_val("x")
    assert problem.get_val("f")[0] == 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2
    spent = len(evaluated)
    found = certify(problem)
    problem.run_model()
    assert len(evaluated) == spent
    assert found.certified
    assert found.multipliers["g"] == pytest.approx(problem.driver.certificate.multipliers["g"])
    assert found.stationarity == pytest.approx(problem.driver.certificate.stationarity, abs=1e-9)
    assert problem.get_val("f")[0] == pytest.approx(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)


def test_data_and_surrogates_are_there_to_be_reused(valley: Problems) -> None:
    problem = valley(configuration=SMALL, max_evaluations=7)
    problem.run_driver()
    driver = problem.driver
    assert driver.data["comp"].n == driver.history[-1].evaluations
    surrogate = driver.surrogates["comp"]
    surrogate.save("valley.gradopt")
    x = driver.data["comp"].x[:3]
    np.testing.assert_array_equal(load("valley.gradopt").predict(x), surrogate.predict(x))
    assert problem.model.comp.surrogate is surrogate
    assert problem.model.comp.options["surrogate_digest"] == surrogate.digest
    fits = [record.fit for record in driver.history]
    assert fits[0] == ""
    assert fits[1] == "cold: First fit."
    assert all(fit.startswith(("warm: ", "restarted: ")) for fit in fits[2:])


def test_history_holds_what_was_predicted_and_what_was_true(valley: Problems) -> None:
    problem = valley(objective={"ref": 10.0})
    problem.run_driver()
    first, *others = problem.driver.history
    assert first.objective == pytest.approx((100.0 * (1.75 + 1.25**2) ** 2 + 0.25**2) / 10.0)
    assert np.isnan(first.predicted_objective)
    assert first.u.tolist() == [1.25, -1.75]
    assert [record.number for record in others] == list(range(1, len(others) + 1))
    assert others[-1].predicted_objective == pytest.approx(others[-1].objective, abs=1e-4)


def test_the_same_run_takes_the_same_steps(valley: Problems) -> None:
    for settings in ({}, {"initial_samples": 4}, {"configuration": SMALL, "max_evaluations": 4}):
        first, second = valley(**settings), valley(**settings)
        first.run_driver()
        second.run_driver()
        assert steps(first) == steps(second)


def test_run_driver_may_be_called_again(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley()
    problem.run_driver()
    spent = len(evaluated)
    assert problem.run_driver().success
    # From the optimum alone neither the scale of the objective nor the curvature is known: the run looks beside it.
    # A first step that is far too long tells no scale: it takes a second one.
    assert len(problem.driver.history) <= 4 and len(evaluated) <= spent + 4
    problem.set_val("x", [-1.2, 1.0])
    assert problem.run_driver().success
    before = steps(problem)
    problem.setup()
    problem.set_val("x", [-1.2, 1.0])
    problem.run_driver()
    assert steps(problem) == before


# ---- ends ----


@pytest.mark.parametrize("most", [1, 2, 7])
def test_budget_is_kept(valley: Problems, evaluated: list[np.ndarray], most: int) -> None:
    problem = valley(max_evaluations=most)
    result = problem.run_driver()
    assert (result.success, result.exit_status, len(evaluated)) == (False, "budget", most)
    assert not problem.driver.certificate.certified


def test_without_a_certificate_one_warning_says_why(valley: Problems, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gradopt"):
        valley().run_driver()
        assert not caplog.records
        valley(max_evaluations=3).run_driver()
    (record,) = caplog.records
    assert record.getMessage().startswith("The optimization ended without a certificate (budget). Not certified: ")
    assert "Raise max_evaluations and run again with the same store" in record.getMessage()


def test_nothing_is_printed(valley: Problems, capsys: pytest.CaptureFixture[str]) -> None:
    valley(configuration=SMALL, max_evaluations=5).run_driver()
    assert capsys.readouterr().out == ""


def test_callback_receives_each_iteration_and_may_stop(valley: Problems, evaluated: list[np.ndarray]) -> None:
    seen: list[Iteration] = []

    def watch(record: Iteration) -> bool:
        seen.append(record)
        return record.number == 3

    problem = valley(callback=watch)
    result = problem.run_driver()
    assert (result.success, result.exit_status) == (False, "stopped")
    assert tuple(seen) == problem.driver.history
    assert len(seen) == len(evaluated) == 4


def test_callback_that_returns_something_else_stops_nothing(valley: Problems) -> None:
    assert valley(callback=lambda record: "go on").run_driver().success


def test_failure_at_the_start_is_an_outcome(
    valley: Problems, rosenbrock: Truths, caplog: pytest.LogCaptureFixture
) -> None:
    problem = valley(rosenbrock(lambda x: True))
    result = problem.run_driver()
    driver = problem.driver
    assert (result.success, result.exit_status) == (False, "truth failed")
    assert (driver.history, driver.certificate) == ((), None)
    assert driver.data == driver.surrogates == {"comp": None}
    (record,) = caplog.records
    assert "no mesh" in record.getMessage()
    assert problem.get_val("x").tolist() == [1.25, -1.75]


def test_failures_on_the_way_are_outcomes(valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    """The truth fails in a strip beside the valley."""
    problem = valley(rosenbrock(lambda x: x[1] - x[0] ** 2 > 0.3), start=(-1.2, 1.0))
    assert problem.run_driver().success
    failed = [record for record in problem.driver.history if record.failure]
    assert failed
    assert all("no mesh" in record.failure and np.isnan(record.objective) for record in failed)
    check = 1  # of the derivatives at the end
    assert len(problem.driver.history) + check == problem.driver.history[-1].evaluations == len(evaluated)
    assert problem.driver.data["comp"].n == len(evaluated) - len(failed)


def test_exhausted_trust_region_is_named(valley: Problems) -> None:
    seen: list[int] = []
    problem = valley(trust_region=TrustRegion(radius=1e-9), callback=lambda record: seen.append(record.number))
    assert problem.run_driver().exit_status == "region exhausted"
    assert seen == [0]


def test_errors_of_the_truth_pass(valley: Problems, rosenbrock: Truths) -> None:
    def broken(x: np.ndarray) -> bool:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        valley(rosenbrock(broken)).run_driver()


def test_exit_status_before_a_run(valley: Problems) -> None:
    assert valley().driver.get_exit_status() == "not run"


# ---- initial samples, start ----


def test_initial_samples_count_and_do_not_move_the_start(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley(initial_samples=5, max_evaluations=7)
    problem.run_driver()
    assert len(evaluated) == 7
    assert problem.driver.history[0].u.tolist() == [1.25, -1.75]
    assert problem.driver.history[0].evaluations == 6
    points = np.array(evaluated[:5])
    assert sorted(np.floor((points[:, 0] + 2.0) / 0.8).tolist()) == [0, 1, 2, 3, 4]  # a Latin hypercube in the bounds
    valley(initial_samples=5, max_evaluations=7, seed=1).run_driver()
    assert not np.any(points[0] == evaluated[7])


def test_initial_samples_of_unbounded_variables_lie_about_the_start(
    valley: Problems, evaluated: list[np.ndarray]
) -> None:
    valley(initial_samples=4, max_evaluations=5, design={}, start=(0.5, -3.0)).run_driver()
    assert np.all(np.abs(np.array(evaluated[:4]) - [0.5, -3.0]) <= [1.0, 3.0])


def test_failed_initial_samples_are_outcomes(valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    problem = valley(rosenbrock(lambda x: x[0] < -0.5), initial_samples=6)
    assert problem.run_driver().success
    assert problem.driver.data["comp"].n < len(evaluated) == problem.driver.history[-1].evaluations


def test_start_out_of_bounds_is_moved_to_them(valley: Problems) -> None:
    problem = valley(start=(5.0, -1.75))
    problem.driver.options["invalid_desvar_behavior"] = "ignore"
    problem.driver.options["max_evaluations"] = 2
    problem.run_driver()
    assert problem.driver.history[0].u.tolist() == [2.0, -1.75]
