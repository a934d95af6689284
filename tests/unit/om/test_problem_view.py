"""AdaptiveModel: truth passes give OpenMDAO's own totals, each truth is asked once, failures leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from gradopt.om.knowledge import Corrected, Knowledge

from gradopt import JENN, EvaluationStore, FunctionTruth, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.loop import CorrectionTerms
from gradopt.om.component import SurrogateComp
from gradopt.om.problem_view import AdaptiveModel
from gradopt.surrogates.fitting.incremental import SupportsFit

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


def over(
    problem: om.Problem, configuration: SupportsFit | None = None, parts: CorrectionTerms | None = None
) -> tuple[AdaptiveModel, Knowledge]:
    """The model of a problem whose components share one truth."""
    problem.final_setup()
    comps = [s for s in problem.model.system_iter(recurse=True, typ=SurrogateComp) if s.truth is not None]
    knowledge = Knowledge(comps[0].truth, EvaluationStore(), configuration, None)
    return AdaptiveModel(problem, [Corrected(comp, knowledge) for comp in comps], parts or CorrectionTerms()), knowledge


def test_truth_pass_gives_the_problems_own_values_and_totals(valley: Problems) -> None:
    problem = valley(
        design={"lower": [-200.0, -2.0], "upper": 2.0, "ref": 3.0, "ref0": 1.0},
        constraint={"lower": -1.0, "upper": 1.0, "ref": -4.0},
        objective={"scaler": 0.1, "adder": 2.0},
    )
    model, _ = over(problem)
    u = model.design().value
    np.testing.assert_allclose(u, [(1.25 - 1.0) / 2.0, (-1.75 - 1.0) / 2.0])
    found = model.truth(u)
    problem.run_model()
    assert found.f == pytest.approx((problem.get_val("f")[0] + 2.0) * 0.1)
    np.testing.assert_allclose(found.c, problem.get_val("g") / -4.0)
    totals = problem.compute_totals(driver_scaling=True)
    np.testing.assert_allclose(found.gradient, totals["f", "x"][0])
    np.testing.assert_allclose(found.jacobian, totals["g", "x"])
    limits = model.limits
    assert (limits.c_lower.tolist(), limits.c_upper.tolist()) == ([-0.25], [0.25])
    assert limits.width.tolist() == [101.0, 2.0]


def test_width_of_what_has_no_bounds_is_its_size_or_one(valley: Problems) -> None:
    model, _ = over(valley(design={}, start=(0.5, -3.0)))
    assert model.limits.width.tolist() == [1.0, 3.0]
    assert model.limits.lower.tolist() == [-np.inf] * 2


def test_only_the_entries_of_indices_are_set(valley: Problems) -> None:
    problem = valley(design={"indices": [1], "lower": -2.0, "upper": 2.0})
    model, _ = over(problem)
    found = model.truth(np.array([0.5]))
    assert problem.get_val("x").tolist() == [1.25, 0.5]
    assert found.gradient == pytest.approx([200.0 * (0.5 - 1.25**2)])


def test_corrected_model_is_the_true_one_at_the_center(valley: Problems, asked: list[np.ndarray]) -> None:
    model, _ = over(valley(constraint={"upper": 1.0}))
    center = model.truth(np.array([0.5, 0.4]))
    model.learn(center, [], 0.1)
    found = model.corrected(center.u)
    assert found.f == pytest.approx(center.f, rel=1e-12)
    np.testing.assert_allclose(found.gradient, center.gradient, rtol=1e-10)
    np.testing.assert_array_equal(found.c, center.c)
    model.corrected(np.array([0.6, 0.4]))
    assert len(asked) == model.evaluations == 1


def test_after_a_failure_the_surrogates_answer_again(
    valley: Problems, rosenbrock: Truths, asked: list[np.ndarray]
) -> None:
    model, _ = over(valley(rosenbrock(lambda x: x[0] > 1.0)))
    center = model.truth(np.array([0.5, 0.4]))
    model.learn(center, [], 0.1)
    predicted = model.corrected(np.array([0.6, 0.4])).f
    with pytest.raises(EvaluationError, match="The truth failed at .*no mesh"):
        model.truth(np.array([1.5, 0.4]))
    assert model.corrected(np.array([0.6, 0.4])).f == predicted
    assert [point[0] for point in asked] == [0.5, 1.5]


def test_failure_leaves_the_outputs_as_they_were(valley: Problems, rosenbrock: Truths) -> None:
    problem = valley(rosenbrock(lambda x: x[0] > 1.0))
    model, _ = over(problem)
    model.truth(np.array([0.5, 0.4]))
    before = problem.model._outputs.asarray(copy=True)
    with pytest.raises(EvaluationError):
        model.truth(np.array([1.5, 0.4]))
    np.testing.assert_array_equal(problem.model._outputs.asarray(), before)


class Fragile(om.ExplicitComponent):  # type: ignore[misc]
    """Exact g = f, which fails, or is NaN, from 1000 on."""

    def __init__(self, nan: bool) -> None:
        super().__init__()
        self.nan = nan

    def setup(self) -> None:
        self.add_input("f")
        self.add_output("g")
        self.declare_partials("g", "f", val=1.0)

    def compute(self, inputs: Any, outputs: Any) -> None:
        if inputs["f"] > 1000.0 and not self.nan:
            raise om.AnalysisError("does not converge")
        outputs["g"] = np.nan if inputs["f"] > 1000.0 else inputs["f"]


@pytest.mark.parametrize(("nan", "words"), [(False, "does not converge"), (True, "not finite at")])
def test_failure_of_the_exact_rest_is_an_evaluation_error(rosenbrock: Truths, nan: bool, words: str) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.add_subsystem("fragile", Fragile(nan), promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("g")
    problem.setup()
    model, _ = over(problem)
    with pytest.raises(EvaluationError, match=words):
        model.truth(np.array([1.25, -1.75]))
    assert model.truth(np.array([0.5, 0.4])).f == problem.get_val("f")[0]


def coupled(answer: float = 0.25) -> om.Problem:
    """y1 = (y2^2 + x) / 4 by a truth, y2 = y1 + x / 2 exactly, by Gauss-Seidel."""

    def half(x: np.ndarray) -> tuple[float, list[float]]:
        return answer * (x[0] ** 2 + x[1]), [2.0 * answer * x[0], answer]

    truth = FunctionTruth(half, (Variable("y2"), Variable("x")), (Variable("y1"),))
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


def test_center_asked_again_evaluates_nothing_anew_where_solvers_iterate() -> None:
    model, _ = over(coupled())
    center = model.truth(np.array([0.4]))
    model.learn(center, [], 0.1)
    model.corrected(np.array([0.9]))
    spent = model.evaluations
    assert spent > 5
    again = model.truth(center.u)
    assert (again.f, again.gradient, model.evaluations) == (center.f, center.gradient, spent)


def test_coupled_truths_are_asked_in_few_sweeps_and_answer_as_ever() -> None:
    """With corrected surrogates the solver's sweeps cost nothing; the state is the one the truths themselves give."""
    model, _ = over(coupled())
    start = model.truth(np.array([0.4]))
    spent = model.evaluations
    model.learn(start, [], 0.1)
    found = model.truth(np.array([0.45]))
    assert model.evaluations - spent < 0.6 * spent
    plain, _ = over(coupled())
    expected = plain.truth(np.array([0.45]))
    assert found.f == pytest.approx(expected.f, rel=1e-10)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-7)
    model.learn(found, [(start, found)], 0.1)
    spent = model.evaluations
    again = model.truth(found.u)
    assert (again.f, model.evaluations) == (found.f, spent)
    assert model.corrected(found.u).f == pytest.approx(found.f, rel=1e-9)


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
    model, knowledge = over(problem)
    center = model.truth(np.array([0.5, 0.4, 0.3, 0.2]))
    assert model.evaluations == knowledge.evaluations == 2
    model.truth(np.array([0.5, 0.4, 0.5, 0.4]))  # nothing new
    assert model.evaluations == 2
    model.learn(center, [], 0.1)
    assert model.corrected(center.u).f == pytest.approx(center.f, rel=1e-12)


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
    model, _ = over(problem)
    center = model.truth(np.array([0.5, 0.4]))
    assert center.gradient == pytest.approx([-400.0 * 0.5 * 0.15 - 1.0, 30.0], rel=1e-4)
    assert model.evaluations == (1 if method == "cs" else 3)
    model.learn(center, [], 0.1)
    assert model.corrected(center.u).f == pytest.approx(center.f)


