"""Parts of the experiments on GradINN: partials of the Gaussian process, known partials, and comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from cases.learning import PROBLEMS
from scripts.gradinn.methods import METHODS, partly_known
from scripts.gradinn.rows import HYBRID_PROBLEMS, NOISES, Task, errors, tasks
from scripts.gradinn.tables import both_at_once, figures, grouped, summarize
from scripts.shared.gaussian_process import gaussian_process


@pytest.mark.parametrize("name", ["friedman", "stokes"])
def test_partials_of_the_gaussian_process_are_those_of_its_values(name: str) -> None:
    problem = PROBLEMS[name]
    values, partials = gaussian_process(problem.draw(25, 0, noise=0.05), 0)
    x, step = problem.test_points(5), 1e-5
    found = partials(x)
    assert found.shape == (5, problem.m, problem.d)
    for j in range(problem.d):
        moved = step * np.eye(problem.d)[j]
        slope = (values(x + moved) - values(x - moved)) / (2.0 * step)
        np.testing.assert_allclose(found[:, :, j], slope, rtol=1e-4, atol=1e-5 * np.abs(found).max())


def test_half_of_the_partials_are_known() -> None:
    friedman, predators = (PROBLEMS[name].draw(8, 0, partials=True) for name in ("friedman", "lotka_volterra"))
    assert partly_known(friedman, all_known=False).known[:, 0].tolist() == [[True, False, True, False, True]] * 8
    assert partly_known(predators, all_known=False).known[:, :, 0].tolist() == [[True] * 2, [False] * 2] * 4
    assert partly_known(friedman, all_known=True) is friedman


def test_errors_are_in_standard_deviations() -> None:
    problem = PROBLEMS["stokes"]
    y, dydx = problem.evaluate(problem.test_points(2000))
    assert errors(problem, y, dydx) == {"values": 0.0, "partials": 0.0}
    off = errors(problem, y + 2.0 * problem.spread, dydx)
    assert off["values"] == pytest.approx(2.0) and off["partials"] == 0.0


def test_every_kind_of_fit_is_among_the_tasks() -> None:
    wanted = list(tasks(("problems", "priors", "hybrid", "defaults"), PROBLEMS, seeds=2))
    assert len(wanted) == len(set(wanted)) == 2 * (4 * (3 * len(NOISES) * len(METHODS) + 2 * 3) + 3 * 3 * 4 + 3 * 2)
    assert {task.problem for task in wanted if task.part == "hybrid"} == set(HYBRID_PROBLEMS)
    order = [(task.noise > 0.0, task.seed) for task in wanted]
    assert order == sorted(order)
    hybrid = next(task for task in wanted if task.method == "GradINN, some partials")
    assert hybrid.data().known.any() and not hybrid.data().known.all()
    assert next(task for task in wanted if task.method == "JENN, all partials").data().known.all()
    assert not Task("problems", "stokes", 20, 0.0, 0, "GradINN").data().known.any()


def test_ratios_are_taken_seed_by_seed() -> None:
    found = {
        "MLP": (0.2, 0.4),
        "GradINN": (0.1, 0.6),
        "JENN, some partials": (0.3, 0.2),
        "GradINN, some partials": (0.05, 0.3),
    }
    kind = {"problem": "friedman", "n": 30, "noise": 0.0, "seconds": 1.0}
    rows = [
        {**kind, "method": method, "seed": seed, "values": value, "partials": 2.0 * value}
        for method, values in found.items()
        for seed, value in enumerate(values)
    ]
    runs = grouped(rows)
    of = {entry["method"]: entry for entry in summarize(runs)}
    middle = {"median": 1.0, "geometric_mean": 0.75**0.5, "largest": 1.5, "seeds": 2}
    assert of["GradINN"]["ratio"] == pytest.approx(middle)
    hybrid = both_at_once(runs)
    assert hybrid["cells"][0]["largest"] == pytest.approx(0.3 / 0.2)
    assert hybrid["geometric_mean"] == pytest.approx((0.05 / 0.1 * 0.3 / 0.2) ** 0.5)
    assert figures([1.0, 3.0]) == {"mean": 2.0, "standard_error": 1.0, "median": 2.0, "largest": 3.0}
