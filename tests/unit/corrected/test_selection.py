"""Selection: of two corrected surrogates the one whose forecasts of past candidates were the better ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gradopt.corrected.correction import CorrectedSurrogate, CorrectionTerms
from gradopt.corrected.samples import Samples
from gradopt.corrected.selection import Selection
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError
from gradopt.truth.protocol import Evaluations, PointStatus

INPUTS, OUTPUTS = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),)
POINTS = np.array([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6], [0.7, 0.8], [-1.0, -0.3]])
TANGENT = CorrectionTerms(secant=False, kriging=False)


def valley(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function at points (n, 2)."""
    bend = x[:, 1] - x[:, 0] ** 2
    y = 100.0 * bend**2 + (1.0 - x[:, 0]) ** 2
    dydx = np.stack([-400.0 * x[:, 0] * bend - 2.0 * (1.0 - x[:, 0]), 200.0 * bend], axis=1)
    return y[:, None], dydx[:, None]


@dataclass(frozen=True, eq=False)
class Values:
    """Evaluation of a function."""

    y: np.ndarray
    partials: np.ndarray

    def dydx(self) -> np.ndarray:
        """Return the partials (n, m, d)."""
        return self.partials


@dataclass(frozen=True)
class Formula:
    """A function of points (n, 2) in the place of a global surrogate; fails where `fails` is True at any of them."""

    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    fails: Callable[[np.ndarray], np.ndarray] = lambda x: np.zeros(len(x), dtype=bool)
    inputs: tuple[Variable, ...] = INPUTS
    outputs: tuple[Variable, ...] = OUTPUTS
    digest: str = "formula"

    @property
    def lower(self) -> np.ndarray:
        """Lower edge of the domain."""
        return np.full(2, -np.inf)

    @property
    def upper(self) -> np.ndarray:
        """Upper edge of the domain."""
        return np.full(2, np.inf)

    def evaluate(self, x: np.ndarray) -> Values:
        """Evaluate points (n, 2)."""
        if self.fails(x).any():
            raise EvaluationError("never trained there")
        return Values(*self.function(x))


EXACT = Formula(valley)
SLANTED = Formula(lambda x: (valley(x)[0] + 30.0 * x[:, :1] ** 2, valley(x)[1] + [60.0, 0.0] * x[:, None]))


def samples(n: int, without_partials: tuple[int, ...] = ()) -> Samples:
    """The first n points of the valley."""
    y, dydx = valley(POINTS[:n])
    dydx[list(without_partials)] = np.nan
    found = Evaluations(POINTS[:n], y, dydx, [PointStatus.OK] * n, [""] * n, np.zeros(n))
    return Samples.start(INPUTS, OUTPUTS).with_evaluations(found)


def after(
    selection: Selection, n: int, base: Formula | None = None, iterate: int = 0, terms: CorrectionTerms = TANGENT
) -> Selection:
    return selection.after(samples(n), base, iterate, [], np.zeros(1), terms, np.inf, candidates=range(n))


def missed(corrected: CorrectedSurrogate | None, n: int, new: int) -> float:
    """Log of the forecast error at a row, relative to the spread of the first n outputs."""
    assert corrected is not None
    y = valley(POINTS[:n])[0]
    return float(np.log(abs(corrected.evaluate(POINTS[[new]]).y[0, 0] - y[new, 0]) / np.ptp(y)))


def test_value_and_partials_at_the_iterate_are_the_truths() -> None:
    for base in (None, EXACT, SLANTED):
        found = after(Selection(), 4, base, iterate=2, terms=CorrectionTerms()).selected.evaluate(POINTS[[2]])
        np.testing.assert_allclose(found.y, valley(POINTS[[2]])[0], rtol=1e-12)
        np.testing.assert_allclose(found.dydx(), valley(POINTS[[2]])[1], rtol=1e-10)


def test_before_any_forecast_the_correction_alone_is_selected() -> None:
    found = after(Selection(), 1, EXACT)
    assert not found.uses_base
    assert found.selected is found.plain.corrected
    assert np.isnan(found.plain.error)
    assert found.based.corrected is not None


def test_the_better_forecast_decides() -> None:
    good = after(after(Selection(), 1, EXACT), 3, EXACT)
    assert good.uses_base
    assert good.selected is good.based.corrected
    bad = Formula(lambda x: (-10.0 * valley(x)[0], -10.0 * valley(x)[1]))
    assert not after(after(Selection(), 1, bad), 3, bad).uses_base


def test_the_error_is_the_log_of_the_forecast_error_relative_to_the_spread() -> None:
    first = after(Selection(), 2, SLANTED)
    second = after(first, 3, SLANTED)
    assert second.plain.error == pytest.approx(missed(first.plain.corrected, 3, 2))
    assert second.based.error == pytest.approx(missed(first.based.corrected, 3, 2))
    assert second.judged == 3


def test_the_record_forgets_half_of_the_past_in_each_iteration() -> None:
    first = after(Selection(), 2, SLANTED)
    second = after(first, 3, SLANTED)
    third = after(second, 4, SLANTED)
    newest = missed(second.plain.corrected, 4, 3)
    assert third.plain.error == pytest.approx(0.5 * second.plain.error + 0.5 * newest)
    assert third.plain.error != pytest.approx(newest, rel=0.05)
    assert third.based.error == pytest.approx(0.5 * second.based.error + 0.5 * missed(second.based.corrected, 4, 3))


