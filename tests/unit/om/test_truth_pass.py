"""TruthPasses: the requests of the loop on an OpenMDAO problem, each truth evaluated once, failures without a trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, EvaluationStore, FunctionTruth, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.loop import (
    CorrectionTerms,
    LearnedTruth,
    Outcome,
    Purpose,
    Request,
    Responses,
    Settings,
    begin,
    tell,
)
from gradopt.loop.learning import on_corrected
from gradopt.loop.subproblem import Candidate
from gradopt.loop.telling import with_gains
from gradopt.om.component import SurrogateComp
from gradopt.om.problem_view import ProblemView
from gradopt.om.truth_pass import TruthPasses
from gradopt.truth import FiniteDifferences

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


class Passes:
    """Truth passes of a problem and the state that they lead to.

    Attributes:
        view: View of the problem.
        state: State of the run; None before the start.
        recorded: Number of passes that were recorded.
    """

    def __init__(self, problem: om.Problem, configuration: Any = None, **settings: Any) -> None:
        """View a problem after its setup."""
        problem.final_setup()
        comps = list(problem.model.system_iter(recurse=True, typ=SurrogateComp))
        truths = list({id(comp.truth): comp.truth for comp in comps}.values())
        learned = [LearnedTruth(truth.inputs, truth.outputs, configuration) for truth in truths]
        self.view = ProblemView(problem, comps, learned, [truths.index(comp.truth) for comp in comps])
        self.settings = Settings(**settings)
        self.recorded = 0
        self._passes = TruthPasses(self.view, truths, EvaluationStore(), self.settings, self._noted)
        self.state: Any = None

    @contextmanager
    def _noted(self) -> Any:
        self.recorded += 1
        yield

    @property
    def evaluations(self) -> int:
        """Number of truth evaluations."""
        return int(self.state.evaluations)

    def outcome(self, u: np.ndarray, purpose: Purpose = Purpose.CANDIDATE) -> Outcome:
        """Evaluate one point; the state stays as it is."""
        (found,) = self._passes(self.state, Request(u[None], purpose))
        return found

    def start(self, *u: float) -> Responses:
        """Evaluate the start and learn from it."""
        self.state = begin(self.view, np.array(u), self.settings)
        found = self.outcome(self.state.start, Purpose.START)
        request = Request(self.state.start[None], Purpose.START)
        self.state = tell(self.state, request, [found], self.view, self.settings)
        assert found.responses is not None
        return found.responses

    def step(self, *u: float) -> Outcome:
        """Evaluate a candidate and learn from it."""
        found = self.outcome(np.array(u))
        assert found.responses is not None
        proposed = (Candidate(found.responses, False),)
        request = Request(np.array([u]), Purpose.CANDIDATE, proposed, self.state.trust_region)
        self.state = tell(self.state, request, [found], self.view, self.settings)
        return found

    def predicted(self, *u: float) -> Responses:
        """Evaluate on the corrected surrogates."""
        return on_corrected(self.state, self.view, self.settings)(np.array(u))

    def repeat(self) -> Outcome:
        """Run the model at the current iterate again."""
        return self._passes.repeat(self.state)


def test_a_pass_gives_values_totals_and_one_gain_for_each_truth(valley: Problems) -> None:
    passes = Passes(valley(constraint={"upper": 1.0}))
    found = passes.start(0.5, 0.4)
    problem = passes.view.problem
    assert found.f == problem.get_val("f")[0]
    np.testing.assert_allclose(found.gradient, problem.compute_totals(driver_scaling=True)["f", "x"][0])
    outcome = passes.step(0.6, 0.4)
    assert outcome.failure == ""
    (gain,) = outcome.gains
    np.testing.assert_array_equal(gain.evaluations.x, [[0.6, 0.4]])
    assert [x.tolist() for x in outcome.inputs] == [[0.6, 0.4]]
    assert [weights.tolist() for weights in outcome.sensitivities] == [[[1.0], [0.0]]]
    assert not outcome.coupled
    assert (passes.evaluations, passes.recorded) == (2, 2)


def test_the_corrected_model_is_the_true_one_at_the_iterate(valley: Problems, evaluated: list[np.ndarray]) -> None:
    passes = Passes(valley(constraint={"upper": 1.0}))
    true = passes.start(0.5, 0.4)
    found = passes.predicted(0.5, 0.4)
    assert found.f == pytest.approx(true.f, rel=1e-12)
    np.testing.assert_allclose(found.gradient, true.gradient, rtol=1e-10)
    np.testing.assert_array_equal(found.c, true.c)
    passes.predicted(0.6, 0.4)
    assert len(evaluated) == passes.evaluations == 1


def test_after_a_failure_the_surrogates_are_evaluated_again(
    valley: Problems, rosenbrock: Truths, evaluated: list[np.ndarray]
) -> None:
    passes = Passes(valley(rosenbrock(lambda x: x[0] > 1.0)))
    passes.start(0.5, 0.4)
    predicted = passes.predicted(0.6, 0.4).f
    failed = passes.outcome(np.array([1.5, 0.4]))
    assert failed.responses is None
    assert "The truth failed at [1.5 0.4]: no mesh" in failed.failure
    assert [gain.evaluations.ok.tolist() for gain in failed.gains] == [[False]]
    assert passes.predicted(0.6, 0.4).f == predicted
    assert [point[0] for point in evaluated] == [0.5, 1.5]


def test_a_state_is_evaluated_without_being_changed(valley: Problems) -> None:
    passes = Passes(valley())
    passes.start(0.5, 0.4)
    before = replace(passes.state)
    passes.outcome(np.array([0.6, 0.4]))
    assert (passes.state.evaluations, passes.state.samples) == (1, before.samples)


# ---- coupled components ----


def coupled(largest: float = np.inf) -> om.Problem:
    """y1 = (y2^2 + x) / 4 by a truth that fails beyond the largest x, y2 = y1 + x / 2 exactly, by Gauss-Seidel."""

    def quarter(x: np.ndarray) -> tuple[float, list[float]]:
        if x[1] > largest:
            raise EvaluationError("no mesh")
        return 0.25 * (x[0] ** 2 + x[1]), [0.5 * x[0], 0.25]

    truth = FunctionTruth(quarter, (Variable("y2"), Variable("x")), (Variable("y1"),))
    problem = om.Problem(reports=None)
    problem.options["group_by_pre_opt_post"] = False  # of which OpenMDAO warns where groups iterate
    cycle = problem.model.add_subsystem("cycle", om.Group(), promotes=["*"])
    cycle.add_subsystem("true", SurrogateComp(truth=truth), promotes=["*"])
    cycle.add_subsystem("exact", om.ExecComp("y2 = y1 + 0.5*x"), promotes=["*"])
    cycle.nonlinear_solver = om.NonlinearBlockGS(iprint=-1, rtol=1e-12, atol=1e-12, maxiter=50)
    cycle.linear_solver = om.DirectSolver()
    problem.model.add_subsystem("cost", om.ExecComp("f = (y1 - 0.2)**2 + y2"), promotes=["*"])
    problem.model.add_design_var("x", lower=-1.0, upper=1.0)
    problem.model.add_objective("f")
    problem.setup()
    return problem


def test_the_iterate_run_again_evaluates_nothing_anew_where_solvers_iterate() -> None:
    passes = Passes(coupled())
    start = passes.start(0.4)
    assert passes.state.coupled
    passes.predicted(0.9)
    spent = passes.evaluations
    assert spent > 5
    again = passes.repeat()
    assert again.responses is not None
    assert (again.responses.f, again.responses.gradient) == (start.f, start.gradient)
    assert with_gains(passes.state, again).evaluations == spent


def test_coupled_truths_are_evaluated_in_few_sweeps_to_the_same_state() -> None:
    """With corrected surrogates the solver's sweeps cost nothing; the state is the one the truths themselves give."""
    passes = Passes(coupled())
    passes.start(0.4)
    spent = passes.evaluations
    found = passes.step(0.35).responses
    assert found is not None
    assert passes.evaluations - spent < 0.6 * spent
    expected = Passes(coupled()).start(0.35)
    assert found.f == pytest.approx(expected.f, rel=1e-10)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-7)
    assert passes.state.at == 1
    spent = passes.evaluations
    again = passes.repeat()
    assert again.responses is not None
    assert again.responses.f == found.f
    assert with_gains(passes.state, again).evaluations == spent
    assert passes.predicted(0.35).f == pytest.approx(found.f, rel=1e-9)


