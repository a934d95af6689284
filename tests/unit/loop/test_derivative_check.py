"""A point beside the optimum finds partials that do not belong to the values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradopt.loop.derivative_check import DerivativeCheck
from gradopt.optimality.problem import Limits, Responses, Scales
from gradopt.optimality.scales import Explored, conditions_at

TOLERANCE = 1e-4
LIMITS = Limits(np.zeros(3), np.ones(3), np.array([-np.inf]), np.array([0.7]), np.ones(3))
ONES = Scales(np.ones(3), 1.0, np.ones(1))


def responses(u: np.ndarray, wrong: np.ndarray, of_constraint: float = 0.0, steep: float = 1e3) -> Responses:
    """A steep variable at its bound, and two others along a constraint; `wrong` is added to the gradient."""
    gradient = np.array([steep, u[1] - 0.8, u[2] - 0.5])
    f = steep * u[0] + 0.5 * (u[1] - 0.8) ** 2 + 0.5 * (u[2] - 0.5) ** 2
    jacobian = np.array([[0.0, 1.0, 1.0 + of_constraint]])
    return Responses(u, float(f), gradient + wrong, np.array([u[1] + u[2]]), jacobian)


def check_at(iterate: Responses, values_only: bool = False, limits: Limits = LIMITS) -> DerivativeCheck:
    limits = replace(limits, declared=ONES)
    conditions, scales = conditions_at(iterate, Explored(), limits, TOLERANCE, 1e-6)
    return DerivativeCheck(iterate, conditions, scales, limits, values_only)


OPTIMUM = np.array([0.0, 0.5, 0.2])


@pytest.mark.parametrize("steep", [1e3, 1.0, 0.0])
def test_right_partials_agree_at_every_point(steep: float) -> None:
    right = np.zeros(3)
    check = check_at(responses(OPTIMUM, right, steep=steep))
    assert check.conditions.certified
    assert len(check.points) == 10
    assert all(check.agrees(responses(point, right, steep=steep)) for point in check.points)


@pytest.mark.parametrize("steep", [1e3, 1e4, 1.0])
@pytest.mark.parametrize("off", [2e-3, -0.1])
def test_a_steep_direction_hides_no_wrong_partial_of_another(steep: float, off: float) -> None:
    wrong = np.array([0.0, off, -off])  # along the constraint: the wrong optimum is off by `off`
    u = OPTIMUM - wrong
    check = check_at(responses(u, wrong, steep=steep))
    assert check.conditions.certified
    assert not any(check.agrees(responses(point, wrong, steep=steep)) for point in check.points)


def test_an_adjoint_error_that_cannot_move_the_answer_agrees() -> None:
    wrong = np.array([0.5, 0.0, 0.0])  # 5e-4 of a slope that holds against a bound
    check = check_at(responses(OPTIMUM, wrong))
    assert all(check.agrees(responses(point, wrong)) for point in check.points)


def test_a_wrong_sign_of_a_partial_against_a_bound_is_found() -> None:
    wrong = np.array([2e3, 0.0, 0.0])  # the values fall where the gradient says that they rise
    check = check_at(responses(OPTIMUM, wrong, steep=-1e3))
    assert check.conditions.certified
    assert not any(check.agrees(responses(point, wrong, steep=-1e3)) for point in check.points)


def test_a_wrong_partial_of_an_active_constraint_is_found() -> None:
    off = 0.1  # with it the multiplier 0.3 balances a point that is no optimum
    u = np.array([0.0, 0.5, 0.2 - 0.3 * off])
    check = check_at(responses(u, np.zeros(3), off), limits=replace(LIMITS, c_upper=np.array([u[1] + u[2]])))
    assert check.conditions.certified
    assert not any(check.agrees(responses(point, np.zeros(3), off)) for point in check.points)


def test_the_value_of_an_inactive_constraint_changes_nothing() -> None:
    loose = replace(LIMITS, c_upper=np.array([9.0]))
    u = np.array([0.0, 0.8, 0.5])
    check = check_at(responses(u, np.zeros(3), of_constraint=5.0), limits=loose)
    assert check.conditions.certified
    assert all(check.agrees(responses(point, np.zeros(3), of_constraint=5.0)) for point in check.points)


@pytest.mark.parametrize("off", [0.0, 2e-3])
def test_pairs_of_points_need_values_alone(off: float) -> None:
    wrong = np.array([0.0, off, -off])
    check = check_at(responses(OPTIMUM - wrong, wrong), values_only=True)
    unknown = np.full(3, np.nan)
    probes = [responses(point, unknown) for point in check.points]
    assert len(probes) == 20
    agreed = [check.agrees(second, first) for first, second in zip(probes[::2], probes[1::2], strict=True)]
    assert agreed == [off == 0.0] * 10


def test_round_off_neither_contradicts_nor_confirms() -> None:
    limits = replace(LIMITS, c_upper=np.array([9.0]))
    u = np.array([0.5, 0.8, 0.5])

    def large(at: np.ndarray, off: float = 0.0) -> Responses:
        found = responses(at, np.array([0.0, off, 0.0]), steep=0.0)
        return replace(found, f=found.f + 1e6)

    steps = [check.agrees(large(point)) for check in [check_at(large(u), limits=limits)] for point in check.points]
    assert steps == [False, False, True, False, False] * 2  # short steps show nothing
    wrong = check_at(large(u - [0.0, 0.01, 0.0], 0.01), limits=limits)
    assert not any(wrong.agrees(large(point, 0.01)) for point in wrong.points)


@pytest.mark.parametrize("off", [0.0, 0.01])
def test_two_steps_tell_curvature_from_wrong_partials(off: float) -> None:
    """A third derivative of 4e7 in the second variable hides what is wrong from each step by itself."""
    limits = replace(LIMITS, c_upper=np.array([9.0]))
    wrong, u = np.array([0.0, off, 0.0]), np.array([0.5, 0.8 - off, 0.5])

    def bent(at: np.ndarray) -> Responses:
        found, moved = responses(at, wrong, steep=0.0), at[1] - u[1]
        slope = np.array([0.0, 2e7 * moved**2, 0.0])
        return replace(found, f=found.f + 2e7 / 3.0 * moved**3, gradient=found.gradient + slope)

    check = check_at(bent(u), limits=limits)
    assert check.conditions.certified
    first, second = (bent(point) for point in check.points[:2])
    assert not check.agrees(first) and not check.agrees(second)
    assert check.agrees(second, first) == (off == 0.0)
    assert not check.contradicts(second, first)


def test_two_steps_with_the_same_error_contradict() -> None:
    limits = replace(LIMITS, c_upper=np.array([9.0]))
    wrong, u = np.array([0.0, 0.01, 0.0]), np.array([0.5, 0.79, 0.5])
    check = check_at(responses(u, wrong, steep=0.0), limits=limits)
    first, second, *_, other_side = (responses(point, wrong, steep=0.0) for point in check.points)
    assert check.contradicts(second, first)
    assert not check.contradicts(other_side, first)
    right = check_at(responses(u + wrong, np.zeros(3), steep=0.0), limits=limits)
    first, second = (responses(point, np.zeros(3), steep=0.0) for point in right.points[:2])
    assert not right.contradicts(second, first)


def test_points_stay_within_bounds_and_move_every_free_variable() -> None:
    limits = Limits(np.array([0.0, -1.0, 0.0]), np.array([1.0, 1.0, 0.0]), np.zeros(1), np.full(1, 9.0), np.ones(3))
    iterate = responses(np.array([0.0, 1.0, 0.0]), np.zeros(3))
    for probe in check_at(iterate, limits=limits).points:
        assert (probe >= limits.lower).all()
        assert (probe <= limits.upper).all()
        assert ((probe != iterate.u) == [True, True, False]).all()
