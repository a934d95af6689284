"""Whether an OpenMDAO problem stands at an optimum, judged by its own values and totals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmdao.api as om
from openmdao.core.constants import _SetupStatus

from gradopt.data.json_values import plain_json
from gradopt.errors import InputError, explain
from gradopt.om.quantities import Arrays, Quantities
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, KKT, TOLERANCE, kkt

_COUPLING = 1e-5  # relative error of a coupling variable that is called not converged
_SHOWN = 12
_MEASURES = ("feasibility", "stationarity", "complementarity")
_SIDES = {1: "upper", -1: "lower", 2: "equal"}


@dataclass(frozen=True, eq=False)
class Certificate:
    """How far a point is from the first-order conditions of an optimum, and the multipliers there.

    The measures are those of `gradopt.optimality.kkt.kkt`, in the driver's scaling. Multipliers have OpenMDAO's signs:
    grad f + sum of multiplier * grad c = 0, and for a minimized, positively scaled objective >= 0 at an upper bound,
    <= 0 at a lower one; the optimal objective changes by -multiplier per unit of the bound. Dictionaries have the
    driver's names (aliases where there are any) and flat arrays of the entries that the driver sees. At a point that
    is not finite measures are infinite and multipliers NaN.

    No second-order condition is checked: a saddle point or a maximum can pass.

    Attributes:
        certified: Whether all measures are within their tolerances.
        reason: What is wrong, or what was found, in words.
        objective: Value of the objective, in the units declared to the driver.
        feasibility: Largest violation of a constraint or bound.
        stationarity: Largest component of the Lagrangian's gradient.
        complementarity: Largest force on a bound that is not reached.
        tolerance: Limit of stationarity and complementarity.
        feasibility_tolerance: Limit of feasibility.
        multipliers: Of the constraints, in units of the objective per unit of the constraint, as the driver has them.
        bound_multipliers: Of the bounds of the design variables, likewise.
        scaled_multipliers: Of the constraints, in the driver's scaling; where a scaler is negative, the bounds and the
            signs are those of the scaled quantity.
        scaled_bound_multipliers: Of the bounds of the design variables, likewise.
        active: Of the constraints: 1 at the upper bound, -1 at the lower, 2 where both are the same, 0 inside.
        active_bounds: Of the bounds of the design variables, likewise.
        worst: The (name, flat index) that gives each of "feasibility", "stationarity" and "complementarity"; absent
            where the measure is zero.
    """

    certified: bool
    reason: str
    objective: float
    feasibility: float
    stationarity: float
    complementarity: float
    tolerance: float
    feasibility_tolerance: float
    multipliers: Arrays
    bound_multipliers: Arrays
    scaled_multipliers: Arrays
    scaled_bound_multipliers: Arrays
    active: Arrays
    active_bounds: Arrays
    worst: dict[str, tuple[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; a number that is not finite becomes None."""
        return {name: plain_json(value) for name, value in vars(self).items()}

    def __str__(self) -> str:
        """Write the verdict, the measures, and the bounds and constraints that are active."""
        lines = [self.reason, f"{'measure':<18}{'value':>10}{'limit':>10}  worst"]
        for measure in _MEASURES:
            limit = self.feasibility_tolerance if measure == "feasibility" else self.tolerance
            place = "{}[{}]".format(*self.worst[measure]) if measure in self.worst else "-"
            lines.append(f"{measure:<18}{getattr(self, measure):>10.1e}{limit:>10.1e}  {place}")
        held = [
            f"{f'{name}[{index}]':<24}{_SIDES[int(side[index])]:<8}{multipliers[name][index]:>12.4g}"
            for active, multipliers in (
                (self.active, self.multipliers),
                (self.active_bounds, self.bound_multipliers),
            )
            for name, side in active.items()
            for index in np.flatnonzero(side)
        ]
        if held:
            lines += [f"{'active':<24}{'at':<8}{'multiplier':>12}", *held[:_SHOWN]]
        if len(held) > _SHOWN:
            lines.append(f"and {len(held) - _SHOWN} more")
        return "\n".join(lines)