def test_a_coupled_truth_that_fails_leaves_the_outputs_as_they_were() -> None:
    passes = Passes(coupled(0.5))
    passes.start(0.4)
    before = passes.view.problem.model._outputs.asarray(copy=True)
    failed = passes.outcome(np.array([0.6]))
    assert failed.responses is None
    assert "The truth failed at" in failed.failure
    assert "no mesh" in failed.failure
    np.testing.assert_array_equal(passes.view.problem.model._outputs.asarray(), before)
    assert passes.predicted(0.4).f == pytest.approx(passes.state.iterate.f, rel=1e-9)


def test_components_may_share_a_truth(rosenbrock: Truths) -> None:
    problem = om.Problem(reports=None)
    truth = rosenbrock()
    for name in "ab":
        problem.model.add_subsystem(name, SurrogateComp(truth=truth), promotes_inputs=[("x", f"x{name}")])
        problem.model.add_design_var(f"x{name}", lower=-2.0, upper=2.0)
    problem.model.add_subsystem("sum", om.ExecComp("f = a + 2*b"), promotes_outputs=["f"])
    problem.model.connect("a.f", "sum.a")
    problem.model.connect("b.f", "sum.b")
    problem.model.add_objective("f")
    problem.setup()
    passes = Passes(problem)
    start = passes.start(0.5, 0.4, 0.3, 0.2)
    assert passes.evaluations == 2
    passes.step(0.5, 0.4, 0.5, 0.4)  # nothing new
    assert passes.evaluations == 2
    assert passes.state.points[0].rows == (0, 1)
    assert passes.state.points[1].rows == (0, 0)
    assert on_corrected(passes.state, passes.view, passes.settings)(passes.state.iterate.u).f == pytest.approx(
        passes.state.iterate.f, rel=1e-12
    )
    assert start.f != passes.state.points[1].f


