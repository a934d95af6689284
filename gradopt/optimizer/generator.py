"""The loop as a generator of the gest-api, for programs that evaluate what it suggests: libEnsemble, Optimas, Xopt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradopt.data.arrays import as_floats
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain, import_extra
from gradopt.loop.request import Request
from gradopt.loop.settings import Settings
from gradopt.optimizer.flat_problem import Constraint, Objective
from gradopt.optimizer.optimizer import Optimizer
from gradopt.surrogates.protocol import SupportsEvaluate

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit

_ID = "_id"  # key of a point's identifier in the gest-api


class Generator:
    """Suggest the points of an `Optimizer` one by one, in the form of the gest-api.

    Variables of the VOCS are the design variables; its objective and its constraints are the outputs of the truth.
    Partials are observables by name: `d{output}_d{variable}`, such as `df_dx1`. List those that you have in the VOCS,
    so that the program which evaluates carries them. Partials that no row holds are finite-differenced.

    Each point has an `_id`. Results come back in any order and in parts, with their `_id`, or else at the same
    coordinates. An output that is missing, None or not finite makes the point a failed one, a partial an unknown one.

    Attributes:
        returns_id: True: points have an `_id`.
        vocs: The VOCS.

    Example:
        A run without any other program::

            vocs = VOCS(variables={"x": [0, 1]}, objectives={"f": "MINIMIZE"}, observables=["df_dx"])
            generator = go.optimizer.Generator(vocs)
            while not generator.done:
                generator.ingest([{**point, **evaluate(point)} for point in generator.suggest(4)])
    """

    returns_id = True

    def __init__(
        self,
        vocs: Any,
        x0: Mapping[str, float] | None = None,
        *,
        configuration: SupportsFit | Literal["default"] | None = "default",
        initial_surrogate: SupportsEvaluate | None = None,
        initial_samples: int = 0,
        seed: int = 0,
        settings: Settings | None = None,
    ) -> None:
        """Pose a problem.

        Args:
            vocs: `gest_api.vocs.VOCS` with continuous scalar variables and one objective. Constants are added to each
                point. Other observables than partials are ignored.
            x0: Start by variable, physical; those that are not named start at the `default_value` of the VOCS, or else
                halfway between their bounds.
            configuration: Configuration of the global surrogate, see `Optimizer`.
            initial_surrogate: Fitted surrogate of the truth; its outputs are objective and constraints in the order of
                the VOCS.
            initial_samples: Number of points of a Latin hypercube that are evaluated before the start.
            seed: Seed of the Latin hypercube.
            settings: Settings of the loop.

        Raises:
            InputError: If the VOCS holds what this generator cannot do, or `x0` names no variable.
            MissingExtraError: If gest-api is not installed.
        """
        api = import_extra("gest_api.vocs", "gest")
        import_extra("gest_api", "gest").Generator.register(type(self))  # a subclass would need it at import
        self._validate_vocs(vocs)
        self.vocs = vocs
        inputs = tuple(_design_variable(name, one) for name, one in vocs.variables.items())
        (goal,) = vocs.objective_names
        names = [goal, *(name for name in vocs.constraint_names if name != goal)]
        maximize = isinstance(vocs.objectives[goal], api.MaximizeObjective)
        self._posed: dict[str, Any] = {
            "inputs": inputs,
            "outputs": tuple(Variable(name) for name in names),
            "x0": _start(vocs, x0 or {}),
            "objective": Objective(goal, ref=-1.0 if maximize else None),
            "constraints": tuple(_constraint(api, name, one) for name, one in vocs.constraints.items()),
            "configuration": configuration,
            "initial_surrogate": initial_surrogate,
            "initial_samples": initial_samples,
            "seed": seed,
            "settings": settings,
        }
        self._partials = [[_partial(name, wrt) for wrt in vocs.variable_names] for name in names]
        self._constants = {name: one.value for name, one in vocs.constants.items()}
        self._data: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # from before the first suggestion
        self._optimizer: Optimizer | None = None
        self._request: Request | None = None
        self._first = 0  # identifier of the first point of the request
        self._suggested = 0  # points of the request that were suggested
        self._results: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # those that came, by row of the request

    @property
    def optimizer(self) -> Optimizer:
        """The run: its current iterate, certificate, history, and `save`; results before this are initial data."""
        if self._optimizer is None:
            data = None
            if self._data:
                x, y, dydx = (np.array(part) for part in zip(*self._data, strict=True))
                data = Dataset(x, y, dydx, self._posed["inputs"], self._posed["outputs"])
            self._optimizer = Optimizer(**self._posed, initial_data=data)
        return self._optimizer

    @property
    def done(self) -> bool:
        """Whether the run has ended; there is nothing to suggest then."""
        return self._optimizer is not None and self._optimizer.done

    def suggest(self, num_points: int | None) -> list[dict[str, Any]]:
        """Return points to be evaluated next, each once.

        The gest-api wants the number of points that is asked for, or a `ValueError`. The programs that call this take
        fewer, and end at an error; so that fewer are returned: those of the request of the loop that have not been
        suggested. After the initial samples these are `settings.batch` candidates, 1 unless it is set. None are left
        while results of the request are missing, and when the run has ended.

        Args:
            num_points: Largest number of points; None = all that are known.

        Returns:
            Points: variables in the units of the VOCS, constants, and `_id`.

        Raises:
            InputError: If the number is negative.
        """
        if num_points is not None and num_points < 0:
            raise InputError(explain("num_points", "be a whole number of at least 0", num_points, "Or None for all."))
        request = self._current()
        if request is None:
            return []
        until = len(request.points) if num_points is None else self._suggested + num_points
        rows = range(self._suggested, min(until, len(request.points)))
        self._suggested += len(rows)
        names = self.vocs.variable_names
        return [
            {
                **dict(zip(names, request.points[row].tolist(), strict=True)),
                **self._constants,
                _ID: self._first + row,
            }
            for row in rows
        ]

    def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Take results, in any order and in parts.

        Args:
            results: Rows with variables, objective, constraints, and partials where they are known. Before the first
                suggestion they are samples from elsewhere, which cost nothing; failed ones are ignored then.

        Raises:
            InputError: If a row is none of the points that were suggested and have no result yet, or a value is no
                number.
        """
        names, outputs = self.vocs.variable_names, [one.name for one in self._posed["outputs"]]
        came, samples = dict(self._results), list(self._data)  # nothing is kept of results with an error among them
        for result in results:
            x = np.array([_number(result, name) for name in names])
            y = np.array([_number(result, name) for name in outputs])
            dydx = np.array([[_number(result, name) for name in row] for row in self._partials])
            dydx[~np.isfinite(dydx)] = np.nan
            if self._optimizer is not None:
                came[self._row(result, x, came)] = y, dydx
            elif np.isfinite(x).all() and np.isfinite(y).all():
                samples.append((x, y, dydx))
        self._results, self._data, request = came, samples, self._request
        if request is not None and len(came) == len(request.points):
            y, dydx = (np.array(part) for part in zip(*(came[row] for row in sorted(came)), strict=True))
            self._request = None
            self.optimizer.tell(request, (y, dydx))
            self._current()  # the run may end without another point

    def finalize(self) -> None:
        """End the run; there is nothing to close, and results that are missing are not waited for."""

    def _validate_vocs(self, vocs: Any) -> None:
        """Raise `InputError`, a `ValueError`, where the VOCS holds what this generator cannot do."""
        api = import_extra("gest_api.vocs", "gest")
        if not isinstance(vocs, api.VOCS):
            remedy = "Such as VOCS(variables={'x': [0, 1]}, objectives={'f': 'MINIMIZE'})."
            raise InputError(explain("vocs", "be a gest_api.vocs.VOCS", repr(vocs), remedy))
        for name, one in vocs.variables.items():
            _check_variable(api, name, one)
        goals = list(vocs.objectives.values())
        if len(goals) != 1 or not isinstance(goals[0], api.MinimizeObjective | api.MaximizeObjective):
            remedy = "Make the others constraints or observables."
            expected = "be one, to be minimized or maximized"
            raise InputError(explain("vocs.objectives", expected, dict(vocs.objectives), remedy))
        kept = {**vocs.objectives, **vocs.constraints}
        for name, one in kept.items():
            if not _is_scalar(one.dtype):
                raise InputError(explain(f"vocs: {name!r}", "be a scalar", one.dtype, "Give each entry a name."))
        counts = Counter(_partial(*pair) for pair in product(kept, vocs.variable_names))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            remedy = "Rename an output or a variable."
            raise InputError(explain("vocs", "have names whose partials differ in their name", twice, remedy))

    def _current(self) -> Request | None:
        """The request of the loop, the next one with points where there is none; None when the run has ended."""
        optimizer = self.optimizer
        while self._request is None and not optimizer.done:
            request = optimizer.ask()
            if len(request.points):
                self._first += self._suggested
                self._request, self._suggested, self._results = request, 0, {}
            else:
                optimizer.tell(request, np.empty((0, len(self._posed["outputs"]))))
        return self._request

    def _row(self, result: Mapping[str, Any], x: np.ndarray, came: Mapping[int, object]) -> int:
        """The row of the request that a result belongs to."""
        waiting = [] if self._request is None else [row for row in range(self._suggested) if row not in came]
        points = np.empty((0, len(x))) if self._request is None else self._request.points
        label = _number(result, _ID)
        for row in waiting:
            if self._first + row == label or (np.isnan(label) and np.array_equal(points[row], x)):
                return row
        got = f"{x.tolist()}" if np.isnan(label) else f"_id {result[_ID]}"
        remedy = "Ingest samples from elsewhere without `_id`, before the first suggestion."
        raise InputError(explain("results", "be points that were suggested and have no result yet", got, remedy))


