"""Gradient-enhanced kriging: interpolation, exact partials, lengths by evidence, noise, configuration.

Properties for any data stand in `tests/invariants/test_kriging_invariants.py`.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.kernels import KERNELS, RADIAL, RadialKernel
from gradopt.corrected.kriging import LENGTHS, KrigingConfiguration, krige
from gradopt.corrected.metric import METRICS
from gradopt.errors import InputError

RNG = np.random.default_rng(3)
POINTS = np.vstack([np.zeros(3), RNG.uniform(-1.0, 1.0, (11, 3))])


def smooth(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two outputs (n, 2) and their partials (n, 2, 3)."""
    y = np.stack([np.sin(z @ [1.0, -0.5, 0.3]), z[:, 0] * z[:, 1] + 0.2 * z[:, 2] ** 2], axis=1)
    slope = np.cos(z @ [1.0, -0.5, 0.3])[:, None] * np.array([1.0, -0.5, 0.3])
    bend = np.stack([z[:, 1], z[:, 0], 0.4 * z[:, 2]], axis=1)
    return y, np.stack([slope, bend], axis=1)


def test_values_and_partials_are_interpolated() -> None:
    y, dydz = smooth(POINTS)
    found = krige(POINTS, y, dydz)
    values, partials = found.evaluate(POINTS)
    np.testing.assert_allclose(values, y, atol=3e-4)
    np.testing.assert_allclose(partials, dydz, atol=1e-3)


def test_partials_make_kriging_more_accurate_between_the_points() -> None:
    y, dydz = smooth(POINTS)
    inside = RNG.uniform(-0.6, 0.6, (50, 3))
    truth, _ = smooth(inside)
    with_partials = np.abs(krige(POINTS, y, dydz).evaluate(inside)[0] - truth).max()
    without = np.abs(krige(POINTS, y, np.full_like(dydz, np.nan)).evaluate(inside)[0] - truth).max()
    assert with_partials < 1e-2
    assert without > 5.0 * with_partials


def test_partials_are_the_derivatives_of_the_values() -> None:
    y, dydz = smooth(POINTS)
    found = krige(POINTS, y, dydz)
    z = RNG.uniform(-1.0, 1.0, (4, 3))
    _, partials = found.evaluate(z)
    for column in range(3):
        step = 1e-30j * np.eye(3)[column]
        np.testing.assert_allclose(found.evaluate(z + step)[0].imag / 1e-30, partials[:, :, column], atol=1e-7)


def test_unknown_partials_have_no_influence() -> None:
    y, dydz = smooth(POINTS)
    masked = dydz.copy()
    masked[4, 0, 1] = np.nan
    masked[:, 1, 2] = np.nan
    found = krige(POINTS, y, masked)
    values, partials = found.evaluate(POINTS)
    np.testing.assert_allclose(values, y, atol=3e-4)
    known = ~np.isnan(masked)
    np.testing.assert_allclose(partials[known], masked[known], atol=1e-3)
    assert not found.partial_weights[4, 0, 1]
    assert not found.partial_weights[:, 1, 2].any()


def test_each_output_has_the_length_of_the_largest_evidence() -> None:
    z = np.vstack([np.zeros(1), RNG.uniform(-1.0, 1.0, (15, 1))])
    slow, fast = np.sin(z[:, 0]), np.sin(12.0 * z[:, 0])
    y = np.stack([slow, fast], axis=1)
    dydz = np.stack([np.cos(z), 12.0 * np.cos(12.0 * z)], axis=1)
    found = krige(z, y, dydz)
    assert LENGTHS[found.length_indices[0]] >= 1.0
    assert LENGTHS[found.length_indices[1]] <= 0.4


@pytest.mark.parametrize("start", [0, len(LENGTHS) - 1])
def test_lengths_do_not_depend_on_the_start_of_the_search(start: int) -> None:
    y, dydz = smooth(POINTS)
    assert krige(POINTS, y, dydz, [start, start]).length_indices == krige(POINTS, y, dydz).length_indices


def test_scale_of_outputs_and_order_of_points_do_not_matter() -> None:
    y, dydz = smooth(POINTS)
    z = RNG.uniform(-0.5, 0.5, (5, 3))
    plain = krige(POINTS, y, dydz).evaluate(z)[0]
    np.testing.assert_allclose(krige(POINTS, 1e6 * y, 1e6 * dydz).evaluate(z)[0], 1e6 * plain, rtol=1e-6)
    order = RNG.permutation(len(POINTS))
    np.testing.assert_allclose(krige(POINTS[order], y[order], dydz[order]).evaluate(z)[0], plain, atol=1e-7)


def test_points_that_almost_coincide_are_interpolated() -> None:
    points = np.vstack([POINTS, POINTS[1:5] + 1e-9])
    y, dydz = smooth(points)
    values, _ = krige(points, y, dydz).evaluate(POINTS)
    np.testing.assert_allclose(values, y[: len(POINTS)], atol=1e-4)


