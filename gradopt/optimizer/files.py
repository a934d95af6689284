"""Files of an `Optimizer`: problem, settings and state."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from gradopt.data.json_values import fits
from gradopt.data.variables import Variable, total_size
from gradopt.errors import FileFormatError, explain
from gradopt.loop.checks import REMEDY, check_array, check_state, check_trust_region
from gradopt.loop.files import classes
from gradopt.loop.packing import Classes, Packer, Unpacker
from gradopt.loop.settings import Settings
from gradopt.loop.state import State
from gradopt.optimizer.flat_problem import Constraint, LinearConstraint, Objective
from gradopt.surrogates.fitted import container
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import STAGES, FiniteDifferencePlan
from gradopt.versions import versions

_ROUND_OFF = 1e-9  # distance from the bounds that is none, relative; by hand
_MOST_COLUMNS = 1_000_000  # outputs and constraints that are read, 8 MB an array; by hand

_PARTS: dict[str, Any] = {
    "inputs": tuple[Variable, ...],
    "outputs": tuple[Variable, ...],
    "x0": np.ndarray,
    "objective": Objective,
    "constraints": tuple[Constraint, ...],
    "linear": LinearConstraint | None,
    "bounds": tuple[np.ndarray, np.ndarray],
    "configuration": object,
    "initial_surrogate": object,
    "settings": Settings,
}
"""Parts of a problem and their types."""

OPTIMIZER = container.Kind("gradopt.optimizer", 1, "optimizer.save(path)")


def _classes() -> Classes:
    own = (Objective, Constraint, LinearConstraint, FiniteDifferencePlan, CentralDifferencePlan)
    return {**classes(), **{kind.__name__: kind for kind in own}}


def write(path: str | Path, parts: dict[str, Any]) -> None:
    """Write the parts of an optimizer."""
    packer = Packer(_classes())
    header = {"parts": packer.pack(parts), "versions": versions()}
    container.write(path, header, packer.arrays, OPTIMIZER)


def read(path: str | Path) -> dict[str, Any]:
    """Read the parts of an optimizer."""
    header, arrays, _ = container.read(path, OPTIMIZER)
    found = Unpacker(_classes(), arrays).unpack(header.get("parts"))
    if not isinstance(found, dict) or set(found) != {"problem", "state", "plan"}:
        raise FileFormatError(f"{str(path)!r} holds no optimizer. Write it with `{OPTIMIZER.written_by}`.")
    _check(found)
    return found


def _check(found: dict[str, Any]) -> None:
    """Check types, and sizes that the problem claims, before anything of that size is made."""
    problem, state, plan = found["problem"], found["state"], found["plan"]
    if not isinstance(problem, dict) or set(problem) != set(_PARTS):
        got = sorted(problem) if isinstance(problem, dict) else shortened(problem)
        raise FileFormatError(explain("problem", f"have the parts {sorted(_PARTS)}", got, REMEDY))
    for name, value, kind in (
        *((name, problem[name], kind) for name, kind in _PARTS.items()),
        ("state", state, State),
        ("plan", plan, FiniteDifferencePlan | CentralDifferencePlan | None),
    ):
        if not fits(value, kind):
            raise FileFormatError(explain(name, f"be of type {kind}", shortened(value), REMEDY))
    for name, method in (("configuration", "fit"), ("initial_surrogate", "linearize")):  # their classes need torch
        if problem[name] is not None and not hasattr(problem[name], method):
            raise FileFormatError(explain(name, f"have a method `{method}`", shortened(problem[name]), REMEDY))
    check_trust_region(problem["settings"].trust_region)
    inputs, outputs = problem["inputs"], problem["outputs"]
    d, m = total_size(inputs), total_size(outputs)
    sizes = {variable.name: variable.size for variable in outputs}
    rows = sum(sizes.get(constraint.name, 0) for constraint in problem["constraints"])
    if m + rows > _MOST_COLUMNS:
        raise FileFormatError(explain("outputs", f"have at most {_MOST_COLUMNS} entries", m + rows, REMEDY))
    check_state(state)
    check_array("x0", problem["x0"], (d,))
    check_array("start", state.start, (d,))
    for side in problem["bounds"]:
        check_array("bounds", side, (d,))
    for u in (problem["x0"], state.start, *(point.u for point in state.points)):
        _check_within("u", u, *problem["bounds"])
    for holder in (*state.samples, *(each for each in (problem["initial_surrogate"],) if each is not None)):
        if (holder.inputs, holder.outputs) != (inputs, outputs):
            expected = "have the variables of the problem"
            raise FileFormatError(explain(type(holder).__name__, expected, shortened(holder.inputs), REMEDY))
    if len(state.samples) != 1:
        raise FileFormatError(explain("samples", "be those of one truth", len(state.samples), REMEDY))
    linear = problem["linear"]
    if linear is not None:
        check_array("matrix", linear.matrix, (-1, d))
        for side in (linear.lower, linear.upper):
            check_array("linear", side, (len(linear.matrix),))
        rows += len(linear.matrix)
    for point in state.points:
        check_array("c", point.c, (rows,))
    if plan is not None:
        _check_plan(plan, d, m)


def _check_plan(plan: FiniteDifferencePlan | CentralDifferencePlan, d: int, m: int) -> None:
    """Check the shapes of a plan of finite differences."""
    shapes: list[tuple[str, tuple[int, ...]]] = [("x", (d,)), ("y", (m,)), ("known", (m, d)), ("met", (-1, m))]
    if isinstance(plan, FiniteDifferencePlan):
        shapes += [("steps", (STAGES, d)), ("values", (STAGES, m, d))]
        check_array("evaluated", plan.evaluated, (STAGES, d), np.bool_)
        check_array("matters", plan.matters, (m,), np.bool_)
    else:
        shapes += [(name, (d,)) for name in ("lower", "upper", "lengths", "steps")]
        shapes += [("weights", (m,)), ("beside", (-1, d)), ("values", (-1, m))]
    for name, shape in shapes:
        check_array(name, getattr(plan, name), shape)
    if isinstance(plan, CentralDifferencePlan):
        check_array("values", plan.values, (len(plan.beside), m))


def _check_within(name: str, u: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
    """Raise `FileFormatError` unless a point (d,) is finite and within the bounds, but for round-off."""
    slack = _ROUND_OFF * (1.0 + np.abs(u))
    if not (np.isfinite(u) & (u >= lower - slack) & (u <= upper + slack)).all():
        expected = f"lie within the bounds {shortened(lower.tolist())} and {shortened(upper.tolist())}"
        raise FileFormatError(explain(name, expected, shortened(u.tolist()), REMEDY))
