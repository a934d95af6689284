"""Failure recovery as a pure function of the state: which candidate is tried after failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradopt.errors import EvaluationError
from gradopt.loop.recovery import recoveries, with_failures
from gradopt.loop.state import State, TruthPoint
from gradopt.loop.subproblem import Candidate
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits, Responses

LIMITS = Limits(np.full(2, -2.0), np.full(2, 2.0), np.empty(0), np.empty(0), np.full(2, 4.0))
MINIMUM = np.array([0.3, -0.2])


def model(u: np.ndarray) -> Responses:
    """|u - MINIMUM|^2."""
    return Responses(u, float((u - MINIMUM) @ (u - MINIMUM)), 2.0 * (u - MINIMUM), np.empty(0), np.empty((0, 2)))


def state(
    *failed: tuple[np.ndarray, ...], radius: float = 0.1, steps: tuple[tuple[int, int], ...] = ((0, 1),)
) -> State:
    """A state at the origin after failures; some step has succeeded before."""
    found = model(np.zeros(2))
    iterate = TruthPoint(found.u, found.f, found.gradient, found.c, found.jacobian)
    region = TrustRegion(radius=radius)
    none = np.empty((0, 2))
    return State(np.zeros(2), (), none, points=(iterate,), at=0, steps=steps, trust_region=region, failed=failed)


def recovered(at: State, on: Callable[[np.ndarray], Responses] = model) -> Candidate | None:
    return next(recoveries(at, on, LIMITS, []), None)


def along(*parts: float) -> tuple[np.ndarray, ...]:
    """A series of failed points on the line through the minimum."""
    return tuple(part * MINIMUM for part in parts)


@pytest.mark.parametrize(("failed", "expected"), [((1.0,), 0.6), ((1.0, 0.6), 1.5), ((1.0, 0.6, 1.5), 0.3)])
def test_points_along_the_step_come_first(failed: tuple[float, ...], expected: float) -> None:
    found = recovered(state(along(*failed)))
    assert found is not None
    assert found.along_step
    np.testing.assert_allclose(found.predicted.u, expected * MINIMUM)


def test_a_point_that_predicts_no_reduction_is_left_out() -> None:
    """At 2.2 times the step the bowl is higher than at the iterate."""
    found = recovered(state(along(1.0, 0.6, 1.5, 0.3)))
    assert found is not None
    assert not found.along_step


def test_a_point_where_the_model_fails_is_left_out() -> None:
    def thin(u: np.ndarray) -> Responses:
        if np.allclose(u, 0.6 * MINIMUM):
            raise EvaluationError("no table there")
        return model(u)

    found = recovered(state(along(1.0)), thin)
    assert found is not None
    np.testing.assert_allclose(found.predicted.u, 1.5 * MINIMUM)


def around(factor: float) -> tuple[np.ndarray, ...]:
    """A failed candidate at a factor of the minimum, with all points along its step that predict a reduction."""
    return tuple(part * (factor * MINIMUM) for part in (1.0, 0.6, 1.5, 0.3))


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-5, 1.0 - 1e-5])
def test_a_candidate_at_a_failed_point_is_not_tried_again(factor: float) -> None:
    """The larger trust region holds the same minimum, which would fail as well: a smaller one is searched."""
    found = recovered(state(around(factor)))
    assert found is not None
    np.testing.assert_allclose(found.predicted.u, [0.2, -0.2], atol=1e-6)  # the edge of half the trust region


def test_a_candidate_beside_the_failed_points_is_tried() -> None:
    found = recovered(state(around(1.01)))
    assert found is not None
    np.testing.assert_allclose(found.predicted.u, MINIMUM, atol=1e-6)


def test_before_any_step_has_succeeded_trust_regions_shrink_by_orders() -> None:
    series = around(1.01)
    lengths = []
    for count in (1, 2, 3):
        found = recovered(state(*[series] * count, radius=0.05, steps=()))
        assert found is not None
        lengths.append(float(np.abs(found.predicted.u).max()))
    np.testing.assert_allclose(lengths, [0.02, 0.002, 2e-5], rtol=1e-6)


def test_without_another_candidate_the_trust_region_must_shrink() -> None:
    series = along(1.0, 0.6, 1.5, 0.3)
    assert recovered(state(series, series, series, series, series)) is None


def candidate(u: Any, along_step: bool) -> Candidate:
    return Candidate(model(np.array(u)), False, along_step)


def test_failures_are_kept_by_their_step() -> None:
    failed = with_failures((), [candidate([1.0, 0.0], False)])
    failed = with_failures(failed, [candidate([0.6, 0.0], True)])
    failed = with_failures(failed, [candidate([0.0, 1.0], False)])
    assert [[u.tolist() for u in series] for series in failed] == [[[1.0, 0.0], [0.6, 0.0]], [[0.0, 1.0]]]


def test_a_batch_that_failed_is_one_series_but_for_points_along_the_step_before() -> None:
    batch = [candidate([0.6, 0.0], True), candidate([0.0, 1.0], False), candidate([0.0, 2.0], False)]
    failed = with_failures(((np.array([1.0, 0.0]),),), batch)
    assert [[u.tolist() for u in series] for series in failed] == [
        [[1.0, 0.0], [0.6, 0.0]],
        [[0.0, 1.0], [0.0, 2.0]],
    ]


def test_workers_get_all_points_along_the_step_then_other_regions_each_once() -> None:
    found = list(recoveries(state(along(1.0)), model, LIMITS, []))
    assert [one.along_step for one in found] == [True, True, True, *[False] * (len(found) - 3)]
    np.testing.assert_allclose([one.predicted.u / MINIMUM for one in found[:3]], [[0.6] * 2, [1.5] * 2, [0.3] * 2])
    points = [one.predicted.u for one in found] + [MINIMUM]
    apart = [np.abs(a - b).max() for i, a in enumerate(points) for b in points[:i]]
    assert len(found) > 3 and min(apart) > 1e-4
