"""An optimization problem whose objective and constraints are outputs of one truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.lengths import lengths_of, without_loose
from gradopt.data.variables import Variable, column_names, column_slices
from gradopt.errors import EvaluationError, InputError, ShapeError, explain
from gradopt.loop.problem import Component, LearnedTruth
from gradopt.optimality.layout import Layout
from gradopt.optimality.problem import Limits, Responses, Scales
from gradopt.surrogates.protocol import SupportsEvaluate

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit


@dataclass(frozen=True)
class Objective:
    """An output that is minimized.

    Attributes:
        name: Name of the output variable, which has one entry.
        ref: Value that counts as 1; negative to maximize, -1 only for that. None = what the run shows.

    Raises:
        InputError: If `ref` is zero or not finite.
    """

    name: str
    ref: float | None = None

    @property
    def scaler(self) -> float:
        """Factor from the output to what is minimized."""
        return 1.0 if self.ref is None else 1.0 / self.ref

    def __post_init__(self) -> None:
        """Check the scaling."""
        _check_ref(self.ref)


@dataclass(frozen=True)
class Constraint:
    """An output that is kept within bounds.

    Attributes:
        name: Name of the output variable.
        lower: Lower bound, a number or one for each entry; None where there is none.
        upper: Upper bound, likewise.
        equals: Value in place of bounds.
        ref: Value that counts as 1. None = what the run shows.

    Raises:
        InputError: If there is no bound, or `equals` beside one, or `ref` is zero or not finite.
    """

    name: str
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    equals: ArrayLike | None = None
    ref: float | None = None

    def __post_init__(self) -> None:
        """Check that there are bounds."""
        _check_ref(self.ref)
        bounded = self.lower is not None or self.upper is not None
        if bounded == (self.equals is not None):
            got = f"lower {self.lower}, upper {self.upper}, equals {self.equals}"
            remedy = "For instance Constraint('stress', upper=2e8)."
            raise InputError(explain("constraint", "have bounds, or else `equals`", got, remedy))


@dataclass(frozen=True, eq=False)
class LinearConstraint:
    """Exact constraints lower <= matrix x <= upper, which no surrogate stands for.

    Attributes:
        matrix: Coefficients (p, d).
        lower: Lower bounds (p,), -inf where there is none.
        upper: Upper bounds (p,).
    """

    matrix: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class FlatProblem:
    """A `Problem` of the loop: objective and constraints are outputs of one truth, in physical units.

    Attributes:
        inputs: Design variables, the inputs of the truth.
        outputs: Outputs of the truth.
        objective: Objective.
        constraints: Constraints on outputs.
        linear: Exact linear constraints, or None.
        limits: Bounds; outputs are scaled by their `ref`, design variables are not.
        truths: The truth as it is learned.
        components: The one place where a surrogate stands for it.
        layout: Names of the constraints and their scaling.
    """

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        start: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        objective: Objective,
        constraints: Sequence[Constraint] = (),
        linear: LinearConstraint | None = None,
        configuration: SupportsFit | None = None,
        initial: SupportsEvaluate | None = None,
    ) -> None:
        """Pose a problem.

        Args:
            inputs: Design variables.
            outputs: Outputs of the truth.
            start: Start (d,), whose size stands in for ranges where there are no bounds.
            bounds: Lower and upper bounds of the design variables, each (d,).
            objective: Objective.
            constraints: Constraints on outputs.
            linear: Exact linear constraints.
            configuration: Configuration of the global surrogate; None fits none.
            initial: Initial surrogate of the truth.

        Raises:
            InputError: If the objective or a constraint names no output.
            ShapeError: If the objective has several entries, or bounds have other sizes than their output.
        """
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.objective, self.constraints, self.linear = objective, tuple(constraints), linear
        self.truths = (LearnedTruth(self.inputs, self.outputs, None if initial is not None else configuration),)
        self.components = (Component(0, initial),)
        columns = column_slices(self.outputs)
        known = ", ".join(columns)
        for what, name in (("objective", objective.name), *(("constraints", one.name) for one in constraints)):
            if name not in columns:
                raise InputError(explain(what, "name outputs", repr(name), f"The outputs are: {known}."))
        size = {variable.name: variable.size for variable in self.outputs}
        if size[objective.name] != 1:
            remedy = "Make the entry that counts an output of its own."
            raise ShapeError(explain("objective", "name an output with one entry", size[objective.name], remedy))
        self._column = columns[objective.name].start
        rows = [np.arange(columns[one.name].start, columns[one.name].stop) for one in constraints]
        self._rows = np.concatenate([np.empty(0, dtype=int), *rows])
        scalers = [np.full(size[one.name], 1.0 if one.ref is None else 1.0 / one.ref) for one in constraints]
        lower, upper = [], []
        for one, scaler in zip(constraints, scalers, strict=True):
            low, high = _bounds_of(one, size[one.name])
            swapped = scaler < 0.0  # a negative scaler turns the sides around
            lower.append(np.where(swapped, high * scaler, low * scaler))
            upper.append(np.where(swapped, low * scaler, high * scaler))
        names = [one.name for one in constraints]
        sizes = [size[name] for name in names]
        if linear is not None:
            names, sizes = [*names, "linear"], [*sizes, len(linear.matrix)]
            scalers.append(np.ones(len(linear.matrix)))
            lower.append(linear.lower)
            upper.append(linear.upper)
        none = np.empty(0)
        self.scaler = np.concatenate([none, *scalers])
        self.layout = Layout(names, sizes, self.scaler)
        bounds = without_loose(bounds[0]), without_loose(bounds[1])
        width = lengths_of(*bounds, start)
        refs = [
            np.full(size, np.nan if one.ref is None else 1.0) for one, size in zip(constraints, sizes, strict=False)
        ]
        declared = np.concatenate([none, *refs, np.full(len(self.scaler) - len(self._rows), np.nan)])
        f_declared = np.nan if objective.ref in (None, -1.0) else 1.0
        scales = Scales(np.full(len(start), np.nan), f_declared, declared)
        self.limits = Limits(*bounds, np.concatenate([none, *lower]), np.concatenate([none, *upper]), width, scales)

    @property
    def sensitivities(self) -> np.ndarray:
        """Derivatives (1 + p, m) of the scaled objective and constraints with respect to the outputs."""
        found = np.zeros((1 + len(self.limits.c_lower), sum(variable.size for variable in self.outputs)))
        found[0, self._column] = self.objective.scaler
        count = len(self._rows)
        found[1 + np.arange(count), self._rows] = self.scaler[:count]
        return found

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Return objective and constraints at u (d,) from outputs y (m,) and partials dydx (m, d)."""
        scaler, count = self.objective.scaler, len(self._rows)
        c, jacobian = y[self._rows] * self.scaler[:count], dydx[self._rows] * self.scaler[:count, None]
        if self.linear is not None:
            c = np.append(c, self.linear.matrix @ u)
            jacobian = np.vstack([jacobian, self.linear.matrix])
        return Responses(u.copy(), float(y[self._column] * scaler), dydx[self._column] * scaler, c, jacobian)

    def evaluate_on(self, surrogates: Sequence[SupportsEvaluate], u: np.ndarray) -> Responses:
        """Evaluate the problem on a surrogate, see `gradopt.loop.problem.Problem`.

        Raises:
            EvaluationError: If u is outside the domain of the surrogate.
        """
        (surrogate,) = surrogates
        outside = ~((u >= surrogate.lower) & (u <= surrogate.upper))
        if outside.any():
            column = int(np.flatnonzero(outside)[0])
            name, edges = column_names(self.inputs)[column], (surrogate.lower[column], surrogate.upper[column])
            raise EvaluationError(f"Input {name!r} is {u[column]:g}, outside the domain {edges} of the surrogate.")
        found = surrogate.evaluate(u[None])
        return self.responses(u, found.y[0], found.dydx()[0])


def _bounds_of(constraint: Constraint, size: int) -> tuple[np.ndarray, np.ndarray]:
    sides = []
    for side, none in (("lower", -np.inf), ("upper", np.inf)):
        given = constraint.equals if constraint.equals is not None else getattr(constraint, side)
        values = as_floats(side, none if given is None else given).ravel()
        if values.size not in (1, size) or np.isnan(values).any():
            remedy = f"It bounds {constraint.name!r}."
            raise ShapeError(explain(side, f"be a number or {size} numbers", values.tolist(), remedy))
        sides.append(without_loose(np.broadcast_to(values, (size,))))
    return sides[0], sides[1]


def _check_ref(ref: float | None) -> None:
    if ref is not None and (not np.isfinite(ref) or ref == 0.0):
        raise InputError(explain("ref", "be a number that is not zero", ref, "Leave it out."))
