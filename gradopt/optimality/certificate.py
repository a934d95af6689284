"""Certificate: how far a point is from the first-order conditions of an optimum, with the names of its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradopt.data.json_values import plain_json
from gradopt.optimality.kkt import KKT
from gradopt.optimality.layout import Arrays, Layout

_SHOWN = 12  # lines of active bounds and constraints in a printed certificate
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

    No second-order condition is checked here: a saddle point or a maximum can pass. A run looks for negative curvature
    in the gradients that it has, leaves a saddle point where it can, and else says so in `reason`.

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


def with_saddle(found: Certificate, step: np.ndarray, design: Layout) -> Certificate:
    """Add to a certificate that negative curvature was seen.

    Args:
        found: Certificate.
        step: Step (k,) along which the Lagrangian bends down, scaled.
        design: Names and scalers of the design variables.
    """
    name, index = design.place(int(np.abs(step).argmax()))
    note = f"Negative curvature was seen, most of it along {name}[{index}]: this may be a saddle point."
    return replace(found, reason=f"{found.reason} {note}")


def certificate_of(
    found: KKT, objective: float, scaler: float, design: Layout, constraints: Layout, loose: str = ""
) -> Certificate:
    """Give optimality conditions the names of design variables and constraints.

    Args:
        found: Optimality conditions, in scaled quantities.
        objective: Value of the objective, physical.
        scaler: Scaler of the objective.
        design: Names and scalers of the design variables.
        constraints: Names and scalers of the constraints.
        loose: Name of a coupling variable that is not converged; "" where all are.

    Returns:
        The certificate.
    """
    per_scaled = 1.0 / scaler
    count = len(constraints.scaler)
    worst = {}
    for measure in _MEASURES:
        index = getattr(found, f"worst_{measure}")
        if index is not None and found.finite:
            of_design = measure == "stationarity" or index >= count
            shift = 0 if measure == "stationarity" else count
            worst[measure] = design.place(index - shift) if of_design else constraints.place(index)
    return Certificate(
        certified=found.certified and not loose,
        reason=_reason(found, worst, loose),
        objective=objective,
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


def _reason(found: KKT, worst: dict[str, tuple[str, int]], loose: str) -> str:
    if not found.finite:
        return "Not certified: a value or a derivative is not a finite number."
    if loose:
        return f"Not certified: the model is not converged, {loose} is not what its source gives."
    if found.certified:
        return "Certified: feasible and stationary to first order within the tolerances."
    place = {measure: "{}[{}]".format(*where) for measure, where in worst.items()}
    if found.feasibility > found.feasibility_tolerance:
        fault = f"{place['feasibility']} violates its bound by {found.feasibility:.1e} (scaled)"
    elif not found.scale_known:
        fault = "the scale of the objective is not known, so that no gradient can be called small; declare its `ref`"
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
