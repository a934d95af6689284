"""Truths that return none or some of their partials, in the loop: finite differences where they pay, and their cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, Exit, FunctionTruth, Variable
from gradopt.errors import EvaluationError
from gradopt.om.component import SurrogateComp
from gradopt.truth import FiniteDifferences
from gradopt.truth.store import EvaluationStore

Known = Callable[[np.ndarray], np.ndarray]
BEST = (0.786415, 0.617698)  # of the valley in the unit disk


def f(x: np.ndarray) -> float:
    return float(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)


def slope(x: np.ndarray) -> np.ndarray:
    bend = x[1] - x[0] ** 2
    return np.array([-400.0 * x[0] * bend - 2.0 * (1.0 - x[0]), 200.0 * bend])


def problem(f: Callable[[np.ndarray], Any], **options: Any) -> om.Problem:
    """The valley in the unit disk, which is exact; the function is the truth."""
    options = {"configuration": None, "max_evaluations": 150, "finite_differences": FiniteDifferences(1e-7), **options}
    truth = FunctionTruth(f, (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"),), identity="valley")
    made = om.Problem(reports=None, driver=AdaptiveDriver(**options))
    made.model.add_subsystem("valley", SurrogateComp(truth=truth), promotes=["*"])
    made.model.add_subsystem("disk", om.ExecComp("r2 = sum(x**2)", x=np.zeros(2)), promotes=["*"])
    made.model.set_input_defaults("x", np.array([0.3, -0.4]))
    made.model.add_design_var("x", lower=-2.0, upper=2.0)
    made.model.add_constraint("r2", upper=1.0)
    made.model.add_objective("f")
    made.setup()
    return made


def test_values_alone_lead_to_the_optimum_of_the_truth() -> None:
    evaluated: list[bytes] = []

    def counted(x: np.ndarray) -> float:
        evaluated.append(x.tobytes())
        return f(x)

    made = problem(counted)
    made.run_driver()
    driver = made.driver
    assert driver.exit is Exit.CERTIFIED and driver.certificate.certified
    np.testing.assert_allclose(made.get_val("x"), BEST, atol=1e-4)
    assert len(evaluated) == len(set(evaluated)) == driver.evaluations  # each once, finite differences among them
    iterations = len(driver.history)
    assert iterations < driver.evaluations < 3 * iterations  # not at all iterates are partials finite-differenced


def test_the_certificate_is_of_finite_differences_not_of_estimates() -> None:
    made = problem(f)
    made.run_driver()
    data = made.driver.data["valley"]
    row = int(np.flatnonzero((data.x == made.get_val("x")).all(axis=1))[0])
    np.testing.assert_allclose(data.dydx[row, 0], slope(made.get_val("x")), rtol=1e-3, atol=1e-4)
    assert np.isnan(data.dydx).any()  # other points have none


def test_only_unknown_partials_are_finite_differenced() -> None:
    beside: list[np.ndarray] = []

    def half(x: np.ndarray) -> tuple[float, np.ndarray]:
        beside.append(x)
        return f(x), np.array([slope(x)[0], np.nan])

    made = problem(half)
    made.run_driver()
    assert made.driver.exit is Exit.CERTIFIED
    first, second = beside[:2]
    assert second[0] == first[0] and second[1] == pytest.approx(first[1] + 4e-7)
    np.testing.assert_allclose(made.get_val("x"), BEST, atol=1e-4)


def test_a_run_repeated_on_its_store_evaluates_one_point_to_verify(tmp_path: Path) -> None:
    first = problem(f, store=tmp_path / "run.sqlite")
    first.run_driver()
    again = problem(f, store=tmp_path / "run.sqlite")
    again.run_driver()
    assert again.driver.store.evaluated == again.driver.store.verified == 1
    assert again.driver.evaluations == first.driver.evaluations == first.driver.store.evaluated
    assert np.array_equal(first.get_val("x"), again.get_val("x"))


def test_initial_samples_are_not_finite_differenced() -> None:
    store = EvaluationStore()
    made = problem(f, store=store, initial_samples=6, max_evaluations=9)
    made.run_driver()
    assert made.driver.history[0].evaluations == 6 + 1 + 2  # the start has its two steps, the samples have none


def test_an_estimate_never_certifies() -> None:
    """Where the truth fails beside the answer in one direction, its partial stays unknown."""

    def fragile(x: np.ndarray) -> float:
        if (x[1] != -0.4) and abs(x[1] - round(x[1], 6)) < 2e-7 and x[1] != round(x[1], 6):
            raise EvaluationError("no mesh")
        return f(x)

    def blind(x: np.ndarray) -> tuple[float, np.ndarray]:
        return fragile(x), np.array([slope(x)[0], np.nan])

    made = problem(blind, finite_differences=FiniteDifferences(2.5e-8), max_evaluations=40)
    made.run_driver()
    data = made.driver.data["valley"]
    known = ~np.isnan(data.dydx[:, 0, 1])
    at_the_answer = (data.x == made.get_val("x")).all(axis=1)
    assert (made.driver.exit is Exit.CERTIFIED) == bool((known & at_the_answer).any())


def test_a_run_that_ends_at_estimates_has_no_certificate() -> None:
    """Estimates say that the last point is the optimum, and the budget is spent before finite differences."""
    made = problem(lambda x: float((x - 0.2) @ (x - 0.2)), max_evaluations=9)
    made.run_driver()
    driver = made.driver
    assert driver.exit is Exit.BUDGET and driver.evaluations == 9
    assert driver.certificate.stationarity < 1e-5
    assert not driver.certificate.certified
    assert driver.certificate.reason.startswith("Not certified: the partials at the answer are estimates")


def test_a_noisy_truth_ends_at_the_size_of_its_steps() -> None:
    def rough(x: np.ndarray) -> float:
        return f(x) + 1e-3 * np.sin(1e5 * x.sum())

    made = problem(rough, finite_differences=FiniteDifferences(1e-3), max_evaluations=300)
    made.run_driver()
    assert made.driver.exit in (Exit.EXHAUSTED, Exit.RESOLUTION)
    assert made.driver.evaluations < 200
    assert f(made.get_val("x")) < f(np.array(BEST)) + 0.15  # the noise of its partials is 1, their size 1 to 100


def test_two_components_that_share_a_truth_are_finite_differenced_at_their_own_points() -> None:
    truth = FunctionTruth(
        lambda x: float((x[0] - 0.5) ** 2), (Variable("x", lower=-2.0, upper=2.0),), (Variable("f"),), identity="q"
    )
    made = om.Problem(
        reports=None, driver=AdaptiveDriver(configuration=None, finite_differences=FiniteDifferences(1e-6))
    )
    for name, x in (("a", "u"), ("b", "v")):
        made.model.add_subsystem(name, SurrogateComp(truth=truth), promotes_inputs=[("x", x)])
        made.model.add_design_var(x, lower=-2.0, upper=2.0)
    made.model.add_subsystem("sum", om.ExecComp("total = p + 2 * q"), promotes=["total"])
    made.model.connect("a.f", "sum.p")
    made.model.connect("b.f", "sum.q")
    made.model.add_objective("total")
    made.setup()
    made.set_val("u", -1.0)
    made.set_val("v", 1.5)
    made.run_driver()
    assert made.driver.exit is Exit.CERTIFIED
    np.testing.assert_allclose([made.get_val("u")[0], made.get_val("v")[0]], 0.5, atol=1e-3)
