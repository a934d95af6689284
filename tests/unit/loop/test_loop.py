"""The loop on flat problems: certified where it should be, an honest exit everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.correction import CorrectionTerms
from gradopt.loop.request import Purpose
from gradopt.loop.state import Exit
from gradopt.loop.trust_region import TrustRegion

Runs = Callable[..., Any]
FROM = np.array([1.25, -1.75])


def valley(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function."""
    bend = u[1] - u[0] ** 2
    f = 100.0 * bend**2 + (1.0 - u[0]) ** 2
    return np.array([f]), np.array([[-400.0 * u[0] * bend - 2.0 * (1.0 - u[0]), 200.0 * bend]])


def test_the_valley_is_certified_in_few_evaluations(flat: Runs) -> None:
    made = flat()
    state = made.run()
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.iterate.u, [1.0, 1.0], atol=1e-3)
    assert len(made.evaluated) == state.evaluations <= 25


@pytest.mark.parametrize("term", ["kriging", "secant"])
def test_each_term_of_the_correction_pays(flat: Runs, term: str) -> None:
    spent = []
    for terms in (CorrectionTerms(), CorrectionTerms(**{term: False})):
        starts = ([1.25, -1.75], [-1.2, 1.0], [2.0, -2.0])
        spent.append(sum(flat(start=start, correction=terms).run().evaluations for start in starts))
    assert spent[0] < spent[1]


@pytest.mark.parametrize("start", [[1.25, -1.75], [0.0, 0.0], [0.1, -0.2], [-1.0, 1.0]])
def test_an_active_constraint_is_met_from_inside_and_outside(disk: Runs, start: list[float]) -> None:
    state = disk(start=start).run()
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.iterate.u, [0.78642, 0.61770], atol=1e-3)
    assert state.conditions.multipliers[0] > 0.0


def test_an_equality_is_met(disk: Runs) -> None:
    state = disk(c_lower=1.0, start=[0.5, 0.2]).run()
    assert state.exit is Exit.CERTIFIED
    assert state.iterate.c[0] == pytest.approx(1.0, abs=1e-6)


def test_an_inactive_constraint_costs_nothing(disk: Runs) -> None:
    state = disk(c_upper=50.0).run()
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.iterate.u, [1.0, 1.0], atol=1e-3)
    assert state.evaluations <= 30