def _partial(output: str, wrt: str) -> str:
    """Name of the partial of an output with respect to a variable."""
    return f"d{output}_d{wrt}"


def _number(result: Mapping[str, Any], name: str) -> float:
    value = result.get(name)
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError):
        remedy = "Leave it out where it is not known."
        raise InputError(explain(f"results: {name!r}", "be a number", repr(value), remedy)) from None


def _is_scalar(dtype: Any) -> bool:
    return dtype is None or (np.dtype(dtype).shape == () and np.dtype(dtype).kind == "f")


def _check_variable(api: ModuleType, name: str, one: Any) -> None:
    contextual = isinstance(one, api.ContextualVariable)
    if contextual or not isinstance(one, api.ContinuousVariable) or not _is_scalar(one.dtype):
        remedy = "Make others constants, and give each entry of an array a name."
        expected = "be a continuous variable with a real number"
        raise InputError(explain(f"vocs.variables[{name!r}]", expected, repr(one), remedy))


def _design_variable(name: str, one: Any) -> Variable:
    lower, upper = (side if np.isfinite(side) else None for side in one.domain)
    return Variable(name, lower=lower, upper=upper)


def _constraint(api: ModuleType, name: str, one: Any) -> Constraint:
    if isinstance(one, api.BoundsConstraint):
        return Constraint(name, lower=one.range[0], upper=one.range[1])
    if isinstance(one, api.GreaterThanConstraint):
        return Constraint(name, lower=one.value)
    return Constraint(name, upper=one.value)


def _start(vocs: Any, x0: Mapping[str, float]) -> np.ndarray:
    unknown = [name for name in x0 if name not in vocs.variables]
    if unknown:
        raise InputError(explain("x0", f"name variables among {vocs.variable_names}", unknown, "Check the spelling."))
    found = []
    for name, one in vocs.variables.items():
        default = 0.5 * (one.domain[0] + one.domain[1]) if one.default_value is None else one.default_value
        found.append(x0.get(name, default))
    return as_floats("x0", found)
