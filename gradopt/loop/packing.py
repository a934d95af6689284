"""Frozen records to JSON values and arrays, and back: what a file of a run is made of. Nothing is ever executed.

A record is written as the name of its class and its fields. Only classes of a registry that the reader is given are
built, with the fields that they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from reprlib import repr as shortened
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.json_values import fits
from gradopt.data.variables import Variable
from gradopt.errors import FileFormatError, InputError, explain

_DEEPEST = 40  # levels of nesting that are read; a state has less than 20

Classes = Mapping[str, type]
"""Classes that may be built, by name."""


class Packer:
    """Collects the arrays and surrogates of records.

    Attributes:
        arrays: Arrays by the names under which the JSON values refer to them.
    """

    def __init__(self, classes: Classes) -> None:
        """Start without arrays; `classes` are those that may be packed."""
        self.arrays: dict[str, np.ndarray] = {}
        self._classes = {kind: name for name, kind in classes.items()}
        self._surrogates: dict[str, str] = {}

    def pack(self, value: Any) -> Any:
        """Return JSON values for a value.

        Raises:
            InputError: If it is of a class that no file can hold.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, StrEnum):
            return {"enum": self._name(value), "value": value.value}
        if isinstance(value, str | int):
            return value
        if isinstance(value, float):
            return float(value) if np.isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, np.ndarray):
            return {"array": self._kept(np.asarray(value))}
        if isinstance(value, np.generic):
            return self.pack(value.item())
        if isinstance(value, tuple | list):
            return [self.pack(entry) for entry in value]
        if isinstance(value, Mapping):
            return {"mapping": {str(key): self.pack(entry) for key, entry in value.items()}}
        if hasattr(value, "networks") and hasattr(value, "save"):
            return {"surrogate": self._file_of(value)}
        if hasattr(value, "fit") and hasattr(value, "to_dict"):
            return {"configuration": self.pack(value.to_dict())}
        if is_dataclass(value) and not isinstance(value, type):
            return {
                "class": self._name(value),
                "fields": {f.name: self.pack(getattr(value, f.name)) for f in fields(value)},
            }
        remedy = "Only the network surrogates and configurations of gradopt can be kept in a file."
        raise InputError(explain("state", "hold values that a file can keep", type(value).__name__, remedy))

    def _name(self, value: Any) -> str:
        name = self._classes.get(type(value))
        if name is None:
            remedy = "Only the network surrogates and configurations of gradopt can be kept in a file."
            raise InputError(explain("state", "hold values that a file can keep", type(value).__name__, remedy))
        return name

    def _kept(self, array: np.ndarray) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def _file_of(self, surrogate: Any) -> str:
        """Name of the array that holds the bytes of a surrogate's own file, each surrogate once."""
        if surrogate.digest not in self._surrogates:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "surrogate"
                surrogate.save(path)
                content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
            self._surrogates[surrogate.digest] = self._kept(content)
        return self._surrogates[surrogate.digest]


class Unpacker:
    """Builds records from JSON values and arrays."""

    def __init__(self, classes: Classes, arrays: Mapping[str, np.ndarray]) -> None:
        """Make a reader of `arrays`, each of which is used once, that may build `classes`."""
        self._classes, self._arrays = classes, dict(arrays)
        self._surrogates: dict[str, Any] = {}

    def unpack(self, packed: Any, depth: int = 0) -> Any:
        """Return the value of JSON values.

        Args:
            packed: What `Packer.pack` returned.
            depth: Level of nesting.

        Raises:
            FileFormatError: If they are not what `pack` returns.
        """
        if depth > _DEEPEST:
            raise FileFormatError(f"The state is nested deeper than {_DEEPEST} levels. {_REMEDY}")
        if isinstance(packed, list):
            return tuple(self.unpack(entry, depth + 1) for entry in packed)
        if not isinstance(packed, dict):
            return packed
        try:
            return self._unpack_tagged(packed, depth + 1)
        except FileFormatError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as broken:
            raise FileFormatError(f"The state lacks or garbles a field ({broken}). {_REMEDY}") from broken

    def _unpack_tagged(self, packed: dict[str, Any], depth: int) -> Any:
        if "class" in packed:
            kind = self._classes[packed["class"]]
            if not is_dataclass(kind) or set(packed["fields"]) != {field.name for field in fields(kind)}:
                raise FileFormatError(
                    f"The state has other fields for {packed['class']!r} than this gradopt. {_REMEDY}"
                )
            if kind is Variable:
                return Variable.from_dict({**packed["fields"], **self._bounds(packed["fields"])})
            found = {name: self.unpack(entry, depth) for name, entry in packed["fields"].items()}
            for name, hint in get_type_hints(kind, localns=dict(self._classes)).items():
                if not fits(found[name], hint):
                    expected = hint.__name__ if isinstance(hint, type) else hint
                    field = f"{packed['class']}.{name}"
                    raise FileFormatError(explain(field, f"be {expected}", shortened(found[name]), _REMEDY))
            if kind is Dataset:
                _check_arrays_of_dataset(found)
            return kind(**found)
        if "array" in packed:  # used once: a file that names an array again and again would fill the memory
            return self._arrays.pop(packed["array"])
        if "enum" in packed:
            kind = self._classes[packed["enum"]]
            if not issubclass(kind, StrEnum):
                raise FileFormatError(f"The state has {packed['enum']!r} for an enumeration. {_REMEDY}")
            return kind(packed["value"])
        if "float" in packed:
            return {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}[packed["float"]]
        if "mapping" in packed:
            return {key: self.unpack(entry, depth) for key, entry in packed["mapping"].items()}
        if "configuration" in packed:
            from gradopt.surrogates.fitted.files import configuration_from_dict

            return configuration_from_dict(self._plain(packed["configuration"], depth))
        return self._surrogate(packed["surrogate"])

    def _plain(self, packed: Any, depth: int) -> Any:
        """The dictionary of a configuration, with lists as its own reader expects them."""
        found = self.unpack(packed, depth)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}

    def _bounds(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The bounds of a variable as `Variable.from_dict` expects them."""
        found = {side: self.unpack(fields[side]) for side in ("lower", "upper")}
        return {
            side: [value if np.isfinite(value) else None for value in bound] if isinstance(bound, tuple) else bound
            for side, bound in found.items()
        }

    def _surrogate(self, name: str) -> Any:
        from gradopt.surrogates.fitted.files import load

        if name not in self._surrogates:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "surrogate"
                path.write_bytes(self._arrays.pop(name).data)
                self._surrogates[name] = load(path)
        return self._surrogates[name]


_REMEDY = "Copy the file again from where it was written, or begin a new run on the same store."


def _check_arrays_of_dataset(found: Mapping[str, Any]) -> None:
    """Check sizes before a dataset fills in, copies and converts."""
    for name in ("x", "y", "dydx"):
        array = found[name]
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise FileFormatError(explain(f"Dataset.{name}", "be a float64 array", shortened(array), _REMEDY))
