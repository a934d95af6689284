"""Merit: objective plus weighted violations, with penalties near the multipliers."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.optimality.merit import initial_penalties, merit, next_penalties, raised_penalties
from gradopt.optimality.problem import Limits, Responses

LIMITS = Limits(
    np.full(2, -np.inf), np.full(2, np.inf), np.array([-np.inf, 1.0, 0.0]), np.array([2.0, 1.0, np.inf]), np.ones(2)
)


def responses(c: list[float], f: float = 3.0) -> Responses:
    jacobian = np.array([[1.0, 0.0], [0.0, 10.0], [0.0, 0.0]])
    return Responses(np.zeros(2), f, np.array([3.0, 4.0]), np.array(c), jacobian)


@pytest.mark.parametrize(
    ("c", "expected"),
    [([2.0, 1.0, 0.0], 3.0), ([2.5, 1.0, 5.0], 3.5), ([0.0, 0.0, 0.0], 5.0), ([0.0, 3.0, -1.0], 3.0 + 4.0 + 3.0)],
)
def test_violations_of_each_kind_are_weighted(c: list[float], expected: float) -> None:
    assert merit(responses(c), LIMITS, np.array([1.0, 2.0, 3.0])) == pytest.approx(expected)


def test_first_penalties_exceed_the_multipliers_and_are_worth_following() -> None:
    found = initial_penalties(responses([0.0, 0.0, 0.0]), np.array([7.0, 0.0, 0.0]))
    assert found[0] > 7.0
    assert found[1] == pytest.approx(0.1 * 5.0 / 10.0)
    assert (found > 0.0).all()


def test_penalties_follow_the_multipliers_at_once_upwards_and_slowly_downwards() -> None:
    penalties = np.array([1.0, 1.0, 1.0])
    upwards = next_penalties(penalties, np.array([-10.0, 0.0, 1.0]))
    assert upwards[0] > 10.0
    assert upwards[1] == pytest.approx(0.5)
    assert upwards[2] >= 1.0
    for _ in range(60):
        upwards = next_penalties(upwards, np.zeros(3))
    assert ((upwards > 0.0) & (upwards < 0.01)).all()


def test_penalties_rise_where_an_accepted_step_left_the_violation() -> None:
    before, after = np.array([0.1, 0.1, 0.1, 0.0]), np.array([0.1, 0.01, 0.095, 1e-5])
    found = raised_penalties(np.ones(4), before, after, np.full(4, 1e-3))
    assert (found > 1.0).tolist() == [True, False, True, False]
