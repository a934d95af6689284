"""A model as a truth: values and totals in the units of the variables, for any driver, setup and solvers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import Variable
from gradopt.errors import InputError, ShapeError
from gradopt.truth.model import ModelTruth
from gradopt.truth.protocol import Evaluations

POINTS = np.array([[1.0, 2.0, 3.0], [0.5, 0.7, -2.0]])


def load(approximate: bool = False) -> om.Problem:
    """f = z sum(x^2) in N with x (2,) in m; g = 2 f in kN."""
    problem = om.Problem(reports=None)
    first = om.ExecComp("f = sum(x**2) * z", x={"val": np.ones(2), "units": "m"}, z={"val": 1.0}, f={"units": "N"})
    problem.model.add_subsystem("first", first, promotes=["*"])
    second = om.ExecComp("g = 2 * f", f={"units": "kN"}, g={"units": "kN"})
    problem.model.add_subsystem("second", second, promotes=["*"])
    if approximate:
        problem.model.approx_totals(method="cs")
    return problem


def expected(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f in N and g in kN with their partials, x in m."""
    x, z = points[:, :2], points[:, 2]
    f = z * (x**2).sum(axis=1)
    df = np.concatenate([2.0 * z[:, None] * x, (x**2).sum(axis=1)[:, None]], axis=1)
    return np.stack([f, f / 500.0], axis=1), np.stack([df, df / 500.0], axis=1)


def agrees(found: Evaluations, y: np.ndarray, dydx: np.ndarray) -> None:
    assert found.ok.all(), found.message
    np.testing.assert_allclose(found.y, y, rtol=1e-12)
    np.testing.assert_allclose(found.dydx, dydx, rtol=1e-12)


def test_names_take_shape_and_units_of_the_model() -> None:
    truth = ModelTruth(load, ["x", "z"], ["f", "g"])
    assert truth.inputs == (Variable("x", (2,), "m"), Variable("z"))
    assert truth.outputs == (Variable("f", units="N"), Variable("g", units="kN"))
    agrees(truth.evaluate(POINTS), *expected(POINTS))


def test_units_of_variables_are_converted() -> None:
    inputs = [Variable("x", (2,), "cm", lower=0.0, upper=300.0), Variable("z", lower=-5.0, upper=5.0)]
    truth = ModelTruth(load, inputs, [Variable("f", units="kN"), Variable("g", units="N")])
    assert truth.inputs == tuple(inputs)
    y, dydx = expected(POINTS)
    scale = np.array([0.01, 0.01, 1.0])
    to = np.array([1e-3, 1e3])
    agrees(truth.evaluate(POINTS / scale), y * to, dydx * to[:, None] * scale)


def test_units_with_an_offset_are_converted() -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        comp = om.ExecComp("v = 3.0 * t", t={"val": 300.0, "units": "degK"}, v={"units": "Pa"})
        problem.model.add_subsystem("c", comp, promotes=["*"])
        return problem

    found = ModelTruth(factory, [Variable("t", units="degF")], ["v"]).evaluate([[32.0]])
    np.testing.assert_allclose(found.y, [[3.0 * 273.15]])
    np.testing.assert_allclose(found.dydx, [[[3.0 / 1.8]]])


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("outputs", [["f"], ["f", "g"]])
@pytest.mark.parametrize("options", [{}, {"units": "cm"}, {"ref": 7.0, "units": "cm"}, {"indices": [1]}], ids=str)
def test_the_driver_does_not_matter(approximate: bool, outputs: list[str], options: dict[str, Any]) -> None:
    def factory() -> om.Problem:
        problem = load(approximate)
        problem.model.add_design_var("x", lower=0.0, upper=10.0, **options)
        problem.model.add_objective("f", units="kN", scaler=3.0)
        problem.driver = om.ScipyOptimizeDriver()
        return problem

    found = ModelTruth(factory, ["x"], outputs).evaluate(POINTS[:, :2])
    y, dydx = expected(np.column_stack([POINTS[:, :2], np.ones(2)]))
    agrees(found, y[:, : len(outputs)], dydx[:, : len(outputs), :2])


def ready() -> om.Problem:
    problem = load()
    problem.setup()
    return problem


def used() -> om.Problem:
    problem = load()
    problem.setup(mode="rev")
    problem.run_model()
    problem.compute_totals(of=["f"], wrt=["x"])
    return problem


@pytest.mark.parametrize("factory", [load, ready, used])
def test_the_problem_may_be_set_up_or_used(factory: Callable[[], om.Problem]) -> None:
    agrees(ModelTruth(factory, ["x", "z"], ["f", "g"]).evaluate(POINTS), *expected(POINTS))


