"""A run that fails is a failed row and has no effect on the next run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt.truth.model import ModelTruth
from gradopt.truth.protocol import Evaluations, PointStatus

OK, FAILED, NOT_FINITE = PointStatus.OK, PointStatus.FAILED, PointStatus.NOT_FINITE


class Moody(om.ExplicitComponent):  # type: ignore[misc]
    """y = x^2, with a hook for everything else."""

    def __init__(self, hook: Callable[[float], float | None]) -> None:
        super().__init__()
        self._hook = hook

    def setup(self) -> None:
        self.add_input("x")
        self.add_output("y", ref=50.0)
        self.declare_partials("y", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        given = self._hook(inputs["x"][0])
        outputs["y"] = inputs["x"] ** 2 if given is None else given

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        x = inputs["x"][0]
        partials["y", "x"] = {6.0: np.inf, 7.0: np.nan}.get(x, 2.0 * x)
        if x == 8.0:
            raise om.AnalysisError("no adjoint")


def moody(hook: Callable[[float], float | None], **options: Any) -> ModelTruth:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("moody", Moody(hook), promotes=["*"])
        problem.model.add_subsystem("after", om.ExecComp("twice = 2 * y"), promotes=["*"])
        return problem

    return ModelTruth(factory, ["x"], ["y", "twice"], check_totals=False, **options)


def raising(error: Exception) -> Callable[[float], float | None]:
    def hook(x: float) -> float | None:
        if x == 5.0:
            raise error
        return None

    return hook


def check_rows(found: Evaluations, status: PointStatus, message: str) -> None:
    """Rows at 1, the bad point, and 3: the good ones are right, the bad one is empty."""
    assert found.status == (OK, status, OK)
    assert found.message[1].endswith(message) and found.message[0] == found.message[2] == ""
    assert found.y[[0, 2]].tolist() == [[1.0, 2.0], [9.0, 18.0]]
    np.testing.assert_allclose(found.dydx[[0, 2], :, 0], [[2.0, 4.0], [6.0, 12.0]])
    assert np.isnan(found.y[1]).all() and np.isnan(found.dydx[1]).all()


def test_an_analysis_error_is_a_failed_row() -> None:
    truth = moody(raising(om.AnalysisError("stall")))
    check_rows(truth.evaluate([[1.0], [5.0], [3.0]]), FAILED, "stall")


def test_listed_exceptions_are_failed_rows() -> None:
    truth = moody(raising(FloatingPointError("overflow")), failures=[FloatingPointError])
    found = truth.evaluate([[1.0], [5.0], [3.0]])
    check_rows(found, FAILED, "overflow")
    assert found.message[1].startswith("FloatingPointError: ")


def test_other_exceptions_are_raised_and_the_truth_can_still_be_used() -> None:
    truth = moody(raising(FloatingPointError("overflow")))
    with pytest.raises(FloatingPointError, match="overflow") as caught:
        truth.evaluate([[1.0], [5.0]])
    assert any("x = [5.0]" in note for note in caught.value.__notes__)
    assert truth.evaluate([[3.0]]).y.tolist() == [[9.0, 18.0]]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_failed_rows(bad: float) -> None:
    truth = moody(lambda x: bad if x == 5.0 else None)
    check_rows(truth.evaluate([[1.0], [5.0], [3.0]]), NOT_FINITE, f"y[0] is {bad}")


def test_infinite_totals_are_failed_rows() -> None:
    check_rows(moody(lambda x: None).evaluate([[1.0], [6.0], [3.0]]), NOT_FINITE, "dydx[0, 0] is inf")


def test_totals_that_fail_are_failed_rows() -> None:
    check_rows(moody(lambda x: None).evaluate([[1.0], [8.0], [3.0]]), FAILED, "no adjoint")


def test_undefined_totals_are_unknown_partials() -> None:
    found = moody(lambda x: None).evaluate([[1.0], [7.0], [3.0]])
    assert found.ok.all() and found.y[1].tolist() == [49.0, 98.0]
    assert np.isnan(found.dydx[1]).all() and np.isfinite(found.dydx[[0, 2]]).all()


def root(solver: Callable[..., Any], **options: Any) -> om.Problem:
    """y with y^3 + y = x; Newton's method starts at y."""
    problem = om.Problem(reports=None)
    problem.options["group_by_pre_opt_post"] = False
    problem.model.add_subsystem("cubic", Cubic(), promotes=["*"])
    problem.model.nonlinear_solver = solver(iprint=-1, **options)
    problem.model.linear_solver = om.DirectSolver()
    return problem


class Cubic(om.ImplicitComponent):  # type: ignore[misc]
    """y^3 + y = x, undefined at x = 5."""

    def setup(self) -> None:
        self.add_input("x")
        self.add_output("y", 1.0, ref=3.0)
        self.declare_partials("y", ["x", "y"])

    def apply_nonlinear(self, inputs: Any, outputs: Any, residuals: Any) -> None:
        x, y = inputs["x"], outputs["y"]
        residuals["y"] = np.nan if x[0] == 5.0 else y**3 + y - x

    def linearize(self, inputs: Any, outputs: Any, partials: Any) -> None:
        partials["y", "x"], partials["y", "y"] = -1.0, 3.0 * outputs["y"] ** 2 + 1.0


def newton(**options: Any) -> om.NewtonSolver:
    return om.NewtonSolver(solve_subsystems=False, **options)


