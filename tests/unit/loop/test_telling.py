"""`tell`: from an outcome to the next state, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradopt.corrected.samples import Gain
from gradopt.errors import ShapeError
from gradopt.loop import telling
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.state import Exit, Stage
from gradopt.loop.subproblem import Candidate
from gradopt.loop.telling import tell
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.merit import next_penalties
from gradopt.optimality.problem import Responses
from gradopt.truth.protocol import Evaluations, PointStatus

Runs = Callable[..., Any]
START = np.array([0.1, 0.0])


def bowl(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.array([u @ u]), 2.0 * u[None]


def bowl_beside(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bowl with the constraint u0 >= 1, which no point near the start meets."""
    f, gradient = bowl(u)
    return np.append(f, u[0]), np.vstack([gradient, [1.0, 0.0]])


def proposed(made: Any, u: np.ndarray, f: float, c: tuple[float, ...] = (), **changes: Any) -> Request:
    """A request with a candidate at u whose predicted objective is f."""
    p = len(c)
    predicted = Responses(u, f, np.zeros(2), np.array(c), np.zeros((p, 2)))
    return Request(u[None], Purpose.CANDIDATE, (Candidate(predicted, False),), made.state.trust_region, **changes)


def outcome(made: Any, u: np.ndarray, y: np.ndarray, dydu: np.ndarray) -> Outcome:
    """What an evaluation with values y (1 + p,) and partials (1 + p, 2) gives."""
    found = Evaluations(u[None], y[None], dydu[None], [PointStatus.OK], [""], np.zeros(1))
    return Outcome(made.problem.responses(u, y, dydu), "", (Gain.of(found),), (u,), (made.problem.sensitivities,))


def failure(made: Any, u: np.ndarray, why: str) -> Outcome:
    rows = 1 + len(made.problem.limits.c_lower)
    unknown = np.full((1, rows), np.nan), np.full((1, rows, 2), np.nan)
    found = Evaluations(u[None], *unknown, [PointStatus.FAILED], [why], np.zeros(1))
    return Outcome(None, why, (Gain.of(found),))


def started(flat: Runs, function: Any = bowl, **options: Any) -> Any:
    made = flat(function, START, **options)
    made.step()
    return made


def told(made: Any, request: Request, found: Outcome) -> Any:
    return tell(made.state, request, [found], made.problem, made.settings)


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_outcomes_is_refused(flat: Runs, count: int) -> None:
    made = started(flat)
    request = made.loop.ask()
    expected = rf"`outcomes` must have 1 entries, got {count}\. A failed evaluation is an outcome too: Outcome\(None, "
    with pytest.raises(ShapeError, match=expected):
        made.loop.tell(request, [Outcome(None)] * count)


def test_the_state_that_is_told_stays_as_it_is(flat: Runs, same: Runs, snapshot: Runs) -> None:
    made = started(flat)
    before, copy = made.state, snapshot(made.state)
    made.step()
    assert made.state is not before
    assert same(before, copy)
    assert len(made.state.history) == len(before.history) + 1


# ---- empty requests ----


def empty(made: Any, stage: Stage = Stage.ITERATING) -> Any:
    request = Request(np.empty((0, 2)), Purpose.CANDIDATE, trust_region=TrustRegion(radius=1e-9))
    return tell(replace(made.state, stage=stage), request, [], made.problem, made.settings)


def test_an_empty_request_exhausts_the_trust_region(flat: Runs) -> None:
    state = empty(started(flat))
    assert state.exit is Exit.EXHAUSTED
    assert state.trust_region.radius == 1e-9


def test_an_empty_request_at_an_infeasible_iterate_ends_infeasible(flat: Runs) -> None:
    assert empty(started(flat, bowl_beside, c_lower=[1.0], c_upper=[np.inf])).exit is Exit.INFEASIBLE


def test_an_empty_initial_optimum_leaves_the_loop_at_the_start(flat: Runs) -> None:
    made = started(flat, initial=lambda u: (np.zeros(1), np.zeros((1, 2))))
    assert made.state.stage is Stage.INITIAL_STEP
    request = made.loop.ask()
    assert (request.purpose, request.points.shape) == (Purpose.INITIAL_OPTIMUM, (0, 2))
    made.loop.tell(request, [])
    assert (made.state.stage, made.state.at, len(made.state.history)) == (Stage.ITERATING, 0, 1)


# ---- accepted or rejected ----


NEARER = np.array([0.05, 0.0])  # a smaller gradient than at the start, at (0.1, 0)


@pytest.mark.parametrize(
    ("rise", "predicted", "accepted"),
    [
        (5e-9, 5e-9, True),  # both below 1e-8: noise
        (0.0, 5e-9, True),
        (5e-9, 2e-8, False),  # the rise is noise, but the prediction is not
        (2e-8, 5e-9, False),
        (1e-3, 1e-13, True),  # where nothing is predicted, the objective has no digits left
    ],
)
def test_within_the_noise_of_the_merit_the_optimality_conditions_decide(
    flat: Runs, rise: float, predicted: float, accepted: bool
) -> None:
    made = started(flat)
    f = made.state.iterate.f
    request = proposed(made, NEARER, f * (1.0 - predicted))
    y, slopes = np.array([f * (1.0 + rise)]), bowl(NEARER)[1]
    state = told(made, request, outcome(made, NEARER, y, slopes))
    assert state.history[-1].accepted is accepted
    assert state.at == (1 if accepted else 0)
    if accepted:
        assert state.history[-1].ratio == 1.0


