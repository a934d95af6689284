"""Metrics: isotropic, and from gradients."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.corrected.metric import from_gradients, isotropic

RNG = np.random.default_rng(1)
POINTS = RNG.uniform(-1.0, 1.0, (200, 3))


def test_isotropic_metric_keeps_coordinates_and_measures_in_the_farthest_distance() -> None:
    partials = RNG.normal(size=(200, 2, 3))
    partials[3, 1, 2] = np.nan
    found = isotropic(POINTS, partials, 0)
    np.testing.assert_array_equal(found.root, np.eye(3))
    np.testing.assert_array_equal(found.points, POINTS)
    np.testing.assert_array_equal(found.partials, partials)
    assert found.unit == np.linalg.norm(POINTS, axis=1).max()


def test_gradients_have_one_size_in_all_directions_of_their_metric() -> None:
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    gradients = RNG.normal(size=(200, 3)) * [3.0, 2.0, 1.0] @ turn
    found = from_gradients(POINTS, np.stack([RNG.normal(size=(200, 3)), gradients], axis=1), 1)
    sizes = np.linalg.eigvalsh(found.partials[:, 1].T @ found.partials[:, 1] / 200)
    assert sizes.max() < 1.8 * sizes.min()
    assert np.trace(found.root @ found.root.T) == pytest.approx(3.0)


def test_partials_by_coordinates_times_differences_of_coordinates_are_the_same_changes() -> None:
    partials = RNG.normal(size=(200, 1, 3))
    found = from_gradients(POINTS, partials, 0)
    steps = POINTS[1:] - POINTS[:-1]
    moved = found.points[1:] - found.points[:-1]
    expected = (partials[:-1, 0] * steps).sum(axis=1)
    np.testing.assert_allclose((found.partials[:-1, 0] * moved).sum(axis=1), expected, atol=1e-12)


def test_unknown_partials_do_not_enter_the_metric() -> None:
    partials = RNG.normal(size=(200, 1, 3)) * [5.0, 1.0, 1.0]
    masked = partials.copy()
    masked[50:, 0, 1] = np.nan
    found, few = from_gradients(POINTS, masked, 0), from_gradients(POINTS[:50], partials[:50], 0)
    np.testing.assert_array_equal(found.root, few.root)
    assert np.isnan(found.partials[50:]).all()
    assert np.isfinite(found.partials[:50]).all()


def test_without_any_gradient_the_metric_is_isotropic() -> None:
    for partials in (np.full((200, 1, 3), np.nan), np.zeros((200, 1, 3))):
        root = from_gradients(POINTS, partials, 0).root
        np.testing.assert_allclose(root @ root.T, np.eye(3), atol=1e-14)
