"""Wrong partials are found, with their expected values; correct, noisy and harmless partials are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.errors import InputError
from gradopt.sampling import latin_hypercube
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.diagnostics.outliers import Outlier, drop_outliers, find_outliers

INPUTS = (Variable("x", (2,), lower=-1.0, upper=1.0, units="m"),)
OUTPUTS = (Variable("drag"), Variable("lift", transform="log"))
WRONG = (7, 0, 1)  # sample, output, input


def samples() -> Dataset:
    """Two smooth outputs of two inputs, the second positive."""
    x = latin_hypercube(INPUTS, 16, 3)
    a, b = x.T
    y = np.stack([np.sin(2.0 * a) + a * b + b**2, np.exp(1.0 + a - 0.5 * b)], axis=1)
    slopes = [[2.0 * np.cos(2.0 * a) + b, a + 2.0 * b], [y[:, 1], -0.5 * y[:, 1]]]
    return Dataset(x, y, np.array(slopes).transpose(2, 0, 1), INPUTS, OUTPUTS)


def with_entry(data: Dataset, entry: tuple[int, int, int], value: float) -> Dataset:
    partials = data.partials.copy()
    partials[entry] = value
    return replace(data, dydx=partials)


def fit(data: Dataset) -> Surrogate:
    return JENN((8,), starts=2, solver=LevenbergMarquardt(80)).fit(data)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return samples()


@pytest.fixture(scope="module")
def bad(data: Dataset) -> Dataset:
    """The samples, one partial of which has the wrong sign."""
    return with_entry(data, WRONG, -data.partials[WRONG])


@pytest.fixture(scope="module")
def outliers(bad: Dataset) -> tuple[Outlier, ...]:
    return find_outliers(fit(bad), bad)


def test_a_wrong_sign_is_found_with_the_expected_partial(data: Dataset, outliers: tuple[Outlier, ...]) -> None:
    truth = data.partials[WRONG]
    assert abs(truth) > 0.5
    (found,) = outliers
    assert (found.sample, found.output, found.input, found.of, found.wrt) == (*WRONG, "drag", "x[1]")
    assert found.given == -truth and abs(found.expected - truth) < 4.0 * found.std < 0.4 * abs(truth)
    assert found.log_odds > 20.0
    assert str(found).startswith("partial d(drag)/d(x[1]) of sample 7 contradicts the other data: given ")
    assert f"expected {found.expected:.4g} +- {found.std:.2g}" in str(found)


def test_expected_partials_are_physical_also_with_a_transform(data: Dataset) -> None:
    entry = (4, 1, 0)
    bad = with_entry(data, entry, -data.partials[entry])
    (found,) = find_outliers(fit(bad), bad)
    assert found.of == "lift" and found.expected == pytest.approx(data.partials[entry], rel=0.05)


def test_several_wrong_partials_are_found_the_most_certain_first(data: Dataset) -> None:
    bad = replace(data, dydx=np.where(np.arange(data.n)[:, None, None] == 7, -1.0, 1.0) * data.partials)
    found = find_outliers(fit(bad), bad)
    assert {(of.sample, of.output, of.input) for of in found} == {(7, k, j) for k in range(2) for j in range(2)}
    assert [of.log_odds for of in found] == sorted((of.log_odds for of in found), reverse=True)


def test_no_outlier_is_found_in_correct_data(data: Dataset) -> None:
    assert find_outliers(fit(data), data) == ()


def test_noise_is_no_outlier(data: Dataset) -> None:
    noise = 0.2 * np.random.default_rng(0).standard_normal(data.partials.shape)
    noisy = replace(data, dydx=data.partials + noise)
    assert find_outliers(fit(noisy), noisy) == ()


def test_a_harmless_deviation_is_no_outlier(data: Dataset) -> None:
    size = np.sqrt((data.partials[:, 0, 1] ** 2).mean())
    slightly = with_entry(data, WRONG, data.partials[WRONG] + 0.09 * size)
    assert find_outliers(fit(slightly), slightly) == ()


def test_dropped_partials_are_nan_and_no_others(bad: Dataset, outliers: tuple[Outlier, ...]) -> None:
    cleaned = drop_outliers(bad, outliers)
    assert np.argwhere(~cleaned.known).tolist() == [list(WRONG)]
    assert drop_outliers(bad, ()).digest == bad.digest


def test_values_alone_have_no_outliers(data: Dataset) -> None:
    assert find_outliers(MLP((4,), starts=1, solver=LevenbergMarquardt(5)).fit(data), data) == ()


def test_fixed_weights_are_refused(data: Dataset) -> None:
    fixed = JENN((4,), weights="fixed", starts=1, solver=LevenbergMarquardt(5)).fit(data)
    with pytest.raises(InputError, match="`surrogate` must have learned weights, got fixed weights"):
        find_outliers(fixed, data)
