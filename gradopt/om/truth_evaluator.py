"""A truth, through a store, in the place of a surrogate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmdao.api as om

from gradopt.data.variables import Variable, column_names, total_size
from gradopt.errors import InputError, explain
from gradopt.surrogates.protocol import Evaluation
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.truth.store import EvaluationStore


@dataclass(frozen=True, eq=False)
class TruthEvaluation:
    """Outputs `y` (n, m) of a truth, real or, to first order, complex; and its partials."""

    y: np.ndarray
    _partials: np.ndarray

    def dydx(self) -> np.ndarray:
        """Return the partials (n, m, d), physical."""
        return self._partials


@dataclass(frozen=True, eq=False)
class TruthEvaluator:
    """Evaluates a truth where a surrogate could stand; each point is evaluated once.

    Attributes:
        truth: Truth.
        store: Store in which its evaluations are looked up and kept.
        note: Called with the rows of each evaluation, failed ones too, before they are used.
        complete: Fills in, at x (d,), the partials (m, d) of which some are NaN, as far as it can.
    """

    truth: Truth
    store: EvaluationStore
    note: Callable[[Evaluations], None] | None = None
    complete: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the input columns."""
        return self.truth.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the output columns."""
        return self.truth.outputs

    @property
    def lower(self) -> np.ndarray:
        """Lower edge (d,): none, an evaluation fails where it must."""
        return np.full(total_size(self.inputs), -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge (d,)."""
        return -self.lower

    @property
    def digest(self) -> str:
        """Identity of what is evaluated."""
        return f"truth:{self.truth.identity}"

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate x (n, d), physical.

        Raises:
            AnalysisError: Where the truth fails.
            InputError: If it does not return all of its partials.
        """
        found = self.store.evaluate(self.truth, x.real)
        if self.note is not None:
            self.note(found)
        if not found.ok.all():
            row = int(np.flatnonzero(~found.ok)[0])
            raise om.AnalysisError(f"The truth failed at {found.x[row]}: {found.message[row]}")
        dydx = found.dydx
        if np.isnan(dydx).any() and self.complete is not None:
            dydx = np.array([self.complete(point, known) for point, known in zip(found.x, dydx, strict=True)])
        if np.isnan(dydx).any():
            _, output, column = (int(index) for index in np.argwhere(np.isnan(dydx))[0])
            partial = f"d {column_names(self.outputs)[output]} / d {column_names(self.inputs)[column]}"
            remedy = "Wrap it in FiniteDifferenceTruth, or run the AdaptiveDriver, which finite-differences."
            raise InputError(explain("truth", "return all of its partials", f"NaN for {partial}", remedy))
        y = found.y
        if np.iscomplexobj(x):  # complex step through a truth is exact to first order
            y = y + 1j * np.einsum("nmd,nd->nm", dydx, x.imag)
        return TruthEvaluation(y, dydx)


@dataclass(frozen=True, eq=False)
class Tangent:
    """A truth to first order about one point where it was evaluated.

    Attributes:
        evaluator: Truth.
        x: Point (d,), physical.
        y: Outputs there (m,).
        partials: Partials there (m, d).
    """

    evaluator: TruthEvaluator
    x: np.ndarray
    y: np.ndarray
    partials: np.ndarray

    @classmethod
    def of(cls, evaluator: TruthEvaluator, x: np.ndarray) -> Tangent:
        """Evaluate the truth at x (d,); raises what `TruthEvaluator.evaluate` does."""
        found = evaluator.evaluate(x[None])
        return cls(evaluator, x, found.y[0], found.dydx()[0])

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """Variables of the input columns."""
        return self.evaluator.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """Variables of the output columns."""
        return self.evaluator.outputs

    @property
    def lower(self) -> np.ndarray:
        """Lower edge (d,): none."""
        return self.evaluator.lower

    @property
    def upper(self) -> np.ndarray:
        """Upper edge (d,)."""
        return self.evaluator.upper

    @property
    def digest(self) -> str:
        """Identity of what is evaluated."""
        return self.evaluator.digest

    def evaluate(self, x: np.ndarray) -> Evaluation:
        """Evaluate x (n, d), physical, real or complex."""
        y = self.y + (x - self.x) @ self.partials.T
        return TruthEvaluation(y, np.repeat(self.partials[None], len(x), axis=0))
