"""AdaptiveDriver with initial surrogates: its side of the step to their optimum, see `tests/unit/loop`."""

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


def valley(x: np.ndarray, minimum: float = 1.0) -> Point:
    """Rosenbrock's function, by default with its minimum at (1, 1)."""
    bend = x[1] - x[0] ** 2
    slope = [-400.0 * x[0] * bend - 2.0 * (minimum - x[0]), 200.0 * bend]
    return float(100.0 * bend**2 + (minimum - x[0]) ** 2), np.array(slope)


def value(x: np.ndarray) -> float:
    return valley(x)[0]


def good(x: np.ndarray) -> Point:
    """Nearly the valley."""
    f, slope = valley(x, 1.1)
    return f + 0.1 * np.sin(x[0]), slope + [0.1 * np.cos(x[0]), 0.0]


def failing(x: np.ndarray) -> Point:
    raise EvaluationError("never trained")


@dataclass(frozen=True)
class Formula:
    """A function in the place of a fitted surrogate."""

    function: Callable[[np.ndarray], Point]
    reach: float = np.inf
    inputs: tuple[Variable, ...] = (X,)
    outputs: tuple[Variable, ...] = (F,)
    digest: str = "formula"

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

    def __call__(self, initial: Formula | None, function: Callable[[np.ndarray], Any], **options: Any) -> om.Problem:
        """Run; the function returns value and partials, or a value alone."""

        def truth(x: np.ndarray) -> Any:
            self.evaluated.append(x.copy())
            return function(x)

        self.evaluated.clear()
        steps = FiniteDifferences(1e-7)
        driver = AdaptiveDriver(**{"configuration": None, "finite_differences": steps, **options})
        made = om.Problem(reports=None, driver=driver)
        expensive = SurrogateComp(initial, truth=FunctionTruth(truth, (X,), (F,), identity="valley"))
        made.model.add_subsystem("valley", expensive, promotes=["*"])
        made.model.add_subsystem("disk", om.ExecComp("r2 = sum(x**2)", x=np.zeros(2)), promotes=["*"])
        made.model.set_input_defaults("x", START)
        made.model.add_design_var("x", lower=-2.0, upper=2.0)
        made.model.add_constraint("r2", upper=1.0)
        made.model.add_objective("f")
        made.setup()
        made.run_driver()
        return made


@pytest.fixture
def run() -> Runs:
    return Runs()


def steps(made: om.Problem) -> list[Any]:
    return [(r.u.tobytes(), r.objective, r.accepted, r.evaluations) for r in made.driver.history]


def test_the_second_point_is_the_optimum_of_the_initial_surrogate(run: Runs) -> None:
    driver = run(Formula(good), valley).driver
    first, second = driver.history[:2]
    assert first.u.tolist() == START.tolist()
    assert run.evaluated[1].tolist() == second.u.tolist()
    assert np.abs(second.u - BEST).max() < 0.1 < np.abs(second.u - START).max()
    assert second.predicted_objective == pytest.approx(good(second.u)[0])
    assert second.predicted_constraints == pytest.approx([1.0], abs=1e-6)
    assert driver.exit is Exit.CERTIFIED


def test_partials_are_finite_differenced_at_the_better_point(run: Runs) -> None:
    made = run(Formula(good), value, max_evaluations=4)
    _, candidate, *beside = run.evaluated
    assert [bool(np.abs(point - candidate).max() < 1e-5) for point in beside] == [True, True]
    assert [record.evaluations for record in made.driver.history] == [1, 2]
    known = np.isfinite(made.driver.data["valley"].dydx).all(axis=(1, 2))
    assert known.tolist() == [False, True]


def test_outside_the_domain_the_step_backs_away(run: Runs) -> None:
    """The optimum of the surrogate is a corner of the bounds; its component raises `AnalysisError` there."""
    corner = np.array([2.0, -2.0])
    outside = Formula(lambda x: (float((x - corner) @ (x - corner)), 2.0 * (x - corner)), reach=0.75)
    second = run(outside, valley, max_evaluations=2).driver.history[1].u
    assert np.abs(second).max() <= 0.75 + 1e-6
    assert np.linalg.norm(second - START) > 0.4


def test_a_surrogate_that_fails_gives_no_step(run: Runs) -> None:
    driver = run(Formula(failing), valley, max_evaluations=3).driver
    assert driver.exit is Exit.BUDGET
    assert np.abs(driver.history[1].u - START).max() <= 0.8 + 1e-9


def test_a_run_repeated_on_its_store_takes_the_same_steps(run: Runs, tmp_path: Path) -> None:
    whole = run(Formula(good), value, max_evaluations=8)
    for most in (1, 3, 8):
        again = run(Formula(good), value, max_evaluations=most, store=tmp_path / "run.sqlite")
        assert steps(again) == steps(whole)[: len(again.driver.history)]
    assert again.driver.store.evaluated < whole.driver.evaluations
    repeated = run(Formula(good), value, max_evaluations=8, store=tmp_path / "run.sqlite")
    assert len(run.evaluated) == repeated.driver.store.verified == 1
    assert steps(repeated) == steps(whole)


def test_without_an_initial_surrogate_for_each_component_there_is_no_such_step() -> None:
    made = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, max_evaluations=3))
    for name, initial in (("a", Formula(good)), ("b", None)):
        truth = FunctionTruth(valley, (X,), (F,))
        made.model.add_subsystem(name, SurrogateComp(initial, truth=truth), promotes_inputs=["x"])
    made.model.add_subsystem("sum", om.ExecComp("total = p + q"), promotes=["total"])
    made.model.connect("a.f", "sum.p")
    made.model.connect("b.f", "sum.q")
    made.model.add_design_var("x", lower=-2.0, upper=2.0)
    made.model.add_objective("total")
    made.setup()
    made.set_val("x", START)
    made.run_driver()
    assert np.abs(made.driver.history[1].u - START).max() <= 0.8 + 1e-9