@pytest.mark.parametrize("whole", [True, False], ids=["model", "group"])
@pytest.mark.parametrize("method", ["cs", "fd"])
def test_approximated_totals_are_used_as_they_are(rosenbrock: Truths, method: str, whole: bool) -> None:
    problem = om.Problem(reports=None)
    group = problem.model.add_subsystem("group", om.Group(), promotes=["*"])
    group.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    (problem.model if whole else group).approx_totals(method=method)
    problem.model.add_design_var("x")
    problem.model.add_objective("f")
    problem.setup(force_alloc_complex=True)
    passes = Passes(problem)
    start = passes.start(0.5, 0.4)
    assert start.gradient == pytest.approx([-400.0 * 0.5 * 0.15 - 1.0, 30.0], rel=1e-4)
    assert passes.evaluations == (1 if method == "cs" else 3)
    assert passes.predicted(0.5, 0.4).f == pytest.approx(start.f)


# ---- what is learned ----


def test_signs_of_curvature_follow_the_objective(valley: Problems) -> None:
    """With f maximized the secant quadratic of f is concave, and steps make it one."""
    found = {}
    for sign in (1.0, -1.0):
        passes = Passes(valley(objective={"scaler": sign}), correction=CorrectionTerms(kriging=False))
        passes.start(0.5, 0.4)
        passes.step(0.5, 0.5)
        slopes = [passes.predicted(0.5, at).gradient[1] for at in (0.4, 0.5)]
        found[sign] = sign * (slopes[1] - slopes[0])
    assert found[1.0] == pytest.approx(200.0 * 0.1)  # the true curvature is 200, convex
    assert found[-1.0] <= 1e-9


