"""A whole OpenMDAO model as a truth: what it declares to its driver, and the entries of its variables that matter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import openmdao.api as om
from numpy.typing import ArrayLike
from openmdao.utils.units import unit_conversion

from gradopt import openmdao_private as private
from gradopt.data.variables import Variable, column_names
from gradopt.errors import InputError, explain
from gradopt.om.certificate import check_declared
from gradopt.om.quantities import Quantities
from gradopt.optimality.layout import Arrays
from gradopt.truth.domains import fail_outside_domain
from gradopt.truth.model import ModelTruth
from gradopt.truth.points import as_points
from gradopt.truth.protocol import Evaluations
from gradopt.truth.totals_check import check_partials, largest_entries


@dataclass(frozen=True, eq=False)
class Entry:
    """A design variable or response as it is declared to the driver.

    Attributes:
        name: The driver's name.
        source: Absolute name of the output that holds it.
        indices: Flat indices within the source.
        shape: Of its value: the model's, or flat where indices choose.
        whole: Whether no indices were declared.
        units: Declared units; None for those of the model.
        options: Of the indices, in `units`: "scaler" and "adder", and but for an objective "lower" and "upper".
    """

    name: str
    source: str
    indices: np.ndarray
    shape: tuple[int, ...]
    whole: bool
    units: str | None
    options: Arrays


@dataclass(frozen=True, eq=False)
class Held:
    """A variable of the model, and which of its entries are design variables or responses.

    Attributes:
        path: Name that `ModelTruth` takes.
        indices: Flat indices of what is held.
        value: The whole variable as it stands, in the units of the model.
        variable: What is held, in the units of the model.
    """

    path: str
    indices: np.ndarray
    value: np.ndarray
    variable: Variable


@dataclass(frozen=True, eq=False)
class Declarations:
    """What a model declares to its driver.

    Attributes:
        designs: Design variables.
        objective: The objective.
        constraints: Constraints.
        inputs: For the source of each design variable what is held of it.
        outputs: For each other source of a response what is held of it; responses may share one.
    """

    designs: list[Entry]
    objective: Entry
    constraints: list[Entry]
    inputs: dict[str, Held]
    outputs: dict[str, Held]

    def held(self, entry: Entry) -> tuple[Held, list[int]]:
        """What holds an entry, and the indices of the entry in it."""
        held = (self.inputs | self.outputs)[entry.source]
        position = {int(index): at for at, index in enumerate(held.indices)}
        return held, [position[int(index)] for index in entry.indices]


@dataclass
class Pending:
    """State of a check that is made once.

    Attributes:
        pending: Whether the check is still to be made.
    """

    pending: bool


@dataclass(frozen=True, eq=False)
class ChosenEntries:
    """A model as a truth of some entries of its variables; the other entries of its inputs stay as they are.

    Attributes:
        model: The model.
        inputs: Variables of the chosen inputs.
        outputs: Variables of the chosen outputs.
        identity: Identity of what is evaluated, None where it cannot be found.
        columns: Chosen columns of the model's x (d,).
        rows: Chosen columns of the model's y (m,).
        rest: The model's x, 0 in the chosen columns.
        scale: Sizes (len(rows),) of the chosen outputs that matter, in the units of the model: from `ref`, or bounds.
        check: Whether the totals of the chosen entries are still to be checked.
    """

    model: ModelTruth
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    identity: str | None
    columns: np.ndarray
    rows: np.ndarray
    rest: np.ndarray
    scale: np.ndarray
    check: Pending

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points x (n, d), in the units of the model; a point that fails is a row too.

        Raises:
            InputError: If `x` is not finite, or the model's totals are wrong.
            ShapeError: If `x` is not (n, d).
        """
        points = as_points(x, self.inputs)
        found = self.model.evaluate(self._full(points))
        y, dydx = found.y[:, self.rows], found.dydx[:, self.rows][:, :, self.columns]
        chosen = Evaluations(points, y, dydx, found.status, found.message, found.seconds)
        chosen = fail_outside_domain(chosen, self.outputs)
        if self.check.pending and chosen.ok.any():
            row = int(np.flatnonzero(chosen.ok)[0])
            largest = largest_entries(found.y[row], self.model.outputs)[self.rows]
            result = (chosen.x[row], chosen.y[row], chosen.dydx[row])
            names = [column_names(self.model.outputs)[index] for index in self.rows]
            check_partials(self._values, *result, self.inputs, self.outputs, self.scale, largest, names)
            self.check.pending = False
        return chosen

    def _values(self, x: np.ndarray) -> np.ndarray:
        return self.model.values(self._full(x[None])[0])[self.rows]

    def _full(self, points: np.ndarray) -> np.ndarray:
        """Make points of the model from points (n, d) of the chosen entries."""
        full = np.tile(self.rest, (len(points), 1))
        full[:, self.columns] = points
        return full


