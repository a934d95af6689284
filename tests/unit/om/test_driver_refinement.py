"""Central differences before a certificate, in models: errors of partials become errors of totals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, Exit, FunctionTruth, Variable
from gradopt.loop.request import Purpose
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_pass import TruthPasses


def bowl(x: np.ndarray) -> float:
    return float(5.0 + ((x - 0.3) ** 2).sum())


def problem(
    function: Callable[[np.ndarray], Any], factor: float = 1.0, ref: float = 1.0, start: float = 1.25, **options: Any
) -> om.Problem:
    """The truth, then its value times a factor; the design variable is scaled."""
    truth = FunctionTruth(function, (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),))
    made = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, **options))
    made.model.add_subsystem("truth", SurrogateComp(truth=truth), promotes=["*"])
    made.model.add_subsystem("after", om.ExecComp(f"g = {factor} * f"), promotes=["*"])
    made.model.set_input_defaults("x", np.array([start, -1.75 if start > 1.0 else start]))
    made.model.add_design_var("x", lower=-2.0, upper=2.0, ref=ref)
    made.model.add_objective("g")
    made.setup()
    return made


def test_errors_of_partials_become_errors_of_totals() -> None:
    made = problem(lambda x: float(np.float32(bowl(x))), 1.5, 0.5)
    made.run_driver()
    assert made.driver.exit is Exit.CERTIFIED
    (samples,), iterate = made.driver.state.samples, made.driver.state.iterate
    plan = samples.refinement(iterate.rows[0], made.driver.options["finite_differences"], np.ones(1))
    plan = replace(plan, steps=np.full(2, np.nan))
    np.testing.assert_allclose(iterate.error, 1.5 * 0.5 * plan.errors(), rtol=1e-6)
    assert 1e-7 < iterate.error.max() < 1e-4
    assert made.driver.certificate.stationarity >= iterate.error.max() - 1e-12


def test_the_certificate_holds_the_error_and_the_end_says_why() -> None:
    made = problem(lambda x: float(f"{bowl(x):.4g}"))
    made.run_driver()
    driver = made.driver
    assert driver.exit is Exit.RESOLUTION and not driver.result.success
    assert "The output 'f' has a resolution of 2.0e-03" in driver.certificate.reason
    assert not driver.certificate.certified
    assert driver.certificate.stationarity > 1e-4
    assert driver.history[-1].evaluations == driver.evaluations


def test_no_certificate_where_the_budget_ends_before_central_differences() -> None:
    made = problem(bowl, max_evaluations=18)
    made.run_driver()
    assert made.driver.exit is Exit.BUDGET
    assert not made.driver.certificate.certified
    assert "the run ended before its derivatives were checked" in made.driver.certificate.reason


@pytest.mark.filterwarnings("ignore:The following groups have a nonlinear solver")
def test_coupled_truths_are_refined_at_their_own_points(monkeypatch: pytest.MonkeyPatch) -> None:
    purposes: list[Purpose] = []
    evaluate = TruthPasses.__call__

    def noted(self: TruthPasses, state: Any, request: Any) -> Any:
        purposes.append(request.purpose)
        return evaluate(self, state, request)

    monkeypatch.setattr(TruthPasses, "__call__", noted)

    def first(x: np.ndarray) -> float:
        return float(np.cos(0.3 * x[1]) + 0.1 * (x[0] - 0.4) ** 2)

    def second(x: np.ndarray) -> float:
        return float(0.5 * np.sin(x[0]) + (x[1] + 0.2) ** 2)

    made = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, max_evaluations=400))
    cycle = made.model.add_subsystem("cycle", om.Group(), promotes=["*"])
    for name, function, inputs, output in (("one", first, ("u", "b"), "a"), ("two", second, ("a", "v"), "b")):
        variables = tuple(Variable(n, lower=-5.0, upper=5.0) for n in inputs)
        truth = FunctionTruth(function, variables, (Variable(output),), identity=name)
        cycle.add_subsystem(name, SurrogateComp(truth=truth), promotes=["*"])
    cycle.nonlinear_solver = om.NonlinearBlockGS(maxiter=50, atol=1e-12, rtol=1e-12, iprint=-1)
    cycle.linear_solver = om.DirectSolver()
    made.model.add_subsystem("sum", om.ExecComp("f = a**2 + b"), promotes=["*"])
    for name in "uv":
        made.model.add_design_var(name, lower=-2.0, upper=2.0)
    made.model.add_objective("f")
    made.setup()
    made.set_val("u", 1.0)
    made.set_val("v", 1.0)
    made.run_driver()
    assert made.driver.exit is Exit.CERTIFIED
    assert Purpose.REFINEMENT in purposes
    error = made.driver.state.iterate.error
    assert error is not None and error.shape == (1, 2) and error.max() < 1e-4

    def objective(u: float, v: float) -> float:
        a, b = 1.0, 0.0
        for _ in range(100):
            a = first(np.array([u, b]))
            b = second(np.array([a, v]))
        return a**2 + b

    u, v, h = float(made.get_val("u")[0]), float(made.get_val("v")[0]), 1e-5
    slopes = (objective(u + h, v) - objective(u - h, v), objective(u, v + h) - objective(u, v - h))
    np.testing.assert_allclose(np.array(slopes) / (2 * h), 0.0, atol=1e-4)
