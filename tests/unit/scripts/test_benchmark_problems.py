"""The problems of the comparison: exact partials, known values, and the functions of smt.problems."""

import numpy as np
import pytest
from smt import problems as smt

from scripts.shared.benchmark_problems import PROBLEMS, SURJANOVIC

ROBOT_ORDER = [4, 0, 5, 1, 6, 2, 7, 3]  # SMT's inputs are length, angle, length, ...
THEIRS = {
    "branin": smt.Branin(),
    "rosenbrock_2": smt.Rosenbrock(ndim=2),
    "rosenbrock_5": smt.Rosenbrock(ndim=5),
    "rosenbrock_10": smt.Rosenbrock(ndim=10),
    "borehole": smt.WaterFlow(),
    "robot_arm": smt.RobotArm(ndim=8),
    "wing_weight": smt.WingWeight(),
    "torsion": smt.TorsionVibration(),
}


def value(name: str, *x: float) -> float:
    return float(PROBLEMS[name].evaluate(np.array([x]))[0][0, 0])


@pytest.mark.parametrize("name", PROBLEMS)
def test_partials_are_those_of_the_values(name: str) -> None:
    problem = PROBLEMS[name]
    data = problem.sample(7, seed=3)
    steps = 1e-5 * np.diag(np.array(problem.upper) - np.array(problem.lower))
    columns = [(problem.evaluate(data.x + h)[0] - problem.evaluate(data.x - h)[0]) / 2.0 for h in steps]
    exact = data.partials * np.diag(steps)
    assert np.abs(np.stack(columns, axis=2) - exact).max() < 1e-7 * np.abs(exact).max()


@pytest.mark.parametrize("name", THEIRS)
def test_values_partials_and_box_are_those_of_smt(name: str) -> None:
    mine, theirs = PROBLEMS[name], THEIRS[name]
    order = ROBOT_ORDER if name == "robot_arm" else list(range(mine.d))
    data = mine.sample(9, seed=5)
    x = data.x[:, order]
    np.testing.assert_allclose(theirs.xlimits, np.stack([mine.lower, mine.upper], axis=1)[order], rtol=1e-12)
    np.testing.assert_allclose(theirs(x), data.y, rtol=1e-12)
    width = (np.array(mine.upper) - np.array(mine.lower))[order]
    partials = width * np.stack([theirs(x, kx=k)[:, 0] for k in range(mine.d)], axis=1)
    exact = width * data.partials[:, 0, order]
    np.testing.assert_allclose(partials, exact, atol=1e-12 * np.abs(exact).max())


def test_values_known_by_hand() -> None:
    assert value("sine", np.pi / 2.0) == pytest.approx(1.0)
    assert value("rastrigin_2", 0.0, 0.0) == 0.0
    assert value("rastrigin_2", 0.5, 1.0) == pytest.approx(20.25 + 1.0)
    assert value("friedman_1", 0.5, 0.5, 0.5, 0.5, 0.5) == pytest.approx(10.0 * np.sqrt(0.5) + 7.5)
    assert value("robot_arm", 0.0, 0.0, 0.0, np.pi, 0.4, 0.3, 0.2, 0.1) == pytest.approx(0.8)


def test_otl_circuit_with_endless_gain_is_a_divider() -> None:
    assert value("otl_circuit", 100.0, 50.0, 2.0, 1.6, 0.7, 1e12) == pytest.approx(4.0 + 0.74 + 0.74 * 2.0 / 1.6)


def test_piston_balances_its_forces() -> None:
    m, s, v0, k, p0, ta, t0 = 45.0, 0.01, 0.005, 3000.0, 1e5, 293.0, 350.0
    gas = p0 * v0 * ta / t0
    travel = max(np.roots([k, p0 * s + 19.62 * m - k * v0 / s, -gas]))  # volume over surface
    cycle = 2.0 * np.pi * np.sqrt(m / (k + gas / travel**2))
    assert value("piston", m, s, v0, k, p0, ta, t0) == pytest.approx(cycle)


def test_sample_is_a_hypercube_in_the_box_set_by_its_seed() -> None:
    problem = PROBLEMS["branin"]
    data = problem.sample(10, seed=1)
    cells = np.floor((data.x - problem.lower) / (np.array(problem.upper) - problem.lower) * 10).astype(int)
    assert [sorted(column) for column in cells.T] == [list(range(10))] * 2
    assert data.known.all() and data.y.shape == (10, 1)
    assert data.digest == problem.sample(10, seed=1).digest != problem.sample(10, seed=2).digest


def test_the_problems_of_the_comparison_and_their_dimensions() -> None:
    dimensions = {name: problem.d for name, problem in PROBLEMS.items()}
    assert sorted(dimensions.values()) == [1, 2, 2, 2, 5, 5, 6, 7, 8, 8, 10, 10, 15]
    assert all(problem.source.strip() and problem.name == name for name, problem in PROBLEMS.items())
    assert SURJANOVIC in PROBLEMS["branin"].source
