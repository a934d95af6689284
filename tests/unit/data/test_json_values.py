"""Plain JSON values of arrays, tuples and numbers that are not finite."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytest

from gradopt.data.json_values import check_fields, check_nesting, plain_json
from gradopt.errors import FileFormatError


def test_nested_values_become_what_json_reads_back() -> None:
    given = {
        "array": np.array([[1.0, np.nan], [np.inf, -0.5]]),
        "scalars": (np.float64(2.5), np.int64(3), np.bool_(True)),
        3: MappingProxyType({"text": "a", "none": None}),
    }
    expected = {
        "array": [[1.0, None], [None, -0.5]],
        "scalars": [2.5, 3, True],
        "3": {"text": "a", "none": None},
    }
    assert json.loads(json.dumps(plain_json(given), allow_nan=False)) == expected


# ---- what a file holds in their place ----


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["list", "dictionary"])
def test_deep_nesting_is_refused(wrap: Callable[[Any], Any]) -> None:
    check_nesting(nested(149, wrap))
    for levels in (150, 100_000):
        with pytest.raises(
            FileFormatError, match=r"`header` must be nested at most 150 levels deep, got deeper values"
        ):
            check_nesting(nested(levels, wrap))


@dataclass(frozen=True)
class Fields:
    """One field of each kind of annotation."""

    real: float = 1.0
    whole: int = 1
    text: str = "a"
    optional: tuple[float, ...] | None = None
    pair: tuple[int, str] = (1, "a")
    shares: dict[str, float] = field(default_factory=dict)
    how: Literal["cold", "warm"] = "cold"
    array: np.ndarray = field(default_factory=lambda: np.zeros(1))
    anything: Any = None


def test_fields_of_the_declared_types_pass() -> None:
    check_fields(Fields())
    check_fields(Fields(real=2, optional=(1, 2.5), shares={"a": 1}, how="warm", anything=object()))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("real", "1", "float"),
        ("real", True, "float"),
        ("real", None, "float"),
        ("whole", 1.0, "int"),
        ("whole", False, "int"),
        ("text", 3, "str"),
        ("optional", (1.0, "a"), r"tuple\[float, \.\.\.\] \| None"),
        ("optional", [1.0], r"tuple\[float, \.\.\.\] \| None"),
        ("pair", (1,), r"tuple\[int, str\]"),
        ("pair", ("a", 1), r"tuple\[int, str\]"),
        ("shares", {"a": "b"}, r"dict\[str, float\]"),
        ("shares", {1: 1.0}, r"dict\[str, float\]"),
        ("shares", [], r"dict\[str, float\]"),
        ("how", "hot", r"typing\.Literal\['cold', 'warm'\]"),
        ("how", ["cold"], r"typing\.Literal\['cold', 'warm'\]"),
        ("how", np.array(["cold", "warm"]), r"typing\.Literal\['cold', 'warm'\]"),
        ("array", [1.0], "ndarray"),
    ],
)
def test_a_field_of_another_type_is_named(name: str, value: Any, expected: str) -> None:
    message = rf"`Fields\.{name}` must be {expected}, got .*\. Copy the original file again\."
    with pytest.raises(FileFormatError, match=message):
        check_fields(Fields(**{name: value}))
