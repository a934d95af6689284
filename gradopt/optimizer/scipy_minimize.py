"""The loop by SciPy's calling convention: a verified optimum for people without an OpenMDAO model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize
from scipy.optimize import OptimizeResult
from scipy.sparse import issparse

from gradopt.data.arrays import as_floats
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, InputError, ShapeError, explain
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, State
from gradopt.optimizer.flat_problem import Constraint, LinearConstraint
from gradopt.optimizer.optimizer import Optimizer
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth
from gradopt.truth.parallel import ParallelTruth, batch_for, on_workers
from gradopt.truth.store import EvaluationStore
from gradopt.workers.engine import Workers

Jacobian = Callable[..., Any] | bool | str | None
_BY_DIFFERENCES = (None, False, "2-point")
_STEP = float(
    np.sqrt(np.finfo(float).eps)
)  # relative step of finite differences, SciPy's: functions have no noise here
_NAMES_OF_SCIPY = {"maxiter": "max_evaluations", "maxfev": "max_evaluations", "maxfun": "max_evaluations"}


def minimize(
    fun: Callable[..., Any],
    x0: ArrayLike,
    args: tuple[Any, ...] = (),
    jac: Jacobian = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    store: EvaluationStore | str | Path | None = None,
    identity: str | None = None,
    failures: Sequence[type[Exception]] = (),
    workers: Workers | None = None,
    time_limit: float = np.inf,
) -> OptimizeResult:
    """Minimize a function of one or more variables, with few evaluations, until the KKT conditions hold.

    The calling convention is that of `scipy.optimize.minimize`. One evaluation is `fun` and all nonlinear constraints
    at one point, with their partials. Linear constraints and bounds are exact and hold at every point but, for linear
    constraints, those on the way. No network is fitted: the model is the corrected surrogate of the evaluated points.

    Args:
        fun: Objective, `fun(x, *args) -> float`, or the pair of value and gradient (d,) if `jac` is True. NaN, infinity
            and `gradopt.errors.EvaluationError` are failed evaluations.
        x0: Start; flattened to (d,).
        args: Further arguments of `fun` and `jac`.
        jac: True if `fun` returns the gradient too; a function `jac(x, *args) -> (d,)`; None or "2-point" for finite
            differences, which are made only where the surrogates' estimates do not suffice.
        bounds: SciPy's `Bounds`, or a sequence of (lower, upper) with None or infinity where there is none.
        constraints: SciPy's `NonlinearConstraint`, `LinearConstraint`, a dictionary with "type" ("eq" or "ineq"),
            "fun", "jac" and "args", or a sequence of these.
        tol: Limit of stationarity and complementarity; None = 1e-4.
        callback: Called after each iteration as `callback(xk)`, or as `callback(intermediate_result=result)` if that
            is its parameter; raising StopIteration ends the run.
        options: Fields of `gradopt.loop.Settings`, such as {"max_evaluations": 50}. The step of finite differences is
            SciPy's by default, 1.5e-8; a function with noise needs a longer one.
        store: Store of the evaluations, an `EvaluationStore` or the path of one: nothing is evaluated twice, and a run
            repeated on it continues where it ended. None = in memory.
        identity: Words for what is computed, for a store on disk: other words, other results. By default a hash of the
            code and of the values that the functions reach, see `FunctionTruth`.
        failures: Further exceptions that are failed evaluations.
        workers: Number of processes, or an executor, on which candidates and the points of finite differences are
            evaluated at the same time, see `gradopt.truth.ParallelTruth`; None evaluates in this process. A number is
            that of the candidates too, unless `options` has "batch"; for an executor it has to be given there.
        time_limit: Time after which the process of an evaluation is killed, s; the evaluation has failed then. Needs
            `workers`, such as 1.

    Returns:
        SciPy's result: `x`, `fun`, `jac`, `success`, `status`, `message`, `nfev` (evaluations), `njev`, `nit`, `constr`
        (values of the nonlinear constraints by their number), and `certificate`, `history`, `exit`, `optimizer`.
        `success` is True only where the certificate holds.

    Raises:
        InputError: If an argument is of a kind that is not supported, or arrays hold NaN.
        ShapeError: If the sizes of arrays do not fit together.
    """
    start = np.atleast_1d(as_floats("x0", x0)).ravel()
    d = start.size
    lower, upper = _bounds(bounds, d)
    settings = _settings(tol, options, batch_for(workers))
    parts = [_objective(fun, jac, args), *_nonlinear(constraints)]
    linear = _linear(constraints, d)
    sizes = [1] + [part.size(np.clip(start, lower, upper)) for part in parts[1:]]
    apart = lower < upper  # where they are the same, the entry is fixed, and has no range
    scale = Variable("x", (d,), lower=np.where(apart, lower, -np.inf), upper=np.where(apart, upper, np.inf))
    inputs = (scale,)
    outputs = (Variable("f"), *(Variable(f"c{i}", (size,)) for i, size in enumerate(sizes[1:])))
    function = FunctionTruth(_together(parts, sizes, d), inputs, outputs, failures, identity)
    truth = on_workers(function, workers, time_limit)
    optimizer = Optimizer(
        inputs,
        outputs,
        start,
        constraints=[Constraint(v.name, *part.bounds) for v, part in zip(outputs[1:], parts[1:], strict=True)],
        linear=linear,
        bounds=(lower, upper),
        configuration=None,
        settings=settings,
    )
    kept = store if isinstance(store, EvaluationStore) else EvaluationStore(store)
    try:
        optimizer.run(truth, kept, _watch(callback, optimizer))
    finally:
        if isinstance(truth, ParallelTruth):
            truth.close()
        if kept is not store:
            kept.close()
    return _result(optimizer)


@dataclass(frozen=True, eq=False)
class _Part:
    """A function of x with its Jacobian, and the bounds of its values.

    Attributes:
        name: Name of the argument, for messages.
        fun: Function of x (d,).
        jac: Its Jacobian; True if `fun` returns it too, None for finite differences.
        lower: Lower bounds, a number or an array.
        upper: Upper bounds.
    """

    name: str
    fun: Callable[[np.ndarray], Any]
    jac: Callable[[np.ndarray], Any] | bool | None
    lower: Any = -np.inf
    upper: Any = np.inf

    @property
    def bounds(self) -> tuple[Any, Any]:
        """Lower and upper bounds."""
        return self.lower, self.upper

    def size(self, x: np.ndarray) -> int:
        """Return the number of values: that of the bounds, or else found by the call at the start, which is kept."""
        sizes = {np.size(self.lower), np.size(self.upper)} - {1}
        if len(sizes) == 1:
            return sizes.pop()
        try:
            return int(np.size(self.fun(x.copy())))
        except EvaluationError:  # the run will end with the same failure
            return 1

    def evaluate(self, x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (size,) and Jacobian (size, d), NaN where it is not known."""
        found = self.fun(x.copy())
        value, slopes = found if self.jac is True else (found, None)
        values = as_floats(f"{self.name}(x)", value).ravel()
        if values.shape != (size,):
            expected = f"have {size} values at every point"
            raise ShapeError(explain(f"{self.name}(x)", expected, values.size, "Return as many as at the start."))
        if callable(self.jac):
            slopes = self.jac(x.copy())
        if slopes is None:
            return values, np.full((size, x.size), np.nan)
        if issparse(slopes):
            slopes = slopes.toarray()
        rows = as_floats(f"jac of {self.name}", slopes)
        if rows.size != size * x.size or rows.shape not in ((x.size,), (size, x.size), (size,)):
            expected = f"have shape {(size, x.size) if size > 1 else (x.size,)}"
            remedy = "Index order is of, wrt. If it is the other way round, return the transpose."
            raise ShapeError(explain(f"jac of {self.name}", expected, rows.shape, remedy))
        return values, rows.reshape(size, x.size)


