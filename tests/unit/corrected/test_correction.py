"""The corrected surrogate has the truth's value and partials at the iterate, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradopt.corrected.correction import (
    KRIGED,
    CorrectedSurrogate,
    Correction,
    CorrectionTerms,
    about,
    correct,
    shares_of,
    window,
)
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.training.levenberg_marquardt import LevenbergMarquardt

RNG = np.random.default_rng(5)
INPUTS = (Variable("a", shape=(2,), lower=0.0, upper=1.0), Variable("b", lower=0.1, upper=10.0, transform="log"))
OUTPUTS = (Variable("p", transform="log"), Variable("q", transform="logit"), Variable("r"))
PAIRS = [(0, 1), (1, 2), (0, 3)]
SIGNS = np.array([1.0, -1.0, 0.0])


def truth(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    tilt = a - 0.5 * b + 0.3 * np.log(c)
    return np.stack([np.exp(np.sin(2.0 * tilt)), 1.0 / (1.0 + np.exp(-2.0 * tilt)), a * b + c], axis=1)


def linearized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps = 1e-30j * np.eye(3)
    return truth(x), np.stack([truth(x + step).imag / 1e-30 for step in steps], axis=-1)


def dataset(n: int = 9, seed: int = 5) -> Dataset:
    x = np.random.default_rng(seed).uniform([0.1, 0.1, 0.5], [0.9, 0.9, 5.0], (n, 3))
    return Dataset(x, *linearized(x), INPUTS, OUTPUTS)


FITTED = JENN((4,), solver=LevenbergMarquardt(max_iterations=5), starts=1).fit(dataset(6, 1))
EVERY = [
    CorrectionTerms(),
    CorrectionTerms(secant=False),
    CorrectionTerms(kriging=False),
    CorrectionTerms(secant=False, kriging=False),
]


@pytest.mark.parametrize("terms", EVERY, ids=str)
@pytest.mark.parametrize("surrogate", [None, FITTED], ids=["alone", "on a network"])
@pytest.mark.parametrize("center", [0, 4])
def test_value_and_partials_at_the_iterate_are_the_truths(
    terms: CorrectionTerms, surrogate: object, center: int
) -> None:
    data = dataset()
    found = correct(surrogate, data, center, PAIRS, SIGNS, terms).evaluate(data.x[[center]])  # type: ignore[arg-type]
    np.testing.assert_allclose(found.y, data.y[[center]], rtol=1e-9)
    np.testing.assert_allclose(found.dydx(), data.partials[[center]], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("terms", EVERY, ids=str)
def test_partials_are_the_derivatives_of_the_values(terms: CorrectionTerms) -> None:
    found = correct(FITTED, dataset(), 2, PAIRS, SIGNS, terms)
    x = RNG.uniform([0.1, 0.1, 0.5], [0.9, 0.9, 5.0], (4, 3))
    dydx = found.evaluate(x).dydx()
    for column in range(3):
        stepped = found.evaluate(x + 1e-30j * np.eye(3)[column]).y.imag / 1e-30
        np.testing.assert_allclose(stepped, dydx[:, :, column], rtol=1e-5, atol=1e-6)


def with_records(found: CorrectedSurrogate, *records: list[float] | float) -> CorrectedSurrogate:
    """The surrogate with a record (m,) for each of its krigings."""
    correction = found.correction
    krigings = [
        replace(kriging, record=np.broadcast_to(np.array(record, dtype=float), correction.value.shape))
        for kriging, record in zip(correction.krigings, records, strict=True)
    ]
    return replace(found, correction=replace(correction, krigings=tuple(krigings)))


def points_taken(correction: Correction) -> int:
    """Number of points that the krigings take, the same for each."""
    (count,) = {len(kriging.kriging.points) for kriging in correction.krigings}
    return count


def test_kriging_makes_the_neighborhood_more_accurate() -> None:
    """More where its forecasts were good before; at first the tangent has a share of a third."""
    data = dataset(15)
    x = data.x[[0]] + np.random.default_rng(6).uniform(-0.1, 0.1, (40, 3))
    tangent = correct(None, data, 0, PAIRS, SIGNS, CorrectionTerms(kriging=False, secant=False))
    found = correct(None, data, 0, PAIRS, SIGNS, CorrectionTerms(secant=False))
    unsure, sure = with_records(found, 0.0, 0.0), with_records(found, -8.0, 8.0)
    errors = [np.abs(one.evaluate(x).y - truth(x)).max() for one in (tangent, unsure, sure)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.15 * errors[0]


def test_outputs_stay_in_the_domain_of_their_transforms() -> None:
    found = correct(None, dataset(4), 0, PAIRS, SIGNS).evaluate(np.array([[30.0, -30.0, 1e3], [-30.0, 30.0, 1e-3]]))
    assert (found.y[:, 0] > 0.0).all()
    assert ((found.y[:, 1] >= 0.0) & (found.y[:, 1] <= 1.0)).all()


def test_a_quadratic_truth_is_met_after_a_few_steps() -> None:
    x = np.vstack([np.zeros(2), np.eye(2), [[0.5, -1.0]]])
    variables = [Variable("x", shape=(2,))], [Variable("y")]
    data = Dataset(x, (2 * x[:, :1] ** 2 + x[:, 1:] ** 2), np.stack([4 * x[:, 0], 2 * x[:, 1]], 1)[:, None], *variables)
    found = correct(None, data, 0, [(0, 1), (0, 2)], np.ones(1), CorrectionTerms(kriging=False))
    at = np.array([[0.3, 0.7]])
    np.testing.assert_allclose(found.evaluate(at).y, [[2 * 0.09 + 0.49]], rtol=1e-9)


def test_unknown_partials_at_the_iterate_are_left_to_the_other_terms() -> None:
    data = dataset()
    masked = data.partials.copy()
    masked[0, 2, 1] = np.nan
    data = Dataset(data.x, data.y, masked, INPUTS, OUTPUTS)
    found = correct(None, data, 0, PAIRS, SIGNS)
    assert np.isfinite(found.evaluate(data.x).y).all()
    known = ~np.isnan(masked[0])
    np.testing.assert_allclose(found.evaluate(data.x[[0]]).dydx()[0][known], masked[0][known], rtol=1e-6, atol=1e-8)


def test_reach_keeps_far_points_out_of_the_kriging() -> None:
    data = dataset(12)
    distance = np.linalg.norm(about(data, 0).scale_inputs(data.x), axis=1)
    reach = float(np.sort(distance)[3])
    assert points_taken(correct(None, data, 0, PAIRS, SIGNS, reach=reach).correction) == 4


def test_a_single_point_gives_the_tangent() -> None:
    data = dataset(1)
    found = correct(None, data, 0, [], SIGNS)
    assert found.correction.krigings == ()
    assert found.correction.shares.shape == (0, 3)
    np.testing.assert_allclose(found.evaluate(data.x).y, data.y, rtol=1e-12)


def test_coordinates_are_in_units_of_the_bounds_or_of_the_spread() -> None:
    data = dataset()
    scaling = about(data, 3)
    np.testing.assert_array_equal(scaling.scale_inputs(data.x[[3]]), np.zeros((1, 3)))
    np.testing.assert_array_equal(scaling.input_scale[:2], [1.0, 1.0])
    assert scaling.input_scale[2] == pytest.approx(np.ptp(np.log(data.x[:, 2])))


def test_the_window_grows_with_the_dimension_but_not_the_time() -> None:
    sizes = [window(d) for d in (1, 2, 5, 10, 20, 50, 200, 2000)]
    assert sizes[0] >= 8
    assert all((n * (d + 1)) <= 2000 or n == 2 for n, d in zip(sizes, (1, 2, 5, 10, 20, 50, 200, 2000), strict=True))
    assert min(sizes) == 2


def test_the_digest_tells_corrections_apart() -> None:
    data = dataset()
    same, other = (correct(None, data, center, PAIRS, SIGNS).digest for center in (0, 1))
    assert same == correct(None, data, 0, PAIRS, SIGNS).digest
    assert same != other
    assert correct(FITTED, data, 0, PAIRS, SIGNS).digest != same


def test_kriging_loses_its_share_where_it_did_worse_and_gets_it_back_where_it_did_better() -> None:
    """The second output is a quadratic with noise in its partials, which the kriging of few samples follows."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1.0, 1.0, (14, 1))
    y = np.concatenate([np.sin(6.0 * x), x**2], axis=1)
    dydx = np.stack([6.0 * np.cos(6.0 * x), 2.0 * x], axis=1)
    dydx[:, 1] += 0.3 * generator.normal(size=(14, 1))
    variables = [Variable("x", lower=-1.0, upper=1.0)], [Variable("wave"), Variable("bowl")]
    found, records, shares = None, [], []
    for n in range(3, 15):
        data = Dataset(x[:n], y[:n], dydx[:n], *variables)
        pairs = [(i, i + 1) for i in range(n - 1)]
        found = correct(None, data, n - 1, pairs, np.array([1.0, 1.0]), previous=found, newest=[n - 1])
        (kriging,) = found.correction.krigings  # of one input both kernels are the same
        records.append(kriging.record)
        shares.append(found.correction.shares[0])
    assert not records[0].any()
    assert shares[0].tolist() == [0.5, 0.5]
    assert records[6][0] < 0.0 < records[6][1]
    assert shares[6][0] > 0.9
    assert shares[6][1] < 0.1
    assert records[-1][1] < 0.0
    assert shares[-1][1] > 0.9


