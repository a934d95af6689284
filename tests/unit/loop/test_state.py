"""Settings and the state at the beginning of a run: what is refused, and what a state shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradopt.errors import InputError, ShapeError
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Stage, begin, resumed

Runs = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_evaluations", 0, "be a whole number of at least 1, got 0. Leave it out"),
        ("max_evaluations", 2.0, "be a whole number of at least 1, got 2.0."),
        ("starts", True, "be a whole number of at least 1, got True."),
        ("max_failures", -1, "be a whole number of at least 1, got -1."),
        ("tolerance", 0.0, "be a positive number below 1, got 0.0. Leave it out"),
        ("feasibility_tolerance", 1.0, "be a positive number below 1, got 1.0."),
        ("trust_region", 0.1, "be a TrustRegion, got 0.1. Pass an object, such as TrustRegion()."),
        ("correction", None, "be a CorrectionTerms, got None. Pass an object, such as CorrectionTerms()."),
        ("finite_differences", 1e-4, "be a FiniteDifferences, got 0.0001. Pass an object"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"`{name}` must {words}")):
        Settings(**{name: value})


def test_points_of_another_dimension_are_refused(flat: Runs) -> None:
    problem, settings = flat().problem, Settings()
    with pytest.raises(
        ShapeError, match=r"`start` must have 2 design variables, got \(3,\)\. Give one number for each"
    ):
        begin(problem, np.zeros(3), settings)
    with pytest.raises(ShapeError, match=r"`initial_samples` must have 2 design variables, got \(1,\)\. Give one"):
        begin(problem, np.zeros(2), settings, initial_samples=np.zeros((4, 1)))


def test_nothing_is_known_at_the_beginning(flat: Runs) -> None:
    state = flat().state
    assert (state.stage, state.at, state.kkt, state.exit) == (Stage.START, -1, None, None)
    assert (state.evaluations, state.finite_differenced, state.done) == (0, False, False)
    assert state.history == state.points == state.selections == ()


@pytest.mark.parametrize("exit_", [Exit.BUDGET, Exit.STOPPED])
def test_a_run_that_was_cut_off_goes_on_where_it_was(flat: Runs, points: Runs, exit_: Exit) -> None:
    whole = flat()
    whole.run()
    if exit_ is Exit.BUDGET:
        first = flat(max_evaluations=5)
        state = first.run()
    else:
        first = flat()
        state = first.run(lambda state: len(state.history) == 5)
    assert state.exit is exit_
    second = flat(state=resumed(state, flat().state))
    assert second.run().exit is Exit.CERTIFIED
    assert points(first) + points(second) == points(whole)


def test_other_exits_stay(flat: Runs) -> None:
    state = flat().run()
    assert resumed(state, flat().state) is state


def test_a_state_of_another_problem_is_refused(flat: Runs, disk: Runs) -> None:
    state = flat().run()
    other = flat(lambda u: (np.array([u @ u]), 2.0 * u[None]), [1.0, 1.0, 1.0]).state
    expected = r"`resume` must be of a problem with the design variables 3, got 2\. Resume a run in the problem that it"
    with pytest.raises(InputError, match=expected):
        resumed(state, other)
    with pytest.raises(
        InputError, match=r"`resume` must be of a problem with the truths .*'c'.*, got .*'f', \(1,\), Non"
    ):
        resumed(state, disk().state)