class _Remembering:
    """A function that is not called twice in a row at the same point."""

    def __init__(self, fun: Callable[[np.ndarray], Any]) -> None:
        self._fun = fun
        self._last: tuple[np.ndarray, Any] | None = None

    def __call__(self, x: np.ndarray) -> Any:
        if self._last is None or not np.array_equal(self._last[0], x):
            self._last = (x.copy(), self._fun(x))
        return self._last[1]


def _together(parts: Sequence[_Part], sizes: Sequence[int], d: int) -> Callable[[np.ndarray], Any]:
    def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [part.evaluate(x, size) for part, size in zip(parts, sizes, strict=True)]
        return np.concatenate([values for values, _ in found]), np.vstack([rows for _, rows in found])

    return evaluate


def _objective(fun: Any, jac: Any, args: Any) -> _Part:
    if not callable(fun):
        raise InputError(explain("fun", "be a function of x (d,)", repr(fun), "Pass the function, not its value."))
    more = args if isinstance(args, tuple) else (args,)
    return _Part("fun", lambda x: fun(x, *more), _jacobian("jac", jac, more))


def _jacobian(argument: str, jac: Any, more: tuple[Any, ...]) -> Callable[[np.ndarray], Any] | bool | None:
    if jac is True:
        return True
    if callable(jac):
        return lambda x: jac(x, *more)
    if not any(jac is one or jac == one for one in _BY_DIFFERENCES):
        remedy = "Finite differences are one-sided here; their step is options={'finite_differences': ...}."
        raise InputError(explain(argument, "be True, a function, None or '2-point'", repr(jac), remedy))
    return None


