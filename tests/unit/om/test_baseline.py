"""SLSQP on the truth: it survives failures, and pays for finite differences only where it needs a gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmdao.api as om
import pytest

from gradopt import EvaluationStore, FunctionTruth, SurrogateComp, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.om.baseline import BaselineVisit, run_slsqp_on_truth
from gradopt.surrogates.protocol import Evaluation
from gradopt.truth.finite_differences import FiniteDifferences

X = Variable("x", shape=(3,), lower=-2.0, upper=2.0)
MIDDLE = np.array([0.5, -0.3, 0.0])
OPTIMUM = MIDDLE + 0.1  # of the bowl where x.sum() >= 0.5
STEPS = FiniteDifferences(1e-6)


class Bowl:
    """|x - middle|^2, and a list of the points where it was evaluated."""

    def __init__(self, partials: bool = True, fails: Callable[[np.ndarray], bool] = lambda x: False) -> None:
        self.calls: list[np.ndarray] = []
        self.partials, self.fails = partials, fails

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls.append(x.copy())
        if self.fails(x):
            raise EvaluationError(f"no convergence at {x}")
        gap = x - MIDDLE
        return np.array([gap @ gap]), 2.0 * gap[None] if self.partials else np.full((1, 3), np.nan)


def bowl_problem(bowl: Bowl, surrogate: object = None, start: float = 1.0) -> om.Problem:
    problem = om.Problem(reports=None)
    truth = FunctionTruth(bowl, (X,), (Variable("f"),), identity="bowl")
    problem.model.add_subsystem("bowl", SurrogateComp(surrogate, truth=truth), promotes=["*"])  # type: ignore[arg-type]
    problem.model.add_subsystem("plane", om.ExecComp("g = sum(x)", x=np.zeros(3)), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_constraint("g", lower=0.5, ref=2.0)
    problem.model.add_objective("f", ref=5.0)
    problem.model.set_input_defaults("x", np.full(3, start))
    problem.setup()
    return problem


def test_visits_and_evaluations_are_counted() -> None:
    bowl = Bowl()
    problem = bowl_problem(bowl)
    seen: list[BaselineVisit] = []
    result = run_slsqp_on_truth(problem, callback=seen.append)
    assert result.converged and result.failed == 0
    assert result.evaluations == len(bowl.calls) == len({x.tobytes() for x in bowl.calls})
    assert list(result.visits) == seen
    assert [visit.evaluations for visit in seen] == sorted(visit.evaluations for visit in seen)
    first = seen[0]
    np.testing.assert_array_equal(first.u, np.ones(3))
    assert (first.evaluations, first.violation) == (1, 0.0)
    assert first.objective == pytest.approx(float(((1.0 - MIDDLE) ** 2).sum()) / 5.0)
    np.testing.assert_allclose(first.constraints, [1.5])
    assert result.best is not None
    np.testing.assert_allclose(result.best.u, OPTIMUM, atol=1e-3)
    np.testing.assert_allclose(problem.get_val("x"), OPTIMUM, atol=1e-3)
    assert result.seconds > 0.0


def test_violation_is_in_the_scaling_of_the_driver() -> None:
    result = run_slsqp_on_truth(bowl_problem(Bowl(), start=-1.0), max_evaluations=1)
    assert result.visits[0].violation == pytest.approx(3.5 / 2.0)
    assert result.best is None
    assert (
        run_slsqp_on_truth(bowl_problem(Bowl(), start=-1.0), max_evaluations=1, feasibility_tolerance=2.0).best
        is not None
    )


def test_line_search_steps_back_from_failures() -> None:
    bowl = Bowl(fails=lambda x: bool(x[0] < 0.9))
    result = run_slsqp_on_truth(bowl_problem(bowl))
    assert result.failed == sum(x[0] < 0.9 for x in bowl.calls) > 0
    assert result.evaluations == len(bowl.calls) == len({x.tobytes() for x in bowl.calls})
    assert len(result.visits) == result.evaluations - result.failed
    assert result.best is not None and result.best.u[0] == pytest.approx(0.9, abs=1e-3)


def test_failure_at_the_start_is_explained() -> None:
    with pytest.raises(EvaluationError, match=r"The truth failed at the initial design\. .*no convergence at"):
        run_slsqp_on_truth(bowl_problem(Bowl(fails=lambda x: True)))


def test_unknown_partials_are_finite_differenced_at_gradients_only() -> None:
    bowl = Bowl(partials=False)
    result = run_slsqp_on_truth(bowl_problem(bowl), finite_differences=STEPS)
    assert result.converged and result.evaluations == len(bowl.calls)
    assert result.best is not None
    np.testing.assert_allclose(result.best.u, OPTIMUM, atol=1e-3)
    gradients = (result.evaluations - len(result.visits)) / 3
    assert 1 <= gradients <= len(result.visits)


def test_truth_is_evaluated_where_a_surrogate_is_given_too() -> None:
    class Given:
        inputs, outputs, digest = (X,), (Variable("f"),), "wrong"
        lower, upper = np.full(3, -9.0), np.full(3, 9.0)

        def evaluate(self, x: np.ndarray) -> Evaluation:
            raise AssertionError("the surrogate must not be evaluated")

    result = run_slsqp_on_truth(bowl_problem(Bowl(), Given()))
    assert result.best is not None
    np.testing.assert_allclose(result.best.u, OPTIMUM, atol=1e-3)


def test_run_stops_at_its_limit_or_by_its_callback() -> None:
    result = run_slsqp_on_truth(bowl_problem(Bowl(partials=False)), finite_differences=STEPS, max_evaluations=6)
    assert not result.converged and 6 <= result.evaluations <= 10
    result = run_slsqp_on_truth(bowl_problem(Bowl()), callback=lambda visit: visit.evaluations == 2)
    assert not result.converged and (result.evaluations, len(result.visits)) == (2, 2)


def test_stored_points_count_but_are_not_evaluated_again_except_one_to_verify() -> None:
    store, bowl = EvaluationStore(), Bowl()
    first = run_slsqp_on_truth(bowl_problem(bowl), store=store)
    again = run_slsqp_on_truth(bowl_problem(bowl), store=store)
    assert len(bowl.calls) - 1 == first.evaluations == again.evaluations
    for one, other in zip(first.visits, again.visits, strict=True):
        np.testing.assert_array_equal(one.u, other.u)


def test_problem_without_a_truth_is_refused() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("plane", om.ExecComp("g = x"), promotes=["*"])
    problem.setup()
    with pytest.raises(InputError, match=r"`problem\.model` must hold a SurrogateComp with a truth, got none\. Put"):
        run_slsqp_on_truth(problem)
