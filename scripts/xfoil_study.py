"""Calls of XFOIL that the loop needs on `airfoil --truth xfoil`, against SLSQP with finite differences on XFOIL.

A call is one point that XFOIL was asked, whether it converged or not, those of differences among them; each is made
once. Written to OUT/result.json with versions and commit, and printed, for each start and method:

- `calls`: all that were spent, `failed`: how many of them failed.
- `drag`: least CD in counts with violations of at most 1e-3 (scaled) among the designs that were tried, and `last`: CD
  and violation of the answer.
- `until`: calls until such a design had at most the least drag that any run of SLSQP found from that start, and 1 %
  more; None where there is none.
- `end`: of the loop why it ended, of SLSQP whether it says that it converged.

Methods: the loop with NeuralFoil as the surrogate that it corrects (`loop`), the loop that knows nothing beforehand
(`loop, alone`), and SLSQP with three lengths of the differences' steps, as parts of the ranges of the weights (0.17 of
chord) and of the angle (8.4 degrees), scaled by the reach of the one-shot samples, which served it best. And loop and
SLSQP from NeuralFoil's optimum, which they are told for nothing (`loop after NeuralFoil`, `SLSQP after NeuralFoil`).

With --cross, NeuralFoil's optimum is asked of XFOIL, and XFOIL's of NeuralFoil.

    python -m scripts.xfoil_study --cross

SLSQP is stopped after 2500 calls.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, Visit, objective, violation
from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.case import airfoil_case
from cases.airfoil.geometry import KulfanShape, load_shape
from cases.airfoil.on_xfoil import xfoil_case
from cases.airfoil.xfoil import Xfoil
from cases.baseline import run_baseline
from cases.model import adaptive_case
from gradopt.errors import EvaluationError
from gradopt.report.records import write_result
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.store import EvaluationStore

FEASIBLE = 1e-3
NEAR = (0.0, 0.01)
REYNOLDS = 5e6
STEPS = (0.005, 0.02, 0.06)
REACH = np.append(np.full(16, 0.06), 3.0)  # of the design variables in the one-shot samples
Row = dict[str, Any]


def read(case: AdaptiveCase, visits: tuple[Visit, ...], calls: int, failed: int, end: str, seconds: float) -> Row:
    """Read a run; `until` is added when all are known."""
    steps = [(v.evaluations, 1e4 * objective(case, v.true), violation(case, v.true)) for v in visits]
    good = [drag for _, drag, beyond in steps if beyond <= FEASIBLE]
    last = next(step for step, visit in zip(steps[::-1], visits[::-1], strict=True) if visit.accepted)
    return {
        "calls": calls,
        "failed": failed,
        "drag": min(good, default=np.inf),
        "last": {"drag": last[1], "violation": last[2]},
        "end": end,
        "seconds": seconds,
        "steps": steps,
    }


def until(row: Row, drag: float) -> int | None:
    """Calls to the first feasible design with at most some drag."""
    return next((calls for calls, found, beyond in row["steps"] if beyond <= FEASIBLE and found <= drag), None)


def loop(case: AdaptiveCase, most: int) -> tuple[Row, np.ndarray]:
    """Run the loop; the row and the answer."""
    with tempfile.TemporaryDirectory() as folder, EvaluationStore(Path(folder) / "store.sqlite") as store:
        found = run_adaptive(replace(case, max_evaluations=most), 0, store, lambda line: None)
        failed = int((~store.evaluations(case.truths[0]).ok).sum())
    row = read(case, found.visits, found.evaluations, failed, found.exit.value, found.seconds)
    return row, found.final.x


def direct(case: AdaptiveCase, step: float, most: int) -> Row:
    """Run SLSQP with differences."""
    found = run_baseline(
        replace(case, finite_differences=FiniteDifferences(step), baseline_ref=REACH), lambda line: None, most
    )
    end = "converged" if found.success else "stopped" if found.evaluations >= most else "did not converge"
    return read(case, found.visits, found.evaluations, found.failed, end, found.seconds)


def study(airfoil: str, most: int, rival_most: int, steps: tuple[float, ...], say: Any) -> dict[str, Any]:
    """Run all methods from one start."""
    on_neuralfoil, shape = airfoil_case(airfoil, REYNOLDS), load_shape(airfoil)
    initial = xfoil_case(on_neuralfoil, shape, REYNOLDS)
    alone = xfoil_case(on_neuralfoil, shape, REYNOLDS, initial_surrogate=False)
    rows: dict[str, Row] = {}
    rows["loop"], answer = loop(initial, most)
    say(f"{airfoil}: loop", rows["loop"])
    rows["loop, alone"], _ = loop(alone, 2 * most)
    say(f"{airfoil}: loop, alone", rows["loop, alone"])
    cheap = run_adaptive(
        adaptive_case(on_neuralfoil, configuration=None, max_evaluations=min(200, 2 * most), tolerance=1e-3),
        0,
        EvaluationStore(),
        lambda line: None,
    )
    rows["loop after NeuralFoil"], _ = loop(replace(initial, start=cheap.final.x), most)
    say(f"{airfoil}: loop after NeuralFoil", rows["loop after NeuralFoil"])
    for step in steps:
        rows[f"SLSQP, step {step:g}"] = direct(alone, step, rival_most)
        say(f"{airfoil}: SLSQP, step {step:g}", rows[f"SLSQP, step {step:g}"])
    middle = steps[len(steps) // 2]
    rows["SLSQP after NeuralFoil"] = direct(replace(alone, start=cheap.final.x), middle, rival_most)
    say(f"{airfoil}: SLSQP after NeuralFoil", rows["SLSQP after NeuralFoil"])
    best = min(row["drag"] for name, row in rows.items() if name.startswith("SLSQP, "))
    for row in rows.values():
        row["until"] = {f"{near:g}": until(row, (1.0 + near) * best) for near in NEAR}
    return {"methods": rows, "xfoil_optimum": answer, "neuralfoil_optimum": cheap.final.x, "best_of_SLSQP": best}


def cross(shape: KulfanShape, designs: dict[str, np.ndarray]) -> dict[str, Row]:
    """What each source says of each design: CL, CD in counts, CM, and NeuralFoil's confidence."""
    neuralfoil, xfoil = NeuralFoilTruth(shape, REYNOLDS), Xfoil(shape, REYNOLDS)
    found: dict[str, Row] = {}
    for name, x in designs.items():
        (lift, drag, moment, confidence), _ = neuralfoil.evaluate(x)
        row: Row = {"NeuralFoil": {"CL": lift, "CD": 1e4 * drag, "CM": moment, "confidence": confidence}}
        try:
            lift, drag, moment = xfoil.point(x).values
            row["XFOIL"] = {"CL": lift, "CD": 1e4 * drag, "CM": moment}
        except EvaluationError as failed:
            row["XFOIL"] = {"failed": str(failed)}
        found[name] = row
    return found