def _listed(constraints: Any) -> list[Any]:
    kinds = (dict, optimize.NonlinearConstraint, optimize.LinearConstraint)
    several = isinstance(constraints, Sequence) and not isinstance(constraints, str)
    found = list(constraints) if several else [constraints]
    for one in found:
        if not isinstance(one, kinds):
            expected = "be NonlinearConstraint, LinearConstraint or dictionaries"
            raise InputError(explain("constraints", expected, repr(one), "See scipy.optimize.minimize."))
    return found


def _nonlinear(constraints: Any) -> list[_Part]:
    parts = []
    for number, one in enumerate(_listed(constraints)):
        name = f"constraints[{number}]"
        if isinstance(one, optimize.NonlinearConstraint):
            if np.any(one.keep_feasible):
                remedy = "The loop may evaluate infeasible points on the way; leave it out."
                raise InputError(explain(f"{name}.keep_feasible", "be False", one.keep_feasible, remedy))
            parts.append(
                _Part(f"{name}.fun", _Remembering(one.fun), _jacobian(f"{name}.jac", one.jac, ()), one.lb, one.ub)
            )
        elif isinstance(one, dict):
            parts.append(_of_dictionary(name, one))
    return parts


def _of_dictionary(name: str, one: dict[str, Any]) -> _Part:
    unknown = sorted(set(one) - {"type", "fun", "jac", "args"})
    if unknown or one.get("type") not in ("eq", "ineq") or not callable(one.get("fun")):
        expected = "have 'type' ('eq' or 'ineq'), 'fun', and perhaps 'jac' and 'args'"
        raise InputError(explain(name, expected, one, "An 'ineq' constraint holds where fun(x) >= 0."))
    more = one.get("args", ())
    more = more if isinstance(more, tuple) else (more,)
    jac = _jacobian(f"{name}['jac']", one.get("jac"), more)
    upper = 0.0 if one["type"] == "eq" else np.inf
    return _Part(f"{name}['fun']", _Remembering(lambda x: one["fun"](x, *more)), jac, 0.0, upper)


