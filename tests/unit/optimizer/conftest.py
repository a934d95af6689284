"""Rosenbrock's function as a truth, with a disk as a constraint."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.data.variables import Variable
from gradopt.truth.function import FunctionTruth


def valley(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function and the squared distance from the origin, with their partials."""
    bend = x[1] - x[0] ** 2
    f = 100.0 * bend**2 + (1.0 - x[0]) ** 2
    gradient = np.array([-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend])
    return np.array([f, x @ x]), np.vstack([gradient, 2.0 * x])


INPUTS = (Variable("x", (2,), lower=-2.0, upper=2.0),)
OUTPUTS = (Variable("f"), Variable("r2"))


@pytest.fixture
def truth() -> FunctionTruth:
    return FunctionTruth(valley, INPUTS, OUTPUTS, identity="valley and disk")


@pytest.fixture
def values_only() -> FunctionTruth:
    return FunctionTruth(lambda x: valley(x)[0], INPUTS, OUTPUTS, identity="valley and disk, values")