def test_each_kriging_has_a_kernel_and_a_record_of_its_own() -> None:
    data = first_rows(dataset(12), 6)
    first = correct(None, first_rows(data, 5), 0, PAIRS, SIGNS)
    assert tuple(one.kriging.kernel for one in first.correction.krigings) == KRIGED
    second = correct(None, data, 0, PAIRS, SIGNS, previous=first, newest=[5])
    z = second.correction.scaling.scale_inputs(data.x[-1:])  # both have the same iterate
    missed = second.correction.scaling.scale_outputs(data.y[-1:]) - first.correction.plain(z)[0]
    for before, after in zip(first.correction.krigings, second.correction.krigings, strict=True):
        ratio = np.log(np.abs(missed - before.evaluate(z)[0]) / np.abs(missed))[0]
        curved = [0, 2]  # the tangent meets the other output to round-off
        np.testing.assert_allclose(after.record[curved], np.clip(ratio, -2.0, 2.0)[curved], rtol=1e-6)
        assert (np.abs(ratio[curved]) < 2.0).any()
    one, other = (kriging.record[[0, 2]] for kriging in second.correction.krigings)
    assert not np.allclose(one, other)


def test_the_correction_is_the_sum_of_its_terms_by_their_shares() -> None:
    found = with_records(correct(None, dataset(12), 3, PAIRS, SIGNS), [-1.0, 0.0, 2.0], [1.0, -3.0, 0.5]).correction
    z = RNG.uniform(-0.3, 0.3, (5, 3))
    values, partials = found.plain(z)
    for kriging, share in zip(found.krigings, found.shares, strict=True):
        missed, slopes = kriging.evaluate(z)
        values, partials = values + share * missed, partials + share[:, None] * slopes
    np.testing.assert_allclose(found.evaluate(z)[0], values, rtol=1e-8)
    np.testing.assert_allclose(found.evaluate(z)[1], partials, rtol=1e-6, atol=1e-8)


