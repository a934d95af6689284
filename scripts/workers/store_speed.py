"""Time to append a row to a store, and to look one up, over the number of rows that are there.

The *truth model*, short truth, is a sum of squares of ten variables with its partials, which takes next to no time. The
store is a file on the local disk. It is filled to each size; then single rows are appended and looked up, in chunks of
at most 100. Printed and written to the result file, for each size:

- `append`: seconds of a row of one call, as `ParallelTruth` gives them: each is in the file before the next one comes;
- `append_call`: seconds of a row where each is a call of its own;
- `look_up`, `look_up_call`: likewise of a point that is stored;
- `sqlite`: seconds of one `INSERT` of as many bytes into a bare table of as many rows, in the same mode of the file;
- each of these by the clock (`wall`) and of the processor (`cpu`), the median and the least of the chunks;
- `open`: seconds to open the file, all of which is checked; `first`: seconds of the first look-up after that, which
  verifies one row; `all`: seconds to read all rows (up to 10^5); `bytes` of a row in the file.

`rows_per_second` is the rate of `append` at the largest size, by the median and by the least chunk. `growth` is the
exponent of the look-up time over the upper half of the sizes; 0 is constant. `seconds.png` shows the medians, log-log.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.table import Table

from gradopt import EvaluationStore, FunctionTruth, Variable
from gradopt.plots.figure import new_figure
from gradopt.truth import Evaluations, PointStatus
from scripts.shared.costs import growth_exponent, timed
from scripts.shared.script import begin, parser_of, run

SIZES, QUICK_SIZES = (100, 1000, 10_000, 100_000, 1_000_000), (100, 300, 1000)  # rows
D = 10  # number of variables
CHUNK, CHUNKS, QUICK_CHUNKS = 100, 15, 4  # rows that are timed together, and how often
MOST_READ = 100_000  # rows above which not all are read
BLOCK = 10_000  # rows that are added together
SHOWN = {"append": "append, of one call", "append_call": "append, a call each", "look_up": "look-up, of one call"}
SHOWN |= {"look_up_call": "look-up, a call each", "sqlite": "INSERT of SQLite alone"}

Row = dict[str, Any]


def square(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the sum of squares of x (d,) and its partials (d,)."""
    return float(x @ x), 2.0 * x


class Stream:
    """The truth, whose evaluations come one by one, as those of workers do."""

    inputs, outputs, identity = (Variable("x", (D,)),), (Variable("y"),), "square"

    def evaluate(self, x: ArrayLike) -> Evaluations:
        """Evaluate points (n, d)."""
        x = np.asarray(x, float)
        n = len(x)
        found = (x**2).sum(axis=1)[:, None], 2.0 * x[:, None]
        return Evaluations(x, *found, [PointStatus.OK] * n, [""] * n, np.zeros(n))

    def as_completed(self, x: ArrayLike) -> Generator[tuple[int, Evaluations]]:
        """Evaluate points (n, d), one after the other."""
        for row, point in enumerate(np.asarray(x, float)):
            yield row, self.evaluate(point[None])


def chunks(times: int, rows: Callable[[], np.ndarray], use: Callable[[np.ndarray], object]) -> Row:
    """Return seconds of a row, by the clock and of the processor."""
    wall, cpu = [], []
    for _ in range(times):
        x = rows()
        began = time.perf_counter(), time.process_time()
        use(x)
        wall.append((time.perf_counter() - began[0]) / len(x))
        cpu.append((time.process_time() - began[1]) / len(x))
    return {name: {"median": float(np.median(of)), "least": min(of)} for name, of in (("wall", wall), ("cpu", cpu))}


