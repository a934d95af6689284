"""L-BFGS by SciPy, the solver for problems that are too large for Levenberg-Marquardt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from gradopt.training.monitor import Monitor
from gradopt.training.options import number, seconds, whole
from gradopt.training.problem import FitProblem
from gradopt.training.result import Callback, SolverResult, Status

_GRADIENT_TOLERANCE = 1e-12  # largest entry of the gradient over the initial loss; so low that `tolerance` ends a run
_EVALUATIONS = 20  # loss evaluations per iteration at most, SciPy's own limit of a line search


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS on all samples, by `scipy.optimize.minimize(method="L-BFGS-B")`.

    Attributes:
        max_iterations: Limit of the iterations.
        time_limit: Limit of the run, s; None = no limit.
        tolerance: Decrease of the loss in a step over the initial loss, below which the run has converged.
        memory: Number of gradient pairs kept.
    """

    max_iterations: int = 2000
    time_limit: float | None = None
    tolerance: float = 1e-12
    memory: int = 30

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "max_iterations", whole("max_iterations", self.max_iterations, 0))
        object.__setattr__(self, "time_limit", seconds("time_limit", self.time_limit))
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance))
        object.__setattr__(self, "memory", whole("memory", self.memory, 1))

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
        return monitor.run(lambda: self._minimize(problem, theta, monitor))

    def _minimize(self, problem: FitProblem, theta: Tensor, monitor: Monitor) -> Status:
        dtype, device = problem.tensor_options

        def tensor(vector: np.ndarray) -> Tensor:
            return torch.tensor(vector, dtype=dtype, device=device)

        def loss_and_gradient(vector: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = problem.loss_and_gradient(tensor(vector))
            if not np.isfinite(loss):
                monitor.record(tensor(vector), loss)  # ends the run, which SciPy would report as converged
            return loss / scale, gradient.to("cpu", torch.float64).numpy() / scale

        # SciPy passes value and point together only to a parameter of this name.
        def record(intermediate_result: object) -> None:
            monitor.record(tensor(intermediate_result.x), scale * float(intermediate_result.fun))  # type: ignore[attr-defined]

        initial, _ = problem.loss_and_gradient(theta)
        scale = initial or 1.0  # SciPy's tolerances are absolute below 1
        monitor.record(theta, initial)
        if self.max_iterations == 0:
            return Status.ITERATION_LIMIT
        found = minimize(
            loss_and_gradient,
            theta.to("cpu", torch.float64).numpy(),
            jac=True,
            method="L-BFGS-B",
            callback=record,
            options={
                "maxiter": self.max_iterations,
                "maxfun": _EVALUATIONS * self.max_iterations,
                "maxcor": self.memory,
                "ftol": self.tolerance,
                "gtol": _GRADIENT_TOLERANCE,
            },
        )
        if found.status == 0:
            return Status.CONVERGED
        return Status.ITERATION_LIMIT if found.status == 1 else Status.NO_PROGRESS
