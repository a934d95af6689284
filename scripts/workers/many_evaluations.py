"""What the program that calls many evaluations pays for each: processor, memory and bytes of the store.

The *truth model*, short truth, is a sum of squares of ten variables with its partials, which takes next to no time, so
that the program never waits. It is evaluated by `store.evaluate(ParallelTruth(...), points)` at 1000 and at 10,000
points, by two processes of this machine and, where the package `distributed` is installed, by Dask: a scheduler and two
workers, processes of this machine too (loopback). Each is run in a process of its own. Printed and written to the
result file, for each engine and number of points:

- `rows_per_second` by the clock; `processor`: processor time of the program alone for a row, s;
- `memory`: peak memory of the program above that before the call, bytes for a row;
- `bytes` of a row in the store.

`at_100000` is extrapolated from the largest number: hours of the processor, memory in GiB, size of the store in GiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from rich.table import Table

from scripts.shared.costs import measured_alone
from scripts.shared.script import begin, parser_of, run
from scripts.workers.driver_costs import ENGINES

SIZES, QUICK_SIZES, EXTRAPOLATED = (1000, 10_000), (50,), 100_000  # points
GIB = 2.0**30  # bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    found: dict[str, Any] = {}
    engines = ENGINES if find_spec("distributed") and not call.quick else ENGINES[:1]
    table = Table("engine", "points", "rows a second", "processor, ms", "memory, kB", "store, bytes", title="of a row")
    for engine in engines:
        found[engine] = {}
        for n in QUICK_SIZES if call.quick else SIZES:
            one = measured_alone("scripts.workers.driver_costs", ENGINES.index(engine), n)
            found[engine][str(n)] = one
            numbers = (one["rows_per_second"], 1e3 * one["processor"], 1e-3 * one["memory"], one["bytes"])
            table.add_row(engine, str(n), *(f"{number:.3g}" for number in numbers))
        last = {"hours": one["processor"] / 3600.0, "memory": one["memory"] / GIB, "store": one["bytes"] / GIB}
        found[engine]["at_100000"] = {name: EXTRAPOLATED * value for name, value in last.items()}
        call.write({"engines": found})
    call.console.print(table)
    for engine, of in found.items():
        words = ", ".join(f"{name} {value:.3g}" for name, value in of["at_100000"].items())
        call.console.print(f"{engine}, extrapolated to {EXTRAPOLATED} points: {words} (memory and store in GiB)")
    return 0


if __name__ == "__main__":
    run(main)
