"""AdaptiveDriver in models of all kinds: scaling, units, constraints, groups, and what is beside the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, FunctionTruth, Variable, certify
from gradopt.om.component import SurrogateComp

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]

ON_THE_DISK = [0.7864, 0.6177]
ON_THE_LINE = [0.6188, 0.3812]
CASES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "unbounded": ({"design": {}}, [1.0, 1.0]),
    "reference values": ({"design": {"lower": -2.0, "upper": 2.0, "ref": 3.0, "ref0": 1.0}}, [1.0, 1.0]),
    "negative scaler": ({"design": {"lower": -2.0, "upper": 2.0, "scaler": -2.0}}, [1.0, 1.0]),
    "one entry": ({"design": {"indices": [1], "lower": -2.0, "upper": 2.0}}, [1.25, 1.5625]),
    "fixed entry": ({"design": {"lower": [1.25, -2.0], "upper": [1.25, 2.0]}}, [1.25, 1.5625]),
    "upper": ({"constraint": {"upper": 1.0}}, ON_THE_DISK),
    "alias": ({"constraint": {"upper": 1.0, "alias": "size"}}, ON_THE_DISK),
    "scaled": ({"constraint": {"upper": 1.0, "ref": -3.0}}, ON_THE_DISK),
    "inactive": ({"constraint": {"lower": -1.0, "upper": 9.0}}, [1.0, 1.0]),
    "equality": ({"constraint": {"equals": 1.0}, "start": (0.5, 0.5)}, ON_THE_DISK),
    "linear": ({"constraint": {"upper": 1.0, "linear": True}, "equation": "g = x[0] + x[1]"}, ON_THE_LINE),
    "linear equality": (
        {"constraint": {"equals": 1.0, "linear": True}, "equation": "g = x[0] + x[1]"},
        [0.6188, 0.3812],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_optimum_is_found_and_certified(valley: Problems, name: str) -> None:
    settings, expected = CASES[name]
    problem = valley(**settings)
    assert problem.run_driver().success
    assert problem.get_val("x") == pytest.approx(expected, abs=2e-3)
    assert certify(problem).certified


@pytest.mark.parametrize("mode", ["fwd", "rev"])
@pytest.mark.filterwarnings("ignore:.*Inefficient choice of derivative mode")
def test_either_mode_of_derivatives(valley: Problems, mode: str) -> None:
    problem = valley(constraint={"upper": 1.0})
    problem.setup(mode=mode)
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success


def test_maximum_by_a_negative_scaler() -> None:
    def hill(x: np.ndarray) -> tuple[float, np.ndarray]:
        return -float(np.sum((x - 0.3) ** 4)), -4.0 * (x - 0.3) ** 3

    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None))
    truth = FunctionTruth(hill, (Variable("x", (2,)),), (Variable("f"),))
    problem.model.add_subsystem("comp", SurrogateComp(truth=truth), promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("f", scaler=-1.0)
    problem.setup()
    problem.set_val("x", [1.0, -0.5])
    assert problem.run_driver().success
    assert problem.get_val("f") == pytest.approx([0.0], abs=1e-4)


def test_units_differ_everywhere_and_components_stand_before_and_after() -> None:
    """Inches at the driver, feet before the truth, meters in it, newtons out of it, kilonewtons after it."""

    def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(1000.0 * np.sum((x - 0.5) ** 2)), 2000.0 * (x - 0.5)

    truth = FunctionTruth(bowl, (Variable("span", (2,), units="m"),), (Variable("force", units="N"),))
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None))
    model = problem.model
    before = om.ExecComp("b = 2*a", a={"shape": 2, "units": "ft"}, b={"shape": 2, "units": "ft", "ref": 3.3})
    model.add_subsystem("before", before, promotes_inputs=["a"])
    outer = model.add_subsystem("outer", om.Group())
    outer.add_subsystem("inner", om.Group()).add_subsystem("comp", SurrogateComp(truth=truth))
    model.add_subsystem("after", om.ExecComp("f = 3*p", p={"units": "kN"}, f={"units": "kN"}))
    model.connect("before.b", "outer.inner.comp.span")
    model.connect("outer.inner.comp.force", "after.p")
    model.add_design_var("a", lower=-50.0, upper=50.0, units="inch", ref=10.0)
    model.add_objective("after.f", units="kN")
    problem.setup()
    problem.set_val("a", [20.0, -30.0], units="inch")
    assert problem.run_driver().success
    assert problem.get_val("a", units="m") == pytest.approx([0.25, 0.25], abs=1e-3)
    assert problem.driver.data["outer.inner.comp"].n == problem.driver.store.evaluated


def test_entries_of_constraints_are_chosen_by_indices() -> None:
    def line(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([x @ x, *(x**2)]), np.vstack([2.0 * x, np.diag(2.0 * x)])

    truth = FunctionTruth(line, (Variable("x", (3,)),), (Variable("f"), Variable("y", (3,))))
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None))
    problem.model.add_subsystem("comp", SurrogateComp(truth=truth), promotes=["*"])
    problem.model.add_design_var("x", lower=0.1, upper=3.0)
    problem.model.add_objective("f")
    problem.model.add_constraint("y", indices=[2], lower=1.0, alias="last")
    problem.model.add_constraint("y", indices=[0], equals=0.25, alias="first")
    problem.setup()
    problem.set_val("x", [1.0, 1.0, 2.0])
    assert problem.run_driver().success
    assert problem.get_val("x") == pytest.approx([0.5, 0.1, 1.0], abs=1e-4)
    assert set(problem.driver.certificate.multipliers) == {"last", "first"}


def beside(rosenbrock: Truths, grouped: bool) -> om.Problem:
    """The valley, with components of other truths before the loop and after it."""
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, max_evaluations=80))
    problem.options["group_by_pre_opt_post"] = grouped
    model = problem.model
    model.add_subsystem("pre", SurrogateComp(truth=rosenbrock(identity="pre")), promotes_inputs=[("x", "fixed")])
    model.add_subsystem("comp", SurrogateComp(truth=rosenbrock(identity="comp")), promotes=["*"])
    model.add_subsystem("cost", om.ExecComp("cost = f + offset"), promotes=["*"])
    model.connect("pre.f", "offset")
    model.add_subsystem("post", SurrogateComp(truth=rosenbrock(identity="post")), promotes_inputs=["x"])
    model.add_design_var("x", lower=-2.0, upper=2.0)
    model.add_objective("cost")
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    problem.set_val("fixed", [0.5, 0.5])
    return problem


@pytest.mark.parametrize("grouped", [True, False])
def test_truths_before_and_after_the_loop(rosenbrock: Truths, evaluated: list[np.ndarray], grouped: bool) -> None:
    problem = beside(rosenbrock, grouped)
    assert problem.run_driver().success
    assert problem.get_val("post.f") == pytest.approx(problem.get_val("f"))
    passes = len(problem.driver.history) + 1  # with the derivative check
    assert len(evaluated) == problem.driver.store.evaluated == (passes + 2 if grouped else 2 * passes + 1)
    spent = len(evaluated)
    problem.run_model()
    assert len(evaluated) == spent
    assert certify(problem).certified


class Counter(om.ExplicitComponent):  # type: ignore[misc]
    """total = f + k with a discrete k."""

    def setup(self) -> None:
        self.add_input("f")
        self.add_discrete_input("k", 2)
        self.add_output("total")
        self.declare_partials("total", "f", val=1.0)

    def compute(self, inputs: Any, outputs: Any, discrete_inputs: Any, discrete_outputs: Any) -> None:
        outputs["total"] = inputs["f"] + discrete_inputs["k"]


def test_discrete_inputs_elsewhere_do_no_harm(rosenbrock: Truths) -> None:
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None))
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.add_subsystem("counter", Counter(), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("total")
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    problem.set_val("k", 5)
    assert problem.run_driver().success
    assert problem.get_val("total") == pytest.approx([5.0], abs=1e-4)


def test_totals_by_complex_step_will_do(rosenbrock: Truths, evaluated: list[np.ndarray]) -> None:
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, max_evaluations=60))
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.approx_totals(method="cs")
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.setup(force_alloc_complex=True)
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success
    assert len(evaluated) == problem.driver.history[-1].evaluations == len(problem.driver.history) + 1
