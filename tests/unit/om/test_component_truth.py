"""SurrogateComp with a truth: its variables, what is evaluated when, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, MLP, Dataset, FunctionTruth, ModelTruth, Surrogate, Variable
from gradopt.errors import InputError
from gradopt.om.component import SurrogateComp
from gradopt.solvers import LevenbergMarquardt
from gradopt.truth import FiniteDifferenceTruth

Truths = Callable[..., FunctionTruth]
INPUTS = (Variable("speed", units="m/s"), Variable("chord", (2,), units="m"))
OUTPUTS = (Variable("drag", units="N"), Variable("load", (2, 2)))


def product(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = np.arange(1.0, 5.0)
    others = np.array([x[1] * x[2], x[0] * x[2], x[0] * x[1]])
    return np.array([x.prod(), *(weights * x.sum())]), np.vstack([others, np.repeat(weights[:, None], 3, axis=1)])


TRUTH = FunctionTruth(product, INPUTS, OUTPUTS)


def run(comp: SurrogateComp, x: tuple[float, ...] = (0.3, 0.4, 0.5)) -> om.Problem:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", comp, promotes=["*"])
    problem.setup(force_alloc_complex=True)
    problem.set_val("speed", x[0])
    problem.set_val("chord", x[1:])
    problem.run_model()
    return problem


def test_variables_are_the_truths() -> None:
    problem = run(SurrogateComp(truth=TRUTH))
    assert problem.get_val("load").shape == (2, 2)
    assert problem.get_val("drag", units="kN") == pytest.approx([0.06e-3])
    assert problem.get_val("chord", units="cm") == pytest.approx([40.0, 50.0])


def test_the_truth_is_evaluated_before_any_driver() -> None:
    problem = run(SurrogateComp(truth=TRUTH))
    np.testing.assert_array_equal(problem.get_val("drag"), [0.3 * 0.4 * 0.5])
    np.testing.assert_array_equal(problem.get_val("load"), np.sum([0.3, 0.4, 0.5]) * np.array([[1.0, 2.0], [3.0, 4.0]]))


def test_partials_agree_with_complex_step_and_finite_differences() -> None:
    problem = run(SurrogateComp(truth=TRUTH))
    for method in ("cs", "fd"):
        checked = problem.check_partials(method=method, out_stream=None)["comp"]
        assert max(entry["abs error"].forward for entry in checked.values()) < 1e-6
        assert checked["drag", "speed"]["J_fd"] == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda comp: pickle.loads(pickle.dumps(comp))], ids=["deep", "pickle"])
def test_a_copy_evaluates_the_truth_too(way: Callable[[SurrogateComp], SurrogateComp]) -> None:
    duplicate = way(SurrogateComp(truth=TRUTH))
    assert run(duplicate).get_val("drag") == pytest.approx([0.06])


def test_initial_surrogate_is_evaluated_before_any_driver(surrogate: Surrogate) -> None:
    comp = SurrogateComp(surrogate, truth=TRUTH)
    np.testing.assert_array_equal(run(comp).get_val("drag"), surrogate.predict([[0.3, 0.4, 0.5]])[0, :1])
    assert (comp.initial, comp.surrogate, comp.truth) == (surrogate, surrogate, TRUTH)
    duplicate = copy.deepcopy(comp)
    np.testing.assert_array_equal(run(duplicate).get_val("drag"), surrogate.predict([[0.3, 0.4, 0.5]])[0, :1])


def test_kept_surrogate_is_not_evaluated_until_it_is_assigned(surrogate: Surrogate) -> None:
    comp = SurrogateComp(truth=TRUTH)
    problem = run(comp)
    comp.keep(surrogate)
    problem.run_model()
    assert problem.get_val("drag") == pytest.approx([0.06])
    assert (comp.surrogate, comp.initial, comp.options["surrogate_digest"]) == (surrogate, None, surrogate.digest)
    comp.surrogate = surrogate
    problem.run_model()
    np.testing.assert_array_equal(problem.get_val("drag"), surrogate.predict([[0.3, 0.4, 0.5]])[0, :1])
    assert comp.initial is surrogate


def test_neither_surrogate_nor_truth_is_refused() -> None:
    with pytest.raises(InputError, match=r"`surrogate` must be a fitted surrogate, got None\. Fit first"):
        SurrogateComp()


@pytest.mark.parametrize("truth", [np.sum, FunctionTruth, JENN()])
def test_what_is_no_truth_is_refused(truth: Any) -> None:
    with pytest.raises(InputError, match=r"`truth` must be a truth, got .*\. Wrap it: SurrogateComp\(truth=Function"):
        SurrogateComp(truth=truth)


def test_several_points_of_a_truth_are_refused() -> None:
    with pytest.raises(InputError, match=r"`vec_size` must be 1 with a truth, got 2\. Use one component for each"):
        SurrogateComp(truth=TRUTH, vec_size=2)


def test_surrogate_of_other_variables_is_refused(surrogate: Surrogate, rosenbrock: Truths) -> None:
    expected = r"`surrogate\.inputs` must have the names, shapes and units \[\('x', \(2,\), None\)\], got .*'speed'"
    with pytest.raises(InputError, match=expected):
        SurrogateComp(surrogate, truth=rosenbrock())
    comp = SurrogateComp(truth=rosenbrock())
    with pytest.raises(InputError, match=expected):
        comp.surrogate = surrogate
    other = FunctionTruth(product, INPUTS, (Variable("drag", units="kN"), Variable("load", (2, 2))))
    with pytest.raises(InputError, match=r"`surrogate\.outputs` must have .*'kN'.*Fit the surrogate to data of this"):
        SurrogateComp(surrogate, truth=other)


def test_bounds_of_the_surrogate_may_differ_from_the_truths(rosenbrock: Truths) -> None:
    data = Dataset(np.eye(2), np.array([[1.0], [2.0]]), inputs=[Variable("x", (2,))], outputs=[Variable("f")])
    fitted = MLP((2,), solver=LevenbergMarquardt(max_iterations=1), starts=1).fit(data)
    assert SurrogateComp(fitted, truth=rosenbrock()).surrogate is fitted


def started(factory: Callable[[], om.Problem], wrap: Callable[[ModelTruth], Any]) -> om.Problem:
    """A problem with a model as the truth of a component, finally set up."""
    inputs: list[str | Variable] = [Variable("x", units="cm"), "sub.z"]
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("c", SurrogateComp(truth=wrap(ModelTruth(factory, inputs, ["sub.f"]))), promotes=["*"])
    problem.setup()
    problem.final_setup()
    return problem


def inner(set_up: bool) -> om.Problem:
    problem = om.Problem(reports=None)
    comp = om.ExecComp("f = x * sum(z)", x={"val": 10.0, "units": "m"}, z=np.array([3.0, 4.0]))
    problem.model.add_subsystem("sub", comp, promotes_inputs=["x"])
    if set_up:
        problem.setup()
        problem.set_val("x", 7.0)
    return problem


@pytest.mark.parametrize("wrap", [lambda truth: truth, FiniteDifferenceTruth], ids=["alone", "finite differences"])
@pytest.mark.parametrize(("set_up", "x"), [(False, 10.0), (True, 7.0)])
def test_a_model_keeps_its_initial_values(wrap: Callable[[ModelTruth], Any], set_up: bool, x: float) -> None:
    problem = started(lambda: inner(set_up), wrap)
    assert problem.get_val("x", units="m") == pytest.approx(x)
    np.testing.assert_array_equal(problem.get_val("sub:z"), [3.0, 4.0])
    problem.run_model()
    assert problem.get_val("sub:f") == pytest.approx(7.0 * x)
