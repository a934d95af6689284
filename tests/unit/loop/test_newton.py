"""Newton's method at the end of a subproblem: to the last digits, and never to anything but a minimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gradopt.errors import EvaluationError
from gradopt.loop.newton import newton, residual_of
from gradopt.optimality.problem import Limits, Responses, Scales

Model = Callable[[np.ndarray], Responses]
SCALES = Scales(np.ones(3), 1.0, np.ones(2))
MOST = 10


def limits_of(c_lower: list[float], c_upper: list[float], lower: float = -10.0) -> Limits:
    edge = np.full(3, 10.0)
    return Limits(np.full(3, lower), edge, np.array(c_lower), np.array(c_upper), 2.0 * edge)


def quadratic(hessian: np.ndarray) -> Model:
    """f = u' H u / 2 - u[0] with the constraints u[0] + u[1] + u[2] and u[0]."""
    jacobian = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])

    def model(u: np.ndarray) -> Responses:
        bent = hessian @ u
        slope = bent - np.array([1.0, 0.0, 0.0])
        return Responses(u.copy(), float(0.5 * u @ bent - u[0]), slope, jacobian @ u, jacobian)

    return model


DEFINITE = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
EQUALITY = limits_of([1.0, -9.0], [1.0, 9.0])


def optimum(hessian: np.ndarray) -> np.ndarray:
    """The point with a stationary Lagrangian on the plane u[0] + u[1] + u[2] = 1."""
    ones = np.ones((3, 1))
    matrix = np.block([[hessian, ones], [ones.T, np.zeros((1, 1))]])
    return np.asarray(np.linalg.solve(matrix, [1.0, 0.0, 0.0, 1.0])[:3])


def beside(hessian: np.ndarray) -> Responses:
    return quadratic(hessian)(optimum(hessian) + [1e-4, -2e-4, 3e-4])


def test_a_constrained_quadratic_ends_at_the_kkt_point() -> None:
    start = beside(DEFINITE)
    assert residual_of(start, EQUALITY, SCALES) > 1e-4
    found = newton(quadratic(DEFINITE), start, EQUALITY, SCALES, MOST)
    np.testing.assert_allclose(found.u, optimum(DEFINITE), rtol=0.0, atol=1e-10)
    assert residual_of(found, EQUALITY, SCALES) < 1e-10


def test_an_active_inequality_is_kept_and_an_inactive_one_has_no_part() -> None:
    """u[0] <= 0.1 holds the step along u[0]; the sum is free."""
    limits = limits_of([-9.0, -9.0], [9.0, 0.1])
    at = np.array([0.1, *np.linalg.solve(DEFINITE[1:, 1:], -DEFINITE[1:, 0] * 0.1)])
    found = newton(quadratic(DEFINITE), quadratic(DEFINITE)(at + [0.0, 1e-4, 1e-4]), limits, SCALES, MOST)
    np.testing.assert_allclose(found.u, at, rtol=0.0, atol=1e-10)


def test_a_curved_model_gains_digits_with_each_step() -> None:
    def model(u: np.ndarray) -> Responses:
        wave = np.exp(u)
        slope = wave + u - 2.0
        f = float((wave + 0.5 * u**2 - 2.0 * u).sum())
        return Responses(u.copy(), f, slope, np.zeros(0), np.zeros((0, 3)))

    free = limits_of([], [])
    scales = replace(SCALES, constraints=np.zeros(0))
    found = newton(model, model(np.full(3, 0.445)), free, scales, MOST)  # near the root of exp(u) + u = 2
    np.testing.assert_allclose(np.exp(found.u) + found.u, 2.0, rtol=0.0, atol=1e-11)


def test_active_bounds_stay() -> None:
    """The objective pulls u[0] and u[2] beyond their lower bounds; u[1] alone is free."""
    hessian = np.diag([2.0, 3.0, 4.0])
    model, limits = quadratic(hessian), limits_of([-9.0, -9.0], [9.0, 9.0], lower=1.0)
    limits = replace(limits, lower=np.array([1.0, -10.0, 1.0]))
    evaluated = []

    def counted(u: np.ndarray) -> Responses:
        evaluated.append(u)
        return model(u)

    found = newton(counted, model(np.array([1.0, 1e-4, 1.0])), limits, SCALES, MOST)
    assert all(u[[0, 2]].tolist() == [1.0, 1.0] for u in [found.u, *evaluated])  # no finite differences along these
    assert abs(found.u[1]) < 1e-10


