"""Negative curvature that evaluated gradients show."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.optimality.curvature import negative_curvature
from gradopt.optimality.problem import Limits, Responses
from gradopt.optimality.scales import Explored, conditions_at

LIMITS = Limits(np.full(2, -2.0), np.full(2, 2.0), np.full(1, -np.inf), np.full(1, 9.0), np.full(2, 4.0))


def quadratic(u: np.ndarray, hessian: np.ndarray, slope: float = 0.0) -> Responses:
    gradient = hessian @ u + np.array([0.0, slope])
    return Responses(u, float(0.5 * u @ hessian @ u + slope * u[1]), gradient, u[:1].copy(), np.array([[1.0, 0.0]]))


def found(hessian: np.ndarray, *others: list[float], limits: Limits = LIMITS, slope: float = 0.0) -> np.ndarray | None:
    at = quadratic(np.zeros(2), hessian, slope)
    points = [quadratic(np.array(u), hessian, slope) for u in others]
    conditions, scales = conditions_at(at, Explored(tuple(points)), limits, 1e-4, 1e-6)
    return negative_curvature(at, points, limits, conditions, scales)


SADDLE = np.diag([2.0, -2.0])


def test_the_direction_is_that_of_the_negative_eigenvalue() -> None:
    direction = found(SADDLE, [0.3, 0.0], [0.1, 0.0], [0.1, 0.08])
    assert direction is not None
    assert abs(direction[1]) == pytest.approx(np.linalg.norm(direction), rel=0.05)
    assert direction @ SADDLE @ direction < 0.0


def test_two_gradients_that_both_bend_up_show_none_by_themselves() -> None:
    assert found(SADDLE, [0.3, 0.0]) is None


@pytest.mark.parametrize("hessian", [np.eye(2), np.array([[802.0, -400.0], [-400.0, 200.0]])])
def test_a_minimum_shows_none(hessian: np.ndarray) -> None:
    assert found(hessian, [0.3, 0.0], [0.1, 0.08], [-0.02, 0.3]) is None


def test_points_far_away_count_for_nothing() -> None:
    at = quadratic(np.zeros(2), SADDLE)
    near, far = (quadratic(np.array(u), SADDLE) for u in ([0.0, 0.5], [0.0, 1.9]))
    conditions, scales = conditions_at(at, Explored((near,)), LIMITS, 1e-4, 1e-6)
    assert negative_curvature(at, [far], LIMITS, conditions, scales) is None
    assert negative_curvature(at, [near], LIMITS, conditions, scales) is not None


def test_across_a_bound_that_holds_nothing_counts() -> None:
    limits = Limits(np.array([-2.0, 0.0]), np.full(2, 2.0), LIMITS.c_lower, LIMITS.c_upper, np.full(2, 4.0))
    assert found(SADDLE, [0.3, 0.0], [0.1, 0.0], [0.1, 0.08], limits=limits, slope=1.0) is None


def test_across_an_active_constraint_nothing_counts() -> None:
    limits = Limits(LIMITS.lower, LIMITS.upper, np.zeros(1), np.zeros(1), np.full(2, 4.0))
    assert found(np.diag([-2.0, 2.0]), [0.3, 0.0], [0.1, 0.0], [0.1, 0.08], limits=limits) is None
