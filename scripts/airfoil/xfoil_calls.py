"""Calls of XFOIL by the loop on `airfoil --truth xfoil`, against SLSQP with finite differences on XFOIL.

A call is one evaluation of XFOIL, converged or not, those of finite differences included; no point has two.
Printed and written to the result file, for each start and method:

- `calls`: all that were spent, `failed`: how many of them failed.
- `drag`: least CD in counts of 1e-4 with violations of at most 1e-3 (scaled) among the visited designs, and `last`: CD
  and violation at the end.
- `until`: calls until such a design had at most the least drag of all runs of SLSQP from that start, and 1 % more; None
  where there is none.
- `end`: why the loop ended, and whether SLSQP reports that it converged.

Methods: the loop with NeuralFoil as initial surrogate (`loop`), the loop without initial surrogates (`loop, alone`),
and SLSQP with several steps of the finite differences, relative to the ranges of the weights (0.17 of chord) and of the
angle (8.4 degrees), scaled by the reach of the one-shot samples, the best scaling for SLSQP. Both also start from
NeuralFoil's optimum (`loop after NeuralFoil`, `SLSQP after NeuralFoil`); evaluations of NeuralFoil do not count. With
--cross, NeuralFoil's optimum is evaluated by XFOIL, and XFOIL's by NeuralFoil.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, Visit
from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.case import airfoil_case
from cases.airfoil.geometry import KulfanShape, load_shape
from cases.airfoil.on_xfoil import xfoil_case
from cases.airfoil.xfoil import Xfoil
from cases.baseline import run_baseline
from cases.model import adaptive_case
from gradopt.errors import EvaluationError
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.store import EvaluationStore
from scripts.shared.against_slsqp import Row, silent, visits_of
from scripts.shared.script import begin, parser_of, run

AIRFOILS: tuple[str, ...] = ("rae2822", "naca0012")
REYNOLDS = 5e6
FEASIBLE = 1e-3  # scaled violation; by hand, above the noise of XFOIL
COUNTS = 1e4  # drag counts of a CD of 1
NEAR = (0.0, 0.01)  # excess over the least drag of SLSQP, relative
STEPS = (0.005, 0.02)  # of the finite differences, relative to the ranges; by hand
REACH = np.append(np.full(16, 0.06), 3.0)  # of the design variables in the one-shot samples
CALLS = 150  # of the loop; twice as many without NeuralFoil; by hand
# With --quick: no gradient, which takes 17 calls, and two of the methods.
QUICK_CALLS, QUICK_METHODS = 2, ("loop", "SLSQP, step 0.005")

Progress = Callable[[str, Row], None]


def row_of(case: AdaptiveCase, visits: Sequence[Visit], calls: int, failed: int, end: str, seconds: float) -> Row:
    """Return the figures of a run; `until` is added when all runs are made."""
    steps = [(calls_before, COUNTS * value, beyond) for calls_before, value, beyond in visits_of(case, visits)]
    feasible = [drag for _, drag, beyond in steps if beyond <= FEASIBLE]
    last = next(step for step, visit in zip(steps[::-1], visits[::-1], strict=True) if visit.accepted)
    return {
        "calls": calls,
        "failed": failed,
        "drag": min(feasible, default=np.inf),
        "last": {"drag": last[1], "violation": last[2]},
        "end": end,
        "seconds": seconds,
        "steps": steps,
    }


def until(row: Row, drag: float) -> int | None:
    """Return the calls to the first feasible design with at most a drag, in counts."""
    return next((calls for calls, found, beyond in row["steps"] if beyond <= FEASIBLE and found <= drag), None)


def loop(case: AdaptiveCase, most: int) -> tuple[Row, np.ndarray]:
    """Run the loop; return the row and the last current iterate."""
    with tempfile.TemporaryDirectory() as folder, EvaluationStore(Path(folder) / "store.sqlite") as store:
        found = run_adaptive(replace(case, max_evaluations=most), 0, store, silent)
        failed = int((~store.evaluations(case.truths[0]).ok).sum())
    row = row_of(case, found.visits, found.evaluations, failed, found.exit.value, found.seconds)
    return row, found.final.x


def slsqp(case: AdaptiveCase, step: float, most: int) -> Row:
    """Run SLSQP with finite differences."""
    found = run_baseline(replace(case, finite_differences=FiniteDifferences(step), baseline_ref=REACH), silent, most)
    end = "converged" if found.success else "stopped" if found.evaluations >= most else "did not converge"
    return row_of(case, found.visits, found.evaluations, found.failed, end, found.seconds)


def compare(
    airfoil: str,
    most: int,
    rival_most: int,
    steps: Sequence[float],
    progress: Progress,
    only: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run the methods from one start.

    Args:
        airfoil: Name of the start.
        most: Largest number of calls of the loop; twice as many without NeuralFoil.
        rival_most: Calls after which SLSQP is stopped.
        steps: Steps of the finite differences of SLSQP, relative to the ranges.
        progress: Receives name and row of each run.
        only: Names of the methods to run, the loop among them; None = all.
    """
    on_neuralfoil, shape = airfoil_case(airfoil, REYNOLDS), load_shape(airfoil)
    given = xfoil_case(on_neuralfoil, shape, REYNOLDS)
    alone = xfoil_case(on_neuralfoil, shape, REYNOLDS, initial_surrogate=False)
    cheap = adaptive_case(on_neuralfoil, configuration=None, max_evaluations=min(200, 2 * most), tolerance=1e-3)
    optimum = run_adaptive(cheap, 0, EvaluationStore(), silent).final.x
    rows: dict[str, Row] = {}

    def add(name: str, make: Callable[[], Row]) -> None:
        if only is None or name in only:
            rows[name] = make()
            progress(f"{airfoil}: {name}", rows[name])

    row, xfoil_optimum = loop(given, most)
    add("loop", lambda: row)
    add("loop, alone", lambda: loop(alone, 2 * most)[0])
    add("loop after NeuralFoil", lambda: loop(replace(given, start=optimum), most)[0])
    for step in steps:
        add(f"SLSQP, step {step:g}", partial(slsqp, alone, step, rival_most))
    middle = steps[len(steps) // 2]
    add("SLSQP after NeuralFoil", lambda: slsqp(replace(alone, start=optimum), middle, rival_most))
    best = min(row["drag"] for name, row in rows.items() if name.startswith("SLSQP, "))
    for row in rows.values():
        row["until"] = {f"{near:g}": until(row, (1.0 + near) * best) for near in NEAR}
    return {"methods": rows, "xfoil_optimum": xfoil_optimum, "neuralfoil_optimum": optimum, "best_of_SLSQP": best}


def cross(shape: KulfanShape, designs: dict[str, np.ndarray]) -> dict[str, Row]:
    """Evaluate designs by both: CL, CD in counts, CM, and NeuralFoil's confidence."""
    neuralfoil, xfoil = NeuralFoilTruth(shape, REYNOLDS), Xfoil(shape, REYNOLDS)
    found: dict[str, Row] = {}
    for name, x in designs.items():
        (lift, drag, moment, confidence), _ = neuralfoil.evaluate(x)
        row: Row = {"NeuralFoil": {"CL": lift, "CD": COUNTS * drag, "CM": moment, "confidence": confidence}}
        try:
            lift, drag, moment = xfoil.point(x).values
            row["XFOIL"] = {"CL": lift, "CD": COUNTS * drag, "CM": moment}
        except EvaluationError as failed:
            row["XFOIL"] = {"failed": str(failed)}
        found[name] = row
    return found


def table_of(found: dict[str, Any]) -> Table:
    """Make the table of all starts."""
    table = Table(title="calls of XFOIL")
    for column in ("start", "method", "calls", "failed", "CD, counts", "to SLSQP's best", "to 1 %", "end"):
        table.add_column(column, justify="left" if column in ("start", "method", "end") else "right")
    for airfoil, one in found.items():
        for name, row in one["methods"].items():
            counts = [str(row["until"][f"{near:g}"] or "never") for near in NEAR]
            drag = f"{row['drag']:.2f}" if np.isfinite(row["drag"]) else "none"
            table.add_row(airfoil, name, str(row["calls"]), str(row["failed"]), drag, *counts, row["end"])
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run all methods from all starts; write after each start, then print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--rival-most", type=int, default=1500, help="calls of SLSQP, at most (default: %(default)s)")
    parser.add_argument("--steps", type=float, nargs="+", default=list(STEPS), help="steps of the finite differences")
    parser.add_argument("--cross", action="store_true", help="evaluate the optimum of each by the other")
    call = begin(parser, argv)
    airfoils, most, rival_most = AIRFOILS, CALLS, call.options.rival_most
    steps: Sequence[float] = call.options.steps
    if call.quick:
        airfoils, most, rival_most, steps = AIRFOILS[:1], QUICK_CALLS, QUICK_CALLS, steps[:1]
    only = QUICK_METHODS if call.quick else None
    found: dict[str, Any] = {}
    crossed: dict[str, Any] = {}

    def progress(what: str, row: Row) -> None:
        line = f"{call.seconds:6.0f} s  {what}: {row['calls']} calls, {row['drag']:.2f} counts, {row['end']}"
        call.console.print(line, highlight=False, soft_wrap=True)

    for airfoil in airfoils:
        found[airfoil] = compare(airfoil, most, rival_most, steps, progress, only)
        if call.options.cross:
            designs = {name: found[airfoil][name] for name in ("neuralfoil_optimum", "xfoil_optimum")}
            crossed[airfoil] = cross(load_shape(airfoil), designs)
            for name, row in crossed[airfoil].items():
                call.console.print(f"{airfoil}, {name}: {row}", highlight=False, soft_wrap=True)
        call.write({"starts": found, "cross": crossed})
    call.console.print(table_of(found))
    return 0


if __name__ == "__main__":
    run(main)
