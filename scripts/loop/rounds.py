"""Rounds of the loop with several workers, over the serial evaluations of SciPy's best method from the same starts.

The *truth model*, short truth, is the function that is minimized; it returns all partials. A round is the time of one
evaluation: all candidates of an iteration are evaluated in one, on as many workers. Each point of the derivative check
is one more. The clock is simulated, but for one run. Printed and written to the result file:

- `rosenbrock`: Rosenbrock's function within [-2, 2]^d from random starts, those of `loop.evaluations_vs_scipy`, until
  f <= 1e-6. Medians over the starts from which the global minimum was found. By number of workers:
  - `rounds` and `evaluations`: median, quartiles and largest; `found` of `starts`;
  - `ratio`: median rounds over the median evaluations of the best method of SciPy; `cost`: evaluations likewise.
- `airfoil`: the case `airfoil` from three starts, until a feasible design is within 1 % of the best drag of all runs
  (`near`), and until the certificate (`end`); the rival is SLSQP in the best of four scalings.
- `clock`: one run on real workers with a truth that takes two seconds (`wall` over that, beside `rounds`).

`rounds.png` shows the ratios over the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.rosenbrock.function import rosenbrock
from gradopt import AdaptiveDriver, minimize
from gradopt.plots.figure import new_figure
from scripts.loop.evaluations_vs_scipy import (
    AIRFOIL_TOLERANCE,
    LIMIT,
    SCIPY,
    number,
    random_starts,
    run_scipy,
    spread,
)
from scripts.shared.airfoil_problem import AIRFOILS, SCALINGS, Airfoil
from scripts.shared.loop_problems import Counted, rosenbrock_problem
from scripts.shared.script import Call, begin, parser_of, run

WORKERS = (1, 2, 4, 8)
STARTS = {5: 20, 10: 20, 20: 10}  # random starts by dimension
BUDGET = 400  # evaluations of the loop, on the airfoil too; by hand
NEAR = "0.01"
SECONDS = 2.0  # of an evaluation on the real clock: long beside the loop's own time
GOALS = {4: 0.28, 8: 0.22}

Row = dict[str, Any]


def rounds_until(driver: AdaptiveDriver, evaluation: int) -> int:
    """Return the round in which an evaluation, counted from 1, was made."""
    return 1 + sum(one.evaluations < evaluation for one in driver.history)


def on_rosenbrock(start: np.ndarray, workers: int, budget: int) -> tuple[int, int] | None:
    """Return rounds and evaluations until f <= 1e-6; None where the run ended elsewhere."""
    counted = Counted(rosenbrock)
    driver = AdaptiveDriver(configuration=None, batch=workers, max_evaluations=budget, tolerance=LIMIT)
    rosenbrock_problem(start.size).loop(driver, start, counted).run_driver()
    arrived = counted.first(lambda x, y, dydx: bool(y[0] <= LIMIT))
    return None if arrived is None else (rounds_until(driver, arrived), arrived)


def rosenbrock_rows(call: Call, d: int, count: int) -> Row:
    """Return the figures of one dimension."""
    starts = random_starts(d, count)
    rivals = {}
    for method in SCIPY:
        found = [one["f"] for one in (run_scipy(method, start) for start in starts) if one["end"] == "global"]
        rivals[method] = float(np.median(found)) if found else np.inf
    best = min(rivals, key=lambda method: rivals[method])
    rows: Row = {"d": d, "starts": count, "rivals": rivals, "rival": best, "workers": {}}
    for workers in (1, 4) if call.quick else WORKERS:
        clock = time.perf_counter()
        ends = [on_rosenbrock(start, workers, 4 if call.quick else BUDGET) for start in starts]
        arrived = [end for end in ends if end is not None]
        rounds, evaluations = (spread([end[part] for end in arrived]) for part in range(2))
        row = {"found": len(arrived), "rounds": rounds, "evaluations": evaluations, "ratio": None, "cost": None}
        if arrived:
            row["ratio"], row["cost"] = (one["median"] / rivals[best] for one in (rounds, evaluations))
        rows["workers"][workers] = row
        call.console.print(f"{d}-D, {workers} workers: {time.perf_counter() - clock:.0f} s")
    return rows


def airfoil_rows(call: Call, name: str) -> Row:
    """Return the figures of one start of the airfoil."""
    airfoil = Airfoil(name)
    direct = {label: airfoil.direct(scaling, 2 if call.quick else 400) for label, scaling in SCALINGS.items()}
    runs = {}
    for workers in (1, 4) if call.quick else WORKERS:
        counted, clock = Counted(airfoil.case.truth), time.perf_counter()
        budget = 6 if call.quick else BUDGET
        driver = AdaptiveDriver(configuration=None, batch=workers, max_evaluations=budget, tolerance=AIRFOIL_TOLERANCE)
        airfoil.problem().loop(driver, truth=counted).run_driver()
        runs[workers] = counted, driver
        call.console.print(f"{name}, {workers} workers: {time.perf_counter() - clock:.0f} s")
    reference = min(airfoil.best(counted) for counted in (*direct.values(), *(counted for counted, _ in runs.values())))
    near = [airfoil.record(counted, reference)["until_within"][NEAR] for counted in direct.values()]
    best = min((count for count in near if count), default=None)
    rows: Row = {"airfoil": name, "best_CD": reference, "rival": best, "workers": {}}
    for workers, (counted, driver) in runs.items():
        count = airfoil.record(counted, reference)["until_within"][NEAR]
        assert driver.state is not None and driver.exit is not None
        row = {
            "near": rounds_until(driver, count) if count else None,
            "near_evaluations": count,
            "end": len(driver.history) + driver.state.checks,
            "evaluations": driver.evaluations,
            "exit": driver.exit.value,
        }
        rows["workers"][workers] = {**row, "ratio": row["near"] / best if row["near"] and best else None}
    return rows


def on_the_clock(quick: bool) -> Row:
    """Return wall time over that of an evaluation, of one run on four real workers."""
    d, seconds = (2, 0.05) if quick else (10, SECONDS)

    def slow(x: np.ndarray) -> tuple[float, np.ndarray]:
        time.sleep(seconds)
        f, gradient = rosenbrock(x)
        return float(f[0]), gradient[0]

    bounds = [(-2.0, 2.0)] * d
    options = {"max_evaluations": 4 if quick else BUDGET}
    clock = time.perf_counter()
    found = minimize(slow, random_starts(d, 1)[0], jac=True, bounds=bounds, workers=4, options=options)
    wall = time.perf_counter() - clock
    rounds = found.nit + 1 + found.optimizer.state.checks
    return {
        "d": d,
        "workers": 4,
        "wall": wall / seconds,
        "rounds": rounds,
        "evaluations": found.nfev,
        "end": found.exit,
    }


def table_of(result: Row) -> Table:
    """Make the table that is printed."""
    table = Table(
        "problem", "workers", "rounds", "evaluations", "over SciPy's best", "goal", "evaluations likewise", "end"
    )
    for part in result["rosenbrock"]:
        for workers, row in part["workers"].items():
            cells = []
            for of in ("rounds", "evaluations"):
                one = {name: number(value, ".0f") for name, value in row[of].items()}
                cells.append(f"{one['median']} ({one['low']}, {one['high']}) {one['largest']}")
            name = f"Rosenbrock, {part['d']}-D ({number(part['rivals'][part['rival']], '.0f')}, {part['rival']})"
            goal, end = number(GOALS.get(workers)), f"{row['found']} of {part['starts']}"
            table.add_row(name, f"{workers}", *cells, number(row["ratio"]), goal, number(row["cost"]), end)
    for part in result["airfoil"]:
        for workers, row in part["workers"].items():
            rounds = f"{number(row['near'], 'd')} near, {row['end']} in all"
            evaluations = f"{number(row['near_evaluations'], 'd')} near, {row['evaluations']} in all"
            name = f"airfoil, {part['airfoil']} ({number(part['rival'], 'd')}, SLSQP)"
            goal = number(GOALS.get(workers))
            table.add_row(name, f"{workers}", rounds, evaluations, number(row["ratio"]), goal, "", row["exit"])
    one = result["clock"]
    name, wall = f"Rosenbrock, {one['d']}-D, on the clock", f"{one['rounds']}, wall {one['wall']:.1f}"
    table.add_row(name, f"{one['workers']}", wall, f"{one['evaluations']}", "", "", "", str(one["end"]))
    return table


def draw(result: Row, path: Path) -> None:
    """Draw the ratios over the number of workers."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    lines = [(f"Rosenbrock, {part['d']}-D", part, "o-") for part in result["rosenbrock"]]
    lines += [(f"airfoil, {part['airfoil']}, to 1 %", part, "s--") for part in result["airfoil"]]
    for label, part, style in lines:
        points = [(workers, row["ratio"]) for workers, row in part["workers"].items() if row["ratio"]]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="rounds over evaluations of SciPy's best method")
    axes.set_xticks(WORKERS, [f"{workers}" for workers in WORKERS])
    axes.set_yticks([0.1, 0.2, 0.3, 0.5, 1.0])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    if axes.lines:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def measured(call: Call) -> Row:
    """Make all runs."""
    dimensions = {2: 1} if call.quick else STARTS
    airfoils = AIRFOILS[:1] if call.quick else AIRFOILS
    return {
        "rosenbrock": [rosenbrock_rows(call, d, count) for d, count in dimensions.items()],
        "airfoil": [airfoil_rows(call, name) for name in airfoils],
        "clock": on_the_clock(call.quick),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run all, and write table, picture and result."""
    call = begin(parser_of(__file__, __doc__), argv)
    result = measured(call)
    call.console.print(table_of(result))
    call.folder.mkdir(parents=True, exist_ok=True)
    draw(result, call.folder / "rounds.png")
    call.write(result)
    return 0


if __name__ == "__main__":
    run(main)
