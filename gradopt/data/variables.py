"""Variables: names, shapes, units, bounds and transforms; conversion of named arrays to flat columns and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from math import inf, isfinite, isnan, prod
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.lengths import without_loose
from gradopt.data.units import check_units
from gradopt.errors import FileFormatError, InputError, ShapeError, explain

TRANSFORMS = (None, "log", "logit")

_MOST_DIMENSIONS = 32  # dimensions of an array in every version of NumPy
_LARGEST_SIZE = 10**9  # entries of one sample, by hand: 8 GB in float64
_SAVE_AGAIN = "Save the file again where it was made."


@dataclass(frozen=True)
class Variable:
    """One named quantity of a model, scalar or array.

    Attributes:
        name: Name, also in OpenMDAO.
        shape: Shape of the array of one sample; its `size` columns are in C order.
        units: OpenMDAO unit string, or None for a number without one.
        lower: Lower bound in `units`, scalar or array of `shape`; None = unbounded. Stored as a flat tuple.
        upper: Upper bound, likewise.
        transform: "log" for a positive quantity, "logit" for one in (0, 1): the network models the transformed
            quantity; everything public is in `units`.
    """

    name: str
    shape: tuple[int, ...] = (1,)
    units: str | None = None
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    transform: str | None = None

    def __post_init__(self) -> None:
        """Check every field and flatten the bounds."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z_][\w:]*", self.name):
            remedy = "Use letters, digits, underscores and colons, as OpenMDAO does: Variable('x')."
            raise InputError(explain("name", "be a non-empty string that names a variable", repr(self.name), remedy))
        check_units(self.units)
        shape = tuple(self.shape) if isinstance(self.shape, Iterable) else (self.shape,)
        if not shape or any(not isinstance(size, int | np.integer) or size < 1 for size in shape):
            raise InputError(
                explain("shape", "hold positive whole numbers", self.shape, f"For a scalar {self.name!r} use (1,).")
            )
        object.__setattr__(self, "shape", tuple(int(size) for size in shape))
        if len(shape) > _MOST_DIMENSIONS or self.size > _LARGEST_SIZE:
            expected = f"have at most {_MOST_DIMENSIONS} dimensions and {_LARGEST_SIZE:.0e} entries"
            remedy = f"Check the shape of {self.name!r}."
            raise InputError(explain("shape", expected, shortened(self.shape), remedy))
        if self.transform is not None and (not isinstance(self.transform, str) or self.transform not in TRANSFORMS):
            raise InputError(
                explain("transform", "be None, 'log' or 'logit'", repr(self.transform), f"Variable {self.name!r}.")
            )
        for side in ("lower", "upper"):
            object.__setattr__(self, side, self._flat_bound(side))
        if self.lower is None and self.upper is None:
            return
        low, high = self.bounds
        if (low >= high).any():
            raise InputError(
                explain("lower", f"be below `upper` for {self.name!r}", f"{self.lower} and {self.upper}", "Swap them?")
            )
        if self.transform == "logit" and self.lower is not None and (low >= 1.0).any():
            raise InputError(explain("lower", "be below 1 with transform 'logit'", self.lower, "Drop either."))
        if self.transform and self.lower is not None and (low < 0).any():
            raise InputError(
                explain("lower", f"not be negative with transform {self.transform!r}", self.lower, "Drop either.")
            )
        beyond = (high <= 0.0) | ((high > 1.0) & (self.transform == "logit"))
        if self.transform and self.upper is not None and beyond.any():
            domain = "lie in (0, 1]" if self.transform == "logit" else "be positive"
            raise InputError(
                explain("upper", f"{domain} with transform {self.transform!r}", self.upper, "Drop either.")
            )

    def _flat_bound(self, side: str) -> tuple[float, ...] | None:
        bound = getattr(self, side)
        if bound is None:
            return None
        values = as_floats(side, bound)
        if values.size != 1 and values.shape not in (self.shape, (self.size,)):
            raise ShapeError(
                explain(side, f"be a number or have shape {self.shape}", f"shape {values.shape}", f"See {self.name!r}.")
            )
        flat = tuple(float(value) for value in np.broadcast_to(values.ravel(), (self.size,)))
        if any(isnan(value) for value in flat):
            raise InputError(explain(side, "not hold NaN", bound, "Use None for an unbounded variable."))
        return flat

    @property
    def size(self) -> int:
        """Number of columns the variable takes."""
        return prod(self.shape)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds, each (size,), infinite where there is none."""
        low = np.full(self.size, -np.inf) if self.lower is None else np.array(self.lower, dtype=float)
        high = np.full(self.size, np.inf) if self.upper is None else np.array(self.upper, dtype=float)
        return low, high

    @property
    def columns(self) -> list[str]:
        """Names of the columns: "x" for a scalar, "x[0]", "x[1]" ... or "x[0,1]" for arrays."""
        if self.size == 1:
            return [self.name]
        return [f"{self.name}[{','.join(map(str, index))}]" for index in np.ndindex(*self.shape)]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; an infinite bound of a column becomes None."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "units": self.units,
            "lower": None if self.lower is None else [float(v) if isfinite(v) else None for v in self.bounds[0]],
            "upper": None if self.upper is None else [float(v) if isfinite(v) else None for v in self.bounds[1]],
            "transform": self.transform,
        }

    @classmethod
    def from_dict(cls, fields: object) -> Variable:
        """Build a variable from the result of `to_dict`, by way of JSON.

        Args:
            fields: JSON values, from any source.

        Raises:
            FileFormatError: If they are no result of `to_dict`.
        """
        names = {each.name for each in dataclass_fields(cls)}
        if not isinstance(fields, Mapping) or set(fields) != names:
            got = shortened(fields if not isinstance(fields, Mapping) else sorted(map(str, fields)))
            raise FileFormatError(explain("variable", f"have the fields {sorted(names)}", got, _SAVE_AGAIN))
        shape = fields["shape"]
        listed = isinstance(shape, list | tuple) and len(shape) <= _MOST_DIMENSIONS
        if not listed or not all(type(size) is int for size in shape):
            expected = f"be a list of at most {_MOST_DIMENSIONS} whole numbers"
            raise FileFormatError(explain("shape", expected, shortened(shape), _SAVE_AGAIN))
        bounds: dict[str, list[float] | None] = {}
        for side, free in (("lower", -inf), ("upper", inf)):
            values = fields[side]
            if values is None:
                bounds[side] = None
                continue
            listed = isinstance(values, list | tuple) and len(values) == prod(shape)
            if not listed or not all(value is None or type(value) in (int, float) for value in values):
                expected = f"be null or hold one number or null for each entry of the shape {shortened(shape)}"
                raise FileFormatError(explain(side, expected, shortened(values), _SAVE_AGAIN))
            bounds[side] = [free if value is None else value for value in values]
        try:
            return cls(fields["name"], tuple(shape), fields["units"], **bounds, transform=fields["transform"])
        except (InputError, OverflowError) as wrong:  # the latter from a whole number beyond all real ones
            raise FileFormatError(f"A variable of the file is not valid: {wrong}") from wrong


def total_size(variables: Sequence[Variable]) -> int:
    """Return the number of columns of several variables together."""
    return sum(variable.size for variable in variables)


def column_names(variables: Sequence[Variable]) -> list[str]:
    """Return the names of all columns of several variables together."""
    return [name for variable in variables for name in variable.columns]


def column_bounds(variables: Sequence[Variable]) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds of all columns, each (columns,), infinite where there is none, or one of 1e20."""
    low, high = zip(*(variable.bounds for variable in variables), strict=True)
    return without_loose(np.concatenate(low)), without_loose(np.concatenate(high))


