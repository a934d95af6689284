"""An OpenMDAO model as the truth, with its total derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.variables import Variable, total_size
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.function import as_sides
from gradopt.truth.identity import identity_of
from gradopt.truth.points import as_failures, as_points, evaluate_points, point_by_point
from gradopt.truth.protocol import Evaluations
from gradopt.truth.totals_check import check_partials

if TYPE_CHECKING:
    from gradopt.truth.openmdao_model import ModelFunction


class ModelTruth:
    """An OpenMDAO model as a truth: values and total derivatives.

    The problem is built when it is first needed, once in each process: only the factory is pickled. Drivers in it are
    never run, and their scaling, units and indices do not matter here. A run of the model starts where the last good
    one ended. One object serves one thread at a time.

    Attributes:
        check_evaluations: Model runs spent on the check of the totals, beyond those that were asked for.
        identity: What is evaluated, for a store on disk: as given, else a hash of the source of the factory and of
            what it uses of its own module, or None where that does not tell all.
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
        """Describe the truth; nothing is built yet.

        Args:
            factory: Returns an `om.Problem`, set up or not; for MPI it chooses `comm`, for speed `reports=None`. If
                it sets the problem up with derivatives=False, all partials are unknown.
            inputs: Independent variables of the model: promoted names, taken with shape and units of the model, or
                `Variable`s with bounds and units of their own, which are converted. "d1.y" becomes Variable "d1:y".
            outputs: Outputs of the model, likewise.
            check_totals: Whether to compare one directional derivative with finite differences at the first good
                point; costs 2 runs of the model, up to 6 if they disagree.
            require_convergence: Whether a nonlinear solver that does not converge makes a point fail.
            identity: What the model computes: equal words, equal answers.
            failures: Exceptions that mean that a point failed; `AnalysisError` and `EvaluationError` always do, as
                does NaN or infinity in y, or infinity in the totals. NaN in the totals is an unknown partial.

        Raises:
            InputError: If `factory` is not callable, or inputs or outputs are no names or Variables, or repeat.
        """
        if not callable(factory):
            remedy = "Pass the function that builds the problem: a problem itself cannot go to other processes."
            raise InputError(explain("factory", "be a function that returns an om.Problem", repr(factory), remedy))
        self._factory = factory
        self._names = (_as_names("inputs", inputs), _as_names("outputs", outputs))
        self._failures = as_failures(failures)
        self._require_convergence = require_convergence
        self._check_pending = check_totals
        self._built: ModelFunction | None = None
        self.identity = identity_of(factory) if identity is None else identity
        self.check_evaluations = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the problem behind: OpenMDAO's cannot be pickled."""
        return {**self.__dict__, "_built": None}

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of x; builds the problem if it is not built."""
        return self._model.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the columns of y; builds the problem if it is not built."""
        return self._model.outputs

    @property
    def _model(self) -> ModelFunction:
        if self._built is None:
            from gradopt.truth.openmdao_model import ModelFunction  # here, as openmdao.api imports matplotlib and rich

            built = ModelFunction(self._factory(), *self._names, self._require_convergence)
            as_sides(built.inputs, built.outputs)
            self._built = built
        return self._built

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Run the model at points, one after the other.

        Args:
            x: Points (n, d), in the units of `inputs`.

        Returns:
            One row for each point; failed points are rows too.

        Raises:
            InputError: If `x` is not finite, or the totals of the first good point are not those of its values.
            ShapeError: If `x` is not (n, d).
        """
        m = total_size(self.outputs)

        def one(point: np.ndarray) -> Evaluations:
            found = evaluate_points(self._model.linearize, lambda pair: pair, point, m, self._failures)
            if self._check_pending and found.ok[0]:
                self._check(found)
            return found

        return point_by_point(one, as_points(x, self.inputs), m)

    def _check(self, found: Evaluations) -> None:
        def values(point: np.ndarray) -> np.ndarray:
            try:
                y = self._model.values(point)
            except self._failures as failed:
                raise EvaluationError(str(failed)) from failed
            if not np.isfinite(y).all():
                raise EvaluationError(f"y = {y.tolist()} at x = {point.tolist()}")
            return y

        before = self._model.runs
        try:
            check_partials(values, found.x[0], found.y[0], found.dydx[0], self.inputs, self.outputs)
        finally:
            self.check_evaluations += self._model.runs - before
        self._check_pending = False


def _as_names(argument: str, entries: Any) -> tuple[str | Variable, ...]:
    single = isinstance(entries, str | Variable)
    found = () if single or not isinstance(entries, Sequence) else tuple(entries)
    if not found or not all(isinstance(entry, str | Variable) for entry in found):
        remedy = "Put them in a list: ['x', Variable('z', units='m')]; a single one too."
        raise InputError(explain(argument, "be a sequence of names or Variables", repr(entries), remedy))
    return found
