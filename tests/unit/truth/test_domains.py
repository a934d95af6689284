"""An output without a transformed value, such as the log of a negative drag, is a failed evaluation everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmdao.api as om
import pytest
from numpy.typing import ArrayLike

from gradopt import CommandTruth, EvaluationStore, FunctionTruth, ModelTruth, Variable
from gradopt.data.dataset import Dataset
from gradopt.errors import InputError
from gradopt.loop.state import Exit
from gradopt.om.component import SurrogateComp
from gradopt.om.driver import AdaptiveDriver
from gradopt.optimizer.optimizer import Optimizer
from gradopt.truth import Evaluations, FiniteDifferences, FiniteDifferenceTruth, Program
from gradopt.truth.domains import fail_outside_domain
from gradopt.truth.protocol import PointStatus, Truth

X = (Variable("x", lower=-2.0, upper=2.0),)
LOG = (Variable("drag", transform="log"),)
POINTS = [[1.0], [-0.5], [0.0], [0.25]]
SECOND = "'drag' is -0.5, outside the domain of its transform 'log'. Drop the transform if such values are right."


def drag(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x, np.ones((1, 1))


def model() -> om.Problem:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", om.ExecComp("drag = x"), promotes=["*"])
    return problem


PROGRAM = Program([sys.executable, "-S", "-c", "print(open('in').read())"])
TRUTHS: dict[str, Callable[[], Truth]] = {
    "function": lambda: FunctionTruth(drag, X, LOG),
    "command": lambda: CommandTruth(PROGRAM, {"in": "{x}"}, lambda run: float(run.stdout), X, LOG, "echo"),
    "model": lambda: ModelTruth(model, X, LOG),
    "finite differences": lambda: FiniteDifferenceTruth(FunctionTruth(drag, X, LOG), FiniteDifferences(1e-3)),
}


class Raw:
    """A truth of the user that does not look at transforms; it counts its evaluations."""

    inputs, identity = X, "raw"

    def __init__(self, outputs: tuple[Variable, ...] = LOG) -> None:
        self.outputs = outputs

    def evaluate(self, x: ArrayLike) -> Evaluations:
        points = np.array(x, dtype=float)
        n = len(points)
        return Evaluations(points, points, np.ones((n, 1, 1)), [PointStatus.OK] * n, [""] * n, np.zeros(n))


@pytest.mark.parametrize("name", TRUTHS)
def test_a_value_without_a_logarithm_is_a_failed_row(name: str) -> None:
    truth = TRUTHS[name]()
    found = truth.evaluate(POINTS)
    assert found.ok.tolist() == [True, False, False, True]
    assert found.status[1] is PointStatus.FAILED and found.message[1] == SECOND
    assert np.isnan(found.y[1:3]).all() and np.isnan(found.dydx[1:3]).all()
    assert found.y[found.ok, 0].tolist() == [1.0, 0.25]
    assert found.dataset(truth.inputs, truth.outputs).n == 2


def test_a_logit_has_two_ends_and_a_row_one_bad_column() -> None:
    outputs = (Variable("a", (2,)), Variable("b", transform="logit"))
    y = [[-1.0, 0.0, 0.5], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [5.0, 5.0, np.nextafter(1.0, 0.0)]]
    truth = FunctionTruth(lambda x: y[int(x[0])], X, outputs)
    found = truth.evaluate([[0.0], [1.0], [2.0], [3.0]])
    assert found.ok.tolist() == [True, False, False, True]
    assert found.message[1].startswith("'b' is 1, outside the domain of its transform 'logit'.")


def test_rows_without_a_transform_are_left_alone() -> None:
    found = Raw().evaluate(POINTS)
    assert fail_outside_domain(found, [Variable("drag")]) is found


def test_rows_that_a_store_holds_are_failed_rows_too(tmp_path: Path) -> None:
    with EvaluationStore(tmp_path / "store", verify_stored=False) as store:
        assert store.evaluate(Raw((Variable("drag"),)), POINTS).ok.all()
        found = store.evaluate(Raw(), POINTS)
        assert found.ok.tolist() == [True, False, False, True] and found.message[1] == SECOND
        assert store.evaluations(Raw()).message == found.message
        assert store.dataset(Raw()).y[:, 0].tolist() == [1.0, 0.25]
        assert store.evaluate(Raw((Variable("drag"),)), POINTS).y[:, 0].tolist() == [1.0, -0.5, 0.0, 0.25]
        assert store.evaluated == 4


def test_a_point_is_evaluated_again_when_its_transform_is_dropped(tmp_path: Path) -> None:
    plain = (Variable("drag"),)
    truth, other = FunctionTruth(drag, X, LOG), FunctionTruth(drag, X, plain)
    with EvaluationStore(tmp_path / "store", verify_stored=False) as store:
        for _ in range(2):
            assert not store.evaluate(truth, [[-0.5]]).ok[0] and store.evaluated == 1
        for _ in range(2):
            assert store.evaluate(other, [[-0.5]]).y.tolist() == [[-0.5]] and store.evaluated == 2
        assert store.count(other) == 1
        assert store.evaluate(truth, [[-0.5]]).message == (SECOND,) and store.evaluated == 2


def polar(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A drag that is negative in a patch, beside its minimum."""
    hole = np.exp(-8.0 * (x[0] - 0.6) ** 2)
    y = 0.05 + (x[0] - 1.0) ** 2 - 0.4 * hole
    return np.array([y]), np.array([[2.0 * (x[0] - 1.0) + 6.4 * (x[0] - 0.6) * hole]])


