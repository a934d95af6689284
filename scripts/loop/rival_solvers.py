"""The loop and solvers that evaluate the truth directly, on one problem; for `loop.evaluations_vs_solvers`.

One evaluation is the value and all partials of objective and constraints at one point, whatever part of it a solver
looks at. All evaluate the same wrapper, which counts different points. No solver gets second derivatives.

The stopping tolerances of the rivals are so tight that they do not end before the accuracy that is measured; all other
options are their defaults. IPOPT and Uno approximate the Hessian by limited memory (L-BFGS): IPOPT has no other
approximation, and Uno's package none that is dense.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from gradopt import minimize
from scripts.loop.cutest_problems import DirectProblem
from scripts.shared.loop_problems import Counted

TOLERANCE = 1e-6  # of the loop's certificate: the accuracy that is measured
TIGHT = 1e-10  # tolerance of the rivals, on first-order conditions and steps, by hand
ITERATIONS = 10_000  # of rivals, which end by evaluations or seconds before


class Spent(Exception):
    """The budget of evaluations or seconds is spent."""


class Budgeted(Counted):
    """The truth of a problem, counted, within a budget.

    Attributes:
        budget: Largest number of evaluations.
        until: Processor time of the process, in seconds, at which the run ends.
    """

    def __init__(self, problem: DirectProblem, budget: int, seconds: float) -> None:
        """Wrap the truth of a problem.

        Args:
            problem: The problem.
            budget: Largest number of evaluations.
            seconds: Largest processor time from now on.
        """
        super().__init__(problem.function)
        self.budget, self.until = budget, time.process_time() + seconds

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return len(self) >= self.budget or time.process_time() > self.until

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at x (n,), or return the earlier evaluation.

        Raises:
            Spent: If the budget is spent and the point is new.
        """
        if self.spent and (x + 0.0).tobytes() not in self.points:
            raise Spent
        return super().__call__(x)


@dataclass(frozen=True)
class Ended:
    """How a solver ended.

    Attributes:
        x: Point that it returned (n,); None where it returned none.
        message: What it said.
        certified: Whether the loop certified the point.
    """

    x: np.ndarray | None
    message: str
    certified: bool = False


Solve = Callable[[DirectProblem, Budgeted], Ended]


@dataclass(frozen=True)
class Solver:
    """A solver.

    Attributes:
        solve: Function that runs it.
        package: Name of the Python package that it needs.
        suits: Whether it is made for the kind of a problem.
        evaluations: Budget of evaluations.
        seconds: Budget of processor time.
    """

    solve: Solve
    package: str
    suits: Callable[[DirectProblem], bool] = lambda problem: True
    evaluations: int = 1000
    seconds: float = 30.0