def test_values_set_by_the_factory_stay() -> None:
    def factory() -> om.Problem:
        problem = load()
        problem.setup()
        problem.set_val("z", 4.0)
        return problem

    assert ModelTruth(factory, ["x"], ["f"]).evaluate([[1.0, 2.0]]).y.tolist() == [[20.0]]


def test_without_derivatives_partials_are_unknown() -> None:
    def factory() -> om.Problem:
        problem = load()
        problem.setup(derivatives=False)
        return problem

    truth = ModelTruth(factory, ["x"], ["f"])
    found = truth.evaluate([[1.0, 2.0]])
    assert found.ok.all() and np.isnan(found.dydx).all() and truth.check_evaluations == 0


def coupled() -> om.Problem:
    """Sellar's problem, coupled through y1 and y2."""
    problem = om.Problem(reports=None)
    problem.options["group_by_pre_opt_post"] = False  # no warning about Newton's method
    group = problem.model.add_subsystem("cycle", om.Group(), promotes=["x", "z", "y1", "y2"])
    first = om.ExecComp("y1 = z[0]**2 + z[1] + x - 0.2 * y2", z=np.array([5.0, 2.0]), y1={"ref": 10.0})
    group.add_subsystem("d1", first, promotes=["*"])
    group.add_subsystem("d2", om.ExecComp("y2 = y1**0.5 + z[0] + z[1]", z=np.array([5.0, 2.0])), promotes=["*"])
    group.nonlinear_solver = om.NewtonSolver(solve_subsystems=False, iprint=-1, atol=1e-12, rtol=1e-14)
    group.linear_solver = om.DirectSolver()
    objective = om.ExecComp("f = x**2 + z[1] + y1 + exp(-y2)", z=np.array([5.0, 2.0]))
    problem.model.add_subsystem("objective", objective, promotes=["*"])
    return problem


def test_totals_of_a_coupled_model_agree_with_finite_differences() -> None:
    truth = ModelTruth(coupled, ["x", "z"], ["f", "y2"], check_totals=False)
    x = np.array([1.0, 5.0, 2.0])
    found = truth.evaluate([x])
    np.testing.assert_allclose(found.y[0], [28.588308, 12.058488], rtol=1e-6)  # Sellar et al. (1996), OpenMDAO's docs
    h = 1e-5
    sides = [truth.evaluate(x + sign * h * np.eye(3)).y for sign in (1.0, -1.0)]
    np.testing.assert_allclose(found.dydx[0], ((sides[0] - sides[1]) / (2.0 * h)).T, rtol=1e-7, atol=1e-8)


def test_dots_become_colons() -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("c", om.ExecComp("y = 2 * x", x={"units": "m"}, y={"units": "m"}))
        return problem

    truth = ModelTruth(factory, ["c.x"], ["c.y"])
    assert (truth.inputs[0].name, truth.outputs[0].name) == ("c:x", "c:y")
    again = ModelTruth(factory, [Variable("c:x", units="mm")], [Variable("c:y", units="m")])
    np.testing.assert_allclose(again.evaluate([[1000.0]]).y, [[2.0]])
    np.testing.assert_allclose(again.evaluate([[1000.0]]).dydx, [[[0.002]]])


def test_an_independent_component_may_give_the_input() -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("given", om.IndepVarComp("x", np.ones(2), units="mm"), promotes=["*"])
        problem.model.add_subsystem("load", load().model, promotes=["*"])
        return problem

    y, dydx = expected(np.array([[1.0, 2.0, 1.0]]))
    found = ModelTruth(factory, ["x"], ["f"]).evaluate([[1000.0, 2000.0]])
    agrees(found, y[:, :1], dydx[:, :1, :2] / 1000.0)


def test_outputs_of_any_shape_are_flat() -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        comp = om.ExecComp("y = 2 * x", x=np.zeros((2, 3)), y=np.zeros((2, 3)))
        problem.model.add_subsystem("c", comp, promotes=["*"])
        return problem

    truth = ModelTruth(factory, ["x"], [Variable("y", (6,))])
    assert truth.inputs[0].shape == (2, 3)
    x = np.arange(6.0)[None]
    agrees(truth.evaluate(x), 2.0 * x, 2.0 * np.eye(6)[None])


def test_the_problem_is_built_once_and_when_needed() -> None:
    built = []

    def factory() -> om.Problem:
        built.append(1)
        return load()

    truth = ModelTruth(factory, ["x"], ["f"])
    assert not built
    assert truth.inputs and truth.outputs
    truth.evaluate(POINTS[:, :2]), truth.evaluate(POINTS[:, :2])
    assert len(built) == 1


