"""The file format: safetensors with a JSON header and a checksum. Reading a file executes nothing in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gradopt.data.atomic import write_atomically
from gradopt.data.json_values import check_nesting
from gradopt.errors import FileFormatError, InputError, explain

_MOST_SEPARATORS = 1_000_000
"""Brackets, braces and commas of the JSON text that is read, by hand.

A run of 2000 iterations has some 200,000. The values between them take about 100 bytes each in memory.
"""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        format: Name of the format, kept in each file.
        version: Newest schema version that this gradopt reads, and the one it writes.
        written_by: Call that writes such a file, for messages.
    """

    format: str
    version: int
    written_by: str


SURROGATE = Kind("gradopt.surrogate", 3, "surrogate.save(path)")


def write(
    path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kind: Kind = SURROGATE
) -> None:
    """Write a file atomically: after a failure an older file is unchanged.

    Args:
        path: Place of the file; an existing file is replaced.
        header: Plain JSON values.
        arrays: Arrays by name.
        kind: Kind of the file.

    Raises:
        InputError: If the folder of the file does not exist.
    """
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    metadata = {
        "format": kind.format,
        "schema_version": str(kind.version),
        "header": text,
        "checksum": _checksum(text, contiguous),
    }
    if not path.parent.is_dir():
        remedy = f"Make it first: Path({str(path.parent)!r}).mkdir(parents=True)."
        raise InputError(explain("path", "lie in an existing folder", repr(str(path)), remedy))
    write_atomically(path, save(contiguous, metadata))


def read(path: str | Path, kind: Kind = SURROGATE) -> tuple[dict[str, Any], dict[str, np.ndarray], int]:
    """Read a file that `write` wrote.

    Args:
        path: The file.
        kind: Kind that it must be of.

    Returns:
        Header, arrays and schema version.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If the file is truncated, of another program, newer than this version, or was changed.
        InputError: If the path is no ordinary file.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(explain("path", "be a file", f"the folder {str(path)!r}", "Name a file in that folder."))
    if path.exists() and not path.is_file():  # such as a pipe, on which reading waits
        raise InputError(explain("path", "be an ordinary file", repr(str(path)), "Name a file on a disk."))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            version, text = _version_and_text(path, metadata, kind)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileFormatError:
        raise
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError, RuntimeError) as broken:
        with path.open("rb") as opened:
            beginning = opened.read(2)
        if beginning[:1] == b"\x80" or beginning == b"PK":
            raise FileFormatError(
                f"{str(path)!r} is a pickle or a torch.save archive, which gradopt never opens: loading one can run "
                f"any code. Write the file with `{kind.written_by}` where it was made."
            ) from broken
        raise FileFormatError(
            f"{str(path)!r} is no safetensors file, or a truncated one ({broken}). Copy the original file again; "
            f"such files are written by `{kind.written_by}`."
        ) from broken
    if metadata.get("checksum") != _checksum(text, arrays):
        raise FileFormatError(
            f"{str(path)!r} was changed after it was written: its checksum does not match. Copy the original file "
            "again."
        )
    try:
        header = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise FileFormatError(f"{str(path)!r} has a garbled header. Copy the original file again.")
    check_nesting(header)
    return header, arrays, version


def _version_and_text(path: Path, metadata: Mapping[str, str], kind: Kind) -> tuple[int, str]:
    """Return schema version and JSON text of a file of a kind."""
    if metadata.get("format") != kind.format:
        raise FileFormatError(
            f"{str(path)!r} is a safetensors file of another program (format {shortened(metadata.get('format'))}, "
            f"expected {kind.format!r}). Pass a file written by `{kind.written_by}`."
        )
    version, text = metadata.get("schema_version", ""), metadata.get("header", "")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", version) or int(version) > kind.version:
        raise FileFormatError(
            f"{str(path)!r} has schema version {shortened(version)}, this gradopt reads up to {kind.version}. "
            "The file was written by a newer gradopt: upgrade with `pip install -U gradopt`."
        )
    separators = sum(map(text.count, "[{,"))
    if separators > _MOST_SEPARATORS:
        raise FileFormatError(
            f"{str(path)!r} has a header of {separators} entries, more than the {_MOST_SEPARATORS} that are read. Pass "
            f"a file written by `{kind.written_by}`."
        )
    return int(version), text


def _refuse_constant(name: str) -> float:
    """Refuse NaN and infinities, which `write` never writes."""
    raise ValueError(f"{name} is no JSON value")


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)  # without a copy
    return found.hexdigest()