def read(factory: Callable[[], Any]) -> Declarations:
    """Build a model and read what it declares to its driver.

    Args:
        factory: Returns an `om.Problem`, set up or not.

    Returns:
        Its declarations, with the values that its variables have.

    Raises:
        InputError: If it returns no problem, the problem has no design variables, not exactly one objective, or
            discrete or distributed ones among them, or if a response is constant, or none is computed.
    """
    problem = factory()
    if not isinstance(problem, om.Problem):
        remedy = "It builds the problem and returns it, set up or not, not run."
        raise InputError(explain("factory", "return an om.Problem", type(problem).__name__, remedy))
    if not private.is_set_up(problem):
        problem.setup()
    check_declared(problem, run_model=True)
    model, driver = problem.model, problem.driver
    independent = {model.get_source(name): name for name, _ in problem.list_indep_vars(out_stream=None)}
    computed = {name: meta["prom_name"] for name, meta in model.get_io_metadata(iotypes="output").items()}
    designs = _entries(problem, "design_var", private.design_variables(driver))
    objective, constraints = (
        _entries(problem, kind, declared)
        for kind, declared in (("objective", private.objectives(driver)), ("constraint", private.constraints(driver)))
    )
    inputs = {d.source: _held(problem, [d], independent.get(d.source, d.name)) for d in designs}
    outputs: dict[str, Held] = {}
    for response in (responses := [*objective, *constraints]):
        source = response.source
        designed = inputs[source].indices if source in inputs else ()
        if source in independent and not np.isin(response.indices, designed).all():
            remedy = "Drop it, or make what it reads a design variable."
            raise InputError(explain(f"response {response.name!r}", "depend on design variables", "a constant", remedy))
        if source not in inputs and source not in outputs:
            outputs[source] = _held(problem, [r for r in responses if r.source == source], computed[source])
    if not outputs:
        remedy = "There is nothing to learn of it: optimize it directly."
        got = "design variables only"
        raise InputError(explain("problem", "compute its objective or a constraint", got, remedy))
    return Declarations(designs, objective[0], constraints, inputs, outputs)


def _entries(problem: om.Problem, kind: str, declared: dict[str, dict[str, Any]]) -> list[Entry]:
    found = Quantities(problem, kind, declared)
    lower, upper = found.lower / found.scaler - found.adder, found.upper / found.scaler - found.adder
    turned = found.scaler < 0.0
    parts = {"scaler": found.scaler, "adder": found.adder}
    if kind != "objective":
        parts |= {"lower": np.where(turned, upper, lower), "upper": np.where(turned, lower, upper)}
    split = {side: found.split(part) for side, part in parts.items()}
    entries = []
    for name, meta in declared.items():
        value, whole = np.atleast_1d(problem.get_val(meta["source"])), meta["indices"] is None
        every = np.arange(value.size)
        indices = every if whole else every[meta["indices"].as_array()]
        options = {side: part[name] for side, part in split.items()}
        shape = value.shape if whole else indices.shape
        entries.append(Entry(name, meta["source"], indices, shape, whole, meta["units"], options))
    return entries