@pytest.mark.parametrize("twin_of", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy], ids=["pickle", "copy"])
def test_a_copy_builds_its_own_problem_and_needs_no_second_check(twin_of: Callable[[ModelTruth], ModelTruth]) -> None:
    truth = ModelTruth(load, ["x", "z"], ["f", "g"])
    first = truth.evaluate(POINTS)
    twin = twin_of(truth)
    assert np.array_equal(twin.evaluate(POINTS).y, first.y) and np.array_equal(twin.evaluate(POINTS).dydx, first.dydx)
    assert (twin.inputs, twin.outputs, twin.identity) == (truth.inputs, truth.outputs, truth.identity)
    assert twin.check_evaluations == truth.check_evaluations == 2


def test_the_identity_is_that_of_the_factory_unless_given() -> None:
    identity = ModelTruth(load, ["x"], ["f"]).identity
    assert identity and "load " in identity and identity != ModelTruth(ready, ["x"], ["f"]).identity
    other = ModelTruth(lambda: load(), ["x"], ["f"]).identity
    assert other is not None and other != identity
    assert ModelTruth(load, ["x"], ["f"], identity="mine").identity == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["nope"]}, r"`inputs` must be among the model's independent variables \['x', 'z'\], got 'nope'"),
        ({"inputs": ["first.f"]}, "`inputs` must be among the model's independent variables"),
        ({"inputs": ["f"]}, "`inputs` must be among the model's independent variables"),
        ({"outputs": ["nope"]}, "`outputs` must be among the model's continuous outputs .*'f', 'g'.*, got 'nope'"),
        (
            {"inputs": [Variable("x", (2,))]},
            r"`units of 'x' in inputs` must fit the model's 'm', got None. .*units='m'",
        ),
        ({"inputs": [Variable("x", (2,), "kg")]}, "must fit the model's 'm', got 'kg'"),
        ({"inputs": [Variable("z", units="m")]}, "`units of 'z' in inputs` must fit the model's None, got 'm'"),
        ({"outputs": [Variable("f")]}, "`units of 'f' in outputs` must fit the model's 'N', got None"),
        ({"inputs": ["x", "x"]}, "`inputs` must have different names"),
        ({"outputs": ["f", "f"]}, "`outputs` must have different names"),
        ({"inputs": ["x"], "outputs": ["x"]}, "`outputs` must have other names than `inputs`"),
        ({"factory": lambda: 3.0}, "`factory` must return an om.Problem, got float"),
    ],
)
def test_what_does_not_fit_the_model_is_explained(changes: dict[str, Any], message: str) -> None:
    truth = ModelTruth(**{"factory": load, "inputs": ["x"], "outputs": ["f"], **changes})
    with pytest.raises(InputError, match=message):
        truth.evaluate(POINTS[:, :2])


def test_another_shape_is_explained() -> None:
    with pytest.raises(ShapeError, match=r"`shape of 'x'` must be the model's, \(2,\), got \(3,\)"):
        assert ModelTruth(load, [Variable("x", (3,), "m")], ["f"]).inputs


def test_discrete_variables_are_neither_inputs_nor_outputs() -> None:
    class Counts(om.ExplicitComponent):  # type: ignore[misc]
        def setup(self) -> None:
            self.add_input("x")
            self.add_output("y")
            self.add_discrete_input("kind", 1)
            self.add_discrete_output("count", 3)

        def compute(self, inputs: Any, outputs: Any, discrete_inputs: Any, discrete_outputs: Any) -> None: ...

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("c", Counts(), promotes=["*"])
        return problem

    with pytest.raises(InputError, match="continuous outputs .*'y'.*, got 'count'"):
        assert ModelTruth(factory, ["x"], ["count"]).inputs
    with pytest.raises(InputError, match=r"independent variables \['x'\], got 'kind'"):
        assert ModelTruth(factory, ["kind"], ["y"]).inputs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": 3.0}, "`factory` must be a function that returns an om.Problem"),
        ({"inputs": "x"}, "`inputs` must be a sequence of names or Variables, got 'x'"),
        ({"inputs": []}, "`inputs` must be a sequence of names or Variables"),
        ({"outputs": [3]}, r"`outputs` must be a sequence of names or Variables, got \[3\]"),
        ({"outputs": Variable("f")}, "`outputs` must be a sequence of names or Variables"),
        ({"failures": [3]}, "`failures` must be a sequence of exception classes, got 3"),
    ],
)
def test_wrong_arguments_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelTruth(**{"factory": load, "inputs": ["x"], "outputs": ["f"], **changes})
