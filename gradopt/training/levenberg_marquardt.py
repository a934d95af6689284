"""Levenberg-Marquardt with exact residual Jacobians, the solver for small networks and few samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from gradopt.training.monitor import Monitor
from gradopt.training.options import number, seconds, whole
from gradopt.training.problem import FitProblem
from gradopt.training.result import Callback, SolverResult, Status

# Dampings mu over the largest diagonal entry of J'J; chosen by hand.
_SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-18, 1e15
_HARDLY_DAMPED = 1e-12  # the smallest damping with which a singular J'J is still factorized
_PATIENCE = 10  # iterations in a row with a negligible decrease that end a run; chosen by hand


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt, damped after Nielsen (1999).

    Each step solves (J'J + diag(alpha) + mu I) step = -gradient, in the smaller of the spaces of parameters and of
    residuals. The ratio of actual to predicted reduction controls mu. The path does not depend on the scale of the
    loss.

    Attributes:
        max_iterations: Limit of the accepted steps.
        time_limit: Limit of the run, s; None = no limit.
        tolerance: Relative decrease of the loss below which a step is negligible; ten negligible steps in a row end
            the run. The default also keeps the network smooth: with few samples and a small alpha, long training at a
            tiny tolerance can lower the loss by spikes between the samples.
        damping: Initial mu over the largest diagonal entry of J'J.
        memory_limit: Size of the residual Jacobian, bytes, above which it is accumulated in chunks.
    """

    max_iterations: int = 500
    time_limit: float | None = None
    tolerance: float = 1e-3
    damping: float = 1e-3
    memory_limit: int = 2**30

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "max_iterations", whole("max_iterations", self.max_iterations, 0))
        object.__setattr__(self, "time_limit", seconds("time_limit", self.time_limit))
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance))
        object.__setattr__(self, "damping", number("damping", self.damping))
        object.__setattr__(self, "memory_limit", whole("memory_limit", self.memory_limit, 1))

    @torch.no_grad()
    def solve(self, problem: FitProblem, theta: Tensor, callback: Callback | None = None) -> SolverResult:
        """Minimize the loss.

        Args:
            problem: The problem to minimize.
            theta: Initial parameters (n_parameters,).
            callback: See `gradopt.training.result.Callback`.

        Returns:
            The best parameters, with status and history of the run.
        """
        monitor = Monitor(callback, self.time_limit)
        return monitor.run(lambda: self._iterate(problem, theta, monitor))

    def _iterate(self, problem: FitProblem, theta: Tensor, monitor: Monitor) -> Status:
        mu, growth, negligible, scale = 0.0, 2.0, 0, 0.0
        loss = _loss(problem, theta)
        monitor.record(theta, loss)
        for _ in range(self.max_iterations):
            gradient, largest, step_for = self._linearize(problem, theta)
            if not gradient.any():
                return Status.CONVERGED
            if not isfinite(largest):
                return Status.NOT_FINITE  # no damping would be large enough
            if not scale:
                scale = largest or 1.0
                mu = self.damping * scale
            while True:
                step = step_for(mu)
                new_loss = _loss(problem, theta + step) if step is not None else float("inf")
                if step is not None and new_loss < loss:
                    break
                if mu > _LARGEST_DAMPING * scale:
                    nothing_left = negligible or self._nothing_left(theta, loss, gradient, step_for, largest)
                    return Status.CONVERGED if nothing_left else Status.NO_PROGRESS
                mu = max(mu, _SMALLEST_DAMPING * scale) * growth
                growth *= 2.0
            predicted = _predicted(step, gradient, mu)
            ratio = (loss - new_loss) / predicted if predicted > 0.0 else 0.0
            mu = max(mu * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3), _SMALLEST_DAMPING * scale)
            growth = 2.0
            negligible = negligible + 1 if loss - new_loss <= self.tolerance * loss else 0
            theta, loss = theta + step, new_loss
            monitor.record(theta, loss)
            if negligible >= _PATIENCE or loss == 0.0:
                return Status.CONVERGED
        return Status.ITERATION_LIMIT

    def _nothing_left(
        self, theta: Tensor, loss: float, gradient: Tensor, step_for: Callable[[float], Tensor | None], largest: float
    ) -> bool:
        """Return whether the possible decrease is negligible, or below the effect of rounding of theta on the loss."""
        mu = _HARDLY_DAMPED * largest
        step = step_for(mu)
        rounding = torch.finfo(theta.dtype).eps ** 2 * largest * float(theta @ theta)
        return step is not None and _predicted(step, gradient, mu) <= self.tolerance * loss + rounding

    def _linearize(self, problem: FitProblem, theta: Tensor) -> tuple[Tensor, float, Callable[[float], Tensor | None]]:
        """Return gradient, largest diagonal entry of J'J, and step as a function of mu (None if singular)."""
        rows, columns = problem.n_residuals, problem.n_parameters
        prior_gradient = problem.alpha * theta
        if rows < columns and rows * columns * theta.element_size() <= self.memory_limit / 4:
            chunks = list(problem.linearized(theta, self.memory_limit))
            residuals = torch.cat([r for r, _ in chunks])
            jacobian = torch.cat([j for _, j in chunks])
            largest = float((jacobian * jacobian).sum(dim=0).max())
            return (
                jacobian.T @ residuals + prior_gradient,
                largest,
                lambda mu: _residual_space_step(jacobian, residuals, prior_gradient, problem.alpha + mu),
            )
        matrix = theta.new_zeros((columns, columns))
        gradient = prior_gradient.clone()
        for chunk_residuals, chunk in problem.linearized(theta, self.memory_limit):
            matrix.addmm_(chunk.T, chunk)
            gradient.addmv_(chunk.T, chunk_residuals)
        largest = float(matrix.diagonal().max())
        matrix.diagonal().add_(problem.alpha)
        return gradient, largest, lambda mu: _parameter_space_step(matrix, gradient, mu)


def _loss(problem: FitProblem, theta: Tensor) -> float:
    """Return E(theta)."""
    residuals = problem.residuals(theta)
    return 0.5 * float(residuals @ residuals + (problem.alpha * theta) @ theta)


def _predicted(step: Tensor, gradient: Tensor, mu: float) -> float:
    """Return the decrease of the loss by a step in the linear model."""
    return 0.5 * float(step @ (mu * step - gradient))


def _parameter_space_step(matrix: Tensor, gradient: Tensor, mu: float) -> Tensor | None:
    """Solve (matrix + mu I) step = -gradient; None if the matrix is not positive definite."""
    damped = matrix.clone()
    damped.diagonal().add_(mu)
    factor, info = torch.linalg.cholesky_ex(damped)
    if int(info):
        return None
    return torch.cholesky_solve(-gradient[:, None], factor)[:, 0]


def _residual_space_step(jacobian: Tensor, residuals: Tensor, prior: Tensor, diagonal: Tensor) -> Tensor | None:
    """Compute the step by the matrix inversion lemma: -w - D^-1 J' (I + J D^-1 J')^-1 (r - J w), w = prior/D."""
    scaled = jacobian / diagonal
    kernel = scaled @ jacobian.T
    kernel.diagonal().add_(1.0)
    factor, info = torch.linalg.cholesky_ex(kernel)
    if int(info):
        return None
    shift = prior / diagonal
    right = torch.cholesky_solve((residuals - jacobian @ shift)[:, None], factor)[:, 0]
    return -shift - scaled.T @ right
