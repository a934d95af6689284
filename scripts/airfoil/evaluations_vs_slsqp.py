"""Truth evaluations of the loop on the airfoil's other problems, against SLSQP on the same truth model.

The *truth model*, short truth, is NeuralFoil. The problems are those of `python -m cases run airfoil --problem`: the
best ratio of lift to drag, and the least drag of one shape at six conditions, each of which counts as an evaluation. An
evaluation is a value with all its partials. Printed and written to the result file, for each problem, start and method:

- `until_within`: evaluations until a design with violations of at most 1e-4 (scaled) is within 1 % of the best such
  design that any method found from that start (`best`); None where there is none.
- `evaluations`: all that were spent; for the loop with those that check the partials before the certificate.
- `objective` and `violation`: true values at the end; `excess`: the method's best objective over `best`, less 1.
- `end`: why the loop ended, and whether SLSQP reports that it converged (at a tolerance of 1e-8).
- `ratio`: to the least count of all scalings of SLSQP from that start, apart for each figure; that of the end compares
  a certificate with a convergence of SLSQP within 1 % of the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.table import Table

from cases.adaptive_case import AdaptiveCase
from cases.airfoil.case import adaptive
from cases.cli import build_parser
from gradopt.om.baseline import FEASIBLE
from scripts.shared.against_slsqp import Row, compare, scaled
from scripts.shared.airfoil_problem import AIRFOILS, SCALINGS
from scripts.shared.script import begin, parser_of, run

PROBLEMS = ("lift-to-drag", "multipoint")
NEAR = (0.01,)  # excess over the best objective, relative
QUICK = 30  # evaluations after which SLSQP is stopped with --quick


def case_of(problem: str, airfoil: str, quick: bool) -> AdaptiveCase:
    """Make the case that the command line runs, without the last surrogate; with --quick a third of its budget."""
    options = ["run", "airfoil", "--airfoil", airfoil, "--problem", problem, *(["--quick"] if quick else [])]
    case = adaptive(build_parser().parse_args(options))
    return replace(case, closing=None, max_evaluations=case.max_evaluations // 3 if quick else case.max_evaluations)


def in_scaling(case: AdaptiveCase, label: str) -> AdaptiveCase:
    """Return the case in a scaling for SLSQP."""
    weight, angle, drag = SCALINGS[label]
    ref = np.append(np.full(16, weight), np.full(case.start.size - 16, angle))
    return scaled(case, ref, case.responses[0].ref * drag / SCALINGS["as the case"][2])


def table_of(problems: dict[str, dict[str, Row]]) -> Table:
    """Make the table: a line for each problem, start and method."""
    table = Table("problem", "start", "method", title="Truth evaluations")
    for column in ("to 1 %", "all", "ratio of both", "objective", "violation"):
        table.add_column(column, justify="right")
    table.add_column("end")
    for problem, starts in problems.items():
        for start, found in starts.items():
            for name, row in found["methods"].items():
                ratios = ", ".join(f"{one:.2f}" if one else "-" for one in row.get("ratio", {}).values())
                until = (str(count or "never") for count in row["until_within"].values())
                numbers = (f"{row['objective']:.6g}", f"{row['violation']:.1e}")
                table.add_row(problem, start, name, *until, str(row["evaluations"]), ratios, *numbers, row["end"])
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run all problems from all starts; write after each start, which takes minutes, then print."""
    call = begin(parser_of(__file__, __doc__), argv)
    airfoils, scalings = (AIRFOILS[:1], list(SCALINGS)[:1]) if call.quick else (AIRFOILS, list(SCALINGS))
    problems: dict[str, dict[str, Row]] = {problem: {} for problem in PROBLEMS}
    result: dict[str, Any] = {
        "setup": {"scalings": {label: SCALINGS[label] for label in scalings}, "violation": FEASIBLE},
        "problems": problems,
    }
    for problem, starts in problems.items():
        for airfoil in airfoils:
            case = case_of(problem, airfoil, call.quick)
            rivals = {f"SLSQP, {label}": in_scaling(case, label) for label in scalings}
            starts[airfoil] = compare(case, {"loop": case}, rivals, NEAR, QUICK if call.quick else None)
            call.write(result)
            call.console.print(f"{problem}, {airfoil}: done after {call.seconds:.0f} s")
    call.console.print(table_of(problems))
    return 0


if __name__ == "__main__":
    run(main)