def test_records_forget_a_fifth_with_each_candidate() -> None:
    data = dataset(12)
    first = correct(None, first_rows(data, 11), 0, PAIRS, SIGNS)
    fresh, old = (
        records(correct(None, data, 0, PAIRS, SIGNS, previous=previous, newest=[11]))
        for previous in (first, with_records(first, -3.0, 5.0))
    )
    np.testing.assert_allclose(old - fresh, 0.8 * np.array([[-3.0] * 3, [5.0] * 3]))


def test_several_new_samples_change_the_records_by_their_mean() -> None:
    data = dataset(12)
    first = correct(None, first_rows(data, 10), 0, PAIRS, SIGNS)
    one, other, both = (
        records(correct(None, data, 0, PAIRS, SIGNS, previous=first, newest=rows)) for rows in ([10], [11], [10, 11])
    )
    np.testing.assert_allclose(both, 0.5 * (one + other))
    assert not np.allclose(one, other)


def test_with_a_single_kriging_it_has_all_but_a_little_of_the_share() -> None:
    found = with_records(correct(None, dataset(12), 3, PAIRS, SIGNS), [-1.0, 0.0, 2.0], [1.0, -3.0, 0.5])
    z = RNG.uniform(-0.3, 0.3, (5, 3))
    plain = found.correction.plain(z)[0]
    for index, kriging in enumerate(found.correction.krigings):
        alone = found.with_kriging(index).correction.evaluate(z)[0]
        np.testing.assert_allclose(alone, plain + kriging.evaluate(z)[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.with_kriging(None).correction.evaluate(z)[0], plain)


def records(found: CorrectedSurrogate) -> np.ndarray:
    return np.array([one.record for one in found.correction.krigings])


def first_rows(data: Dataset, n: int) -> Dataset:
    """The first n samples."""
    return Dataset(data.x[:n], data.y[:n], data.partials[:n], data.input_variables, data.output_variables)


# ---- shares ----


@pytest.mark.parametrize("record", [-20.0, -1.0, 0.0, 3.0])
def test_equal_records_give_equal_shares(record: float) -> None:
    shares = shares_of(np.full((2, 3), record))
    np.testing.assert_array_equal(shares[0], shares[1])
    if record == 0.0:  # that of the model without kriging, too
        np.testing.assert_allclose(shares, 1.0 / 3.0)


def test_shares_are_inverse_to_the_errors_of_the_past() -> None:
    """Krigings with half and with twice the error of the model without: 2 to 1/2 to 1."""
    np.testing.assert_allclose(shares_of(np.log([[0.5], [2.0]])), [[2.0 / 3.5], [0.5 / 3.5]])


def test_a_much_better_record_takes_all() -> None:
    shares = shares_of(np.array([[-8.0, 8.0, 8.0], [8.0, -8.0, 8.0]]))
    np.testing.assert_allclose(shares, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], atol=1e-3)


