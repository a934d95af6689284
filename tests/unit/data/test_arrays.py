"""Arrays of records: frozen in place, in copies too; array-likes are taken, or refused by name."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from gradopt.data.arrays import ReadOnly, as_floats, freeze_fields, frozen
from gradopt.data.dataset import Dataset
from gradopt.errors import InputError

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


def test_a_frozen_array_is_the_same_one_and_cannot_be_written() -> None:
    array = np.zeros(2)
    assert frozen(array) is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


# ---- copies of records ----


@dataclass(frozen=True, eq=False)
class Record(ReadOnly):
    """Arrays at several depths, and a cached number."""

    array: np.ndarray
    nested: Any = None

    def __post_init__(self) -> None:
        """Freeze."""
        freeze_fields(self, "array")

    @cached_property
    def total(self) -> float:
        """Sum."""
        return float(self.array.sum())


COPIES = {
    "pickle": lambda record: pickle.loads(pickle.dumps(record)),
    "old pickle": lambda record: pickle.loads(pickle.dumps(record, protocol=0)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_read_only(how: str) -> None:
    record = Record(np.ones(3), {"a": [np.zeros(1)], "b": (np.zeros(2),)})
    assert record.total == 3.0
    found = COPIES[how](record)
    assert np.array_equal(found.array, record.array)
    for array in (found.array, found.nested["a"][0], found.nested["b"][0]):
        assert not array.flags.writeable
    assert "total" not in vars(found)  # what was cached is computed again
    assert found.total == 3.0


# ---- masked arrays ----


@pytest.mark.parametrize(
    ("values", "where"),
    [
        (MASKED, r"a masked array\."),
        ([MASKED, MASKED], r"a masked array at \[0\]\."),
        ([[1.0, 2.0], MASKED], r"a masked array at \[1\]\."),
        ([[[0.0, 1.0], MASKED]], r"a masked array at \[0, 1\]\."),
        ((MASKED,), r"a masked array at \[0\]\."),
        (deque([MASKED]), r"a masked array at \[0\]\."),
        ([[1.0, np.ma.masked]], r"a masked array at \[0, 1\]\."),
    ],
    ids=str,
)
def test_masked_values_are_refused_with_their_place(values: Any, where: str) -> None:
    with pytest.raises(
        InputError, match=rf"`x` must not be masked, got {where} Drop masked samples, or in `dydx` fill"
    ):
        as_floats("x", values)


@pytest.mark.parametrize("values", [np.ma.array([1.0, 2.0]), [np.ma.array([1.0, 2.0], mask=False)]], ids=str)
def test_arrays_with_nothing_masked_are_taken(values: Any) -> None:
    assert np.ravel(as_floats("x", values)).tolist() == [1.0, 2.0]


def test_a_dataset_refuses_masked_rows_in_lists() -> None:
    with pytest.raises(InputError, match=r"`y` must not be masked, got a masked array at \[1\]"):
        Dataset(np.zeros((2, 1)), [[0.0], np.ma.array([1.0], mask=True)])  # type: ignore[arg-type]


def test_rows_to_select_may_not_be_masked() -> None:
    data = Dataset(np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(InputError, match="`rows` must not be masked"):
        data.select(np.ma.array([True, True], mask=[True, False]))


# ---- tensors ----


@pytest.mark.parametrize("tensor", [torch.ones(2, 1), torch.ones(2, 1, dtype=torch.half), torch.ones(2, 1).bool()])
def test_plain_tensors_are_taken(tensor: torch.Tensor) -> None:
    assert as_floats("x", tensor).tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (torch.ones(2, requires_grad=True), r"torch\.Tensor with dtype=torch\.float32, device=cpu, requires_grad=True"),
        (torch.nn.Parameter(torch.ones(2)), r"torch\.nn\.parameter\.Parameter with .*requires_grad=True"),
        (torch.ones(2, dtype=torch.bfloat16), r"torch\.Tensor with dtype=torch\.bfloat16, device=cpu"),
        ([torch.ones(2, dtype=torch.bfloat16)], r"torch\.Tensor with dtype=torch\.bfloat16, device=cpu"),
        ([[torch.ones(2, requires_grad=True)]], r"torch\.Tensor with .*requires_grad=True"),
        (torch.ones(2, device="meta"), r"torch\.Tensor with dtype=torch\.float32, device=meta"),
        (torch.eye(2).to_sparse(), r"torch\.Tensor with dtype=torch\.float32"),
        (torch.ones(2, dtype=torch.complex64).conj(), r"torch\.Tensor with dtype=torch\.complex64"),
    ],
)
def test_other_tensors_are_refused_by_name(values: Any, got: str) -> None:
    remedy = r"Of a torch tensor pass `tensor\.detach\(\)\.double\(\)\.cpu\(\)\.numpy\(\)`\."
    with pytest.raises(InputError, match=rf"`x` must be convertible to a NumPy array, got {got}.* {remedy}"):
        as_floats("x", values)


class Broken:
    """An array-like without dtype whose conversion fails."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        """Fail."""
        raise RuntimeError("out of order")


def test_an_array_like_that_fails_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"`x` must be convertible to a NumPy array, got .*Broken \(out of order\)"):
        as_floats("x", Broken())


@pytest.mark.parametrize("values", [[[1.0, 2.0], [3.0]], [[1.0], 2.0]], ids=str)
def test_ragged_values_are_refused(values: Any) -> None:
    with pytest.raises(
        InputError, match=r"`x` must be a regular array, got \[\[1\.0.*\. Give every row the same length"
    ):
        as_floats("x", values)
