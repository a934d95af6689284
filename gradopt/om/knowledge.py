"""What the adaptive loop knows of one truth, and how one component is corrected with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from gradopt.corrected.correction import CorrectedSurrogate, CorrectionTerms, correct
from gradopt.data.dataset import Dataset
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_evaluator import TruthAnswers
from gradopt.surrogates.fitting.incremental import IncrementalFit, SupportsFit, incremental_fit
from gradopt.surrogates.protocol import SupportsEvaluate
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.truth.store import EvaluationStore

logger = logging.getLogger("gradopt")

_FORGET = 0.5  # weight of the past in the record of prediction errors, per round


class Knowledge:
    """Rows of one truth in the order in which the loop asked for them, and the global surrogate fitted to them.

    Rows that a store holds from elsewhere do not count: so a run repeated on the same store takes the same steps as
    one that was never interrupted, without evaluating anything again.

    Attributes:
        truth: The truth.
        answers: Answers from the truth and notes each row.
        fitted: The global surrogate and how it came about, None before there is one.
        guess: Makes partials (m, d) at x (d,) that stand for those that are not known; None differences these at once,
            with 0 where that fails.
    """

    def __init__(
        self,
        truth: Truth,
        store: EvaluationStore,
        configuration: SupportsFit | None,
        prior: Dataset | None,
        finite_differences: FiniteDifferences = FiniteDifferences(),  # noqa: B008 (frozen)
    ) -> None:
        """Start without rows, or with those of `prior`, which do not count as evaluations.

        Raises:
            InputError: If `prior` has other variables than the truth.
        """
        self.truth = truth
        self.answers = TruthAnswers(truth, store, self._note, self._complete)
        self.guess: Callable[[np.ndarray], np.ndarray] | None = None
        self.fitted: IncrementalFit | None = None
        self.data = None if prior is None else _of_truth(prior, truth)
        self._configuration = configuration
        self._rows: dict[bytes, int] = {} if prior is None else {_key(x): row for row, x in enumerate(prior.x)}
        self._asked: set[bytes] = set()
        self._beside: set[bytes] = set()
        self._differences = finite_differences
        self._differenced: set[int] = set()

    @property
    def evaluations(self) -> int:
        """Number of different points evaluated, failed ones and those of differences too."""
        return len(self._asked | self._beside)

    @property
    def asked(self) -> int:
        """Number of different points that a model asked."""
        return len(self._asked)

    def row(self, x: np.ndarray) -> int:
        """Row of `data` at x (d,)."""
        return self._rows[_key(x)]

    def known(self, row: int) -> bool:
        """Whether all partials of a row are known."""
        return self.data is not None and not bool(np.isnan(self.data.partials[row]).any())

    @property
    def differenced(self) -> bool:
        """Whether any partials had to be differenced."""
        return bool(self._differenced)

    def can_differentiate(self, row: int) -> bool:
        """Whether differences could tell more of the partials of a row."""
        return not self.known(row) and row not in self._differenced

    def differentiate(self, row: int) -> None:
        """Difference the partials of a row that are not known; where the truth fails beside it they stay unknown."""
        assert self.data is not None
        if not self.can_differentiate(row):
            return
        self._differenced.add(row)

        def beside(x: np.ndarray) -> Evaluations:
            self._beside.add(_key(x[0]))
            return self.answers.store.evaluate(self.truth, x)

        x, y, partials = self.data.x[row], self.data.y[row], self.data.partials.copy()
        partials[row] = self._differences.partials(beside, x, y, partials[row], self.truth.inputs)
        self.data = replace(self.data, dydx=partials)

    def _complete(self, x: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Fill in what differences know of the partials (m, d) at x (d,), and what is guessed of the others."""
        assert self.data is not None
        if self.guess is None:
            self.differentiate(self.row(x))
        differenced = np.where(np.isnan(known), self.data.partials[self.row(x)], known)
        if not np.isnan(differenced).any():
            return differenced
        guessed = np.zeros(known.shape) if self.guess is None else self.guess(x)
        return np.where(np.isnan(differenced), guessed, differenced)

    def refit(self, candidate: np.ndarray) -> str:
        """Bring the global surrogate up to the data, polished about a candidate (d,); returns what was done."""
        if self._configuration is None or self.data is None or self.data.n < 2:
            return ""
        if self.fitted is not None and self.fitted.samples == self.data.n:
            return ""
        try:
            with _without_advice():
                self.fitted = incremental_fit(self._configuration, self.data, self.fitted, candidate)
        except InputError as impossible:  # such as inputs that have not moved yet: the correction works without
            return f"none: {impossible}"
        return f"{self.fitted.how}: {self.fitted.reason}"

    def _note(self, found: Evaluations) -> None:
        for index, x in enumerate(found.x):
            key = _key(x)
            if key in self._asked:
                continue
            self._asked.add(key)
            if not found.ok[index]:
                continue
            y, dydx = found.y[index : index + 1], found.dydx[index : index + 1]
            new = Dataset(x[None], y, dydx, self.truth.inputs, self.truth.outputs)
            if self.data is None:
                self._rows[key], self.data = 0, new
            elif key in self._rows:  # of the prior: what the truth says there counts more
                self.data = _replaced(self.data, self._rows[key], new)
            else:
                self._rows[key], self.data = self.data.n, self.data.concat(new)


