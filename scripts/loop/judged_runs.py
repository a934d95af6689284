"""Runs of certificate trials, judged on the smooth problem; for `loop.certificates_by_kind`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmdao.api as om

from gradopt import AdaptiveDriver, FunctionTruth, Optimizer, SurrogateComp, Variable
from gradopt.loop import Settings
from gradopt.loop.state import Exit
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from gradopt.optimizer import Constraint, Objective
from gradopt.truth import FiniteDifferences
from scripts.loop.independent_check import check
from scripts.loop.spoiled_truths import CertificateTrial
from scripts.shared.loop_problems import Function

SADDLE = -1e-3
"""Eigenvalue of the Hessian below which an end counts as a saddle; by hand: curvatures are of order one."""

ITERATIONS = 4
"""Iterations for each evaluation of the budget after which a run is stopped, because it makes no progress; by hand."""


def run_trial(trial: CertificateTrial) -> dict[str, Any]:
    """Make one run and judge its end."""
    clock, of = time.perf_counter(), trial.base
    runs = by_driver if trial.driver else by_optimizer
    found: dict[str, Any] = {
        "exit": "raised",
        "evaluations": 0,
        "claims": False,
        "stationarity": None,
        "x": trial.start,
    }
    try:
        found = runs(trial)
    except Exception as error:  # written and counted
        found["message"] = f"{type(error).__name__}: {error}"
    x = np.asarray(found["x"])
    limits = (of.c_lower, of.c_upper)
    verdict = check(of.responses, x, (trial.lower, trial.upper), limits, TOLERANCE, FEASIBILITY_TOLERANCE)
    claims, exit = bool(found["claims"]), str(found["exit"])
    contradicted = exit == Exit.CONTRADICTED.value and trial.right
    return {
        "kind": trial.kind,
        "label": trial.label,
        "right": trial.right,
        "exit": exit,
        "message": found.get("message", ""),
        "evaluations": found["evaluations"],
        "x": x,
        "stationarity": verdict.stationarity,
        "feasibility": verdict.feasibility,
        "error": verdict.error,
        "claimed_stationarity": found["stationarity"],
        "runs": True,
        "false": claims and not verdict.agrees,
        "optima": verdict.agrees,
        "certified": claims and verdict.agrees,
        "missed": not claims and verdict.agrees and trial.right,
        "dead end": exit == Exit.INFEASIBLE.value or contradicted,
        "saddles": claims and not of.c_lower.size and curvature(trial, x) < SADDLE,
        "endless": exit == Exit.STOPPED.value,
        "raised": exit == "raised",
        "seconds": time.perf_counter() - clock,
    }


def curvature(trial: CertificateTrial, x: np.ndarray) -> float:
    """Return the least eigenvalue of the Hessian along the design variables that are not at a bound."""
    free = np.flatnonzero((x - trial.lower > TOLERANCE) & (trial.upper - x > TOLERANCE))
    if not free.size:
        return 0.0
    step = 1e-5
    rows = [(trial.base.truth(x + step * e)[1][0] - trial.base.truth(x - step * e)[1][0]) for e in np.eye(x.size)]
    hessian = np.array(rows)[np.ix_(free, free)] / (2.0 * step)
    return float(np.linalg.eigvalsh(0.5 * (hessian + hessian.T))[0])


def _settings(trial: CertificateTrial) -> dict[str, Any]:
    steps = {} if trial.step is None else {"finite_differences": FiniteDifferences(trial.step)}
    return {"max_evaluations": trial.max_evaluations, **steps}


def _limits(trial: CertificateTrial, k: int) -> dict[str, float]:
    """Return the bounds of constraint k in the units of the truth."""
    low, high = (float(side[k] * trial.factors[0][1 + k]) for side in (trial.base.c_lower, trial.base.c_upper))
    if low == high:
        return {"equals": low}
    return {side: limit for side, limit in (("lower", low), ("upper", high)) if np.isfinite(limit)}


def by_optimizer(trial: CertificateTrial) -> dict[str, Any]:
    """Make one run with `Optimizer`."""
    of, by = trial.factors
    truth, m = trial.truth(), of.size - 1
    bounds = (trial.lower * by, trial.upper * by)
    refs = [{"ref": factor} if trial.units.ref else {} for factor in of.tolist()]
    optimizer = Optimizer(
        [_variable("x", trial, slice(None))],
        [Variable("f"), *(Variable(f"c{k}") for k in range(m))],
        trial.start * by,
        objective=Objective("f", **refs[0]),
        constraints=[Constraint(f"c{k}", **_limits(trial, k), **refs[1 + k]) for k in range(m)],
        bounds=bounds,
        configuration=None,
        settings=Settings(**_settings(trial)),
    )

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = zip(*(truth(point) for point in points), strict=True)
        return np.array(y), np.array(dydx)

    most = ITERATIONS * trial.max_evaluations
    exit, certificate = optimizer.run(evaluate, watch=lambda state: len(state.history) > most), optimizer.certificate
    return {
        "exit": exit.value,
        "evaluations": optimizer.evaluations,
        "claims": exit is Exit.CERTIFIED or bool(certificate is not None and certificate.certified),
        "stationarity": None if certificate is None else certificate.stationarity,
        "x": optimizer.x / by,
    }


def _variable(name: str, trial: CertificateTrial, entries: slice) -> Variable:
    by = trial.factors[1][entries]
    lower, upper = trial.lower[entries] * by, trial.upper[entries] * by
    sides = {side: bound for side, bound in (("lower", lower), ("upper", upper)) if np.isfinite(bound).all()}
    return Variable(name, by.shape, **sides)


def by_driver(trial: CertificateTrial) -> dict[str, Any]:
    """Make one run with `AdaptiveDriver`."""
    of, by = trial.factors
    m, first = of.size - 1, 0
    parts: Sequence[tuple[int, Function | None]] = trial.parts or ((by.size, None),)
    problem = om.Problem(reports=None)
    model = problem.model
    refs = [by if trial.units.ref else None, *(of.tolist() if trial.units.ref else [None] * of.size)]
    for number, (count, function) in enumerate(parts):
        entries = slice(first, first + count)
        constraints = [Variable(f"c{k}") for k in range(m)] if function is None else []
        variable = _variable(f"x{number}", trial, entries)
        truth = FunctionTruth(
            trial.truth(function, entries), (variable,), (Variable(f"f{number}"), *constraints), identity=trial.label
        )
        model.add_subsystem(f"truth{number}", SurrogateComp(truth=truth), promotes=["*"])
        model.set_input_defaults(f"x{number}", trial.start[entries] * by[entries])
        lower, upper = ((side * by)[entries] for side in (trial.lower, trial.upper))
        ref = None if refs[0] is None else by[entries]
        model.add_design_var(f"x{number}", lower=lower, upper=upper, ref=ref)
        first += count
    model.add_subsystem("sum", om.ExecComp("f = " + " + ".join(f"f{k}" for k in range(len(parts)))), promotes=["*"])
    model.add_objective("f", ref=refs[1])
    for k in range(m):
        model.add_constraint(f"c{k}", **_limits(trial, k), ref=refs[2 + k])
    driver = problem.driver = AdaptiveDriver(
        configuration=None,
        callback=lambda iteration: iteration.number > ITERATIONS * trial.max_evaluations,
        **_settings(trial),
    )
    problem.setup()
    problem.run_driver()
    certificate = driver.certificate
    return {
        "exit": "not run" if driver.exit is None else driver.exit.value,
        "evaluations": driver.evaluations,
        "claims": driver.exit is Exit.CERTIFIED or bool(certificate is not None and certificate.certified),
        "stationarity": None if certificate is None else certificate.stationarity,
        "x": np.concatenate([np.ravel(problem.get_val(f"x{k}")) for k in range(len(parts))]) / by,
    }
