"""Evaluations to a known objective, from any arrays, from the loop's history and from the baseline's visits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradopt.errors import ShapeError
from gradopt.loop import Iteration
from gradopt.om.baseline import BaselineVisit
from gradopt.report.progress import Progress

EVALUATIONS = np.array([1, 3, 4, 6, 7])


def progress(objective: list[float], violation: list[float]) -> Progress:
    return Progress(EVALUATIONS, np.array(objective), np.array(violation))


def test_the_first_feasible_design_near_the_objective_counts() -> None:
    run = progress([9.0, 0.5, 1.02, 1.009, 1.0], [0.0, 0.05, 0.0, 1e-4, 0.0])
    assert run.evaluations_to(1.0) == 6
    assert run.evaluations_to(1.0, relative=0.001) == 7
    assert run.evaluations_to(1.0, absolute=0.03) == 4
    assert run.evaluations_to(1.0, feasibility=1e-5) == 7
    assert run.evaluations_to(1.0, feasibility=0.1) == 3
    assert run.evaluations_to(0.9) is None


def test_near_zero_the_absolute_excess_counts() -> None:
    run = progress([1e-3, 1e-5, 2e-6, 9e-7, 0.0], [0.0] * 5)
    assert run.evaluations_to(0.0) == 6


def test_a_negative_objective_is_reached_from_above() -> None:
    run = progress([0.0, -0.9, -0.98, -0.995, -1.0], [0.0] * 5)
    assert run.evaluations_to(-1.0) == 6


def test_failed_designs_do_not_count() -> None:
    run = progress([np.nan, np.nan, np.nan, np.nan, 1.0], [np.nan] * 4 + [0.0])
    assert run.evaluations_to(1.0) == 7


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must have one shape \(n,\), got \(\(5,\), \(4,\), \(5,\)\)"):
        Progress(EVALUATIONS, np.zeros(4), np.zeros(5))
    with pytest.raises(ShapeError, match=r"must have one shape \(n,\), got \(\(1, 1\), "):
        Progress(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)))


def iteration(number: int, objective: float, accepted: bool, feasibility: float) -> Iteration:
    nothing = np.zeros(0)
    values: dict[str, Any] = {
        "number": number,
        "u": nothing,
        "objective": objective,
        "constraints": nothing,
        "predicted_objective": np.nan,
        "predicted_constraints": nothing,
        "ratio": np.nan,
        "accepted": accepted,
        "restoration": False,
        "radius": 0.1,
        "evaluations": number + 1,
        "feasibility": feasibility,
        "stationarity": 1.0,
        "complementarity": 1.0,
        "fit": "",
        "failure": "",
        "seconds": 0.0,
    }
    return Iteration(**values)


def test_of_the_loop_the_start_and_accepted_candidates_count() -> None:
    history = [iteration(0, 5.0, False, 0.0), iteration(1, 1.0, False, 0.0), iteration(2, 1.0, True, 0.0)]
    run = Progress.of_loop(history)
    np.testing.assert_array_equal(run.evaluations, [1, 3])
    assert run.evaluations_to(1.0) == 3
    assert run.evaluations_to(5.0) == 1
    assert Progress.of_loop([]).evaluations_to(1.0) is None


def test_of_the_baseline_all_visits_count() -> None:
    nothing = np.zeros(0)
    visits = [BaselineVisit(2, nothing, 3.0, nothing, 0.0), BaselineVisit(5, nothing, 1.0, nothing, 0.0)]
    assert Progress.of_baseline(visits).evaluations_to(1.0) == 5
