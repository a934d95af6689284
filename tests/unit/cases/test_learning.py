"""The functions to be learned: exact partials, the equations they solve, and samples as they were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from cases.learning import PROBLEMS
from cases.learning.burgers import VISCOSITY, front
from cases.learning.lotka_volterra import BIRTH, CAPTURE, DEATH, END, GAIN, START, populations
from cases.learning.problem import LearningProblem
from gradopt.data.variables import column_bounds
from gradopt.errors import InputError
from scripts.shared.benchmark_problems import PROBLEMS as BENCHMARKS

ALL = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
STEP = 1e-5  # of central differences, in widths of the box


def inner_points(problem: LearningProblem, count: int) -> np.ndarray:
    """Points whose neighbors are in the box."""
    low, high = column_bounds(problem.inputs)
    return low + (high - low) * np.random.default_rng(7).uniform(0.01, 0.99, (count, problem.d))


def differences(problem: LearningProblem, x: np.ndarray, which: int) -> np.ndarray:
    """Central differences of the values (which = 0) or of the partials (1) by each input, last."""
    low, high = column_bounds(problem.inputs)
    steps = STEP * np.diag(high - low)
    columns = [(problem.evaluate(x + h)[which] - problem.evaluate(x - h)[which]) / (2.0 * h.sum()) for h in steps]
    return np.stack(columns, axis=-1)


@ALL
def test_partials_are_those_of_central_differences(problem: LearningProblem) -> None:
    x = inner_points(problem, 50)
    y, dydx = problem.evaluate(x)
    assert y.shape == (50, problem.m) and dydx.shape == (50, problem.m, problem.d)
    np.testing.assert_allclose(differences(problem, x, 0), dydx, atol=1e-7 * np.abs(dydx).max())


def test_the_problems_are_named_and_sized_for_studies() -> None:
    shapes = {name: (problem.d, problem.m) for name, problem in PROBLEMS.items()}
    assert shapes == {"friedman": (5, 1), "stokes": (2, 3), "lotka_volterra": (1, 2), "burgers": (2, 1)}
    for name, problem in PROBLEMS.items():
        assert problem.name == name and problem.title and problem.source
        assert problem.d < problem.sizes[0] < problem.sizes[1] < problem.sizes[2]


def test_friedman_is_that_of_the_comparison_with_peers() -> None:
    mine, other = PROBLEMS["friedman"], BENCHMARKS["friedman_1"]
    x = mine.test_points(30)
    for array, expected in zip(mine.evaluate(x), other.evaluate(x), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(column_bounds(mine.inputs), [other.lower, other.upper])


def test_colliding_flow_is_free_of_divergence_and_in_balance() -> None:
    problem = PROBLEMS["stokes"]
    x = inner_points(problem, 50)
    dydx = problem.evaluate(x)[1]
    np.testing.assert_allclose(dydx[:, 0, 0] + dydx[:, 1, 1], 0.0, atol=1e-13)
    laplacian = np.trace(differences(problem, x, 1), axis1=2, axis2=3)
    np.testing.assert_allclose(laplacian[:, :2], dydx[:, 2], atol=1e-6)
    assert np.abs(dydx[:, 2]).max() > 50.0


def test_prey_and_predators_keep_what_is_conserved() -> None:
    t = np.linspace(0.0, END, 400)[:, None]
    y, rates = populations(t)
    prey, predators = y.T
    conserved = GAIN * prey - DEATH * np.log(prey) + CAPTURE * predators - BIRTH * np.log(predators)
    assert np.ptp(conserved) < 1e-8
    np.testing.assert_allclose(y[0], START, rtol=1e-14)
    np.testing.assert_allclose(rates[:, 0, 0], prey * (BIRTH - CAPTURE * predators), rtol=1e-14)
    np.testing.assert_allclose(rates[:, 1, 0], predators * (GAIN * prey - DEATH), rtol=1e-12, atol=1e-12)


def test_about_two_periods_of_prey_and_predators_are_shown() -> None:
    prey = populations(np.linspace(0.0, END, 4001)[:, None])[0][:, 0]
    tops = np.flatnonzero((prey[1:-1] > prey[:-2]) & (prey[1:-1] > prey[2:]))
    assert len(tops) == 2
    assert 1.5 < END / (END / 4000.0 * np.diff(tops)[0]) < 2.5


@pytest.mark.parametrize("t", [-0.1, 6.01])
def test_times_without_solution_are_refused(t: float) -> None:
    with pytest.raises(InputError, match=rf"`t` must be from 0 to 6, got {t}\. The solution is known there only\."):
        populations(np.array([[1.0], [t]]))


def test_front_agrees_with_a_method_of_lines() -> None:
    x = np.linspace(-1.0, 1.0, 801)
    h = x[1] - x[0]

    def rate(t: float, inner: np.ndarray) -> np.ndarray:
        u = np.concatenate([[0.0], inner, [0.0]])
        flux = u**2 / 2.0
        return VISCOSITY * (u[2:] - 2.0 * u[1:-1] + u[:-2]) / h**2 - (flux[2:] - flux[:-2]) / (2.0 * h)

    times = [0.25, 0.5, 1.0]
    start = -np.sin(np.pi * x[1:-1])
    lines = solve_ivp(rate, (0.0, 1.0), start, method="LSODA", lband=1, uband=1, t_eval=times, rtol=1e-8, atol=1e-10)
    for t, u in zip(times, lines.y.T, strict=True):
        exact = front(np.stack([np.full(799, t), x[1:-1]], axis=1))[0][:, 0]
        np.testing.assert_allclose(u, exact, atol=1e-4)  # second order: 6e-5 with these lines


def test_front_solves_its_equation() -> None:
    problem = PROBLEMS["burgers"]
    x = inner_points(problem, 200)
    u, dydx = problem.evaluate(x)
    u_t, u_x = dydx[:, 0].T
    u_xx = differences(problem, x, 1)[:, 0, 1, 1]
    assert np.abs(VISCOSITY * u_xx).max() > 1.0
    np.testing.assert_allclose(u_t + u[:, 0] * u_x, VISCOSITY * u_xx, atol=1e-6)


def test_front_starts_as_a_sine_rests_at_its_ends_and_is_steep() -> None:
    x = np.linspace(-1.0, 1.0, 201)
    u, dydx = front(np.stack([np.zeros(201), x], axis=1))
    np.testing.assert_allclose(u[:, 0], -np.sin(np.pi * x), atol=1e-14)
    np.testing.assert_allclose(dydx[:, 0, 1], -np.pi * np.cos(np.pi * x), atol=1e-13)
    ends = front(np.stack([x + 1.0, np.sign(x)], axis=1))[0]
    np.testing.assert_allclose(ends, 0.0, atol=1e-13)
    assert np.abs(front(PROBLEMS["burgers"].test_points())[1][:, 0, 1]).max() > 10.0


@ALL
def test_draw_is_a_hypercube_in_the_box_set_by_its_seed(problem: LearningProblem) -> None:
    data = problem.draw(12, seed=4)
    low, high = column_bounds(problem.inputs)
    cells = np.floor(12 * (data.x - low) / (high - low)).astype(int)
    np.testing.assert_array_equal(np.sort(cells, axis=0), np.tile(np.arange(12)[:, None], problem.d))
    assert (data.input_variables, data.output_variables) == (problem.inputs, problem.outputs)
    np.testing.assert_array_equal(data.y, problem.evaluate(data.x)[0])
    assert not data.known.any()
    assert data.digest == problem.draw(12, seed=4).digest != problem.draw(12, seed=5).digest
    noisy = [problem.draw(12, seed, noise=0.1).digest for seed in (4, 4, 5)]
    assert noisy[0] == noisy[1] != noisy[2]


@ALL
def test_noise_is_as_given_and_on_the_values_only(problem: LearningProblem) -> None:
    clean, noisy = problem.draw(4000, 3), problem.draw(4000, 3, noise=0.2, partials=True)
    np.testing.assert_array_equal(noisy.x, clean.x)
    np.testing.assert_array_equal(noisy.partials, problem.evaluate(clean.x)[1])
    noise = noisy.y - clean.y
    scale = 0.2 * clean.y.std(axis=0)  # of other points than those of `spread`
    np.testing.assert_allclose(noise.std(axis=0) / scale, 1.0, atol=0.06)
    np.testing.assert_allclose(noise.mean(axis=0) / scale, 0.0, atol=0.06)
    assert np.abs(np.corrcoef(noise.T) - np.eye(problem.m)).max() < 0.06


@ALL
def test_test_points_are_fixed_and_fill_the_box(problem: LearningProblem) -> None:
    x = problem.test_points()
    low, high = column_bounds(problem.inputs)
    np.testing.assert_array_equal(x, problem.test_points())
    assert x.shape == (2000, problem.d) and problem.test_points(5).shape == (5, problem.d)
    assert ((low <= x) & (x <= high)).all()
    np.testing.assert_allclose((x.mean(axis=0) - low) / (high - low), 0.5, atol=0.03)
    assert not {*x.ravel()} & {*problem.draw(100, 0).x.ravel()}


@pytest.mark.parametrize("n", [0, -3])
def test_draws_without_samples_are_refused(n: int) -> None:
    with pytest.raises(InputError, match=rf"`n` must be a whole number of at least 1, got {n}\."):
        PROBLEMS["friedman"].draw(n, seed=0)


@pytest.mark.parametrize("noise", [-0.1, np.inf, np.nan])
def test_noise_that_is_no_level_is_refused(noise: float) -> None:
    message = rf"`noise` must be a finite number, not negative, got {noise}\. 0\.1 is a tenth of the standard deviation"
    with pytest.raises(InputError, match=message):
        PROBLEMS["stokes"].draw(5, seed=0, noise=noise)
