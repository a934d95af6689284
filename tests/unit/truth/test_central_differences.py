"""Central differences: the error that they state holds, whatever is behind it; plateaus take longer steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth

X, Y = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),)
Function = Callable[[np.ndarray], Any]
Plan = FiniteDifferencePlan | CentralDifferencePlan


def rosenbrock(x: np.ndarray) -> float:
    return float(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)


def of_rosenbrock(x: np.ndarray) -> np.ndarray:
    bend = x[1] - x[0] ** 2
    return np.array([-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend])


def bowl(x: np.ndarray) -> float:
    return float(5.0 + ((x - 0.3) ** 2).sum())


def of_bowl(x: np.ndarray) -> np.ndarray:
    return 2.0 * (x - 0.3)


class Beside:
    """Points evaluated beside x, as a run collects them."""

    def __init__(self, function: Function, x: list[float], step: float = 1e-4, outputs: Any = Y) -> None:
        self.truth = FunctionTruth(function, X, outputs)
        self.x, self.steps = np.array(x), FiniteDifferences(step)
        self.y = self.truth.evaluate(self.x[None]).y[0]
        self.known = np.full((len(self.y), 2), np.nan)
        self.points, self.values = np.empty((0, 2)), np.empty((0, len(self.y)))

    def finished(self, plan: Any) -> Any:
        while len(plan.points):
            found = self.truth.evaluate(plan.points)
            self.points, self.values = np.vstack([self.points, found.x]), np.vstack([self.values, found.y])
            plan = plan.after(found)
        return plan

    def one_sided(self) -> FiniteDifferencePlan:
        plan = self.steps.plan(self.x, self.y, self.known, X)
        return self.finished(plan)

    def central(self, met: Any = None, checked: bool = True) -> CentralDifferencePlan:
        others = np.array([[0.173456189212345], [9.31654327098713]]) if met is None else met
        plan = self.steps.refinement(
            self.x, self.y, self.known, X, self.points, self.values, others, np.ones(len(self.y)), checked
        )
        return self.finished(plan)


def noisy(function: Function, level: float) -> Function:
    generator = np.random.default_rng(3)
    return lambda x: function(x) + level * generator.normal()


CASES: dict[str, tuple[Function, Function, list[float], float, float]] = {
    "clean": (bowl, of_bowl, [0.3001, 0.2998], 1e-4, 1e-8),
    "curved": (rosenbrock, of_rosenbrock, [1.0, 1.0], 1e-4, 1e-4),
    "steps too long": (rosenbrock, of_rosenbrock, [1.0, 1.0], 1e-2, 0.2),
    "steps of SciPy": (rosenbrock, of_rosenbrock, [1.0, 1.0], 1.5e-8, 1e-5),
    "at a bound": (rosenbrock, of_rosenbrock, [2.0, 2.0], 1e-4, 2e-3),
    "four digits": (lambda x: float(f"{bowl(x):.4g}"), of_bowl, [0.229, 0.135], 1e-4, 1e-2),
    "single": (lambda x: float(np.float32(bowl(x))), of_bowl, [0.301, 0.29], 1e-4, 1e-4),
    "noise": (noisy(bowl, 1e-6), of_bowl, [0.3, 0.3], 1e-4, 5e-2),
    "count": (lambda x: float(np.floor(20.0 * x @ x)), lambda x: 40.0 * x, [1.2, -0.7], 1e-4, 10.0),
    "wave": (
        lambda x: float(np.sin(100.0 * x[0]) + x[1] ** 2),
        lambda x: [100.0 * np.cos(100.0 * x[0]), 2.0 * x[1]],
        [np.pi / 200.0, 0.1],
        1e-4,
        2e-1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_true_partials_are_within_the_stated_error(name: str) -> None:
    function, partials, x, step, largest = CASES[name]
    beside = Beside(function, x, step)
    beside.one_sided()
    plan = beside.central(np.array([[function(np.array(at))] for at in ([1.9, -1.7], [0.11, 0.97])]))
    right = np.asarray(partials(beside.x))
    off = np.abs(plan.partials()[0] - right)
    assert (off <= plan.errors()[0] + 1e-9 * np.abs(right)).all()
    assert (plan.errors() < largest).all()


@pytest.mark.parametrize("level", [1e-8, 1e-6, 1e-4])
def test_noise_shows_in_the_error(level: float) -> None:
    beside = Beside(noisy(bowl, level), [0.3, 0.3])
    beside.one_sided()
    plan = beside.central()
    step = plan.steps_used()[0, 0]
    assert 0.1 * level / step < plan.errors().max() < 20.0 * level / step
    assert 0.1 * level < plan.noise()[0] < 20.0 * level


def test_a_better_step_lowers_the_error_of_noise_and_of_curvature() -> None:
    for function, x, step in ((noisy(bowl, 1e-6), [0.3, 0.3], 1e-4), (rosenbrock, [1.0, 1.0], 1e-2)):
        beside = Beside(function, x, step)
        beside.one_sided()
        first = beside.central(np.array([[0.173456189212345], [987.654321098765]])).errors().max()
        second = beside.central(np.array([[0.173456189212345], [987.654321098765]])).errors().max()
        third = beside.central(np.array([[0.173456189212345], [987.654321098765]])).errors().max()
        assert min(second, third) < 0.2 * first


def test_the_points_of_one_sided_differences_are_used() -> None:
    beside = Beside(rosenbrock, [1.0, 1.0])
    beside.one_sided()
    count = len(beside.points)
    beside.central()
    assert (count, len(beside.points)) == (2, 6)  # two a column more
    alone = Beside(rosenbrock, [1.0, 1.0])
    alone.central()
    assert len(alone.points) == 6


def test_without_a_check_two_points_a_column_suffice_until_it_is_wanted() -> None:
    beside = Beside(rosenbrock, [1.0, 1.0])
    first = beside.central(checked=False)
    assert len(beside.points) == 4
    second = beside.central()
    assert len(beside.points) == 6
    np.testing.assert_array_equal(first.partials(), second.partials())
    assert (second.errors() < first.errors()).all()


def test_where_one_side_fails_the_other_has_both_points() -> None:
    def edge(x: np.ndarray) -> float:
        if x[1] < 1.0:
            raise EvaluationError("no mesh")
        return rosenbrock(x)

    beside = Beside(edge, [1.0, 1.0])
    plan = beside.central()
    offsets = beside.points[beside.points[:, 1] != 1.0, 1] - 1.0
    assert (offsets > 0.0).sum() >= 3
    np.testing.assert_allclose(plan.partials()[0], of_rosenbrock(beside.x), atol=1e-4)


def test_where_both_sides_fail_the_partial_is_unknown() -> None:
    def needle(x: np.ndarray) -> float:
        if x[1] != 1.0:
            raise EvaluationError("no mesh")
        return rosenbrock(x)

    plan = Beside(needle, [1.0, 1.0]).central()
    assert np.isnan(plan.partials()).tolist() == [[False, True]]


def test_given_partials_are_kept_without_an_error() -> None:
    beside = Beside(rosenbrock, [0.5, 0.7])
    beside.known = np.array([[7.0, np.nan]])
    plan = beside.central()
    assert (plan.partials()[0, 0], plan.errors()[0, 0]) == (7.0, 0.0)
    assert (beside.points[:, 0] == 0.5).all()


def test_points_stay_within_the_bounds() -> None:
    for x in ([2.0, -2.0], [1.9999, 0.0], [2.0, 2.0]):
        beside = Beside(lambda v: float(f"{bowl(v):.3g}"), x)
        beside.one_sided()
        for _ in range(3):
            beside.central()
        assert (np.abs(beside.points) <= 2.0).all()


def test_a_coarse_output_without_weight_does_not_spoil_the_steps() -> None:
    def both(x: np.ndarray) -> np.ndarray:
        return np.array([rosenbrock(x), np.floor(20.0 * x @ x)])

    beside = Beside(both, [1.0, 1.0], outputs=(Variable("y", (2,)),))
    met = np.array([[0.173456189212345, 0.0], [987.654321098765, 90.0]])
    plan = beside.steps.refinement(
        beside.x, beside.y, beside.known, X, beside.points, beside.values, met, np.array([1.0, 0.0])
    )
    plan = beside.finished(plan)
    np.testing.assert_allclose(plan.partials()[0], of_rosenbrock(beside.x), atol=1e-4)
    assert plan.errors()[0].max() < 1e-4 < 0.1 < plan.errors()[1].min()
    assert plan.resolution[1] == 1.0


def test_a_plan_is_rebuilt_from_its_fields_and_refuses_other_evaluations() -> None:
    beside = Beside(rosenbrock, [1.0, 1.0])
    plan = beside.steps.refinement(
        beside.x, beside.y, beside.known, X, beside.points, beside.values, np.empty((0, 1)), np.ones(1)
    )
    again = CentralDifferencePlan(**{field.name: getattr(plan, field.name) for field in fields(plan)})
    np.testing.assert_array_equal(again.points, plan.points)
    with pytest.raises(InputError, match=r"`evaluations` must be at `points` = "):
        plan.after(beside.truth.evaluate(plan.points[::-1]))
    with pytest.raises(InputError, match=r"`plan` must have no points left, got 6 points\."):
        plan.partials()
    with pytest.raises(InputError, match=r"`plan` must have no points left, got 6 points\."):
        plan.errors()


def test_a_plateau_among_other_values_is_no_optimum() -> None:
    """Initial data of another source may have all digits: then only the plateau tells."""
    beside = Beside(lambda x: float(f"{bowl(x):.3g}"), [0.301, 0.29])
    plan = beside.central()
    assert (plan.partials() == 0.0).all() and plan.errors().min() > 1.0


# ---- one-sided differences on plateaus ----


def test_on_a_plateau_the_step_is_longer_until_values_change() -> None:
    beside = Beside(lambda x: round(0.02 + 0.01 * float((x - 0.4) @ (x - 0.4)), 4), [1.5, 1.0])
    plan = beside.one_sided()
    np.testing.assert_allclose(plan.partials()[0], 0.02 * (beside.x - 0.4), rtol=0.4)
    assert np.abs(beside.points - beside.x).max() <= 0.1 * 4.0 + 1e-12


def test_an_output_that_does_not_depend_on_an_input_costs_nothing_more() -> None:
    beside = Beside(lambda x: float(np.exp(x[1])), [1.0, 0.3])
    plan = beside.one_sided()
    assert len(beside.points) == 2
    assert plan.partials()[0, 0] == 0.0


def test_a_coarse_output_that_does_not_matter_costs_nothing_more() -> None:
    beside = Beside(lambda x: np.array([bowl(x), 3.0]), [1.0, 0.5], outputs=(Variable("y", (2,)),))
    plan = beside.steps.plan(beside.x, beside.y, beside.known, X, matters=np.array([True, False]))
    beside.finished(plan)
    assert len(beside.points) == 2
