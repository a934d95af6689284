"""The adaptive loop as a user meets it: the example, Sellar's coupled disciplines, and a model as the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.test_suite.components.sellar import SellarDis1withDerivatives, SellarDis2withDerivatives

import gradopt as go

pytestmark = pytest.mark.filterwarnings("ignore:.*groups have a nonlinear solver that computes gradients")  # OpenMDAO's


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def valley(x: np.ndarray) -> tuple[float, list[float]]:
    bend = x[1] - x[0] ** 2
    return 100.0 * bend**2 + (1.0 - x[0]) ** 2, [-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend]


SHORT = go.solvers.LevenbergMarquardt(max_iterations=15)
VALLEY = go.FunctionTruth(valley, (go.Variable("x", shape=(2,), lower=-2, upper=2),), (go.Variable("f"),))


def test_one_component_and_one_line() -> None:
    """With the default network under the correction, on a file."""
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("valley", go.SurrogateComp(truth=VALLEY), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.driver = go.AdaptiveDriver(max_evaluations=40, store="evaluations.sqlite")
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success
    assert problem.get_val("x") == pytest.approx([1.0, 1.0], abs=1e-3)
    assert problem.driver.certificate.certified
    assert go.EvaluationStore("evaluations.sqlite").count(VALLEY) == problem.driver.history[-1].evaluations
    assert problem.driver.surrogates["valley"].predict([[1.0, 1.0]]).shape == (1, 1)


def first(x: np.ndarray) -> tuple[float, list[float]]:
    z1, z2, local, y2 = x
    return z1**2 + z2 + local - 0.2 * y2, [2.0 * z1, 1.0, 1.0, -0.2]


def second(x: np.ndarray) -> tuple[float, list[float]]:
    z1, z2, y1 = x
    root = np.sqrt(abs(y1))
    return root + z1 + z2, [1.0, 1.0, 0.5 / root * np.sign(y1)]


SHARED = go.Variable("z", shape=(2,))
TRUTHS = {
    "d1": go.FunctionTruth(first, (SHARED, go.Variable("x"), go.Variable("y2")), (go.Variable("y1"),)),
    "d2": go.FunctionTruth(second, (SHARED, go.Variable("y1")), (go.Variable("y2"),)),
}
EXACT = {"d1": SellarDis1withDerivatives, "d2": SellarDis2withDerivatives}


def sellar(replaced: tuple[str, ...], solver: om.NonlinearSolver, **driver: Any) -> om.Problem:
    problem = om.Problem(reports=None)
    model = problem.model
    cycle = model.add_subsystem("cycle", om.Group(), promotes=["*"])
    for name, exact in EXACT.items():
        comp = go.SurrogateComp(truth=TRUTHS[name]) if name in replaced else exact()
        cycle.add_subsystem(name, comp, promotes=["*"])
    cycle.nonlinear_solver, cycle.linear_solver = solver, om.DirectSolver()
    model.add_subsystem("cost", om.ExecComp("obj = x**2 + z[1] + y1 + exp(-y2)", z=np.ones(2)), promotes=["*"])
    model.add_subsystem("limits", om.ExecComp(["con1 = 3.16 - y1", "con2 = y2 - 24"]), promotes=["*"])
    model.add_design_var("x", lower=0.0, upper=10.0)
    model.add_design_var("z", lower=[-10.0, 0.0], upper=[10.0, 10.0])
    model.add_objective("obj")
    for name in ("con1", "con2"):
        model.add_constraint(name, upper=0.0)
    model.set_input_defaults("z", np.array([5.0, 2.0]))
    model.set_input_defaults("x", 1.0)
    problem.driver = go.AdaptiveDriver(configuration=None, **{"max_evaluations": 400, **driver})
    problem.setup()
    return problem


def block_gauss_seidel() -> om.NonlinearSolver:
    return om.NonlinearBlockGS(iprint=-1, rtol=1e-10, atol=1e-12, maxiter=50)


def newton() -> om.NonlinearSolver:
    return om.NewtonSolver(solve_subsystems=False, iprint=-1, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("replaced", "solver"),
    [(("d1",), block_gauss_seidel), (("d2",), newton), (("d1", "d2"), newton)],
    ids=["d1", "d2", "both"],
)
def test_sellar(replaced: tuple[str, ...], solver: Callable[[], om.NonlinearSolver]) -> None:
    problem = sellar(replaced, solver())
    assert problem.run_driver().success
    driver = problem.driver
    assert problem.get_val("z") == pytest.approx([1.97763888, 0.0], abs=1e-4)
    assert problem.get_val("x") == pytest.approx([0.0], abs=1e-4)
    assert problem.get_val("obj") == pytest.approx([3.18339395], abs=1e-4)
    assert driver.certificate.multipliers["con1"] == pytest.approx([0.987], abs=1e-3)
    assert driver.history[-1].evaluations == driver.store.evaluated  # none for the final design
    problem.run_model()
    assert driver.store.evaluated == driver.history[-1].evaluations


def test_coupled_truths_keep_the_budget_but_for_one_pass_and_are_not_evaluated_again() -> None:
    problem = sellar(("d1", "d2"), block_gauss_seidel(), max_evaluations=30)
    assert problem.run_driver().exit_status == "budget"
    store, spent = problem.driver.store, [record.evaluations for record in problem.driver.history]
    assert all(count < 30 for count in spent[:-1])
    assert store.evaluated == spent[-1]
    again = sellar(("d1", "d2"), block_gauss_seidel(), max_evaluations=30, store=store)
    again.run_driver()
    assert store.evaluated == spent[-1]
    assert [r.u.tolist() for r in again.driver.history] == [r.u.tolist() for r in problem.driver.history]


def inner() -> om.Problem:
    problem = om.Problem(reports=None)
    equation = "f = 100*(x[1] - x[0]**2)**2 + (1 - x[0])**2"
    problem.model.add_subsystem("comp", om.ExecComp(equation, x={"shape": 2, "units": "m"}), promotes=["*"])
    problem.setup()
    return problem


def test_model_truth_in_centimeters() -> None:
    truth = go.ModelTruth(inner, [go.Variable("x", shape=(2,), units="m", lower=-2, upper=2)], [go.Variable("f")])
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("valley", go.SurrogateComp(truth=truth), promotes=["*"])
    problem.model.add_design_var("x", lower=-200.0, upper=200.0, units="cm", ref=100.0)
    problem.model.add_objective("f")
    problem.driver = go.AdaptiveDriver(max_evaluations=60, configuration=None)
    problem.setup()
    problem.set_val("x", [125.0, -175.0], units="cm")
    assert problem.run_driver().success
    assert problem.get_val("x", units="cm") == pytest.approx([100.0, 100.0], abs=0.1)


def test_loop_runs_on_a_prior_beside_the_partials() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("valley", go.SurrogateComp(truth=VALLEY), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    network = go.GradINN((6,), activation="tanh", starts=1, weight=1.0, alpha=1e-6, solver=SHORT)
    problem.driver = go.AdaptiveDriver(max_evaluations=40, configuration=network)
    problem.setup()
    problem.set_val("x", [1.25, -1.75])
    assert problem.run_driver().success and problem.driver.certificate.certified
    surrogate = problem.driver.surrogates["valley"]
    assert isinstance(surrogate.configuration, go.GradINN) and surrogate.fit_result.prior is not None
