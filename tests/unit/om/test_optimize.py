"""`optimize`: the model's own declarations are what is optimized, and the answer is that of SLSQP on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.test_suite.components.paraboloid_problem import ParaboloidProblem
from openmdao.test_suite.components.sellar import SellarDerivatives

import gradopt as go
from gradopt import AdaptiveDriver, EvaluationStore, Exit, OptimizeResult
from gradopt.errors import InputError

Factory = Callable[[], om.Problem]
SHORT = go.solvers.LevenbergMarquardt(max_iterations=10)


def model(*equations: str, setup: Callable[[om.Problem], object] = lambda problem: None, **variables: Any) -> Factory:
    """A factory of a problem of equations, for `setup` to declare the rest."""

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        comp = om.ExecComp(list(equations), do_coloring=False, **variables)
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        setup(problem)
        return problem

    return factory


def bowl(**design: Any) -> Factory:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", **{"lower": -2.0, "upper": 2.0, **design})
        problem.model.add_objective("f")

    return model("f = (x - 0.3)**2 + 0.1 * x**4", setup=declare)


def direct(factory: Factory) -> om.Problem:
    """The model, optimized by SLSQP itself."""
    problem = factory()
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-12, maxiter=500, disp=False)
    problem.setup()
    problem.run_driver()
    return problem


@contextmanager
def optimized(factory: Factory, **options: Any) -> Iterator[OptimizeResult]:
    """Optimize, without a network unless a configuration is given, and close the store."""
    result = go.optimize(factory, **{"configuration": None, **options})
    with result.store:
        yield result


def sellar() -> om.Problem:
    solvers = {
        "nonlinear_solver": om.NonlinearBlockGS(maxiter=100, atol=1e-12, rtol=1e-14, iprint=-1),
        "linear_solver": om.DirectSolver(),
    }
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("mda", SellarDerivatives(**solvers), promotes=["*"])
    problem.model.add_design_var("z", lower=np.array([-10.0, 0.0]), upper=np.array([10.0, 10.0]))
    problem.model.add_design_var("x", lower=0.0, upper=10.0)
    problem.model.add_objective("obj")
    problem.model.add_constraint("con1", upper=0.0)
    problem.model.add_constraint("con2", upper=0.0)
    return problem


@pytest.mark.filterwarnings("ignore:The following groups have a nonlinear solver that computes gradients")
@pytest.mark.parametrize("configuration", [None, go.JENN((6,), starts=1, solver=SHORT)], ids=["no network", "network"])
def test_sellar_ends_at_its_known_optimum(configuration: go.JENN | None) -> None:
    with optimized(sellar, configuration=configuration) as found:
        assert found.success and found.exit is Exit.CERTIFIED and found.certificate is not None
        assert found.certificate.certified
        np.testing.assert_allclose(found.x["z"], [1.977639, 0.0], atol=1e-4)
        np.testing.assert_allclose(found.x["x"], 0.0, atol=1e-4)
        assert found.objective == pytest.approx(3.183394, abs=1e-4)
        assert set(found.constraints) == {"con1", "con2"}
        assert found.evaluations == found.new_evaluations == found.store.count(found.truth) <= 60
        assert found.history[-1].evaluations == found.evaluations
        good = found.store.evaluations(found.truth).ok
        assert found.data is not None and found.data.n == good.sum()
        assert (found.surrogate is None) == (configuration is None)
        np.testing.assert_allclose(found.problem.get_val("con1"), found.constraints["con1"])


def test_the_paraboloid_of_openmdao_agrees_with_slsqp() -> None:
    def factory() -> om.Problem:
        return ParaboloidProblem(reports=None)

    reference = direct(factory)
    with optimized(factory) as found:
        assert found.success
        for name in ("x", "y"):
            np.testing.assert_allclose(found.x[name], reference.get_val(name), atol=1e-3)
        assert found.objective == pytest.approx(np.ravel(reference.get_val("f_xy"))[0], abs=1e-5)


def test_a_design_variable_in_one_piece_keeps_its_shape() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-1.0, upper=1.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("g", lower=-5.0)

    square = {"shape": (2, 2)}
    with optimized(model("f = sum((x - 0.5)**2)", "g = 2 * x", setup=declare, x=square, g=square)) as found:
        np.testing.assert_allclose(found.x["x"], np.full((2, 2), 0.5))
        np.testing.assert_allclose(found.constraints["g"], np.ones((2, 2)))


def test_a_maximum_is_found_by_a_negative_ref() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f", ref=-2.0)

    with optimized(model("f = 1 - (x - 0.3)**2 - 0.1 * x**4", setup=declare)) as found:
        assert found.success and found.objective == pytest.approx(0.99923, abs=1e-4)


def test_equalities_are_kept_also_where_they_are_declared_linear() -> None:
    def declare(problem: om.Problem) -> None:
        for name in ("x", "y"):
            problem.model.add_design_var(name, lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("g", equals=0.7, linear=True, ref=3.0)

    with optimized(model("f = x**4 + y**2", "g = x + y", setup=declare)) as found:
        assert found.success and found.certificate is not None
        np.testing.assert_allclose(found.constraints["g"], 0.7, atol=1e-9)
        assert found.certificate.active["g"][0] == 2
        np.testing.assert_allclose(4.0 * found.x["x"] ** 3, 2.0 * found.x["y"], atol=1e-4)


def test_design_variables_can_be_objective_and_constraints() -> None:
    def declare(problem: om.Problem) -> None:
        for name in ("x", "y"):
            problem.model.add_design_var(name, lower=-2.0, upper=2.0)
        problem.model.add_objective("x")
        problem.model.add_constraint("g", upper=1.0)
        problem.model.add_constraint("y", lower=0.6)

    with optimized(model("g = x**2 + y**2", setup=declare, x=0.3, y=0.7)) as found:
        assert found.success and [v.name for v in found.truth.outputs] == ["g"]
        assert found.objective == pytest.approx(-0.8, abs=1e-5)
        np.testing.assert_allclose(found.constraints["y"], 0.6, atol=1e-6)


def test_a_constraint_on_entries_of_a_design_variable_of_the_same_name_keeps_its_own_shape() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-1.0, upper=1.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("x", indices=om.slicer[:, 1], lower=0.7)

    with optimized(model("f = sum((x - 0.5)**2)", setup=declare, x={"shape": (2, 2)})) as found:
        assert found.success
        np.testing.assert_allclose(found.x["x"], [[0.5, 0.7], [0.5, 0.7]], atol=1e-6)
        np.testing.assert_allclose(found.constraints["x"], [0.7, 0.7], atol=1e-6)
        assert str(found).count("x = ") == 2


def test_responses_may_depend_on_some_design_variables_or_on_none() -> None:
    def declare(problem: om.Problem) -> None:
        for name in ("x", "y", "z"):
            problem.model.add_design_var(name, lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("g", upper=1.0)
        problem.model.add_constraint("h", lower=-4.0)

    equations = ("f = (x - 0.3)**2", "g = 2 * y", "h = 3 + 0 * w", "k = z")
    with optimized(model(*equations, setup=declare), configuration=go.JENN((4,), starts=1, solver=SHORT)) as found:
        assert found.success
        np.testing.assert_allclose(found.x["x"], 0.3, atol=1e-4)
        np.testing.assert_allclose(found.constraints["h"], 3.0)


def test_designs_without_bounds_of_one_value_or_outside_their_bounds_are_no_obstacle() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x")
        problem.model.add_design_var("y", lower=1.5, upper=1.5)
        problem.model.add_design_var("z", lower=-0.5, upper=0.5)
        problem.model.add_objective("f")

    with optimized(model("f = (x - 0.3)**2 + (x - y)**2 + (z - 0.2)**2", setup=declare, z=3.0)) as found:
        assert found.success
        np.testing.assert_allclose([found.x[name][0] for name in "xyz"], [0.9, 1.5, 0.2], atol=1e-4)
        assert -0.5 <= found.history[0].u[2] <= 0.5


@pytest.mark.parametrize("name", ["source.a", "comp.x"])
def test_designs_may_be_outputs_that_are_connected(name: str) -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("source", om.IndepVarComp("a", 0.5, units="m"))
        problem.model.add_subsystem("comp", om.ExecComp("f = (x - 30)**2", x={"units": "cm"}, do_coloring=False))
        problem.model.connect("source.a", "comp.x")
        problem.model.add_design_var(name, lower=0.0, upper=1000.0, units="mm")
        problem.model.add_objective("comp.f")
        return problem

    with optimized(factory) as found:
        assert found.success
        np.testing.assert_allclose(found.x[name], 300.0, atol=0.1)


def test_the_run_starts_at_the_values_of_a_problem_that_is_set_up_or_has_run() -> None:
    def ready(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.setup()
        problem.set_val("x", -1.25)
        problem.run_model()

    with optimized(model("f = (x - 0.3)**2", setup=ready)) as found:
        np.testing.assert_array_equal(found.history[0].u, [-1.25])


def test_a_driver_with_the_same_settings_takes_the_same_steps() -> None:
    variables = ([go.Variable("x", lower=-2.0, upper=2.0)], [go.Variable("f")])
    problem = om.Problem(reports=None)
    comp = go.SurrogateComp(truth=go.ModelTruth(bowl(), *variables, check_totals=False))
    problem.model.add_subsystem("comp", comp, promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    options: dict[str, Any] = {"initial_samples": 2, "seed": 3, "trust_region": go.loop.TrustRegion(radius=0.05)}
    with EvaluationStore() as store, optimized(bowl(), **options) as found:
        problem.driver = AdaptiveDriver(store=store, configuration=None, **options)
        problem.setup()
        problem.run_driver()
        theirs = [(r.u.tolist(), r.objective, r.radius, r.evaluations) for r in problem.driver.history]
        assert [(r.u.tolist(), r.objective, r.radius, r.evaluations) for r in found.history] == theirs


def test_a_callback_receives_each_iteration_and_may_stop() -> None:
    seen: list[int] = []

    def stop(found: go.loop.Iteration) -> bool:
        seen.append(found.number)
        return found.number == 1

    with optimized(bowl(), callback=stop) as found:
        assert seen == [0, 1] and found.exit is Exit.STOPPED and not found.success


def test_a_transform_models_a_response_through_it() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("g", upper=2.0, alias="limit")

    factory = model("f = exp(3 * x**2 + x)", "g = exp(x)", setup=declare, x=1.5)
    with optimized(factory) as plain, optimized(factory, transforms={"f": "log", "limit": "log"}) as found:
        assert [v.transform for v in found.truth.outputs] == ["log", "log"]
        assert plain.success and found.success and found.evaluations < plain.evaluations
        np.testing.assert_allclose(found.x["x"], -1.0 / 6.0, atol=1e-4)


@pytest.mark.parametrize(("transform", "start"), [("log", 1.0), ("logit", 0.5)])
def test_a_value_without_a_transform_is_a_failed_evaluation(transform: str, start: float) -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-1.5, upper=1.5)
        problem.model.add_objective("f", ref=1.0 if transform == "log" else -1.0)

    factory = model("f = x**3", setup=declare, x=start)
    with optimized(factory, transforms={"f": transform}, configuration=None, max_evaluations=15) as found:
        rows = found.store.evaluations(found.truth)
        failed = np.array(rows.message)[~rows.ok]
        assert rows.ok[0] and failed.size and found.x["x"][0] != start
        assert all(f"outside the domain of its transform {transform!r}" in message for message in failed)


def test_initial_data_are_used_and_cost_nothing() -> None:
    with optimized(bowl()) as first:
        assert first.data is not None
        bare = go.Dataset(first.data.x, first.data.y, first.data.dydx, [go.Variable("x")], first.data.output_variables)
        with optimized(bowl(), initial_data=bare) as second:
            assert second.success and second.data is not None
            assert second.evaluations <= first.evaluations
            assert second.history[2].objective < 0.99 * first.history[2].objective  # with more points in the kriging
            np.testing.assert_array_equal(second.data.x[: first.data.n], first.data.x)


def test_a_truth_that_fails_at_the_start_is_an_outcome() -> None:
    def fails(problem: om.Problem) -> None:
        def declare(comp: Any) -> None:
            comp.add_input("x")
            comp.add_output("f")
            comp.declare_partials("*", "*")

        class Failing(om.ExplicitComponent):  # type: ignore[misc]
            setup = declare

            def compute(self, inputs: Any, outputs: Any) -> None:
                raise om.AnalysisError("no mesh")

        problem.model.add_subsystem("failing", Failing(), promotes=["x", ("f", "y")])
        problem.model.add_design_var("x", lower=0.0, upper=2.0)
        problem.model.add_objective("y")

    with optimized(model("g = 2 * x", setup=fails)) as found:
        assert found.exit is Exit.TRUTH_FAILED and not found.success and found.certificate is None
        assert np.isnan(found.objective) and found.x["x"] == 1.0 and found.history == () and found.data is None
        assert found.evaluations == found.new_evaluations == 1
        assert found.exit.advice in str(found)


def test_totals_are_checked_by_default() -> None:
    class Wrong(om.ExplicitComponent):  # type: ignore[misc]
        def setup(self) -> None:
            self.add_input("x")
            self.add_output("f")
            self.declare_partials("f", "x", val=1.0)

        def compute(self, inputs: Any, outputs: Any) -> None:
            outputs["f"] = 3.0 * inputs["x"]

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("comp", Wrong(), promotes=["*"])
        problem.model.add_design_var("x", lower=-1.0, upper=1.5)
        problem.model.add_objective("f")
        return problem

    with pytest.raises(InputError, match="partials of 'f' do not fit"):
        go.optimize(factory, configuration=None)
    with optimized(factory, check_totals=False, max_evaluations=3) as found:
        assert found.evaluations >= 1


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (3, {}, "`factory` must be a function that returns an om.Problem, got 3"),
    (lambda: 3, {}, "`factory` must return an om.Problem, got int"),
    (model("f = x**2"), {}, "must have one objective, got none"),
    (model("f = x**2", setup=lambda p: p.model.add_objective("f")), {}, "must have design variables, got none"),
    (bowl(), {"transforms": {"x": "log"}}, r"`transforms` must name responses among \['f'\], got 'x'"),
    (bowl(), {"transforms": {"f": "sqrt"}}, "`transform` must be None, 'log' or 'logit', got 'sqrt'"),
    (bowl(), {"initial_data": 3}, "`initial_data` must be a Dataset, got 3"),
    (
        bowl(),
        {"initial_data": go.Dataset(np.zeros((2, 1)), np.zeros((2, 1)))},
        "`initial_data.outputs` must have the names, shapes and",
    ),
    (bowl(), {"trust_region": 3}, "`trust_region` must be a TrustRegion, got 3"),
    (bowl(), {"failures": 3}, "`failures` must be a sequence of exception classes"),
]


@pytest.mark.parametrize(("factory", "options", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_wrong_arguments_are_named(factory: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        go.optimize(factory, **options)


def test_a_problem_without_anything_to_learn_is_refused() -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", lower=-1.0, upper=1.0)
        problem.model.add_objective("x")

    with pytest.raises(InputError, match="must compute its objective or a constraint, got design variables only"):
        go.optimize(model("f = x**2", setup=declare))


@pytest.mark.parametrize("indices", [[1], [0, 1]])
def test_a_response_that_no_design_variable_can_change_is_refused(indices: list[int]) -> None:
    def declare(problem: om.Problem) -> None:
        problem.model.add_design_var("x", indices=[0], lower=-1.0, upper=1.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("x", indices=indices, upper=2.0)

    with pytest.raises(InputError, match="`response 'x'` must depend on design variables, got a constant"):
        go.optimize(model("f = sum(x**2)", setup=declare, x={"shape": 2}))
