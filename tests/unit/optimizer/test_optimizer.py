"""Optimizer: the loop of the driver for other programs, saved and continued, with evaluations of any kind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, FileFormatError, InputError, ShapeError
from gradopt.loop.request import Purpose
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration
from gradopt.om.component import SurrogateComp
from gradopt.om.driver import AdaptiveDriver
from gradopt.optimizer.flat_problem import Constraint, LinearConstraint, Objective
from gradopt.optimizer.optimizer import Optimizer
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Evaluations
from gradopt.truth.store import EvaluationStore

START = [1.25, -1.75]
DISK = (Constraint("r2", upper=1.0),)
IN_DISK = [0.7864, 0.6177]
NETWORK = JENN((5,), starts=1, alpha=1e-6, solver=LevenbergMarquardt(max_iterations=10))


def made(truth: FunctionTruth, **changes: Any) -> Optimizer:
    options: dict[str, Any] = {"configuration": None, **changes}
    return Optimizer(truth.inputs, truth.outputs, options.pop("x0", START), **options)


def equal(first: tuple[Iteration, ...], second: tuple[Iteration, ...]) -> bool:
    """Whether two histories agree bit for bit in all but their times."""
    names = [field.name for field in dataclasses.fields(Iteration) if field.name != "seconds"]
    return len(first) == len(second) and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=isinstance(getattr(a, name), float | np.ndarray))
        for a, b in zip(first, second, strict=True)
        for name in names
    )


def driven(truth: FunctionTruth, constrained: bool, **options: Any) -> AdaptiveDriver:
    """The driver of OpenMDAO on the same problem."""
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("valley", SurrogateComp(truth=truth), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    if constrained:
        problem.model.add_constraint("r2", upper=1.0)
    problem.model.add_objective("f")
    problem.driver = AdaptiveDriver(**{"configuration": None, **options})
    problem.setup()
    problem.set_val("x", START)
    problem.run_driver()
    return problem.driver


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("configuration", [None, NETWORK], ids=["no network", "network"])
def test_it_has_the_history_of_the_driver_bit_for_bit(
    truth: FunctionTruth, constrained: bool, configuration: JENN | None
) -> None:
    driver = driven(truth, constrained, configuration=configuration)
    found = made(truth, constraints=DISK if constrained else (), configuration=configuration)
    assert found.run(truth) is Exit.CERTIFIED
    assert equal(driver.history, found.history)
    assert found.evaluations == driver.evaluations


def test_it_has_the_history_of_the_driver_with_initial_samples(truth: FunctionTruth) -> None:
    driver = driven(truth, True, initial_samples=5, seed=3)
    found = made(truth, constraints=DISK, initial_samples=5, seed=3)
    found.run(truth)
    assert equal(driver.history, found.history)


def test_default_configuration_is_that_of_the_driver(truth: FunctionTruth) -> None:
    driver = driven(truth, False, configuration="default", max_evaluations=4)
    found = made(truth, configuration="default", settings=Settings(max_evaluations=4))
    found.run(truth)
    assert equal(driver.history, found.history)
    assert found.surrogate is not None


def test_the_optimum_in_the_disk_is_certified(truth: FunctionTruth) -> None:
    found = made(truth, constraints=DISK)
    purposes = []
    while not found.done:
        request = found.ask()
        purposes.append(request.purpose)
        found.tell(request, truth.evaluate(request.points))
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, IN_DISK, atol=1e-3)
    assert purposes[0] is Purpose.START
    assert purposes[-1] is Purpose.VERIFICATION
    assert set(purposes[1:-1]) == {Purpose.CANDIDATE}
    certificate = found.certificate
    assert certificate is not None and certificate.certified
    assert certificate.active["r2"].tolist() == [1]
    assert certificate.multipliers["r2"][0] > 0.0
    np.testing.assert_allclose(found.y["f"], truth.evaluate(found.x[None]).y[0, 0])


def test_the_same_request_is_returned_until_it_is_told(truth: FunctionTruth) -> None:
    found = made(truth)
    assert found.ask() is found.ask()


def test_evaluations_may_be_arrays(truth: FunctionTruth) -> None:
    plain, pairs = made(truth, constraints=DISK), made(truth, constraints=DISK)
    plain.run(truth)
    pairs.run(lambda points: tuple(np.array(part) for part in zip(*map(truth.f, points), strict=True)))
    assert equal(plain.history, pairs.history)


def test_one_output_takes_gradients_as_rows() -> None:
    found = Optimizer([Variable("x", (2,))], [Variable("f")], [1.0, 2.0], configuration=None)
    found.run(lambda x: ((x**2).sum(axis=1, keepdims=True), 2.0 * x))
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, 0.0, atol=1e-3)


def test_partials_that_are_not_given_are_finite_differenced(values_only: FunctionTruth) -> None:
    settings = Settings(finite_differences=FiniteDifferences(1e-7))
    found = made(values_only, constraints=DISK, settings=settings)
    purposes = set()
    while not found.done:
        request = found.ask()
        purposes.add(request.purpose)
        found.tell(request, values_only.evaluate(request.points))
    assert found.exit is Exit.CERTIFIED
    np.testing.assert_allclose(found.x, IN_DISK, atol=1e-3)
    assert Purpose.DIFFERENCE in purposes
    assert found.evaluations == len(found.state.samples[0].evaluated) + len(found.state.samples[0].beside)


def test_a_row_with_nan_is_a_failed_evaluation(truth: FunctionTruth) -> None:
    found, purposes = made(truth), set()

    def fails_in_a_slab(points: np.ndarray) -> Any:
        y, dydx = (np.array(part) for part in zip(*map(truth.f, points), strict=True))
        y[np.abs(points[:, 0] - 0.2) < 0.1] = np.nan
        return y, dydx

    while not found.done:
        request = found.ask()
        purposes.add(request.purpose)
        found.tell(request, fails_in_a_slab(request.points))
    assert Purpose.RECOVERY in purposes
    assert any(one.failure for one in found.history)


def test_a_failed_start_ends_the_run(truth: FunctionTruth) -> None:
    found = made(truth)
    assert found.run(lambda points: np.full((1, 2), np.nan)) is Exit.TRUTH_FAILED
    assert found.certificate is None
    assert "not finite" in found.state.failure
    assert np.isnan(found.y["f"]).all()
    assert found.x.tolist() == START


def test_objective_and_constraints_are_scaled_by_ref(truth: FunctionTruth) -> None:
    found = made(truth, objective=Objective("r2", ref=-2.0), constraints=(Constraint("f", upper=5.0, ref=10.0),))
    found.run(truth)
    assert found.exit is Exit.CERTIFIED
    assert found.history[0].objective == pytest.approx((np.array(START) @ START) / -2.0)
    assert found.problem.limits.c_upper.tolist() == [0.5]
    assert found.y["r2"][0] > 2.0  # maximized


def test_linear_constraints_are_exact(truth: FunctionTruth) -> None:
    linear = LinearConstraint(np.array([[1.0, 1.0]]), np.array([-np.inf]), np.array([1.0]))
    found = made(truth, linear=linear)
    found.run(truth)
    assert found.exit is Exit.CERTIFIED
    assert found.x.sum() == pytest.approx(1.0, abs=1e-6)
    predicted = [one.predicted_constraints[0] for one in found.history[1:]]
    np.testing.assert_allclose(predicted, [one.u.sum() for one in found.history[1:]], atol=1e-12)


def test_an_initial_surrogate_is_minimized_first(truth: FunctionTruth) -> None:
    points = np.random.default_rng(0).uniform(-2.0, 2.0, (40, 2))
    initial = JENN((8,), starts=1, alpha=1e-6).fit(truth.evaluate(points).dataset(truth.inputs, truth.outputs))
    found = made(truth, initial_surrogate=initial)
    first = found.ask()
    found.tell(first, truth.evaluate(first.points))
    request = found.ask()
    assert request.purpose is Purpose.INITIAL_OPTIMUM
    assert found.surrogate is initial


def test_a_store_evaluates_nothing_twice(truth: FunctionTruth, tmp_path: Path) -> None:
    with EvaluationStore(tmp_path / "run.sqlite") as store:
        first, second = made(truth), made(truth)
        first.run(truth, store)
        spent = store.evaluated
        second.run(truth, store)
        assert store.evaluated == spent == first.evaluations
    assert equal(first.history, second.history)


def test_watch_stops_the_run(truth: FunctionTruth) -> None:
    found = made(truth)
    assert found.run(truth, watch=lambda state: len(state.history) == 3) is Exit.STOPPED
    assert len(found.history) == 3
    assert found.certificate is not None
    assert not found.certificate.certified


CONTINUE = """
import sys
import numpy as np
from gradopt.optimizer.optimizer import Optimizer

