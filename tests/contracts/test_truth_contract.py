"""One specification for every implementation of a truth."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmdao.api as om
import pytest

from gradopt import Variable
from gradopt.data.variables import total_size
from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.truth.function import FunctionTruth
from gradopt.truth.model import ModelTruth
from gradopt.truth.protocol import PointStatus, Truth
from gradopt.truth.store import EvaluationStore

INPUTS = (Variable("span", (2,), "cm", lower=10.0, upper=200.0), Variable("pull", units="N", lower=0.5, upper=5.0))
OUTPUTS = (Variable("bend", units="m"), Variable("mass", (2,), "kg"))


def beam(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bend = pull s0 s1^2 and mass = (3 s0, s0 s1), s in m but x in cm; a failure where pull is 2 or more."""
    s0, s1, pull = x[0] / 100.0, x[1] / 100.0, x[2]
    if pull >= 2.0:
        raise EvaluationError("it broke")
    y = np.array([pull * s0 * s1**2, 3.0 * s0, s0 * s1])
    rows = [[pull * s1**2, 2.0 * pull * s0 * s1, s0 * s1**2], [3.0, 0.0, 0.0], [s1, s0, 0.0]]
    return y, np.array(rows) * [0.01, 0.01, 1.0]


class Breaks(om.ExplicitComponent):  # type: ignore[misc]
    """Passes the pull on, up to 2 N."""

    def setup(self) -> None:
        self.add_input("pull", 1.0, units="N")
        self.add_output("held", 1.0, units="N")
        self.declare_partials("held", "pull", val=1.0)

    def compute(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        if inputs["pull"][0] >= 2.0:
            raise om.AnalysisError("it broke")
        outputs["held"] = inputs["pull"]


def model() -> om.Problem:
    """The same beam in m and g."""
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("breaks", Breaks(), promotes=["*"])
    span = {"val": np.ones(2), "units": "m"}
    bend = om.ExecComp("bend = held * span[0] * span[1]**2", span=span, held={"units": "N"}, bend={"units": "m"})
    problem.model.add_subsystem("bend", bend, promotes=["*"])
    equations = ["mass[0] = 3000 * span[0]", "mass[1] = 1000 * span[0] * span[1]"]
    mass = {"val": np.ones(2), "units": "g"}
    problem.model.add_subsystem("mass", om.ExecComp(equations, span=span, mass=mass, do_coloring=False), promotes=["*"])
    return problem


MAKERS: dict[str, Callable[[], Truth]] = {
    "function": lambda: FunctionTruth(beam, INPUTS, OUTPUTS),
    "model": lambda: ModelTruth(model, INPUTS, OUTPUTS),
    "pickled function": lambda: pickle.loads(pickle.dumps(FunctionTruth(beam, INPUTS, OUTPUTS))),
    "pickled model": lambda: pickle.loads(pickle.dumps(ModelTruth(model, INPUTS, OUTPUTS))),
}
POINTS = np.array([[100.0, 50.0, 1.0], [30.0, 190.0, 1.9], [60.0, 70.0, 0.6]])
BROKEN = np.array([[100.0, 50.0, 2.0]])


@pytest.fixture(params=MAKERS)
def truth(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Truth:
    """Every truth in turn, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return MAKERS[request.param]()


def test_a_truth_has_its_variables(truth: Truth) -> None:
    assert (truth.inputs, truth.outputs) == (INPUTS, OUTPUTS)


def test_results_are_in_the_units_of_the_variables(truth: Truth) -> None:
    found = truth.evaluate(POINTS)
    assert found.ok.all() and found.message == ("",) * 3
    assert found.dydx.shape == (3, total_size(OUTPUTS), total_size(INPUTS))
    assert np.array_equal(found.x, POINTS)
    for row, point in enumerate(POINTS):
        y, dydx = beam(point)
        np.testing.assert_allclose(found.y[row], y, rtol=1e-12)
        np.testing.assert_allclose(found.dydx[row], dydx, rtol=1e-12, atol=1e-15)


def test_partials_agree_with_finite_differences(truth: Truth) -> None:
    h = 1e-4
    for point in POINTS:
        ahead, back = (truth.evaluate(point + sign * h * np.eye(3)).y for sign in (1.0, -1.0))
        np.testing.assert_allclose(truth.evaluate([point]).dydx[0], (ahead - back).T / (2.0 * h), rtol=1e-7, atol=1e-10)


def test_a_batch_equals_a_loop(truth: Truth) -> None:
    batch = truth.evaluate(POINTS)
    for row, point in enumerate(POINTS):
        one = truth.evaluate([point])
        assert np.array_equal(one.y[0], batch.y[row]) and np.array_equal(one.dydx[0], batch.dydx[row])


def test_a_failed_point_is_a_row_among_the_others(truth: Truth) -> None:
    found = truth.evaluate(np.concatenate([BROKEN, POINTS[:1], BROKEN, POINTS[1:]]))
    assert found.ok.tolist() == [False, True, False, True, True]
    assert found.status[0] is PointStatus.FAILED and "it broke" in found.message[0]
    assert np.isnan(found.y[0]).all() and np.isnan(found.dydx[0]).all()
    alone = MAKERS["function"]().evaluate(POINTS)
    np.testing.assert_allclose(found.y[found.ok], alone.y, rtol=1e-12)
    np.testing.assert_allclose(found.dydx[found.ok], alone.dydx, rtol=1e-12, atol=1e-15)
    assert found.dataset(truth.inputs, truth.outputs).n == 3


def test_points_may_be_a_list_and_are_not_changed(truth: Truth) -> None:
    points = POINTS.copy()
    found = truth.evaluate(points)
    assert np.array_equal(points, POINTS) and np.array_equal(truth.evaluate(points.tolist()).y, found.y)


def test_no_points_give_no_rows(truth: Truth) -> None:
    assert truth.evaluate(np.empty((0, 3))).dydx.shape == (0, 3, 3)


def test_other_shapes_are_refused(truth: Truth) -> None:
    with pytest.raises(
        ShapeError, match=r"`x` must have shape \(n, d\) = \(n, 3\), got \(3, 2\). If samples are its col"
    ):
        truth.evaluate(POINTS.T[:, :2])
    with pytest.raises(ShapeError, match=r"for one sample `x\[None, :\]`"):
        truth.evaluate(POINTS[0])


@pytest.mark.parametrize("bad", ["50", 50.0 + 1.0j])
def test_points_other_than_real_numbers_are_refused(truth: Truth, bad: object) -> None:
    with pytest.raises(InputError, match="`x` must hold real numbers, got dtype"):
        truth.evaluate(np.array([[100.0, bad, 1.0]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_that_are_not_finite_are_refused(truth: Truth, bad: float) -> None:
    with pytest.raises(InputError, match=r"`x` must be finite, got .* in row 0, column 'span\[1\]'"):
        truth.evaluate([[100.0, bad, 1.0]])


def test_a_truth_has_the_identity_of_its_source_and_a_store_accepts_it(truth: Truth, tmp_path: Path) -> None:
    assert truth.identity and len(truth.identity.split()[-1]) == 64
    with EvaluationStore(tmp_path / "store") as store:
        first = store.evaluate(truth, np.concatenate([POINTS, BROKEN]))
        again = store.evaluate(truth, np.concatenate([POINTS, BROKEN]))
        assert store.evaluated == 4 and first.y.tobytes() == again.y.tobytes()
        assert store.dataset(truth).n == 3
