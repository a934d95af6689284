"""Rows of a study, one JSON line for each fit: for `surrogates.accuracy_vs_peers` and `gradinn.experiments`.

A row is appended as soon as it is made, so that a run that is stopped continues where it was. Files of several runs can
be put into one: of several rows of one key the last counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from gradopt.report.records import provenance

Row = dict[str, Any]


class RowFile:
    """A file of rows.

    Attributes:
        rows: Rows by key, in the order of the first row of each key.
    """

    def __init__(self, path: Path, key: Callable[[Row], Hashable]) -> None:
        """Read the rows that are there.

        Args:
            path: The file; it need not exist yet.
            key: Key of a row, which identifies what was fitted.
        """
        self._path, self._key = path, key
        self._commit = provenance()["commit"]
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[Hashable, Row] = {key(row): row for row in map(json.loads, lines)}

    def __contains__(self, row: Row) -> bool:
        """Whether there is a row of the key of `row`."""
        return self._key(row) in self.rows

    def add(self, row: Row) -> None:
        """Append a row with the commit of the code that made it."""
        row = {**row, "commit": self._commit}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[self._key(row)] = row