def test_no_record_gives_more_than_the_clearest_one() -> None:
    np.testing.assert_array_equal(shares_of(np.array([[-500.0], [500.0]])), shares_of(np.array([[-8.0], [8.0]])))


def test_shares_sum_below_one() -> None:
    """The rest is that of the model without kriging."""
    records = np.random.default_rng(2).uniform(-30.0, 30.0, (2, 500))
    shares = shares_of(records)
    assert (shares > 0.0).all()
    assert (shares.sum(axis=0) < 1.0).all()


def test_shares_sum_to_one_where_partials_are_carried() -> None:
    records = np.array([[5.0, 5.0], [4.0, 4.0]])
    shares = shares_of(records, np.array([True, False]))
    assert shares[:, 0].sum() == pytest.approx(1.0)
    assert shares[0, 0] / shares[1, 0] == pytest.approx(np.exp(-1.0))
    np.testing.assert_array_equal(shares[:, 1], shares_of(records)[:, 1])


def test_round_off_of_far_points_does_not_reach_the_near_ones() -> None:
    """Values from 1e8 far off to 1e-8 at the iterate."""
    x = np.array([[0.0], [1e-4], [-2e-4], [3e-2], [1.0], [-1.0]])
    y, dydx = 1e8 * x**4 + x**2, (4e8 * x**3 + 2.0 * x)[:, None, :]
    data = Dataset(x, y, dydx, [Variable("x", lower=-1.0, upper=1.0)], [Variable("y")])
    assert points_taken(correct(None, data, 0, [], np.ones(1)).correction) == 3


def test_krigings_are_added_by_their_shares() -> None:
    correction = with_records(correct(None, dataset(12), 0, PAIRS, SIGNS), [0.5, -2.0, 8.0], [0.0, 1.0, 8.0]).correction
    z = np.full((1, 3), 0.2)
    values, partials = correction.evaluate(z)
    plain, inclined = correction.plain(z)
    terms = [kriging.evaluate(z) for kriging in correction.krigings]
    assert all((missed != 0.0).all() for missed, _ in terms)
    shares = correction.shares
    np.testing.assert_array_equal(shares, shares_of(np.array([[0.5, -2.0, 8.0], [0.0, 1.0, 8.0]])))
    expected = sum(share * missed for share, (missed, _) in zip(shares, terms, strict=True))
    slope = sum(share[:, None] * slopes for share, (_, slopes) in zip(shares, terms, strict=True))
    np.testing.assert_allclose(values - plain, expected, atol=1e-14)
    np.testing.assert_allclose(partials - inclined, slope, atol=1e-14)


def test_outputs_that_only_constraints_use_may_curve_either_way() -> None:
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    saddle, slopes = x[:, :1] ** 2 - 3.0 * x[:, 1:] ** 2, np.stack([2.0 * x[:, 0], -6.0 * x[:, 1]], axis=1)
    box = [Variable("x", shape=(2,), lower=-1.0, upper=1.0)]
    data = Dataset(x, saddle, slopes[:, None], box, [Variable("y")])
    terms = CorrectionTerms(kriging=False)
    free = correct(None, data, 0, [(0, 1), (1, 2)], np.zeros(1), terms).correction.hessian[0]
    np.testing.assert_allclose(free, 4.0 * np.diag([2.0, -6.0]), atol=1e-9)  # a unit is the range, 2
    convex = correct(None, data, 0, [(0, 1), (1, 2)], np.ones(1), terms).correction.hessian[0]
    assert np.linalg.eigvalsh(convex).min() > 0.0


def masked(data: Dataset, known: list[int]) -> Dataset:
    """The data with partials in some rows alone."""
    partials = np.full(data.partials.shape, np.nan)
    partials[known] = data.partials[known]
    return replace(data, dydx=partials)


