"""SurrogateComp: declared partials are exact, block-diagonal, and reach the totals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import (
    assert_check_partials,
    assert_check_totals,
    assert_no_approx_partials,
)
from scipy.linalg import block_diag

from gradopt import Surrogate, Variable
from gradopt.data.variables import column_slices
from gradopt.om.component import SurrogateComp

Fitted = Callable[..., Surrogate]
Ready = Callable[..., om.Problem]
X, Y = Variable("x"), Variable("y")
SEVERAL = (Variable("speed", units="m/s"), Variable("chord", (2,), units="m"), Variable("twist", (2, 2), units="deg"))
CASES: dict[str, dict[str, Any]] = {
    "scalar": {"inputs": (X,), "outputs": (Y,)},
    "vector": {"inputs": (Variable("x", (3,)),), "outputs": (Variable("y", (2,)),)},
    "matrix": {"inputs": (Variable("x", (2, 3)),), "outputs": (Variable("y", (3, 2)),)},
    "wide": {"inputs": (X,), "outputs": (Variable("y", (4,)), Variable("z"))},
    "several": {"inputs": SEVERAL, "outputs": (Variable("drag", units="N"), Variable("load", (2, 2), units="Pa"))},
    "log": {
        "inputs": (Variable("x", transform="log"), Variable("w")),
        "outputs": (Variable("y", transform="log"), Variable("z")),
    },
    "logit": {
        "inputs": (Variable("x", (2,), transform="logit"), Variable("w")),
        "outputs": (Variable("y", transform="logit"), Variable("z", transform="log")),
    },
    "constant": {"inputs": (X, Variable("w", (2,), transform="log")), "outputs": (Y,), "frozen": (1,)},
}
SHAPES = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
POINTS = pytest.mark.parametrize("points", [1, 5])
METHODS = pytest.mark.parametrize(
    ("method", "tolerance"), [({"method": "cs"}, 1e-9), ({"method": "fd", "form": "central", "step": 1e-5}, 1e-5)]
)
SOLVER_NOTICE = pytest.mark.filterwarnings("ignore:The following groups have a nonlinear solver that computes")
MODES = pytest.mark.parametrize("mode", ["fwd", "rev"])


def names(variables: tuple[Variable, ...]) -> list[str]:
    return [variable.name for variable in variables]


def worst(checked: dict[tuple[str, str], dict[str, Any]], ours: str) -> float:
    """The largest deviation from the approximation, relative where the derivative is above 1."""
    return max(
        float((np.abs(pair[ours] - pair["J_fd"]) / np.maximum(np.abs(pair["J_fd"]), 1.0)).max())
        for pair in checked.values()
    )


@SHAPES
@POINTS
@METHODS
@pytest.mark.parametrize("seed", [0, 1])
def test_partials_agree_with_approximations(
    fitted: Fitted, ready: Ready, case: dict[str, Any], points: int, method: dict[str, Any], tolerance: float, seed: int
) -> None:
    problem = ready(SurrogateComp(fitted(**case), vec_size=points, extrapolate="allow"), seed=seed)
    problem.run_model()
    checked = problem.check_partials(**method, out_stream=None)
    assert set(checked["comp"]) == {(of, wrt) for of in names(case["outputs"]) for wrt in names(case["inputs"])}
    assert worst(checked["comp"], "J_fwd") <= tolerance
    assert_check_partials(checked, atol=tolerance, rtol=tolerance)


@SHAPES
@POINTS
def test_partials_have_values(fitted: Fitted, ready: Ready, case: dict[str, Any], points: int) -> None:
    problem = ready(SurrogateComp(fitted(**case), vec_size=points))
    problem.run_model()
    moving = [name for name in names(case["inputs"]) if (name, case.get("frozen")) != ("w", (1,))]
    totals = problem.compute_totals(of=names(case["outputs"]), wrt=moving)
    assert all(np.abs(total).max() > 1e-3 for total in totals.values())


def test_partials_with_respect_to_a_constant_column_are_zero(fitted: Fitted, ready: Ready) -> None:
    problem = ready(SurrogateComp(fitted(**CASES["constant"])))
    problem.run_model()
    assert problem.compute_totals(of=["y"], wrt=["w"])["y", "w"][0, 0] == 0.0


@SHAPES
def test_several_points_have_the_partials_of_each_on_the_diagonal(
    fitted: Fitted, ready: Ready, case: dict[str, Any]
) -> None:
    surrogate = fitted(**case)
    problem = ready(SurrogateComp(surrogate, vec_size=5))
    problem.run_model()
    x = np.hstack([problem.get_val(name).reshape(5, -1) for name in names(case["inputs"])])
    dydx = surrogate.linearize(x)[1]
    totals = problem.compute_totals(of=names(case["outputs"]), wrt=names(case["inputs"]))
    of_slices, wrt_slices = column_slices(case["outputs"]), column_slices(case["inputs"])
    for (of, wrt), total in totals.items():
        expected = block_diag(*dydx[:, of_slices[of], wrt_slices[wrt]])
        np.testing.assert_allclose(total, expected, rtol=1e-14, atol=1e-14)


def test_only_the_diagonal_blocks_are_declared(fitted: Fitted, ready: Ready) -> None:
    problem = ready(SurrogateComp(fitted(**CASES["several"]), vec_size=5))
    problem.run_model()
    checked = problem.check_partials(method="cs", out_stream=None)["comp"]
    assert len(checked["load", "twist"]["rows"]) == 5 * 4 * 4
    assert len(checked["drag", "chord"]["rows"]) == 5 * 1 * 2


def test_no_partials_are_approximated(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate))
    problem.run_model()
    assert_no_approx_partials(problem.model)


@SOLVER_NOTICE
@POINTS
@METHODS
@MODES
@pytest.mark.parametrize("jacobian", [None, "csc", "dense"])
def test_totals_through_a_model_in_other_units_agree_with_approximations(
    fitted: Fitted,
    points: int,
    method: dict[str, Any],
    tolerance: float,
    mode: str,
    jacobian: str | None,
) -> None:
    problem = om.Problem(reports=None)
    chord = om.ExecComp(
        "chord = 20.0 + 60.0 * u", u={"shape": (points, 2)}, chord={"shape": (points, 2), "units": "cm"}
    )
    cost = om.ExecComp("cost = sum(drag**2)", drag={"shape": (points, 1), "units": "kN"})
    model = problem.model.add_subsystem("group", om.Group(), promotes=["u", "speed", "load", "cost"])
    model.add_subsystem("chord", chord, promotes_inputs=["u"])
    model.add_subsystem("comp", SurrogateComp(fitted(), vec_size=points), promotes=["speed", "load"])
    model.add_subsystem("cost", cost, promotes_outputs=["cost"])
    inner = None if points > 1 else om.slicer[0, :]
    model.connect("chord.chord", "comp.chord", src_indices=inner)
    model.connect("comp.drag", "cost.drag")
    if jacobian:
        model.linear_solver = om.DirectSolver(assemble_jac=True)
        model.options["assembled_jac_type"] = jacobian
    problem.setup(force_alloc_complex=True, mode=mode)
    rng = np.random.default_rng(3)
    problem.set_val("u", rng.uniform(0.1, 0.9, (points, 2)))
    problem.set_val("speed", rng.uniform(0.25, 0.75, problem.get_val("speed").shape))
    problem.run_model()
    checked = problem.check_totals(of=["load", "cost"], wrt=["u", "speed"], **method, out_stream=None)
    assert len(checked) == 4
    assert worst(checked, f"J_{mode}") <= tolerance
    assert_check_totals(checked, atol=tolerance, rtol=tolerance)


@MODES
@POINTS
def test_totals_approximated_by_complex_step_are_the_exact_ones(
    surrogate: Surrogate, ready: Ready, mode: str, points: int
) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=points), mode=mode)
    problem.run_model()
    of, wrt = ["drag", "load"], ["speed", "chord"]
    exact = problem.compute_totals(of=of, wrt=wrt)
    problem = ready(SurrogateComp(surrogate, vec_size=points), mode=mode)
    problem.model.approx_totals(method="cs")
    problem.run_model()
    approximate = problem.compute_totals(of=of, wrt=wrt)
    for pair, total in exact.items():
        np.testing.assert_allclose(approximate[pair], total, rtol=1e-12, atol=1e-14)


@SOLVER_NOTICE
def test_complex_step_passes_through_a_newton_solver(fitted: Fitted) -> None:
    """Newton's partials are then complex themselves."""

    def loop(approximated: bool) -> np.ndarray:
        problem = om.Problem(reports=None)
        surrogate = fitted(inputs=(Variable("x", (2,)),), outputs=(Variable("y", (2,)),))
        group = problem.model.add_subsystem("group", om.Group(), promotes=["*"])
        group.add_subsystem("comp", SurrogateComp(surrogate, extrapolate="allow"), promotes=["*"])
        feedback = om.AddSubtractComp("x", ["y", "b"], vec_size=2, scaling_factors=[0.3, 1.0])
        group.add_subsystem("feedback", feedback, promotes=["*"])
        group.nonlinear_solver = om.NewtonSolver(solve_subsystems=False, maxiter=20, atol=1e-14, rtol=1e-14, iprint=-1)
        group.linear_solver = om.DirectSolver()
        if approximated:
            problem.model.approx_totals(method="cs")
        problem.setup(force_alloc_complex=True)
        problem.set_val("b", [0.4, 0.5])
        problem.run_model()
        return problem.compute_totals(of=["y"], wrt=["b"])["y", "b"]

    np.testing.assert_allclose(loop(approximated=True), loop(approximated=False), rtol=1e-10)
