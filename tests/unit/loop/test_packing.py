"""Packing: records to JSON values and back; of hostile JSON nothing but `FileFormatError` comes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from gradopt.errors import FileFormatError, InputError
from gradopt.loop.files import classes
from gradopt.loop.packing import Packer, Unpacker
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, State
from gradopt.loop.trust_region import TrustRegion
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.truth.finite_differences import FiniteDifferences

Runs = Callable[..., Any]
REMEDY = r" Copy the file again from where it was written"


def packed(value: Any) -> tuple[Any, dict[str, np.ndarray]]:
    packer = Packer(classes())
    found = packer.pack(value)
    return json.loads(json.dumps(found, allow_nan=False)), packer.arrays


def unpacked(value: Any, arrays: dict[str, np.ndarray] | None = None) -> Any:
    return Unpacker(classes(), arrays or {}).unpack(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        "text",
        0.1,
        np.inf,
        -np.inf,
        (1, (2.5, "a"), ()),
        {"a": 1, "b": (2,)},
        Exit.BUDGET,
        TrustRegion(radius=0.3),
        Settings(finite_differences=FiniteDifferences((1e-3, 1e-2)), check_derivatives=False),
    ],
    ids=repr,
)
def test_values_come_back(value: Any) -> None:
    found = unpacked(*packed(value))
    assert found == value
    assert type(found) is type(value)


def test_configurations_come_back() -> None:
    configuration = JENN((4, 3), activation="tanh", gamma=0.5)
    assert unpacked(*packed(configuration)).to_dict() == configuration.to_dict()


def test_nan_numpy_numbers_and_lists_come_back_as_python_has_them() -> None:
    assert np.isnan(unpacked(*packed(float("nan"))))
    assert unpacked(*packed([np.float64(2.5), np.int64(3), np.bool_(True)])) == (2.5, 3, True)


def test_arrays_come_back_to_the_bit() -> None:
    array = np.array([[np.nan, -0.0], [np.inf, 5e-324]])
    found = unpacked(*packed({"a": array, "b": np.arange(3)}))
    assert found["a"].tobytes() == array.tobytes()
    assert found["b"].dtype == np.arange(3).dtype


@dataclass(frozen=True)
class Foreign:
    """A record that is not in the registry."""

    number: int = 1


@pytest.mark.parametrize("value", [Foreign(), {"a": Foreign()}, object(), TrustRegion, 1j], ids=repr)
def test_other_classes_are_refused(value: Any) -> None:
    name = "Foreign" if "Foreign" in repr(value) else type(value).__name__
    expected = rf"`state` must hold values that a file can keep, got {name}\. Only the network surrogates and conf"
    with pytest.raises(InputError, match=expected):
        packed(value)


def test_an_enumeration_that_is_not_in_the_registry_is_refused() -> None:
    with pytest.raises(InputError, match=r"`state` must hold values that a file can keep, got Exit\."):
        Packer({"State": State}).pack(Exit.BUDGET)


# ---- hostile JSON ----


HOSTILE: dict[str, Any] = {
    "no tag": {"radius": 1.0},
    "unknown class": {"class": "os.system", "fields": {}},
    "class that is no name": {"class": ["State"], "fields": {}},
    "class without fields": {"class": "TrustRegion"},
    "class that is an enumeration": {"class": "Exit", "fields": {}},
    "fields that are a number": {"class": "TrustRegion", "fields": 3},
    "fields that are a list of names": {"class": "CorrectionTerms", "fields": ["first_order", "secant", "kriging"]},
    "a field too few": {"class": "CorrectionTerms", "fields": {"first_order": True, "secant": True}},
    "a field too many": {
        "class": "CorrectionTerms",
        "fields": {"first_order": True, "secant": True, "kriging": True, "more": 1},
    },
    "a field out of range": {"class": "FiniteDifferences", "fields": {"step": -1.0}},
    "a field that is a word": {"class": "FiniteDifferences", "fields": {"step": "small"}},
    "unknown array": {"array": "a7"},
    "array that is a list": {"array": [1.0, 2.0]},
    "unknown enumeration": {"enum": "Colour", "value": "red"},
    "unknown member": {"enum": "Exit", "value": "tired"},
    "enumeration without a member": {"enum": "Exit"},
    "enumeration that is a class": {"enum": "TrustRegion", "value": 0.1},
    "unknown number": {"float": "one"},
    "number that is a list": {"float": []},
    "mapping that is a list": {"mapping": [1]},
    "configuration that is a number": {"configuration": 3},
    "configuration without a kind": {"configuration": {"mapping": {}}},
    "configuration of an unknown kind": {"configuration": {"mapping": {"kind": "SVM", "solver": None}}},
    "configuration with an unknown solver": {
        "configuration": {"mapping": {"kind": "JENN", "solver": {"mapping": {"kind": "magic"}}}}
    },
    "unknown surrogate": {"surrogate": "a7"},
    "surrogate of other bytes": {"surrogate": "text"},
    "surrogate that is a dictionary": {"surrogate": {}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused(name: str) -> None:
    arrays = {"text": np.frombuffer(b"import os", dtype=np.uint8)}
    for value in (HOSTILE[name], [HOSTILE[name]], {"mapping": {"a": HOSTILE[name]}}):
        with pytest.raises(FileFormatError):
            unpacked(value, arrays)


def test_the_messages_name_the_fault() -> None:
    with pytest.raises(
        FileFormatError, match=r"The state has other fields for 'TrustRegion' than this gradopt\." + REMEDY
    ):
        unpacked({"class": "TrustRegion", "fields": {}})
    with pytest.raises(FileFormatError, match=r"The state lacks or garbles a field \('State2'\)\." + REMEDY):
        unpacked({"class": "State2", "fields": {}})


def test_the_message_names_what_is_no_enumeration() -> None:
    with pytest.raises(FileFormatError, match=r"The state has 'TrustRegion' for an enumeration\." + REMEDY):
        unpacked({"enum": "TrustRegion", "value": 0.1})


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"mapping": {"a": inner}}], ids=["list", "map"])
def test_deep_nesting_is_refused(wrap: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(30):
        value = wrap(value)
    unpacked(value)
    for _ in range(10_000):
        value = wrap(value)
    with pytest.raises(FileFormatError, match=r"The state is nested deeper than 40 levels\." + REMEDY):
        unpacked(value)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all fields of records in packed JSON."""
    if isinstance(value, dict):
        for key, entry in (value["fields"] if "class" in value else value).items():
            here = (*path, "fields", key) if "class" in value else (*path, key)
            if "class" in value:
                yield here
            yield from places(entry, here)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from places(entry, (*path, index))


