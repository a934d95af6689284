"""What a driver sees: design variables, constraints and objective, flat and in its scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om

Arrays = dict[str, np.ndarray]
_NO_BOUND = 1e30  # what OpenMDAO before 3.45 writes where there is no bound


class Quantities:
    """Design variables, constraints or the objective, flat and scaled by the driver.

    Attributes:
        names: The driver's names.
        physical: Values in the units declared to the driver.
        value: Scaled values.
        lower: Scaled lower bounds, -inf where there is none.
        upper: Scaled upper bounds.
        scaler: Factor from declared units to scaled values.
        adder: Added before the factor.
    """

    def __init__(self, problem: om.Problem, kind: str, declared: dict[str, dict[str, Any]]) -> None:
        """Read the present values.

        Args:
            problem: A problem that has run.
            kind: "design_var", "constraint" or "objective".
            declared: The driver's metadata of them.
        """
        self.names = list(declared)
        parts = [_scaled(problem, kind, name, meta) for name, meta in declared.items()]
        self._ends = np.cumsum([part.shape[1] for part in parts], dtype=int)
        columns = np.hstack([np.empty((6, 0)), *parts])
        self.physical, self.value, self.lower, self.upper, self.scaler, self.adder = columns

    def split(self, flat: np.ndarray) -> Arrays:
        """Cut a flat array into one for each name."""
        return dict(zip(self.names, np.split(flat, self._ends[:-1]), strict=True)) if self.names else {}

    def place(self, index: int) -> tuple[str, int]:
        """Name and index within it of a flat index."""
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.names[which], int(index - (self._ends[which - 1] if which else 0))

    def unscaled_sides(self, active: np.ndarray) -> np.ndarray:
        """Turn active sides of scaled values into those of physical ones: a negative scaler swaps them."""
        return np.where((self.scaler < 0.0) & (active != 2), -active, active)


def _scaled(problem: om.Problem, kind: str, name: str, meta: dict[str, Any]) -> np.ndarray:
    """Physical value, scaled value, scaled lower and upper bound, scaler, adder of one quantity (6, size)."""
    value = np.ravel(problem.get_val(meta["source"], units=meta["units"])).astype(float)
    if meta["indices"] is not None:
        value = value[meta["indices"].as_array()]
    autoscaler = getattr(problem.driver, "autoscaler", None)
    if autoscaler is None:  # OpenMDAO before 3.45: declared scaling, and bounds that are already scaled
        adder, scaler = meta["adder"], meta["scaler"]
    else:
        scaling = autoscaler._var_meta[kind][name]
        adder, scaler = scaling["total_adder"], scaling["total_scaler"]
    adder = np.broadcast_to(0.0 if adder is None else adder, value.shape)
    scaler = np.broadcast_to(1.0 if scaler is None else scaler, value.shape)
    bounds = []
    for side, none in (("lower", -np.inf), ("upper", np.inf)):
        declared = meta.get("equals") if meta.get("equals") is not None else meta.get(side)
        bound = np.broadcast_to(none if declared is None else np.ravel(declared), value.shape)
        scaled = bound if autoscaler is None else (bound + adder) * scaler
        # A negative scaler turns the sides around.
        bounds.append(np.where(np.abs(bound) >= _NO_BOUND, none * np.sign(scaler), scaled))
    return np.stack([value, (value + adder) * scaler, *np.where(scaler < 0.0, bounds[::-1], bounds), scaler, adder])


def set_design(problem: om.Problem, design: Quantities, u: np.ndarray) -> None:
    """Set the design variables of a problem.

    Args:
        problem: The problem.
        design: Its design variables.
        u: Scaled values (k,).
    """
    for name, physical in design.split(u / design.scaler - design.adder).items():
        meta = problem.driver._designvars[name]
        value = np.array(problem.get_val(meta["source"], units=meta["units"]), dtype=float)
        rows = slice(None) if meta["indices"] is None else meta["indices"].as_array()
        flat = value.reshape(-1)
        flat[rows] = physical
        problem.set_val(meta["source"], flat.reshape(value.shape), units=meta["units"])