def column_slices(variables: Sequence[Variable]) -> dict[str, slice]:
    """Return, by variable name, the columns that the variable takes."""
    slices, start = {}, 0
    for variable in variables:
        slices[variable.name] = slice(start, start + variable.size)
        start += variable.size
    return slices


def flatten(values: Mapping[str, ArrayLike], variables: Sequence[Variable]) -> np.ndarray:
    """Join named arrays to flat columns.

    Args:
        values: Arrays by name, of the shape of the variable, or of (n, *shape) for n samples, in its units.
        variables: The variables in column order.

    Returns:
        Flat array (columns,) or (n, columns).

    Raises:
        InputError: If a variable is missing or a name is unknown.
        ShapeError: If an array has another shape than its variable, or numbers of samples differ.
    """
    names = [variable.name for variable in variables]
    if set(values) != set(names):
        raise InputError(explain("values", f"have exactly the names {names}", sorted(values), "Check the spelling."))
    parts: list[np.ndarray] = []
    for variable in variables:
        array = as_floats(f"values[{variable.name!r}]", values[variable.name], allow_complex=True)
        if array.shape == variable.shape or (array.ndim == 0 and variable.size == 1):
            parts.append(array.reshape(variable.size))
        elif array.shape[1:] == variable.shape:
            parts.append(array.reshape(len(array), variable.size))
        else:
            raise ShapeError(
                explain(
                    f"values[{variable.name!r}]",
                    f"have shape {variable.shape} or (n, {', '.join(map(str, variable.shape))})",
                    array.shape,
                    "Reshape it.",
                )
            )
    if len({part.shape[:-1] for part in parts}) > 1:
        raise ShapeError(
            explain("values", "hold equally many samples for each name", [part.shape for part in parts], "Check these.")
        )
    return np.concatenate(parts, axis=-1)