def test_a_wrong_type_in_any_field_of_a_state_is_refused(flat: Runs, disk: Runs) -> None:
    made: Any = disk(fails=lambda u: len(made.evaluated) == 4)
    for _ in range(4):
        made.step()
    assert made.state.failed
    header, arrays = packed(replace(made.state, pending=made.state.history[0]))
    assert isinstance(unpacked(header, arrays), State)
    seen = set()
    for path in places(header):
        name = tuple(key for key in path if key != "fields" and not isinstance(key, int))
        if name in seen:  # one record of each kind
            continue
        seen.add(name)
        hostile = copy.deepcopy(header)
        place = hostile
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = 3 if isinstance(place[path[-1]], str) else "word"
        with pytest.raises(FileFormatError):
            unpacked(hostile, arrays)
            pytest.fail(f"{name} was read with {place[path[-1]]!r}")
    assert len(seen) > 80


@pytest.mark.parametrize(
    ("field", "wrong", "expected"),
    [
        ("at", 0.5, "int"),
        ("at", True, "int"),
        ("coupled", 1, "bool"),
        ("exit", {"enum": "Stage", "value": "start"}, r"gradopt\.loop\.state\.Exit \| None"),
        ("steps", [[1, 2, 3]], r"tuple\[tuple\[int, int\], \.\.\.\]"),
        ("failed", [[1.0]], r"tuple\[tuple\[numpy\.ndarray, \.\.\.\], \.\.\.\]"),
        ("samples", [{"enum": "Exit", "value": "budget"}], r"tuple\[gradopt\.corrected\.samples\.Samples, \.\.\.\]"),
    ],
)
def test_the_message_names_field_and_type(flat: Runs, field: str, wrong: Any, expected: str) -> None:
    header, arrays = packed(flat().state)
    header["fields"][field] = wrong
    with pytest.raises(FileFormatError, match=rf"`State\.{field}` must be {expected}, got .*\." + REMEDY):
        unpacked(header, arrays)


def test_whole_numbers_pass_for_real_ones() -> None:
    header, arrays = packed(TrustRegion())
    header["fields"]["largest"] = 1
    assert unpacked(header, arrays).largest == 1
