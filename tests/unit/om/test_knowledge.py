"""Knowledge and Corrected: what a run knows of a truth, and which surrogate answers with it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from gradopt.om.knowledge import Corrected, Knowledge

from gradopt import JENN, Dataset, EvaluationStore, FunctionTruth, Variable
from gradopt.corrected.correction import CorrectedSurrogate
from gradopt.errors import EvaluationError, InputError
from gradopt.loop import CorrectionTerms
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_evaluator import TruthEvaluation

Truths = Callable[..., FunctionTruth]
POINTS = np.array([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6], [0.7, 0.8]])
SMALL = JENN((4,), starts=1)


def ask(knowledge: Knowledge, points: np.ndarray) -> None:
    for point in points:
        knowledge.answers.evaluate(point[None])


def data_of(knowledge: Knowledge) -> Dataset:
    assert knowledge.data is not None
    return knowledge.data


def test_rows_come_in_the_order_in_which_they_were_asked(rosenbrock: Truths) -> None:
    truth, store = rosenbrock(), EvaluationStore()
    store.evaluate(truth, POINTS[::-1])
    knowledge = Knowledge(truth, store, None, None)
    assert knowledge.data is None
    ask(knowledge, POINTS[[1, 0, 1]])
    np.testing.assert_array_equal(data_of(knowledge).x, POINTS[[1, 0]])
    assert [knowledge.row(point) for point in POINTS[:2]] == [1, 0]
    assert (knowledge.evaluations, store.evaluated) == (2, 4)


def test_failed_points_count_but_are_no_rows(rosenbrock: Truths) -> None:
    knowledge = Knowledge(rosenbrock(lambda x: x[0] < 0.0), EvaluationStore(), None, None)
    ask(knowledge, POINTS[:2])
    with pytest.raises(Exception, match="no mesh"):
        ask(knowledge, POINTS[2:])
    assert (knowledge.evaluations, data_of(knowledge).n) == (3, 2)


def test_prior_costs_nothing_until_it_is_asked_again(rosenbrock: Truths) -> None:
    truth = rosenbrock()
    prior = truth.evaluate(POINTS).dataset(truth.inputs, truth.outputs)
    knowledge = Knowledge(truth, EvaluationStore(), None, prior)
    assert (knowledge.evaluations, data_of(knowledge).n, knowledge.row(POINTS[2])) == (0, 4, 2)
    ask(knowledge, POINTS[2:3])
    assert (knowledge.evaluations, data_of(knowledge).n) == (1, 4)


def test_the_truth_replaces_what_the_prior_says(rosenbrock: Truths) -> None:
    """A prior of values alone has no partials, without which there is no correction to first order."""
    truth = rosenbrock()
    prior = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("x", (2,))], outputs=[Variable("f")])
    knowledge = Knowledge(truth, EvaluationStore(), None, prior)
    ask(knowledge, POINTS[2:3])
    known = truth.evaluate(POINTS[2:3])
    np.testing.assert_array_equal(data_of(knowledge).partials[2], known.dydx[0])
    assert data_of(knowledge).y[:, 0].tolist() == [1.0, 1.0, known.y[0, 0], 1.0]


def test_prior_of_other_variables_is_refused(rosenbrock: Truths) -> None:
    given = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("x", (2,))])
    with pytest.raises(InputError, match=r"`initial_data\.outputs` must have .*'f'.*'y'.*Make it with them: Dataset\("):
        Knowledge(rosenbrock(), EvaluationStore(), None, given)
    given = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("z", (2,))])
    with pytest.raises(InputError, match=r"`initial_data\.inputs` must have the names, shapes and units"):
        Knowledge(rosenbrock(), EvaluationStore(), None, given)


def test_refit_says_what_it_did(rosenbrock: Truths, caplog: pytest.LogCaptureFixture) -> None:
    knowledge = Knowledge(rosenbrock(), EvaluationStore(), SMALL, None)
    with caplog.at_level(logging.WARNING, logger="gradopt"):
        ask(knowledge, POINTS[:1])
        assert knowledge.refit(POINTS[0]) == ""  # one point is not enough
        ask(knowledge, POINTS[1:3])
        assert knowledge.refit(POINTS[0]) == "cold: First fit."
        assert knowledge.refit(POINTS[0]) == ""  # nothing new
        ask(knowledge, POINTS[3:])
        assert knowledge.refit(POINTS[0]).startswith(("warm: ", "restarted: "))
    assert not caplog.records


def test_without_configuration_nothing_is_fitted(rosenbrock: Truths) -> None:
    knowledge = Knowledge(rosenbrock(), EvaluationStore(), None, None)
    ask(knowledge, POINTS)
    assert knowledge.refit(POINTS[0]) == ""
    assert knowledge.fitted is None


def test_impossible_fit_is_noted(rosenbrock: Truths) -> None:
    unknown = Dataset(POINTS, np.ones((4, 1)), inputs=[Variable("x", (2,))], outputs=[Variable("f")])
    knowledge = Knowledge(rosenbrock(), EvaluationStore(), JENN((4,), starts=1, beta=0.0), unknown)
    assert knowledge.refit(POINTS[0]).startswith("none: ")
    assert knowledge.fitted is None


def corrected(
    knowledge: Knowledge, comp: SurrogateComp, center: int, parts: CorrectionTerms | None = None
) -> Corrected:
    found = Corrected(comp, knowledge)
    found.recorrect(center, [], np.zeros(1), parts or CorrectionTerms(), np.inf)
    return found


def test_correction_has_value_and_partials_of_the_truth_at_the_center(rosenbrock: Truths) -> None:
    truth = rosenbrock()
    knowledge = Knowledge(truth, EvaluationStore(), SMALL, None)
    ask(knowledge, POINTS)
    knowledge.refit(POINTS[0])
    found = corrected(knowledge, SurrogateComp(truth=truth), 2).answers.evaluate(POINTS[2:3])
    np.testing.assert_allclose(found.y, data_of(knowledge).y[2:3], rtol=1e-12)
    np.testing.assert_allclose(found.dydx(), data_of(knowledge).partials[2:3], rtol=1e-10)


def test_better_forecast_decides_whether_the_network_answers(rosenbrock: Truths) -> None:
    truth = rosenbrock()
    knowledge = Knowledge(truth, EvaluationStore(), None, None)
    exact = JENN((12,), starts=1).fit(
        truth.evaluate(np.random.default_rng(0).uniform(-1.0, 1.0, (40, 2))).dataset(truth.inputs, truth.outputs)
    )
    comp = SurrogateComp(exact, truth=truth)
    ask(knowledge, POINTS[:1])
    found = corrected(knowledge, comp, 0)
    assert not found.on_network  # nothing was forecast yet
    ask(knowledge, POINTS[1:])
    found.recorrect(0, [], np.zeros(1), CorrectionTerms(), np.inf)
    assert found.on_network
    assert found.answers.evaluate(POINTS[:1]).y == pytest.approx(data_of(knowledge).y[:1])


def test_given_surrogate_is_the_base_whatever_was_fitted(rosenbrock: Truths) -> None:
    truth = rosenbrock()
    knowledge = Knowledge(truth, EvaluationStore(), SMALL, None)
    ask(knowledge, POINTS)
    comp = SurrogateComp(truth=truth)
    assert Corrected(comp, knowledge).base is None
    knowledge.refit(POINTS[0])
    assert knowledge.fitted is not None
    assert Corrected(comp, knowledge).base is knowledge.fitted.surrogate
    given = SMALL.fit(data_of(knowledge))
    assert Corrected(SurrogateComp(given, truth=truth), knowledge).base is given


def test_a_given_surrogate_that_fails_where_the_truth_answers_is_not_used(rosenbrock: Truths) -> None:
    class Fragile:
        def __init__(self, truth: FunctionTruth) -> None:
            self.inputs, self.outputs, self.digest = truth.inputs, truth.outputs, "fragile"
            self.lower, self.upper = np.full(2, -np.inf), np.full(2, np.inf)

        def evaluate(self, x: np.ndarray) -> TruthEvaluation:
            if (x[:, 0] > 0.5).any():
                raise EvaluationError("never trained there")
            return TruthEvaluation(np.zeros((len(x), 1)), np.zeros((len(x), 1, 2)))

    truth = rosenbrock()
    knowledge = Knowledge(truth, EvaluationStore(), None, None)
    ask(knowledge, POINTS[:3])
    found = corrected(knowledge, SurrogateComp(Fragile(truth), truth=truth), 0)
    ask(knowledge, POINTS[3:])
    for _ in range(2):
        found.recorrect(3, [], np.zeros(1), CorrectionTerms(), np.inf)
        assert not found.on_network
        assert found.answers.evaluate(POINTS[3:]).y == pytest.approx(data_of(knowledge).y[3:])


def test_each_correction_learns_from_the_forecast_of_the_last(rosenbrock: Truths) -> None:
    """Whether kriging is used is decided by what it said of the newest point."""
    truth = rosenbrock()
    knowledge = Knowledge(truth, EvaluationStore(), None, None)
    ask(knowledge, POINTS[:3])
    found = corrected(knowledge, SurrogateComp(truth=truth), 0)
    ask(knowledge, POINTS[3:])
    found.recorrect(0, [], np.zeros(1), CorrectionTerms(), np.inf)
    assert isinstance(found.answers, CorrectedSurrogate)
    assert found.answers.correction.record.any()
