"""A run that is cut off continues where it was: nothing is lost, nothing is done twice, and it ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

import gradopt as go

Smoke = Callable[[str], Any]


class PowerCut(BaseException):
    """An exception that nothing catches."""


class Valley(om.ExplicitComponent):  # type: ignore[misc]
    """Rosenbrock's function f and c = |x|^2; the run of the given number raises `PowerCut`."""

    def __init__(self, evaluated: list[list[float]], last: int) -> None:
        super().__init__()
        self._evaluated, self._last = evaluated, last

    def setup(self) -> None:
        self.add_input("x", [-0.4, 0.5])
        self.add_output("f")
        self.add_output("c")
        self.declare_partials("*", "*")

    def compute(self, inputs: Any, outputs: Any) -> None:
        x, y = inputs["x"]
        outputs["f"], outputs["c"] = 100.0 * (y - x * x) ** 2 + (1.0 - x) ** 2, x * x + y * y

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        x, y = inputs["x"]
        if len(self._evaluated) == self._last:
            raise PowerCut
        self._evaluated.append([x, y])
        bend = y - x * x
        partials["f", "x"] = [-400.0 * x * bend - 2.0 * (1.0 - x), 200.0 * bend]
        partials["c", "x"] = [2.0 * x, 2.0 * y]


def run(store: Path, evaluated: list[list[float]], last: int = -1, **options: Any) -> go.OptimizeResult:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("valley", Valley(evaluated, last), promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("c", upper=1.0)
        return problem

    result = go.optimize(factory, store=store, identity="valley", **options)
    result.store.close()
    return result


def record(result: go.OptimizeResult) -> list[str]:
    return [repr({k: v for k, v in vars(r).items() if k != "seconds"}) for r in result.history]


NETWORK = go.JENN(
    (4,), activation="tanh", starts=1, alpha=1e-6, solver=go.solvers.LevenbergMarquardt(max_iterations=10)
)


@pytest.mark.parametrize("configuration", [None, NETWORK], ids=["no network", "network"])
def test_a_run_cut_off_in_the_middle_of_evaluations_continues_bit_for_bit(
    configuration: go.JENN | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"configuration": configuration, "initial_samples": 3, "max_evaluations": 12}
    evaluated: list[list[float]] = []
    whole = run(tmp_path / "whole", evaluated, **options)
    torn: list[list[float]] = []
    cuts = (0, 2, 7, len(evaluated) - 1)
    for last in cuts:
        with pytest.raises(PowerCut):
            run(tmp_path / "torn", torn, last, **options)
    result = run(tmp_path / "torn", torn, **options)
    assert [torn[cut] for cut in cuts[1:]] == [evaluated[0]] * 3  # the first point, to verify it
    assert [x for number, x in enumerate(torn) if number not in cuts[1:]] == evaluated
    assert record(result) == record(whole) and len(result.history) > 5
    np.testing.assert_array_equal(result.x["x"], whole.x["x"])
    assert (result.new_evaluations, result.verified) == (4, 1)


def test_nothing_is_lost_or_repeated_by_kill_9(smoke: Smoke) -> None:
    result = smoke("loop.kill_and_resume").result
    assert (result["kills"], result["lost"], result["repeated"], result["same"]) == (2, 0, 0, True)
    for each in result["runs"]:
        assert each["rows"] == each["evaluations"] == each["begun"] - each["in_flight"] - each["verified"] > 10
        assert each["verified"] <= each["kills"]
        assert each["exits"] == ["certified", "certified"]
