"""CPU time of the loop alone, without the truth, on one thread: over inputs, over samples, and on single problems.

The *truth model*, short truth, is the function that is minimized; it returns all partials. The seconds are those of the
process, less those in the truth. No network is fitted. Printed and written to the result file:

- `inputs`: seconds of an iteration on Rosenbrock's function of 2 to 40 variables, a mean over a run of at most 60
  iterations, and the exponent of the growth over the upper half of them.
- `samples`: the same over the number of samples, which are given before the run: a Latin hypercube of 10 to 3000 points
  within [-2, 2]^d, for 5 and 20 variables; a mean over 10 iterations.
- `single`: seconds, iterations and evaluations of single runs, with a goal where there is one:
  - `airfoil`: the case `airfoil`, least drag at fixed lift.
  - `six conditions`: the case `airfoil_study` with six conditions, a shape for each; the engine of the study stands for
    the loop there, and its iterations are not counted.
  - `six conditions, one shape`: the case `airfoil` with `--problem multipoint`.
  - `HS39`: a problem of Hock and Schittkowski with four variables and two equalities.
  - `Rosenbrock, 20 variables`: the run of `inputs` to its end.

`seconds.png` shows `inputs` and `samples`, log-log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.adaptive import run_adaptive
from cases.airfoil.case import adaptive
from cases.airfoil_study.conditions import sample_conditions
from cases.airfoil_study.engine import Rules
from cases.airfoil_study.problem import make_problem
from cases.airfoil_study.study import run_study
from cases.cli import build_parser
from cases.rosenbrock.function import rosenbrock
from gradopt import Dataset, EvaluationStore, FunctionTruth, Optimizer, Variable, minimize
from gradopt.loop.settings import Settings
from gradopt.plots.figure import new_figure
from gradopt.sampling import latin_hypercube
from scripts.shared.costs import growth_exponent
from scripts.shared.script import Call, begin, parser_of, run

INPUTS, SAMPLES, OF_SAMPLES = (2, 5, 10, 20, 40), (10, 30, 100, 300, 1000, 3000), (5, 20)
ITERATIONS, FEW = 60, 10  # evaluations of a run of `inputs`, and of `samples`, after the first; by hand
YLIM, YTICKS = (2.0, 200.0), (2, 5, 10, 20, 50, 100, 200)  # of the picture, ms
BUDGET = 300  # evaluations of a single run; by hand
GOALS = {  # in seconds
    "airfoil": "3",
    "six conditions": "25",
    "HS39": "1",
    "Rosenbrock, 20 variables": "0.03 an iteration",
}

Row = dict[str, Any]


class Clock:
    """CPU seconds of this process without those in functions that it wraps."""

    def __init__(self) -> None:
        """Begin to count."""
        self._begun, self._outside = time.process_time(), 0.0

    def outside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function whose seconds are not counted."""

        def timed(*args: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*args)
            finally:
                self._outside += time.process_time() - begun

        return timed

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.process_time() - self._begun - self._outside


def row_of(clock: Clock, iterations: int, evaluations: int, end: str) -> Row:
    """Return the figures of a run that has just ended."""
    seconds = clock.seconds
    found = {"seconds": seconds, "iterations": iterations, "evaluations": evaluations, "end": end}
    return {**found, "seconds_of_iteration": seconds / max(iterations, 1)}


def on_rosenbrock(d: int, most: int) -> Row:
    """Minimize Rosenbrock's function of d variables from (-1.2, 1, -1.2, ...) with a budget of evaluations."""
    clock = Clock()
    start = np.resize([-1.2, 1.0], d)
    found = minimize(clock.outside(_value_and_gradient), start, jac=True, options={"max_evaluations": most})
    return row_of(clock, found.nit, found.nfev, found.exit.value)


def with_samples(d: int, n: int) -> Row:
    """Take some iterations on Rosenbrock's function of d variables with n samples given."""
    inputs = (Variable("x", (d,), lower=np.full(d, -2.0), upper=np.full(d, 2.0)),)
    x = latin_hypercube(inputs, n, 0)
    found = [rosenbrock(point) for point in x]
    data = Dataset(x, np.array([y for y, _ in found]), np.array([dydx for _, dydx in found]), inputs, (Variable("f"),))
    clock = Clock()
    optimizer = Optimizer(
        inputs,
        data.output_variables,
        np.resize([-1.2, 1.0], d),
        configuration=None,
        initial_data=data,
        settings=Settings(max_evaluations=FEW + 1),
    )
    end = optimizer.run(FunctionTruth(clock.outside(rosenbrock), inputs, data.output_variables, identity="rosenbrock"))
    return row_of(clock, len(optimizer.history), optimizer.evaluations, end.value)


def hs39() -> Row:
    """Minimize -x1 with x2 = x1^3 + x3^2 and x1^2 = x2 + x4^2 from (2, 2, 2, 2)."""
    clock = Clock()
    rows: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
        (lambda x: x[1] - x[0] ** 3 - x[2] ** 2, lambda x: np.array([-3.0 * x[0] ** 2, 1.0, -2.0 * x[2], 0.0])),
        (lambda x: x[0] ** 2 - x[1] - x[3] ** 2, lambda x: np.array([2.0 * x[0], -1.0, 0.0, -2.0 * x[3]])),
    )
    found = minimize(
        lambda x: (-x[0], np.array([-1.0, 0.0, 0.0, 0.0])),
        np.full(4, 2.0),
        jac=True,
        constraints=[{"type": "eq", "fun": clock.outside(fun), "jac": clock.outside(jac)} for fun, jac in rows],
    )
    return row_of(clock, found.nit, found.nfev, found.exit.value)