def _linear(constraints: Any, d: int) -> LinearConstraint | None:
    """All linear constraints as one."""
    found = [one for one in _listed(constraints) if isinstance(one, optimize.LinearConstraint)]
    if not found:
        return None
    matrices: list[np.ndarray] = []
    lower: list[np.ndarray] = []
    upper: list[np.ndarray] = []
    for one in found:
        matrix = as_floats("A", one.A.toarray() if issparse(one.A) else one.A)
        matrix = np.atleast_2d(matrix)
        if matrix.shape[1] != d:
            expected = f"have {d} columns, one for each entry of x0"
            raise ShapeError(explain("LinearConstraint.A", expected, matrix.shape, "See scipy.optimize."))
        matrices.append(matrix)
        for sides, bound in ((lower, one.lb), (upper, one.ub)):
            sides.append(np.broadcast_to(as_floats("LinearConstraint bounds", bound), (len(matrix),)))
    return LinearConstraint(np.vstack(matrices), np.concatenate(lower), np.concatenate(upper))


def _bounds(bounds: Any, d: int) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    if isinstance(bounds, optimize.Bounds):
        sides = (bounds.lb, bounds.ub)
    else:
        pairs = list(bounds)
        if len(pairs) != d or any(np.size(pair) != 2 for pair in pairs):
            remedy = "For instance [(0, 1), (None, 5)]."
            raise ShapeError(explain("bounds", f"hold {d} pairs of lower and upper bound", pairs, remedy))
        sides = (
            [-np.inf if low is None else low for low, _ in pairs],
            [np.inf if high is None else high for _, high in pairs],
        )
    lower, upper = (np.broadcast_to(as_floats("bounds", side), (d,)).copy() for side in sides)
    wrong = np.flatnonzero(~(lower <= upper))
    if wrong.size:
        got = f"{lower[wrong[0]]} and {upper[wrong[0]]} for x[{wrong[0]}]"
        raise InputError(explain("bounds", "have lower bounds that are not above the upper ones", got, "Swap them."))
    return lower, upper


def _settings(tol: float | None, options: Mapping[str, Any] | None, batch: int) -> Settings:
    given = dict(options or {})
    known = [field.name for field in fields(Settings)]
    for name in given:
        if name not in known:
            remedy = f"Use {_NAMES_OF_SCIPY[name]!r}." if name in _NAMES_OF_SCIPY else "See gradopt.loop.Settings."
            raise InputError(explain("options", f"have names among {known}", repr(name), remedy))
    settings = Settings(**{"finite_differences": FiniteDifferences(_STEP), "batch": batch, **given})
    return settings if tol is None else replace(settings, tolerance=tol)


def _watch(callback: Callable[..., Any] | None, optimizer: Optimizer) -> Callable[[State], bool] | None:
    if callback is None:
        return None
    if not callable(callback):
        raise InputError(explain("callback", "be a function or None", repr(callback), "Pass callback(xk)."))
    by_name = list(inspect.signature(callback).parameters) == ["intermediate_result"]

    def watch(state: State) -> bool:
        try:
            if by_name:
                callback(intermediate_result=OptimizeResult(x=optimizer.x, fun=float(optimizer.y["f"][0])))
            else:
                callback(optimizer.x)
        except StopIteration:
            return True
        return False

    return watch


def _result(optimizer: Optimizer) -> OptimizeResult:
    state, values = optimizer.state, optimizer.y
    assert state.exit is not None
    d = len(state.start)
    gradient = state.iterate.gradient.copy() if state.at >= 0 else np.full(d, np.nan)
    certificate = optimizer.certificate
    reason = state.failure if certificate is None else certificate.reason
    return OptimizeResult(
        x=optimizer.x,
        fun=float(values["f"][0]),
        jac=gradient,
        success=state.exit is Exit.CERTIFIED,
        status=list(Exit).index(state.exit),
        message=f"{reason} {state.exit.advice}" if state.exit is not Exit.CERTIFIED else reason,
        nfev=state.evaluations,
        njev=state.evaluations,
        nit=len(state.history),
        constr=[value for name, value in values.items() if name != "f"],
        certificate=certificate,
        history=state.history,
        exit=state.exit,
        optimizer=optimizer,
    )
