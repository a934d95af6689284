"""Levenberg-Marquardt: exact steps in both spaces, quadratic convergence, correct status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.errors import InputError
from gradopt.training.levenberg_marquardt import LevenbergMarquardt, _parameter_space_step, _residual_space_step
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Status

Taught = Callable[..., tuple[NetworkProblem, Tensor]]


def moved(theta: Tensor, distance: float) -> Tensor:
    return theta + distance * torch.tensor(np.random.default_rng(9).normal(size=len(theta)))


@dataclass(frozen=True, eq=False)
class Uphill(NetworkProblem):
    """A problem whose Jacobian has the wrong sign, so that every step raises the loss."""

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        for residuals, jacobian in super().linearized(theta, memory_limit):
            yield residuals, -jacobian


@dataclass(frozen=True, eq=False)
class Overflowing(NetworkProblem):
    """A problem whose Jacobian is finite and the square of it is not."""

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        for residuals, jacobian in super().linearized(theta, memory_limit):
            yield residuals, 1e200 * jacobian


@dataclass(frozen=True, eq=False)
class Scripted(NetworkProblem):
    """A problem whose loss comes from a list, then is NaN; gradient and Jacobian are genuine."""

    losses: list[float] = field(default_factory=list)

    def residuals(self, theta: Tensor) -> Tensor:
        loss = self.losses.pop(0) if self.losses else np.nan
        return torch.tensor([np.sqrt(2.0 * loss)], dtype=torch.float64)


def scripted(taught: Taught, losses: list[float]) -> tuple[NetworkProblem, Tensor]:
    problem, teacher = taught(noise=0.3)
    made = Scripted(problem.network, problem.x, problem.targets, problem.weights, problem.alpha, list(losses))
    return made, moved(teacher, 1.0)


@pytest.mark.parametrize("mu", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize(("rows", "columns"), [(5, 12), (12, 12), (30, 12)])
def test_steps_in_both_spaces_equal_a_dense_solve(rows: int, columns: int, mu: float) -> None:
    rng = np.random.default_rng(rows)
    jacobian, residuals, theta = rng.normal(size=(rows, columns)), rng.normal(size=rows), rng.normal(size=columns)
    alpha = rng.uniform(0.01, 1.0, size=columns)
    normal, gradient = jacobian.T @ jacobian + np.diag(alpha), jacobian.T @ residuals + alpha * theta
    expected = torch.tensor(np.linalg.solve(normal + mu * np.eye(columns), -gradient))
    j, r, a, prior = (torch.tensor(array) for array in (jacobian, residuals, alpha, alpha * theta))
    by_parameters = _parameter_space_step(torch.tensor(normal), torch.tensor(gradient), mu)
    torch.testing.assert_close(by_parameters, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(_residual_space_step(j, r, prior, a + mu), expected, rtol=1e-9, atol=1e-11)


def test_indefinite_matrix_gives_no_step_in_parameter_space() -> None:
    assert _parameter_space_step(-torch.eye(3), torch.ones(3), 0.5) is None


def test_undamped_parameters_give_no_step_in_residual_space() -> None:
    assert _residual_space_step(torch.eye(2, 3), torch.ones(2), torch.zeros(3), torch.zeros(3)) is None


@pytest.mark.parametrize("samples", [3, 20])
def test_space_and_chunks_do_not_change_the_run(taught: Taught, samples: int) -> None:
    """With 3 samples and ample memory steps are taken in the space of residuals, else in that of parameters."""
    problem, teacher = taught((2, 5, 1), samples=samples, alpha=1e-3, noise=0.1)
    assert (problem.n_residuals < problem.n_parameters) == (samples == 3)
    runs = [
        LevenbergMarquardt(max_iterations=8, memory_limit=limit).solve(problem, moved(teacher, 0.3))
        for limit in (2**30, 1)
    ]
    torch.testing.assert_close(runs[0].theta, runs[1].theta, rtol=1e-7, atol=1e-9)
    assert runs[0].history == pytest.approx(runs[1].history, rel=1e-7)


def test_with_enough_memory_few_residuals_are_solved_in_their_own_space(
    taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Tensor) -> Tensor:
        raise AssertionError("the space of the parameters is the larger one")

    monkeypatch.setattr("gradopt.training.levenberg_marquardt._parameter_space_step", refuse)
    problem, teacher = taught((2, 5, 1), samples=3)
    assert LevenbergMarquardt(max_iterations=3).solve(problem, moved(teacher, 0.3)).iterations == 3


@pytest.mark.parametrize("seed", [1, 6, 8])
def test_convergence_is_quadratic_where_the_residuals_vanish(taught: Taught, seed: int) -> None:
    """The condition number of J of these problems is below 1e4, so that the quadratic region is wide."""
    problem, teacher = taught((2, 4, 1), samples=40, seed=seed)
    result = LevenbergMarquardt(damping=0.0).solve(problem, moved(teacher, 1e-3))
    fast = [(now, then) for now, then in zip(result.history, result.history[1:], strict=False) if 1e-25 < now < 1e-3]
    assert result.loss < 1e-27
    assert len(fast) >= 3
    assert all(then <= 1e6 * now**2 + 1e-28 for now, then in fast)


def test_loss_falls_at_every_iteration(taught: Taught) -> None:
    problem, teacher = taught(noise=0.3, alpha=1e-3)
    history = LevenbergMarquardt(max_iterations=50).solve(problem, moved(teacher, 1.0)).history
    assert all(then < now for now, then in zip(history, history[1:], strict=False))


def test_minimum_of_noisy_data_has_no_gradient(taught: Taught) -> None:
    problem, teacher = taught(samples=30, noise=0.3, alpha=1e-2)
    result = LevenbergMarquardt(tolerance=1e-8).solve(problem, moved(teacher, 0.1))
    gradient = problem.loss_and_gradient(result.theta)[1]
    assert result.status is Status.CONVERGED
    assert float(gradient.norm()) < 1e-4 * float(problem.loss_and_gradient(moved(teacher, 0.1))[1].norm())


def test_start_at_the_minimum_converges_at_once(taught: Taught) -> None:
    problem, teacher = taught()
    result = LevenbergMarquardt().solve(problem, teacher)
    assert (result.status, result.iterations) == (Status.CONVERGED, 0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("samples", [3, 12])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_start_within_rounding_of_the_minimum_is_convergence(
    taught: Taught, samples: int, scale: float, seed: int
) -> None:
    problem, teacher = taught(samples=samples, beta=scale, gamma=scale, seed=seed)
    result = LevenbergMarquardt().solve(problem, teacher * (1.0 + 1e-16 * np.random.default_rng(0).normal()))
    assert result.status is Status.CONVERGED
    assert result.loss < 1e-28 * scale


def test_start_at_the_minimum_of_noisy_data_is_convergence(taught: Taught) -> None:
    problem, teacher = taught(samples=30, noise=0.3, alpha=1e-2)
    found = LevenbergMarquardt(tolerance=0.0).solve(problem, moved(teacher, 0.1))
    again = LevenbergMarquardt().solve(problem, found.theta)
    assert again.status is Status.CONVERGED
    assert again.loss == pytest.approx(found.loss, rel=1e-12)


@pytest.mark.parametrize("samples", [3, 20])
def test_nothing_depends_on_the_scale_of_the_loss(taught: Taught, samples: int) -> None:
    """A power of four scales every number of the run exactly."""
    scale = 2.0**-40
    plain, teacher = taught(samples=samples, noise=0.3, alpha=1e-3)
    scaled, _ = taught(samples=samples, noise=0.3, alpha=scale * 1e-3, beta=scale, gamma=scale)
    solver = LevenbergMarquardt(max_iterations=20)
    assert (plain.n_residuals < plain.n_parameters) == (samples == 3)
    usual, other = (solver.solve(problem, moved(teacher, 0.3)) for problem in (plain, scaled))
    torch.testing.assert_close(usual.theta, other.theta, rtol=1e-9, atol=1e-11)
    assert [scale * loss for loss in usual.history] == pytest.approx(list(other.history), rel=1e-9)
    assert usual.status is other.status


def test_jacobian_that_overflows_ends_the_run(taught: Taught) -> None:
    problem, teacher = taught()
    result = Overflowing(problem.network, problem.x, problem.targets, problem.weights, problem.alpha)
    assert LevenbergMarquardt().solve(result, moved(teacher, 0.3)).status is Status.NOT_FINITE


# Bookkeeping, with losses by script -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spoiler", [0.5, 1e-7])
def test_negligible_decreases_count_only_in_a_row(taught: Taught, spoiler: float) -> None:
    losses = 1.0 - np.cumsum([0.0, *[1e-10] * 9, spoiler, *[1e-10] * 10, 1e-10])
    result = LevenbergMarquardt(tolerance=1e-8).solve(*scripted(taught, list(losses)))
    assert (result.status, result.iterations) == (Status.CONVERGED, 20)


def test_decrease_of_just_the_tolerance_is_negligible(taught: Taught) -> None:
    losses = [0.5 * 0.25**k for k in range(30)]  # exact, and so are their roots
    result = LevenbergMarquardt(tolerance=0.75).solve(*scripted(taught, losses))
    assert (result.status, result.iterations) == (Status.CONVERGED, 10)


@pytest.mark.parametrize(("losses", "status"), [([1.0, 1.0 - 1e-10], "CONVERGED"), ([1.0, 0.9], "NO_PROGRESS")])
def test_rejected_steps_at_the_end_are_convergence_only_after_a_negligible_decrease(
    taught: Taught, losses: list[float], status: str
) -> None:
    """The losses end in NaN: every later step is rejected, though the loss could fall far."""
    result = LevenbergMarquardt(damping=1e6).solve(*scripted(taught, losses))
    assert (result.status, result.iterations) == (Status[status], 1)


def test_negligible_decrease_before_a_large_one_does_not_count_at_the_end(taught: Taught) -> None:
    result = LevenbergMarquardt(damping=1e6).solve(*scripted(taught, [1.0, 1.0 - 1e-10, 0.5]))
    assert (result.status, result.iterations) == (Status.NO_PROGRESS, 2)


def test_loss_of_zero_is_convergence_at_once(taught: Taught) -> None:
    result = LevenbergMarquardt(damping=1e6).solve(*scripted(taught, [1.0, 0.5, 0.0]))
    assert (result.status, result.iterations, result.loss) == (Status.CONVERGED, 2, 0.0)


def test_equal_loss_is_rejected(taught: Taught) -> None:
    result = LevenbergMarquardt(max_iterations=1).solve(*scripted(taught, [1.0, 1.0, 1.0, 0.5]))
    assert result.history == pytest.approx((1.0, 0.5))


def test_iteration_limit_is_reported_and_kept(taught: Taught) -> None:
    problem, teacher = taught(noise=0.3)
    result = LevenbergMarquardt(max_iterations=4).solve(problem, moved(teacher, 1.0))
    assert (result.status, result.iterations) == (Status.ITERATION_LIMIT, 4)


def test_steps_that_never_lower_the_loss_are_no_progress(taught: Taught) -> None:
    problem, teacher = taught()
    uphill = Uphill(problem.network, problem.x, problem.targets, problem.weights, problem.alpha)
    result = LevenbergMarquardt().solve(uphill, moved(teacher, 0.3))
    assert (result.status, result.iterations) == (Status.NO_PROGRESS, 0)
    assert torch.equal(result.theta, moved(teacher, 0.3))


def test_step_to_a_loss_that_is_not_finite_is_rejected(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, teacher = taught()
    start = moved(teacher, 0.3)
    genuine = NetworkProblem.residuals

    def bounded(self: NetworkProblem, theta: Tensor) -> Tensor:
        return genuine(self, theta) if float((theta - start).norm()) < 0.1 else torch.full((36,), torch.nan)

    monkeypatch.setattr(NetworkProblem, "residuals", bounded)
    result = LevenbergMarquardt(max_iterations=5).solve(problem, start)
    assert result.iterations > 0
    assert result.loss < result.history[0]


@pytest.fixture
def dampings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the damping of every step in the space of the parameters."""
    tried: list[float] = []

    def noting(matrix: Tensor, gradient: Tensor, mu: float) -> Tensor | None:
        tried.append(mu)
        return _parameter_space_step(matrix, gradient, mu)

    monkeypatch.setattr("gradopt.training.levenberg_marquardt._parameter_space_step", noting)
    return tried


