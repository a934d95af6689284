"""The SQLite file of a store: its tables, and writing and reading of rows."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from gradopt.errors import FileFormatError, InputError, explain
from gradopt.truth.protocol import Evaluations, PointStatus

FORMAT = "gradopt.evaluations"
SCHEMA_VERSION = 1
_WAIT = 60.0  # time to wait for another process that writes, s; by hand, far above the milliseconds of one row
_WAL_ATTEMPTS, _WAL_PAUSE = 200, 0.02  # attempts to switch to WAL, and pause between them, s; by hand: 4 s in all

_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS truths (digest TEXT PRIMARY KEY, identity TEXT NOT NULL, variables TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS evaluations (
        id INTEGER PRIMARY KEY,
        truth TEXT NOT NULL REFERENCES truths (digest),
        x BLOB NOT NULL,
        y BLOB NOT NULL,
        dydx BLOB NOT NULL,
        status TEXT NOT NULL,
        message TEXT NOT NULL,
        seconds REAL NOT NULL,
        time TEXT NOT NULL,
        versions TEXT NOT NULL,
        UNIQUE (truth, x))""",
)
_ROW = "SELECT x, y, dydx, status, message, seconds FROM evaluations WHERE truth = ?"


def connect(path: str | Path) -> sqlite3.Connection:
    """Open a file of evaluations; create it if it does not exist.

    Args:
        path: Path of the file, or ":memory:".

    Returns:
        Connection that commits each statement to the disk.

    Raises:
        FileFormatError: If the file is not an SQLite file, is of another program, or newer than this version.
        InputError: If the file cannot be opened or written.
    """
    place = Path(path)
    if str(path) != ":memory:" and not place.parent.is_dir():
        remedy = f"Create it first: Path({str(place.parent)!r}).mkdir(parents=True)."
        raise InputError(explain("path", "lie in an existing folder", repr(str(path)), remedy))
    try:
        database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error
    try:
        _prepare(database, path)
    except sqlite3.OperationalError as error:
        database.close()
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise FileFormatError(
            f"{str(path)!r} is not an SQLite file, or a damaged one ({error}). Pass the path of a file that "
            "`EvaluationStore` wrote, or of a new one."
        ) from error
    except BaseException:
        database.close()
        raise
    return database


def _unusable(path: str | Path, error: Exception) -> InputError:
    remedy = "Name a file on a local disk, with permission to write."
    return InputError(explain("path", "be a file that SQLite can open and write", f"{str(path)!r} ({error})", remedy))


def _prepare(database: sqlite3.Connection, path: str | Path) -> None:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables:
        _check_format(database, path, tables)
    if str(path) != ":memory:" and database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(database)
    database.execute("PRAGMA synchronous = FULL")
    if not tables:
        database.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            database.execute(statement)
        rows = [("format", FORMAT), ("schema_version", str(SCHEMA_VERSION))]
        database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows)
        database.execute("COMMIT")


def _check_format(database: sqlite3.Connection, path: str | Path, tables: set[str]) -> None:
    meta = dict(database.execute("SELECT key, value FROM meta")) if tables >= {"meta", "evaluations"} else {}
    if meta.get("format") != FORMAT:
        raise FileFormatError(
            f"{str(path)!r} is an SQLite file of another program (tables {sorted(tables)}, format "
            f"{meta.get('format')!r}). Pass the path of a file that `EvaluationStore` wrote, or of a new one."
        )
    version = str(meta.get("schema_version"))
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise FileFormatError(
            f"{str(path)!r} has schema version {version!r}, this gradopt reads up to {SCHEMA_VERSION}. "
            "It was written by a newer gradopt: upgrade with `pip install -U gradopt`."
        )


def _switch_to_wal(database: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, for readers beside a writer; try again while another process switches too."""
    for attempt in range(_WAL_ATTEMPTS):
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == _WAL_ATTEMPTS - 1:
                raise
            sleep(_WAL_PAUSE)


def to_blob(array: np.ndarray) -> bytes:
    """Convert numbers to bytes: float64, little-endian."""
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def select(database: sqlite3.Connection, truth: str, m: int, d: int, x: np.ndarray | None = None) -> list[Evaluations]:
    """Read rows of a truth, in the order in which they were written.

    Args:
        database: The connection.
        truth: Digest of the truth.
        m: Number of output columns.
        d: Number of input columns.
        x: Point (d,) whose row alone is read, if there is one; None = all rows.

    Returns:
        One `Evaluations` of one point for each row.

    Raises:
        FileFormatError: If a row was changed after it was written.
    """
    where, values = ("", (truth,)) if x is None else (" AND x = ?", (truth, to_blob(x)))
    rows = database.execute(f"{_ROW}{where} ORDER BY id", values).fetchall()
    return [_read(row, m, d) for row in rows]


def _read(row: tuple[Any, ...], m: int, d: int) -> Evaluations:
    x, y, dydx, status, message, seconds = row
    try:
        return Evaluations(
            np.frombuffer(x, "<f8").reshape(1, d),
            np.frombuffer(y, "<f8").reshape(1, m),
            np.frombuffer(dydx, "<f8").reshape(1, m, d),
            [PointStatus(status)],
            [message],
            np.array([seconds]),
        )
    except (ValueError, TypeError) as broken:
        raise FileFormatError(
            f"A row of the store was changed after it was written ({broken}). Copy the file again from where it was "
            "made, or evaluate into a new one."
        ) from broken


def insert(database: sqlite3.Connection, truth: str, found: Evaluations, versions: str, replace_failed: bool) -> bool:
    """Write one evaluation to the disk.

    Args:
        database: The connection.
        truth: Digest of the truth, which is in the table `truths`.
        found: Evaluations of one point.
        versions: Versions of the packages, as JSON.
        replace_failed: Whether to replace a failed row of the same point; a good row is never replaced.

    Returns:
        Whether the row was written: False if the point was there already.
    """
    conflict = "NOTHING"
    if replace_failed:
        columns = ("y", "dydx", "status", "message", "seconds", "time", "versions")
        conflict = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)} WHERE status != 'ok'"
    cursor = database.execute(
        "INSERT INTO evaluations (truth, x, y, dydx, status, message, seconds, time, versions) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (truth, x) DO {conflict}",
        (
            truth,
            *(to_blob(array) for array in (found.x[0], found.y[0], found.dydx[0])),
            found.status[0].value,
            found.message[0],
            float(found.seconds[0]),
            datetime.now(UTC).isoformat(),
            versions,
        ),
    )
    return cursor.rowcount > 0


def register(database: sqlite3.Connection, digest: str, identity: str, variables: Any) -> None:
    """Write identity and variables of a truth, unless they are there."""
    row = (digest, identity, json.dumps(variables))
    database.execute("INSERT OR IGNORE INTO truths VALUES (?, ?, ?)", row)
