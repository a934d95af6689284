"""L-BFGS: honest about why it stopped, whatever the scale of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8, 1e-12])
def test_tolerance_is_relative_to_the_loss(taught: Taught, scale: float) -> None:
    """Small weights scale the loss but not its minimum, so they must not end the run early."""
    problem, teacher = taught(samples=30, beta=scale, gamma=scale)
    assert LBFGS().solve(problem, moved(teacher, 0.1)).loss < 1e-6 * scale


def test_infinite_loss_around_the_start_is_not_called_convergence(
    taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
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
