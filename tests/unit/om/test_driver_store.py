"""AdaptiveDriver and its store: nothing is evaluated twice, and runs go on where they ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, EvaluationStore, FunctionTruth
from gradopt.om.component import SurrogateComp
from gradopt.solvers import LevenbergMarquardt

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]
SMALL = JENN((6,), starts=1, solver=LevenbergMarquardt(max_iterations=10))


def steps(problem: om.Problem) -> list[tuple[Any, ...]]:
    return [(r.u.tobytes(), r.objective, r.accepted, r.radius, r.evaluations) for r in problem.driver.history]


@pytest.mark.parametrize("kind", [str, Path, EvaluationStore])
def test_run_repeated_on_a_store_evaluates_one_point_to_verify(
    valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray], kind: Callable[[str], Any]
) -> None:
    truth = rosenbrock(identity="valley")
    first = valley(truth, store=kind("evaluations.sqlite"))
    first.run_driver()
    spent = len(evaluated)
    second = valley(truth, store=kind("evaluations.sqlite"))
    assert second.run_driver().success
    assert len(evaluated) - 1 == spent == second.driver.store.count(truth)
    assert second.driver.store.verified == second.driver.store.evaluated == 1
    assert steps(second) == steps(first)


@pytest.mark.parametrize("configuration", [None, SMALL], ids=["plain", "network"])
def test_larger_budget_continues(valley: Problems, evaluated: list[np.ndarray], configuration: JENN | None) -> None:
    whole = valley(configuration=configuration, max_evaluations=6)
    whole.run_driver()
    evaluated.clear()
    problem = valley(configuration=configuration, max_evaluations=3)
    problem.run_driver()
    assert steps(problem) == steps(whole)[: len(problem.driver.history)]
    problem.driver.options["max_evaluations"] = 6
    problem.set_val("x", [1.25, -1.75])
    problem.run_driver()
    assert steps(problem) == steps(whole)
    assert len(evaluated) == problem.driver.store.evaluated == 6


def test_what_else_is_in_the_store_changes_no_step(valley: Problems, rosenbrock: Truths) -> None:
    truth, store = rosenbrock(), EvaluationStore()
    first = valley(truth)
    first.run_driver()
    known = first.driver.store.evaluations(truth).x
    store.evaluate(truth, [[0.123, 0.456], *known[::-1]])
    second = valley(truth, store=store)
    second.run_driver()
    assert steps(second) == steps(first)
    assert store.evaluated == len(known) + 1


def test_interrupted_run_continues(valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    def interrupt(x: np.ndarray) -> bool:
        if len(evaluated) == 6:
            raise KeyboardInterrupt
        return False

    truth, store = rosenbrock(interrupt), EvaluationStore()
    problem = valley(truth, store=store)
    with pytest.raises(KeyboardInterrupt):
        problem.run_driver()
    assert store.count(truth) == len(problem.driver.history) == problem.driver.data["comp"].n == 5
    assert problem.driver.exit is None
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success
    undisturbed = valley()
    undisturbed.run_driver()
    assert steps(problem) == steps(undisturbed)
    assert store.count(truth) == problem.driver.history[-1].evaluations


def test_model_run_before_the_driver_counts_in_its_store(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley(max_evaluations=3)
    problem.run_model()
    problem.run_driver()
    assert len(evaluated) == problem.driver.store.evaluated == 3


def test_initial_data_are_used_and_cost_nothing(
    valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]
) -> None:
    truth = rosenbrock()
    points = np.random.default_rng(0).uniform(-2.0, 2.0, (6, 2))
    initial_data = truth.evaluate(points).dataset(truth.inputs, truth.outputs)
    evaluated.clear()
    with_data = valley(truth, initial_data={"comp": initial_data})
    assert with_data.run_driver().success
    assert len(evaluated) == with_data.driver.history[-1].evaluations
    assert with_data.driver.data["comp"].n == 6 + len(evaluated)
    without = valley(truth)
    without.run_driver()
    assert steps(without) != steps(with_data)


def test_start_that_the_initial_data_hold_is_an_evaluation(
    valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]
) -> None:
    truth = rosenbrock()
    initial_data = truth.evaluate([[1.25, -1.75], [0.0, 0.0]]).dataset(truth.inputs, truth.outputs)
    evaluated.clear()
    problem = valley(truth, initial_data={"comp": initial_data}, max_evaluations=4)
    problem.run_driver()
    assert len(evaluated) == problem.driver.history[-1].evaluations == 4


def test_initial_surrogate_is_corrected_and_kept(rosenbrock: Truths, valley: Problems) -> None:
    truth = rosenbrock()
    points = np.random.default_rng(0).uniform(-2.0, 2.0, (20, 2))
    initial = SMALL.fit(truth.evaluate(points).dataset(truth.inputs, truth.outputs))
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", SurrogateComp(initial, truth=truth), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.driver = valley(configuration=SMALL).driver
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success
    assert problem.driver.surrogates["comp"] is problem.model.comp.surrogate is initial
    assert {record.fit for record in problem.driver.history} == {""}