def test_unknown_partials_at_the_iterate_are_carried_there_and_improved_by_values() -> None:
    """On average over many samples: each has only 13 values, and partials at one point."""
    errors = []
    for seed in range(11, 23):
        rng = np.random.default_rng(seed)
        x = np.array([0.5, 0.5, 2.0]) + rng.uniform(-1.0, 1.0, (14, 3)) * [0.05, 0.05, 0.2]
        full = Dataset(x, *linearized(x), INPUTS, OUTPUTS)
        found = correct(None, masked(full, [0]), 13, [], SIGNS).evaluate(x[[13]])
        np.testing.assert_allclose(found.y, full.y[[13]], rtol=1e-9)
        size = np.abs(full.partials[13]).max(axis=1, keepdims=True)
        both = [np.abs(one - full.partials[13]) / size for one in (full.partials[0], found.dydx()[0])]
        assert both[1].max() < 0.2
        errors.append([one.mean() for one in both])
    carried, estimated = np.mean(errors, axis=0)
    assert estimated < 0.9 * carried


def test_an_output_without_any_partials_is_learned_from_values() -> None:
    rng = np.random.default_rng(12)
    x = np.array([0.5, 0.5, 2.0]) + rng.uniform(-1.0, 1.0, (20, 3)) * [0.05, 0.05, 0.2]
    full = Dataset(x, *linearized(x), INPUTS, OUTPUTS)
    found = correct(None, masked(full, []), 19, [], SIGNS).evaluate(x[[19]])
    np.testing.assert_allclose(found.y, full.y[[19]], rtol=1e-9)
    size = np.abs(full.partials[19]).max(axis=1, keepdims=True)
    assert (np.abs(found.dydx()[0] - full.partials[19]) / size).max() < 0.2


def test_without_kriging_the_nearest_known_partials_are_carried_to_the_iterate() -> None:
    rng = np.random.default_rng(13)
    x = np.array([0.5, 0.5, 2.0]) + rng.uniform(-1.0, 1.0, (3, 3)) * [0.05, 0.05, 0.2]
    x[1] = x[2] + [0.3, 0.3, 1.0]  # known too, but farther off
    full = Dataset(x, *linearized(x), INPUTS, OUTPUTS)
    plain = CorrectionTerms(secant=False, kriging=False)
    found = correct(None, masked(full, [0, 1]), 2, [], SIGNS, plain).evaluate(x[[2]])
    np.testing.assert_allclose(found.dydx()[0, 2, :2], full.partials[0, 2, :2])  # the output and inputs as they are


def test_without_partials_at_the_iterate_krigings_share_all_whatever_their_records() -> None:
    """No other term takes the values around it."""
    data = dataset(12)
    poor = with_records(correct(None, data, 0, PAIRS, SIGNS), [9.0, 9.0, -9.0], [9.0, 9.0, -9.0])
    known = correct(None, data, 1, PAIRS, SIGNS, previous=poor, newest=[11]).correction
    assert known.carried.tolist() == [False, False, False]
    assert (known.shares.sum(axis=0) > 0.5).tolist() == [False, False, True]
    partials = data.partials.copy()
    partials[1, 0, 2] = np.nan
    found = correct(None, replace(data, dydx=partials), 1, PAIRS, SIGNS, previous=poor, newest=[11]).correction
    assert found.carried.tolist() == [True, False, False]  # the output whose partial is unknown
    assert found.shares[:, 0].sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(found.shares[:, 1:], known.shares[:, 1:])


@pytest.mark.parametrize(("near", "count"), [(1e-8, 3), (0.4, 3), (0.6, 4)])
def test_residuals_at_the_nearest_two_points_bound_those_of_far_ones(near: float, count: int) -> None:
    """The nearest one has no residual, the second a small one: the larger of both counts, times ten thousand."""
    x = np.array([[0.0], [1e-3], [-2e-3], [0.5]])
    y = np.array([[0.0], [0.0], [near], [5e3]])
    data = Dataset(x, y, np.zeros((4, 1, 1)), [Variable("x", lower=-1.0, upper=1.0)], [Variable("y")])
    assert points_taken(correct(None, data, 0, [], np.ones(1), CorrectionTerms(secant=False)).correction) == count


def test_the_iterate_and_the_two_samples_nearest_to_it_are_always_taken() -> None:
    """Their residuals are twelve orders apart, and those of the other output in the opposite order."""
    x = np.array([[0.0], [1e-3], [-2e-3], [0.5]])
    y = np.array([[0.0, 0.0], [1e-9, 1e3], [1e3, 1e-9], [1e12, 1e12]])
    data = Dataset(x, y, np.zeros((4, 2, 1)), [Variable("x", lower=-1.0, upper=1.0)], [Variable("p"), Variable("q")])
    assert points_taken(correct(None, data, 0, [], np.zeros(2), CorrectionTerms(secant=False)).correction) == 3