def largest_diagonal(problem: NetworkProblem, theta: Tensor) -> float:
    return max(float((jacobian**2).sum(dim=0).max()) for _, jacobian in problem.linearized(theta, 2**30))


@pytest.mark.parametrize("alpha", [0.0, 100.0])
def test_damping_starts_as_a_fraction_of_the_largest_diagonal_entry(
    taught: Taught, dampings: list[float], alpha: float
) -> None:
    problem, teacher = taught(noise=0.3, alpha=alpha, beta=7.0)
    start = moved(teacher, 1.0)
    LevenbergMarquardt(max_iterations=1, damping=0.02).solve(problem, start)
    assert dampings[0] == pytest.approx(0.02 * largest_diagonal(problem, start), rel=1e-12)


def test_damping_falls_to_a_third_where_the_model_is_exact(taught: Taught, dampings: list[float]) -> None:
    problem, teacher = taught((2, 1), noise=0.3)
    start = moved(teacher, 1.0)
    LevenbergMarquardt(max_iterations=3, damping=9.0).solve(problem, start)
    unit = largest_diagonal(problem, start)
    assert dampings == pytest.approx([9.0 * unit, 3.0 * unit, unit], rel=1e-6)


def test_damping_grows_ever_faster_while_steps_are_rejected(taught: Taught, dampings: list[float]) -> None:
    problem, teacher = taught()
    uphill = Uphill(problem.network, problem.x, problem.targets, problem.weights, problem.alpha)
    LevenbergMarquardt(damping=1.0).solve(uphill, moved(teacher, 0.3))
    assert [mu / dampings[0] for mu in dampings[:4]] == pytest.approx([1.0, 2.0, 8.0, 64.0], rel=1e-12)


