"""The truth as a component, and the problem that the driver sees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import assert_check_partials

from cases.case import Case, Response
from cases.model import TruthComp, adaptive_case, build_problem, get_design, get_responses, pose, set_design
from cases.rosenbrock.case import rosenbrock_case
from gradopt.om.baseline import FailureTolerantSLSQP

MakeCase = Callable[..., Case]


def airfoil() -> Case:
    pytest.importorskip("neuralfoil")
    from cases.airfoil.case import airfoil_case

    return airfoil_case(quick=True)


@pytest.mark.parametrize("build", [lambda: rosenbrock_case(4), airfoil], ids=["rosenbrock", "airfoil"])
def test_partials_of_the_truth_are_those_of_finite_differences(build: Callable[[], Case]) -> None:
    case = build()
    problem = build_problem(case, [TruthComp(case)], case.limits)
    mix = np.random.default_rng(5).uniform(size=len(case.start))
    set_design(problem, case, case.lower + mix * (case.upper - case.lower))
    problem.run_model()
    data = problem.check_partials(method="fd", form="central", step=1e-5, out_stream=None)
    assert_check_partials(data, atol=1e-5, rtol=1e-5)


def test_each_point_is_evaluated_once(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = make_case()
    truth = TruthComp(case)
    problem = build_problem(case, [truth], case.limits)
    for x in (np.zeros(3), np.ones(3)):
        set_design(problem, case, x)
        problem.run_model()
        problem.run_model()
        slope = problem.compute_totals(of=["f"], wrt=["a"])["f", "a"]
        np.testing.assert_allclose(slope, case.truth(x)[1][:1, :2])
        calls.pop()  # the line above
    np.testing.assert_array_equal(calls, [np.zeros(3), np.ones(3)])
    assert truth.evaluations == 2


def test_known_point_is_not_evaluated_again(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = make_case()
    known = (case.start, np.array([7.0, 8.0]), np.zeros((2, 3)))
    truth = TruthComp(case, known)
    problem = build_problem(case, [truth], case.limits)
    problem.run_model()
    assert problem.get_val("f") == 7.0
    assert (calls, truth.evaluations) == ([], 0)
    set_design(problem, case, np.zeros(3))
    problem.run_model()
    assert (len(calls), truth.evaluations) == (1, 1)


def test_failed_evaluation_is_an_analysis_error(make_case: MakeCase) -> None:
    case = make_case(fails=lambda x: bool(x[0] > 0.5))
    problem = build_problem(case, [TruthComp(case)], case.limits)
    with pytest.raises(om.AnalysisError, match="no convergence at"):
        problem.run_model()
    set_design(problem, case, np.zeros(3))
    problem.run_model()  # the next point is a new chance
    assert problem.get_val("g") == 0.0


def test_other_faults_of_the_truth_pass(make_case: MakeCase) -> None:
    def broken(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ZeroDivisionError("a bug, not an outcome")

    case = make_case(truth=broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        build_problem(case, [TruthComp(case)], case.limits).run_model()


def test_problem_is_set_up_at_the_start(make_case: MakeCase) -> None:
    case = make_case(start=np.array([0.1, -0.2, 0.3]))
    problem = build_problem(case, [TruthComp(case)], case.limits)
    np.testing.assert_array_equal(get_design(problem, case), case.start)
    problem.run_model()
    assert {name: value.shape for name, value in get_responses(problem, case).items()} == {
        "f": (1,),
        "g": (1,),
        "h": (2,),
    }


def test_driver_has_bounds_references_and_constraints(make_case: MakeCase) -> None:
    responses = (
        Response("f", "minimize", ref=10.0),
        Response("g", "equals", 0.25, ref=2.0),
        Response("h", "upper", (3.0, 4.0), ref=5.0),
    )
    case = make_case(responses=responses)
    problem = build_problem(case, [TruthComp(case)], (np.array([-1.0, -2.0, -3.0]), np.array([1.0, 2.0, 3.0])))
    problem.final_setup()
    designs, objectives = problem.model.get_design_vars(), problem.model.get_objectives()
    constraints = problem.model.get_constraints()
    np.testing.assert_array_equal(designs["a"]["lower"], [-1.0, -2.0])
    np.testing.assert_array_equal(designs["a"]["upper"], [1.0, 2.0])
    assert (designs["b"]["lower"], designs["b"]["upper"], designs["b"]["units"]) == (-3.0, 3.0, "m")
    assert set(objectives) == {"f"}
    assert objectives["f"]["total_scaler"] == 0.1
    assert constraints["g"]["equals"] == 0.25
    assert constraints["g"]["total_scaler"] == 0.5
    np.testing.assert_array_equal(constraints["h"]["upper"], [3.0, 4.0])
    assert constraints["h"]["total_scaler"] == 0.2


def test_driver_maximizes(make_case: MakeCase) -> None:
    case = make_case(responses=(Response("g", "maximize", ref=4.0),))
    problem = build_problem(case, [TruthComp(case)], case.limits)
    problem.final_setup()
    assert problem.model.get_objectives()["g"]["total_scaler"] == -0.25


@pytest.mark.parametrize(
    ("response", "x"),
    [
        # Minimum of |x - (0.5, -0.3, 0)|^2 on the plane x.sum() = bound: the center plus (bound - 0.2) / 3 each.
        (Response("g", "lower", 0.5), [0.6, -0.2, 0.1]),
        (Response("g", "equals", -0.1), [0.4, -0.4, -0.1]),
        (Response("g", "upper", -1.0), [0.1, -0.7, -0.4]),
        (Response("g", "lower", -1.0), [0.5, -0.3, 0.0]),
        (Response("h", "upper", (-0.1, -0.8)), [0.5, -0.3, -0.4]),
    ],
)
def test_driver_keeps_constraints(make_case: MakeCase, response: Response, x: list[float]) -> None:
    case = make_case(responses=(Response("f", "minimize", ref=3.0), response))
    problem = build_problem(case, [TruthComp(case)], case.limits)
    assert problem.run_driver().success
    np.testing.assert_allclose(get_design(problem, case), x, atol=1e-5)


def test_driver_keeps_bounds(make_case: MakeCase) -> None:
    case = make_case(responses=(Response("f", "minimize"),), start=np.array([1.0, -1.0, 1.0]))
    problem = build_problem(case, [TruthComp(case)], (np.array([0.7, -2.0, -1.0]), np.array([2.0, -0.4, 1.0])))
    problem.run_driver()
    np.testing.assert_allclose(get_design(problem, case), [0.7, -0.4, 0.0], atol=1e-5)


def test_slsqp_calls_back_after_each_run_of_the_model(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = make_case()
    noted: list[float] = []
    driver = FailureTolerantSLSQP(callback=lambda problem: noted.append(float(problem.get_val("f")[0])))
    model = om.Group()
    model.add_subsystem("truth", TruthComp(case), promotes=["*"])
    problem = pose(model, case.inputs, case.limits, case.responses[:2], case.start, driver)
    assert problem.run_driver().success
    assert len(noted) == len(calls)
    assert noted[-1] == problem.get_val("f")


def test_slsqp_steps_back_from_a_failed_run_without_a_call(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = make_case(fails=lambda x: bool(x[0] < 0.9))
    noted: list[om.Problem] = []
    model = om.Group()
    model.add_subsystem("truth", TruthComp(case), promotes=["*"])
    problem = pose(
        model, case.inputs, case.limits, case.responses[:2], case.start, FailureTolerantSLSQP(callback=noted.append)
    )
    problem.run_driver()
    failed = sum(x[0] < 0.9 for x in calls)
    assert failed > 0 and len(noted) == len(calls) - failed
    assert problem.get_val("a")[0] >= 0.9


def test_slsqp_raises_where_the_start_fails(make_case: MakeCase) -> None:
    case = make_case(fails=lambda x: True)
    model = om.Group()
    model.add_subsystem("truth", TruthComp(case), promotes=["*"])
    problem = pose(model, case.inputs, case.limits, case.responses[:2], case.start, FailureTolerantSLSQP())
    with pytest.raises(om.AnalysisError, match="no convergence at"):
        problem.run_driver()


def test_model_of_the_loop_keeps_the_exact_parts(make_case: MakeCase) -> None:
    case = adaptive_case(make_case(start=np.array([0.1, -0.2, 0.3])), configuration=None)
    problem = pose(
        case.model(case.truths),
        case.inputs,
        (-np.ones(3), np.ones(3)),
        case.responses,
        case.start,
        FailureTolerantSLSQP(),
    )
    problem.run_model()
    np.testing.assert_allclose(get_responses(problem, case)["h"], [0.3, 0.6])
    np.testing.assert_allclose(get_responses(problem, case)["g"], [0.2])
    np.testing.assert_array_equal(get_design(problem, case), case.start)
