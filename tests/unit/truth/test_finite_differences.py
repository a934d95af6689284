"""Finite differences: right where the truth is smooth, unknown where it jumps; and the estimate of noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from gradopt import FunctionTruth, Variable
from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.truth import FiniteDifferences, FiniteDifferenceTruth
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.finite_differences import estimate_noise
from gradopt.truth.store import EvaluationStore

X = (Variable("x", (3,), lower=[0.0, -1.0, 0.0], upper=[2.0, 1.0, 100.0]), Variable("free"))
Y = (Variable("y", (2,)),)
AT = np.array([0.5, 0.2, 30.0, 4.0])


def smooth(x: np.ndarray) -> np.ndarray:
    return np.array([np.sin(x[0]) + x[1] ** 2 + 0.01 * x[2] * x[3], np.exp(0.02 * x[2]) * x[1] + 0.1 * x[0] * x[3]])


def slopes(x: np.ndarray) -> np.ndarray:
    grown = np.exp(0.02 * x[2])
    return np.array(
        [[np.cos(x[0]), 2 * x[1], 0.01 * x[3], 0.01 * x[2]], [0.1 * x[3], grown, 0.02 * grown * x[1], 0.1 * x[0]]]
    )


def truth(f: Callable[[np.ndarray], Any] = smooth, identity: str | None = "smooth") -> FunctionTruth:
    return FunctionTruth(f, X, Y, identity=identity)


def test_finite_differences_are_the_partials_of_a_smooth_truth() -> None:
    found = FiniteDifferenceTruth(truth(), FiniteDifferences(1e-6)).evaluate([AT, AT + 0.1])
    for row, x in enumerate((AT, AT + 0.1)):
        assert np.array_equal(found.y[row], smooth(x))
        np.testing.assert_allclose(found.dydx[row], slopes(x), rtol=2e-5, atol=1e-6)


def test_steps_are_parts_of_the_ranges_and_stay_within_bounds() -> None:
    evaluated_at: list[np.ndarray] = []

    def noted(x: np.ndarray) -> np.ndarray:
        evaluated_at.append(x)
        return smooth(x)

    at = np.array([2.0, 0.2, 30.0, 4.0])
    FiniteDifferenceTruth(truth(noted), FiniteDifferences((0.01, 0.02, 0.03, 0.04))).evaluate([at])
    steps = np.array(evaluated_at[1:]) - at
    np.testing.assert_allclose(steps, np.diag([-0.02, 0.04, 3.0, 0.16]), rtol=1e-3)  # the first is at its upper bound
    assert len(set(np.round(steps.diagonal() / [-0.02, 0.04, 3.0, 0.16], 6))) == 4  # each odd in its own way


def test_known_partials_are_kept_without_evaluations() -> None:
    evaluated_at: list[np.ndarray] = []

    def half(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        evaluated_at.append(x)
        known = np.full((2, 4), 7.0)
        known[1, 2] = np.nan
        return smooth(x), known

    found = FiniteDifferenceTruth(truth(half), FiniteDifferences(1e-6)).evaluate([AT])
    assert len(evaluated_at) == 2
    assert (np.delete(found.dydx.ravel(), 6) == 7.0).all()
    assert found.dydx[0, 1, 2] == pytest.approx(slopes(AT)[1, 2], rel=1e-4)


def test_where_one_side_fails_the_other_is_taken() -> None:
    def edge(x: np.ndarray) -> np.ndarray:
        if x[1] > 0.2:
            raise EvaluationError("no mesh")
        return smooth(x)

    found = FiniteDifferenceTruth(truth(edge), FiniteDifferences(1e-6)).evaluate([AT])
    np.testing.assert_allclose(found.dydx[0], slopes(AT), rtol=1e-4, atol=1e-6)


def test_where_both_sides_fail_the_partial_is_unknown() -> None:
    def needle(x: np.ndarray) -> np.ndarray:
        if x[1] != 0.2:
            raise EvaluationError("no mesh")
        return smooth(x)

    found = FiniteDifferenceTruth(truth(needle), FiniteDifferences(1e-6)).evaluate([AT])
    assert np.isnan(found.dydx[0]).tolist() == [[False, True, False, False]] * 2
    assert found.ok.all()


def test_a_jump_beside_the_point_is_no_slope() -> None:
    def jumps(x: np.ndarray) -> np.ndarray:
        return smooth(x) + (50.0 if x[1] > 0.2 else 0.0)

    found = FiniteDifferenceTruth(truth(jumps), FiniteDifferences(1e-4)).evaluate([AT])
    np.testing.assert_allclose(found.dydx[0], slopes(AT), rtol=1e-2, atol=1e-3)


def test_jumps_on_both_sides_leave_the_partial_unknown() -> None:
    def island(x: np.ndarray) -> np.ndarray:
        return smooth(x) + 50.0 * np.sign(x[1] - 0.2) * np.array([1.0, 0.0]) + 90.0 * (x[1] < 0.2)

    found = FiniteDifferenceTruth(truth(island), FiniteDifferences(1e-4)).evaluate([AT])
    assert np.isnan(found.dydx[0, :, 1]).any()
    np.testing.assert_allclose(found.dydx[0][:, [0, 2, 3]], slopes(AT)[:, [0, 2, 3]], rtol=1e-2, atol=1e-3)


def test_a_steep_slope_is_kept_where_both_sides_agree() -> None:
    def steep(x: np.ndarray) -> np.ndarray:
        return smooth(x) + np.array([1e4 * x[1], 0.0])

    found = FiniteDifferenceTruth(truth(steep), FiniteDifferences(1e-6)).evaluate([AT])
    assert found.dydx[0, 0, 1] == pytest.approx(1e4 + 0.4, rel=1e-5)


def test_a_failed_point_gets_no_finite_differences() -> None:
    evaluated_at: list[np.ndarray] = []

    def broken(x: np.ndarray) -> np.ndarray:
        evaluated_at.append(x)
        raise EvaluationError("it broke")

    found = FiniteDifferenceTruth(truth(broken)).evaluate([AT])
    assert not found.ok[0] and found.message == ("it broke",) and len(evaluated_at) == 1


def test_other_steps_are_another_truth_in_a_store() -> None:
    one, other = (FiniteDifferenceTruth(truth(), FiniteDifferences(step)) for step in (1e-4, 1e-3))
    assert one.identity != other.identity and str(one.identity).startswith("smooth")
    numbers = (number for number in range(3))
    assert FiniteDifferenceTruth(truth(lambda x: next(numbers), identity=None)).identity is None
    store = EvaluationStore()
    store.evaluate(one, [AT])
    assert store.count(one) == 1 and store.count(other) == 0


@pytest.mark.parametrize("step", [0.0, -1e-4, np.nan, (1e-4, 0.0, 1.0, 1.0)])
def test_steps_that_are_not_positive_are_refused(step: Any) -> None:
    with pytest.raises(InputError, match=r"`step` must be positive, got .* Try 1e-4, or 1e-2 for a noisy truth\."):
        FiniteDifferences(step)


def test_a_wrong_number_of_steps_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"`step` must have shape \(d,\) = \(4,\), got \(2,\)\. Pass one number, or one for each"
    ):
        FiniteDifferenceTruth(truth(), FiniteDifferences((1e-4, 1e-4))).evaluate([AT])


@pytest.mark.parametrize("level", [1e-8, 1e-5])
def test_noise_is_estimated_to_a_factor(level: float) -> None:
    rng = np.random.default_rng(1)

    def noisy(x: np.ndarray) -> np.ndarray:
        return smooth(x) + level * rng.standard_normal(2) * np.array([1.0, 10.0])

    found = np.array([estimate_noise(truth(noisy), AT, step=1e-6, seed=seed) for seed in range(10)])
    typical = np.nanmedian(found, axis=0)
    assert (typical > 0.4 * level * np.array([1.0, 10.0])).all()
    assert (typical < 2.5 * level * np.array([1.0, 10.0])).all()


def test_a_step_at_which_the_function_dominates_gives_no_noise() -> None:
    def curved(x: np.ndarray) -> np.ndarray:
        return np.exp(3.0 * np.array([x[0], x[1]]))

    assert np.isnan(estimate_noise(truth(curved), AT, step=1e-2)).all()


def test_noise_needs_points_where_the_truth_succeeds() -> None:
    def broken(x: np.ndarray) -> np.ndarray:
        raise EvaluationError("it broke")

    with pytest.raises(
        InputError,
        match=r"`x` must be away from points where the truth fails, got \[0\.\d.*\], where it failed with \'it broke\'",
    ):
        estimate_noise(truth(broken), AT)
    with pytest.raises(InputError, match="`points` must be at least 6, got 3"):
        estimate_noise(truth(), AT, points=3)


def rough(x: np.ndarray) -> np.ndarray:
    if x[0] > 0.5:
        raise EvaluationError("no mesh")
    return smooth(x) + (50.0 if x[1] > 0.2 else 0.0)


def test_the_second_stage_has_the_other_side_of_failed_and_of_suspicious_points() -> None:
    plan = FiniteDifferences(1e-4).plan(AT, smooth(AT), np.full((2, 4), np.nan), X)
    steps = plan.steps[0]
    np.testing.assert_allclose(steps, [2e-4, 2e-4, 1e-2, 4e-4], rtol=1e-3)
    np.testing.assert_allclose(plan.points, AT + np.diag(steps), rtol=1e-15)
    second = plan.after(truth(rough).evaluate(plan.points))
    np.testing.assert_allclose(second.points, (AT - np.diag(steps))[:2], rtol=1e-15)
    last = second.after(truth(rough).evaluate(second.points))
    assert last.points.shape == (0, 4)
    np.testing.assert_allclose(last.partials(), slopes(AT), rtol=1e-2, atol=1e-3)


def test_a_plan_without_doubts_has_one_stage_and_one_without_unknowns_none() -> None:
    plan = FiniteDifferences(1e-6).plan(AT, smooth(AT), np.full((2, 4), np.nan), X)
    last = plan.after(truth().evaluate(plan.points))
    assert len(last.points) == 0
    np.testing.assert_allclose(last.partials(), slopes(AT), rtol=2e-5, atol=1e-6)
    none = FiniteDifferences(1e-6).plan(AT, smooth(AT), slopes(AT), X)
    assert len(none.points) == 0
    assert np.array_equal(none.partials(), slopes(AT))


def test_a_plan_rebuilt_from_its_arrays_in_each_stage_gives_the_same_partials() -> None:
    differences = FiniteDifferences(1e-4)
    plan = differences.plan(AT, smooth(AT), np.full((2, 4), np.nan), X)
    while len(plan.points):
        plan = FiniteDifferencePlan(**{field.name: np.array(getattr(plan, field.name)) for field in fields(plan)})
        plan = plan.after(truth(rough).evaluate(plan.points))
    expected = differences.partials(truth(rough).evaluate, AT, smooth(AT), np.full((2, 4), np.nan), X)
    assert np.array_equal(plan.partials(), expected)
    with pytest.raises(ValueError, match="read-only"):
        plan.values[0, 0, 0] = 1.0


def test_evaluations_at_other_points_and_early_partials_are_refused() -> None:
    plan = FiniteDifferences(1e-4).plan(AT, smooth(AT), np.full((2, 4), np.nan), X)
    expected = r"`evaluations` must be at `points` = \[\[.*\]\], got \[\[.*\]\]\. Pass one row for each point, in the"
    for other in (plan.points[::-1], plan.points[:2]):
        with pytest.raises(InputError, match=expected):
            plan.after(truth().evaluate(other))
    with pytest.raises(InputError, match=r"`plan` must have no points left, got 4 points\. Evaluate `points` and pass"):
        plan.partials()
