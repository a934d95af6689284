"""Whether an OpenMDAO problem stands at an optimum, judged by its own values and totals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.errors import InputError, explain
from gradopt.loop.state import State
from gradopt.om.quantities import Quantities, limits_of
from gradopt.optimality.certificate import Certificate, certificate_of
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE, scaled_kkt
from gradopt.optimality.problem import Responses
from gradopt.optimality.scales import Explored, conditions_at, scales_at

_COUPLING = 1e-5  # relative error from which a coupling variable counts as not converged; by hand


def certify(
    problem: om.Problem,
    tolerance: float = TOLERANCE,
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE,
    run_model: bool = False,
) -> Certificate:
    """Check whether a problem stands at a point that satisfies the first-order conditions of an optimum.

    Any driver with design variables, one objective and any constraints will do; its own verdict is not used. Values
    are read and totals computed where the problem stands, and nothing is changed by that: not the model, not the
    driver, not what recorders have. Totals are taken without the driver's coloring.

    What counts as small is what `ref` or `scaler` declare. Without them a design variable is measured by its size and
    its range, a constraint by what its slopes change over these lengths, and the objective by its size: where that is
    near 0 beside its slopes, its scale is not known, and nothing is certified before `ref` is declared. After a run of
    `AdaptiveDriver` all scales are those that the run has seen.

    Args:
        problem: A problem that has been set up, and run unless `run_model` is given.
        tolerance: Limit of stationarity and complementarity: in a problem of order one with second derivatives of order
            one, the distance from the optimum in design variables. SLSQP's own `tol` of 1e-6 limits the change of
            the objective and often suffices; in a curved valley it takes 1e-8.
        feasibility_tolerance: Limit of violations, relative to bounds above one; the usual accuracy of optimizers.
        run_model: Whether to run the model first, at the present design variables; recorders do not see that run.

    Returns:
        The certificate; `print` it, or read `.certified`.

    Raises:
        InputError: If it is no problem, has not been run at its present design variables, has no design variables, not
            exactly one objective, or discrete or distributed ones among them, or if a tolerance is not in (0, 1).
    """
    if not isinstance(problem, om.Problem):
        raise InputError(explain("problem", "be an om.Problem", repr(problem), "Pass the problem that you ran."))
    state = getattr(problem.driver, "state", None)
    points = state.explored if isinstance(state, State) else None
    return certify_after(problem, points, tolerance, feasibility_tolerance, run_model=run_model)


def certify_after(
    problem: om.Problem,
    points: Explored | None,
    tolerance: float,
    feasibility_tolerance: float,
    error: np.ndarray | None = None,
    run_model: bool = False,
) -> Certificate:
    """Do as `certify`, by the scales that a run has seen.

    Args:
        problem: Problem.
        points: Points that the run evaluated; None for a single point.
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.
        error: Estimated absolute errors (1 + p, k) of the totals; None for none.
        run_model: Whether to run the model first.
    """
    check_declared(problem, run_model)
    with _undisturbed(problem):
        if run_model:
            problem.model.run_solve_nonlinear()
        stale, loose = _mismatches(problem)
        if stale:
            raise _not_run(f"other values of {', '.join(stale)} since it ran")
        return _certify(problem, tolerance, feasibility_tolerance, loose, points, error)


def _certify(
    problem: om.Problem,
    tolerance: float,
    feasibility_tolerance: float,
    loose: list[str],
    points: Explored | None,
    error: np.ndarray | None,
) -> Certificate:
    driver = problem.driver
    design = Quantities(problem, "design_var", private.design_variables(driver))
    objective = Quantities(problem, "objective", private.objectives(driver))
    constraints = Quantities(problem, "constraint", private.constraints(driver))
    names = [*objective.names, *constraints.names]
    with private.unchanged_vectors(problem):
        totals = problem.compute_totals(names, design.names, driver_scaling=True, coloring_info=False)
    rows = [np.hstack([np.atleast_2d(totals[of, wrt]) for wrt in design.names]) for of in names]
    point = Responses(
        design.value,
        float(objective.value[0]),
        np.where(np.isfinite(objective.value), rows[0][0], np.nan),
        constraints.value,
        np.vstack([np.empty((0, design.value.size)), *rows[1:]]),
        error=error,
    )
    limits = limits_of(design, objective, constraints)
    if points is None or any(len(one.u) != len(point.u) or len(one.c) != len(point.c) for one in points.iterates):
        found = scaled_kkt(point, limits, scales_at(point, limits), tolerance, feasibility_tolerance)
    else:
        found, _ = conditions_at(point, points, limits, tolerance, feasibility_tolerance)
    value, scaler = float(objective.physical[0]), objective.scaler[0]
    return certificate_of(found, value, scaler, design, constraints, loose[0] if loose else "")


def check_declared(problem: om.Problem, run_model: bool) -> None:
    """Raise `InputError` unless there is one objective of continuous design variables, set up and run."""
    if not private.is_set_up(problem):
        raise InputError(explain("problem", "be set up", "one that is not", "Call `problem.setup()` and run it."))
    if run_model:
        problem.final_setup()
    elif not private.is_final(problem) or problem.model.iter_count == 0:
        raise _not_run("one that has not been run since its setup")
    driver = problem.driver
    objectives, designs = private.objectives(driver), private.design_variables(driver)
    if len(objectives) != 1:
        remedy = "Declare one with `model.add_objective`, with a negative `ref` to maximize."
        raise InputError(explain("problem", "have one objective", list(objectives) or "none", remedy))
    if not designs:
        raise InputError(explain("problem", "have design variables", "none", "Declare them with `add_design_var`."))
    for name, meta in (designs | objectives | private.constraints(driver)).items():
        is_discrete = private.is_discrete_output(problem.model, meta["source"])
        for kind, found in (("discrete", is_discrete), ("distributed", meta.get("distributed"))):
            if found:
                remedy = "There are no optimality conditions for it." if kind == "discrete" else "Gather it first."
                raise InputError(explain("problem", f"have no {kind} variable in its optimization", name, remedy))


def _not_run(got: str) -> InputError:
    remedy = "Call `problem.run_model()` or `problem.run_driver()` after `setup()`, or pass `run_model=True`."
    return InputError(explain("problem", "have been run at its present design variables", got, remedy))


def _mismatches(problem: om.Problem) -> tuple[list[str], list[str]]:
    """Design variables that the model has not received, and inputs that are not what other components give."""
    model = problem.model
    design = {meta["source"]: name for name, meta in private.design_variables(problem.driver).items()}
    stale, loose = [], []
    for target, source in private.relevant_connections(model):
        given, received = (model.get_val(target, from_src=from_source) for from_source in (True, False))
        if source in design and not np.allclose(given, received, rtol=1e-12, atol=0.0, equal_nan=True):
            stale.append(design[source])
        elif not np.allclose(given, received, rtol=_COUPLING, atol=_COUPLING * 1e-3, equal_nan=True):
            loose.append(target)
    return sorted(set(stale)), loose


@contextmanager
def _undisturbed(problem: om.Problem) -> Iterator[None]:
    """Keep recorders out, and the driver's approximated totals right."""
    try:
        with private.without_recorders(problem):
            yield
    finally:
        if private.approximates_totals(problem.model):
            private.forget_driver_totals(problem)
