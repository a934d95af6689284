"""Prey and predators over almost two periods, by the equations of Lotka and Volterra."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.integrate import solve_ivp

from cases.learning.problem import LearningProblem
from gradopt import Variable
from gradopt.errors import InputError, explain

BIRTH, CAPTURE, DEATH, GAIN = 1.5, 1.0, 3.0, 1.0  # of prey, of prey by predators, of predators, of those by prey
START = (1.0, 1.0)  # prey and predators
END = 6.0  # 1.8 periods of 3.32


def rates(state: np.ndarray) -> np.ndarray:
    """Rates of change (2, ...) of prey and predators (2, ...), without unit."""
    prey, predators = state
    return np.stack([(BIRTH - CAPTURE * predators) * prey, (GAIN * prey - DEATH) * predators])


@cache
def _solution() -> Callable[[np.ndarray], np.ndarray]:
    solution = solve_ivp(
        lambda t, state: rates(state), (0.0, END), START, "DOP853", dense_output=True, rtol=1e-12, atol=1e-12
    ).sol
    assert solution is not None  # requested
    return solution


def populations(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve for prey and predators from their start.

    Args:
        t: Times (n, 1) from 0 to 6, without unit.

    Returns:
        Prey and predators (n, 2), without unit, and their rates (n, 2, 1).
    """
    outside = (t < 0.0) | (t > END)
    if outside.any():
        raise InputError(explain("t", f"be from 0 to {END:g}", t[outside][0], "The solution is known there only."))
    state = _solution()(t[:, 0])
    return state.T, rates(state).T[:, :, None]


LOTKA_VOLTERRA = LearningProblem(
    name="lotka_volterra",
    title="prey and predators as functions of time",
    inputs=(Variable("t", lower=0.0, upper=END),),
    outputs=(Variable("prey"), Variable("predators")),
    evaluate=populations,
    sizes=(12, 20, 40),
    source="Lotka (1925), Volterra (1926); rates and start as in the Lotka-Volterra problem of SciMLBenchmarks",
)