def unflatten(flat: np.ndarray, variables: Sequence[Variable]) -> dict[str, np.ndarray]:
    """Split flat columns into named arrays, the inverse of `flatten`.

    Args:
        flat: Flat array (columns,) or (n, columns).
        variables: The variables in column order.

    Returns:
        Arrays by name, of the shape of the variable, or (n, *shape).
    """
    slices = column_slices(variables)
    return {v.name: flat[..., slices[v.name]].reshape(flat.shape[:-1] + v.shape) for v in variables}


def as_variables(argument: str, variables: object) -> tuple[Variable, ...]:
    """Check that an argument is a sequence of variables, at least one.

    Args:
        argument: Name of the argument, for messages.
        variables: The argument.

    Returns:
        The variables.

    Raises:
        InputError: If the argument is not such a sequence.
    """
    if isinstance(variables, Iterable) and not isinstance(variables, str):
        found = tuple(variables)
        wrong = [variable for variable in found if not isinstance(variable, Variable)]
        if found and not wrong:
            return found
        variables = wrong[0] if wrong else found
    remedy = "Put them in a list: [Variable('x'), Variable('z')]; a single one too."
    raise InputError(explain(argument, "be a sequence of Variable objects", repr(variables), remedy))


def check_same_variables(
    argument: str, expected: Sequence[Variable], got: Sequence[Variable], remedy: str, exact: bool = False
) -> None:
    """Check that two sequences of variables agree in number, order, names, shapes and units.

    Args:
        argument: Name of the argument that has the variables `got`, for messages.
        expected: The variables that it must have.
        got: The variables that it has.
        remedy: What to do about it, one sentence.
        exact: Whether bounds and transforms must agree too.

    Raises:
        InputError: If they differ.
    """
    if exact and tuple(expected) != tuple(got):
        raise InputError(explain(argument, f"equal {tuple(expected)}", tuple(got), remedy))
    mine, theirs = ([(v.name, v.shape, v.units) for v in variables] for variables in (expected, got))
    if mine != theirs:
        raise InputError(explain(argument, f"have the names, shapes and units {mine}", theirs, remedy))


def check_different_names(inputs: Sequence[Variable], outputs: Sequence[Variable]) -> None:
    """Raise `InputError` if an output has the name of an input."""
    shared = sorted({v.name for v in inputs} & {v.name for v in outputs})
    if shared:
        remedy = "OpenMDAO cannot distinguish them; rename one."
        raise InputError(explain("outputs", "have other names than `inputs`", shared, remedy))


def check_variables(
    argument: str, variables: Sequence[Variable] | None, columns: int, letter: str
) -> tuple[Variable, ...]:
    """Check that variables cover the columns of an array; None gives one variable with the name of the array.

    Args:
        argument: Name of the argument, for messages.
        variables: The variables, or None.
        columns: Number of columns to cover.
        letter: Name of the array in messages, and of the one variable where `variables` is None.

    Returns:
        The variables as a tuple.

    Raises:
        InputError: If two variables share a name, or an entry is not a `Variable`.
        ShapeError: If the sizes do not add up to the number of columns.
    """
    if variables is None:
        return (Variable(letter, shape=(columns,)),)
    variables = as_variables(argument, variables)
    names = [variable.name for variable in variables]
    if len(set(names)) < len(names):
        raise InputError(explain(argument, "have different names", names, "Rename one."))
    if total_size(variables) != columns:
        sizes = ", ".join(f"{variable.name}: {variable.size}" for variable in variables)
        remedy = f"Check each `shape`; if samples are the columns of `{letter}`, pass `{letter}.T`."
        got = f"{total_size(variables)} ({sizes})"
        raise ShapeError(explain(argument, f"cover the {columns} columns of `{letter}`", got, remedy))
    return tuple(variables)