def test_growth_of_the_damping_starts_anew_after_an_accepted_step(taught: Taught, dampings: list[float]) -> None:
    """Losses: first, two rejected, one accepted, three rejected, one accepted."""
    problem, start = scripted(taught, [1.0, 2.0, 2.0, 0.9, 2.0, 2.0, 2.0, 0.8])
    LevenbergMarquardt(max_iterations=2).solve(problem, start)
    growths = [then / now for now, then in zip(dampings, dampings[1:], strict=False)]
    assert growths[:2] == pytest.approx([2.0, 4.0], rel=1e-12)
    assert growths[3:] == pytest.approx([2.0, 4.0, 8.0], rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_ten_negligible_decreases_in_a_row_are_convergence(taught: Taught, scale: float) -> None:
    problem, teacher = taught(beta=scale, gamma=scale, noise=0.3)
    result = LevenbergMarquardt(tolerance=0.2).solve(problem, moved(teacher, 1.0))
    negligible = [then >= 0.8 * now for now, then in zip(result.history, result.history[1:], strict=False)]
    assert result.status is Status.CONVERGED
    assert negligible[-11:] == [False] + [True] * 10


@pytest.mark.parametrize(
    "other",
    [{"max_iterations": 3}, {"tolerance": 0.5}, {"damping": 10.0}, {"time_limit": 0.0}],
    ids=lambda other: next(iter(other)),
)
def test_option_changes_the_result(taught: Taught, other: dict[str, float]) -> None:
    problem, teacher = taught(noise=0.3)
    solver = LevenbergMarquardt(max_iterations=30)
    usual, changed = (s.solve(problem, moved(teacher, 1.0)) for s in (solver, replace(solver, **other)))  # type: ignore[arg-type]
    assert changed.history != usual.history


def test_undamped_start_recovers_from_a_singular_matrix(taught: Taught) -> None:
    problem, teacher = taught((2, 5, 1), samples=3)
    result = LevenbergMarquardt(damping=0.0).solve(problem, moved(teacher, 0.1))
    assert result.status is Status.CONVERGED
    assert result.loss < 1e-12


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_iterations": 2.5}, "`max_iterations` must be a whole number of at least 0, got 2.5"),
        ({"max_iterations": -1}, "`max_iterations` must be a whole number of at least 0, got -1"),
        ({"tolerance": -1.0}, "`tolerance` must be finite and not negative, got -1.0"),
        ({"tolerance": float("nan")}, "`tolerance` must be finite and not negative, got nan"),
        ({"tolerance": "tight"}, "`tolerance` must be finite and not negative, got tight"),
        ({"time_limit": float("nan")}, "`time_limit` must be None or a number of seconds, got nan"),
        ({"damping": -1.0}, "`damping` must be finite and not negative, got -1.0"),
        ({"damping": float("nan")}, "`damping` must be finite and not negative, got nan"),
        ({"memory_limit": 0}, "`memory_limit` must be a whole number of at least 1, got 0"),
    ],
)
def test_impossible_option_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LevenbergMarquardt(**fields)


def test_numpy_numbers_become_plain_ones() -> None:
    solver = LevenbergMarquardt(max_iterations=np.int64(7), tolerance=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(solver.max_iterations), type(solver.tolerance)) == (int, float)
    assert solver == LevenbergMarquardt(max_iterations=7, tolerance=0.5)
