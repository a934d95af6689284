"""Rows of a store: their truth, its columns, and single rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from gradopt.data.variables import total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth.protocol import Evaluations, Truth


@dataclass(frozen=True)
class StoredTruth:
    """What a store holds of one truth.

    Attributes:
        identity: Words or hash that distinguish the truth.
        inputs: Names of its input variables.
        outputs: Names of its output variables.
        evaluations: Number of rows, failed ones included.
        failed: Number of failed rows.
        first: Time of the first row, ISO 8601.
        last: Time of the last row.
    """

    identity: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    evaluations: int
    failed: int
    first: str
    last: str


@dataclass(eq=False)
class Session:
    """Use of a store by one truth object.

    Attributes:
        truth: Truth, referenced so that no other object gets its `id`.
        first: Number of the first row that is written since the truth met the store.
        verified: Whether an earlier row was evaluated again, or there is none.
        lock: Lock of that evaluation.
    """

    truth: Truth
    first: int
    verified: bool
    lock: Any = field(default_factory=Lock)


def check_truth(truth: object) -> None:
    """Check that an object is a truth; raises `InputError`."""
    if not all(hasattr(truth, name) for name in ("inputs", "outputs", "identity", "evaluate")):
        remedy = "Wrap it: FunctionTruth(f, inputs, outputs)."
        raise InputError(explain("truth", "be a truth", repr(truth), remedy))


def variables_of(truth: Truth) -> str:
    """Names, shapes and units of the variables of a truth, as JSON."""
    return json.dumps([[[v.name, v.shape, v.units] for v in side] for side in (truth.inputs, truth.outputs)])


def shape_of(truth: Truth) -> tuple[int, int]:
    """Return the numbers m and d of output and input columns."""
    return total_size(truth.outputs), total_size(truth.inputs)


def evaluated(truth: Truth, point: np.ndarray) -> Evaluations:
    """Evaluate a truth at a point (d,)."""
    found = truth.evaluate(point[None])
    check_shape("dydx of truth.evaluate(x)", found, (1, *shape_of(truth)))
    return row_at(found, 0, point)


def check_shape(argument: str, found: Evaluations, expected: tuple[int, int, int]) -> None:
    """Check numbers of rows, outputs and inputs; raises `ShapeError`."""
    shape = (found.n, *found.dydx.shape[1:])
    if shape != expected:
        remedy = "Return one row for each point, with the columns of `inputs` and `outputs`."
        raise ShapeError(explain(argument, f"have shape {expected}", shape, remedy))


def row_at(found: Evaluations, row: int, point: np.ndarray) -> Evaluations:
    """Take one row, at the requested point, which is its key."""
    if found.n == 1 and found.x[0].tobytes() == point.tobytes():
        return found
    one = slice(row, row + 1)
    return Evaluations(
        point[None], found.y[one], found.dydx[one], found.status[one], found.message[one], found.seconds[one]
    )