class Bare:
    """A table of SQLite with a key and a value of random bytes, beside which the store is measured."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self.database = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"):
            self.database.execute(statement)
        self.database.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")

    def insert(self, x: np.ndarray, size: int, together: bool = False) -> None:
        """Insert a row of `size` bytes for each point."""
        value = b"v" * max(size - 2 * 8 * D, 1)  # the key stands in the table and in its index
        self.database.execute("BEGIN") if together else None
        for point in x:
            self.database.execute("INSERT INTO bare (key, value) VALUES (?, ?)", (point.tobytes(), value))
        self.database.execute("COMMIT") if together else None


class Study:
    """A store that grows, with the bare table beside it.

    Attributes:
        rows: Number of rows in the store.
    """

    def __init__(self, folder: Path, quick: bool) -> None:
        """Describe the files; the store is made when it is filled."""
        self._path, self._quick, self._rng = folder / "store.sqlite", quick, np.random.default_rng(0)
        self._known, self._width = np.empty((0, D)), 1000
        self.bare, self.rows = Bare(folder / "bare.sqlite"), 0

    def fill(self, size: int) -> None:
        """Add rows, up to a number of them."""
        with EvaluationStore(self._path, verify_stored=False) as store:
            while self.rows < size:
                self._known = self._rng.normal(size=(min(BLOCK, size - self.rows), D))
                store.add(Stream(), Stream().evaluate(self._known))
                self.bare.insert(self._known, self._width, together=True)
                self.rows += len(self._known)

    def measure(self) -> Row:
        """Open the store, and time what is done with it."""
        size, truth, call = self.rows, Stream(), FunctionTruth(square, Stream.inputs, Stream.outputs, identity="square")
        chunk, times = min(CHUNK, size // 10), QUICK_CHUNKS if self._quick or size < 10_000 else CHUNKS

        def new() -> np.ndarray:
            return self._rng.normal(size=(chunk, D))

        def old() -> np.ndarray:
            return self._known[self._rng.integers(0, len(self._known), chunk)]

        store, opened = timed(lambda: EvaluationStore(self._path))
        with store:
            first = timed(lambda: store.evaluate(Stream(), self._known[:1]))[1]
            store.register(truth)
            one: Row = {
                "append": chunks(times, new, lambda x: store.evaluate(truth, x)),
                "append_call": chunks(times, new, lambda x: [store.evaluate(call, point[None]) for point in x]),
                "look_up": chunks(times, old, lambda x: store.evaluate(truth, x)),
                "look_up_call": chunks(times, old, lambda x: [store.evaluate(truth, point[None]) for point in x]),
                **{"open": opened, "first": first},
            }
            if size <= MOST_READ:
                one["all"] = timed(lambda: store.evaluations(truth))[1]
            self.rows += 2 * times * chunk
            if store.count(truth) != self.rows:
                raise AssertionError(f"{store.count(truth)} rows, expected {self.rows}.")
        one["bytes"] = self._path.stat().st_size / self.rows
        self._width = int(one["bytes"])
        one["sqlite"] = chunks(times, new, lambda x: self.bare.insert(x, self._width))
        return one


def table_of(sizes: dict[str, Row]) -> Table:
    """Make the table: a line for each size."""
    table = Table("rows", title="microseconds of a row: median by the clock (least of the processor)")
    for name in (*SHOWN.values(), "open, s", "first look-up, s", "all, s", "bytes"):
        table.add_column(name, justify="right")
    for size, one in sizes.items():
        each = [f"{1e6 * one[name]['wall']['median']:.0f} ({1e6 * one[name]['cpu']['least']:.0f})" for name in SHOWN]
        others = (f"{one[name]:.3g}" if name in one else "" for name in ("open", "first", "all", "bytes"))
        table.add_row(size, *each, *others)
    return table


def draw(sizes: dict[str, Row], path: Path) -> None:
    """Draw the medians over the number of rows."""
    figure = new_figure(5.5, 3.8)
    axes = figure.subplots()
    for name, label in SHOWN.items():
        axes.loglog(
            [int(size) for size in sizes], [one[name]["wall"]["median"] for one in sizes.values()], "o-", label=label
        )
    axes.set(xlabel="rows in the store", ylabel="seconds of a row", ylim=(1e-5, 1e-1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and draw."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--largest", type=int, default=max(SIZES), help="largest number of rows (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=None, help="where the store is written (default: temporary)")
    call = begin(parser, argv)
    sizes = QUICK_SIZES if call.quick else [size for size in SIZES if size <= call.options.largest]
    with tempfile.TemporaryDirectory(dir=call.options.folder) as folder:
        study, found = Study(Path(folder), call.quick), dict[str, Row]()
        for size in sizes:
            study.fill(size)
            found[str(size)] = study.measure()
            call.write({"sizes": found})
            call.console.print(f"{size} rows: done after {call.seconds:.0f} s")
        study.bare.database.close()
    last = found[str(sizes[-1])]
    rates = {of: 1.0 / last["append"]["wall"][of] for of in ("median", "least")}
    looked = [one["look_up"]["wall"]["median"] for one in found.values()]
    growth = growth_exponent(sizes, looked)
    call.write({"sizes": found, "rows_per_second": rates, "growth": growth})
    draw(found, call.folder / "seconds.png")
    call.console.print(table_of(found))
    call.console.print(f"{rates['median']:.0f} rows a second (best chunk {rates['least']:.0f}); growth {growth:.2f}")
    return 0


if __name__ == "__main__":
    run(main)
