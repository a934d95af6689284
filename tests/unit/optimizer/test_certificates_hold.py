"""Certificates at any scale: what is certified is an optimum of the true function, whatever units, bounds and start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint, OptimizeResult, rosen, rosen_der

from gradopt import minimize
from gradopt.loop.state import Exit

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def counted(function: Function) -> tuple[Function, list[np.ndarray]]:
    seen: list[np.ndarray] = []

    def call(x: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append(x.copy())
        return function(x)

    return call, seen


def growing(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A convex function that overflows far out; its minimum is at (2.23551, 2.23551)."""
    with np.errstate(over="ignore", invalid="ignore"):
        grown = float(np.exp(0.5 * x[0]))
        value = (x[0] - 3.0) ** 2 + (x[1] - x[0]) ** 2 + grown
        return value, np.array([2.0 * (x[0] - 3.0) - 2.0 * (x[1] - x[0]) + 0.5 * grown, 2.0 * (x[1] - x[0])])


@pytest.mark.parametrize("start", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("width", [10.0, 300.0, 1e5, 1e8, 1e13, 1e20])
def test_loose_bounds_change_no_optimum(start: float, width: float) -> None:
    function, seen = counted(growing)
    found = minimize(function, [start, start], jac=True, bounds=[(-width, width)] * 2)
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, 2.23551, atol=5e-4)
    assert (np.abs(seen) <= width).all()


@pytest.mark.parametrize("scale", [1e-10, 1e-5, 1e-2, 1e4, 1e9])
def test_the_unit_of_the_objective_changes_nothing(scale: float) -> None:
    found = minimize(
        lambda x: (scale * rosen(x), scale * rosen_der(x)), [1.25, -1.75], jac=True, bounds=[(-2.0, 2.0)] * 2
    )
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, 1.0, atol=1e-3)


@pytest.mark.parametrize("units", [(1e-6, 1e6), (1e-9, 1.0), (1e3, 1e-3)])
@pytest.mark.parametrize("bounded", [True, False])
def test_the_units_of_design_variables_change_no_verdict(units: tuple[float, float], bounded: bool) -> None:
    unit = np.array(units)

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(rosen(x / unit)), rosen_der(x / unit) / unit

    bounds = [(-2.0 * one, 2.0 * one) for one in units] if bounded else None
    found = minimize(function, np.array([-0.5, 0.5]) * unit, jac=True, bounds=bounds)
    off = float(np.abs(found.x / unit - 1.0).max())
    assert off < 1e-3 if found.exit is Exit.CERTIFIED else not bounded


def section(x: np.ndarray) -> np.ndarray:
    return np.array([x[0] * x[1] ** 3 / 12.0])


def slopes(x: np.ndarray) -> np.ndarray:
    return np.array([[x[1] ** 3 / 12.0, x[0] * x[1] ** 2 / 4.0]])


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e8])
def test_a_small_constraint_is_kept(unit: float) -> None:
    """The least area of a section of 3e-8 in second moment, no more than five times as high as wide."""
    limits = [
        NonlinearConstraint(lambda x: unit * section(x), 3e-8 * unit, np.inf, jac=lambda x: unit * slopes(x)),
        NonlinearConstraint(lambda x: 5.0 * x[0] - x[1], 0.0, np.inf, jac=lambda x: np.array([[5.0, -1.0]])),
    ]
    found = minimize(
        lambda x: (x[0] * x[1], x[::-1].copy()),
        [0.02, 0.05],
        jac=True,
        bounds=[(0.002, 0.05), (0.002, 0.1)],
        constraints=limits,
    )
    width = (12.0 * 3e-8 / 125.0) ** 0.25
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, [width, 5.0 * width], rtol=1e-3)
    assert section(found.x)[0] >= 3e-8 * (1.0 - 1e-4)


def at_zero(x: np.ndarray) -> tuple[float, np.ndarray]:
    return 7.0 + float(x @ x), 2.0 * x


@pytest.mark.parametrize("start", [0.0, 1e-9])
def test_a_start_at_the_optimum_takes_few_evaluations(start: float) -> None:
    function, seen = counted(at_zero)
    found = minimize(function, [start, 0.0], jac=True, bounds=[(-2.0, 2.0)] * 2)
    assert found.exit is Exit.CERTIFIED
    assert len(seen) <= 4


@pytest.mark.parametrize("steep", [10.0, 1e3, 1e5])
@pytest.mark.parametrize("off", [3e-3, 0.3])
def test_a_wrong_partial_beside_a_steep_one_is_not_certified(steep: float, off: float) -> None:
    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        return steep * x[0] + (x[1] - 0.4) ** 2, np.array([steep, 2.0 * (x[1] - 0.4) + off])

    found = minimize(function, [0.7, 0.8], jac=True, bounds=[(0.0, 1.0)] * 2)
    assert found.exit is not Exit.CERTIFIED
    assert not found.success


def test_an_adjoint_error_that_only_a_bound_feels_is_certified() -> None:
    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 100.0 * x[0] + (x[1] - 0.4) ** 2, np.array([100.0 * (1.0 + 1e-3), 2.0 * (x[1] - 0.4)])

    found = minimize(function, [0.7, 0.8], jac=True, bounds=[(0.0, 1.0)] * 2)
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, [0.0, 0.4], atol=1e-3)


def saddle(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Minima at (0, +-0.5), a saddle point between them."""
    return x[0] ** 2 - x[1] ** 2 + 2.0 * x[1] ** 4, np.array([2.0 * x[0], -2.0 * x[1] + 8.0 * x[1] ** 3])


@pytest.mark.parametrize("start", [[1.0, 0.0], [-0.5, 0.0], [-0.3, 0.0]])
def test_a_saddle_point_is_left(start: list[float]) -> None:
    found = minimize(saddle, start, jac=True, bounds=[(-2.0, 2.0)] * 2)
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(np.abs(found.x), [0.0, 0.5], atol=1e-3)


def test_a_saddle_point_that_cannot_be_left_is_named() -> None:
    """Values beside the saddle are no lower: it bends down too little before it rises."""

    def steep(x: np.ndarray) -> tuple[float, np.ndarray]:
        y = x[1]
        return x[0] ** 2 + np.cos(y / 0.013) - 1.0 + 40.0 * y**2, np.array(
            [2.0 * x[0], -np.sin(y / 0.013) / 0.013 + 80.0 * y]
        )

    found: OptimizeResult = minimize(steep, [1.0, 0.0], jac=True, bounds=[(-2.0, 2.0)] * 2)
    assert "saddle point" in found.certificate.reason or abs(found.x[1]) > 1e-3


def test_a_first_step_that_is_far_too_long_does_not_make_the_start_an_optimum() -> None:
    """The step of 0.2 changes f by 4e9: beside that, no slope at the start counts."""
    unit = np.array([1e3, 1e-6])

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 1e-3 * float(rosen(x / unit)), 1e-3 * rosen_der(x / unit) / unit

    found = minimize(function, np.array([-1.167, 0.026]) * unit, jac=True, bounds=[(-1e20, 1e20)] * 2)
    assert found.fun < 0.1 * function(np.array([-1.167, 0.026]) * unit)[0]
    assert found.exit is not Exit.CERTIFIED or np.allclose(found.x / unit, 1.0, atol=1e-3)