def _held(problem: om.Problem, entries: Sequence[Entry], path: str) -> Held:
    """Gather what is declared of one variable."""
    source, whole = entries[0].source, any(entry.whole for entry in entries)
    value = np.atleast_1d(problem.get_val(source)).astype(float)
    indices = entries[0].indices
    if len(entries) > 1:
        indices = np.unique(np.concatenate([entry.indices for entry in entries]))
    units = private.output_metadata(problem.model)[source]["units"]
    shape = value.shape if whole else indices.shape
    return Held(path, indices, value, Variable(path.replace(".", ":"), shape, units))


def choose(
    declared: Declarations, model: ModelTruth, transforms: Mapping[str, str], identity: str | None, check: bool
) -> ChosenEntries:
    """Make the truth of the design variables and responses.

    Args:
        declared: What the model declares.
        model: The model as a truth of all entries of `declared.inputs` and `declared.outputs`.
        transforms: For the name of a response "log" or "logit".
        identity: Identity of what the model computes, None where it cannot be found.
        check: Whether to check the totals of the chosen entries at the first good point.

    Returns:
        The truth, its inputs bounded as the design variables are.

    Raises:
        InputError: If `transforms` does not name responses that the model computes.
    """
    outputs = {source: held.variable for source, held in declared.outputs.items()}
    known = {r.name: r.source for r in (declared.objective, *declared.constraints) if r.source in outputs}
    for name, transform in transforms.items():
        if name not in known:
            remedy = "Use the names, or aliases, of the objective and the constraints."
            raise InputError(explain("transforms", f"name responses among {sorted(known)}", repr(name), remedy))
        outputs[known[name]] = replace(outputs[known[name]], transform=transform)
    inputs = []
    for design in declared.designs:
        variable = declared.inputs[design.source].variable
        low, high = (
            np.asarray(om.convert_units(design.options[side], design.units, variable.units))
            for side in ("lower", "upper")
        )
        apart = low < high  # where they are the same, the optimizer holds the entry
        inputs.append(replace(variable, lower=np.where(apart, low, -np.inf), upper=np.where(apart, high, np.inf)))
    rest = np.concatenate([held.value.ravel() for held in declared.inputs.values()])
    columns, rows = _columns(declared.inputs.values()), _columns(declared.outputs.values())
    rest[columns] = 0.0
    if identity is not None:
        paths = [held.path for held in (*declared.inputs.values(), *declared.outputs.values())]
        chosen = json.dumps([paths, columns.tolist(), rows.tolist(), rest.tolist()])
        identity = f"{identity}, entries {hashlib.sha256(chosen.encode()).hexdigest()}"
    scale = _scale(declared)
    return ChosenEntries(
        model, tuple(inputs), tuple(outputs.values()), identity, columns, rows, rest, scale, Pending(check)
    )


def _scale(declared: Declarations) -> np.ndarray:
    """Sizes of the outputs that matter, in the units of the model: `ref`, or a bound below 1, or 1."""
    sizes = {source: np.full(held.variable.size, np.inf) for source, held in declared.outputs.items()}
    for response in (declared.objective, *declared.constraints):
        if response.source in sizes:
            held, at = declared.held(response)
            units = response.units if response.units is not None else held.variable.units
            factor = 1.0 if units == held.variable.units else float(unit_conversion(units, held.variable.units)[0])
            size = np.abs(1.0 / response.options["scaler"])
            for side in {"lower", "upper"} & set(response.options):
                bound = np.abs(response.options[side])
                size = np.where((size == 1.0) & (bound > 0.0) & (bound < 1.0), bound, size)
            sizes[response.source][at] = np.minimum(sizes[response.source][at], size * abs(factor))
    return np.concatenate(list(sizes.values()))


def _columns(every: Iterable[Held]) -> np.ndarray:
    """Columns of what is held where whole variables stand side by side."""
    columns, start = [np.empty(0, dtype=int)], 0
    for held in every:
        columns.append(start + held.indices)
        start += held.value.size
    return np.concatenate(columns)
