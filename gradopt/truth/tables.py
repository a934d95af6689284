"""The SQLite file of a store: its tables, and writing and reading of rows."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from gradopt.errors import FileFormatError, InputError, StoreError, explain
from gradopt.truth.protocol import Evaluations
from gradopt.truth.row_format import COLUMNS, from_rows, stored_message, to_blob, to_row

FORMAT = "gradopt.evaluations"
SCHEMA_VERSION = 2
MEMORY = ":memory:"
_WAIT = 60.0  # time to wait for another process that writes, s; by hand, far above the milliseconds of one row
_SYNC_EVERY = 1.0  # time after which a row waits for the disk, s; by hand: waiting takes milliseconds, writing 0.1 ms
_LOG_PAGES = 8000  # pages of 4 kB in the log from which they go to the file, 1000 by default: that takes 0.1 ms a row
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
        digest BLOB NOT NULL,
        UNIQUE (truth, x))""",
)
_SELECT = f"SELECT id, {', '.join(COLUMNS)} FROM evaluations"
_INTO = f"INSERT INTO evaluations ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_INSERT = f"{_INTO} ON CONFLICT (truth, x) DO NOTHING"
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("truth", "x"))
_REPLACE = f"{_INTO} ON CONFLICT (truth, x) DO UPDATE SET {_CHANGED} WHERE status != 'ok'"
_REMEDY = "Copy the file again from where it was made, or evaluate into a new one."


def digest_of_truth(identity: str, variables: str) -> str:
    """Hash the identity of a truth and the names, shapes and units of its variables, as JSON."""
    return hashlib.sha256(json.dumps([identity, variables]).encode()).hexdigest()


