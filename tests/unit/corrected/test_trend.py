"""The quadratic trend: exact for straight lines, shrunk second derivatives, no influence of unknown partials."""

from __future__ import annotations

import numpy as np

from gradopt.corrected.trend import alike, fit_quadratic

RNG = np.random.default_rng(2)
BEND = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -1.0], [0.0, -1.0, 3.0]])
SLOPE = np.array([1.0, -2.0, 0.5])


def quadratic(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two outputs, one quadratic and one linear: values (n, 2) and partials (n, 2, 3)."""
    values = np.stack([4.0 + z @ SLOPE + 0.5 * np.einsum("nd,de,ne->n", z, BEND, z), z @ SLOPE], axis=1)
    return values, np.stack([SLOPE + z @ BEND, np.broadcast_to(SLOPE, z.shape)], axis=1)


def test_prior_takes_a_part_of_the_second_derivatives_however_many_data_there_are() -> None:
    for n in (50, 400):
        z = RNG.uniform(-1.0, 1.0, (n, 3)) + 5.0
        found = fit_quadratic(z, *quadratic(z))
        shares = found.hessian[0][BEND != 0.0] / BEND[BEND != 0.0]
        assert 0.3 < shares.min() < shares.max() < 0.8
        np.testing.assert_allclose(found.hessian[1], 0.0, atol=1e-10)


def test_values_at_the_points_have_no_mean_left() -> None:
    z = RNG.uniform(-1.0, 1.0, (40, 3)) + 5.0
    y, dydz = quadratic(z)
    found = fit_quadratic(z, y, dydz)
    np.testing.assert_array_equal(found.center, z.mean(axis=0))
    np.testing.assert_allclose((y - found.evaluate(z)[0]).mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose((dydz - found.evaluate(z)[1]).mean(axis=0), 0.0, atol=1e-12)


def test_trend_of_a_straight_response_is_straight() -> None:
    z = RNG.uniform(-1.0, 1.0, (2, 3))
    found = fit_quadratic(z, *(one[:, 1:] for one in quadratic(z)))
    np.testing.assert_allclose(found.hessian, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.gradient[0], SLOPE, atol=1e-12)


def test_partials_are_the_derivatives_of_the_values() -> None:
    z = RNG.uniform(-1.0, 1.0, (9, 3))
    found = fit_quadratic(z, *quadratic(z))
    for column in range(3):
        step = 1e-30j * np.eye(3)[column]
        numeric = found.evaluate(z + step)[0].imag / 1e-30
        np.testing.assert_allclose(numeric, found.evaluate(z)[1][:, :, column], atol=1e-12)


def test_points_without_partials_move_only_the_constant() -> None:
    z = RNG.uniform(-1.0, 1.0, (12, 3))
    y, dydz = quadratic(z)
    masked = dydz.copy()
    masked[6:, 0] = np.nan
    found = fit_quadratic(z, y, masked)
    assert np.isfinite(found.hessian).all()
    changed = y + np.where(np.arange(12)[:, None] >= 6, 7.0, 0.0)
    other = fit_quadratic(z, changed, masked)
    np.testing.assert_array_equal(other.gradient, found.gradient)
    np.testing.assert_allclose(other.value, found.value + 3.5)


def test_unknown_partials_do_not_count_as_zero() -> None:
    z = RNG.uniform(-1.0, 1.0, (12, 3))
    y, dydz = (one[:, 1:] for one in quadratic(z))
    masked = dydz.copy()
    masked[4:, 0, 1] = np.nan
    np.testing.assert_allclose(fit_quadratic(z, y, masked).gradient[0], SLOPE, atol=1e-12)


def test_without_any_partial_the_trend_is_the_mean() -> None:
    z = RNG.uniform(-1.0, 1.0, (8, 3))
    y, dydz = quadratic(z)
    found = fit_quadratic(z, y, np.full_like(dydz, np.nan))
    assert not found.gradient.any()
    assert not found.hessian.any()
    np.testing.assert_allclose(found.evaluate(z[:1])[0][0], y.mean(axis=0))


def test_outputs_are_grouped_by_where_their_partials_are_known() -> None:
    known = np.ones((4, 3, 2), dtype=bool)
    known[2, 1, 0] = False
    assert alike(known) == [[0, 2], [1]]