def certify(
    problem: om.Problem,
    tolerance: float = TOLERANCE,
    feasibility_tolerance: float = FEASIBILITY_TOLERANCE,
    run_model: bool = False,
) -> Certificate:
    """Check whether a problem stands at a point that satisfies the first-order conditions of an optimum.

    Any driver with design variables, one objective and any constraints will do; its own verdict is not asked. Values
    are read and totals computed where the problem stands, and nothing is changed by that: not the model, not the
    driver, not what recorders have. Totals are taken without the driver's coloring.

    All is judged in the driver's scaling, so `ref` or `scaler` must bring design variables, objective and constraints
    to the order of one: an objective whose scaled gradient is below the tolerance everywhere passes anywhere.

    Args:
        problem: A problem that has been set up, and run unless `run_model` is given.
        tolerance: Limit of stationarity and complementarity: in a scaled problem with second derivatives of order
            one, the distance from the optimum in design variables. SLSQP's own `tol` of 1e-6 limits the change of
            the objective and often suffices; in a curved valley it takes 1e-8.
        feasibility_tolerance: Limit of violations, relative to bounds above one; the usual accuracy of optimizers.
        run_model: Whether to run the model first, at the present design variables; recorders do not see that run.

    Returns:
        The certificate; `print` it, or ask it `.certified`.

    Raises:
        InputError: If the problem has not been run at its present design variables, has no design variables, not
            exactly one objective, or discrete or distributed ones among them, or if a tolerance is not in (0, 1).
    """
    check_declared(problem, run_model)
    with _undisturbed(problem):
        if run_model:
            problem.model.run_solve_nonlinear()
        stale, loose = _mismatches(problem)
        if stale:
            raise _not_run(f"other values of {', '.join(stale)} since it ran")
        return _certify(problem, tolerance, feasibility_tolerance, loose)


def _certify(problem: om.Problem, tolerance: float, feasibility_tolerance: float, loose: list[str]) -> Certificate:
    driver, vectors = problem.driver, (problem.model._outputs, problem.model._inputs, problem.model._residuals)
    design = Quantities(problem, "design_var", driver._designvars)
    objective = Quantities(problem, "objective", driver._objs)
    constraints = Quantities(problem, "constraint", driver._cons)
    states = [vector.asarray(copy=True) for vector in vectors]
    names = [*objective.names, *constraints.names]
    try:
        totals = problem.compute_totals(names, design.names, driver_scaling=True, coloring_info=False)
    finally:
        for vector, state in zip(vectors, states, strict=True):  # the model's own scaling rounds them
            vector.set_val(state)
    rows = [np.hstack([np.atleast_2d(totals[of, wrt]) for wrt in design.names]) for of in names]
    found = kkt(
        u=design.value,
        lower=design.lower,
        upper=design.upper,
        gradient=np.where(np.isfinite(objective.value), rows[0][0], np.nan),
        c=constraints.value,
        c_lower=constraints.lower,
        c_upper=constraints.upper,
        jacobian=np.vstack([np.empty((0, design.value.size)), *rows[1:]]),
        tolerance=tolerance,
        feasibility_tolerance=feasibility_tolerance,
    )
    per_scaled = 1.0 / objective.scaler[0]
    count = constraints.value.size
    worst = {}
    for measure in _MEASURES:
        index = getattr(found, f"worst_{measure}")
        if index is not None and found.finite:
            of_design = measure == "stationarity" or index >= count
            shift = 0 if measure == "stationarity" else count
            worst[measure] = design.place(index - shift) if of_design else constraints.place(index)
    return Certificate(
        certified=found.certified and not loose,
        reason=_reason(found, worst, bool(np.abs(rows[0]).max() <= tolerance), loose),
        objective=float(objective.physical[0]),
        feasibility=found.feasibility,
        stationarity=found.stationarity,
        complementarity=found.complementarity,
        tolerance=found.tolerance,
        feasibility_tolerance=found.feasibility_tolerance,
        multipliers=constraints.split(found.multipliers * constraints.scaler * per_scaled),
        bound_multipliers=design.split(found.bound_multipliers * design.scaler * per_scaled),
        scaled_multipliers=constraints.split(found.multipliers),
        scaled_bound_multipliers=design.split(found.bound_multipliers),
        active=constraints.split(constraints.unscaled_sides(found.active)),
        active_bounds=design.split(design.unscaled_sides(found.bound_active)),
        worst=worst,
    )


