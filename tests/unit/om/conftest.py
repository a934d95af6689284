"""Small surrogates with the domain [0.2, 0.8] in every column, and problems around a component."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.core.driver import Driver

from gradopt import MLP, AdaptiveDriver, Dataset, FunctionTruth, Surrogate, Variable
from gradopt.data.variables import total_size, unflatten
from gradopt.errors import EvaluationError
from gradopt.om.component import SurrogateComp
from gradopt.solvers import LevenbergMarquardt

INPUTS = (Variable("speed", units="m/s"), Variable("chord", (2,), units="m"))
OUTPUTS = (Variable("drag", units="N"), Variable("load", (2, 2)))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what OpenMDAO writes out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def fitted() -> Callable[..., Surrogate]:
    """Return a maker of surrogates of some variables; `frozen` columns are constant in their data."""

    @cache
    def make(
        inputs: tuple[Variable, ...] = INPUTS,
        outputs: tuple[Variable, ...] = OUTPUTS,
        seed: int = 0,
        frozen: tuple[int, ...] = (),
    ) -> Surrogate:
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.2, 0.8, (12, total_size(inputs)))
        x[0], x[1] = 0.2, 0.8
        x[:, frozen] = 0.5
        y = 1.0 / (1.0 + np.exp(-x @ rng.standard_normal((x.shape[1], total_size(outputs)))))
        solver = LevenbergMarquardt(max_iterations=3)
        return MLP((3,), solver=solver, starts=1).fit(Dataset(x, y, inputs=inputs, outputs=outputs))

    return make


@pytest.fixture(scope="session")
def surrogate(fitted: Callable[..., Surrogate]) -> Surrogate:
    """Make the surrogate speed, chord -> drag, load."""
    return fitted()


@pytest.fixture
def ready() -> Callable[..., om.Problem]:
    """Return a maker of problems that have a component at random points of its domain, not yet run."""

    def make(comp: SurrogateComp, seed: int = 0, mode: str = "auto", **values: object) -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        problem.setup(force_alloc_complex=True, mode=mode)
        surrogate = comp.surrogate
        assert surrogate is not None
        low, high = surrogate.lower, surrogate.upper
        u = np.random.default_rng(seed).uniform(0.1, 0.9, (comp.options["vec_size"], len(low)))
        inside = unflatten(low + (high - low) * u, surrogate.inputs)
        for name, array in inside.items():
            problem.set_val(name, values.get(name, array.reshape(problem.get_val(name).shape)))
        return problem

    return make


@pytest.fixture
def evaluated() -> list[np.ndarray]:
    """Points at which the truths of `rosenbrock` were evaluated."""
    return []


@pytest.fixture
def rosenbrock(evaluated: list[np.ndarray]) -> Callable[..., FunctionTruth]:
    """Return a maker of truths f(x) of two inputs in [-2, 2] with the minimum 0 at (1, 1)."""

    def make(fails: Callable[[np.ndarray], bool] | None = None, **settings: Any) -> FunctionTruth:
        def valley(x: np.ndarray) -> tuple[float, list[float]]:
            evaluated.append(x.copy())
            if fails is not None and fails(x):
                raise EvaluationError("no mesh")
            bend = x[1] - x[0] ** 2
            gradient = [-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend]
            return 100.0 * bend**2 + (1.0 - x[0]) ** 2, gradient

        inputs, outputs = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),)
        return FunctionTruth(valley, inputs, outputs, **settings)

    return make


@pytest.fixture
def valley(rosenbrock: Callable[..., FunctionTruth]) -> Callable[..., om.Problem]:
    """Return a maker of problems that minimize f, with an exact g as constraint where that is bounded."""

    def make(
        truth: FunctionTruth | None = None,
        start: tuple[float, float] = (1.25, -1.75),
        design: dict[str, Any] | None = None,
        equation: str = "g = x[0]**2 + x[1]**2",
        constraint: dict[str, Any] | None = None,
        objective: dict[str, Any] | None = None,
        **driver: Any,
    ) -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("comp", SurrogateComp(truth=truth or rosenbrock()), promotes=["*"])
        if constraint is not None:
            problem.model.add_subsystem("exact", om.ExecComp(equation, x=np.ones(2)), promotes=["*"])
            problem.model.add_constraint("g", **constraint)
        problem.model.add_design_var("x", **({"lower": -2.0, "upper": 2.0} if design is None else design))
        problem.model.add_objective("f", **(objective or {}))
        problem.driver = AdaptiveDriver(**{"configuration": None, "max_evaluations": 60, **driver})
        problem.setup(force_alloc_complex=True)
        problem.set_val("x", start)
        return problem

    return make


@pytest.fixture(scope="session")
def declared() -> Callable[..., om.Problem]:
    """Return a maker of problems of equations."""

    def make(
        *equations: str,
        size: int = 2,
        units: dict[str, str] | None = None,
        design: dict[str, Any] | None = None,
        objective: dict[str, Any] | None = None,
        constraints: dict[str, dict[str, Any]] | None = None,
        shapes: dict[str, int] | None = None,
        driver: Driver | None = None,
    ) -> om.Problem:
        """A problem of equations in x that has been set up; constraints are named by their alias or variable."""
        problem = om.Problem(reports=None)
        options: dict[str, dict[str, Any]] = {name: {"units": unit} for name, unit in (units or {}).items()}
        for name, shape in {"x": size, **(shapes or {})}.items():
            options[name] = {"shape": shape, **options.get(name, {})}
        comp = om.ExecComp(list(equations), do_coloring=False, **options)
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        problem.model.add_design_var("x", **(design or {}))
        problem.model.add_objective("f", **(objective or {}))
        for name, settings in (constraints or {}).items():
            problem.model.add_constraint(**{"name": name, **settings})
        problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-10, disp=False) if driver is None else driver
        problem.setup()
        return problem

    return make


@pytest.fixture(scope="session")
def at() -> Callable[..., om.Problem]:
    """Return a function that runs the model at x."""

    def make(problem: om.Problem, x: Any) -> om.Problem:
        problem.set_val("x", x)
        problem.run_model()
        return problem

    return make


@pytest.fixture(scope="session")
def optimized() -> Callable[..., om.Problem]:
    """Return a function that runs the driver from x."""

    def make(problem: om.Problem, x: Any) -> om.Problem:
        problem.set_val("x", x)
        problem.run_driver()
        return problem

    return make


@pytest.fixture(scope="session")
def openmdao_multipliers() -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """Return a function that computes OpenMDAO's own multipliers."""

    def make(problem: om.Problem, driver_scaling: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those of design variables and constraints by OpenMDAO's own estimate, zero where it says nothing."""
        bounds, constraints = problem.driver.compute_lagrange_multipliers(driver_scaling, use_sparse_solve=False)
        return (
            {name: bounds[name]["multipliers"] if name in bounds else 0.0 for name in problem.driver._designvars},
            {name: constraints[name]["multipliers"] if name in constraints else 0.0 for name in problem.driver._cons},
        )

    return make
