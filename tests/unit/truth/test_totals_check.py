"""The check of the totals finds wrong partials and accepts right ones, at any scale."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.truth.model import ModelTruth
from gradopt.truth.totals_check import check_partials


class Slope(om.ExplicitComponent):  # type: ignore[misc]
    """y = x^3 sum(w) and v = 2 x, with the partial of y by x off by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor
        self.runs = 0

    def setup(self) -> None:
        self.add_input("x", 1.0, units="m")
        self.add_input("w", np.ones(2))
        self.add_output("v", units="m")
        self.add_output("y", units="m**3")
        self.declare_partials("*", "*")

    def compute(self, inputs: Any, outputs: Any) -> None:
        self.runs += 1
        outputs["y"], outputs["v"] = inputs["x"] ** 3 * inputs["w"].sum(), 2.0 * inputs["x"]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        x, w = inputs["x"], inputs["w"]
        partials["y", "x"], partials["v", "x"] = self._factor * 3.0 * x**2 * w.sum(), 2.0
        partials["y", "w"] = x**3


def sloped(factor: float, **options: Any) -> tuple[ModelTruth, Slope]:
    comp = Slope(factor)

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("slope", comp, promotes=["*"])
        return problem

    return ModelTruth(factory, ["x", "w"], ["v", "y"], **options), comp


X = [[2.0, 1.0, 3.0]]


@pytest.mark.parametrize("factor", [-1.0, 0.0, 0.5, 1.1, 100.0])
def test_wrong_partials_are_refused_and_named(factor: float) -> None:
    truth, comp = sloped(factor)
    with pytest.raises(
        InputError, match=r"The partials of 'y' do not fit its values at x = \[2.0, 1.0, 3.0\]"
    ) as error:
        truth.evaluate(X)
    for words in ("the totals give", "finite differences", "problem.check_partials()", "check_totals=False"):
        assert words in str(error.value)
    assert truth.check_evaluations == 6 and comp.runs == 7


def test_the_message_gives_both_slopes() -> None:
    def values(x: np.ndarray) -> np.ndarray:
        return np.array([3.0 * x[0]])

    inputs, outputs = [Variable("a", lower=0.0, upper=10.0)], [Variable("b")]
    with pytest.raises(InputError, match="the totals give .*, finite differences .*. Find") as error:
        check_partials(values, np.array([5.0]), np.array([15.0]), np.array([[2.0]]), inputs, outputs)
    totals, differences = (
        float(text) for text in re.findall(r"(?:give|differences) (-?[\d.]+?)[,.] ", str(error.value))
    )
    assert totals / differences == pytest.approx(2.0 / 3.0, rel=1e-4) and 10.0 <= abs(totals) <= 20.0


def test_swapped_columns_are_found() -> None:
    with pytest.raises(InputError, match="do not fit"):
        check(lambda x: x[:1] + 2.0 * x[1:], lambda x: np.array([[2.0, 1.0]]), [1.0, 1.0])


def test_wrong_partials_are_refused_again_unless_the_check_is_off() -> None:
    truth, _ = sloped(0.5)
    for _ in range(2):
        with pytest.raises(InputError, match="do not fit its values"):
            truth.evaluate(X)
    unchecked, comp = sloped(0.5, check_totals=False)
    assert unchecked.evaluate(X).ok.all() and unchecked.check_evaluations == 0 and comp.runs == 1


