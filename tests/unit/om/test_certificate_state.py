"""certify: problems are left as they were, and refused where it could say nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openmdao.api as om
import pytest
from openmdao.core.driver import Driver

from gradopt.errors import InputError
from gradopt.om.certificate import certify

Problems = Callable[..., om.Problem]
Multipliers = Callable[..., tuple[dict[str, Any], dict[str, Any]]]
SUM = "c = x[0] + x[1]"
BOWL = "f = (x[0] - 1)**2 + (x[1] - 2)**2"


# ---- the problem stays as it was ----


class Counted(om.ExplicitComponent):  # type: ignore[misc]
    """f = x0^2 + s x1, c = x0 + x1, with a model scaling that rounds; counts its runs."""

    def setup(self) -> None:
        self.runs = 0
        self.add_input("x", shape=2, units="m")
        self.add_output("f", ref=3.0, ref0=0.1)
        self.add_output("c", ref=7.0)
        self.declare_partials("c", "x", val=[[1.0, 1.0]])
        self.declare_partials("f", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        self.runs += 1
        outputs["f"] = inputs["x"][0] ** 2 + 0.3 * inputs["x"][1]
        outputs["c"] = inputs["x"].sum()

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        partials["f", "x"] = [2.0 * inputs["x"][0], 0.3]


def counted(approximated: bool = False, unrelated: bool = False) -> om.Problem:
    problem = om.Problem(reports=None)
    if unrelated:
        comp = om.ExecComp("h = 2*x[0]", x={"shape": 2, "units": "m"}, do_coloring=False)
        problem.model.add_subsystem("unrelated", comp, promotes=["*"])
    problem.model.add_subsystem("comp", Counted(), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0, ref=3.3)
    problem.model.add_objective("f")
    problem.model.add_constraint("c", lower=0.1, linear=True)
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-9, disp=False)
    if approximated:
        problem.model.approx_totals(method="fd")
    problem.setup()
    problem.set_val("x", [0.7, 0.9])
    return problem


def state(problem: om.Problem) -> list[Any]:
    model = problem.model
    vectors = [vector.asarray(copy=True).tolist() for vector in (model._inputs, model._outputs, model._residuals)]
    driver = problem.driver
    caches = (
        None if model._owns_approx_jac else driver._total_jac,
        driver._coloring_info.coloring,
        driver.iter_count,
        vars(driver.result).copy(),
    )
    return [vectors, caches, model.iter_count, model.comp.iter_count]


@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_nothing_is_changed(approximated: bool) -> None:
    problem = counted(approximated)
    problem.run_driver()
    runs, before = problem.model.comp.runs, state(problem)
    assert certify(problem).certified
    assert state(problem) == before
    assert approximated or problem.model.comp.runs == runs
    problem.set_val("x", [0.7, 0.9])
    assert problem.run_driver().success
    assert problem.get_val("x") == pytest.approx([0.15, -0.05], abs=1e-4)


@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_driver_may_certify_between_its_own_totals(approximated: bool) -> None:
    problem = counted(approximated)
    problem.run_model()
    names = {"of": ["f"], "wrt": ["x"]}
    first = {key: value.copy() for key, value in problem.driver._compute_totals(**names).items()}
    certify(problem)
    again = problem.driver._compute_totals(**names)
    assert again["f", "x"] == pytest.approx(first["f", "x"], rel=1e-5)


@pytest.mark.parametrize("run_model", [False, True])
@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_recorders_see_nothing(approximated: bool, run_model: bool) -> None:
    problem = counted(approximated)
    recorder = om.SqliteRecorder("cases.sql")
    for recorded in (problem.driver, problem.model, problem.model.comp, problem.model.nonlinear_solver):
        recorded.add_recorder(recorder)
    problem.run_model()
    path = problem.get_outputs_dir() / "cases.sql"
    seen = [om.CaseReader(path).list_cases(out_stream=None)]
    certify(problem, run_model=run_model)
    seen.append(om.CaseReader(path).list_cases(out_stream=None))
    problem.run_model()
    problem.cleanup()
    assert len(seen[0]) == len(seen[1]) == 3
    assert len(om.CaseReader(path).list_cases(out_stream=None)) == 6


def test_model_is_run_on_request() -> None:
    problem = counted()
    problem.set_val("x", [0.15, -0.05])
    assert certify(problem, run_model=True).certified
    assert problem.model.comp.runs == 1
    assert certify(problem).certified
    assert problem.get_val("c") == pytest.approx([0.1])


# ---- refused ----


def test_problem_that_is_not_set_up_is_refused() -> None:
    for run_model in (False, True):
        with pytest.raises(InputError, match=r"`problem` must be set up, got one that is not\. Call `problem\.setup"):
            certify(om.Problem(reports=None), run_model=run_model)


def test_problem_that_has_not_been_run_is_refused() -> None:
    problem = counted()
    for ready in (lambda: None, problem.final_setup):
        ready()
        with pytest.raises(InputError, match=r"must have been run .*, got one that has not .* pass `run_model=True`"):
            certify(problem)


def test_values_that_the_model_has_not_received_are_refused() -> None:
    problem = counted(unrelated=True)
    problem.run_driver()
    problem.set_val("x", [0.3, -0.2])
    with pytest.raises(InputError, match=r"got other values of x since it ran\. Call `problem\.run_model"):
        certify(problem)
    with problem.model._relevance.nonlinear_active("iter"):  # as drivers run it: without what is unrelated
        problem.model.run_solve_nonlinear()
    assert not certify(problem).certified


def test_problem_without_objective_is_refused() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", om.ExecComp("f = x**2"), promotes=["*"])
    problem.model.add_design_var("x")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"`problem` must have one objective, got none\. Declare one with"):
        certify(problem)


def test_problem_with_several_objectives_is_refused(declared: Problems) -> None:
    problem = declared(BOWL, "h = x[0]", driver=Driver())
    problem.model.add_objective("h")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"must have one objective, got \['f', 'h'\]\. Declare one"):
        certify(problem)


def test_problem_without_design_variables_is_refused() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", om.ExecComp("f = x**2"), promotes=["*"])
    problem.model.add_objective("f")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"must have design variables, got none\. Declare them with `add_design_var`"):
        certify(problem)


class Special(om.ExplicitComponent):  # type: ignore[misc]
    """A discrete input beside an ordinary one."""

    def setup(self) -> None:
        self.add_input("x", 1.0)
        self.add_discrete_input("k", 2)
        self.add_output("f", 1.0)

    def compute(self, inputs: Any, outputs: Any, discrete_inputs: Any, discrete_outputs: Any) -> None:
        outputs["f"] = inputs["x"]


def test_discrete_design_variable_is_refused() -> None:
    problem = om.Problem(reports=None, driver=om.DOEDriver())
    problem.model.add_subsystem("comp", Special(), promotes=["*"])
    problem.model.add_design_var("k")
    problem.model.add_objective("f")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"have no discrete variable in its optimization, got k\. There are no"):
        certify(problem)


def test_distributed_variable_is_refused(declared: Problems, at: Problems) -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [0.0, 1.0])
    problem.driver._cons["c"]["distributed"] = True  # which OpenMDAO sets under MPI only
    with pytest.raises(InputError, match=r"have no distributed variable in its optimization, got c\. Gather it"):
        certify(problem)


def test_tolerance_out_of_range_is_refused(declared: Problems, at: Problems) -> None:
    with pytest.raises(InputError, match=r"`tolerance` must be a positive number below 1, got 2\.0\."):
        certify(at(declared(BOWL), [1.0, 2.0]), tolerance=2.0)
