"""AdaptiveDriver goes on from a state of an earlier run, from memory or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import AdaptiveDriver, Exit, FunctionTruth
from gradopt.errors import FileFormatError, InputError
from gradopt.loop import save_state
from gradopt.om.component import SurrogateComp

Truths = Callable[..., FunctionTruth]
Problems = Callable[..., om.Problem]


def steps(problem: om.Problem) -> list[tuple[Any, ...]]:
    return [(r.u.tobytes(), r.objective, r.accepted, r.radius, r.evaluations) for r in problem.driver.history]


@pytest.mark.parametrize("from_file", [False, True], ids=["state", "file"])
def test_a_spent_run_goes_on_to_the_same_points(
    valley: Problems, evaluated: list[np.ndarray], tmp_path: Path, from_file: bool
) -> None:
    whole = valley(constraint={"upper": 1.0})
    whole.run_driver()
    count = len(evaluated)
    evaluated.clear()
    first = valley(constraint={"upper": 1.0}, max_evaluations=5)
    first.run_driver()
    assert first.driver.exit is Exit.BUDGET
    state = first.driver.state
    if from_file:
        save_state(tmp_path / "state", state)
        state = tmp_path / "state"
    second = valley(constraint={"upper": 1.0}, resume=state, store=first.driver.store)
    assert second.run_driver().success
    assert steps(second) == steps(whole)
    assert len(evaluated) == count


def test_a_run_that_was_stopped_goes_on(valley: Problems) -> None:
    whole = valley()
    whole.run_driver()
    first = valley(callback=lambda record: record.number == 3)
    first.run_driver()
    assert first.driver.exit is Exit.STOPPED
    second = valley(resume=first.driver.state)
    assert second.run_driver().success
    assert steps(second) == steps(whole)


def test_without_the_store_only_the_answer_is_evaluated_again(valley: Problems, evaluated: list[np.ndarray]) -> None:
    first = valley()
    first.run_driver()
    count = len(evaluated)
    again = valley(resume=first.driver.state)
    assert again.run_driver().success
    assert len(evaluated) <= count + 1
    assert steps(again) == steps(first)


@pytest.mark.parametrize("resume", [3, {"state": None}])
def test_what_is_no_state_is_refused(resume: Any) -> None:
    with pytest.raises(InputError, match=r"`resume` must be a State, a path or None, got .*\. Pass driver\.state of"):
        AdaptiveDriver(resume=resume)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"not a state")
    with pytest.raises(FileFormatError, match=r"is no safetensors file, or a truncated one"):
        AdaptiveDriver(resume=tmp_path / "state")


def test_a_state_of_another_problem_is_refused(valley: Problems, rosenbrock: Truths) -> None:
    first = valley(max_evaluations=2)
    first.run_driver()
    other = valley(design={"indices": [1], "lower": -2.0, "upper": 2.0}, resume=first.driver.state)
    with pytest.raises(InputError, match=r"`resume` must be of a problem with the design variables 1, got 2\. Resume"):
        other.run_driver()
    problem = om.Problem(reports=None, driver=AdaptiveDriver(configuration=None, resume=first.driver.state))
    for name in "ab":
        comp = SurrogateComp(truth=rosenbrock())
        problem.model.add_subsystem(name, comp, promotes_inputs=["x"], promotes_outputs=[("f", name)])
    problem.model.add_subsystem("sum", om.ExecComp("f = a + b"), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.setup()
    with pytest.raises(InputError, match=r"`resume` must be of a problem with the truths \[\[.*\], \[.*\]\], got \[\["):
        problem.run_driver()
