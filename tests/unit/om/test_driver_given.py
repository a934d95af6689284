"""AdaptiveDriver with surrogates that are given beforehand: it jumps to their optimum first, if that is any good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, Exit, FunctionTruth, Variable
from gradopt.errors import EvaluationError
from gradopt.om.component import SurrogateComp
from gradopt.om.truth_evaluator import TruthEvaluation
from gradopt.truth import FiniteDifferences

X, F = Variable("x", (2,), lower=-2.0, upper=2.0), Variable("f")
START = np.array([-0.6, 0.7])  # feasible
BEST = (0.786415, 0.617698)  # of the valley in the unit disk
Point = tuple[float, np.ndarray]


def valley(x: np.ndarray, least: float = 1.0) -> Point:
    """Rosenbrock's function, with its least value at another place if evaluated."""
    bend = x[1] - x[0] ** 2
    slope = [-400.0 * x[0] * bend - 2.0 * (least - x[0]), 200.0 * bend]
    return float(100.0 * bend**2 + (least - x[0]) ** 2), np.array(slope)


def good(x: np.ndarray) -> Point:
    """Nearly the valley."""
    f, slope = valley(x, 1.1)
    return f + 0.1 * np.sin(x[0]), slope + [0.1 * np.cos(x[0]), 0.0]


def wrong(x: np.ndarray) -> Point:
    """The valley upside down."""
    f, slope = valley(x)
    return -f, -slope


def failing(x: np.ndarray) -> Point:
    raise EvaluationError("never trained")


@dataclass(frozen=True)
class Given:
    """A function in the place of a fitted surrogate."""

    function: Callable[[np.ndarray], Point]
    reach: float = np.inf
    inputs: tuple[Variable, ...] = (X,)
    outputs: tuple[Variable, ...] = (F,)
    digest: str = "given"

    @property
    def lower(self) -> np.ndarray:
        return np.full(2, -self.reach)

    @property
    def upper(self) -> np.ndarray:
        return np.full(2, self.reach)

    def evaluate(self, x: np.ndarray) -> TruthEvaluation:
        found = [self.function(point.real) for point in x]
        return TruthEvaluation(np.array([[f] for f, _ in found]), np.array([[slope] for _, slope in found]))


class Runs:
    """Runs of the valley in the unit disk, which is exact, and the points at which its truth was evaluated."""

    def __init__(self) -> None:
        self.evaluated: list[np.ndarray] = []

    def __call__(
        self,
        given: Given | None,
        answer: Callable[[np.ndarray], Any] = valley,
        bounds: dict[str, float] | None = None,
        **options: Any,
    ) -> om.Problem:
        """Run; the answer of the truth is value and partials, or a value alone."""

        def truth(x: np.ndarray) -> Any:
            self.evaluated.append(x.copy())
            return answer(x)

        self.evaluated.clear()
        options = {
            "configuration": None,
            "max_evaluations": 150,
            "finite_differences": FiniteDifferences(1e-7),
            **options,
        }
        made = om.Problem(reports=None, driver=AdaptiveDriver(**options))
        expensive = SurrogateComp(given, truth=FunctionTruth(truth, (X,), (F,), identity="valley"))
        made.model.add_subsystem("valley", expensive, promotes=["*"])
        made.model.add_subsystem("disk", om.ExecComp("r2 = sum(x**2)", x=np.zeros(2)), promotes=["*"])
        made.model.set_input_defaults("x", START)
        made.model.add_design_var("x", **({"lower": -2.0, "upper": 2.0} if bounds is None else bounds))
        made.model.add_constraint("r2", upper=1.0)
        made.model.add_objective("f")
        made.setup()
        made.run_driver()
        return made


@pytest.fixture
def run() -> Runs:
    return Runs()


def value(x: np.ndarray) -> float:
    return valley(x)[0]


def steps(made: om.Problem) -> list[Any]:
    return [(r.u.tobytes(), r.objective, r.accepted, r.evaluations) for r in made.driver.history]


def stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run jump from here on."""
    monkeypatch.setattr("gradopt.loop.running.jump", lambda *_: None)


def test_the_second_point_is_the_optimum_of_the_given_surrogate(run: Runs) -> None:
    driver = run(Given(good)).driver
    first, second = driver.history[:2]
    assert first.u.tolist() == START.tolist()
    assert run.evaluated[1].tolist() == second.u.tolist()
    assert np.abs(second.u - BEST).max() < 0.1 < np.abs(second.u - START).max()
    assert (second.number, second.evaluations, second.accepted, second.radius) == (1, 2, True, 1.0)
    assert second.predicted_objective == pytest.approx(good(second.u)[0])
    assert second.predicted_constraints == pytest.approx([1.0], abs=1e-6)
    assert second.objective == value(second.u)
    before, after = good(START)[0], good(second.u)[0]
    assert second.ratio == pytest.approx((first.objective - second.objective) / (before - after), rel=0.1)
    assert driver.exit is Exit.CERTIFIED


@pytest.mark.parametrize("answer", [valley, value], ids=["partials", "values"])
def test_a_good_surrogate_saves_evaluations(run: Runs, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(Given(good), answer)
    assert made.driver.exit is Exit.CERTIFIED
    np.testing.assert_allclose(made.get_val("x"), BEST, atol=1e-3)
    assert made.driver.evaluations < 0.8 * run(None, answer).driver.evaluations
    stay(monkeypatch)
    assert made.driver.evaluations < 0.8 * run(Given(good), answer).driver.evaluations


@pytest.mark.parametrize("answer", [valley, value], ids=["partials", "values"])
def test_a_wrong_surrogate_costs_one_evaluation(run: Runs, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(Given(wrong), answer)
    assert made.driver.exit is Exit.CERTIFIED
    np.testing.assert_allclose(made.get_val("x"), BEST, atol=1e-3)
    rejected = made.driver.history[1]
    assert not rejected.accepted and rejected.ratio < 0.0
    stay(monkeypatch)
    assert made.driver.evaluations <= run(Given(wrong), answer).driver.evaluations + 1


def test_a_truth_that_fails_there_leaves_the_loop_at_the_start(run: Runs) -> None:
    def fails(x: np.ndarray) -> Point:
        if np.abs(x - BEST).max() < 0.1 and len(run.evaluated) == 2:
            raise EvaluationError("no mesh")
        return valley(x)

    driver = run(Given(good), fails).driver
    failed, after = driver.history[1:3]
    assert "no mesh" in failed.failure and not failed.accepted
    assert np.isnan(failed.objective) and np.isnan(failed.ratio)
    assert np.abs(after.u - START).max() <= 0.4 + 1e-9  # the first region about the start
    assert driver.exit is Exit.CERTIFIED


@pytest.mark.parametrize(("given", "better"), [(good, 1), (wrong, 0)], ids=["good", "wrong"])
def test_only_the_better_point_is_differenced(run: Runs, given: Any, better: int) -> None:
    made = run(Given(given), value)
    start, candidate, *beside = run.evaluated[:4]  # partials of both inputs
    center = (start, candidate)[better]
    assert [np.abs(point - center).max() < 1e-5 for point in beside] == [True, True]
    assert [record.evaluations for record in made.driver.history[:2]] == [1, 2]
    assert np.isnan(made.driver.data["valley"].dydx[1 - better]).all()


def test_a_surrogate_that_fails_is_an_outcome(run: Runs) -> None:
    for answer in (valley, value):
        driver = run(Given(failing), answer).driver
        assert driver.exit is Exit.CERTIFIED
        assert np.abs(driver.history[1].u - START).max() <= 0.4 + 1e-9


def test_the_jump_stays_in_the_domain_of_the_surrogate(run: Runs) -> None:
    """Its optimum is a corner of the bounds, far outside."""
    corner = np.array([2.0, -2.0])
    outside = Given(lambda x: (float((x - corner) @ (x - corner)), 2.0 * (x - corner)), reach=0.75)
    jumped = run(outside).driver.history[1].u
    assert np.abs(jumped).max() <= 0.75 + 1e-6
    assert np.linalg.norm(jumped - START) > 0.4


def test_without_bounds_the_jump_is_as_long_as_the_start_is_far(run: Runs) -> None:
    driver = run(Given(lambda x: (-float(x.sum()), -np.ones(2))), bounds={}).driver
    assert np.all(np.abs(driver.history[1].u - START) <= 1.0 + 1e-9)
    assert driver.exit is Exit.CERTIFIED


def test_an_optimum_of_the_surrogate_is_not_left(run: Runs) -> None:
    """A flat surrogate promises nothing anywhere."""
    flat = Given(lambda x: (1.0, np.zeros(2)))
    made = run(flat)
    assert made.driver.history[1].radius == 0.1
    assert made.driver.exit is Exit.CERTIFIED


@pytest.mark.parametrize("answer", [valley, value], ids=["partials", "values"])
@pytest.mark.parametrize("most", [1, 2])
def test_the_budget_ends_before_and_after_the_jump(run: Runs, most: int, answer: Any) -> None:
    driver = run(Given(good), answer, max_evaluations=most).driver
    assert driver.exit is Exit.BUDGET
    assert len(driver.history) == len(run.evaluated) == most
    assert not driver.certificate.certified


def test_a_run_repeated_on_its_store_takes_the_same_steps(run: Runs, tmp_path: Path) -> None:
    whole = run(Given(good), value)
    for most in (1, 2, 4, 150):
        again = run(Given(good), value, max_evaluations=most, store=tmp_path / "run.sqlite")
        assert steps(again) == steps(whole)[: len(again.driver.history)]
    assert again.driver.store.evaluated < whole.driver.evaluations
    repeated = run(Given(good), value, store=tmp_path / "run.sqlite")
    assert run.evaluated == []
    assert steps(repeated) == steps(whole)


def test_initial_samples_leave_the_surrogates_partials_at_the_start(run: Runs) -> None:
    made = run(Given(good), value, initial_samples=3)
    assert [record.evaluations for record in made.driver.history[:2]] == [4, 5]
    assert made.driver.exit is Exit.CERTIFIED


def test_it_does_not_jump_unless_all_were_given(run: Runs) -> None:
    made = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, max_evaluations=3))
    for name, given in (("a", Given(good)), ("b", None)):
        truth = FunctionTruth(valley, (X,), (F,))
        made.model.add_subsystem(name, SurrogateComp(given, truth=truth), promotes_inputs=["x"])
    made.model.add_subsystem("sum", om.ExecComp("total = p + q"), promotes=["total"])
    made.model.connect("a.f", "sum.p")
    made.model.connect("b.f", "sum.q")
    made.model.add_design_var("x", lower=-2.0, upper=2.0)
    made.model.add_objective("total")
    made.setup()
    made.set_val("x", START)
    made.run_driver()
    assert np.abs(made.driver.history[1].u - START).max() <= 0.4 + 1e-9