def test_without_the_first_order_term_the_global_surrogate_is_the_model(valley: Problems) -> None:
    settings = {"correction": CorrectionTerms(first_order=False)}
    passes = Passes(valley(), JENN((3,), starts=1), **settings)
    passes.state = begin(passes.view, np.array([0.1, 0.2]), passes.settings, None, np.array([[0.5, -0.4], [-0.3, 0.3]]))
    for _ in range(3):
        u = passes.state.waiting[0] if len(passes.state.waiting) else passes.state.start
        request = Request(u[None], Purpose.START)
        passes.state = tell(passes.state, request, [passes.outcome(u, Purpose.START)], passes.view, passes.settings)
    assert passes.state.history[0].fit == "cold: First fit."
    far = np.array([1.5, 1.5])  # outside of the data, where the trust region and not the surrogate sets the limit
    surrogate = passes.state.samples[0].fitted.surrogate
    assert passes.predicted(*far).f == surrogate.evaluate(far[None]).y[0, 0]


def test_neither_correction_nor_surrogate_is_refused(valley: Problems) -> None:
    passes = Passes(valley(), correction=CorrectionTerms(first_order=False))
    with pytest.raises(InputError, match=r"`correction` must be on while there is no fitted surrogate, got off\. Give"):
        passes.start(0.5, 0.4)


# ---- partials that a truth does not return ----


def bare(x: np.ndarray) -> float:
    return float(x[0] ** 2 + 3.0 * x[1])


@pytest.fixture
def values_only(valley: Problems) -> Passes:
    truth = FunctionTruth(bare, (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),))
    return Passes(valley(truth), finite_differences=FiniteDifferences(1e-6))


def test_before_any_estimate_partials_are_finite_differenced_at_once(values_only: Passes) -> None:
    start = values_only.start(0.5, 0.4)
    np.testing.assert_allclose(start.gradient, [1.0, 3.0], rtol=1e-4)
    assert values_only.evaluations == 3
    assert values_only.state.iterate.exact


def test_later_partials_are_estimates_until_they_are_finite_differenced(values_only: Passes) -> None:
    values_only.start(0.5, 0.4)
    found = values_only.step(0.3, 0.2).responses
    assert found is not None
    assert values_only.evaluations == 4
    assert not values_only.state.iterate.exact
    request = Request(values_only.state.iterate.u[None], Purpose.DIFFERENCE)
    outcome = values_only.outcome(values_only.state.iterate.u, Purpose.DIFFERENCE)
    assert outcome.responses is not None
    np.testing.assert_allclose(outcome.responses.gradient, [0.6, 3.0], rtol=1e-4)
    (gain,) = outcome.gains
    assert (len(gain.beside), gain.points.tolist()) == (2, [[0.3, 0.2]])
    values_only.state = tell(values_only.state, request, [outcome], values_only.view, values_only.settings)
    assert values_only.state.iterate.exact
    assert values_only.evaluations == 6


def test_initial_samples_get_no_partials(values_only: Passes) -> None:
    values_only.state = begin(
        values_only.view, np.array([0.5, 0.4]), values_only.settings, None, np.array([[0.1, 0.2]])
    )
    outcome = values_only.outcome(np.array([0.1, 0.2]), Purpose.START)
    assert outcome.responses is not None
    assert outcome.responses.gradient.tolist() == [0.0, 0.0]
    assert len(outcome.gains[0].beside) == 0
