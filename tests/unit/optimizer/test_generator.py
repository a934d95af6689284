"""Generator of the gest-api: the steps of ask and tell, with points one by one and results as they come."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Sequence
from typing import Any

import gest_api
import numpy as np
import pytest
from gest_api.vocs import VOCS

from gradopt.errors import InputError, MissingExtraError
from gradopt.loop.request import Purpose
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit
from gradopt.optimizer.flat_problem import Constraint, Objective
from gradopt.optimizer.generator import Generator
from gradopt.optimizer.optimizer import Optimizer
from gradopt.truth.function import FunctionTruth
from tests.unit.optimizer.conftest import valley

Row = dict[str, Any]
PARTIALS = ["df_da", "df_db", "dr2_da", "dr2_db"]
START = {"a": 1.25, "b": -1.75}


def posed(**changes: Any) -> VOCS:
    options: Row = {
        "variables": {"a": [-2.0, 2.0], "b": [-2.0, 2.0]},
        "objectives": {"f": "MINIMIZE"},
        "constraints": {"r2": ["LESS_THAN", 1.0]},
        "observables": PARTIALS,
    }
    return VOCS(**{**options, **changes})


def made(**changes: Any) -> Generator:
    return Generator(posed(**changes), START, configuration=None, initial_samples=5)


def evaluated(points: Sequence[Row]) -> list[Row]:
    rows = []
    for point in points:
        y, dydx = valley(np.array([point["a"], point["b"]]))
        rows.append({**point, "f": y[0], "r2": y[1], **dict(zip(PARTIALS, dydx.ravel(), strict=True))})
    return rows


def values(points: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in PARTIALS} for row in evaluated(points)]


def without_ids(rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "_id"} for row in rows]


def run_to_end(generator: Generator, count: int | None = None) -> Generator:
    while not generator.done:
        points = generator.suggest(count)
        assert points
        generator.ingest(evaluated(points))
    return generator


def data_of(optimizer: Optimizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert optimizer.data is not None
    return optimizer.data.x, optimizer.data.y, optimizer.data.partials


def in_process(truth: FunctionTruth) -> Optimizer:
    disk, start = [Constraint("r2", upper=1.0)], list(START.values())
    found = Optimizer(truth.inputs, truth.outputs, start, constraints=disk, configuration=None, initial_samples=5)
    found.run(truth)
    return found


@pytest.mark.parametrize("count", [1, 3, None])
def test_samples_are_those_of_ask_and_tell(count: int | None, truth: FunctionTruth) -> None:
    found, alone = run_to_end(made(), count).optimizer, in_process(truth)
    assert found.exit is Exit.CERTIFIED
    for ours, theirs in zip(data_of(found), data_of(alone), strict=True):
        np.testing.assert_array_equal(ours, theirs)  # all bits


def test_it_is_a_generator_of_the_api() -> None:
    generator = made()
    assert isinstance(generator, gest_api.Generator) and generator.returns_id
    generator.finalize()


def test_each_point_is_suggested_once_and_none_while_results_are_missing() -> None:
    generator = made()
    points = generator.suggest(4) + generator.suggest(4)
    assert [point["_id"] for point in points] == [0, 1, 2, 3, 4]
    generator.ingest(evaluated(points[:4]))
    assert generator.suggest(4) == []
    generator.ingest(evaluated(points[4:]))
    (start,) = generator.suggest(4)
    assert start == {**START, "_id": 5}


def test_candidates_are_as_many_as_the_batch() -> None:
    generator = Generator(posed(), START, configuration=None, settings=Settings(batch=3))
    generator.ingest(evaluated(generator.suggest(3)))
    assert len(generator.suggest(8)) == 3


def test_rows_come_back_in_any_order_and_in_parts() -> None:
    generator, ordered = made(), run_to_end(made())
    points = generator.suggest(5)
    for rows in (points[3:], points[:1], points[2:0:-1]):
        generator.ingest(evaluated(rows))
    run_to_end(generator)
    np.testing.assert_array_equal(data_of(generator.optimizer)[0], data_of(ordered.optimizer)[0])


@pytest.mark.parametrize("label", ["left out", "NaN"])
def test_rows_without_an_identifier_are_told_by_their_coordinates(label: str) -> None:
    generator = made()
    rows = without_ids(evaluated(generator.suggest(5))[::-1])
    generator.ingest(rows if label == "left out" else [{**row, "_id": math.nan} for row in rows])
    assert generator.suggest(1)[0]["_id"] == 5
    assert generator.optimizer.evaluations == 5


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "missing"])
def test_a_failed_point_is_one_without_a_value(value: float | str | None) -> None:
    generator = made()
    first, *others = evaluated(generator.suggest(5))
    if value == "missing":
        del first["r2"]
    else:
        first["r2"] = value
    generator.ingest([first, *others])
    assert generator.optimizer.evaluations == 5
    assert len(data_of(generator.optimizer)[0]) == 4


def test_partials_that_are_missing_are_finite_differenced() -> None:
    generator = Generator(posed(observables=[]), START, configuration=None)
    generator.ingest(values(generator.suggest(1)))
    while generator.optimizer.ask().purpose is not Purpose.DIFFERENCE:
        generator.ingest(values(generator.suggest(1)))
    generator.ingest(values(generator.suggest(None)))
    assert np.isfinite(data_of(generator.optimizer)[2]).all(axis=(1, 2)).any()


def test_a_partial_that_is_not_finite_is_unknown() -> None:
    generator = made()
    first, *others = evaluated(generator.suggest(5))
    generator.ingest([{**first, "dr2_db": math.inf}, *others])
    (row,) = np.flatnonzero((data_of(generator.optimizer)[0] == [first["a"], first["b"]]).all(axis=1))
    assert np.isnan(data_of(generator.optimizer)[2][row]).tolist() == [[False, False], [False, True]]


def test_results_before_the_first_suggestion_are_initial_data() -> None:
    rows = evaluated([{"a": 0.5, "b": 0.5}, {"a": -0.5, "b": 0.5}])
    generator = made()
    generator.ingest([*rows, {**rows[0], "a": 0.7, "f": math.nan}])
    generator.suggest(1)
    np.testing.assert_array_equal(data_of(generator.optimizer)[0], [[0.5, 0.5], [-0.5, 0.5]])
    assert generator.optimizer.evaluations == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (["LESS_THAN", 1.0], Constraint("r2", upper=1.0)),
        (["GREATER_THAN", 1.0], Constraint("r2", lower=1.0)),
        (["BOUNDS", 0.5, 1.0], Constraint("r2", lower=0.5, upper=1.0)),
    ],
)
def test_constraints_are_those_of_the_vocs(kind: list[Any], expected: Constraint) -> None:
    assert made(constraints={"r2": kind}).optimizer.problem.constraints == (expected,)


def test_a_maximum_is_the_minimum_of_the_negative() -> None:
    assert made(objectives={"f": "MAXIMIZE"}).optimizer.problem.objective == Objective("f", ref=-1.0)


def test_constants_are_in_every_point() -> None:
    assert made(constants={"mach": 0.8}).suggest(1)[0]["mach"] == 0.8


def test_the_start_is_named_or_the_default_or_halfway() -> None:
    variables = {
        "a": [-2.0, 2.0],
        "b": {"type": "ContinuousVariable", "domain": [-2.0, 2.0], "default_value": 1.0},
        "c": [0.0, 4.0],
    }
    generator = Generator(posed(variables=variables), {"a": 0.25}, configuration=None)
    assert generator.suggest(1) == [{"a": 0.25, "b": 1.0, "c": 2.0, "_id": 0}]


def test_a_variable_without_bounds_has_none() -> None:
    generator = Generator(posed(variables={"a": [-math.inf, math.inf], "b": [-2.0, 2.0]}), START, configuration=None)
    assert generator.optimizer.problem.limits.lower.tolist() == [-math.inf, -2.0]


def test_a_run_that_ends_without_another_point_is_done() -> None:
    generator = made()
    while not generator.done:
        points = generator.suggest(1)
        assert points
        wrong = [{name: -row[name] for name in PARTIALS} for row in evaluated(points)]
        generator.ingest([{**row, **part} for row, part in zip(evaluated(points), wrong, strict=True)])
    assert generator.optimizer.exit is not Exit.CERTIFIED


def test_it_ends_with_the_budget() -> None:
    generator = Generator(posed(), START, configuration=None, settings=Settings(max_evaluations=3))
    run_to_end(generator)
    assert generator.optimizer.evaluations == 3 and generator.suggest(2) == []


def test_it_is_pickled_with_its_state() -> None:
    generator = made()
    points = generator.suggest(5)
    copy = pickle.loads(pickle.dumps(generator))
    copy.ingest(evaluated(points))
    assert copy.suggest(1)[0]["_id"] == 5


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ([{**START, "_id": 7}], r"got _id 7\. Ingest samples from elsewhere without `_id`, before"),
        ([{"a": 0.0, "b": 0.0}], r"got \[0\.0, 0\.0\]"),
    ],
)
def test_results_of_other_points_are_refused(rows: list[Row], got: str) -> None:
    generator = made()
    generator.suggest(2)
    with pytest.raises(InputError, match=f"`results` must be points that were suggested and have no result yet, {got}"):
        generator.ingest(evaluated(rows))


def test_of_results_with_an_error_none_is_kept() -> None:
    generator = made()
    rows = evaluated(generator.suggest(2))
    with pytest.raises(InputError, match="have no result yet, got _id 0"):
        generator.ingest([*rows, rows[0]])
    generator.ingest(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": {"a": {1, 2}}}, r"`vocs.variables\['a'\]` must be a continuous variable with a real number"),
        ({"variables": {"a": "CONTEXTUAL"}}, "must be a continuous variable"),
        (
            {"variables": {"a": {"type": "ContinuousVariable", "domain": [0.0, 1.0], "dtype": (float, 3)}}},
            "Make others constants, and give each entry of an array a name",
        ),
        ({"objectives": {}}, "`vocs.objectives` must be one, to be minimized or maximized, got {}"),
        ({"objectives": {"f": "MINIMIZE", "g": "MINIMIZE"}}, "Make the others constraints or observables"),
        ({"objectives": {"f": "EXPLORE"}}, "must be one, to be minimized or maximized"),
        (
            {"objectives": {"f": {"type": "MinimizeObjective", "dtype": (float, 3)}}},
            r"`vocs: 'f'` must be a scalar, got \(<class 'float'>, 3\)\. Give each entry a name",
        ),
        (
            {"variables": {"x": [0, 1], "b_dx": [0, 1]}, "constraints": {"f_db": ["LESS_THAN", 1]}},
            r"have names whose partials differ in their name, got \['df_db_dx'\]\. Rename an output or a variable",
        ),
    ],
)
def test_a_vocs_that_cannot_be_done_is_explained(changes: Row, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Generator(posed(**changes))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Generator("vocs"), "`vocs` must be a gest_api.vocs.VOCS, got 'vocs'"),
        (lambda: Generator(posed(), {"z": 1.0}), r"`x0` must name variables among \['a', 'b'\], got \['z'\]"),
        (lambda: made().suggest(-1), "`num_points` must be a whole number of at least 0, got -1. Or None for all"),
        (lambda: made().ingest([{"a": "two"}]), "`results: 'a'` must be a number, got 'two'. Leave it out"),
    ],
)
def test_wrong_arguments_are_explained(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    vocs = posed()
    monkeypatch.setitem(sys.modules, "gest_api.vocs", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradopt\[gest\]'"):
        Generator(vocs)
