"""Rows of the table `evaluations`: their columns, their digest, and the evaluations that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gradopt.truth.protocol import Evaluations, PointStatus

COLUMNS = ("truth", "x", "y", "dydx", "status", "message", "seconds", "time", "versions", "digest")


def to_blob(array: np.ndarray) -> bytes:
    """Convert numbers to bytes: float64, little-endian."""
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def to_row(truth: str, found: Evaluations, versions: str) -> tuple[Any, ...]:
    """Make the row of an evaluation, with the time now.

    Args:
        truth: Digest of the truth.
        found: Evaluations of one point.
        versions: Versions of the packages, as JSON.

    Returns:
        Values of `COLUMNS`.
    """
    row = (
        truth,
        *(to_blob(array) for array in (found.x[0], found.y[0], found.dydx[0])),
        found.status[0].value,
        stored_message(found),
        float(found.seconds[0]),
        datetime.now(UTC).isoformat(),
        versions,
    )
    return (*row, _digest_of(row))


def stored_message(found: Evaluations) -> str:
    """Message of one point as it can be stored: without lone surrogates."""
    return found.message[0].encode("utf-8", "replace").decode("utf-8")


def from_rows(
    rows: Iterable[tuple[Any, ...]],
    wanted: tuple[object, ...],
    m: int,
    d: int,
    damaged: Callable[[int, str], Exception],
) -> Evaluations:
    """Check rows and make their evaluations; one row after the other is read, and none is kept.

    Args:
        rows: Number of each row, and values of `COLUMNS`.
        wanted: Values that the first columns of each row have to have.
        m: Number of output columns.
        d: Number of input columns.
        damaged: Makes the error of a row that was changed, of its number and the reason.

    Returns:
        Evaluations with one point for each row.
    """
    arrays = bytearray(), bytearray(), bytearray()
    numbers, status, message, seconds = list[int](), list[PointStatus](), list[str](), list[float]()
    for number, *fields, digest in rows:
        try:
            if tuple(fields[: len(wanted)]) != wanted or _digest_of(tuple(fields)) != digest:
                raise ValueError("its digest is that of other numbers")
            _, *blobs, kind, text, time = fields[:7]
            if [len(blob) for blob in blobs] != [8 * d, 8 * m, 8 * m * d]:
                raise ValueError("it has other numbers of inputs and outputs")
            status.append(PointStatus(kind))
        except (ValueError, TypeError, AttributeError, OverflowError) as broken:
            raise damaged(number, str(broken)) from broken
        for array, blob in zip(arrays, blobs, strict=True):
            array += blob
        numbers.append(number)
        message.append(text)
        seconds.append(time)
    shapes = ((-1, d), (-1, m), (-1, m, d)) if numbers else ((0, d), (0, m), (0, m, d))
    x, y, dydx = (np.frombuffer(array, "<f8").reshape(shape) for array, shape in zip(arrays, shapes, strict=True))
    try:
        return Evaluations(x, y, dydx, status, message, np.array(seconds, float))
    except ValueError:
        for row, number in enumerate(numbers):  # which one it is
            one = slice(row, row + 1)
            try:
                Evaluations(x[one], y[one], dydx[one], status[one], message[one], np.array(seconds[one], float))
            except ValueError as broken:
                raise damaged(number, str(broken)) from broken
        raise


def _digest_of(row: tuple[Any, ...]) -> bytes:
    """Hash all fields of a row but its number."""
    truth, x, y, dydx, status, message, seconds, time, versions = row
    words = [truth, status, message, float(seconds).hex(), time, versions, len(x), len(y), len(dydx)]
    found = hashlib.sha256(json.dumps(words).encode())
    for blob in (x, y, dydx):
        found.update(blob)
    return found.digest()