def test_signs_of_curvature_follow_the_lagrangian(valley: Problems) -> None:
    """With f maximized the secant quadratic of f is concave, and steps make it one."""
    found = {}
    for sign in (1.0, -1.0):
        model, _ = over(valley(objective={"scaler": sign}), parts=CorrectionTerms(kriging=False))
        first = model.truth(np.array([0.5, 0.4]))
        second = model.truth(np.array([0.5, 0.5]))
        model.learn(first, [(first, second)], 0.1)
        found[sign] = sign * (model.corrected(second.u).gradient[1] - model.corrected(first.u).gradient[1])
    assert found[1.0] == pytest.approx(200.0 * 0.1)  # the true curvature is 200, convex
    assert found[-1.0] <= 1e-9


def test_surrogates_alone_answer_without_the_first_order_part(valley: Problems) -> None:
    problem = valley()
    model, knowledge = over(problem, JENN((3,), starts=1), CorrectionTerms(first_order=False))
    for u in ([0.1, 0.2], [0.5, -0.4], [-0.3, 0.3]):
        center = model.truth(np.array(u))
    assert model.learn(center, [], 0.1) == "cold: First fit."
    assert knowledge.fitted is not None
    far = np.array([1.5, 1.5])  # outside of the data, where the region and not the surrogate says how far to go
    assert model.corrected(far).f == knowledge.fitted.surrogate.evaluate(far[None]).y[0, 0]


def test_neither_correction_nor_surrogate_is_refused(valley: Problems) -> None:
    model, _ = over(valley(), parts=CorrectionTerms(first_order=False))
    center = model.truth(np.array([0.5, 0.4]))
    with pytest.raises(InputError, match=r"`correction` must be on while there is no fitted surrogate, got off\. Give"):
        model.learn(center, [], 0.1)


def test_totals_are_counted_in_the_drivers_result(valley: Problems) -> None:
    problem = valley()
    model, _ = over(problem)
    for at in (0.4, 0.5):
        model.truth(np.array([at, 0.5]))
    assert problem.driver.result.deriv_evals == 2
    assert problem.driver.result.deriv_time > 0.0
