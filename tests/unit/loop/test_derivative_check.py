"""A point beside the optimum finds partials that do not belong to the values."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.loop.derivative_check import contradiction, probes
from gradopt.optimality.problem import Limits, Responses

TOLERANCE = 1e-4


def limits_of(lower: float, upper: float, k: int = 4) -> Limits:
    full = np.full(k, upper - lower)
    return Limits(np.full(k, lower), np.full(k, upper), np.array([-np.inf]), np.array([0.0]), full)


def responses(u: np.ndarray, wrong: float = 0.0) -> Responses:
    """A curved objective and constraint; `wrong` is added to one partial of the constraint."""
    jacobian = np.array([[1.0, 2.0 * u[1], 0.1, np.cos(u[3])]])
    jacobian[0, 2] += wrong
    c = np.array([u[0] + u[1] ** 2 + 0.1 * u[2] + np.sin(u[3])])
    return Responses(u, float(np.sum(u**4)), 4.0 * u**3, c, jacobian)


@pytest.mark.parametrize("u", [np.zeros(4), np.array([0.3, -0.2, 0.9, 1.0]), np.full(4, 1e-3)])
def test_right_partials_are_not_contradicted(u: np.ndarray) -> None:
    limits = limits_of(-1.0, 1.0)
    for probe in probes(responses(u), limits):
        assert contradiction(responses(u), responses(probe), TOLERANCE)[0] < 1.0


@pytest.mark.parametrize("wrong", [0.05, -0.1, -0.2])
def test_a_wrong_entry_is_found_at_every_point_and_named(wrong: float) -> None:
    u = np.array([0.3, -0.2, 0.9, 0.5])
    for probe in probes(responses(u), limits_of(-1.0, 1.0)):
        measure, row = contradiction(responses(u, wrong), responses(probe, wrong), TOLERANCE)
        assert measure > 1.0
        assert row == 1


def test_a_gradient_of_zero_on_a_slope_is_found() -> None:
    u = np.full(4, 0.5)
    flat = Responses(u, 2.0, np.zeros(4), np.zeros(1), np.zeros((1, 4)))
    probe = probes(flat, limits_of(-1.0, 1.0))[0]
    moved = Responses(probe, 2.0 + 0.01 * (probe - u)[2], np.zeros(4), np.zeros(1), np.zeros((1, 4)))
    measure, row = contradiction(flat, moved, TOLERANCE)
    assert measure > 1.0
    assert row == 0


def test_points_stay_within_bounds_and_move_every_free_variable() -> None:
    limits = Limits(
        np.array([0.0, -1.0, 0.0, 2.0]),
        np.array([1.0, 1.0, 0.0, 3.0]),
        np.zeros(0),
        np.zeros(0),
        np.array([1.0, 2.0, 1.0, 1.0]),
    )
    iterate = responses(np.array([0.0, 1.0, 0.0, 3.0]))
    found = probes(iterate, limits)
    assert len(found) == 4
    for probe in found:
        assert (probe >= limits.lower).all()
        assert (probe <= limits.upper).all()
        assert ((probe != iterate.u) == [True, True, False, True]).all()


def test_round_off_of_large_values_is_no_contradiction() -> None:
    u = np.zeros(2)
    at = Responses(u, 1e9, np.zeros(2), np.zeros(0), np.zeros((0, 2)))
    beyond = Responses(u + 1e-4, 1e9 + 2e-7, np.zeros(2), np.zeros(0), np.zeros((0, 2)))
    assert contradiction(at, beyond, 1e-12)[0] < 1.0
    far_beyond = Responses(u + 1e-4, 1e9 + 2e-2, np.zeros(2), np.zeros(0), np.zeros((0, 2)))
    assert contradiction(at, far_beyond, 1e-12)[0] > 1.0