def table(found: dict[str, Any]) -> Table:
    """Return the table of all starts."""
    made = Table(title="calls of XFOIL")
    for column in ("start", "method", "calls", "failed", "CD, counts", "to SLSQP's best", "to 1 %", "end"):
        made.add_column(column, justify="left" if column in ("start", "method", "end") else "right")
    for airfoil, one in found.items():
        for name, row in one["methods"].items():
            counts = [str(row["until"][f"{near:g}"] or "never") for near in NEAR]
            drag = f"{row['drag']:.2f}" if np.isfinite(row["drag"]) else "none"
            made.add_row(airfoil, name, str(row["calls"]), str(row["failed"]), drag, *counts, row["end"])
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/xfoil_study"))
    parser.add_argument("--airfoils", nargs="+", default=["rae2822", "naca0012"])
    parser.add_argument("--most", type=int, default=150, help="calls of the loop; twice as many without NeuralFoil")
    parser.add_argument("--rival-most", type=int, default=2500, help="calls of SLSQP")
    parser.add_argument("--steps", type=float, nargs="+", default=list(STEPS))
    parser.add_argument("--cross", action="store_true", help="ask each source for the optimum of the other")
    parser.add_argument("--quick", action="store_true", help="tiny budget")
    arguments = parser.parse_args(argv)
    logging.getLogger("gradopt").setLevel(logging.ERROR)
    console = Console()
    if arguments.quick:
        arguments.airfoils, arguments.most, arguments.rival_most = arguments.airfoils[:1], 20, 20
        arguments.steps = arguments.steps[:1]
    found: dict[str, Any] = {}
    crossed: dict[str, Any] = {}
    clock = time.perf_counter()

    def say(what: str, row: Row) -> None:
        told = f"{what}: {row['calls']} calls, {row['drag']:.2f} counts, {row['end']}"
        console.print(f"{time.perf_counter() - clock:6.0f} s  {told}", highlight=False, soft_wrap=True)

    for airfoil in arguments.airfoils:
        found[airfoil] = study(airfoil, arguments.most, arguments.rival_most, tuple(arguments.steps), say)
        if arguments.cross:
            designs = {name: found[airfoil][name] for name in ("neuralfoil_optimum", "xfoil_optimum")}
            crossed[airfoil] = cross(load_shape(airfoil), designs)
            for name, row in crossed[airfoil].items():
                console.print(f"{airfoil}, {name}: {row}", highlight=False, soft_wrap=True)
        write_result(arguments.out / "result.json", {"starts": found, "cross": crossed})
    console.print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
