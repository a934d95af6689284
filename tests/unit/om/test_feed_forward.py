"""FeedForward: values and totals are OpenMDAO's, without its passes; models that need more than one are left to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import FunctionTruth, Variable
from gradopt import openmdao_private as private
from gradopt.errors import EvaluationError
from gradopt.loop import LearnedTruth
from gradopt.om.component import SurrogateComp
from gradopt.om.problem_view import ProblemView
from gradopt.surrogates.protocol import SupportsEvaluate

P, T, Y, Z = Variable("p", (2,), "m"), Variable("t", units="degC"), Variable("y", (2,), "N"), Variable("z")


def first(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute y of p and t."""
    y = np.array([x[0] * x[1] + x[2], np.sin(x[0]) - x[2] ** 2])
    return y, np.array([[x[1], x[0], 1.0], [np.cos(x[0]), 0.0, -2.0 * x[2]]])


def second(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute z of y."""
    return np.array([x[0] * x[1] ** 2]), np.array([[x[1] ** 2, 2.0 * x[0] * x[1]]])


def chain() -> om.Group:
    """Two surrogates in a row, and components around them: units, chosen and repeated entries, a constant input."""
    model = om.Group()
    independent = om.IndepVarComp("x", [30.0, 70.0, 110.0], units="cm")
    independent.add_output("heat", 60.0, units="degF")
    model.add_subsystem("independent", independent, promotes=["*"])
    model.add_subsystem("a", SurrogateComp(truth=FunctionTruth(first, (P, T), (Y,))), promotes_outputs=["y"])
    model.add_subsystem("b", SurrogateComp(truth=FunctionTruth(second, (Variable("y", (2,), "kN"),), (Z,))))
    model.connect("x", "a.p", src_indices=[2, 0])
    model.connect("heat", "a.t")
    model.connect("y", "b.y")
    model.add_subsystem("twice", om.ExecComp("w = sum(v) ** 2", v={"shape": 3, "units": "m"}), promotes=["w"])
    model.connect("x", "twice.v", src_indices=[1, 1, 2])
    total = om.AddSubtractComp("total", ["z", "w"], scaling_factors=[2.0, -0.5])
    model.add_subsystem("sum", total, promotes=["total"])
    model.connect("b.z", "sum.z")
    model.connect("w", "sum.w")
    model.add_design_var("x", indices=[0, 2], lower=0.0, upper=2.0, units="m", ref=0.5, ref0=0.1)
    model.add_design_var("heat", ref=-3.0)
    model.add_objective("total", ref=7.0)
    model.add_constraint("y", upper=3.0, units="kN", ref=-0.1)
    model.add_constraint("x", alias="itself", indices=[2], upper=150.0)
    return model


def viewed(model: om.Group) -> ProblemView:
    problem = om.Problem(model, reports=None)
    problem.setup(force_alloc_complex=True)
    problem.run_model()
    comps = [comp for comp in model.system_iter(recurse=True, typ=SurrogateComp) if comp.truth is not None]
    truths = [LearnedTruth(comp.truth.inputs, comp.truth.outputs) for comp in comps]
    return ProblemView(problem, comps, truths, range(len(comps)))


def evaluators(view: ProblemView) -> list[SupportsEvaluate]:
    return [comp.evaluator for comp in view.comps]


def never(*arguments: object) -> None:
    raise AssertionError("OpenMDAO ran the model")


def test_values_and_totals_are_openmdaos(monkeypatch: pytest.MonkeyPatch) -> None:
    view = viewed(chain())
    for shift in (0.0, 0.3):
        u = view.design().value + shift
        true = view.run(u)
        left = private.get_outputs(view.problem)
        view.set_design(u - 0.2)
        with monkeypatch.context() as patch:
            patch.setattr(private, "run_model", never)
            found = view.evaluate_on(evaluators(view), u)
        assert found.f == true.f
        assert found.c.tolist() == true.c.tolist()
        np.testing.assert_allclose(found.gradient, true.gradient, rtol=1e-14)
        np.testing.assert_allclose(found.jacobian, true.jacobian, rtol=1e-14)
        assert private.get_outputs(view.problem).tolist() == left.tolist()


def test_other_outputs_than_those_of_the_design_stay() -> None:
    view = viewed(chain())
    view.evaluate_on(evaluators(view), view.design().value + 0.5)
    np.testing.assert_allclose(view.problem.get_val("x"), [30.0 + 20.0, 70.0, 110.0 + 20.0])


def test_a_failure_leaves_the_model_as_it_stood() -> None:
    view = viewed(chain())
    known = evaluators(view)
    view.evaluate_on(known, view.design().value)  # once, so that the model is read
    before = private.get_outputs(view.problem)
    monstrous = FunctionTruth(lambda x: (np.full(1, np.inf), np.zeros((1, 2))), known[1].inputs, known[1].outputs)
    other = SurrogateComp(truth=monstrous).evaluator
    with pytest.raises(EvaluationError):
        view.evaluate_on([known[0], other], view.design().value + 0.1)
    assert private.get_outputs(view.problem).tolist() == before.tolist()


class Own(SurrogateComp):
    """A surrogate that does more than `SurrogateComp`."""

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Predict something else."""
        super().compute(inputs, outputs)
        outputs["z"] += 1.0


def test_what_a_subclass_computes_is_kept() -> None:
    model = om.Group()
    model.add_subsystem("b", Own(truth=FunctionTruth(second, (Y,), (Z,))), promotes=["*"])
    model.add_design_var("y")
    model.add_objective("z")
    view = viewed(model)
    u = np.array([2.0, 3.0])
    assert view.evaluate_on(evaluators(view), u).f == 19.0
    assert view.evaluate_on(evaluators(view), u).gradient.tolist() == [9.0, 12.0]


class Products(om.ExplicitComponent):  # type: ignore[misc]
    """q = 2 y, with products in the place of partials."""

    def setup(self) -> None:
        """Declare y and q."""
        self.add_input("y", shape=2, units="N")
        self.add_output("q", shape=2)

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Compute q."""
        outputs["q"] = 2.0 * inputs["y"]

    def compute_jacvec_product(self, inputs: Any, d_inputs: Any, d_outputs: Any, mode: str) -> None:
        """Compute products."""
        if mode == "fwd":
            d_outputs["q"] += 2.0 * d_inputs["y"]
        else:
            d_inputs["y"] += 2.0 * d_outputs["q"]


def iterated(model: om.Group) -> None:
    model.nonlinear_solver = om.NonlinearBlockGS(iprint=-1)


def approximated(model: om.Group) -> None:
    model.approx_totals(method="cs")


def with_products(model: om.Group) -> None:
    model.add_subsystem("products", Products(), promotes=["*"])
    model.add_constraint("q", upper=1e3)


def implicit(model: om.Group) -> None:
    model.add_subsystem("balance", om.BalanceComp("root", rhs_val=1.0), promotes=["*"])
    model.connect("total", "lhs:root")
    model.add_constraint("root", upper=1e3)


def out_of_order(model: om.Group) -> None:
    model.set_order(["independent", "b", "a", "twice", "sum"])


@pytest.mark.parametrize("change", [iterated, approximated, with_products, implicit, out_of_order])
def test_other_models_are_left_to_openmdao(change: Callable[[om.Group], None], monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    change(model)
    view = viewed(model)
    monkeypatch.setattr(private, "run_model", never)
    with pytest.raises(AssertionError, match="OpenMDAO ran the model"):
        view.evaluate_on(evaluators(view), view.design().value)


def recorded_component(model: om.Group) -> om.ExplicitComponent:
    return next(iter(model.system_iter(recurse=True, typ=SurrogateComp)))


def recorded_solver(model: om.Group) -> Any:
    return model.nonlinear_solver


@pytest.mark.parametrize("owner", [recorded_component, recorded_solver])
def test_recorders_see_each_run(owner: Callable[[om.Group], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    view = viewed(chain())
    owner(view.problem.model).add_recorder(om.SqliteRecorder("cases.sql"))
    view.problem.final_setup()
    monkeypatch.setattr(private, "run_model", never)
    with pytest.raises(AssertionError, match="OpenMDAO ran the model"):
        view.evaluate_on(evaluators(view), view.design().value)