def test_noise_is_smoothed_where_noise_is_allowed() -> None:
    rng = np.random.default_rng(7)
    points = np.vstack([np.zeros(2), rng.uniform(-1.0, 1.0, (40, 2))])

    def wave(z: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(2.0 * z[:, 0]) + z[:, 1], np.cos(z @ [1.0, 1.0])], axis=1)

    y = wave(points) + 0.02 * rng.standard_normal((41, 2))
    unknown = np.full((41, 2, 2), np.nan)
    inside = rng.uniform(-0.8, 0.8, (200, 2))
    errors = {
        noisy: np.sqrt(((krige(points, y, unknown, noisy=noisy).evaluate(inside)[0] - wave(inside)) ** 2).mean())
        for noisy in (True, False)
    }
    assert errors[True] < 0.02
    assert errors[False] > 2.0 * errors[True]


def test_allowing_noise_costs_little_accuracy_without_noise() -> None:
    y, dydz = smooth(POINTS)
    inside = np.random.default_rng(8).uniform(-0.6, 0.6, (50, 3))
    truth, _ = smooth(inside)
    assert np.abs(krige(POINTS, y, dydz, noisy=True).evaluate(inside)[0] - truth).max() < 2e-2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_and_metric_predicts_between_the_points(kernel: str, metric: str) -> None:
    y, dydz = smooth(POINTS)
    inside = np.random.default_rng(8).uniform(-0.6, 0.6, (50, 3))
    truth, _ = smooth(inside)
    configuration = KrigingConfiguration(kernel=kernel, metric=metric)
    found, _ = krige(POINTS, y, dydz, configuration=configuration).evaluate(inside)
    # The output that gives the metric, or the one that is a sum of functions of one and two variables.
    output = 1 if kernel == "additive" and metric == "isotropic" else 0
    assert np.abs(found - truth)[:, output].max() < 0.05


