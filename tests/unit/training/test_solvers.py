"""The contract of a solver, on networks and on a problem without network; names and the automatic choice."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from gradopt.errors import InputError
from gradopt.training.adam import Adam
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.problem import FitProblem
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Progress, Status
from gradopt.training.solvers import SOLVERS, Solver, check_solver, get_solver

Taught = Callable[..., tuple[NetworkProblem, Tensor]]
START = torch.tensor([-1.2, 1.0], dtype=torch.float64)
every_solver = pytest.mark.parametrize(
    "solver",
    [LevenbergMarquardt(), LBFGS(), Adam(1500, learning_rate=0.1)],
    ids=lambda s: type(s).__name__,
)


def sized(residuals: int, parameters: int, samples: int) -> FitProblem:
    """Make an object with these sizes, on which the automatic choice depends."""
    return cast(FitProblem, SimpleNamespace(n_residuals=residuals, n_parameters=parameters, n_samples=samples))


@every_solver
def test_solver_works_on_a_problem_without_network(solver: Solver, rosenbrock: FitProblem) -> None:
    result = solver.solve(rosenbrock, START)
    torch.testing.assert_close(result.theta, torch.ones_like(START), rtol=0.0, atol=2e-3)


@every_solver
def test_solver_lowers_the_loss_of_a_network(solver: Solver, taught: Taught) -> None:
    problem, teacher = taught()
    result = solver.solve(problem, teacher + 0.3)
    assert result.loss < 0.01 * result.history[0]


@every_solver
def test_reported_loss_is_the_loss_at_the_reported_parameters(solver: Solver, taught: Taught) -> None:
    problem, teacher = taught(alpha=0.1, noise=0.2)
    result = solver.solve(problem, teacher + 0.3, lambda progress: progress.iteration == 20)
    assert problem.loss_and_gradient(result.theta)[0] == pytest.approx(result.loss, rel=1e-12)


@every_solver
def test_history_begins_with_the_loss_at_the_start(solver: Solver, rosenbrock: FitProblem) -> None:
    history = solver.solve(rosenbrock, START, lambda progress: True).history
    assert len(history) == 2
    assert history[0] == pytest.approx(rosenbrock.loss_and_gradient(START)[0], rel=1e-12)


@every_solver
def test_initial_parameters_are_not_changed(solver: Solver, rosenbrock: FitProblem) -> None:
    start = START.clone()
    solver.solve(rosenbrock, start, lambda progress: progress.iteration == 5)
    assert torch.equal(start, START)
    assert not start.requires_grad


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_keep_the_type_of_the_problem(solver: Solver, dtype: torch.dtype, taught: Taught) -> None:
    problem, teacher = taught()
    tensors = (part.to(dtype) for part in (problem.x, problem.targets, problem.weights, problem.alpha))
    result = solver.solve(NetworkProblem(problem.network, *tensors), teacher.to(dtype) + 0.3, lambda progress: True)
    assert result.theta.dtype is dtype
    assert not result.theta.requires_grad


@every_solver
def test_callback_stops_the_solver(solver: Solver, rosenbrock: FitProblem) -> None:
    heard: list[Progress] = []

    def callback(progress: Progress) -> bool:
        heard.append(progress)
        return len(heard) == 3

    result = solver.solve(rosenbrock, START, callback)
    assert (result.status, result.iterations) == (Status.STOPPED, 3)
    assert [progress.iteration for progress in heard] == [1, 2, 3]
    assert tuple(progress.loss for progress in heard) == result.history[1:]


@every_solver
def test_interruption_keeps_the_best_state(solver: Solver, rosenbrock: FitProblem) -> None:
    def callback(progress: Progress) -> None:
        if progress.iteration == 4:
            raise KeyboardInterrupt

    result = solver.solve(rosenbrock, START, callback)
    assert (result.status, result.iterations) == (Status.INTERRUPTED, 4)
    assert result.loss == min(result.history) < result.history[0]


@every_solver
def test_start_without_a_finite_loss_is_reported(solver: Solver, rosenbrock: FitProblem) -> None:
    result = solver.solve(rosenbrock, torch.full_like(START, torch.nan))
    assert (result.status, result.iterations) == (Status.NOT_FINITE, 0)
    assert math.isnan(result.loss)


@pytest.mark.parametrize("kind", SOLVERS.values())
def test_time_limit_stops_the_solver(kind: type[LevenbergMarquardt | LBFGS | Adam], rosenbrock: FitProblem) -> None:
    assert kind(time_limit=0.0).solve(rosenbrock, START).status is Status.TIME_LIMIT


@pytest.mark.parametrize(
    ("name", "kind"), [("levenberg_marquardt", LevenbergMarquardt), ("lbfgs", LBFGS), ("adam", Adam)]
)
def test_name_finds_the_solver(name: str, kind: type, rosenbrock: FitProblem) -> None:
    assert get_solver(name, rosenbrock) == kind()


def test_solver_object_is_used_as_it_is(rosenbrock: FitProblem) -> None:
    solver = LBFGS(memory=3)
    assert get_solver(solver, rosenbrock) is solver


@pytest.mark.parametrize(
    ("residuals", "parameters", "samples", "kind"),
    [
        (10_000, 1_000, 20_000, LevenbergMarquardt),  # work of exactly 1e10
        (1_000, 10_000, 1_000, LevenbergMarquardt),
        (10_001, 1_000, 1_000, LBFGS),
        (1_001, 10_000, 1_000, LBFGS),
        (10_001, 1_000, 1_001, Adam),
    ],
)
def test_auto_depends_on_work_then_samples(residuals: int, parameters: int, samples: int, kind: type) -> None:
    assert get_solver("auto", sized(residuals, parameters, samples)) == kind()


@pytest.mark.parametrize("solver", ["auto", *SOLVERS, Adam(), LBFGS(), LevenbergMarquardt()], ids=str)
def test_known_solver_passes_the_check(solver: Any) -> None:
    check_solver(solver)


@pytest.mark.parametrize("solver", ["sgd", "LBFGS", Adam, None, 3], ids=str)
def test_unknown_solver_is_refused_with_the_known_ones(solver: Any, rosenbrock: FitProblem) -> None:
    known = "'auto', 'levenberg_marquardt', 'lbfgs', 'adam' or a solver object"
    with pytest.raises(InputError, match=f"`solver` must be one of {known}, got .*max_iterations=1000"):
        get_solver(solver, rosenbrock)
