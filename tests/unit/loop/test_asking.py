"""`ask`: which points are evaluated next and why; the state stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt.errors import InputError
from gradopt.loop.asking import ask
from gradopt.loop.request import Purpose
from gradopt.loop.state import Exit, Stage
from gradopt.loop.trust_region import TrustRegion
from gradopt.truth.finite_differences import FiniteDifferences

Runs = Callable[..., Any]
SAMPLES = np.array([[0.5, 0.5], [-1.0, 0.25]])


def f(u: np.ndarray) -> np.ndarray:
    """Rosenbrock's function, values alone."""
    return np.array([100.0 * (u[1] - u[0] ** 2) ** 2 + (1.0 - u[0]) ** 2])


def near(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function with its minimum at (1.1, 1.21): an initial surrogate."""
    bend = u[1] - u[0] ** 2
    value = 100.0 * bend**2 + (1.1 - u[0]) ** 2
    return np.array([value]), np.array([[-400.0 * u[0] * bend - 2.0 * (1.1 - u[0]), 200.0 * bend]])


@pytest.fixture(params=["plain", "values", "failing", "initial samples", "initial surrogate"])
def run(request: pytest.FixtureRequest, flat: Runs, disk: Runs) -> Any:
    """Runs of all kinds."""
    steps = FiniteDifferences(1e-7)
    return {
        "plain": lambda: disk(),
        "values": lambda: flat(f, finite_differences=steps),
        "failing": lambda: flat(fails=lambda u: bool(-0.7 < u[0] < -0.6), start=[-1.2, 1.0]),
        "initial samples": lambda: flat(initial_samples=SAMPLES),
        "initial surrogate": lambda: flat(f, initial=near, finite_differences=steps),
    }[request.param]()


def test_the_same_state_gives_the_same_request_and_stays_as_it_is(run: Any, same: Runs, snapshot: Runs) -> None:
    for _ in range(40):
        if run.state.done:
            break
        before = snapshot(run.state)
        first, second = (ask(run.state, run.problem, run.settings) for _ in range(2))
        assert same(run.state, before)
        assert same(replace(first, seconds=0.0), replace(second, seconds=0.0))
        run.loop.tell(first, run.outcomes(first))
    assert len(run.state.history) >= 3


def test_every_purpose_occurs(flat: Runs) -> None:
    """Initial samples, an initial surrogate, a truth without partials that fails, and a derivative check."""
    made = [
        flat(f, initial=near, initial_samples=SAMPLES, finite_differences=FiniteDifferences(1e-7)),
        flat(fails=lambda u: bool(-0.7 < u[0] < -0.6), start=[-1.2, 1.0]),
    ]
    for one in made:
        assert one.run().exit is Exit.CERTIFIED
    found = [[request.purpose for request in one.requests] for one in made]
    start = [Purpose.START] * 2  # all samples, then the start
    assert found[0][:5] == [*start, Purpose.INITIAL_OPTIMUM, Purpose.DIFFERENCE, Purpose.CANDIDATE]
    assert Purpose.RECOVERY in found[1]
    assert found[1][-1] is Purpose.VERIFICATION
    assert {purpose for purposes in found for purpose in purposes} == set(Purpose)


def test_points_have_one_row_each(disk: Runs) -> None:
    made = disk()
    made.run()
    assert {request.points.shape for request in made.requests} == {(1, 2)}


def test_initial_samples_come_first_and_leave_one_evaluation_for_the_start(flat: Runs) -> None:
    made = flat(initial_samples=SAMPLES)
    for expected in (SAMPLES, [[1.25, -1.75]]):
        request = made.loop.ask()
        np.testing.assert_array_equal(request.points, expected)
        assert request.purpose is Purpose.START
        made.loop.tell(request, made.outcomes(request))
    few = flat(initial_samples=SAMPLES, max_evaluations=2)
    few.run()
    np.testing.assert_array_equal(few.evaluated, [SAMPLES[0], [1.25, -1.75]])


def test_a_candidate_carries_its_prediction_within_the_trust_region(flat: Runs) -> None:
    made = flat()
    made.step()
    request = made.loop.ask()
    assert request.purpose is Purpose.CANDIDATE
    np.testing.assert_array_equal(request.candidates[0].predicted.u, request.points[0])
    step = request.points[0] - made.state.iterate.u
    assert made.state.trust_region.length(step, made.problem.limits) <= 0.2 + 1e-12
    assert request.candidates[0].predicted.f < made.state.iterate.f


def test_without_a_better_point_the_request_is_empty(flat: Runs) -> None:
    """The iterate is a minimum of the corrected surrogate, and its partials are known."""

    def bowl(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([u @ u]), 2.0 * u[None]

    made = flat(bowl, [0.0, 0.0])
    made.step()
    state = replace(made.state, stage=Stage.ITERATING)  # as if the derivative check were not due
    request = ask(state, made.problem, made.settings)
    assert request.points.shape == (0, 2)
    assert (request.purpose, request.candidates) == (Purpose.CANDIDATE, ())
    assert request.trust_region.exhausted


def test_a_trust_region_below_the_finite_difference_steps_is_searched_no_more(flat: Runs) -> None:
    made = flat(f, finite_differences=FiniteDifferences(1e-3), trust_region=TrustRegion(radius=9e-5))
    for _ in range(2):
        made.step()
    assert made.state.finite_differenced
    assert made.loop.ask().points.shape == (0, 2)
    larger = flat(f, finite_differences=FiniteDifferences(1e-3), trust_region=TrustRegion(radius=1.1e-4))
    for _ in range(2):
        larger.step()
    assert larger.loop.ask().points.shape == (1, 2)


@pytest.mark.parametrize("exit_", [Exit.BUDGET, Exit.CERTIFIED])
def test_a_run_that_has_ended_is_refused(flat: Runs, exit_: Exit) -> None:
    made = flat()
    state = replace(made.state, exit=exit_)
    expected = rf"`state` must be that of a run that has not ended, got '{exit_.value}'\. Begin a new run; to go on"
    with pytest.raises(InputError, match=expected):
        ask(state, made.problem, made.settings)