def _reason(found: KKT, worst: dict[str, tuple[str, int]], flat: bool, loose: list[str]) -> str:
    if not found.finite:
        return "Not certified: a value or a derivative is not a finite number."
    if loose:
        return f"Not certified: the model is not converged, {loose[0]} is not what its source gives."
    if found.certified:
        note = " The scaled gradient of the objective is itself within the tolerance: is the objective scaled?"
        return "Certified: feasible and stationary to first order within the tolerances." + note * flat
    place = {measure: "{}[{}]".format(*where) for measure, where in worst.items()}
    if found.feasibility > found.feasibility_tolerance:
        fault = f"{place['feasibility']} violates its bound by {found.feasibility:.1e} (scaled)"
    elif found.stationarity > found.tolerance:
        fault = (
            f"no multipliers of active bounds and constraints balance the gradient in {place['stationarity']}, "
            f"{found.stationarity:.1e} (scaled) is left"
        )
    else:
        fault = (
            f"the objective still pushes towards the bound of {place['complementarity']}, which is "
            f"{found.complementarity:.1e} (scaled) away"
        )
    return f"Not certified: {fault}."


def check_declared(problem: om.Problem, run_model: bool) -> None:
    """Raise `InputError` unless there is one objective of continuous design variables, set up and run."""
    status = _SetupStatus.PRE_SETUP if problem._metadata is None else problem._metadata["setup_status"]
    if status == _SetupStatus.PRE_SETUP:
        raise InputError(explain("problem", "be set up", "one that is not", "Call `problem.setup()` and run it."))
    if run_model:
        problem.final_setup()
    elif status < _SetupStatus.POST_FINAL_SETUP or problem.model.iter_count == 0:
        raise _not_run("one that has not been run since its setup")
    driver = problem.driver
    if len(driver._objs) != 1:
        remedy = "Declare one with `model.add_objective`, with a negative `ref` to maximize."
        raise InputError(explain("problem", "have one objective", list(driver._objs) or "none", remedy))
    if not driver._designvars:
        raise InputError(explain("problem", "have design variables", "none", "Declare them with `add_design_var`."))
    for name, meta in (driver._designvars | driver._responses).items():
        is_discrete = meta["source"] in problem.model._var_allprocs_discrete["output"]
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
    design = {meta["source"]: name for name, meta in problem.driver._designvars.items()}
    stale, loose = [], []
    with model._relevance.active(True), model._relevance.all_seeds_active():
        for target, source in model._conn_global_abs_in2out.items():
            if target not in model._var_abs2meta["input"] or not model._relevance.is_relevant(target):
                continue  # discrete, remote, or without influence on the optimum: drivers may not run that
            given, received = (model.get_val(target, from_src=from_source) for from_source in (True, False))
            if source in design and not np.allclose(given, received, rtol=1e-12, atol=0.0, equal_nan=True):
                stale.append(design[source])
            elif not np.allclose(given, received, rtol=_COUPLING, atol=_COUPLING * 1e-3, equal_nan=True):
                loose.append(target)
    return sorted(set(stale)), loose


@contextmanager
def _undisturbed(problem: om.Problem) -> Iterator[None]:
    """Keep recorders out, and the driver's approximated totals right."""
    model = problem.model
    systems = list(model.system_iter(include_self=True, recurse=True))
    solvers = [s for system in systems for s in (system.nonlinear_solver, system.linear_solver) if s is not None]
    solvers += [s.linesearch for s in solvers if getattr(s, "linesearch", None) is not None]
    recorders = [(owner._rec_mgr, owner._rec_mgr._recorders) for owner in [*systems, *solvers]]
    for manager, _ in recorders:
        manager._recorders = []
    try:
        yield
    finally:
        for manager, kept in recorders:
            manager._recorders = kept
        if model._owns_approx_jac:
            problem.driver._total_jac = None  # its differences were set up for our totals; it makes new ones
