"""Gradient-enhanced kriging: interpolates values and partials, differentiates itself exactly, picks a length scale."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.corrected.kriging import LENGTHS, krige

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


def test_between_the_points_it_is_as_accurate_as_partials_allow() -> None:
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


def test_each_output_gets_the_length_scale_that_its_evidence_prefers() -> None:
    z = np.vstack([np.zeros(1), RNG.uniform(-1.0, 1.0, (15, 1))])
    slow, fast = np.sin(z[:, 0]), np.sin(12.0 * z[:, 0])
    y = np.stack([slow, fast], axis=1)
    dydz = np.stack([np.cos(z), 12.0 * np.cos(12.0 * z)], axis=1)
    found = krige(z, y, dydz)
    assert LENGTHS[found.lengths[0]] >= 1.0
    assert LENGTHS[found.lengths[1]] <= 0.4


@pytest.mark.parametrize("start", [0, len(LENGTHS) - 1])
def test_the_search_does_not_depend_on_where_it_begins(start: int) -> None:
    y, dydz = smooth(POINTS)
    assert krige(POINTS, y, dydz, [start, start]).lengths == krige(POINTS, y, dydz).lengths


def test_scale_of_outputs_and_order_of_points_do_not_matter() -> None:
    y, dydz = smooth(POINTS)
    z = RNG.uniform(-0.5, 0.5, (5, 3))
    plain = krige(POINTS, y, dydz).evaluate(z)[0]
    np.testing.assert_allclose(krige(POINTS, 1e6 * y, 1e6 * dydz).evaluate(z)[0], 1e6 * plain, rtol=1e-6)
    order = RNG.permutation(len(POINTS))
    np.testing.assert_allclose(krige(POINTS[order], y[order], dydz[order]).evaluate(z)[0], plain, atol=1e-7)


def test_points_that_almost_coincide_do_not_break_it() -> None:
    points = np.vstack([POINTS, POINTS[1:5] + 1e-9])
    y, dydz = smooth(points)
    values, _ = krige(points, y, dydz).evaluate(POINTS)
    np.testing.assert_allclose(values, y[: len(POINTS)], atol=1e-4)


def test_noise_is_told_from_the_function_where_there_may_be_some() -> None:
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


def test_without_noise_allowing_for_it_costs_little() -> None:
    y, dydz = smooth(POINTS)
    inside = np.random.default_rng(8).uniform(-0.6, 0.6, (50, 3))
    truth, _ = smooth(inside)
    assert np.abs(krige(POINTS, y, dydz, noisy=True).evaluate(inside)[0] - truth).max() < 2e-2