def sum_of_functions(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A sum of functions of one and of two variables (n, 1) with its partials (n, 1, d)."""
    following = np.roll(z, -1, axis=1)
    y = (np.sin(2.0 * z) + z * np.cos(following)).sum(axis=1)
    slopes = 2.0 * np.cos(2.0 * z) + np.cos(following) - np.roll(z * np.sin(following), 1, axis=1)
    return y[:, None], slopes[:, None]


def test_the_additive_kernel_learns_a_sum_in_ten_dimensions_from_few_samples() -> None:
    rng = np.random.default_rng(4)
    points = np.vstack([np.zeros(10), rng.uniform(-1.0, 1.0, (19, 10))])
    inside = rng.uniform(-1.0, 1.0, (200, 10))
    truth, _ = sum_of_functions(inside)
    errors = {}
    for kernel in ("squared exponential", "additive"):
        kriging = krige(points, *sum_of_functions(points), configuration=KrigingConfiguration(kernel=kernel))
        errors[kernel] = np.sqrt(((kriging.evaluate(inside)[0] - truth) ** 2).mean()) / truth.std()
    assert errors["additive"] < 0.06
    assert errors["additive"] < 0.3 * errors["squared exponential"]


def test_gradients_give_short_lengths_where_the_output_bends() -> None:
    points = RNG.uniform(-1.0, 1.0, (40, 3))
    phase = 3.0 * points[:, 0]
    partials = np.zeros((40, 1, 3))
    partials[:, 0, 0] = 3.0 * np.cos(phase)
    configuration = KrigingConfiguration(metric="gradients")
    kriging = krige(points, np.sin(phase)[:, None], partials, configuration=configuration)
    lengths = 1.0 / np.linalg.norm(kriging.in_lengths(0), axis=1)
    assert 4.0 * lengths[0] < lengths[1:].min()


def test_quadratic_trend_carries_on_beyond_the_points() -> None:
    y, dydz = smooth(POINTS)
    far = np.array([[2.0, 1.5, 0.0], [-2.0, 1.5, 1.0]])
    errors = []
    for trend in ("none", "quadratic"):
        configuration = KrigingConfiguration(trend=trend, lengths=(0.4,), first=0)
        found, _ = krige(POINTS, y, dydz, configuration=configuration).evaluate(far)
        errors.append(np.abs(found - smooth(far)[0])[:, 1].max())
    assert errors[1] < 0.7 * errors[0]


def test_round_off_of_partials_that_a_trend_explains_gives_no_metric() -> None:
    """In some order of the points, a trend that meets the partials of a plane leaves a last digit of them."""
    points = np.array([[0.1, 0.0, 0.1], [0.1, 0.6, 0.1], [0.1, -0.4, 0.1]])
    configuration = KrigingConfiguration(metric="gradients", trend="quadratic")
    for order in permutations(range(3)):
        at = points[list(order)]
        kriging = krige(at, np.zeros((3, 2)), np.full((3, 2, 3), 0.96875), configuration=configuration)
        np.testing.assert_allclose(kriging.root @ kriging.root.T, np.eye(3), atol=1e-12)


def test_without_a_search_lengths_stay_where_they_are() -> None:
    y, dydz = smooth(POINTS)
    kriging = krige(POINTS, y, dydz, [0, 7], search=False)
    assert kriging.length_indices == (0, 7)
    reach = np.linalg.norm(POINTS, axis=1).max()
    np.testing.assert_allclose(kriging.lengths, [LENGTHS[0] * reach, LENGTHS[7] * reach])
    assert krige(POINTS, y, dydz, search=False).length_indices == (3, 3)


def test_outputs_of_one_length_share_their_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    y, dydz = smooth(POINTS)
    lengths: list[float] = []

    class Counted(RadialKernel):
        def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
            lengths.append(length)
            return super().covariance(points, length)

    monkeypatch.setitem(KERNELS, "squared exponential", Counted(RADIAL["squared exponential"]))
    krige(POINTS, y[:, [0, 0, 0]], dydz[:, [0, 0, 0]])
    assert len(lengths) == len(set(lengths)) > 1


def test_lengths_are_compared_on_the_nearest_points_and_conditioned_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four points of twelve are nearest, wherever they stand: what is far off has no part in the search."""
    order = np.random.default_rng(7).permutation(12)
    y, dydz = smooth(POINTS)
    sizes: list[int] = []

    class Counted(RadialKernel):
        def covariance(self, points: np.ndarray, length: float) -> np.ndarray:
            sizes.append(len(points))
            return super().covariance(points, length)

    monkeypatch.setitem(KERNELS, "squared exponential", Counted(RADIAL["squared exponential"]))
    few = KrigingConfiguration(compared=16)
    found = krige(POINTS[order], y[order, :1], dydz[order, :1], configuration=few)
    assert sizes.count(4) >= 3
    assert sizes.count(12) == 1
    far = np.linalg.norm(POINTS, axis=1) > np.sort(np.linalg.norm(POINTS, axis=1))[3]
    spoiled = np.where(far[:, None, None], 9.0 * dydz, dydz)
    other = krige(POINTS[order], y[order, :1], spoiled[order, :1], configuration=few)
    assert other.length_indices == found.length_indices
    np.testing.assert_allclose(found.evaluate(POINTS)[0], y[:, :1], atol=1e-3)


def test_a_process_times_factors_is_a_function_of_coordinates_in_another_unit() -> None:
    y, dydz = smooth(POINTS)
    found, factors = krige(POINTS, y, dydz), np.array([0.3, 2.0])
    z = RNG.uniform(-1.0, 1.0, (4, 3))
    values, partials = found.times(factors, 5.0).evaluate(5.0 * z)
    expected, slopes = found.evaluate(z)
    np.testing.assert_allclose(values, factors * expected, atol=1e-7)
    np.testing.assert_allclose(partials, factors[:, None] * slopes / 5.0, atol=1e-7)


def test_least_nugget_that_works_is_used() -> None:
    points = np.vstack([POINTS, POINTS[1:5] + 1e-9])
    y, dydz = smooth(points)
    assert not krige(points, y, dydz, configuration=KrigingConfiguration(nuggets=(0.0,))).value_weights.any()
    assert krige(points, y, dydz, configuration=KrigingConfiguration(nuggets=(0.0, 1e-8))).value_weights.any()


def test_digits_at_the_origin_are_kept_where_the_nugget_is_smaller_there() -> None:
    y, dydz = smooth(POINTS)
    errors = []
    for share in (1.0, 1e-4):
        found, _ = krige(POINTS, y, dydz, configuration=KrigingConfiguration(near_nugget=share)).evaluate(POINTS[:1])
        errors.append(np.abs(found - y[0]).max())
    assert errors[1] < 1e-2 * errors[0]


def test_fitted_fields_are_arrays_numbers_and_names() -> None:
    y, dydz = smooth(POINTS)
    kriging = krige(POINTS, y, dydz)
    assert {field.name: type(getattr(kriging, field.name)) for field in fields(kriging)} == {
        "kernel": str,
        "root": np.ndarray,
        "points": np.ndarray,
        "lengths": np.ndarray,
        "length_indices": tuple,
        "value_weights": np.ndarray,
        "partial_weights": np.ndarray,
        "trend": type(None),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kernel": "Matern"},
            "`kernel` must be one of 'squared exponential', 'Matern 3/2', 'Matern 5/2', 'additive', got "
            "'Matern'. "
            "Choose one of these names.",
        ),
        (
            {"metric": "full"},
            "`metric` must be one of 'isotropic', 'gradients', got 'full'. Choose one of these names.",
        ),
        ({"trend": "cubic"}, "`trend` must be one of 'none', 'quadratic', got 'cubic'. Choose one of these names."),
        ({"first": 8}, "`first` must be an index of `lengths`, from 0 to 7, got 8. The middle is a good start."),
        ({"first": -1}, "`first` must be an index of `lengths`, from 0 to 7, got -1. The middle is a good start."),
    ],
)
def test_unknown_names_and_indices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        KrigingConfiguration(**change)
    assert str(caught.value) == message
