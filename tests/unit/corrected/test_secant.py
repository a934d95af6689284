"""Second derivatives from secants: definite, exact along steps where that is possible, damped elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.corrected.secant import secant_hessian, symmetric_rank_one

RNG = np.random.default_rng(0)


def pairs_of(matrix: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    steps = RNG.normal(size=(count, len(matrix)))
    return [(step, matrix @ step) for step in steps]


def test_the_last_secant_of_a_convex_function_is_met_exactly() -> None:
    matrix = np.diag([1.0, 10.0, 100.0])
    pairs = pairs_of(matrix, 5)
    found = secant_hessian(pairs, 1.0, 3)
    np.testing.assert_allclose(found @ pairs[-1][0], pairs[-1][1], rtol=1e-10)
    assert np.linalg.eigvalsh(found).min() > 0.0


def test_conjugate_steps_of_a_quadratic_give_its_hessian() -> None:
    matrix = np.array([[4.0, 1.0], [1.0, 3.0]])
    directions = np.linalg.eigh(matrix)[1].T
    found = secant_hessian([(step, matrix @ step) for step in directions], 1.0, 2)
    np.testing.assert_allclose(found, matrix, rtol=1e-10)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_damped_updates_are_definite_for_an_indefinite_function(sign: float) -> None:
    matrix = np.diag([5.0, -3.0, 0.1, -20.0])
    found = secant_hessian(pairs_of(matrix, 12), sign, 4)
    np.testing.assert_allclose(found, found.T, atol=1e-8 * np.abs(found).max())
    assert (sign * np.linalg.eigvalsh(found)).min() > 0.0


def test_hessian_of_a_concave_function_is_minus_that_of_a_convex_one() -> None:
    pairs = pairs_of(np.diag([1.0, 2.0]), 4)
    mirrored = [(step, -change) for step, change in pairs]
    np.testing.assert_allclose(secant_hessian(mirrored, -1.0, 2), -secant_hessian(pairs, 1.0, 2), rtol=1e-12)


def test_no_usable_pair_gives_no_curvature() -> None:
    still = (np.zeros(2), np.ones(2))
    unknown = (np.ones(2), np.array([np.nan, 1.0]))
    straight = (np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    assert not secant_hessian([still, unknown, straight], 1.0, 2).any()
    assert not secant_hessian([], 1.0, 2).any()


def test_one_pair_sets_the_curvature_in_all_directions() -> None:
    found = secant_hessian([(np.array([2.0, 0.0]), np.array([6.0, 0.0]))], 1.0, 2)
    np.testing.assert_allclose(found, 3.0 * np.eye(2))


def along(axis: int, curvature: float, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    step = np.eye(d)[axis]
    return step, curvature * step


def test_the_least_curvature_of_recent_pairs_is_that_of_all_other_directions() -> None:
    found = secant_hessian([along(0, 1e6), along(1, 4.0), along(0, 1e6)], 1.0, 3)
    np.testing.assert_allclose(found, np.diag([1e6, 4.0, 4.0]), rtol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_curvature_of_old_pairs_does_not_count_for_other_directions(sign: float) -> None:
    recent = [along(0, sign * size) for size in (9.0, 8.0, 7.0, 6.0, 5.0)]
    flat = along(1, sign * 1e-3)
    assert secant_hessian([flat, *recent], sign, 3)[2, 2] == pytest.approx(sign * 5.0)
    assert secant_hessian([flat, *recent[1:]], sign, 3)[2, 2] == pytest.approx(sign * 1e-3)


def test_pairs_without_curvature_are_none_of_the_recent_ones() -> None:
    straight = [along(0, 0.0)] * 5
    assert secant_hessian([along(1, 4.0), *straight], 1.0, 3)[2, 2] == pytest.approx(4.0)


def test_rank_one_updates_give_an_indefinite_hessian_after_d_steps() -> None:
    matrix = np.array([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 0.0]])
    np.testing.assert_allclose(symmetric_rank_one(pairs_of(matrix, 3), 3), matrix, atol=1e-8)


def test_rank_one_updates_leave_directions_without_a_step_straight() -> None:
    step = np.array([1.0, 0.0, 0.0])
    found = symmetric_rank_one([(step, np.array([4.0, 0.0, 0.0]))], 3)
    np.testing.assert_allclose(found, np.diag([4.0, 0.0, 0.0]))


def test_rank_one_updates_skip_pairs_with_a_small_denominator() -> None:
    unusable = [
        (np.array([1.0, 0.0]), np.array([0.0, 1.0])),
        (np.zeros(2), np.ones(2)),
        (np.ones(2), np.full(2, np.nan)),
    ]
    assert not symmetric_rank_one(unusable, 2).any()
