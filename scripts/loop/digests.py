"""Digests of short runs of the loop: every evaluated point and the history, to the last bit.

The digests show that a change of the code changes no result. Write those of the code before the change, and compare
those of the code after the change, on the same machine with the same libraries:

    python -m scripts.loop.digests --out results/before.json
    python -m scripts.loop.digests --out results/after.json --compare results/before.json

The exit code is 1 where a run differs; the table says at which evaluation or iteration it first does. Written to the
result file, for each run:

- `sha256`: hash of the points, those of each truth in the order of their evaluation, failed ones and those of finite
  differences included, then of u, objective, radius and acceptance in all iterations. A *truth* is the model that the
  loop evaluates.
- `exit`, `evaluations`, and the final `objective` as Python writes it.
- `marks`: short hashes of each point, then of each iteration; `points`: how many of them are points; `seconds`.

Digests of two kinds of CPU differ, since the loop amplifies round-off. `--golden FILE` writes figures that hold on all
CPUs, for `tests/golden`: exits, evaluations, and the first objectives to six digits, as far as round-off in the outputs
of the truths does not change them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt.report.records import write_result
from scripts.loop.digest_record import Record, disturbance
from scripts.loop.digest_runs import GOLDEN, QUICK, RUNS
from scripts.shared.script import begin, parser_of, run

Row = dict[str, Any]
"""Figures of one run, in the result file."""

GOLDEN_OBJECTIVES = 8  # objectives of a golden row at most; by hand
GOLDEN_SEEDS = 8  # runs with round-off behind a golden row; by hand


def row_of(record: Record, seconds: float) -> Row:
    """Return the figures of a run."""
    return {
        "sha256": record.sha256,
        "exit": record.exit,
        "evaluations": record.evaluations,
        "objective": repr(record.objective),
        "points": sum(map(len, record.points)),
        "marks": record.marks,
        "seconds": round(seconds, 2),
    }


def golden_row(name: str, record: Record, disturbed: Sequence[Record]) -> Row:
    """Return the figures that hold on other machines.

    Args:
        name: Name of the run.
        record: Record of the run.
        disturbed: Records of the same run with round-off in the outputs of the truths.

    Returns:
        The exit; the number of evaluations and the final objective, each with the largest change by round-off; and the
        first objectives, at most eight, up to the first that changes in its first six digits.

    Raises:
        ValueError: If round-off changes the exit.
    """
    if any(other.exit != record.exit for other in disturbed):
        exits = [record.exit, *(other.exit for other in disturbed)]
        raise ValueError(f"The exit of {name!r} must be the same with round-off, got {exits}. Take it out of GOLDEN.")
    objectives: list[float] = []
    for entries in zip(*(one.history[:GOLDEN_OBJECTIVES] for one in (record, *disturbed)), strict=False):
        found = np.array([objective for _, objective, _, _ in entries])
        if not np.allclose(found, found[0], rtol=1e-6, atol=0.0, equal_nan=True):
            break
        objectives.append(float(f"{found[0]:.5e}"))
    return {
        "exit": record.exit,
        "evaluations": record.evaluations,
        "evaluations_vary": max(abs(other.evaluations - record.evaluations) for other in disturbed),
        "objectives": objectives,
        "objective": float(f"{record.objective:.5e}"),
        "objective_varies": float(f"{max(abs(other.objective - record.objective) for other in disturbed):.1e}"),
    }


def golden_rows(names: Iterable[str]) -> dict[str, Row]:
    """Make the rows of the golden file."""
    rows = {}
    for name in names:
        disturbed = []
        for seed in range(GOLDEN_SEEDS):
            with disturbance(seed):
                disturbed.append(RUNS[name]())
        rows[name] = golden_row(name, RUNS[name](), disturbed)
    return rows


def verdict(row: Row, before: Row | None) -> str:
    """Say whether a run is the same as before, and where it first differs."""
    if before is None:
        return "new"
    if all(row[key] == before[key] for key in ("sha256", "exit", "evaluations", "objective")):
        return "same"
    pairs = zip(row["marks"], before["marks"], strict=False)
    at = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    if at is None:
        return "DIFFERENT in length or at the end"
    if at < row["points"]:
        return f"DIFFERENT from evaluation {at} on"
    return f"DIFFERENT from iteration {at - row['points']} on"


@contextmanager
def own_folder() -> Iterator[None]:
    """Keep the files that OpenMDAO writes out of the working directory."""
    home = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(home)


def measure(names: Iterable[str], console: Console) -> dict[str, Row]:
    """Make some runs; print the seconds of each."""
    rows = {}
    for name in names:
        clock = time.perf_counter()
        record = RUNS[name]()
        rows[name] = row_of(record, time.perf_counter() - clock)
        console.print(f"{rows[name]['seconds']:6.1f} s  {name}", highlight=False)
    return rows


def table_of(rows: dict[str, Row], earlier: dict[str, Row] | None) -> Table:
    """Make the table: a line for each run."""
    table = Table("run", "evaluations", "exit", "objective", "compared")
    for name, row in rows.items():
        compared = "-" if earlier is None else verdict(row, earlier.get(name))
        table.add_row(name, str(row["evaluations"]), row["exit"], row["objective"], compared)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write, print and compare; return 1 where a run differs or is missing."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(RUNS), metavar="NAME", help="make these runs only")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="result file of an earlier call")
    parser.add_argument("--golden", type=Path, metavar="FILE", help="write the golden file of the tests, nothing else")
    call = begin(parser, argv)
    if call.options.golden is not None:
        with own_folder():
            rows = golden_rows(QUICK if call.quick else GOLDEN)
        write_result(call.options.golden, {"runs": rows})
        return 0
    earlier = None if call.options.compare is None else json.loads(call.options.compare.read_text())["runs"]
    names = call.options.only or (QUICK if call.quick else tuple(RUNS))
    with own_folder():
        rows = measure(names, call.console)
    call.write({"runs": rows})
    call.console.print(table_of(rows, earlier), highlight=False)
    if earlier is None:
        return 0
    whole = not (call.options.only or call.quick)
    missing = sorted(set(earlier) - set(rows)) if whole else []
    different = [name for name, row in rows.items() if verdict(row, earlier.get(name)).startswith("DIFFERENT")]
    if missing or different:
        call.console.print(f"DIFFERENT: {different or 'none'}; not run any more: {missing or 'none'}", highlight=False)
    return int(bool(missing or different))


if __name__ == "__main__":
    run(main)