def test_within_the_noise_a_point_farther_from_the_optimality_conditions_is_rejected(flat: Runs) -> None:
    made = started(flat)
    f = made.state.iterate.f
    state = told(made, proposed(made, NEARER, f - 5e-11), outcome(made, NEARER, np.array([f + 5e-11]), np.ones((1, 2))))
    assert (state.history[-1].accepted, state.history[-1].ratio) == (False, -1.0)


def test_the_ratio_compares_actual_and_predicted_reduction(flat: Runs) -> None:
    made = started(flat)
    f = made.state.iterate.f
    state = told(made, proposed(made, NEARER, f - 4e-3), outcome(made, NEARER, *_lowered(f, 1e-3)))
    last = state.history[-1]
    assert (last.accepted, last.ratio) == (True, pytest.approx(0.25))
    assert state.steps == ((0, 1),)
    assert state.trust_region.radius == made.state.trust_region.after(last.ratio, 0.05 / 4.0).radius


def _lowered(f: float, by: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([f - by]), bowl(NEARER)[1]


# ---- penalties ----


@pytest.mark.parametrize(("finite_differenced", "factor"), [(True, 4.0), (False, None)])
def test_penalties_of_violations_that_a_step_left_rise_with_finite_differences(
    flat: Runs, finite_differenced: bool, factor: float | None
) -> None:
    made = started(flat, bowl_beside, c_lower=[1.0], c_upper=[np.inf])
    samples = replace(
        made.state.samples[0],
        difference_rows=(0,) if finite_differenced else (),
        differenced=(np.zeros((2, 2), dtype=bool),) * finite_differenced,
    )
    state = replace(made.state, samples=(samples,), penalties=np.array([0.3]))
    y, dydu = np.array([0.0, 0.15]), bowl_beside(NEARER)[1]  # 0.85 of a violation of 0.9 is left
    request = proposed(made, NEARER, 0.0, (0.2,))
    found = tell(state, request, [outcome(made, NEARER, y, dydu)], made.problem, made.settings)
    assert found.history[-1].accepted
    following = next_penalties(state.penalties, found.conditions.multipliers)
    assert following[0] < 0.9
    expected = following if factor is None else np.array([factor * 0.3])
    np.testing.assert_array_equal(found.penalties, expected)


# ---- failures ----


def test_failures_are_kept_until_the_truth_succeeds(flat: Runs) -> None:
    made = started(flat)
    request = proposed(made, NEARER, 0.0)
    state = told(made, request, failure(made, NEARER, "no mesh"))
    assert [[point.tolist() for point in series] for series in state.failed] == [[[0.05, 0.0]]]
    last = state.history[-1]
    assert (last.failure, last.accepted, state.at, state.evaluations) == ("no mesh", False, 0, 2)
    assert np.isnan(last.objective)
    made.loop.state = state
    second = np.array([0.08, 0.0])
    state = told(made, proposed(made, second, 0.0), outcome(made, second, *bowl(second)))
    assert state.failed == ()
    assert state.at == 1


def test_too_many_failures_end_the_run(flat: Runs) -> None:
    made = started(flat, max_failures=1)
    state = told(made, proposed(made, NEARER, 0.0), failure(made, NEARER, "no mesh"))
    assert state.exit is Exit.TRUTH_FAILED


# ---- derivative check ----


def test_a_failed_derivative_check_is_tried_at_the_other_points(flat: Runs) -> None:
    made: Any = flat(bowl, [0.0, 0.0], fails=lambda u: len(made.evaluated) in (2, 3))
    made.step()
    assert (made.state.stage, made.state.exit) == (Stage.CHECKING, None)
    for checks in (1, 2):
        made.step()
        assert (made.state.checks, made.state.exit) == (checks, None)
    assert made.step().exit is Exit.CERTIFIED
    assert (len(made.state.history), made.state.history[-1].evaluations) == (1, 4)


# ---- times and texts ----


def test_the_time_of_request_and_outcome_is_that_of_the_last_iteration(flat: Runs) -> None:
    made = started(flat)
    before = made.state.history[-1].seconds
    request = replace(made.loop.ask(), seconds=100.0)
    made.loop.tell(request, made.outcomes(request))
    assert made.state.history[0].seconds == before
    assert 100.0 < made.state.history[-1].seconds < 200.0


def test_an_initial_sample_that_fails_is_logged(flat: Runs, caplog: pytest.LogCaptureFixture) -> None:
    made = flat(bowl, START, fails=lambda u: bool(u[0] > 0.4), initial_samples=np.array([[0.5, 0.5]]))
    with caplog.at_level("INFO", logger="gradopt"):
        made.step()
    (record,) = caplog.records
    assert record.getMessage().startswith("An initial sample failed. ")
    assert "no mesh" in record.getMessage()
    assert (made.state.stage, made.state.evaluations, len(made.state.waiting)) == (Stage.START, 1, 0)


@pytest.mark.parametrize(("records", "exit"), [(9, None), (10, Exit.EXHAUSTED)])
def test_a_run_that_evaluates_nothing_new_for_ten_iterations_ends(flat: Runs, records: int, exit: Exit | None) -> None:
    made = flat(start=[-1.2, 1.0])
    for _ in range(3):
        made.step()
    same = replace(made.state.history[-1], evaluations=made.state.evaluations)
    earlier = replace(same, evaluations=same.evaluations - 1)
    idle = replace(made.state, history=(earlier, *[same] * records))
    assert telling._judged(idle, made.problem, made.settings).exit is exit