def sides(problem: DirectProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of equalities, of finite lower and of finite upper bounds of constraints that are no equalities."""
    equal = problem.c_lower == problem.c_upper
    rows = np.arange(problem.m)
    return (
        rows[equal],
        rows[~equal & np.isfinite(problem.c_lower)],
        rows[~equal & np.isfinite(problem.c_upper)],
    )


def _nonlinear(problem: DirectProblem, truth: Budgeted) -> list[optimize.NonlinearConstraint]:
    if not problem.m:
        return []
    return [
        optimize.NonlinearConstraint(
            lambda x: truth(x)[0][1:], problem.c_lower, problem.c_upper, jac=lambda x: truth(x)[1][1:]
        )
    ]


def _objective(truth: Budgeted) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        y, dydx = truth(x)
        return float(y[0]), dydx[0].copy()

    return both


def solve_loop(problem: DirectProblem, truth: Budgeted) -> Ended:
    """Run the loop without a network, with default settings but for budget and tolerance."""
    found = minimize(
        _objective(truth),
        problem.start,
        jac=True,
        bounds=optimize.Bounds(problem.lower, problem.upper),
        constraints=_nonlinear(problem, truth),
        tol=TOLERANCE,
        options={"max_evaluations": truth.budget - 10},  # the derivative check may take ten more
    )
    return Ended(found.x, f"{found.exit.value}: {found.message}", bool(found.success))


def _scipy(method: str, options: dict[str, float]) -> Solve:
    def solve(problem: DirectProblem, truth: Budgeted) -> Ended:
        more: dict[str, Any] = {}
        if problem.bounded:
            more["bounds"] = optimize.Bounds(problem.lower, problem.upper)
        if problem.m:
            more["constraints"] = _slsqp(problem, truth) if method == "SLSQP" else _nonlinear(problem, truth)
        run: Any = optimize.minimize
        found = run(_objective(truth), problem.start.copy(), jac=True, method=method, options=options, **more)
        return Ended(np.array(found.x), str(found.message))

    return solve


def _slsqp(problem: DirectProblem, truth: Budgeted) -> list[dict[str, Any]]:
    equal, low, high = sides(problem)
    bounds = np.append(problem.c_lower[low], -problem.c_upper[high])
    rows, signs = np.append(low, high), np.append(np.ones(low.size), -np.ones(high.size))
    made: list[dict[str, Any]] = []
    if equal.size:
        target = problem.c_lower[equal]
        value, slope = (lambda x: truth(x)[0][1:][equal] - target), (lambda x: truth(x)[1][1:][equal])
        made.append({"type": "eq", "fun": value, "jac": slope})
    if rows.size:
        above = lambda x: signs * truth(x)[0][1:][rows] - bounds  # noqa: E731
        made.append({"type": "ineq", "fun": above, "jac": lambda x: signs[:, None] * truth(x)[1][1:][rows]})
    return made


def _nlopt(algorithm: str) -> Solve:
    def solve(problem: DirectProblem, truth: Budgeted) -> Ended:
        import nlopt

        equal, low, high = sides(problem)
        rows, signs = np.append(low, high), np.append(-np.ones(low.size), np.ones(high.size))
        bounds = np.append(-problem.c_lower[low], problem.c_upper[high])
        seen = [problem.start]

        def objective(x: np.ndarray, gradient: np.ndarray) -> float:
            y, dydx = truth(x)
            seen.append(x.copy())
            if gradient.size:
                gradient[:] = dydx[0]
            return float(y[0])

        def above(result: np.ndarray, x: np.ndarray, gradient: np.ndarray) -> None:
            y, dydx = truth(x)
            result[:] = signs * y[1:][rows] - bounds
            if gradient.size:
                gradient[:] = signs[:, None] * dydx[1:][rows]

        def apart(result: np.ndarray, x: np.ndarray, gradient: np.ndarray) -> None:
            y, dydx = truth(x)
            result[:] = y[1:][equal] - problem.c_lower[equal]
            if gradient.size:
                gradient[:] = dydx[1:][equal]

        run = nlopt.opt(getattr(nlopt, algorithm), problem.n)
        run.set_min_objective(objective)
        run.set_lower_bounds(problem.lower)
        run.set_upper_bounds(problem.upper)
        if rows.size:
            run.add_inequality_mconstraint(above, np.full(rows.size, TIGHT))
        if equal.size:
            run.add_equality_mconstraint(apart, np.full(equal.size, TIGHT))
        run.set_ftol_rel(1e-15)
        run.set_xtol_rel(1e-13)
        try:
            return Ended(np.array(run.optimize(problem.start)), f"result {run.last_optimize_result()}")
        except nlopt.RoundoffLimited:
            return Ended(seen[-1], "limited by round-off")

    return solve


def solve_ipopt(problem: DirectProblem, truth: Budgeted) -> Ended:
    """Run IPOPT with limited-memory BFGS."""
    import ipyopt

    rows, columns = np.divmod(np.arange(problem.m * problem.n), problem.n)

    def gradient(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(x)[1][0]

    def constraints(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(x)[0][1:]

    def jacobian(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(x)[1][1:].ravel()

    run = ipyopt.Problem(
        problem.n,
        np.clip(problem.lower, -2e19, None),
        np.clip(problem.upper, None, 2e19),
        problem.m,
        np.clip(problem.c_lower, -2e19, None),
        np.clip(problem.c_upper, None, 2e19),
        (rows, columns),
        (np.zeros(0, int), np.zeros(0, int)),
        lambda x: float(truth(x)[0][0]),
        gradient,
        constraints,
        jacobian,
        ipopt_options={
            "hessian_approximation": "limited-memory",
            "tol": TIGHT,
            "acceptable_iter": 0,
            "bound_relax_factor": TIGHT,
            "max_iter": ITERATIONS,
            "print_level": 0,
            "sb": "yes",
        },
    )
    x, _, status = run.solve(problem.start.copy())
    return Ended(np.array(x), f"status {status}")


def solve_uno(problem: DirectProblem, truth: Budgeted) -> Ended:
    """Run Uno's preset filterSQP with limited-memory BFGS.

    Uno takes an exception of a callback as a failed evaluation, and is therefore ended by its own callback as well.
    """
    from unopy import unopy

    rows, columns = np.divmod(np.arange(problem.m * problem.n), problem.n)

    def gradient(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(np.array(x))[1][0]

    def constraints(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(np.array(x))[0][1:]

    def jacobian(x: np.ndarray, out: np.ndarray) -> None:
        out[:] = truth(np.array(x))[1][1:].ravel()

    model = unopy.Model(
        unopy.PROBLEM_NONLINEAR, problem.n, problem.lower.tolist(), problem.upper.tolist(), unopy.ZERO_BASED_INDEXING
    )
    model.set_objective(unopy.MINIMIZE, lambda x: float(truth(np.array(x))[0][0]), gradient)
    if problem.m:
        model.set_constraints(
            problem.m,
            constraints,
            problem.c_lower.tolist(),
            problem.c_upper.tolist(),
            rows.size,
            rows.tolist(),
            columns.tolist(),
            jacobian,
        )
    model.set_initial_primal_iterate(problem.start.tolist())
    run = unopy.UnoSolver()
    run.set_preset("filtersqp")
    for name, value in (
        ("hessian_model", "LBFGS"),
        ("primal_tolerance", TIGHT),
        ("dual_tolerance", TIGHT),
        ("max_iterations", ITERATIONS),
        ("logger", "SILENT"),
    ):
        run.set_option(name, value)
    run.set_termination_callback(lambda *of: truth.spent)
    found = run.optimize(model)
    return Ended(np.array(found.primal_solution), f"{found.optimization_status}, {found.solution_status}")


def without_constraints(problem: DirectProblem) -> bool:
    """Whether a problem has bounds at most."""
    return problem.m == 0


def free(problem: DirectProblem) -> bool:
    """Whether a problem has no bounds and no constraints."""
    return problem.m == 0 and not problem.bounded


def without_equalities(problem: DirectProblem) -> bool:
    """Whether no constraint is an equality."""
    return not sides(problem)[0].size


LOOP = "loop"
SOLVERS = {
    LOOP: Solver(solve_loop, "scipy", evaluations=310, seconds=300.0),
    "SciPy SLSQP": Solver(_scipy("SLSQP", {"ftol": 1e-16, "maxiter": ITERATIONS}), "scipy"),
    "SciPy L-BFGS-B": Solver(
        _scipy("L-BFGS-B", {"ftol": 1e-18, "gtol": TIGHT, "maxiter": ITERATIONS, "maxfun": ITERATIONS}),
        "scipy",
        without_constraints,
    ),
    "SciPy BFGS": Solver(_scipy("BFGS", {"gtol": TIGHT, "maxiter": ITERATIONS}), "scipy", free),
    "SciPy trust-constr": Solver(
        _scipy("trust-constr", {"gtol": TIGHT, "xtol": 1e-14, "barrier_tol": TIGHT, "maxiter": ITERATIONS}), "scipy"
    ),
    "NLopt SLSQP": Solver(_nlopt("LD_SLSQP"), "nlopt"),
    "NLopt L-BFGS": Solver(_nlopt("LD_LBFGS"), "nlopt", without_constraints),
    "NLopt MMA": Solver(_nlopt("LD_MMA"), "nlopt", without_equalities),
    "IPOPT": Solver(solve_ipopt, "ipyopt"),
    "Uno filterSQP": Solver(solve_uno, "unopy"),
}
