"""The case `airfoil` as a `LoopProblem`, and SLSQP on its truth model in several scalings; for `loop` and `airfoil`."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om
from scipy.optimize import minimize

from cases.airfoil.case import STATIONS, airfoil_case
from cases.airfoil.geometry import load_shape, thickness_matrix, thickness_offset
from cases.case import Case
from scripts.shared.loop_problems import Counted, LoopProblem

AIRFOILS = ("naca0012", "rae2822", "naca4412")
SHAPES = (*AIRFOILS, "naca2412", "clarky", "naca23012", "e387", "goe398")
VIOLATION = 1e-4  # largest violation of a feasible design, scaled by the driver
NEAR = (0.03, 0.01, 0.003)  # excess of CD over the best, relative

# Size of one unit of SLSQP: of a weight, of alpha (degrees) and of CD. By hand.
SCALINGS = {
    "as the case": (1.0, 1.0, 0.005),
    "by reach": (0.06, 3.0, 0.005),
    "by bounds": (0.5, 10.0, 0.005),
    "by reach, steep CD": (0.06, 3.0, 0.001),
}


class Airfoil:
    """Responses of one case, scaled by the driver: CD, then CL, CM, thickness and confidence."""

    def __init__(self, name: str) -> None:
        """Make the case that starts from a shipped airfoil."""
        self.case: Case = airfoil_case(name)
        self.matrix = thickness_matrix(STATIONS)
        self.offset = thickness_offset(STATIONS, load_shape(name).trailing_edge_thickness)
        self.names = [variable.name for variable in self.case.outputs]
        low, high = [], []
        for response in self.case.responses[1:]:
            bound = np.atleast_1d(response.bound) / response.ref
            free = np.full(bound.shape, np.inf)
            low.append(bound if response.kind in ("lower", "equals") else -free)
            high.append(bound if response.kind in ("upper", "equals") else free)
        self.low, self.high = np.concatenate(low), np.concatenate(high)

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the responses (9,) at x (17,), where the truth returns y (4,)."""
        known = {**dict(zip(self.names, y, strict=True)), "thickness": self.matrix @ x[:-1] + self.offset}
        return np.concatenate([np.atleast_1d(known[r.name]) / r.ref for r in self.case.responses])

    def gradients(self, dydx: np.ndarray) -> np.ndarray:
        """Return the gradients of the responses (9, 17)."""
        thickness = np.hstack([self.matrix, np.zeros((len(self.matrix), 1))])
        known = {**dict(zip(self.names, dydx, strict=True)), "thickness": thickness}
        return np.vstack([np.atleast_2d(known[r.name]) / r.ref for r in self.case.responses])

    def violation(self, values: np.ndarray) -> float:
        """Return the largest violation of a constraint."""
        return float(np.maximum(self.low - values[1:], values[1:] - self.high).max(initial=0.0))

    def problem(self) -> LoopProblem:
        """Make the problem: aerodynamics as the truth, geometry exact, bounds of the truth."""
        case = self.case
        lower, upper = case.limits

        def declare(model: om.Group) -> None:
            for label, component in case.exact().items():
                model.add_subsystem(label, component, promotes=["*"])
            offset = 0
            for variable, (name, size) in zip(case.inputs, split, strict=True):
                part = slice(offset, offset + size)
                model.add_design_var(name, lower=lower[part], upper=upper[part], units=variable.units)
                offset += size
            model.add_objective("CD", ref=case.responses[0].ref)
            for response in case.responses[1:]:
                model.add_constraint(response.name, ref=response.ref, **{response.kind: np.asarray(response.bound)})

        split = tuple((v.name, int(np.prod(v.shape, dtype=int))) for v in case.inputs)
        return LoopProblem(
            f"airfoil {case.settings['airfoil']}",
            case.truth,
            case.inputs,
            case.outputs,
            lambda x: self.values(x, case.truth(x)[0]),
            lower,
            upper,
            self.low,
            self.high,
            case.start,
            declare,
            split,
        )

    def direct(self, scaling: tuple[float, float, float], iterations: int = 400) -> Counted:
        """Run SLSQP on the truth, and return its evaluations."""
        weight, angle, drag = scaling
        unit = np.append(np.full(16, weight), angle)
        row = np.append(self.case.responses[0].ref / drag, np.ones(self.low.size))
        counted = Counted(self.case.truth)

        def values(u: np.ndarray) -> np.ndarray:
            x = u * unit
            return row * self.values(x, counted(x)[0])

        def gradients(u: np.ndarray) -> np.ndarray:
            return row[:, None] * self.gradients(counted(u * unit)[1]) * unit

        equal = self.low == self.high
        below, above = np.isfinite(self.low) & ~equal, np.isfinite(self.high) & ~equal
        constraints: list[dict[str, Any]] = []
        for kind, chosen, sign, bound in (
            ("eq", equal, 1.0, self.low),
            ("ineq", below, 1.0, self.low),
            ("ineq", above, -1.0, self.high),
        ):
            if chosen.any():
                constraints.append(
                    {
                        "type": kind,
                        "fun": lambda u, s=sign, c=chosen, b=bound: s * (values(u)[1:][c] - b[c]),
                        "jac": lambda u, s=sign, c=chosen: s * gradients(u)[1:][c],
                    }
                )
        lower, upper = (limit / unit for limit in self.case.limits)
        solve: Any = minimize
        solve(
            lambda u: values(u)[0],
            self.case.start / unit,
            jac=lambda u: gradients(u)[0],
            bounds=list(zip(lower, upper, strict=True)),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": iterations},
        )
        return counted

    def best(self, counted: Counted) -> float:
        """Return the least CD of a feasible evaluated design, infinite where there is none."""
        found = [self._drag(x, y) for x, y, _ in counted.points.values()]
        return min(found, default=np.inf)

    def record(self, counted: Counted, reference: float) -> dict[str, Any]:
        """Return the figures of a run, and its evaluations until it was first near a CD."""

        def until(near: float) -> int | None:
            goal = (1.0 + near) * reference if np.isfinite(reference) else 0.0
            return counted.first(lambda x, y, dydx: self._drag(x, y) <= goal)

        steps = [(self.values(x, y)[0], self.violation(self.values(x, y))) for x, y, _ in counted.points.values()]
        return {
            "evaluations": len(counted),
            "best_feasible_CD": self.best(counted),
            "until_within": {f"{near:g}": until(near) for near in NEAR},
            "scaled_CD": [value for value, _ in steps],
            "violation": [violation for _, violation in steps],
        }

    def _drag(self, x: np.ndarray, y: np.ndarray) -> float:
        values = self.values(x, y)
        return float(values[0] * self.case.responses[0].ref) if self.violation(values) <= VIOLATION else np.inf
