"""SurrogateComp is copied, pickled, recorded, promoted and approximated like any other component."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.coloring import compute_total_coloring

from gradopt import Surrogate
from gradopt.om.component import SurrogateComp

Fitted = Callable[..., Surrogate]
Ready = Callable[..., om.Problem]


def outputs_of(problem: om.Problem) -> np.ndarray:
    return np.hstack([problem.get_val("drag").reshape(-1, 1), problem.get_val("load").reshape(-1, 4)])


def duplicated(comp: SurrogateComp, way: str) -> SurrogateComp:
    return copy.deepcopy(comp) if way == "deepcopy" else pickle.loads(pickle.dumps(comp))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_gives_the_same_outputs_and_partials(surrogate: Surrogate, ready: Ready, way: str) -> None:
    comp = SurrogateComp(surrogate, vec_size=3)
    duplicate = duplicated(comp, way)  # before setup, as of any component
    first, second = ready(comp), ready(duplicate)
    for problem in (first, second):
        problem.run_model()
    np.testing.assert_array_equal(outputs_of(first), outputs_of(second))
    wanted = {"of": ["drag", "load"], "wrt": ["speed", "chord"]}
    exact, copied = first.compute_totals(**wanted), second.compute_totals(**wanted)
    for pair, total in exact.items():
        np.testing.assert_array_equal(total, copied[pair])


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_keeps_the_options(surrogate: Surrogate, way: str) -> None:
    comp = duplicated(SurrogateComp(surrogate, vec_size=3, extrapolate="clip", run_root_only=True), way)
    found = {name: comp.options[name] for name in ("vec_size", "extrapolate", "surrogate_digest", "run_root_only")}
    assert found == {
        "vec_size": 3,
        "extrapolate": "clip",
        "surrogate_digest": surrogate.digest,
        "run_root_only": True,
    }


def test_a_copy_does_not_follow_the_original(fitted: Fitted) -> None:
    comp = SurrogateComp(fitted())
    duplicate = copy.deepcopy(comp)
    comp.surrogate = fitted(seed=1)
    assert duplicate.surrogate is not None
    assert duplicate.surrogate.digest == duplicate.options["surrogate_digest"] == fitted().digest


def test_one_surrogate_serves_two_components(surrogate: Surrogate) -> None:
    problem = om.Problem(reports=None)
    for name, speed in (("one", 0.3), ("two", 0.7)):
        problem.model.add_subsystem(name, SurrogateComp(surrogate))
        problem.model.set_input_defaults(f"{name}.speed", speed, units="m/s")
        problem.model.set_input_defaults(f"{name}.chord", [0.4, 0.5], units="m")
    problem.setup()
    problem.run_model()
    np.testing.assert_array_equal(problem.get_val("one.drag"), surrogate.predict([[0.3, 0.4, 0.5]])[0, :1])
    np.testing.assert_array_equal(problem.get_val("two.drag"), surrogate.predict([[0.7, 0.4, 0.5]])[0, :1])


def test_setup_may_be_repeated_with_another_vec_size(surrogate: Surrogate, ready: Ready) -> None:
    comp = SurrogateComp(surrogate)
    problem = ready(comp)
    problem.run_model()
    comp.options["vec_size"] = 2
    problem.setup()
    x = np.array([[0.3, 0.4, 0.5], [0.6, 0.5, 0.4]])
    problem.set_val("speed", x[:, :1])
    problem.set_val("chord", x[:, 1:])
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict(x))


def recorded(surrogate: Surrogate, ready: Ready) -> om.CaseReader:
    """Run and record a component, and open the record."""
    comp = SurrogateComp(surrogate, extrapolate="clip")
    problem = ready(comp)
    recorder = om.SqliteRecorder("cases.sql", record_viewer_data=False)
    comp.recording_options["record_inputs"] = True
    comp.add_recorder(recorder)
    problem.add_recorder(recorder)
    problem.run_model()
    problem.record("final")
    problem.cleanup()
    return om.CaseReader(problem.get_outputs_dir() / "cases.sql")


def test_records_name_the_surrogate_by_its_digest(surrogate: Surrogate, ready: Ready) -> None:
    options = recorded(surrogate, ready).list_model_options(system="comp", out_stream=None)["comp"]
    assert options["surrogate_digest"] == surrogate.digest
    assert options["extrapolate"] == "clip"


def test_records_do_not_hold_the_surrogate(surrogate: Surrogate, ready: Ready) -> None:
    options = recorded(surrogate, ready).list_model_options(system="comp", out_stream=None)["comp"]
    assert not any(isinstance(value, Surrogate) for value in options.values())
    assert len(pickle.dumps(options)) < len(pickle.dumps(surrogate)) / 2


def test_records_hold_inputs_and_outputs(surrogate: Surrogate, ready: Ready) -> None:
    reader = recorded(surrogate, ready)
    case = reader.get_case(reader.list_cases("root.comp", out_stream=None)[-1])
    x = np.concatenate([case["comp.speed"], case["comp.chord"]])[None, :]
    np.testing.assert_array_equal(case["comp.drag"], surrogate.predict(x)[0, :1])


def test_run_root_only_changes_nothing_on_one_process(surrogate: Surrogate, ready: Ready) -> None:
    first, second = ready(SurrogateComp(surrogate)), ready(SurrogateComp(surrogate, run_root_only=True))
    for problem in (first, second):
        problem.run_model()
    np.testing.assert_array_equal(outputs_of(first), outputs_of(second))


def test_several_points_cost_one_linear_solve_with_coloring(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=5), mode="fwd")
    problem.run_model()
    assert compute_total_coloring(problem, "fwd", of=["drag"], wrt=["speed"]).total_solves() == 1


def test_cite_names_the_paper(surrogate: Surrogate) -> None:
    assert "Jacobian-Enhanced Neural Networks" in SurrogateComp(surrogate).cite