def test_one_bad_forecast_does_not_outweigh_a_good_record() -> None:
    def steeper(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = valley(x)
        return y + 1e3 * x[:, :1] ** 2, dydx + [2e3, 0.0] * x[:, None]

    base = Formula(steeper)
    found = after(Selection(), 3, base)
    assert missed(found.based.corrected, 4, 3) > missed(found.plain.corrected, 4, 3)
    records = replace(found, plain=replace(found.plain, error=-1.0), based=replace(found.based, error=-8.0))
    assert after(records, 4, base).uses_base


def test_without_new_samples_the_record_stays() -> None:
    found = after(after(Selection(), 2, SLANTED), 3, SLANTED)
    again = after(found, 3, SLANTED, iterate=2)
    assert (again.plain.error, again.based.error, again.judged) == (found.plain.error, found.based.error, 3)
    assert again.plain.corrected is not found.plain.corrected


# ---- failures of the global surrogate ----


def beyond(x: np.ndarray) -> np.ndarray:
    return np.asarray(x[:, 0] > 0.5)


def test_a_global_surrogate_that_fails_at_a_sample_is_not_used() -> None:
    fragile = Formula(valley, beyond)
    found = after(Selection(), 3, fragile)
    for iterate in (3, 0):
        found = after(found, 4, fragile, iterate)
        assert found.based.corrected is None
        assert not found.uses_base
        assert found.selected.evaluate(POINTS[[iterate]]).y == pytest.approx(valley(POINTS[[iterate]])[0])


def test_a_failed_forecast_counts_as_the_worst() -> None:
    """The surrogate that failed at the new sample is refitted, and no longer fails there."""
    found = after(after(Selection(), 3, Formula(valley, beyond)), 4, EXACT)
    assert found.based.error == np.inf
    assert found.based.corrected is not None
    assert not found.uses_base


# ---- what else ----


def test_without_the_first_order_term_nothing_is_corrected() -> None:
    found = after(Selection(), 3, EXACT, terms=CorrectionTerms(first_order=False))
    assert (found.plain.corrected, found.based.corrected, found.judged) == (None, None, 3)


def test_the_records_of_krigings_are_passed_on() -> None:
    """Each correction judges the forecast of the one before it."""
    first = after(Selection(), 3, terms=CorrectionTerms())
    second = after(first, 4, terms=CorrectionTerms())
    assert not any(kriging.record.any() for kriging in first.selected.correction.krigings)
    assert len(second.selected.correction.krigings) == 2
    assert all(kriging.record.all() for kriging in second.selected.correction.krigings)


def test_secants_connect_the_samples_whose_partials_are_known() -> None:
    """The steps of the run end at points without partials; the secants leave these out."""
    terms = CorrectionTerms(kriging=False)
    every = samples(4, without_partials=(1, 2))
    found = Selection().after(every, None, 3, [(0, 1), (1, 2), (2, 3)], np.zeros(1), terms, np.inf)
    expected = Selection().after(every, None, 3, [(0, 3)], np.zeros(1), terms, np.inf)
    hessian = found.selected.correction.hessian
    assert hessian.any()
    np.testing.assert_array_equal(hessian, expected.selected.correction.hessian)


@pytest.mark.parametrize("other", [np.array([[1.9, 1.9]]), np.array([[-1.9, 1.8]])])
def test_a_row_of_another_component_changes_no_record(other: np.ndarray) -> None:
    """Components that share a truth add a row each; a model answers for that of its own component."""

    def at(selection: Selection, points: np.ndarray, iterate: int) -> Selection:
        n = len(points)
        found = Evaluations(points, *valley(points), [PointStatus.OK] * n, [""] * n, np.zeros(n))
        known, pairs = Samples.start(INPUTS, OUTPUTS).with_evaluations(found), [(0, 1), (1, 2), (2, 3)]
        own = range(5)[: len(points)]
        return selection.after(known, SLANTED, iterate, pairs, np.ones(1), CorrectionTerms(), np.inf, candidates=own)

    first = at(Selection(), POINTS[:4], 3)
    candidate = POINTS[3:4] + 0.05
    alone = at(first, np.vstack([POINTS[:4], candidate]), 4)
    points = np.vstack([POINTS[:4], candidate, other])
    beside = at(first, points, 4)
    assert alone.plain.corrected is not None and beside.plain.corrected is not None
    assert first.plain.corrected is not None
    error = first.plain.corrected.evaluate(candidate).y - valley(candidate)[0]
    assert beside.plain.error == pytest.approx(np.log(abs(error[0, 0]) / np.ptp(valley(points)[0])))
    for one, two in zip(
        alone.plain.corrected.correction.krigings, beside.plain.corrected.correction.krigings, strict=True
    ):
        assert one.record == two.record
        assert one.record != 0.0


def test_records_stay_where_nothing_new_was_forecast() -> None:
    pairs = [(0, 1), (1, 2)]
    first = Selection().after(samples(3), None, 2, pairs, np.ones(1), CorrectionTerms(), np.inf)
    second, again = first, first
    for _ in range(2):
        again = second
        second = second.after(samples(4), None, 3, pairs, np.ones(1), CorrectionTerms(), np.inf, candidates=range(4))
    assert second.plain.corrected is not None and again.plain.corrected is not None
    records = [
        [kriging.record.tolist() for kriging in one.plain.corrected.correction.krigings]
        for one in (second, again)
        if one.plain.corrected is not None
    ]
    assert records[0] == records[1] != [[0.0], [0.0]]
