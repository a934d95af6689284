"""L-BFGS: the status is correct at any scale of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.errors import InputError
from gradopt.training.lbfgs import LBFGS
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Status

Taught = Callable[..., tuple[NetworkProblem, Tensor]]


def moved(theta: Tensor, distance: float) -> Tensor:
    return theta + distance * torch.tensor(np.random.default_rng(9).normal(size=len(theta)))


@dataclass(frozen=True, eq=False)
class Uphill(NetworkProblem):
    """A problem whose gradient has the wrong sign."""

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        loss, gradient = super().loss_and_gradient(theta, samples)
        return loss, -gradient


def test_converges_to_a_point_without_gradient(taught: Taught) -> None:
    problem, teacher = taught(samples=30, noise=0.3, alpha=1e-2)
    result = LBFGS().solve(problem, moved(teacher, 0.1))
    assert result.status is Status.CONVERGED
    assert float(problem.loss_and_gradient(result.theta)[1].norm()) < 1e-4


def test_loss_never_rises(taught: Taught) -> None:
    problem, teacher = taught(noise=0.3)
    history = LBFGS(max_iterations=50).solve(problem, moved(teacher, 1.0)).history
    assert all(then <= now for now, then in zip(history, history[1:], strict=False))


def test_iteration_limit_is_reported_and_kept(taught: Taught) -> None:
    problem, teacher = taught(noise=0.3)
    result = LBFGS(max_iterations=4).solve(problem, moved(teacher, 1.0))
    assert (result.status, result.iterations) == (Status.ITERATION_LIMIT, 4)


def test_gradient_of_the_wrong_sign_is_no_progress(taught: Taught) -> None:
    problem, teacher = taught()
    uphill = Uphill(problem.network, problem.x, problem.targets, problem.weights, problem.alpha)
    result = LBFGS().solve(uphill, moved(teacher, 0.3))
    assert (result.status, result.iterations) == (Status.NO_PROGRESS, 0)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-14, 2.0**20])
def test_nothing_depends_on_the_scale_of_the_loss(taught: Taught, scale: float) -> None:
    """Weights scale the loss but not its minimum; by a power of four they scale every number of the run exactly."""
    plain, teacher = taught(samples=30)
    scaled, _ = taught(samples=30, beta=scale, gamma=scale)
    usual, other = (LBFGS().solve(problem, moved(teacher, 0.1)) for problem in (plain, scaled))
    assert usual.status is other.status is Status.CONVERGED
    assert torch.equal(usual.theta, other.theta)
    assert other.loss == scale * usual.loss


def test_tolerance_is_relative_to_the_initial_loss(taught: Taught) -> None:
    problem, teacher = taught(samples=30, beta=1e-6, gamma=1e-6)
    history = LBFGS(tolerance=1e-3).solve(problem, moved(teacher, 0.1)).history
    drops = [(then - now) / history[0] for then, now in zip(history, history[1:], strict=False)]
    assert all(drop > 1e-3 for drop in drops[:-1])
    assert drops[-1] <= 1e-3
    assert (history[-2] - history[-1]) / history[-1] > 1e-3, "relative to the present loss the run would go on"


def test_small_weights_do_not_end_the_run_early(taught: Taught) -> None:
    problem, teacher = taught(samples=30, beta=1e-12, gamma=1e-12)
    result = LBFGS().solve(problem, moved(teacher, 0.1))
    assert result.loss < 1e-5 * result.history[0]


def test_infinite_loss_around_the_start_is_no_convergence(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, teacher = taught()
    start = moved(teacher, 0.3)
    genuine = NetworkProblem.loss_and_gradient

    def bounded(self: NetworkProblem, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        return genuine(self, theta) if torch.equal(theta, start) else (torch.inf, torch.full_like(theta, torch.inf))

    monkeypatch.setattr(NetworkProblem, "loss_and_gradient", bounded)
    assert LBFGS().solve(problem, start).status is Status.NOT_FINITE


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_loss_that_turns_not_finite_ends_the_run_with_the_best_finite_state(
    taught: Taught, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, teacher = taught()
    genuine = NetworkProblem.loss_and_gradient
    calls = iter(range(1000))

    def failing(self: NetworkProblem, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        return genuine(self, theta) if next(calls) < 10 else (bad, torch.full_like(theta, bad))

    monkeypatch.setattr(NetworkProblem, "loss_and_gradient", failing)
    result = LBFGS().solve(problem, moved(teacher, 0.3))
    assert result.status is Status.NOT_FINITE
    assert result.loss == genuine(problem, result.theta)[0] < result.history[0]


@pytest.mark.parametrize(
    "other",
    [{"max_iterations": 3}, {"tolerance": 1e-2}, {"memory": 1}, {"time_limit": 0.0}],
    ids=lambda other: next(iter(other)),
)
def test_option_changes_the_result(taught: Taught, other: dict[str, float]) -> None:
    problem, teacher = taught(noise=0.3)
    solver = LBFGS(max_iterations=30)
    usual, changed = (s.solve(problem, moved(teacher, 1.0)) for s in (solver, replace(solver, **other)))  # type: ignore[arg-type]
    assert changed.history != usual.history


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_iterations": 2.5}, "`max_iterations` must be a whole number of at least 0, got 2.5"),
        ({"max_iterations": -1}, "`max_iterations` must be a whole number of at least 0, got -1"),
        ({"tolerance": -1.0}, "`tolerance` must be finite and not negative, got -1.0"),
        ({"tolerance": float("nan")}, "`tolerance` must be finite and not negative, got nan"),
        ({"tolerance": "tight"}, "`tolerance` must be finite and not negative, got tight"),
        ({"time_limit": float("nan")}, "`time_limit` must be None or a number of seconds, got nan"),
        ({"memory": 0}, "`memory` must be a whole number of at least 1, got 0"),
        ({"memory": 2.5}, "`memory` must be a whole number of at least 1, got 2.5"),
    ],
)
def test_impossible_option_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LBFGS(**fields)


def test_numpy_numbers_become_plain_ones() -> None:
    solver = LBFGS(max_iterations=np.int64(7), tolerance=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(solver.max_iterations), type(solver.tolerance)) == (int, float)
    assert solver == LBFGS(max_iterations=7, tolerance=0.5)