def test_no_step_leaves_the_bounds() -> None:
    """The minimum is beyond a bound that is near, but not yet active."""
    model = quadratic(np.eye(3))
    limits = replace(limits_of([-9.0, -9.0], [9.0, 9.0]), upper=np.array([0.998, 10.0, 10.0]))
    start = model(np.array([0.997, 1e-3, 0.0]))
    found = newton(model, start, limits, SCALES, MOST)
    assert found.u[0] == 0.998
    assert residual_of(found, limits, SCALES) <= residual_of(start, limits, SCALES)


def test_an_indefinite_hessian_gives_back_the_same_point() -> None:
    """Along the constraint it has a saddle point there, which Newton's method would find."""
    hessian = np.diag([4.0, -3.0, 2.0])
    start = beside(hessian)
    assert 1e-11 < residual_of(start, EQUALITY, SCALES) < 1e-2
    assert newton(quadratic(hessian), start, EQUALITY, SCALES, MOST) is start


def test_a_hessian_that_is_indefinite_across_the_constraint_alone_is_no_obstacle() -> None:
    hessian = np.diag([4.0, -0.2, 2.0])
    found = newton(quadratic(hessian), beside(hessian), EQUALITY, SCALES, MOST)
    np.testing.assert_allclose(found.u, optimum(hessian), rtol=0.0, atol=1e-10)


def test_a_model_that_fails_gives_back_the_same_point() -> None:
    start = beside(DEFINITE)
    evaluated = []

    def model(u: np.ndarray) -> Responses:
        evaluated.append(u)
        raise EvaluationError("no mesh")

    assert newton(model, start, EQUALITY, SCALES, MOST) is start
    assert len(evaluated) == 1


def test_a_model_that_fails_at_the_end_of_the_step_gives_back_the_same_point() -> None:
    start, evaluated = beside(DEFINITE), list[np.ndarray]()

    def model(u: np.ndarray) -> Responses:
        evaluated.append(u)
        if len(evaluated) > 3:
            raise EvaluationError("no mesh")
        return quadratic(DEFINITE)(u)

    assert newton(model, start, EQUALITY, SCALES, MOST) is start
    assert len(evaluated) == 4


def test_a_step_that_does_not_lower_the_residual_gives_back_the_same_point() -> None:
    """The gradients jump between the finite differences and the end of the step."""
    start = beside(DEFINITE)

    def jumping(u: np.ndarray) -> Responses:
        found = quadratic(DEFINITE)(u)
        far = np.abs(u - start.u).max() > 2e-6
        return replace(found, gradient=found.gradient + 1e-2 * far * np.array([1.0, -1.0, 0.0]))

    assert newton(jumping, start, EQUALITY, SCALES, MOST) is start


@pytest.mark.parametrize(
    ("away", "most"),
    [
        (1e-14, MOST),  # already there
        (1.0, MOST),  # too far for its active constraints to be those of the optimum
        (1e-4, 2),  # more design variables than the Hessian may cost
    ],
)
def test_the_model_is_not_evaluated_where_nothing_is_to_be_gained(away: float, most: int) -> None:
    def model(u: np.ndarray) -> Responses:
        raise AssertionError("evaluated")

    start = quadratic(DEFINITE)(optimum(DEFINITE) + away * np.array([1.0, -1.0, 0.0]))
    assert newton(model, start, EQUALITY, SCALES, most) is start


def test_without_free_design_variables_nothing_is_evaluated() -> None:
    def model(u: np.ndarray) -> Responses:
        raise AssertionError("evaluated")

    start = beside(DEFINITE)
    fixed = replace(EQUALITY, lower=start.u, upper=start.u)
    assert newton(model, start, fixed, SCALES, MOST) is start