def test_a_solver_that_diverges_is_a_failed_row_and_the_next_run_starts_afresh() -> None:
    truth = ModelTruth(lambda: root(newton), ["x"], ["y"])
    found = truth.evaluate([[2.0], [5.0], [10.0]])
    assert found.status == (OK, FAILED, OK) and "NaN" in found.message[1]
    np.testing.assert_allclose(found.y[[0, 2], 0], [1.0, 2.0], rtol=1e-9)
    np.testing.assert_allclose(found.dydx[[0, 2], 0, 0], [1.0 / 4.0, 1.0 / 13.0], rtol=1e-9)


class Feedback(om.ExplicitComponent):  # type: ignore[misc]
    """y = x - back / 2; undefined at x = 5, and at x = 6 it breaks once it has been called twice."""

    def setup(self) -> None:
        self.add_input("x")
        self.add_input("back", 0.0)
        self.add_output("y")
        self.declare_partials("y", "x", val=1.0)
        self.declare_partials("y", "back", val=-0.5)
        self.calls = 0

    def compute(self, inputs: Any, outputs: Any) -> None:
        x = inputs["x"][0]
        self.calls = self.calls + 1 if x == 6.0 else 0
        if self.calls > 2:
            raise om.AnalysisError("broke")
        outputs["y"] = np.nan if x == 5.0 else x - 0.5 * inputs["back"]


def loop() -> om.Problem:
    """y = x - back / 2 with back = y: y = 2 x / 3."""
    problem = om.Problem(reports=None)
    problem.options["group_by_pre_opt_post"] = False
    problem.model.add_subsystem("feedback", Feedback(), promotes=["*"])
    problem.model.add_subsystem("back", om.ExecComp("back = y"), promotes=["*"])
    problem.model.nonlinear_solver = om.NonlinearBlockGS(iprint=-1, maxiter=60)
    problem.model.linear_solver = om.DirectSolver()
    return problem


def test_values_that_are_not_finite_do_not_reach_the_next_run() -> None:
    truth = ModelTruth(loop, ["x"], ["y"], require_convergence=False)
    found = truth.evaluate([[3.0], [5.0], [9.0]])
    assert found.status == (OK, NOT_FINITE, OK)
    np.testing.assert_allclose(found.y[[0, 2], 0], [2.0, 6.0], rtol=1e-9)


def test_a_component_that_fails_within_a_loop_is_not_taken_for_converged() -> None:
    found = ModelTruth(loop, ["x"], ["y"]).evaluate([[3.0], [6.0], [9.0]])
    assert found.status == (OK, FAILED, OK) and "broke" in found.message[1]
    np.testing.assert_allclose(found.y[[0, 2], 0], [2.0, 6.0], rtol=1e-9)


def test_a_first_run_that_diverges_leaves_the_initial_guess() -> None:
    truth = ModelTruth(lambda: root(newton), ["x"], ["y"])
    assert truth.evaluate([[5.0], [10.0]]).ok.tolist() == [False, True]


def test_a_solver_that_does_not_converge_is_a_failed_row() -> None:
    truth = ModelTruth(lambda: root(newton, maxiter=3), ["x"], ["y"], check_totals=False)
    found = truth.evaluate([[2.0], [1e6], [2.1]])
    assert found.ok.tolist() == [True, False, True] and "failed to converge in 3 iterations" in found.message[1]
    lenient = ModelTruth(
        lambda: root(newton, maxiter=3), ["x"], ["y"], check_totals=False, require_convergence=False
    ).evaluate([[1e6]])
    assert lenient.ok.all() and lenient.y[0, 0] > 101.0  # far from the root, 99.99


def nested(outer: Any, inner_iterations: int) -> om.Problem:
    """y^3 + y = x in an inner group that stops early; the outer solver is what counts."""
    problem = om.Problem(reports=None)
    problem.options["group_by_pre_opt_post"] = False
    middle = problem.model.add_subsystem("middle", om.Group(), promotes=["*"])
    inner = middle.add_subsystem("inner", om.Group(), promotes=["*"])
    inner.add_subsystem("cubic", Cubic(), promotes=["*"])
    inner.nonlinear_solver = newton(maxiter=inner_iterations, iprint=-1)
    inner.linear_solver = om.DirectSolver()
    problem.model.add_subsystem("after", om.ExecComp("twice = 2 * y"), promotes=["*"])
    problem.model.nonlinear_solver = outer
    problem.model.linear_solver = om.DirectSolver()
    return problem


@pytest.mark.parametrize(
    ("outer", "fails"),
    [
        (lambda: om.NewtonSolver(solve_subsystems=True, max_sub_solves=5, iprint=-1, maxiter=30), False),
        (lambda: om.NonlinearBlockGS(use_apply_nonlinear=True, iprint=-1, maxiter=30), False),
        (lambda: om.NonlinearBlockGS(iprint=-1, maxiter=30), True),
        (lambda: om.NonlinearRunOnce(), True),
    ],
    ids=["newton", "residuals", "changes", "once"],
)
def test_an_inner_solver_may_stop_early_where_the_outer_one_checks_its_residuals(outer: Any, fails: bool) -> None:
    truth = ModelTruth(lambda: nested(outer(), 2), ["x"], ["y"], check_totals=False)
    found = truth.evaluate([[1000.0]])
    assert bool(found.ok[0]) is not fails, found.message
    if not fails:
        np.testing.assert_allclose(found.y[0, 0] ** 3 + found.y[0, 0], 1000.0, rtol=1e-8)


def test_a_run_starts_where_the_last_good_one_ended() -> None:
    truth = ModelTruth(lambda: root(newton, maxiter=5), ["x"], ["y"], check_totals=False)
    assert not truth.evaluate([[300.0]]).ok[0]  # too far from the initial guess
    steps = truth.evaluate([[2.0], [4.0], [8.0], [16.0], [32.0], [64.0], [128.0], [5.0], [300.0]])
    assert steps.ok.tolist() == [True] * 7 + [False, True], steps.message
