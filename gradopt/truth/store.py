"""The store of evaluations: no point of a truth is evaluated twice, and no evaluation is lost."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradopt.data.dataset import Dataset
from gradopt.data.variables import total_size
from gradopt.errors import InputError, ShapeError, explain
from gradopt.truth import tables
from gradopt.truth.domains import fail_outside_domain, failed_by_former_transform
from gradopt.truth.points import as_points
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.versions import versions

_MEMORY = ":memory:"


class EvaluationStore:
    """Evaluations in an SQLite file, or in memory.

    Each evaluation is on the disk before it is returned and before the next begins. Several processes on one machine
    may use one file; a point that two of them evaluate at the same time is stored once. A truth finds its rows by its
    `identity` and by the names, shapes and units of its variables; their bounds may change.

    Attributes:
        path: Path of the file, None in memory.
        evaluated: Number of truth evaluations made through this object.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Open a store; create the file if it does not exist.

        Args:
            path: Path of the file, on a local disk; None or ":memory:" keeps the evaluations in memory.

        Raises:
            FileFormatError: If the file is not a store, or was written by a newer gradopt.
            InputError: If the file cannot be opened or written.
        """
        self.path = None if path is None or str(path) == _MEMORY else Path(path).absolute()
        self.evaluated = 0
        self._open()

    def _open(self) -> None:
        self._lock = RLock()
        self._unnamed: list[Truth] = []  # referenced, so that no other truth gets the `id` of one
        self._known: set[str] = set()
        self._versions = json.dumps(versions())
        self._database: sqlite3.Connection | None = tables.connect(self.path or _MEMORY)

    def __enter__(self) -> EvaluationStore:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the path alone: another process opens the same file.

        Raises:
            InputError: If the store is in memory.
        """
        if self.path is None:
            remedy = "Give it a path: EvaluationStore('evaluations.sqlite')."
            raise InputError(explain("store", "be a file to go to another process", "one in memory", remedy))
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again; counts start at 0."""
        self.path, self.evaluated = state["path"], 0
        self._open()

    def close(self) -> None:
        """Close the file; evaluations in memory are lost."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None

    def evaluate(self, truth: Truth, x: ArrayLike, *, retry_failed: bool = False) -> Evaluations:
        """Read the points that are stored and evaluate the others, one at a time.

        Args:
            truth: Truth to evaluate.
            x: Points (n, d), physical. Points are the same where all bits are equal; -0.0 counts as 0.0.
            retry_failed: Whether to evaluate failed points again; the new row then replaces the old one.

        Returns:
            Evaluations as stored, one row for each point, in the same order. A point of which an output is outside the
            domain of its transform has failed, and is evaluated again when the transform is dropped.

        Raises:
            InputError: If `x` is not finite, the store is closed, or the store is a file and the truth has no identity.
            ShapeError: If `x` is not (n, d), or the truth returns another number of rows or columns.
        """
        points = as_points(x, truth.inputs) + 0.0
        digest, (m, d) = self._digest(truth), _shape(truth)
        parts = []
        for point in points:
            stored = self._select(digest, m, d, point)
            again = bool(stored) and failed_by_former_transform(stored[0], truth.outputs)
            again |= bool(stored) and retry_failed and not stored[0].ok[0]
            if not stored or again:
                found = truth.evaluate(point[None])
                if (found.n, *found.dydx.shape[1:]) != (1, m, d):
                    remedy = "Return one row for each point, with the columns of `inputs` and `outputs`."
                    shape = (found.n, *found.dydx.shape[1:])
                    raise ShapeError(explain("dydx of truth.evaluate(x)", f"have shape {(1, m, d)}", shape, remedy))
                self._insert(digest, truth, _at(found, point), again)
                stored = self._select(digest, m, d, point)
            parts.append(stored[0])
        return fail_outside_domain(Evaluations.join(parts, m, d), truth.outputs)

    def evaluations(self, truth: Truth) -> Evaluations:
        """Return all rows of a truth, failed ones included, in the order in which they were written."""
        m, d = _shape(truth)
        return fail_outside_domain(Evaluations.join(self._select(self._digest(truth), m, d), m, d), truth.outputs)

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
            query = "SELECT COUNT(*) FROM evaluations WHERE truth = ?"
            return int(self._connection.execute(query, (digest,)).fetchone()[0])

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise InputError(explain("store", "be open", "a closed one", "Open the file again: EvaluationStore(path)."))
        return self._database

    def _select(self, digest: str, m: int, d: int, x: np.ndarray | None = None) -> list[Evaluations]:
        with self._lock:
            return tables.select(self._connection, digest, m, d, x)

    def _insert(self, digest: str, truth: Truth, found: Evaluations, replace_failed: bool) -> None:
        with self._lock:
            if digest not in self._known:
                variables = [variable.to_dict() for variable in (*truth.inputs, *truth.outputs)]
                tables.register(self._connection, digest, truth.identity or "", variables)
                self._known.add(digest)
            self.evaluated += 1
            tables.insert(self._connection, digest, found, self._versions, replace_failed)

    def _digest(self, truth: Truth) -> str:
        """Hash the identity of a truth, and the names, shapes and units of its variables."""
        identity = truth.identity
        if identity is None and self.path is not None:
            remedy = "Pass identity='...' to the truth: words that you change whenever its results change."
            raise InputError(explain("truth.identity", "be given for a store on disk", None, remedy))
        if identity is None:
            with self._lock:
                if not any(known is truth for known in self._unnamed):
                    self._unnamed.append(truth)
            identity = f"object {id(truth)}"
        variables = [[[v.name, v.shape, v.units] for v in side] for side in (truth.inputs, truth.outputs)]
        return hashlib.sha256(json.dumps([identity, variables]).encode()).hexdigest()


def _shape(truth: Truth) -> tuple[int, int]:
    return total_size(truth.outputs), total_size(truth.inputs)


def _at(found: Evaluations, point: np.ndarray) -> Evaluations:
    """Replace the point of an evaluation by the requested one, which is the key of the row."""
    return Evaluations(point[None], found.y, found.dydx, found.status, found.message, found.seconds)
