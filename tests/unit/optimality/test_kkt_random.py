"""The optimality conditions on random convex quadratics, whose optimum and multipliers are known by construction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gradopt.optimality.kkt import KKT, kkt

INF = np.inf


@dataclass(frozen=True)
class Quadratic:
    """(u - best)' hessian (u - best) / 2 + slope' u under linear constraints; `inside` is feasible."""

    hessian: np.ndarray
    slope: np.ndarray
    best: np.ndarray
    inside: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    matrix: np.ndarray
    c_lower: np.ndarray
    c_upper: np.ndarray
    multipliers: np.ndarray
    bound_multipliers: np.ndarray

    def at(self, u: np.ndarray) -> KKT:
        gradient = self.hessian @ (u - self.best) + self.slope
        bounds = (self.lower, self.upper)
        return kkt(u, *bounds, gradient, self.matrix @ u, self.c_lower, self.c_upper, self.matrix)

    def value(self, u: np.ndarray) -> float:
        return float(0.5 * (u - self.best) @ self.hessian @ (u - self.best) + self.slope @ u)


def random_quadratic(seed: int) -> Quadratic:
    """Some entries are active at `best` with random multipliers; few enough that these are unique."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 9)), int(rng.integers(0, 9))
    root = rng.normal(size=(n, n))
    best, inside = rng.normal(size=(2, n))
    rows = np.vstack([rng.normal(size=(m, n)), np.eye(n)])
    equal = int(rng.integers(0, min(m, n - 1) + 1))
    inside = best + (inside - best) @ (np.eye(n) - np.linalg.pinv(rows[:equal]) @ rows[:equal])
    value, middle = rows @ best, rows @ inside
    room = rng.uniform(0.5, 2.0, size=(2, m + n))
    low, high = np.minimum(value, middle) - room[0], np.maximum(value, middle) + room[1]
    multipliers = np.zeros(m + n)
    for entry in equal + rng.choice(m + n - equal, size=int(rng.integers(0, n - equal)), replace=False):
        side = 1.0 if value[entry] > middle[entry] else -1.0
        (high if side > 0 else low)[entry] = value[entry]
        multipliers[entry] = side * rng.uniform(0.1, 10.0)
    low[rng.random(m + n) < 0.2 * (multipliers >= 0.0)] = -INF
    low[:equal] = high[:equal] = value[:equal]
    multipliers[:equal] = rng.normal(size=equal) * 5.0
    slope = -rows.T @ multipliers
    hessian = root @ root.T + 0.1 * np.eye(n)
    return Quadratic(
        hessian, slope, best, inside, low[m:], high[m:], rows[:m], low[:m], high[:m], multipliers[:m], multipliers[m:]
    )


SEEDS = pytest.mark.parametrize("first", range(0, 200, 50))


@SEEDS
def test_random_optimum_is_certified_with_its_multipliers(first: int) -> None:
    for seed in range(first, first + 50):
        problem = random_quadratic(seed)
        found = problem.at(problem.best)
        assert found.certified, seed
        np.testing.assert_allclose(found.multipliers, problem.multipliers, atol=1e-7)
        np.testing.assert_allclose(found.bound_multipliers, problem.bound_multipliers, atol=1e-7)


@SEEDS
def test_random_feasible_point_off_the_optimum_is_not(first: int) -> None:
    for seed in range(first, first + 50):
        problem = random_quadratic(seed)
        for part in (1.0, 0.3, 0.03, 3e-3):
            u = problem.best + part * (problem.inside - problem.best)
            found = problem.at(u)
            assert found.feasibility < 1e-12
            assert problem.value(u) > problem.value(problem.best)
            assert not found.certified, (seed, part)


@SEEDS
def test_measures_do_not_depend_on_how_the_problem_is_written(first: int) -> None:
    for seed in range(first, first + 50):
        problem = random_quadratic(seed)
        rng = np.random.default_rng(seed)
        n, m = problem.best.size, problem.multipliers.size
        variables, constraints = rng.permutation(n), rng.permutation(m)
        reordered = replace(
            problem,
            hessian=problem.hessian[np.ix_(variables, variables)],
            matrix=problem.matrix[np.ix_(constraints, variables)],
            **{name: getattr(problem, name)[variables] for name in ("slope", "best", "lower", "upper")},
            **{name: getattr(problem, name)[constraints] for name in ("c_lower", "c_upper")},
        )
        size = rng.uniform(0.1, 10.0, m) * rng.choice([-1.0, 1.0], m)
        ends = np.array([problem.c_lower * size, problem.c_upper * size])
        rescaled = replace(problem, matrix=problem.matrix * size[:, None], c_lower=ends.min(0), c_upper=ends.max(0))
        for part in (0.0, 1e-5, 1e-3, 0.1):
            u = problem.best + part * (problem.inside - problem.best)
            found = problem.at(u)
            for other in (reordered.at(u[variables]), rescaled.at(u)):
                assert other.certified == found.certified, (seed, part)
                measures = (other.stationarity, other.complementarity)
                assert measures == pytest.approx((found.stationarity, found.complementarity), rel=1e-6, abs=1e-10)
            np.testing.assert_allclose(rescaled.at(u).multipliers * size, found.multipliers, rtol=1e-6, atol=1e-9)
