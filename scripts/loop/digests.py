"""Pin what the loop does: the digest of every evaluated point and of the history of short runs, to the last bit.

A change of the code that is to change no result is checked so: write the digests of the code before, and compare those
of the code after with them, on the same machine, with the same libraries and one thread:

    OMP_NUM_THREADS=1 python -m scripts.loop.digests --out results/before.json
    OMP_NUM_THREADS=1 python -m scripts.loop.digests --out results/after.json --compare results/before.json

It ends with an error where any run differs, and says at which evaluation or iteration it first does. For each run the
file holds, with versions and commit:

- `sha256` of the points, those of each truth model in the order evaluated, failed ones and those of finite differences
  included, then of u, objective, radius and acceptance in all iterations;
- `exit`, `evaluations`, and the final `objective` as Python writes it;
- `marks`: short hashes of each point, then of each iteration; `points`: how many of them are points; `seconds`.

Digests of two kinds of CPU differ, for the loop amplifies round-off. `--golden FILE` writes what holds on all, which
`tests/golden` compares: exits, evaluations and the first objectives to six digits, as far as they are the same when
round-off is added to what the truth models answer.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from cases.records import write_result
from rich.console import Console
from rich.table import Table

from scripts.loop.digest_record import Record, disturbance
from scripts.loop.digest_runs import GOLDEN, RUNS

Row = dict[str, Any]
"""What is written of one run."""

THREADS = "OMP_NUM_THREADS"
GOLDEN_OBJECTIVES, GOLDEN_SEEDS = 8, 8


def row_of(record: Record, seconds: float) -> Row:
    """Make what is written of one run."""
    return {
        "sha256": record.sha256,
        "exit": record.exit,
        "evaluations": record.evaluations,
        "objective": repr(record.objective),
        "points": sum(map(len, record.points)),
        "marks": record.marks,
        "seconds": round(seconds, 2),
    }


def golden_row(record: Record, disturbed: Sequence[Record]) -> Row:
    """Make what is compared on other machines, from a run and the same ones with round-off in the truth models.

    Args:
        record: Of the run.
        disturbed: Of the others.

    Returns:
        The exit; the number of evaluations and the final objective with how far the others are off; and the first
        objectives, up to where another one differs in its first six digits, at most eight.

    Raises:
        ValueError: If another run has another exit: it does not do for other machines.
    """
    if any(other.exit != record.exit for other in disturbed):
        raise ValueError(f"exits {[record.exit, *(other.exit for other in disturbed)]}")
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


def golden_rows() -> dict[str, Row]:
    """Make the rows of the golden file."""
    rows = {}
    for name in GOLDEN:
        disturbed = []
        for seed in range(GOLDEN_SEEDS):
            with disturbance(seed):
                disturbed.append(RUNS[name]())
        rows[name] = golden_row(RUNS[name](), disturbed)
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
    """Keep what OpenMDAO writes out of the present folder."""
    home = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(home)


def run(names: Iterable[str], console: Console) -> dict[str, Row]:
    """Run some and say how long each took."""
    rows = {}
    for name in names:
        clock = time.perf_counter()
        record = RUNS[name]()
        rows[name] = row_of(record, time.perf_counter() - clock)
        console.print(f"{rows[name]['seconds']:6.1f} s  {name}", highlight=False)
    return rows


def table_of(rows: dict[str, Row], earlier: dict[str, Row] | None) -> Table:
    """Make the table of all runs."""
    table = Table("name", "evaluations", "exit", "objective", "" if earlier is None else "compared")
    for name, row in rows.items():
        compared = "" if earlier is None else verdict(row, earlier.get(name))
        table.add_row(name, str(row["evaluations"]), row["exit"], row["objective"], compared)
    return table


def main(argv: list[str] | None = None) -> int:
    """Run, write, compare.

    Args:
        argv: Arguments, or None for those of the process.

    Returns:
        Exit code: 1 where a run differs, else 0.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/digests.json"), help="result file")
    parser.add_argument("--only", nargs="+", choices=tuple(RUNS), metavar="NAME", help="run only these")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="result file of an earlier run")
    parser.add_argument("--golden", type=Path, metavar="FILE", help="write the golden file of the tests, nothing else")
    options = parser.parse_args(argv)
    if os.environ.get(THREADS) != "1":
        parser.error(f"sums depend on the number of threads: set {THREADS}=1 in the environment")
    torch.set_num_threads(1)
    logging.getLogger("gradopt").addHandler(logging.NullHandler())
    console = Console(width=120)
    if options.golden is not None:
        with own_folder():
            rows = golden_rows()
        write_result(options.golden.absolute(), {"runs": rows})
        return 0
    earlier = None if options.compare is None else json.loads(options.compare.read_text())["runs"]
    names = options.only or RUNS
    with own_folder():
        rows = run(names, console)
    write_result(options.out, {"runs": rows})
    console.print(table_of(rows, earlier), highlight=False)
    console.print(f"{len(rows)} runs, {sum(row['seconds'] for row in rows.values()):.0f} seconds", highlight=False)
    if earlier is None:
        return 0
    missing = [] if options.only else sorted(set(earlier) - set(rows))
    different = [name for name, row in rows.items() if verdict(row, earlier.get(name)).startswith("DIFFERENT")]
    if missing or different:
        console.print(f"DIFFERENT: {different or 'none'}; not run any more: {missing or 'none'}", highlight=False)
    return int(bool(missing or different))


if __name__ == "__main__":
    sys.exit(main())