def valley(x):
    bend = x[1] - x[0] ** 2
    return [100.0 * bend**2 + (1.0 - x[0]) ** 2, x @ x], [
        [-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend], 2.0 * x]

for path in sys.argv[1:]:
    optimizer = Optimizer.load(path)
    optimizer.run(lambda points: tuple(np.array(part) for part in zip(*map(valley, points), strict=True)))
    np.save(path + ".npy", np.array([one.u for one in optimizer.history]))
"""


def test_runs_saved_at_iteration_10_continue_in_another_process_to_the_same_points(
    truth: FunctionTruth, tmp_path: Path
) -> None:
    """With a network and without."""
    found: dict[Path, Optimizer] = {}
    for number, configuration in enumerate((None, NETWORK)):
        run, path = made(truth, configuration=configuration), tmp_path / f"{number}.state"
        while not run.done:
            if len(run.history) == 10 and not path.exists():
                run.save(path)
            request = run.ask()
            run.tell(request, truth.evaluate(request.points))
        found[path] = run
    script = tmp_path / "go_on.py"
    script.write_text(CONTINUE)
    root = str(Path(sys.modules["gradopt"].__file__ or "").parents[1])
    subprocess.run([sys.executable, str(script), *found], check=True, env={**os.environ, "PYTHONPATH": root})
    for path, run in found.items():
        assert len(run.history) > 11
        np.testing.assert_array_equal(np.load(f"{path}.npy"), [one.u for one in run.history])


def test_saved_after_each_request_it_takes_the_same_steps(values_only: FunctionTruth, tmp_path: Path) -> None:
    """Finite differences in the middle, failures, an exact constraint: all of it is in the file."""
    changes: dict[str, Any] = {
        "constraints": DISK,
        "linear": LinearConstraint(np.array([[1.0, 2.0]]), np.array([-3.0]), np.array([3.0])),
        "settings": Settings(max_evaluations=40, finite_differences=FiniteDifferences(1e-7)),
        "initial_samples": 3,
    }
    whole, cut = made(values_only, **changes), made(values_only, **changes)

    def evaluate(points: np.ndarray) -> Any:
        y = np.array([values_only.f(point) for point in points]).reshape(-1, 2)
        y[np.abs(points[:, 0] - 0.35) < 0.03] = np.nan
        return y

    whole.run(evaluate)
    while not cut.done:
        request = cut.ask()
        cut.save(tmp_path / "run.state")
        cut = Optimizer.load(tmp_path / "run.state")
        cut.tell(request, evaluate(request.points))
    assert equal(whole.history, cut.history)
    assert cut.exit is whole.exit


def test_a_spent_run_goes_on_with_a_larger_budget(truth: FunctionTruth, tmp_path: Path) -> None:
    whole, cut = made(truth), made(truth, settings=Settings(max_evaluations=6))
    whole.run(truth)
    assert cut.run(truth) is Exit.BUDGET
    cut.save(tmp_path / "run.state")
    more = Optimizer.load(tmp_path / "run.state", max_evaluations=100)
    assert more.run(truth) is Exit.CERTIFIED
    assert equal(whole.history, more.history)


def test_a_file_of_another_kind_is_refused(truth: FunctionTruth, tmp_path: Path) -> None:
    fitted = JENN((3,), starts=1).fit(truth.evaluate([[0.0, 0.0], [1.0, 1.0]]).dataset(truth.inputs, truth.outputs))
    fitted.save(tmp_path / "surrogate.gradopt")
    with pytest.raises(
        FileFormatError, match=r"expected 'gradopt.optimizer'\). Pass a file written by `optimizer.save"
    ):
        Optimizer.load(tmp_path / "surrogate.gradopt")


def test_other_requests_and_points_are_refused(truth: FunctionTruth) -> None:
    found, other = made(truth), made(truth, x0=[0.0, 0.0])
    with pytest.raises(InputError, match=r"`request` must be the one that `ask` returned last, got start at \[\["):
        found.tell(other.ask(), np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"`evaluations` must be at \[\[1.25, -1.75\]\], got \[\[0.0, 0.0\]\]"):
        found.tell(found.ask(), truth.evaluate([[0.0, 0.0]]))
    with pytest.raises(ShapeError, match=r"`y` must have shape \(1, 2\), got \(1, 3\). Points come first"):
        found.tell(found.ask(), np.zeros((1, 3)))
    with pytest.raises(ShapeError, match=r"`dydx` must have shape \(1, 2, 2\), got \(2, 2\)"):
        found.tell(found.ask(), (np.zeros((1, 2)), np.zeros((2, 2))))
    with pytest.raises(ShapeError, match=r"`evaluations.dydx` must have shape \(q, 2, 2\), got \(1, 1, 2\)"):
        one = FunctionTruth(lambda x: x[0], truth.inputs, (Variable("f"),))
        found.tell(found.ask(), one.evaluate(found.ask().points))
    assert isinstance(truth.evaluate(found.ask().points), Evaluations)
    assert found.evaluations == 0  # nothing was taken


def test_a_run_that_has_ended_has_no_request(truth: FunctionTruth) -> None:
    found = made(truth)
    found.run(truth)
    with pytest.raises(InputError, match="`state` must be that of a run that has not ended, got 'certified'"):
        found.ask()


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"objective": "g"}, InputError, "`objective` must name outputs, got 'g'. The outputs are: f, r2."),
    ({"constraints": (Constraint("g", upper=1.0),)}, InputError, "`constraints` must name outputs, got 'g'"),
    ({"constraints": (Constraint("r2", upper=[1.0, 2.0]),)}, ShapeError, "`upper` must be a number or 1 numbers, got "),
    ({"x0": [1.0]}, ShapeError, r"`x0` must hold 2 finite numbers, got \[1.0\]"),
    ({"x0": [1.0, np.nan]}, ShapeError, "`x0` must hold 2 finite numbers"),
    ({"bounds": ([1.0, 0.0], [0.0, 1.0])}, InputError, "`bounds` must have lower bounds that are not above the upper"),
    ({"configuration": "large"}, InputError, "`configuration` must be an object that fits surrogates, got 'large'"),
    ({"initial_samples": 100}, InputError, "`initial_samples` must be below max_evaluations = 100, got 100"),
]


@pytest.mark.parametrize(("changes", "error", "message"), WRONG)
def test_wrong_arguments_are_refused(
    truth: FunctionTruth, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(truth, **changes)


def test_wrong_constraints_are_refused() -> None:
    with pytest.raises(InputError, match="`constraint` must have bounds, or else `equals`, got lower None, upper None"):
        Constraint("r2")
    with pytest.raises(InputError, match="`ref` must be a number that is not zero, got 0.0"):
        Objective("f", ref=0.0)


def test_an_objective_with_several_entries_is_refused() -> None:
    with pytest.raises(ShapeError, match="`objective` must name an output with one entry, got 2"):
        Optimizer([Variable("x")], [Variable("f", (2,))], [1.0])


def test_outside_the_domain_of_an_initial_surrogate_the_problem_fails(truth: FunctionTruth) -> None:
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (10, 2))
    data = truth.evaluate(points).dataset((Variable("x", (2,)),), truth.outputs)
    initial = JENN((3,), starts=1, alpha=1e-6).fit(data)
    found = made(truth, initial_surrogate=initial)
    with pytest.raises(EvaluationError, match=r"Input 'x\[0\]' is 1.9, outside the domain"):
        found.problem.evaluate_on([initial], np.array([1.9, 0.0]))
