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
from gradopt.truth.identity import identity_of
from gradopt.truth.points import as_failures, as_points, evaluate_points
from gradopt.truth.protocol import Evaluations


@dataclass(frozen=True)
class FunctionTruth:
    """A function of one point as a truth.

    Attributes:
        f: Takes x (d,), physical, columns in the order of `inputs`. Returns y (m,), or a number if m = 1; or the pair
            y, dydx with partials (m, d), or (d,) if m = 1, NaN where not known.
        inputs: Variables of the columns of x.
        outputs: Variables of the columns of y.
        failures: Exceptions of `f` that mean that a point failed; `EvaluationError` and OpenMDAO's `AnalysisError`
            always do, as does NaN or infinity in y, or infinity in dydx. All others are errors and pass.
        identity: What `f` computes, for a store on disk: equal words, equal answers. By default a hash of the source
            of `f` and of what it uses of its own module, so that a change in it is another truth; None where the
            source does not tell all, as for lambdas, closures and methods.

    Raises:
        InputError: If `f` is not callable or a variable is none, or names repeat.
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

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points one after the other.

        Args:
            x: Points (n, d), physical.

        Returns:
            One row for each point; failed points are rows too.

        Raises:
            InputError: If `x` is not finite, or `f` returned no real numbers.
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
    """Evaluate a function of one point (d,) at points x (n, d), as `FunctionTruth`; `argument` names its answer."""
    m, d = total_size(outputs), total_size(inputs)
    return evaluate_points(f, lambda answer: _read_answer(argument, answer, m, d), as_points(x, inputs), m, failures)


def _read_answer(argument: str, returned: Any, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Make values and partials of what a function of the user's returned.

    Args:
        argument: What it is, for messages.
        returned: y (m,), or a number if m = 1; or the pair y, dydx with partials (m, d), or (d,) if m = 1.
        m: Number of output columns.
        d: Number of input columns.

    Returns:
        y (m,) and dydx (m, d), NaN where not known.

    Raises:
        InputError: If they are no real numbers.
        ShapeError: If they have other shapes.
    """
    paired = isinstance(returned, tuple) and len(returned) == 2
    first, second = returned if paired else (returned, None)
    y = as_floats(argument, first)
    if y.shape != (m,) and not (m == 1 and y.size == 1 and y.ndim == 0):
        remedy = "Columns stand in the order of `outputs`; return a pair for values and partials."
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
    """Check that inputs and outputs of a truth are sequences of variables, no two of which have the same name.

    Args:
        inputs: What came as inputs.
        outputs: What came as outputs.

    Returns:
        The variables of both, by the name of the argument.

    Raises:
        InputError: If they are not.
    """
    sides = {}
    for name, given in (("inputs", inputs), ("outputs", outputs)):
        found = as_variables(name, given)
        sides[name] = check_variables(name, found, total_size(found), name)
    check_different_names(sides["inputs"], sides["outputs"])
    return sides
