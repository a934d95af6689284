"""Runs on workers: the same steps as in process, with all points at once that are known at once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from numpy.typing import ArrayLike

import gradopt as go
from gradopt.errors import InputError
from gradopt.truth import Evaluations, FiniteDifferences, FiniteDifferenceTruth

X, F, R = go.Variable("x", (2,), lower=-2.0, upper=2.0), go.Variable("f"), go.Variable("r")
SETTINGS = go.loop.Settings(max_evaluations=25, finite_differences=FiniteDifferences(1e-6))


def valley(x: np.ndarray) -> float:
    return float(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)


def square(x: np.ndarray) -> float:
    return float(x @ x)


@dataclass
class AtOnce:
    """A truth that notes how many points it is given at the same time; the last one is evaluated first."""

    truth: go.Truth
    batches: list[int] = field(default_factory=list)

    inputs = property(lambda self: self.truth.inputs)
    outputs = property(lambda self: self.truth.outputs)
    identity = property(lambda self: self.truth.identity)

    def as_completed(self, x: ArrayLike) -> Generator[tuple[int, Evaluations]]:
        points = np.asarray(x)
        self.batches.append(len(points))
        for row in reversed(range(len(points))):
            yield row, self.truth.evaluate(points[row : row + 1])

    def evaluate(self, x: ArrayLike) -> Evaluations:
        rows = dict(self.as_completed(x))
        return Evaluations.join([rows[row] for row in sorted(rows)], 1, 2)


def driven(truth: Any, other: Any = None, **options: Any) -> go.AdaptiveDriver:
    """Run the driver on the valley, and on a truth of its value, if any."""
    problem = om.Problem(reports=None, driver=go.AdaptiveDriver(configuration=None, **options))
    problem.model.add_subsystem("shift", om.ExecComp("x = 0.5 * u", x=np.zeros(2), u=np.zeros(2)), promotes=["*"])
    problem.model.add_subsystem("valley", go.SurrogateComp(truth=truth), promotes=["*"])
    if other is not None:
        problem.model.add_subsystem("other", go.SurrogateComp(truth=other), promotes=["*"])
        problem.model.add_subsystem("sum", om.ExecComp("g = f + r"), promotes=["*"])
    problem.model.add_design_var("u", lower=-4.0, upper=4.0)
    problem.model.add_objective("f" if other is None else "g")
    problem.setup()
    problem.set_val("u", [2.5, -3.5])
    problem.run_driver()
    return problem.driver


def steps(history: Any) -> list[tuple[bytes, float]]:
    return [(one.u.tobytes(), one.radius) for one in history]


def test_the_driver_evaluates_initial_samples_and_finite_differences_at_once() -> None:
    truth = go.FunctionTruth(valley, (X,), (F,))
    options = {"initial_samples": 5, "max_evaluations": 25, "finite_differences": FiniteDifferences(1e-6)}
    together, alone = AtOnce(truth), driven(truth, **options)
    assert steps(driven(together, **options).history) == steps(alone.history)
    assert together.batches[:3] == [5, 1, 2]
    assert sum(together.batches) == alone.evaluations


def test_samples_that_take_several_evaluations_leave_one_for_the_start() -> None:
    truths = [go.FunctionTruth(f, (X,), (name,)) for f, name in ((valley, F), (square, R))]
    options = {"initial_samples": 5, "max_evaluations": 6}
    together = AtOnce(truths[0])
    found, alone = driven(together, truths[1], **options), driven(*truths, **options)
    assert steps(found.history) == steps(alone.history)
    assert together.batches == [3, 1, 2]  # of both truths six evaluations, then the start with finite differences
    assert found.evaluations == alone.evaluations == 12 == found.store.evaluated


def test_each_truth_of_a_feed_forward_model_evaluates_its_points_at_once() -> None:
    first, second = (AtOnce(go.FunctionTruth(f, (X,), (name,))) for f, name in ((slope, F), (square, R)))
    found = driven(first, second, initial_samples=4, batch=3, max_evaluations=60)
    assert first.batches[:2] == second.batches[:2] == [4, 1]
    assert first.batches.count(3) == second.batches.count(3) > 1
    assert found.store.evaluated == sum(first.batches) + sum(second.batches)


def test_the_optimizer_asks_for_initial_samples_at_once() -> None:
    truth = go.FunctionTruth(valley, (X,), (F,))
    together = AtOnce(truth)
    runs = []
    for one in (truth, together):
        made: dict[str, Any] = {"configuration": None, "initial_samples": 4, "settings": SETTINGS}
        runs.append(go.Optimizer((X,), (F,), [1.25, -1.75], **made))
        runs[-1].run(one, go.EvaluationStore())
    assert steps(runs[0].history) == steps(runs[1].history)
    assert together.batches[:3] == [4, 1, 2]


def slope(x: np.ndarray) -> tuple[float, np.ndarray]:
    bend = x[1] - x[0] ** 2
    return valley(x), np.array([-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend])


def test_the_driver_and_the_optimizer_evaluate_a_batch_at_once() -> None:
    truth = go.FunctionTruth(slope, (X,), (F,))
    driving, optimizing = AtOnce(truth), AtOnce(truth)
    found = driven(driving, batch=3, max_evaluations=60)
    optimizer = go.Optimizer((X,), (F,), [1.25, -1.75], configuration=None, settings=go.loop.Settings(batch=3))
    exit = optimizer.run(optimizing, go.EvaluationStore())
    for run, batches, end in ((found, driving.batches, found.exit), (optimizer, optimizing.batches, exit)):
        assert end is go.Exit.CERTIFIED
        assert batches[0] == 1 and batches.count(3) > 2
        assert sum(batches) == run.evaluations


def test_a_number_of_workers_is_that_of_the_candidates() -> None:
    alone, together = (go.minimize(slope, [1.25, -1.75], jac=True, workers=number) for number in (None, 4))
    assert together.success
    spent = [one.evaluations for one in together.history]
    assert 4 in np.diff(spent)
    assert len(together.history) < 0.75 * len(alone.history)


def test_finite_differences_of_several_points_are_made_at_once() -> None:
    truth = go.FunctionTruth(valley, (X,), (F,))
    together, x = AtOnce(truth), np.array([[0.5, 0.5], [-1.0, 0.2], [1.5, 1.0]])
    found, alone = (FiniteDifferenceTruth(one).evaluate(x) for one in (together, truth))
    np.testing.assert_array_equal(found.dydx, alone.dydx)
    assert together.batches == [3, 6]


def test_minimize_takes_workers_and_a_time_limit() -> None:
    def hill(x: np.ndarray) -> float:
        while x[0] > 1.9:
            pass
        return float(x @ x + x[0])

    options = {"max_evaluations": 20, "batch": 1}
    runs = [go.minimize(hill, [1.0, 1.0], options=options, workers=number) for number in (None, 2)]
    assert steps(runs[0].history) == steps(runs[1].history) and runs[1].success
    failed = go.minimize(hill, [2.0, 1.0], workers=1, time_limit=0.5)
    assert failed.exit is go.Exit.TRUTH_FAILED and "its time limit of 0.5 s" in failed.message
    with pytest.raises(InputError, match=r"`time_limit` must be left out without workers, got 3\.0\. Pass workers=1"):
        go.minimize(hill, [1.0, 1.0], time_limit=3.0)


def test_optimize_takes_workers() -> None:
    def make() -> om.Problem:
        problem = om.Problem(reports=None)
        comp = om.ExecComp("f = (x[0] - 1)**2 + 2 * (x[1] + 0.5)**2 + x[0] * x[1]", x=np.zeros(2))
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        return problem

    options: dict[str, Any] = {"configuration": None, "initial_samples": 2, "identity": "bowl", "batch": 1}
    runs = [go.optimize(make, workers=number, **options) for number in (None, 2)]
    assert steps(runs[0].history) == steps(runs[1].history)
    assert runs[0].new_evaluations == runs[1].new_evaluations and runs[1].success
    assert runs[1].store.evaluations(runs[1].truth).n == runs[1].evaluations
