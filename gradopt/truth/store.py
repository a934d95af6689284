"""The store of evaluations: no point of a truth is evaluated twice, and no evaluation is lost."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Generator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.dataset import Dataset
from gradopt.errors import InputError, StaleStoreError, StoreError, explain
from gradopt.truth.domains import fail_outside_domain, failed_by_former_transform
from gradopt.truth.identity import check_identity
from gradopt.truth.points import as_points
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.truth.rows import Session, StoredTruth, check_shape, check_truth, evaluated, row_at, shape_of, variables_of
from gradopt.truth.same import difference
from gradopt.truth.tables import MEMORY, Tables, digest_of_truth
from gradopt.versions import versions

logger = logging.getLogger("gradopt")

_TOGETHER = 1000  # rows that are written all or none, by hand: other processes wait for them some 0.1 s
_USUAL = 1000  # rows of which the usual size of the results is computed, by hand


class EvaluationStore:
    """Evaluations in an SQLite file, or in memory.

    Each evaluation is in the file before it is returned and before the next begins; those of a truth that evaluates
    several points at the same time, such as a `ParallelTruth`, are written by this process as they come. A row
    outlives the end of the process by whatever signal; a loss of power takes at most rows that were written within a
    second after another one. Several processes on one machine may use one file; a point that two of them evaluate at
    the same time is stored once. A truth finds its rows by its `identity` and by the names, shapes and units of its
    variables; their bounds may change.

    Where a truth finds rows of an earlier run, one of them is evaluated again and compared: `identity` cannot include
    all that the results depend on. A finished store may be read from a folder without permission to write.

    Attributes:
        path: Path of the file, None in memory.
        verify_stored: Whether one stored point of each truth is evaluated again.
        evaluated: Number of truth evaluations made through this object, those of stored points included.
        verified: Number of stored points among them, evaluated again.
    """

    def __init__(self, path: str | Path | None = None, *, verify_stored: bool = True) -> None:
        """Open a store; create the file if it does not exist.

        Args:
            path: Path of the file, on a local disk; None or ":memory:" keeps the evaluations in memory.
            verify_stored: Whether to evaluate one stored point of each truth again, the first good one that is read,
                and to raise `StaleStoreError` where the results differ by more than 1e-6 of themselves, see
                `gradopt.truth.same`. For a truth with noise: False.

        Raises:
            FileFormatError: If the file is not a store, is damaged, or was written by another version of the format.
            InputError: If the file cannot be opened or written.
        """
        if path is not None and not isinstance(path, str | Path):
            raise InputError(explain("path", "be a path or None", repr(path), "Such as 'evaluations.sqlite'."))
        self.path = None if path is None or str(path) == MEMORY else Path(path).absolute()
        self.verify_stored = verify_stored
        self._open()

    def _open(self) -> None:
        self.evaluated = self.verified = 0
        self._lock = RLock()
        self._sessions: dict[int, Session] = {}
        self._shown: set[str] = set()
        self._registered: set[str] = set()
        self._unwritten: list[tuple[str, Truth, Evaluations, bool]] = []
        self._versions = json.dumps(versions())
        self._tables: Tables | None = Tables(self.path or MEMORY)

    def __enter__(self) -> EvaluationStore:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle path and option alone: another process opens the same file.

        Raises:
            InputError: If the store is in memory.
        """
        if self.path is None:
            remedy = "Give it a path: EvaluationStore('evaluations.sqlite')."
            raise InputError(explain("store", "be a file to go to another process", "one in memory", remedy))
        return {"path": self.path, "verify_stored": self.verify_stored}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again; counts start at 0."""
        self.__dict__.update(state)
        self._open()

    def close(self) -> None:
        """Close the file; evaluations in memory are lost. Evaluations that could not be written are tried once more."""
        with self._lock:
            if self._tables is None:
                return
            try:
                self._flush()
            except StoreError as failed:
                logger.warning("The store was closed without %d evaluations. %s", len(self._unwritten), failed)
            self._tables.close()
            self._tables = None

    def register(self, truth: Truth) -> None:
        """Check that a truth can find its rows; rows that are written from now on are no rows of an earlier run.

        Args:
            truth: Truth that will be evaluated through this store.

        Raises:
            InputError: If `truth` is no truth, the store is closed, or it is a file and the truth has no identity.
        """
        check_truth(truth)
        self._digest(truth)

    def evaluate(self, truth: Truth, x: ArrayLike, *, retry_failed: bool = False) -> Evaluations:
        """Read the points that are stored and evaluate the others, one at a time or as the truth does.

        Args:
            truth: Truth to evaluate.
            x: Points (n, d), physical. Points are the same where all bits are equal; -0.0 counts as 0.0.
            retry_failed: Whether to evaluate failed points again; the new row then replaces the old one.

        Returns:
            Evaluations as stored, one row for each point, in the same order. A point of which an output is outside the
            domain of its transform has failed, and is evaluated again when the transform is dropped.

        Raises:
            FileFormatError: If a row was changed after it was written, or the file is damaged.
            InputError: If `truth` is no truth, `x` is not finite, the store is closed, or the store is a file and the
                truth has no identity.
            ShapeError: If `x` is not (n, d), or the truth returns another number of rows or columns.
            StaleStoreError: If a stored point, evaluated again, gives something else.
            StoreError: If the file cannot be written or is gone. `evaluations` of the error has what is not on the
                disk; the store keeps it and writes it later where that is possible.
        """
        check_truth(truth)
        points = as_points(x, truth.inputs) + 0.0
        digest, (m, d) = self._digest(truth), shape_of(truth)
        rows: dict[bytes, Evaluations] = {}
        missing: dict[bytes, np.ndarray] = {}
        again: set[bytes] = set()
        for point in points:
            key = point.tobytes()
            if key in rows or key in missing:
                continue
            stored = self._row(digest, m, d, point)
            if stored and (failed_by_former_transform(stored, truth.outputs) or (retry_failed and not stored.ok[0])):
                again.add(key)
            if stored and key not in again:
                self._verify(truth, digest, stored)
                rows[key] = stored
            else:
                missing[key] = point
        with closing(self._new(truth, list(missing.values()))) as evaluations:
            for point, found in evaluations:
                self.evaluated += 1
                key = point.tobytes()
                written = self._write(digest, truth, [(found, key in again)])
                rows[key] = found if written else self._row(digest, m, d, point) or found
        return fail_outside_domain(Evaluations.join([rows[point.tobytes()] for point in points], m, d), truth.outputs)

    def _new(self, truth: Truth, points: list[np.ndarray]) -> Generator[tuple[np.ndarray, Evaluations]]:
        """Evaluate points (d,): at the same time where the truth can, else one at a time."""
        if points and hasattr(truth, "as_completed"):  # `isinstance` of a protocol takes as long as a look-up
            self._check_writable(truth)
            for row, found in truth.as_completed(np.array(points)):
                yield points[row], row_at(found, 0, points[row])
            return
        for point in points:
            self._check_writable(truth)
            yield point, evaluated(truth, point)

    def add(self, truth: Truth, evaluations: Evaluations) -> None:
        """Write evaluations that were made elsewhere, such as those of a `StoreError`; rows that are there stay.

        Args:
            truth: Truth that they are of.
            evaluations: Evaluations.

        Raises:
            InputError: If the store is closed, or the store is a file and the truth has no identity.
            ShapeError: If they have other columns than the truth.
            StoreError: If the file cannot be written.
        """
        check_truth(truth)
        digest, (m, d) = self._digest(truth), shape_of(truth)
        check_shape("evaluations", evaluations, (evaluations.n, m, d))
        self._check_writable(truth)
        rows = [row_at(evaluations, row, evaluations.x[row] + 0.0) for row in range(evaluations.n)]
        self._write(digest, truth, [(row, False) for row in rows])

    def evaluations(self, truth: Truth) -> Evaluations:
        """Return all rows of a truth, failed ones included, in the order in which they were written."""
        return fail_outside_domain(self._rows(self._digest(truth), *shape_of(truth)), truth.outputs)

    def dataset(self, truth: Truth) -> Dataset:
        """Return the good rows of a truth as training data, in the order in which they were written.

        Raises:
            InputError: If there is no good row.
        """
        return self.evaluations(truth).dataset(truth.inputs, truth.outputs)

    def count(self, truth: Truth) -> int:
        """Return the number of rows of a truth, failed ones included."""
        digest = self._digest(truth)
        with self._lock:
            return self._open_tables.count(digest)

    def identities(self) -> tuple[StoredTruth, ...]:
        """Return what the store holds of each truth, in the order in which they were evaluated first."""
        with self._lock:
            rows = self._open_tables.truths()
        found = []
        for _, identity, variables, count, failed, first, last in rows:
            inputs, outputs = (tuple(name for name, *_ in side) for side in json.loads(variables))
            found.append(StoredTruth(identity, inputs, outputs, count, failed, first, last))
        return tuple(found)

    @property
    def _open_tables(self) -> Tables:
        if self._tables is None:
            raise InputError(explain("store", "be open", "a closed one", "Open the file again: EvaluationStore(path)."))
        return self._tables

    def _row(self, digest: str, m: int, d: int, x: np.ndarray) -> Evaluations | None:
        """Return the evaluation of a point (d,), None where there is none."""
        with self._lock:
            kept = (one for truth, _, one, _ in self._unwritten if truth == digest and np.array_equal(one.x[0], x))
            return self._open_tables.row(digest, m, d, x) or next(kept, None)

    def _rows(self, digest: str, m: int, d: int, most: int = -1) -> Evaluations:
        """Return the evaluations of a truth, those that could not be written included; at most `most` of the file."""
        with self._lock:
            found = self._open_tables.rows(digest, m, d, most)
            kept = [one for truth, _, one, _ in self._unwritten if truth == digest]
        there = {x.tobytes() for x in found.x} if kept else set()
        return Evaluations.join([found, *(one for one in kept if one.x[0].tobytes() not in there)], m, d)

    def _session(self, truth: Truth) -> Session:
        with self._lock:
            found = self._sessions.get(id(truth))
            if found is None:
                first = self._open_tables.next_row()
                found = self._sessions[id(truth)] = Session(truth, first, first == 1)
            return found

    def _verify(self, truth: Truth, digest: str, stored: Evaluations) -> None:
        """Evaluate one point of an earlier run again, once for each truth object."""
        session = self._session(truth)
        if not self.verify_stored or session.verified:
            return
        with session.lock:
            if session.verified or not self._earlier(session, digest, stored):
                return
            if not stored.ok[0]:  # a good row says more
                with self._lock:
                    good = self._open_tables.first_good(digest, *shape_of(truth), session.first)
                stored = good or stored
            got = evaluated(truth, stored.x[0])
            self.evaluated += 1
            self.verified += 1
            found = difference(stored, got, self._rows(digest, *shape_of(truth), _USUAL), truth)
            if found:
                error = StaleStoreError(
                    f"The store {self._name} holds other results than the truth {truth.identity!r} gives now: at x = "
                    f"{stored.x[0].tolist()} {found}. If the truth has changed, pass another identity='...' to it or "
                    "use a new store. If it has noise, pass EvaluationStore(path, verify_stored=False)."
                )
                error.stored, error.got = stored, got
                raise error
            session.verified = True
            logger.info("A stored point, evaluated again, gives the same results: x = %s.", stored.x[0].tolist())

    def _earlier(self, session: Session, digest: str, stored: Evaluations) -> bool:
        with self._lock:
            return self._open_tables.row_of(digest, stored.x[0]) < session.first

    def _check_writable(self, truth: Truth) -> None:
        """Raise where an evaluation could not be written, before it is made."""
        with self._lock:
            tables = self._open_tables
            if tables.read_only:
                remedy = "Copy the file to a folder with permission to write."
                raise StoreError(f"The store {self._name} may not be written, and does not hold the point. {remedy}")
            self._flush()
            self._check_there(truth)

    def _write(self, digest: str, truth: Truth, rows: list[tuple[Evaluations, bool]]) -> bool:
        """Write rows; returns whether the last one is in the file as it is."""
        with self._lock:
            self._unwritten += [(digest, truth, found, replace_failed) for found, replace_failed in rows]
            return self._flush()

    def _flush(self) -> bool:
        """Write what is not in the file yet; returns whether the last row is there as it is."""
        written = True
        while self._unwritten:
            digest, truth, first, _ = self._unwritten[0]
            group = takewhile(lambda one: one[0] == self._unwritten[0][0], self._unwritten[:_TOGETHER])
            rows = [(found, replace_failed) for *_, found, replace_failed in group]
            try:
                if digest not in self._registered:
                    self._open_tables.register(digest, truth.identity or "", variables_of(truth))
                    self._registered.add(digest)
                written = self._open_tables.insert(digest, rows, self._versions)
            except (sqlite3.Error, OSError) as error:
                remedy = (
                    "It is kept in memory and in `evaluations` of this error. Make room or end what locks the file, "
                    "and go on in this process; or write it elsewhere: "
                    "EvaluationStore(new).add(truth, error.evaluations)."
                )
                where = f"x = {first.x[0].tolist()}, y = {first.y[0].tolist()}"
                what = (
                    f"The store {self._name} cannot be written ({error}): the evaluation at {where} is not on the disk."
                )
                raise self._lost(f"{what} {remedy}", digest, truth) from error
            self._check_there(truth)
            del self._unwritten[: len(rows)]
        return written

    def _check_there(self, truth: Truth) -> None:
        """Raise where the file is gone, with all rows of the truth: they are readable while the file is open."""
        gone = self._open_tables.missing()
        if gone:
            remedy = "Write them to another file: EvaluationStore(new).add(truth, error.evaluations)."
            what = f"The file {gone!r} of the store was deleted or replaced during the run: nothing is kept any more."
            digest = self._digest(truth)
            try:
                stored = self._rows(digest, *shape_of(truth))
            except (StoreError, ValueError):  # as far as they can be read
                stored = Evaluations.join([], *shape_of(truth))
            raise self._lost(f"{what} {remedy}", digest, truth, stored)

    def _lost(self, message: str, digest: str, truth: Truth, stored: Evaluations | None = None) -> StoreError:
        kept = [found for other, _, found, _ in self._unwritten if other == digest] if stored is None else [stored]
        error = StoreError(message)
        error.evaluations = Evaluations.join(kept, *shape_of(truth))
        return error

    @property
    def _name(self) -> str:
        return repr(MEMORY if self.path is None else str(self.path))

    def _digest(self, truth: Truth) -> str:
        """Hash the identity of a truth, and the names, shapes and units of its variables."""
        if self.path is not None:
            check_identity(truth)
        session, identity = self._session(truth), truth.identity
        if identity is None:
            identity = f"object {id(session.truth)}"
        digest = digest_of_truth(identity, variables_of(truth))
        if digest not in self._shown and self.path is not None:
            self._shown.add(digest)
            self._show(digest, truth)
        return digest

    def _show(self, digest: str, truth: Truth) -> None:
        """Log what the file holds of a truth, and warn where all of it is of other versions."""
        with self._lock:
            count = self._open_tables.count(digest)
            earlier = [] if count else self._open_tables.truths(self._session(truth).first)
        logger.info("The store %s holds %d evaluations of the truth %r.", self._name, count, truth.identity)
        name = (truth.identity or "").partition(" ")[0]  # of the function, as the rest is a hash
        others = [row for row in earlier if row[2] == variables_of(truth) and row[1].partition(" ")[0] == name]
        if others:
            logger.warning(
                "The store %s holds no evaluation of the truth %r, but %d of other versions, the last one %r; they are "
                "not used. Code, constants or versions of packages differ. Where the results are the same, pass "
                "identity='...', words of your own, to the truth from the first run on.",
                self._name,
                truth.identity,
                sum(row[3] for row in others),
                others[-1][1],
            )
