"""The solvers by name, and the rule of solver="auto"."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gradopt.errors import InputError, explain
from gradopt.training.adam import Adam
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.problem import FitProblem
from gradopt.training.result import Callback, SolverResult


class Solver(Protocol):
    """A method that minimizes a `FitProblem`; its fields are its hyperparameters."""

    @property
    def time_limit(self) -> float | None:
        """Limit of a run, s; None = no limit."""
        ...

    def solve(self, problem: FitProblem, theta: Tensor, callback: Callback | None = None) -> SolverResult:
        """Minimize the loss from theta (n_parameters,)."""
        ...


SOLVERS: dict[str, type[LevenbergMarquardt] | type[LBFGS] | type[Adam]] = {
    "levenberg_marquardt": LevenbergMarquardt,
    "lbfgs": LBFGS,
    "adam": Adam,
}

# Limits of solver="auto", chosen by hand.
_LM_WORK = 1e10  # multiplications in a Levenberg-Marquardt iteration, about half a second on one core
_LM_ENTRIES = 3e7  # entries of its matrix, 240 MB, within the default memory limit
_LBFGS_SAMPLES = 1000  # samples above which Adam reaches lower errors than L-BFGS in the same time


def check_solver(solver: object) -> None:
    """Raise `InputError` unless the argument is "auto", the name of a solver, or a solver."""
    if (
        solver == "auto"
        or (isinstance(solver, str) and solver in SOLVERS)
        or isinstance(solver, tuple(SOLVERS.values()))
    ):
        return
    known = ", ".join(repr(name) for name in ("auto", *SOLVERS))
    remedy = "For its hyperparameters pass an object such as LevenbergMarquardt(max_iterations=1000)."
    raise InputError(explain("solver", f"be one of {known} or a solver object", repr(solver), remedy))


def get_solver(solver: str | Solver, problem: FitProblem) -> Solver:
    """Return the solver for a problem.

    "auto" means Levenberg-Marquardt while one of its iterations costs R * P * min(R, P) <= 1e10 multiplications
    (R residuals, P parameters) and its matrix, P x P or where R < P the Jacobian R x P, has at most 3e7 entries.
    For larger problems "auto" means L-BFGS up to 1000 samples, and Adam above.

    Args:
        solver: "auto", the name of a solver, or a solver.
        problem: The problem to minimize.

    Returns:
        A solver.

    Raises:
        InputError: If the argument is none of these.
    """
    check_solver(solver)
    if not isinstance(solver, str):
        return solver
    if solver != "auto":
        return SOLVERS[solver]()
    rows, columns = problem.n_residuals, problem.n_parameters
    if rows * columns * min(rows, columns) <= _LM_WORK and columns * min(rows, columns) <= _LM_ENTRIES:
        return LevenbergMarquardt()
    return LBFGS() if problem.n_samples <= _LBFGS_SAMPLES else Adam()
