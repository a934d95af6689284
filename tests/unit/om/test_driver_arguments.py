"""AdaptiveDriver refuses what it cannot use, before it evaluates anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, AdaptiveDriver, Dataset, FunctionTruth, Variable
from gradopt.errors import InputError
from gradopt.loop import CorrectionTerms
from gradopt.loop.settings import Settings
from gradopt.loop.trust_region import TrustRegion
from gradopt.om.component import SurrogateComp

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("store", 3, "`store` must be an EvaluationStore, a path or None, got 3. Pass EvaluationStore("),
        ("store", "no/folder/x.sqlite", "`path` must lie in an existing folder"),
        ("configuration", 3, "`configuration` must be an object that fits surrogates, or None, got 3. Pass for"),
        ("configuration", JENN, "`configuration` must be an object that fits surrogates, or None, got <class"),
        ("configuration", {"a": 3}, "`configuration['a']` must be an object that fits surrogates, or None, got 3."),
        (
            "initial_data",
            3,
            "`initial_data` must give a Dataset for paths of components, got 3. Pass {'path.of.component': data}.",
        ),
        ("initial_data", {"comp": 3}, "`initial_data` must give a Dataset for paths of components, got {'comp': 3}."),
        ("callback", 3, "`callback` must be a callable or None, got 3. It receives each Iteration."),
    ],
)
def test_argument_of_another_kind_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        AdaptiveDriver(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_evaluations", 0, "less than minimum allowed value of 1"),
        ("max_evaluations", 1.5, "type 'int' was expected"),
        ("tolerance", "small", "one of types"),
        ("tolerance", 2.0, "exceeds maximum allowed value of 1.0"),
        ("feasibility_tolerance", -1.0, "less than minimum"),
        ("initial_samples", -1, "less than minimum"),
        ("seed", None, "type 'int' was expected"),
        ("starts", 0, "less than minimum"),
        ("optimizer", "COBYLA", "not one of"),
        ("max_failures", 0, "less than minimum"),
        ("check_derivatives", "yes", "not one of"),
        ("correction", True, "`correction` must be a CorrectionTerms, got True. Pass an object, such as Correction"),
        ("trust_region", 0.1, "`trust_region` must be a TrustRegion, got 0.1. Pass an object, such as TrustRegion()."),
        ("finite_differences", None, "`finite_differences` must be a FiniteDifferences, got None. Pass an object"),
        ("tol", 1e-6, "`options['tol']` must be an option of this driver, got one of SciPy's. Use 'tolerance'."),
        ("maxiter", 10, "`options['maxiter']` must be an option of this driver, got one of SciPy's. Use 'max_eval"),
        ("disp", True, "`options['disp']` must be an option of this driver, got one of SciPy's. Pass callback=..."),
    ],
)
def test_option_out_of_range_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError), match=re.escape(words)):
        AdaptiveDriver(**{name: value})
    driver = AdaptiveDriver()
    with pytest.raises((KeyError, TypeError, ValueError), match=re.escape(words)):
        driver.options[name] = value


@pytest.mark.parametrize("name", ["tol", "maxiter", "disp"])
def test_reading_an_option_of_scipys_names_ours(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"`options\['{name}'\]` must be an option of this driver, got one of SciPy's"
    ):
        AdaptiveDriver().options[name]


def test_every_setting_of_the_loop_is_an_option_with_the_same_default() -> None:
    options = AdaptiveDriver().options
    assert {field.name: options[field.name] for field in fields(Settings)} == vars(Settings())


def test_settings_reach_the_loop_as_options(valley: Problems, evaluated: list[np.ndarray]) -> None:
    problem = valley(start=(1.0, 1.0))
    problem.driver.options["check_derivatives"] = False
    problem.driver.options["trust_region"] = TrustRegion(radius=0.03)
    assert problem.run_driver().success
    assert len(evaluated) == 1  # the derivative check would take another
    assert problem.driver.state.trust_region.radius == 0.03


def test_tolerance_of_zero_is_refused(valley: Problems) -> None:
    with pytest.raises(InputError, match=r"`tolerance` must be a positive number below 1, got 0\.0"):
        valley(tolerance=0.0).run_driver()


def test_more_samples_than_evaluations_are_refused(valley: Problems, evaluated: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"`initial_samples` must be below max_evaluations = 5, got 5\. Raise"):
        valley(initial_samples=5, max_evaluations=5).run_driver()
    assert not evaluated


@pytest.mark.parametrize("name", ["initial_data", "configuration"])
def test_unknown_path_is_refused(valley: Problems, name: str, evaluated: list[np.ndarray]) -> None:
    value = {"other": Dataset(np.ones((1, 2)), np.ones((1, 1))) if name == "initial_data" else None}
    expected = rf"`{name}` must name components among \['comp'\], got \['other'\]\. Use paths such as 'group\.comp'"
    with pytest.raises(InputError, match=expected):
        valley(**{name: value}).run_driver()
    assert not evaluated


@pytest.mark.parametrize("name", ["initial_data", "configuration"])
def test_two_entries_for_a_shared_truth_are_refused(rosenbrock: Truths, name: str) -> None:
    truth, problem = rosenbrock(), om.Problem(reports=None)
    problem.model.add_subsystem("a", SurrogateComp(truth=truth), promotes_inputs=["x"])
    problem.model.add_subsystem("b", SurrogateComp(truth=truth), promotes_inputs=["x"])
    problem.model.add_subsystem("sum", om.ExecComp("s = a + b"), promotes_outputs=["s"])
    problem.model.connect("a.f", "sum.a")
    problem.model.connect("b.f", "sum.b")
    problem.model.add_design_var("x")
    problem.model.add_objective("s")
    variables = [Variable("x", (2,))], [Variable("f")]
    value = Dataset(np.eye(2), np.ones((2, 1)), None, *variables) if name == "initial_data" else JENN((3,))
    settings: dict[str, Any] = {name: {"a": value, "b": value}}
    problem.driver = AdaptiveDriver(**settings)
    problem.setup()
    with pytest.raises(
        InputError, match=rf"`{name}` must name one of the components that share a truth, got \['a', 'b"
    ):
        problem.run_driver()


def test_problem_without_a_truth_is_refused() -> None:
    problem = om.Problem(reports=None, driver=AdaptiveDriver())
    problem.model.add_subsystem("comp", om.ExecComp("f = x**2"), promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("f")
    problem.setup()
    with pytest.raises(InputError, match=r"`problem\.model` must hold a SurrogateComp with a truth .*, got none\. Put"):
        problem.run_driver()


def test_problem_without_design_variables_is_refused(rosenbrock: Truths) -> None:
    problem = om.Problem(reports=None, driver=AdaptiveDriver())
    problem.model.add_subsystem("comp", SurrogateComp(truth=rosenbrock()), promotes=["*"])
    problem.model.add_objective("f")
    problem.setup()
    with pytest.raises(InputError, match=r"`problem` must have design variables, got none\. Declare them with"):
        problem.run_driver()


def test_neither_correction_nor_configuration_is_refused(valley: Problems) -> None:
    with pytest.raises(InputError, match="`correction` must be on while there is no fitted surrogate, got off"):
        valley(correction=CorrectionTerms(first_order=False)).run_driver()


def test_truth_without_identity_has_no_file(valley: Problems) -> None:
    numbers = (number for number in [1.0])
    truth = FunctionTruth(lambda x: next(numbers), (Variable("x", shape=(2,)),), (Variable("f"),))
    problem = valley(truth, store="evaluations.sqlite")
    message = r"`truth\.identity` must be given for a store on disk, got None: .*'numbers'.*generator.*'wing v3'"
    with pytest.raises(InputError, match=message):
        problem.final_setup()
    named = FunctionTruth(truth.f, truth.inputs, truth.outputs, identity="wing v3")
    valley(named, store="evaluations.sqlite").final_setup()
