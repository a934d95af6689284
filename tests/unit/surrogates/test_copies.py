"""What is immutable stays so when it is pickled or copied, and predicts the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, Dataset, GradINN, Surrogate, Variable
from gradopt.diagnostics import cross_validate
from gradopt.surrogates import FitInterrupted

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda record: pickle.loads(pickle.dumps(record)),
    "deepcopy": copy.deepcopy,
}
X = np.random.default_rng(0).uniform(0.1, 0.9, (8, 2))
DATA = Dataset(X, (X**2).sum(axis=1, keepdims=True), 2.0 * X[:, None, :], [Variable("u", (2,), lower=0.0)])


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """All arrays of a record and of the records in it."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from arrays_in(getattr(value, each.name))
    elif isinstance(value, dict):
        yield from arrays_in(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from arrays_in(entry)


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    """Records with arrays."""
    configuration = JENN((3,), starts=2, alpha=1e-6, beta=np.ones((1, 1)), gamma=np.ones((1, 1, 2)))
    return {
        "Dataset": DATA,
        "Variable": DATA.input_variables[0],
        "JENN": configuration,
        "Surrogate": JENN((3,), starts=2).fit(DATA),
        "GradINN": GradINN((3,), starts=1, alpha=1e-4, weight=1.0).fit(DATA),
    }


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["Dataset", "JENN", "Surrogate", "GradINN"])
def test_arrays_of_copies_cannot_be_written(records: dict[str, Any], name: str, how: str) -> None:
    original = list(arrays_in(records[name]))
    found = list(arrays_in(COPIES[how](records[name])))
    assert original
    assert len(found) == len(original)
    for mine, theirs in zip(original, found, strict=True):
        assert np.array_equal(mine, theirs, equal_nan=True)
        assert not mine.flags.writeable
        assert not theirs.flags.writeable


@pytest.mark.parametrize("how", COPIES)
def test_a_cross_validation_stays_read_only(how: str) -> None:
    found = COPIES[how](cross_validate(JENN((3,), starts=1, alpha=1e-6), DATA, folds=2))
    assert not any(array.flags.writeable for array in arrays_in(found))


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_equal(records: dict[str, Any], how: str) -> None:
    assert COPIES[how](records["Variable"]) == records["Variable"]
    assert COPIES[how](DATA).digest == DATA.digest
    surrogate: Surrogate = records["Surrogate"]
    surrogate.predict(X)
    found = COPIES[how](surrogate)
    assert found.digest == surrogate.digest
    assert np.array_equal(found.predict(X), surrogate.predict(X))
    assert np.array_equal(found.std(X), surrogate.std(X))


def test_an_interrupted_fit_can_be_pickled(records: dict[str, Any]) -> None:
    stopped = FitInterrupted(records["Surrogate"])
    found = pickle.loads(pickle.dumps(stopped))
    assert str(found) == str(stopped)
    assert found.surrogate.digest == stopped.surrogate.digest
