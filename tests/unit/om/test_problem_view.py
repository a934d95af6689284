"""ProblemView: an OpenMDAO problem as the loop sees it, with its own values and totals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import FunctionTruth, Variable
from gradopt.errors import EvaluationError
from gradopt.loop import LearnedTruth
from gradopt.om.component import SurrogateComp
from gradopt.om.problem_view import ProblemView
from gradopt.om.truth_evaluator import Tangent

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


def viewed(problem: om.Problem) -> ProblemView:
    """The view of a problem whose components have truths of their own."""
    problem.final_setup()
    comps = list(problem.model.system_iter(recurse=True, typ=SurrogateComp))
    truths = [LearnedTruth(comp.truth.inputs, comp.truth.outputs) for comp in comps]
    return ProblemView(problem, comps, truths, range(len(comps)))


def test_a_run_gives_the_problems_own_values_and_totals(valley: Problems) -> None:
    problem = valley(
        design={"lower": [-200.0, -2.0], "upper": 2.0, "ref": 3.0, "ref0": 1.0},
        constraint={"lower": -1.0, "upper": 1.0, "ref": -4.0},
        objective={"scaler": 0.1, "adder": 2.0},
    )
    view = viewed(problem)
    u = view.design().value
    np.testing.assert_allclose(u, [(1.25 - 1.0) / 2.0, (-1.75 - 1.0) / 2.0])
    found = view.run(u)
    problem.run_model()
    assert found.f == pytest.approx((problem.get_val("f")[0] + 2.0) * 0.1)
    np.testing.assert_allclose(found.c, problem.get_val("g") / -4.0)
    totals = problem.compute_totals(driver_scaling=True)
    np.testing.assert_allclose(found.gradient, totals["f", "x"][0])
    np.testing.assert_allclose(found.jacobian, totals["g", "x"])


def test_limits_are_in_the_drivers_scaling(valley: Problems) -> None:
    limits = viewed(
        valley(
            design={"lower": [-200.0, -2.0], "upper": 2.0, "ref": 3.0, "ref0": 1.0},
            constraint={"lower": -1.0, "upper": 1.0, "ref": -4.0},
        )
    ).limits
    assert (limits.lower.tolist(), limits.upper.tolist()) == ([-100.5, -1.5], [0.5, 0.5])
    assert (limits.c_lower.tolist(), limits.c_upper.tolist()) == ([-0.25], [0.25])
    assert limits.width.tolist() == [12.5, 2.0]  # a hundred times its size, within the range


def test_width_of_a_variable_without_bounds_is_its_size_or_one(valley: Problems) -> None:
    limits = viewed(valley(design={}, start=(0.5, -3.0))).limits
    assert limits.width.tolist() == [1.0, 3.0]
    assert limits.lower.tolist() == [-np.inf] * 2


def test_only_the_entries_of_indices_are_set(valley: Problems) -> None:
    problem = valley(design={"indices": [1], "lower": -2.0, "upper": 2.0})
    found = viewed(problem).run(np.array([0.5]))
    assert problem.get_val("x").tolist() == [1.25, 0.5]
    assert found.gradient == pytest.approx([200.0 * (0.5 - 1.25**2)])


def test_on_surrogates_no_truth_is_evaluated(valley: Problems, evaluated: list[np.ndarray]) -> None:
    view = viewed(valley(constraint={"upper": 1.0}))
    point = np.array([0.5, 0.4])
    true = view.run(point)
    tangent = Tangent.of(view.comps[0].evaluator, point)  # type: ignore[arg-type]
    found = view.evaluate_on([tangent], point)
    assert found.f == true.f
    np.testing.assert_array_equal(found.gradient, true.gradient)
    np.testing.assert_array_equal(found.c, true.c)
    beside = view.evaluate_on([tangent], np.array([0.6, 0.4]))
    assert beside.f == pytest.approx(true.f + 0.1 * true.gradient[0])
    assert beside.c == pytest.approx([0.52])  # the exact rest of the model stays exact
    assert len(evaluated) == 1


def test_inputs_are_those_that_the_component_received_last(valley: Problems) -> None:
    view = viewed(valley())
    view.run(np.array([0.5, 0.4]))
    assert view.inputs_of(0).tolist() == [0.5, 0.4]


# ---- failures ----


def test_a_failure_leaves_the_outputs_as_they_were(valley: Problems, rosenbrock: Truths) -> None:
    problem = valley(rosenbrock(lambda x: x[0] > 1.0))
    view = viewed(problem)
    view.run(np.array([0.5, 0.4]))
    before = problem.model._outputs.asarray(copy=True)
    with pytest.raises(EvaluationError, match=r"The truth failed at \[1\.5 0\.4\]: no mesh"):
        view.run(np.array([1.5, 0.4]))
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


@pytest.mark.parametrize(
    ("nan", "words"),
    [(False, "does not converge"), (True, r"gives a value or a derivative that is not finite at \[ 1\.25 -1\.75\]\.")],
)
def test_a_failure_of_the_exact_rest_is_an_evaluation_error(rosenbrock: Truths, nan: bool, words: str) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.add_subsystem("fragile", Fragile(nan), promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("g")
    problem.setup()
    view = viewed(problem)
    with pytest.raises(EvaluationError, match=words):
        view.run(np.array([1.25, -1.75]))
    assert view.run(np.array([0.5, 0.4])).f == problem.get_val("f")[0]


# ---- derivatives with respect to outputs ----


def test_sensitivities_are_scaled_derivatives_to_the_outputs_of_components() -> None:
    """f = 3 a - 2 b in thousands, g = b / 4, of a and b in meters and grams."""

    def first(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(x @ x), 2.0 * x

    problem = om.Problem(reports=None)
    for name, unit in (("a", "m"), ("b", "g")):
        truth = FunctionTruth(first, (Variable("x", (2,)),), (Variable(name, units=unit),))
        problem.model.add_subsystem(name, SurrogateComp(truth=truth), promotes=["*"])
    units = {"a": {"units": "m"}, "b": {"units": "kg"}, "g": {"units": "kg"}}
    mixed = om.ExecComp(["f = 3*a - 2*b", "g = b / 4"], do_coloring=False, **units)
    problem.model.add_subsystem("mixed", mixed, promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("f", ref=1000.0)
    problem.model.add_constraint("g", upper=1.0, units="g")
    problem.setup()
    view = viewed(problem)
    view.run(np.array([0.5, 0.4]))
    of_a, of_b = view.sensitivities()
    np.testing.assert_allclose(of_a, [[3e-3], [0.0]])
    np.testing.assert_allclose(of_b, [[-2e-6], [0.25]])


@pytest.mark.parametrize("whole", [True, False], ids=["model", "group"])
def test_in_an_approximated_group_sensitivities_are_unknown(rosenbrock: Truths, whole: bool) -> None:
    problem = om.Problem(reports=None)
    group = problem.model.add_subsystem("group", om.Group(), promotes=["*"])
    group.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    (problem.model if whole else group).approx_totals(method="cs")
    problem.model.add_design_var("x")
    problem.model.add_objective("f")
    problem.setup(force_alloc_complex=True)
    view = viewed(problem)
    view.run(np.array([0.5, 0.4]))
    assert [part.tolist() for part in view.sensitivities()] == [[[0.0]]]


def test_the_time_of_totals_is_in_the_drivers_result(valley: Problems) -> None:
    problem = valley()
    view = viewed(problem)
    assert problem.driver.result.deriv_time == 0.0
    view.run(np.array([0.4, 0.5]))
    assert problem.driver.result.deriv_time > 0.0