@pytest.mark.parametrize("low", [-np.inf, 1.0])
def test_the_same_constraint_twice_does_no_harm(flat: Runs, low: float) -> None:
    def twice(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, gradient = valley(u)
        return np.array([f[0], u @ u, u @ u]), np.vstack([gradient, 2.0 * u, 2.0 * u])

    state = flat(twice, [0.5, 0.2], [low, low], [1.0, 1.0]).run()
    assert state.exit is Exit.CERTIFIED


def apart(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Constraints whose feasible half planes have no common point."""
    return np.array([u @ u, u[0] + u[1], u[0] + u[1]]), np.vstack([2.0 * u, np.ones(2), np.ones(2)])


def test_constraints_without_a_common_point_end_infeasible(flat: Runs) -> None:
    made = flat(apart, [0.0, 0.0], [1.0, -np.inf], [np.inf, -1.0])
    state = made.run()
    assert state.exit is Exit.INFEASIBLE
    assert not state.conditions.certified
    assert made.requests[-1].points.shape == (0, 2)


def test_the_budget_is_kept(flat: Runs) -> None:
    made = flat(max_evaluations=7)
    state = made.run()
    assert state.exit is Exit.BUDGET
    assert len(made.evaluated) == 7
    assert [record.evaluations for record in state.history] == list(range(1, 8))


def test_an_exhausted_trust_region_is_no_optimum(flat: Runs) -> None:
    made = flat(trust_region=TrustRegion(radius=1e-7, smallest=1e-6))
    state = made.run()
    assert state.exit is Exit.EXHAUSTED
    assert len(state.history) == 1
    assert made.requests[-1].points.shape == (0, 2)


def test_the_start_may_be_the_optimum(flat: Runs) -> None:
    made = flat(start=[1.0, 1.0])
    state = made.run()
    assert state.exit is Exit.CERTIFIED
    assert len(state.history) == 1
    assert [request.purpose for request in made.requests] == [Purpose.START, Purpose.VERIFICATION]


def test_failures_on_the_way_are_recovered_from(flat: Runs) -> None:
    made = flat(fails=lambda u: bool(-0.7 < u[0] < -0.6), start=[-1.2, 1.0], max_evaluations=80)
    state = made.run()
    assert state.exit is Exit.CERTIFIED
    failed = [record for record in state.history if record.failure]
    assert failed
    assert all(np.isnan(record.objective) and not record.accepted for record in failed)
    assert Purpose.RECOVERY in [request.purpose for request in made.requests]


def test_recovery_goes_along_the_step_and_then_to_other_trust_regions(flat: Runs) -> None:
    """Whatever is tried fails: no point is evaluated twice."""
    made = flat(fails=lambda u: bool(np.abs(u - FROM).max() > 1e-12), max_failures=12)
    made.run()
    assert len({u.tobytes() for u in made.evaluated}) == len(made.evaluated) == 13
    step, *recoveries = (u - FROM for u in made.evaluated[1:])
    parts = [float(recovery @ step / (step @ step)) for recovery in recoveries]
    # On the tangent plane all candidates are on one line: first parts of the step, then the edge of a trust region
    # ten times smaller with its parts, as no step has succeeded.
    np.testing.assert_allclose(parts[:4], [0.6, 1.5, 0.3, 2.2], rtol=1e-6)
    np.testing.assert_allclose(parts[4:6], [0.1, 0.06], rtol=1e-6)


def test_failures_are_dropped_once_the_truth_succeeds(flat: Runs) -> None:
    made: Any = flat(fails=lambda u: len(made.evaluated) == 3)
    for _ in range(3):
        made.step()
    assert len(made.state.failed) == 1
    assert not made.step().failed


def test_a_truth_that_fails_all_around_ends_the_run(flat: Runs) -> None:
    made = flat(fails=lambda u: bool(np.abs(u - FROM).max() > 1e-12), max_failures=6)
    assert made.run().exit is Exit.TRUTH_FAILED
    assert len(made.evaluated) == 7


def test_a_failure_at_the_start_ends_the_run(flat: Runs) -> None:
    state = flat(fails=lambda u: True).run()
    assert state.exit is Exit.TRUTH_FAILED
    assert "no mesh" in state.failure
    assert (state.at, state.history, state.evaluations) == (-1, (), 1)


@pytest.mark.parametrize("entry", [0, 1])
def test_a_missing_partial_is_never_certified(flat: Runs, entry: int) -> None:
    def wrong(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydu = valley(u)
        dydu[0, entry] = 0.0
        return y, dydu

    assert flat(wrong, max_evaluations=60).run().exit is not Exit.CERTIFIED


def constant_partials(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A slope whose partials are said to be 0."""
    return np.array([u.sum()]), np.zeros((1, 2))


def test_a_derivative_check_that_contradicts_the_partials_is_an_exit(flat: Runs) -> None:
    made = flat(constant_partials, [0.0, 0.0])
    assert made.run().exit is Exit.CONTRADICTED
    assert [request.purpose for request in made.requests] == [Purpose.START] + [Purpose.VERIFICATION] * 2


def test_without_the_derivative_check_partials_are_trusted(flat: Runs) -> None:
    made = flat(constant_partials, [0.0, 0.0], check_derivatives=False)
    assert made.run().exit is Exit.CERTIFIED
    assert len(made.evaluated) == 1


def test_records_hold_the_prediction_and_the_truth(flat: Runs) -> None:
    state = flat().run()
    first, second = state.history[0], state.history[1]
    assert np.isnan(first.predicted_objective)
    assert np.isnan(first.ratio)
    assert first.accepted
    expected = (first.objective - second.objective) / (first.objective - second.predicted_objective)
    assert second.ratio == pytest.approx(expected)
    accepted = [record.objective for record in state.history if record.accepted]
    assert accepted == sorted(accepted, reverse=True)
    assert state.history[-1].evaluations == len(state.history) + 1  # with the derivative check


def test_the_same_run_takes_the_same_steps(disk: Runs, points: Runs) -> None:
    first, second = disk(), disk()
    first.run()
    second.run()
    assert points(first) == points(second)


def test_every_exit_has_advice() -> None:
    assert all(len(exit_.advice) > 30 for exit_ in Exit)


def test_scaling_of_the_objective_does_not_change_the_way(flat: Runs) -> None:
    def scaled(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydu = valley(u)
        return 1024.0 * y, 1024.0 * dydu

    plain = flat(tolerance=1e-3, check_derivatives=False).run()
    scaled_up = flat(scaled, tolerance=1e-3, check_derivatives=False).run()
    for one, other in zip(plain.history[:8], scaled_up.history[:8], strict=True):
        np.testing.assert_allclose(one.u, other.u, rtol=1e-3)


def test_the_callback_is_called_after_each_iteration_and_may_stop_the_run(flat: Runs) -> None:
    seen: list[int] = []

    def watch(state: Any) -> bool:
        seen.append(len(state.history))
        return len(seen) == 4

    state = flat().run(watch)
    assert state.exit is Exit.STOPPED
    assert seen == [1, 2, 3, 4]


def test_a_callback_at_the_last_iteration_does_not_replace_the_exit(flat: Runs) -> None:
    state = flat(start=[1.0, 1.0]).run(lambda state: True)
    assert state.exit is Exit.CERTIFIED