def test_right_partials_take_two_runs_once() -> None:
    truth, comp = sloped(1.0)
    truth.evaluate(X), truth.evaluate([[1.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    assert truth.check_evaluations == 2 and comp.runs == 5


def check(
    f: Callable[[np.ndarray], np.ndarray],
    jacobian: Callable[[np.ndarray], np.ndarray],
    x: Any,
    inputs: Any = None,
    outputs: Any = None,
) -> list[np.ndarray]:
    """Check and return the evaluated points."""
    evaluated_at: list[np.ndarray] = []

    def values(point: np.ndarray) -> np.ndarray:
        evaluated_at.append(point.copy())
        return f(point)

    x = np.array(x, dtype=float)
    y = f(x)
    calls = check_partials(
        values, x, y, jacobian(x), inputs or [Variable("a", (x.size,))], outputs or [Variable("b", (y.size,))]
    )
    assert calls == len(evaluated_at)
    return evaluated_at


SCALES = np.array([1e-9, 1.0, 1e9])
APART = [Variable("b"), Variable("c")]


def poly(x: np.ndarray) -> np.ndarray:
    u = x / SCALES
    return np.array([1e12 * (u[0] ** 2 * u[1] + u[2]), 1e-12 * (u[0] + np.sin(u[1] * u[2]))])


def slope(x: np.ndarray) -> np.ndarray:
    u = x / SCALES
    wave = np.cos(u[1] * u[2])
    rows = [[2.0 * u[0] * u[1], u[0] ** 2, 1.0], [1.0, u[2] * wave, u[1] * wave]]
    return np.array(rows) * np.array([[1e12], [1e-12]]) / SCALES


def test_scales_do_not_matter() -> None:
    assert len(check(poly, slope, SCALES * [1.1, 0.7, -0.3], outputs=APART)) == 2


@pytest.mark.parametrize("of", [0, 1])
@pytest.mark.parametrize("wrt", [0, 1, 2])
def test_one_wrong_partial_among_scales_is_found(of: int, wrt: int) -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        found = slope(x)
        found[of, wrt] *= 2.0
        return found

    with pytest.raises(InputError, match=f"The partials of '{APART[of].name}' do not fit"):
        check(poly, wrong, SCALES * [1.1, 0.7, -0.3], outputs=APART)


def test_a_small_wrong_partial_beside_a_large_value_is_found() -> None:
    with pytest.raises(InputError, match="do not fit"):
        check(lambda x: 100.0 + 0.01 * x, lambda x: np.array([[-0.01]]), [1.0])


def test_zero_partials_of_a_constant_pass_and_others_do_not() -> None:
    assert len(check(lambda x: np.zeros(1), lambda x: np.zeros((1, 1)), [1.0])) == 2
    with pytest.raises(InputError, match="the totals give .*, finite differences 0"):
        check(lambda x: np.zeros(1), lambda x: np.ones((1, 1)), [1.0])


def test_points_stay_within_bounds() -> None:
    low, high = np.array([0.0, -1.0, 5.0, -np.inf]), np.array([1.0, 1.0, 6.0, np.inf])
    inputs = [Variable("a", (4,), lower=low, upper=high)]
    for x in ([0.0, 1.0, 5.5, 0.0], [1.0, -1.0, 6.0, 3.0], [0.0011, 0.0, 5.5, 1.0], [0.5, 0.0, 5.5, 1.0]):
        evaluated_at = check(lambda x: np.array([(x**3).sum()]), lambda x: 3.0 * x[None] ** 2, x, inputs)
        assert len(evaluated_at) == 2
        assert all((point >= low).all() and (point <= high).all() for point in evaluated_at)
        assert all((point != x).all() for point in evaluated_at)


def test_the_step_is_about_a_thousandth_of_the_bounds_or_of_the_value() -> None:
    inputs = [
        Variable("a", lower=0.0, upper=200.0),
        Variable("c"),
        Variable("e", lower=1e-6, upper=1e6, transform="log"),
    ]
    evaluated_at = check(lambda x: x.sum()[None], lambda x: np.ones((1, 3)), [100.0, 5.0, 2.0], inputs)
    step = np.abs(evaluated_at[0] - [100.0, 5.0, 2.0]) / [0.2, 0.005, 0.002]
    assert (step >= 0.5).all() and (step <= 1.0).all() and len(set(step)) == 3


def test_a_strong_curve_gets_a_smaller_step() -> None:
    inputs = [Variable("a", lower=-1.0, upper=1.0)]
    assert len(check(lambda x: np.sin(4e2 * x + 0.7), lambda x: 4e2 * np.cos(4e2 * x + 0.7)[None], [0.1], inputs)) == 4


def test_unknown_partials_are_not_checked() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.array([x[0], 2.0 * x[0]])

    assert not check(f, lambda x: np.full((2, 1), np.nan), [1.0])
    assert len(check(f, lambda x: np.array([[np.nan], [2.0]]), [1.0])) == 2
    assert not check(lambda x: x[:1] + x[1:], lambda x: np.array([[np.nan, 99.0]]), [1.0, 1.0])
    with pytest.raises(InputError, match=r"'b\[1\]'"):
        check(f, lambda x: np.array([[np.nan], [3.0]]), [1.0])


def cliff(width: float) -> Callable[[np.ndarray], np.ndarray]:
    def f(x: np.ndarray) -> np.ndarray:
        if abs(x[0] - 1.0) > width:
            raise EvaluationError("off the cliff")
        return 3.0 * x

    return f


def test_after_a_failure_nearer_points_are_tried() -> None:
    assert len(check(cliff(5e-4), lambda x: np.array([[3.0]]), [1.0])) == 3
    with pytest.raises(InputError, match="do not fit"):
        check(cliff(5e-4), lambda x: np.array([[-3.0]]), [1.0])


def test_a_check_that_cannot_be_done_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(check(cliff(0.0), lambda x: np.array([[-3.0]]), [1.0])) == 3
    assert "at x = [1.0] could not be checked: the points beside it failed" in caplog.text


def test_solver_noise_is_not_taken_for_wrong_partials(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = check(lambda x: 1.0 + 1e-3 * x + 1.3e-8 * np.sign(x - 1.0), lambda x: np.array([[1e-3]]), [1.0])
    assert len(found) == 4 and not caplog.text


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_constant_is_not_taken_for_wrong_partials(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(seed)
    with caplog.at_level(logging.WARNING):
        check(lambda x: 1.0 + 1e-8 * rng.standard_normal(1), lambda x: np.array([[1e-9]]), [1.0])
    assert caplog.text == "" or "The partials of 'b' at x = [1.0] could not be checked" in caplog.text


def test_an_output_of_rounding_errors_passes(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    with caplog.at_level(logging.WARNING):
        assert len(check(lambda x: 1e-17 * rng.standard_normal(1), lambda x: np.zeros((1, 1)), [1.0])) == 2
    assert not caplog.text


ROUND_OFF: list[tuple[Callable[[np.ndarray], np.ndarray], list[list[float]]]] = [
    (lambda x: 1e-17 * x[1:], [[0.0, 1.6e-17]]),  # an interpolation matrix, and another for the totals
    (lambda x: 1e-17 * x[1:], [[0.0, -1e-17]]),
    (lambda x: 0.0 * x[:1], [[3e-12, 0.0]]),  # totals of a linear solver
    (lambda x: (x[:1] + 0.1) - x[:1] - 0.1, [[0.0, 1e-16]]),
    (lambda x: 5.0 + 0.0 * x[:1], [[1e-12, -2e-12]]),
    (lambda x: 1e6 * (1.0 + 1e-17 * x[:1]), [[1e-9, 0.0]]),
]


@pytest.mark.parametrize("case", range(len(ROUND_OFF)))
@pytest.mark.parametrize("inputs", [None, [Variable("a", (2,), lower=-3.0, upper=5.0)]])
def test_partials_of_the_size_of_round_off_pass(case: int, inputs: Any, caplog: pytest.LogCaptureFixture) -> None:
    f, dydx = ROUND_OFF[case]
    with caplog.at_level(logging.WARNING):
        assert len(check(f, lambda x: np.array(dydx), [1.1, 0.7], inputs)) == 2
    assert not caplog.text


def test_round_off_is_relative_to_the_other_entries_of_an_array() -> None:
    def states(x: np.ndarray) -> np.ndarray:
        return np.array([1e-13 * 1e4 * 1e-2 * x[0], 1e4 * x[0]])  # 1e-11 beside 1e4

    def wrong(x: np.ndarray) -> np.ndarray:
        return np.array([[-3e-11], [1e4]])

    assert len(check(states, wrong, [1.0], outputs=[Variable("h", (2,))])) == 2
    with pytest.raises(InputError, match="The partials of 'h' do not fit"):
        check(states, wrong, [1.0], outputs=[Variable("h"), Variable("v")])


def test_a_scale_below_1_makes_small_values_count() -> None:
    def small(x: np.ndarray) -> np.ndarray:
        return 1e-15 * x**2

    x = np.array([2.0])
    arguments = (small, x, small(x), np.array([[1e-15]]), [Variable("a")], [Variable("b")])
    assert check_partials(*arguments) == 2
    with pytest.raises(InputError, match="do not fit"):
        check_partials(*arguments, scale=np.array([1e-15]))


@pytest.mark.parametrize("value", [0.0, 1.0, 1e3])
@pytest.mark.parametrize(("true", "given"), [(1e-3, 0.0), (1e-3, -1e-3), (1e-3, 2e-3), (0.0, 1e-3), (1e-5, 0.0)])
def test_small_wrong_partials_are_found_beside_any_value(value: float, true: float, given: float) -> None:
    with pytest.raises(InputError, match="do not fit"):
        check(lambda x: value + true * np.sin(x), lambda x: given * np.cos(x)[None], [0.7])


@pytest.mark.parametrize("scale", [1e-12, 1e-8, 1e-5, 1e5])
@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0])
def test_wrong_partials_are_found_in_any_unit(scale: float, factor: float) -> None:
    with pytest.raises(InputError, match="do not fit"):
        check(lambda x: scale * x**3, lambda x: factor * 3.0 * scale * x[None] ** 2, [0.7])


def test_bounds_far_apart_do_not_give_the_step() -> None:
    inputs = [Variable("a", lower=-1e20, upper=1e20)]
    (ahead, _) = check(lambda x: np.sin(x), lambda x: np.cos(x)[None], [0.5], inputs)
    assert 0.0 < abs(ahead[0] - 0.5) <= 5e-4


class Fragile(om.ExplicitComponent):  # type: ignore[misc]
    """y = x with the partial of 2 x; beyond `reach` of 1 it fails or returns NaN."""

    def __init__(self, reach: float, raises: bool) -> None:
        super().__init__()
        self._reach, self._raises = reach, raises

    def setup(self) -> None:
        self.add_input("x", 1.0)
        self.add_output("y")
        self.declare_partials("y", "x", val=2.0)

    def compute(self, inputs: Any, outputs: Any) -> None:
        far = abs(inputs["x"][0] - 1.0) > self._reach
        if far and self._raises:
            raise om.AnalysisError("too far")
        outputs["y"] = np.nan if far else inputs["x"]


def fragile(reach: float, raises: bool = True) -> ModelTruth:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("c", Fragile(reach, raises), promotes=["*"])
        return problem

    return ModelTruth(factory, ["x"], ["y"])


def test_the_first_good_point_is_checked_when_the_first_fails() -> None:
    truth = fragile(1.0)
    assert not truth.evaluate([[3.0]]).ok[0] and truth.check_evaluations == 0
    with pytest.raises(InputError, match="do not fit"):
        truth.evaluate([[1.0]])


@pytest.mark.parametrize("raises", [True, False])
def test_points_of_a_model_may_fail_in_the_check(caplog: pytest.LogCaptureFixture, raises: bool) -> None:
    alone = fragile(1e-9, raises)
    assert alone.evaluate([[1.0]]).ok[0] and alone.check_evaluations == 3
    assert "could not be checked: the points beside it failed" in caplog.text
    with pytest.raises(InputError, match="do not fit"):
        fragile(2e-4, raises).evaluate([[1.0]])
