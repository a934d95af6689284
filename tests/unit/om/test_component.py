"""SurrogateComp: its variables, its outputs and the one forward pass behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, Surrogate, Variable
from gradopt.errors import InputError
from gradopt.om.component import SurrogateComp
from gradopt.surrogates.protocol import Evaluation

Fitted = Callable[..., Surrogate]
Ready = Callable[..., om.Problem]
POINTS = pytest.mark.parametrize("points", [1, 5])


class Counting:
    """A surrogate that counts its forward passes."""

    def __init__(self, surrogate: Surrogate) -> None:
        self.inputs, self.outputs = surrogate.inputs, surrogate.outputs
        self.lower, self.upper, self.digest = surrogate.lower, surrogate.upper, surrogate.digest
        self._surrogate = surrogate
        self.passes = 0

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.passes += 1
        return self._surrogate.evaluate(x)


def inputs_of(problem: om.Problem) -> np.ndarray:
    """The inputs of speed, chord -> drag, load as the surrogate takes them, (n, 3)."""
    return np.hstack([problem.get_val("speed").reshape(-1, 1), problem.get_val("chord").reshape(-1, 2)])


def outputs_of(problem: om.Problem) -> np.ndarray:
    """Its outputs, (n, 5)."""
    return np.hstack([problem.get_val("drag").reshape(-1, 1), problem.get_val("load").reshape(-1, 4)])


@POINTS
def test_outputs_are_the_predictions_of_the_surrogate(surrogate: Surrogate, ready: Ready, points: int) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=points))
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict(inputs_of(problem)))


def test_several_points_together_equal_each_alone(surrogate: Surrogate, ready: Ready) -> None:
    together = ready(SurrogateComp(surrogate, vec_size=5))
    together.run_model()
    x = inputs_of(together)
    rows = []
    for row in x:
        alone = ready(SurrogateComp(surrogate), speed=row[:1], chord=row[1:])
        alone.run_model()
        rows.append(outputs_of(alone)[0])
    np.testing.assert_allclose(outputs_of(together), rows, rtol=1e-14)


@pytest.mark.parametrize(
    ("points", "shapes"),
    [
        (1, {"speed": (1,), "chord": (2,), "drag": (1,), "load": (2, 2)}),
        (5, {"speed": (5, 1), "chord": (5, 2), "drag": (5, 1), "load": (5, 2, 2)}),
    ],
)
def test_variables_have_the_names_shapes_and_units_of_the_surrogate(
    surrogate: Surrogate, ready: Ready, points: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    comp = SurrogateComp(surrogate, vec_size=points)
    ready(comp).final_setup()
    found = comp.get_io_metadata(metadata_keys=["shape", "units"])
    assert {name: entry["shape"] for name, entry in found.items()} == shapes
    assert {name: entry["units"] for name, entry in found.items()} == {
        "speed": "m/s",
        "chord": "m",
        "drag": "N",
        "load": None,
    }


@pytest.mark.parametrize(("iotype", "names"), [("input", {"speed", "chord"}), ("output", {"drag", "load"})])
def test_inputs_are_inputs_and_outputs_outputs(
    surrogate: Surrogate, ready: Ready, iotype: str, names: set[str]
) -> None:
    comp = SurrogateComp(surrogate)
    ready(comp).final_setup()
    assert set(comp.get_io_metadata(iotypes=iotype)) == names


def test_variables_have_descriptions(surrogate: Surrogate, ready: Ready) -> None:
    comp = SurrogateComp(surrogate)
    ready(comp).final_setup()
    assert all(entry["desc"] for entry in comp.get_io_metadata(metadata_keys=["desc"]).values())


def test_initial_values_are_one(surrogate: Surrogate) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", SurrogateComp(surrogate), promotes=["*"])
    problem.setup()
    problem.final_setup()
    for name in ("speed", "chord", "drag", "load"):
        assert (problem.get_val(name) == 1.0).all()


def test_components_promoted_to_the_same_inputs_share_them(fitted: Fitted) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("one", SurrogateComp(fitted()), promotes=["*"])
    other = fitted(outputs=(Variable("mass", units="kg"),), seed=1)
    problem.model.add_subsystem("two", SurrogateComp(other), promotes=["*"])
    problem.setup()
    problem.set_val("speed", 0.3)
    problem.set_val("chord", [0.4, 0.6])
    problem.run_model()
    x = np.array([[0.3, 0.4, 0.6]])
    np.testing.assert_array_equal(outputs_of(problem), fitted().predict(x))
    np.testing.assert_array_equal(problem.get_val("mass"), other.predict(x)[0])


def test_inputs_in_other_units_are_converted(surrogate: Surrogate) -> None:
    problem = om.Problem(reports=None)
    independent = problem.model.add_subsystem("independent", om.IndepVarComp())
    independent.add_output("speed", 1.8, units="km/h")
    independent.add_output("chord", [30.0, 70.0], units="cm")
    problem.model.add_subsystem("comp", SurrogateComp(surrogate), promotes=["*"])
    problem.model.connect("independent.speed", "speed")
    problem.model.connect("independent.chord", "chord")
    problem.setup()
    problem.run_model()
    np.testing.assert_allclose(outputs_of(problem), surrogate.predict([[0.5, 0.3, 0.7]]), rtol=1e-14)


def test_outputs_are_converted_to_other_units(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate))
    problem.run_model()
    np.testing.assert_allclose(problem.get_val("drag", units="kN") * 1000.0, problem.get_val("drag"), rtol=1e-14)


@POINTS
def test_outputs_and_partials_share_one_forward_pass(surrogate: Surrogate, ready: Ready, points: int) -> None:
    counting = Counting(surrogate)
    problem = ready(SurrogateComp(counting, vec_size=points))
    problem.run_model()
    problem.compute_totals(of=["drag", "load"], wrt=["speed", "chord"])
    assert counting.passes == 1


def test_changed_inputs_are_evaluated_anew(surrogate: Surrogate, ready: Ready) -> None:
    counting = Counting(surrogate)
    problem = ready(SurrogateComp(counting))
    problem.run_model()
    problem.set_val("chord", 0.7, indices=1)
    problem.run_model()
    assert counting.passes == 2
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict(inputs_of(problem)))


def test_partials_follow_changed_inputs(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate))
    problem.run_model()
    problem.compute_totals(of=["drag"], wrt=["speed"])
    problem.set_val("speed", 0.3)
    problem.run_model()
    totals = problem.compute_totals(of=["drag"], wrt=["speed"])
    np.testing.assert_array_equal(totals["drag", "speed"], surrogate.linearize(inputs_of(problem))[1][0, :1, :1])


def test_outputs_after_complex_step_are_real_and_new(surrogate: Surrogate, ready: Ready) -> None:
    counting = Counting(surrogate)
    problem = ready(SurrogateComp(counting))
    problem.run_model()
    before = outputs_of(problem)
    problem.check_partials(method="cs", out_stream=None)
    passes = counting.passes
    problem.run_model()
    assert counting.passes == passes + 1
    np.testing.assert_array_equal(outputs_of(problem), before)


def test_real_outputs_do_not_come_from_a_complex_pass(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate))
    problem.final_setup()
    problem.set_complex_step_mode(True)
    problem.run_model()
    problem.set_complex_step_mode(False)
    problem.run_model()  # NumPy would warn of the imaginary parts it discards
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict(inputs_of(problem)))


def test_an_assigned_surrogate_is_evaluated_from_then_on(fitted: Fitted, ready: Ready) -> None:
    comp, other = SurrogateComp(fitted()), fitted(seed=1)
    problem = ready(comp)
    problem.run_model()
    comp.surrogate = other
    problem.run_model()
    assert comp.surrogate is other
    np.testing.assert_array_equal(outputs_of(problem), other.predict(inputs_of(problem)))


def test_partials_come_from_the_assigned_surrogate(fitted: Fitted, ready: Ready) -> None:
    comp, other = SurrogateComp(fitted()), fitted(seed=1)
    problem = ready(comp)
    problem.run_model()
    comp.surrogate = other
    totals = problem.compute_totals(of=["load"], wrt=["chord"])
    np.testing.assert_array_equal(totals["load", "chord"], other.linearize(inputs_of(problem))[1][0, 1:, 1:])


def test_digest_option_follows_the_surrogate(fitted: Fitted) -> None:
    comp = SurrogateComp(fitted())
    assert comp.options["surrogate_digest"] == fitted().digest
    comp.surrogate = fitted(seed=1)
    assert comp.options["surrogate_digest"] == fitted(seed=1).digest != fitted().digest


@pytest.mark.parametrize(
    "variables",
    [
        {"inputs": (Variable("speed", units="m/s"), Variable("span", (2,), units="m"))},
        {"inputs": (Variable("speed", units="km/h"), Variable("chord", (2,), units="m"))},
        {"outputs": (Variable("drag", units="N"), Variable("load", (4,)))},
    ],
    ids=["name", "units", "shape"],
)
def test_a_surrogate_of_other_variables_is_refused_and_changes_nothing(
    fitted: Fitted, variables: dict[str, tuple[Variable, ...]]
) -> None:
    comp = SurrogateComp(fitted())
    with pytest.raises(InputError, match=r"`surrogate\.(in|out)puts` must equal \(Variable.* Use a new component\."):
        comp.surrogate = fitted(**variables)
    assert comp.surrogate is fitted()
    assert comp.options["surrogate_digest"] == fitted().digest


@pytest.mark.parametrize("wrong", [JENN(), "surrogate.gradopt", None], ids=["configuration", "string", "none"])
def test_what_is_no_fitted_surrogate_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"`surrogate` must be a fitted surrogate, got .*JENN\(\)\.fit\(data\)"):
        SurrogateComp(wrong)


def test_what_is_no_fitted_surrogate_cannot_be_assigned(surrogate: Surrogate) -> None:
    comp = SurrogateComp(surrogate)
    unfitted: Any = JENN()
    with pytest.raises(InputError, match="`surrogate` must be a fitted surrogate, got JENN"):
        comp.surrogate = unfitted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vec_size": 0}, "Value \\(0\\) of option 'vec_size' is less than minimum allowed value of 1"),
        ({"vec_size": 2.0}, "Value \\(2.0\\) of option 'vec_size' has type"),
        ({"extrapolate": "refuse"}, r"'refuse'\) of option 'extrapolate' is not one of \['error', 'warn', 'clip', 'al"),
    ],
)
def test_wrong_options_are_refused(surrogate: Surrogate, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        SurrogateComp(surrogate, **options)
