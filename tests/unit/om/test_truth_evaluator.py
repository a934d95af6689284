"""TruthEvaluator: a truth in the place of a surrogate, each point evaluated once, failures named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmdao.api as om
import pytest

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.errors import InputError
from gradopt.om.truth_evaluator import Tangent, TruthEvaluator
from gradopt.truth.protocol import Evaluations

Truths = Callable[..., FunctionTruth]


def test_values_and_partials_are_the_truths(rosenbrock: Truths) -> None:
    truth = rosenbrock()
    x = np.array([[0.3, -0.4], [1.0, 1.0]])
    found = TruthEvaluator(truth, EvaluationStore()).evaluate(x)
    known = truth.evaluate(x)
    np.testing.assert_array_equal(found.y, known.y)
    np.testing.assert_array_equal(found.dydx(), known.dydx)


def test_a_point_is_evaluated_once(rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    evaluator = TruthEvaluator(rosenbrock(), EvaluationStore())
    for _ in range(2):
        evaluator.evaluate(np.array([[0.3, -0.4], [0.3, -0.4]]))
    assert len(evaluated) == 1


def test_complex_step_is_exact_to_first_order(rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    evaluator = TruthEvaluator(rosenbrock(), EvaluationStore())
    x = np.array([[0.3, -0.4]])
    found = evaluator.evaluate(x + 1e-30j * np.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(found.y.real, evaluator.evaluate(x).y)
    np.testing.assert_allclose(found.y.imag / 1e-30, evaluator.evaluate(x).dydx()[:, :, :] @ [2.0, 3.0])
    assert len(evaluated) == 1


def test_each_row_is_noted_before_it_is_used(rosenbrock: Truths) -> None:
    noted: list[Evaluations] = []
    evaluator = TruthEvaluator(rosenbrock(lambda x: x[0] > 0.0), EvaluationStore(), noted.append)
    with pytest.raises(om.AnalysisError, match=r"The truth failed at \[0\.5 0\.5\]: no mesh"):
        evaluator.evaluate(np.array([[-0.5, 0.5], [0.5, 0.5]]))
    assert [found.ok.tolist() for found in noted] == [[True, False]]


def test_unknown_partials_are_refused_by_name() -> None:
    truth = FunctionTruth(
        lambda x: (x.sum(), [1.0, np.nan]), (Variable("a"), Variable("speed")), (Variable("drag", units="N"),)
    )
    expected = (
        r"`truth` must return all of its partials, got NaN for d drag / d speed\. Wrap it in FiniteDifferenceTruth"
    )
    with pytest.raises(InputError, match=expected):
        TruthEvaluator(truth, EvaluationStore()).evaluate(np.ones((1, 2)))


def test_there_are_no_edges_and_the_digest_names_the_truth(rosenbrock: Truths) -> None:
    truth = rosenbrock(identity="valley")
    evaluator = TruthEvaluator(truth, EvaluationStore())
    assert (evaluator.inputs, evaluator.outputs) == (truth.inputs, truth.outputs)
    assert evaluator.lower.tolist() == [-np.inf] * 2
    assert evaluator.upper.tolist() == [np.inf] * 2
    assert evaluator.digest == "truth:valley"


def test_a_tangent_is_the_truth_at_its_point_and_straight_elsewhere(
    rosenbrock: Truths, evaluated: list[np.ndarray]
) -> None:
    evaluator = TruthEvaluator(rosenbrock(), EvaluationStore())
    point = np.array([0.3, -0.4])
    tangent, known = Tangent.of(evaluator, point), evaluator.evaluate(point[None])
    x = np.array([[0.3, -0.4], [0.5, 0.6], [-1.0, 2.0]])
    found = tangent.evaluate(x)
    np.testing.assert_array_equal(found.y[0], known.y[0])
    np.testing.assert_allclose(found.y - known.y, (x - point) @ known.dydx()[0].T)
    np.testing.assert_array_equal(found.dydx(), np.repeat(known.dydx(), 3, axis=0))
    stepped = tangent.evaluate(x + 1e-30j * np.array([1.0, 0.0])).y.imag / 1e-30
    np.testing.assert_allclose(stepped, found.dydx()[:, :, 0])
    assert len(evaluated) == 1
    assert (tangent.inputs, tangent.outputs, tangent.digest) == (evaluator.inputs, evaluator.outputs, evaluator.digest)
    assert np.isneginf(tangent.lower).all()
    assert np.isposinf(tangent.upper).all()