@pytest.mark.parametrize("start", [-1.0, 0.6])
def test_a_run_goes_on_and_repeats_on_its_store(tmp_path: Path, start: float) -> None:
    seen = []
    for _ in range(2):
        calls: list[float] = []

        def counted(x: np.ndarray, calls: list[float] = calls) -> tuple[np.ndarray, np.ndarray]:
            calls.append(float(x[0]))
            return polar(x)

        problem = om.Problem(reports=None)
        store = EvaluationStore(tmp_path / "store", verify_stored=False)
        truth = FunctionTruth(counted, X, LOG, identity="polar")
        problem.model.add_subsystem("comp", SurrogateComp(truth=truth), promotes=["*"])
        problem.model.set_input_defaults("x", start)
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("drag")
        problem.driver = AdaptiveDriver(max_evaluations=20, store=store, configuration=None)
        problem.setup()
        problem.run_driver()
        seen.append((problem.driver.exit, problem.driver.history[-1:], float(problem.get_val("x")[0]), len(calls)))
        rows = problem.driver.store.evaluations(truth)
        assert not rows.ok.all() and all("outside the domain" in text for text in np.array(rows.message)[~rows.ok])
        store.close()
    assert seen[0][0] is seen[1][0] and seen[0][2] == seen[1][2] and seen[1][3] == 0
    assert (seen[0][0] is Exit.TRUTH_FAILED) or start != 0.6


def test_outputs_told_to_an_optimizer_are_failed_rows() -> None:
    found = Optimizer(X, LOG, [1.0], configuration=None)
    assert found.run(lambda x: -x) is Exit.TRUTH_FAILED
    assert "'drag' is -1, outside the domain of its transform 'log'." in found.state.failure
    assert found.data is None and found.state.samples[0].evaluations == 1


def test_an_optimizer_steps_back_from_values_without_a_logarithm() -> None:
    found = Optimizer(X, LOG, [-1.0], configuration=None)
    found.run(FunctionTruth(polar, X, LOG))
    assert any(one.failure for one in found.history)
    assert found.data is not None and (found.data.y > 0.0).all() and found.y["drag"][0] < 1.0


def test_an_input_of_an_optimizer_outside_its_transform_is_a_failed_point() -> None:
    found = Optimizer([Variable("x", transform="log")], [Variable("f")], [-2.0], configuration=None)
    assert found.run(lambda x: x**2) is Exit.TRUTH_FAILED
    assert "'x' is -2, outside the domain of its transform 'log'." in found.state.failure


@pytest.mark.parametrize(("x", "y", "name"), [(1.0, -1.0, "drag"), (-1.0, 1.0, "x")])
def test_initial_data_outside_a_transform_are_refused(x: float, y: float, name: str) -> None:
    inputs = (replace(X[0], lower=None, transform="log"),)
    data = Dataset(np.array([[2.0], [x]]), np.array([[2.0], [y]]), inputs=inputs, outputs=LOG)
    with pytest.raises(InputError, match=f"must be positive in column '{name}', which has transform 'log', got -1.0"):
        Optimizer(inputs, LOG, [1.0], initial_data=data, configuration=None)
