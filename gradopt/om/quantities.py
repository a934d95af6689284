"""Design variables, constraints and objective of a driver, flat and in its scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om
from openmdao.utils.units import unit_conversion

from gradopt import openmdao_private as private
from gradopt.data.lengths import NO_BOUND, lengths_of
from gradopt.optimality.layout import Layout
from gradopt.optimality.problem import Limits, Scales


class Quantities(Layout):
    """Design variables, constraints or the objective, flat and scaled by the driver.

    Attributes:
        physical: Values in the units declared to the driver.
        value: Scaled values.
        lower: Scaled lower bounds, -inf where there is none.
        upper: Scaled upper bounds.
        adder: Summand before the factor `scaler`.
        declared: 1 where `ref`, `ref0` or `scaler` say what counts as one, NaN elsewhere. A -1 says only that the
            objective is maximized.
    """

    def __init__(self, problem: om.Problem, kind: str, declared: dict[str, dict[str, Any]]) -> None:
        """Read the present values.

        Args:
            problem: Problem that has run.
            kind: "design_var", "constraint" or "objective".
            declared: The driver's metadata of them.
        """
        parts = [_scaled(problem, kind, name, meta) for name, meta in declared.items()]
        columns = np.hstack([np.empty((7, 0)), *parts])
        self.physical, self.value, self.lower, self.upper, scaler, self.adder, self.declared = columns
        super().__init__(list(declared), [part.shape[1] for part in parts], scaler)


def _scaled(problem: om.Problem, kind: str, name: str, meta: dict[str, Any]) -> np.ndarray:
    """Physical value, scaled value, scaled lower and upper bound, scaler, adder, declared scale of one quantity."""
    value = np.ravel(problem.get_val(meta["source"], units=meta["units"])).astype(float)
    if meta["indices"] is not None:
        value = value[meta["indices"].as_array()]
    adder, scaler = private.driver_scaling(problem.driver, kind, name)
    adder = np.broadcast_to(0.0 if adder is None else adder, value.shape)
    scaler = np.broadcast_to(1.0 if scaler is None else scaler, value.shape)
    bounds = []
    for side, none in (("lower", -np.inf), ("upper", np.inf)):
        declared = meta.get("equals") if meta.get("equals") is not None else meta.get(side)
        bound = np.broadcast_to(none if declared is None else np.ravel(declared), value.shape)
        scaled = (bound + adder) * scaler
        # A negative scaler turns the sides around.
        bounds.append(np.where(np.abs(bound) >= NO_BOUND, none * np.sign(scaler), scaled))
    scaled = [meta[key] for key in ("ref", "ref0", "scaler") if meta.get(key) is not None]
    declared = np.broadcast_to(
        1.0 if scaled and not all(np.all(one == -1.0) for one in scaled) else np.nan, value.shape
    )
    both = np.where(scaler < 0.0, bounds[::-1], bounds)
    return np.stack([value, (value + adder) * scaler, *both, scaler, adder, declared])


def limits_of(design: Quantities, objective: Quantities, constraints: Quantities) -> Limits:
    """Return the bounds and the declared scales of a problem, with lengths about its present design."""
    return Limits(
        design.lower,
        design.upper,
        constraints.lower,
        constraints.upper,
        lengths_of(design.lower, design.upper, design.value),
        Scales(design.declared, float(objective.declared[0]), constraints.declared),
    )


class Places:
    """Where the outputs of a model hold what a driver declares; reads and sets it without `Quantities` made anew.

    Attributes:
        indices: Indices (size,) among all outputs of the model, flat.
        unit_scaler: Factors (size,) from the model's units to the declared ones.
        scaler: Factors (size,) from the declared units to scaled values.
    """

    def __init__(self, problem: om.Problem, kind: str, declared: dict[str, dict[str, Any]]) -> None:
        """Find the places.

        Args:
            problem: Problem after its final setup.
            kind: "design_var", "constraint" or "objective".
            declared: The driver's metadata of them.
        """
        found = Quantities(problem, kind, declared)
        self._problem, self.scaler, self._adder = problem, found.scaler, found.adder
        known = private.output_metadata(problem.model)
        indices, columns = [np.empty(0, dtype=int)], [np.empty((4, 0))]
        for meta in declared.values():
            every = private.places_of(problem.model, meta["source"])
            indices.append(every if meta["indices"] is None else every[meta["indices"].as_array()])
            own, units = known[meta["source"]]["units"], meta["units"]
            same = units is None or own == units
            column = (1.0, 0.0, 1.0, 0.0) if same else (*unit_conversion(own, units), *unit_conversion(units, own))
            columns.append(np.repeat(np.array(column)[:, None], len(indices[-1]), axis=1))
        self.indices = np.concatenate(indices)
        self.unit_scaler, self._offset, self._own_scaler, self._own_offset = np.hstack(columns)

    def read(self) -> np.ndarray:
        """Return the present scaled values (size,)."""
        own = private.present_outputs(self._problem)[self.indices]
        return ((own + self._offset) * self.unit_scaler + self._adder) * self.scaler

    def set(self, scaled: np.ndarray) -> None:
        """Set scaled values (size,)."""
        declared = scaled / self.scaler - self._adder
        private.present_outputs(self._problem)[self.indices] = (declared + self._own_offset) * self._own_scaler
