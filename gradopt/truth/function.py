"""A Python function as the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.variables import Variable, as_variables, check_different_names, check_variables, total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth.domains import fail_outside_domain
from gradopt.truth.identity import identity_of, unidentified
from gradopt.truth.points import as_failures, as_points, evaluate_points
from gradopt.truth.protocol import Evaluations


@dataclass(frozen=True)
class FunctionTruth:
    """A function of one point as a truth.

    Attributes:
        f: Function of x (d,), physical, columns in the order of `inputs`. Returns y (m,), or a number if m = 1; or the
            pair y, dydx with partials (m, d), or (d,) if m = 1, NaN where unknown.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.
        failures: Exceptions of `f` that mean that a point failed. `EvaluationError` and OpenMDAO's `AnalysisError`
            always do, as does NaN or infinity in y, infinity in dydx, or a y outside the domain of its transform. All
            other exceptions are raised.
        identity: Words for what `f` computes, for a store on disk: equal words, equal results. By default a hash of the
            code and of the values that `f` reaches, in all modules of the user, and of the versions of the installed
            packages, so that a changed function is another truth; not of files that `f` reads. None where
            `unidentified` names a part.

    Raises:
        InputError: If `f` is not callable, `inputs` or `outputs` hold other objects than variables, or names repeat.
    """

    f: Callable[[np.ndarray], Any]
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    failures: Sequence[type[Exception]] = ()
    identity: str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        if not callable(self.f):
            remedy = "Pass the function, not what it returns."
            raise InputError(explain("f", "be a function of a point (d,)", repr(self.f), remedy))
        for name, variables in as_sides(self.inputs, self.outputs).items():
            object.__setattr__(self, name, variables)
        object.__setattr__(self, "failures", as_failures(self.failures))
        if self.identity is None:
            object.__setattr__(self, "identity", identity_of(self.f))

    @property
    def unidentified(self) -> str:
        """Part of `f` that cannot be identified, "" where there is none."""
        return unidentified(self.f)

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points one after the other.

        Args:
            x: Points (n, d), physical.

        Returns:
            Evaluations with one row for each point, failed points included.

        Raises:
            InputError: If `x` is not finite, or `f` returned other things than real numbers.
            ShapeError: If `x` is not (n, d), or `f` returned other shapes than (m,) and (m, d).
        """
        return evaluate_function("f(x)", self.f, x, self.inputs, self.outputs, tuple(self.failures))


def evaluate_function(
    argument: str,
    f: Callable[[np.ndarray], Any],
    x: ArrayLike,
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    failures: tuple[type[Exception], ...],
) -> Evaluations:
    """Evaluate a function of one point (d,) at points x (n, d), see `FunctionTruth`; `argument` names its result."""
    m, d = total_size(outputs), total_size(inputs)
    points = as_points(x, inputs)
    found = evaluate_points(f, lambda result: _read_result(argument, result, m, d), points, m, failures)
    return fail_outside_domain(found, outputs)


def _read_result(argument: str, returned: Any, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert the result of a user's function to values and partials.

    Args:
        argument: Name of the result, for messages.
        returned: y (m,), or a number if m = 1; or the pair y, dydx with partials (m, d), or (d,) if m = 1.
        m: Number of output columns.
        d: Number of input columns.

    Returns:
        y (m,) and dydx (m, d), NaN where unknown.

    Raises:
        InputError: If the result holds other things than real numbers.
        ShapeError: If an array has another shape.
    """
    paired = isinstance(returned, tuple) and len(returned) == 2
    first, second = returned if paired else (returned, None)
    y = as_floats(argument, first)
    if y.shape != (m,) and not (m == 1 and y.size == 1 and y.ndim == 0):
        remedy = "Return the columns in the order of `outputs`; for values and partials return a pair."
        raise ShapeError(explain(argument, f"have shape (m,) = ({m},)", y.shape, remedy))
    if second is None:
        return y.reshape(m), np.full((m, d), np.nan)
    dydx = as_floats(f"dydx of {argument}", second)
    if dydx.shape != (m, d) and not (dydx.size == m * d and 1 in (m, d) and dydx.ndim < 2):
        remedy = "Index order is of, wrt. For values alone return an array, not a tuple of two."
        if dydx.shape == (d, m):
            remedy = "If it is (d, m), return `dydx.T`."
        raise ShapeError(explain(f"dydx of {argument}", f"have shape (m, d) = ({m}, {d})", dydx.shape, remedy))
    return y.reshape(m), dydx.reshape(m, d)


def as_sides(inputs: Any, outputs: Any) -> dict[str, tuple[Variable, ...]]:
    """Check that inputs and outputs of a truth are sequences of variables with different names.

    Args:
        inputs: The inputs as given.
        outputs: The outputs as given.

    Returns:
        Variables of both, by the name of the argument.

    Raises:
        InputError: If an argument is not a sequence of variables, or a name occurs twice.
    """
    sides = {}
    for name, given in (("inputs", inputs), ("outputs", outputs)):
        found = as_variables(name, given)
        sides[name] = check_variables(name, found, total_size(found), name)
    check_different_names(sides["inputs"], sides["outputs"])
    return sides