@dataclass
class Corrected:
    """One component between rounds: its corrected surrogate, with the global surrogate under it and without.

    Which of the two answers is decided by what they said of the last points before these were known.

    Attributes:
        comp: The component.
        knowledge: Of its truth; components may share it.
    """

    comp: SurrogateComp
    knowledge: Knowledge

    def __post_init__(self) -> None:
        """Start without any correction."""
        self._variants: dict[bool, CorrectedSurrogate] = {}
        self._errors: dict[bool, float] = {}
        self._judged = 0

    @property
    def base(self) -> SupportsEvaluate | None:
        """The global surrogate under the correction: the one the user gave, or else the one fitted so far."""
        if self.comp.given is not None:
            return self.comp.given
        return None if self.knowledge.fitted is None else self.knowledge.fitted.surrogate

    @property
    def on_network(self) -> bool:
        """Whether the global surrogate is under the correction at present."""
        return True in self._variants and self._errors.get(True, np.inf) < self._errors.get(False, np.inf)

    @property
    def answers(self) -> SupportsEvaluate:
        """The corrected surrogate that answers at present."""
        return self._variants[self.on_network]

    def recorrect(
        self, center: int, pairs: Sequence[tuple[int, int]], signs: np.ndarray, parts: CorrectionTerms, reach: float
    ) -> None:
        """Judge the present variants by the rows that are new, and correct about another center.

        Args:
            center: Row of the center.
            pairs: Rows at the ends of each step so far.
            signs: Of the curvature of each output (m,), see `correct`.
            parts: Terms of the correction to use.
            reach: See `correct`.
        """
        data = self.knowledge.data
        assert data is not None
        self._judge(data)
        if not parts.first_order:
            return
        known = [row for row in range(data.n) if self.knowledge.known(row)]
        if len(known) < data.n:  # steps are between points of which one or both lack partials
            pairs = list(zip(known[:-1], known[1:], strict=True))
        before, self._variants = self._variants, {}
        for used, base in ((False, None), (True, self.base)):
            if used and base is None:
                continue
            try:
                found = correct(base, data, center, pairs, signs, parts, reach, previous=before.get(used))
            except EvaluationError:  # a surrogate that fails where the truth has answered is not used
                continue
            self._variants[used] = found

    def _judge(self, data: Dataset) -> None:
        new = np.arange(self._judged, data.n)
        self._judged = data.n
        if not len(new):
            return
        spread = np.ptp(data.y, axis=0)
        size = np.where(spread > 0.0, spread, 1.0)
        for used, variant in self._variants.items():
            try:
                missed = (variant.evaluate(data.x[new]).y - data.y[new]) / size
            except EvaluationError:
                missed = np.full((len(new), data.m), np.inf)
            error = float(np.log(np.sqrt((missed**2).mean()) + np.finfo(float).tiny))
            self._errors[used] = _FORGET * self._errors.get(used, error) + (1.0 - _FORGET) * error


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep quiet what a fit remarks on its data: those of a loop never cover their ranges, and it fits every round."""
    silence = _Silence()
    logger.addFilter(silence)
    try:
        yield
    finally:
        logger.removeFilter(silence)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING


def _of_truth(prior: Dataset, truth: Truth) -> Dataset:
    """Give data the variables of a truth, whose bounds may be others."""
    for kind in ("input", "output"):
        mine, theirs = (
            [(variable.name, variable.shape, variable.units) for variable in variables]
            for variables in (getattr(truth, f"{kind}s"), getattr(prior, f"{kind}_variables"))
        )
        if mine != theirs:
            remedy = "Make it with them: Dataset(x, y, dydx, truth.inputs, truth.outputs)."
            raise InputError(
                explain(f"initial_data.{kind}s", f"have the names, shapes and units {mine}", theirs, remedy)
            )
    return Dataset(prior.x, prior.y, prior.partials, truth.inputs, truth.outputs)


def _replaced(data: Dataset, row: int, new: Dataset) -> Dataset:
    """Put a sample in the place of another."""
    y, partials = data.y.copy(), data.partials.copy()
    y[row], partials[row] = new.y[0], new.partials[0]
    return Dataset(data.x, y, partials, data.input_variables, data.output_variables)


def _key(x: np.ndarray) -> bytes:
    return (x + 0.0).tobytes()
