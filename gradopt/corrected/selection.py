"""Which corrected surrogate stands for a component: with the global surrogate under the correction, or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradopt.corrected.correction import CorrectedSurrogate, CorrectionTerms, correct
from gradopt.corrected.gradient_noise import without_noise
from gradopt.corrected.samples import Samples
from gradopt.data.dataset import Dataset
from gradopt.errors import EvaluationError
from gradopt.surrogates.protocol import SupportsEvaluate

_FORGETTING = 0.5  # weight of the past in the record of forecast errors, per iteration; by hand


@dataclass(frozen=True, eq=False)
class Variant:
    """A corrected surrogate and the record of its forecasts.

    Attributes:
        corrected: The corrected surrogate; None before the first correction, or where the global surrogate fails.
        error: Running mean of the log of the forecast error, relative to the spread of the outputs; NaN before any.
    """

    corrected: CorrectedSurrogate | None = None
    error: float = np.nan


@dataclass(frozen=True, eq=False)
class Selection:
    """The two variants of one component between two iterations.

    Attributes:
        plain: Correction alone.
        based: Correction of a global surrogate.
        judged: Number of samples that the records have seen.
    """

    plain: Variant = Variant()
    based: Variant = Variant()
    judged: int = 0

    @property
    def uses_base(self) -> bool:
        """Whether the variant with a global surrogate is the selected one."""
        if self.based.corrected is None or np.isnan(self.based.error):
            return False
        return np.isnan(self.plain.error) or self.based.error < self.plain.error

    @property
    def selected(self) -> CorrectedSurrogate:
        """The corrected surrogate whose forecasts of past candidates were the better ones."""
        found = (self.based if self.uses_base else self.plain).corrected
        assert found is not None, "nothing has been corrected yet"
        return found

    @property
    def other(self) -> CorrectedSurrogate:
        """The corrected surrogate that is not selected; the selected one where there is no other."""
        found = (self.plain if self.uses_base else self.based).corrected
        return self.selected if found is None else found

    def after(
        self,
        samples: Samples,
        base: SupportsEvaluate | None,
        iterate: int,
        pairs: Sequence[tuple[int, int]],
        signs: np.ndarray,
        terms: CorrectionTerms,
        reach: float,
        doubtful: bool = False,
        candidates: Sequence[int] = (),
    ) -> Selection:
        """Judge the variants by the new candidates and correct them about another point.

        Args:
            samples: Samples of the truth.
            base: Global surrogate, None without one.
            iterate: Row of the current iterate.
            pairs: Rows at the ends of each step so far.
            signs: Signs of the curvature of each output (m,), see `correct`.
            terms: Terms of the correction.
            reach: See `correct`.
            doubtful: Whether to search the partials for noise; where there is some, they are corrected without it.
            candidates: Rows of all candidates so far, which the variants had forecast; other samples judge nothing.

        Returns:
            The next selection.
        """
        data = samples.data
        assert data is not None
        new = [row for row in candidates if row >= self.judged]
        judged = self._judged(data, new)
        if not terms.first_order:
            return judged
        if doubtful and not samples.finite_differenced:  # the errors of these are estimated by the loop
            data = without_noise(data, iterate, reach)
        known = [row for row in range(data.n) if samples.known(row)]
        if len(known) < data.n:  # steps are between points of which one or both lack partials
            pairs = list(zip(known[:-1], known[1:], strict=True))

        def corrected(base: SupportsEvaluate | None, previous: CorrectedSurrogate | None) -> CorrectedSurrogate:
            return correct(base, data, iterate, pairs, signs, terms, reach, previous=previous, newest=new)

        plain = replace(judged.plain, corrected=corrected(None, judged.plain.corrected))
        based = replace(judged.based, corrected=None)
        if base is not None:
            try:
                based = replace(based, corrected=corrected(base, judged.based.corrected))
            except EvaluationError:  # a surrogate that fails where the truth was evaluated is not used
                pass
        return replace(judged, plain=plain, based=based)

    def _judged(self, data: Dataset, new: Sequence[int]) -> Selection:
        return replace(self, plain=_judged(self.plain, data, new), based=_judged(self.based, data, new), judged=data.n)


def _judged(variant: Variant, data: Dataset, new: Sequence[int]) -> Variant:
    """Add the forecast errors at new rows to a record."""
    if variant.corrected is None or not len(new):
        return variant
    spread = np.ptp(data.y, axis=0)
    size = np.where(spread > 0.0, spread, 1.0)
    rows = list(new)
    try:
        missed = (variant.corrected.evaluate(data.x[rows]).y - data.y[rows]) / size
    except EvaluationError:
        missed = np.full((len(rows), data.m), np.inf)
    error = float(np.log(np.sqrt((missed**2).mean(axis=1)) + np.finfo(float).tiny).mean())
    past = error if np.isnan(variant.error) else variant.error
    return replace(variant, error=_FORGETTING * past + (1.0 - _FORGETTING) * error)