def on_airfoil(quick: bool, *options: str) -> Row:
    """Run the case `airfoil` with options of its command line, without its last surrogate."""
    case = adaptive(build_parser().parse_args(["run", "airfoil", *options, *(["--quick"] if quick else [])]))
    case = replace(case, closing=None)
    clock = Clock()
    for truth in case.truths:
        object.__setattr__(truth, "evaluate", clock.outside(truth.evaluate))
    with EvaluationStore() as store:
        found = run_adaptive(case, 0, store, lambda line: None)
    return row_of(clock, len(found.iterations), found.evaluations, found.exit.value)


def on_six_conditions() -> Row:
    """Run the study of airfoils with six conditions."""
    problem, clock = make_problem(), Clock()
    object.__setattr__(problem.truth, "evaluate", clock.outside(problem.truth.evaluate))
    with EvaluationStore() as store:
        found = run_study(problem, sample_conditions(6, 0), store, Rules(), 8, 0, lambda line: None)
    certified = sum(design.kkt.certified for design in found.designs)
    return {"seconds": clock.seconds, "evaluations": found.evaluations, "end": f"{certified} of 6 certified"}


def single_of(quick: bool) -> dict[str, Callable[[], Row]]:
    """Return the single runs by name; with a tiny budget the short ones."""
    runs: dict[str, Callable[[], Row]] = {"airfoil": lambda: on_airfoil(quick), "HS39": hs39}
    if quick:
        return runs
    return {
        **runs,
        "Rosenbrock, 20 variables": lambda: on_rosenbrock(20, BUDGET),
        "six conditions": on_six_conditions,
        "six conditions, one shape": lambda: on_airfoil(False, "--problem", "multipoint"),
    }


def series(rows: dict[int, Row]) -> Row:
    """Return figures over a size, with the exponent of their growth."""
    times = [row["seconds_of_iteration"] for row in rows.values()]
    return {"runs": {str(size): row for size, row in rows.items()}, "exponent": growth_exponent(list(rows), times)}


def table_of(result: Row) -> Table:
    """Make the table: a line for each run."""
    table = Table("run", title="CPU of the loop alone")
    for column in ("seconds", "iterations", "ms of an iteration", "evaluations", "goal, s"):
        table.add_column(column, justify="right")
    table.add_column("end")
    parts = [(f"{d} inputs", row) for d, row in result["inputs"]["runs"].items()]
    for d, found in result["samples"].items():
        parts += [(f"{d} inputs, {n} samples", row) for n, row in found["runs"].items()]
    for name, row in [*parts, *result["single"].items()]:
        each = f"{1e3 * row['seconds_of_iteration']:.1f}" if "seconds_of_iteration" in row else ""
        numbers = (f"{row['seconds']:.2f}", str(row.get("iterations", "")), each, str(row["evaluations"]))
        table.add_row(name, *numbers, row.get("goal", ""), row["end"])
    return table


def draw(result: Row, path: Path) -> None:
    """Draw the seconds of an iteration over inputs and over samples."""
    figure = new_figure(8.0, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    lines = [(left, "Rosenbrock", result["inputs"])]
    lines += [(right, f"{d} inputs", found) for d, found in result["samples"].items()]
    for axes, label, found in lines:
        times = [1e3 * row["seconds_of_iteration"] for row in found["runs"].values()]
        slope = f"{label}: slope {found['exponent']:.2f} in the upper half"
        axes.loglog([int(size) for size in found["runs"]], times, "o-", label=slope)
    for axes, label, found in ((left, "inputs d", result["inputs"]), (right, "samples n given", lines[1][2])):
        axes.set(xlabel=label, ylim=YLIM)
        axes.set_xticks([int(size) for size in found["runs"]], list(found["runs"]))
        axes.set_yticks(YTICKS, [str(tick) for tick in YTICKS])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    left.set_ylabel("CPU of an iteration, ms")
    figure.savefig(path, dpi=150)


def measured(call: Call) -> Row:
    """Make all runs; write after each part."""
    inputs, samples = (INPUTS[:3], SAMPLES[:3]) if call.quick else (INPUTS, SAMPLES)
    on_rosenbrock(2, 5)  # warms up
    result: Row = {"inputs": series({d: on_rosenbrock(d, 6 if call.quick else ITERATIONS + 1) for d in inputs})}
    result["samples"] = {str(d): series({n: with_samples(d, n) for n in samples}) for d in OF_SAMPLES}
    result["single"] = {}
    for name, make in single_of(call.quick).items():
        goal = {"goal": GOALS[name]} if name in GOALS else {}
        result["single"][name] = {**make(), **goal}
        call.write(result)
        call.console.print(f"{name}: done after {call.seconds:.0f} s")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and draw."""
    call = begin(parser_of(__file__, __doc__), argv)
    result = measured(call)
    draw(result, call.folder / "seconds.png")
    call.console.print(table_of(result))
    return 0


def _value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
    y, dydx = rosenbrock(x)
    return float(y[0]), dydx[0]


if __name__ == "__main__":
    run(main)
