"""An OpenMDAO model as a truth, with its total derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.variables import Variable, total_size
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.domains import fail_outside_domain
from gradopt.truth.function import as_sides
from gradopt.truth.identity import attempt, digest_of_model, identity_of, unidentified
from gradopt.truth.points import as_failures, as_points, evaluate_points, point_by_point
from gradopt.truth.protocol import Evaluations
from gradopt.truth.totals_check import check_partials

if TYPE_CHECKING:
    from gradopt.truth.openmdao_model import ModelFunction


class ModelTruth:
    """An OpenMDAO model as a truth: values and total derivatives.

    The problem is built at the first use, once in each process: only the factory is pickled. Its driver is never run,
    and the scaling, units and indices of the driver have no effect. A run of the model starts from the state of the
    last good run. Use an object in one thread at a time.

    Attributes:
        check_totals: Whether the totals are still to be checked, at the first good point.
        check_evaluations: Number of model runs for the check of the totals, which are no evaluated points.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        inputs: Sequence[str | Variable],
        outputs: Sequence[str | Variable],
        *,
        check_totals: bool = True,
        require_convergence: bool = True,
        identity: str | None = None,
        failures: Sequence[type[Exception]] = (),
    ) -> None:
        """Describe the truth without building the problem.

        Args:
            factory: Function that returns an `om.Problem`, set up or not; under MPI the function chooses `comm`, for
                speed `reports=None`. With setup(derivatives=False) in it, all partials are unknown.
            inputs: Independent variables of the model: promoted names, for the shape and units of the model, or
                `Variable`s with bounds and units of their own, which are converted. "d1.y" becomes Variable "d1:y".
            outputs: Outputs of the model, likewise.
            check_totals: Whether to compare one directional derivative with finite differences at the first good
                point; takes 2 runs of the model, up to 6 if they disagree.
            require_convergence: Whether a nonlinear solver that does not converge makes a point fail.
            identity: Words for what the model computes: equal words, equal results. By default a hash of the code and
                of the values that the factory reaches, see `FunctionTruth`, and of the model that it builds: classes
                and plain options of its systems, values of its other independent variables.
            failures: Exceptions that mean that a point failed. `AnalysisError` and `EvaluationError` always do, as
                does NaN or infinity in y, infinity in the totals, or an output outside the domain of its transform.
                NaN in the totals is an unknown partial.

        Raises:
            InputError: If `factory` is not callable, or `inputs` or `outputs` are not sequences of names or Variables.
        """
        if not callable(factory):
            remedy = "Pass the function that builds the problem: a problem cannot be sent to other processes."
            raise InputError(explain("factory", "be a function that returns an om.Problem", repr(factory), remedy))
        self._factory = factory
        self._names = (_as_names("inputs", inputs), _as_names("outputs", outputs))
        self._failures = as_failures(failures)
        self._require_convergence = require_convergence
        self._built: ModelFunction | None = None
        self._initial: dict[str, np.ndarray] = {}
        self._given, self._auto, self._missing = identity, identity, ""
        self._code = identity_of(factory) if identity is None else None
        self.check_totals = check_totals
        self.check_evaluations = 0

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but the problem, which OpenMDAO cannot pickle."""
        return {**self.__dict__, "_built": None}

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of x; the first access builds the problem."""
        return self._model.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of y; the first access builds the problem."""
        return self._model.outputs

    @property
    def identity(self) -> str | None:
        """Words for what is evaluated, for a store on disk; None where `unidentified` names a part."""
        if self._code is None:
            return self._given
        assert self._model
        return self._auto

    @property
    def unidentified(self) -> str:
        """Part of the factory that cannot be identified, "" where there is none."""
        return self._missing or unidentified(self._factory)

    @property
    def initial_values(self) -> dict[str, np.ndarray]:
        """Values of the inputs by name, as the factory sets them, in the shapes and units of `inputs`."""
        assert self._model
        return dict(self._initial)

    @property
    def _model(self) -> ModelFunction:
        if self._built is None:
            from gradopt.truth.openmdao_model import ModelFunction  # here, as openmdao.api imports matplotlib and rich

            problem = self._factory()
            built = ModelFunction(problem, *self._names, self._require_convergence)
            as_sides(built.inputs, built.outputs)
            independent = {name: problem.get_val(name) for name, _ in problem.list_indep_vars(out_stream=None)}
            paths = {v.name: v.name if v.name in independent else v.name.replace(":", ".") for v in built.inputs}
            self._initial = {
                v.name: np.reshape(problem.get_val(paths[v.name], units=v.units), v.shape).copy() for v in built.inputs
            }
            if (code := self._code) is not None:
                others = {name: value for name, value in independent.items() if name not in paths.values()}
                parts, self._missing = attempt(lambda: digest_of_model(problem.model, code, others))
                self._auto = None if parts is None else f"{code.rpartition(' ')[0]} {parts}"
            self._built = built
        return self._built

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Run the model at points, one after the other.

        Args:
            x: Points (n, d), in the units of `inputs`.

        Returns:
            Evaluations with one row for each point, failed points included.

        Raises:
            InputError: If `x` is not finite, or the totals at the first good point disagree with finite differences.
            ShapeError: If `x` is not (n, d).
        """
        m = total_size(self.outputs)

        def one(point: np.ndarray) -> Evaluations:
            found = evaluate_points(self._model.linearize, lambda pair: pair, point, m, self._failures)
            found = fail_outside_domain(found, self.outputs)
            if self.check_totals and found.ok[0]:
                check_partials(self.values, found.x[0], found.y[0], found.dydx[0], self.inputs, self.outputs)
                self.check_totals = False
            return found

        return point_by_point(one, as_points(x, self.inputs), m)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Run the model for a check of its totals.

        Args:
            x: Point (d,), in the units of `inputs`.

        Returns:
            y (m,), in the units of `outputs`.

        Raises:
            EvaluationError: If the point failed, or y is not finite.
        """
        before = self._model.runs
        try:
            y = self._model.values(x)
        except self._failures as failed:
            raise EvaluationError(str(failed)) from failed
        finally:
            self.check_evaluations += self._model.runs - before
        if not np.isfinite(y).all():
            raise EvaluationError(f"y = {y.tolist()} at x = {x.tolist()}")
        return y


def _as_names(argument: str, entries: Any) -> tuple[str | Variable, ...]:
    single = isinstance(entries, str | Variable)
    found = () if single or not isinstance(entries, Sequence) else tuple(entries)
    if not found or not all(isinstance(entry, str | Variable) for entry in found):
        remedy = "Put them in a list: ['x', Variable('z', units='m')]; a single one too."
        raise InputError(explain(argument, "be a sequence of names or Variables", repr(entries), remedy))
    return found