class Tables:
    """An open file of evaluations, or one in memory. An object is used in one thread at a time.

    Attributes:
        path: Path of the file, or ":memory:".
        read_only: Whether file or folder may not be written.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file of evaluations; create the file if it does not exist.

        Args:
            path: Path of the file, or ":memory:".

        Raises:
            FileFormatError: If the file is not an SQLite file, is of another program, damaged, or of another version.
            InputError: If the file cannot be opened or written.
        """
        self.path = str(path)
        self.read_only = False
        self._waited = -np.inf  # when rows waited for the disk last, s
        if self.path != MEMORY:
            self._check_place()
        try:
            self._database = self._connected()
        except (sqlite3.Error, ValueError) as error:  # ValueError: a null character in the path
            raise self._unusable(error) from error
        try:
            self._prepare()
            self._places = self._found()
        except BaseException as error:
            self._database.close()
            if isinstance(error, sqlite3.OperationalError):
                raise self._unusable(error) from error
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):  # the latter: a damaged name of a table
                raise FileFormatError(
                    f"{self.path!r} is not an SQLite file, or a damaged one ({error}). Pass the path of a file that "
                    "`EvaluationStore` wrote, or of a new one."
                ) from error
            raise

    def close(self) -> None:
        """Close the file; rows in memory are lost."""
        self._database.close()

    def row(self, truth: str, m: int, d: int, x: np.ndarray) -> Evaluations | None:
        """Read the row of a point.

        Args:
            truth: Digest of the truth.
            m: Number of output columns.
            d: Number of input columns.
            x: Point (d,).

        Returns:
            Evaluations of one point, None where there is no row.

        Raises:
            FileFormatError: If the file is damaged, or the row was changed after it was written.
            StoreError: If the file cannot be read.
        """
        key = (truth, to_blob(x))
        with self._reading():
            found = self._execute(f"{_SELECT} WHERE truth = ? AND x = ?", *key).fetchall()
        return from_rows(found, key, m, d, self._changed) if found else None

    def rows(self, truth: str, m: int, d: int, most: int = -1) -> Evaluations:
        """Read rows of a truth, in the order in which they were written; raises what `row` does.

        Args:
            truth: Digest of the truth.
            m: Number of output columns.
            d: Number of input columns.
            most: Number of rows after which reading ends; -1 = all rows.
        """
        with self._reading():
            rows = self._execute(f"{_SELECT} WHERE +truth = ? ORDER BY id LIMIT ?", truth, most)
            return from_rows(rows, (truth,), m, d, self._changed)

    def first_good(self, truth: str, m: int, d: int, before: int) -> Evaluations | None:
        """Read the first row of a truth that has not failed, of those before a row; raises what `row` does."""
        where = "WHERE +truth = ? AND status = 'ok' AND id < ? ORDER BY id LIMIT 1"
        with self._reading():
            found = self._execute(f"{_SELECT} {where}", truth, before).fetchall()
        return from_rows(found, (truth,), m, d, self._changed) if found else None

    def count(self, truth: str) -> int:
        """Return the number of rows of a truth; raises what `row` does."""
        with self._reading():
            query = "SELECT COUNT(*) FROM evaluations WHERE truth = ?"
            return int(self._database.execute(query, (truth,)).fetchone()[0])

    def next_row(self) -> int:
        """Return the number of the row that is written next; raises what `row` does."""
        with self._reading():
            return int(self._database.execute("SELECT COALESCE(MAX(id), 0) FROM evaluations").fetchone()[0]) + 1

    def row_of(self, truth: str, x: np.ndarray) -> float:
        """Return the number of the row of a point (d,), infinity where there is none; raises what `row` does."""
        query = "SELECT id FROM evaluations WHERE truth = ? AND x = ?"
        with self._reading():
            found = self._database.execute(query, (truth, to_blob(x))).fetchone()
        return np.inf if found is None else int(found[0])

    def truths(self, before: int | None = None) -> list[tuple[str, str, str, int, int, str, str]]:
        """Read what the file holds of each truth; raises what `row` does.

        Args:
            before: Number of the row before which rows count; None = all rows.

        Returns:
            Digest, identity, variables, number of rows, number of failed rows, and the times of the first and of the
            last row (ISO 8601), in the order of the first rows.
        """
        query = (
            "SELECT truths.digest, identity, variables, COUNT(*), SUM(status != 'ok'), MIN(time), MAX(time) "
            "FROM truths JOIN evaluations ON truths.digest = truth WHERE id < ? GROUP BY truths.digest ORDER BY MIN(id)"
        )
        with self._reading():
            found = self._database.execute(query, (2**62 if before is None else before,)).fetchall()
            for digest, identity, variables, *_ in found:
                if digest_of_truth(identity, variables) != digest:
                    raise self._damaged(f"The identity {identity!r}")
        return found

    def register(self, digest: str, identity: str, variables: str) -> None:
        """Write identity and variables of a truth, unless they are there; raises `sqlite3.Error`."""
        self._database.execute("INSERT OR IGNORE INTO truths VALUES (?, ?, ?)", (digest, identity, variables))

    def insert(self, truth: str, rows: Sequence[tuple[Evaluations, bool]], versions: str) -> bool:
        """Write evaluations to the file, all or none; a point that has a row keeps it.

        The rows outlive the end of this process, by whatever signal. They wait for the disk, and outlive a loss of
        power, where a second has passed since others did: to wait at each of a thousand rows a second would take all
        the time.

        Args:
            truth: Digest of the truth, which is in the table `truths`.
            rows: Evaluations of one point, and whether to replace a failed row of the same point; a good row is never
                replaced.
            versions: Versions of the packages, as JSON.

        Returns:
            Whether the last one is in the file as it was given, to the last character.

        Raises:
            sqlite3.Error: If they cannot be written.
        """
        waits = monotonic() - self._waited >= _SYNC_EVERY
        if waits:
            self._execute("PRAGMA synchronous = FULL")
        try:
            if len(rows) > 1:
                self._execute("BEGIN IMMEDIATE")
            for found, replace_failed in rows:
                written = self._insert(to_row(truth, found, versions), replace_failed)
            if len(rows) > 1:
                self._execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._execute("ROLLBACK")
            raise
        finally:
            if waits:
                self._execute("PRAGMA synchronous = NORMAL")
        self._waited = monotonic() if waits else self._waited
        return written and stored_message(found) == found.message[0]

    def _insert(self, row: tuple[object, ...], replace_failed: bool) -> bool:
        """Write a row; returns whether it has been written."""
        return self._execute(_REPLACE if replace_failed else _INSERT, *row).rowcount == 1

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def missing(self) -> str:
        """Return the path of the file that is gone or was replaced since the store was opened, "" where there is none.

        Rows that are written then reach no file that has a name.
        """
        found = self._found()
        gone = [path for path, identity in self._places.items() if found.get(path) != identity]
        self._places |= found if not gone else {}
        return gone[0] if gone else ""

    def _found(self) -> dict[str, tuple[int, int]]:
        """Device and number of the file and of its write-ahead log."""
        found = {}
        for path in () if self.path == MEMORY or self.read_only else (self.path, f"{self.path}-wal"):
            try:
                entry = os.stat(path)
            except OSError:
                continue
            found[path] = (entry.st_dev, entry.st_ino)
        return found

    def _check_place(self) -> None:
        place = Path(self.path)
        try:
            folder, file, exists = place.parent.is_dir(), place.is_file(), place.exists()
        except (OSError, ValueError) as error:  # a name that is too long, or with a null character
            raise self._unusable(error) from error
        if not folder:
            remedy = f"Create it first: Path({str(place.parent)!r}).mkdir(parents=True)."
            raise InputError(explain("path", "lie in an existing folder", repr(self.path), remedy))
        if exists and not file:
            raise self._unusable(OSError("a folder or a device"))
        self.read_only = file and not (os.access(place, os.W_OK) and os.access(place.parent, os.W_OK))

    def _connected(self) -> sqlite3.Connection:
        if not self.read_only:
            return sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        mode = "mode=ro" if self._is_logged() else "immutable=1"  # SQLite would write beside a file that may change
        uri = f"{Path(self.path).absolute().as_uri()}?{mode}"
        return sqlite3.connect(uri, timeout=_WAIT, isolation_level=None, check_same_thread=False, uri=True)

    def _is_logged(self) -> bool:
        """Whether rows are in the write-ahead log: a run is going on, or was killed."""
        log = Path(f"{self.path}-wal")
        return log.exists() and log.stat().st_size > 0

    def _unusable(self, error: Exception) -> InputError:
        remedy = "Name a file on a local disk, with permission to write."
        if self.read_only and self._is_logged():
            remedy = f"Copy it together with {self.path + '-wal'!r}, which has its last rows, to a folder of your own."
        expected = "be a file that SQLite can open and write"
        return InputError(explain("path", expected, f"{self.path!r} ({error})", remedy))

    def _prepare(self) -> None:
        database = self._database
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables:
            self._check_format(tables)
        if self.read_only:
            if not tables:
                raise self._unusable(OSError("an empty file that may not be written"))
            return
        if self.path != MEMORY and database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._switch_to_wal()
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        if not tables:
            database.execute("BEGIN IMMEDIATE")
            for statement in _TABLES:
                database.execute(statement)
            rows = [("format", FORMAT), ("schema_version", str(SCHEMA_VERSION))]
            database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows)
            database.execute("COMMIT")

    def _check_format(self, tables: set[str]) -> None:
        meta = {}
        if tables >= {"meta", "evaluations"}:
            meta = dict(self._database.execute("SELECT key, value FROM meta"))
        if meta.get("format") != FORMAT:
            raise FileFormatError(
                f"{self.path!r} is an SQLite file of another program (tables {sorted(tables)}, format "
                f"{meta.get('format')!r}). Pass the path of a file that `EvaluationStore` wrote, or of a new one."
            )
        version = str(meta.get("schema_version"))
        if version != str(SCHEMA_VERSION):
            older = version.isascii() and version.isdecimal() and int(version) < SCHEMA_VERSION
            remedy = "Evaluate into a new file." if older else "Upgrade gradopt with `pip install -U gradopt`."
            raise FileFormatError(
                f"{self.path!r} has schema version {version!r}, this gradopt reads version {SCHEMA_VERSION}. It was "
                f"written by {'an older' if older else 'a newer'} gradopt, or changed. {remedy}"
            )
        (found,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise self._damaged("The file", found)

    def _switch_to_wal(self) -> None:
        """Switch to write-ahead logging, for readers beside a writer; try again while another process switches too."""
        for attempt in range(_WAL_ATTEMPTS):
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == _WAL_ATTEMPTS - 1:
                    raise
                sleep(_WAL_PAUSE)

    def _changed(self, number: int, reason: str) -> FileFormatError:
        return self._damaged(f"Row {number} of the table `evaluations`", reason)

    def _damaged(self, what: str, reason: str = "its digest is that of another text") -> FileFormatError:
        return FileFormatError(
            f"{what} of the store {self.path!r} was changed after it was written ({reason}). {_REMEDY}"
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.OperationalError) and "decode" not in str(error):
                remedy = "Run again where the file can be read."
                raise StoreError(f"The store {self.path!r} cannot be read ({error}). {remedy}") from error
            raise self._damaged("A part", str(error)) from error
