"""Files of an optimizer: a part that does not fit is named, and costs no memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradopt as go
from gradopt.errors import FileFormatError
from gradopt.optimizer import Constraint, LinearConstraint
from gradopt.optimizer.files import OPTIMIZER
from gradopt.surrogates.fitted import container

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]


def told(count: int, partials: bool = True) -> go.Optimizer:
    """An optimizer with two constraints, told some evaluations."""
    optimizer = go.Optimizer(
        [go.Variable("x", (2,), lower=-1.0, upper=2.0)],
        [go.Variable("f"), go.Variable("sum")],
        [1.5, -0.5],
        constraints=[Constraint("sum", lower=0.5)],
        linear=LinearConstraint(np.array([[1.0, -1.0]]), np.array([-9.0]), np.array([9.0])),
        configuration=None,
    )
    for _ in range(count):
        request = optimizer.ask()
        x = request.points
        y = np.stack([(x**4).sum(axis=1), x.sum(axis=1)], axis=1)
        optimizer.tell(request, (y, np.stack([4.0 * x**3, np.ones_like(x)], axis=1)) if partials else y)
    return optimizer


def problem(header: dict[str, Any]) -> Any:
    return header["parts"]["mapping"]["problem"]["mapping"]


def state(header: dict[str, Any]) -> Any:
    return header["parts"]["mapping"]["state"]["fields"]


def fields(header: dict[str, Any], name: str) -> Any:
    found = problem(header)[name]
    return (found[0] if isinstance(found, list) else found)["fields"]


def put(arrays: dict[str, np.ndarray], packed: dict[str, str], value: np.ndarray) -> None:
    arrays[packed["array"]] = value


def claim(header: dict[str, Any], size: int) -> None:
    """Claim outputs of some size, wherever they stand."""
    for variables in (problem(header)["outputs"], state(header)["samples"][0]["fields"]["outputs"]):
        variables[1]["fields"].update(shape=[size])


FAULTS: dict[str, tuple[Change, str]] = {
    "no parts": (lambda h, a: h.pop("parts"), r"holds no optimizer\. Write it with `optimizer\.save\(path\)`"),
    "no plan": (lambda h, a: h["parts"]["mapping"].pop("plan"), r"holds no optimizer\. Write it with"),
    "a problem of text": (
        lambda h, a: h["parts"]["mapping"].update(problem="x"),
        r"`problem` must have the parts \['bounds",
    ),
    "a problem without bounds": (
        lambda h, a: problem(h).pop("bounds"),
        r"`problem` must have the parts \['bounds', .*, got \['c",
    ),
    "a state that is a number": (
        lambda h, a: h["parts"]["mapping"].update(state=3),
        r"`state` must be of type <class .*, got 3",
    ),
    "a plan of text": (lambda h, a: h["parts"]["mapping"].update(plan="x"), r"`plan` must be of type .*, got 'x'"),
    "inputs that are text": (
        lambda h, a: problem(h).update(inputs="x"),
        r"`inputs` must be of type tuple\[.*, got 'x'",
    ),
    "settings that are none": (
        lambda h, a: problem(h).update(settings=None),
        r"`settings` must be of type .*, got None",
    ),
    "an objective of text": (lambda h, a: problem(h).update(objective="f"), r"`objective` must be of type .*, got 'f'"),
    "a configuration of text": (
        lambda h, a: problem(h).update(configuration="x"),
        r"`configuration` must have a method `fit`",
    ),
    "a surrogate of text": (
        lambda h, a: problem(h).update(initial_surrogate="x"),
        r"`initial_surrogate` must have a method `linearize`, got 'x'",
    ),
    "a trust region that never ends": (
        lambda h, a: fields(h, "settings")["trust_region"]["fields"].update(retreat=1.0),
        "`trust_region` must have positive radii",
    ),
    "a start of another size": (
        lambda h, a: put(a, problem(h)["x0"], np.zeros(3)),
        r"`x0` must be float64 of shape \(2,\)",
    ),
    "a start outside": (
        lambda h, a: put(a, problem(h)["x0"], np.array([5.0, 0.0])),
        r"`u` must lie within the bounds \[-1\.0, -1\.0\] and \[2\.0, 2\.0\], got \[5\.0, 0\.0\]",
    ),
    "bounds of another size": (
        lambda h, a: put(a, problem(h)["bounds"][0], np.zeros(1)),
        r"`bounds` must be float64 of shape",
    ),
    "a state of other inputs": (
        lambda h, a: state(h)["samples"][0]["fields"]["inputs"][0]["fields"].update(name="z"),
        r"`data` must have the variables|`Samples` must have the variables of the problem",
    ),
    "a problem of other outputs": (
        lambda h, a: problem(h)["outputs"][0]["fields"].update(name="z"),
        r"`Samples` must have the variables of the problem, got \(Variable\(.*Copy the file again",
    ),
    "constraints of another number": (
        lambda h, a: problem(h).update(constraints=[]),
        r"`c` must be float64 of shape \(1,\), got float64 of shape \(2,\)",
    ),
    "a linear constraint of other inputs": (
        lambda h, a: put(a, fields(h, "linear")["matrix"], np.zeros((1, 3))),
        r"`matrix` must be float64 of shape \(-1, 2\), got float64 of shape \(1, 3\)",
    ),
    "linear bounds of another number": (
        lambda h, a: put(a, fields(h, "linear")["lower"], np.zeros(2)),
        r"`linear` must be float64 of shape \(1,\), got float64 of shape \(2,\)",
    ),
    "a constraint on nothing": (
        lambda h, a: fields(h, "constraints").update(name="z"),
        r"`c` must be float64 of shape \(1,\)",
    ),
    "an objective of nothing": (
        lambda h, a: fields(h, "objective").update(name="z"),
        r"`objective` must name outputs, got 'z'",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_behind_a_right_checksum_is_named(tmp_path: Path, name: str) -> None:
    change, message = FAULTS[name]
    told(2).save(tmp_path / "run")
    header, arrays, _ = container.read(tmp_path / "run", OPTIMIZER)
    change(header, arrays)
    container.write(tmp_path / "run", header, arrays, OPTIMIZER)
    with pytest.raises(FileFormatError, match=message):
        go.Optimizer.load(tmp_path / "run")


def test_samples_of_two_truths_are_refused(tmp_path: Path) -> None:
    told(0).save(tmp_path / "run")
    header, arrays, _ = container.read(tmp_path / "run", OPTIMIZER)
    again = told(0)
    again.save(tmp_path / "again")
    other, more, _ = container.read(tmp_path / "again", OPTIMIZER)
    renamed = {name: f"b{name}" for name in more}
    second = state(other)["samples"][0]
    for part in ("evaluated", "beside", "values"):
        second["fields"][part] = {"array": renamed[second["fields"][part]["array"]]}
    state(header)["samples"].append(second)
    container.write(tmp_path / "run", header, arrays | {renamed[name]: more[name] for name in more}, OPTIMIZER)
    with pytest.raises(FileFormatError, match=r"`samples` must be those of one truth, got 2"):
        go.Optimizer.load(tmp_path / "run")


@pytest.mark.parametrize("part", ["x", "y", "known", "steps", "values", "evaluated", "met", "matters"])
def test_a_plan_of_finite_differences_of_another_size_is_refused(tmp_path: Path, part: str) -> None:
    optimizer = told(1, partials=False)
    optimizer.ask()
    optimizer.save(tmp_path / "run")
    assert go.Optimizer.load(tmp_path / "run").ask().points.shape == optimizer.ask().points.shape
    header, arrays, _ = container.read(tmp_path / "run", OPTIMIZER)
    plan = header["parts"]["mapping"]["plan"]["fields"]
    put(arrays, plan[part], arrays[plan[part]["array"]][..., :-1])
    container.write(tmp_path / "run", header, arrays, OPTIMIZER)
    with pytest.raises(FileFormatError, match=rf"`{part}` must be (float64|bool) of shape"):
        go.Optimizer.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (10**9, r"`outputs` must have at most 1000000 entries, got 2000000001"),
        (10**12, "`shape` must have at most 32 dim"),
    ],
)
def test_claims_of_a_billion_outputs_cost_no_memory(tmp_path: Path, size: int, message: str) -> None:
    """Before the first evaluation no array of the file tells how many outputs there are."""
    told(0).save(tmp_path / "run")
    header, arrays, _ = container.read(tmp_path / "run", OPTIMIZER)
    claim(header, size)
    container.write(tmp_path / "run", header, arrays, OPTIMIZER)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message):
            go.Optimizer.load(tmp_path / "run")
        assert tracemalloc.get_traced_memory()[1] < 5 * (tmp_path / "run").stat().st_size + 1_000_000
    finally:
        tracemalloc.stop()
