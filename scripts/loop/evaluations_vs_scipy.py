"""Truth evaluations of the adaptive loop, against SciPy's gradient methods in the same run.

The *truth model*, short truth, is the function that is minimized. A truth evaluation is the value and all partials at
one point; a repeated point is counted once. Printed and written to the result file:

- `rosenbrock`: Rosenbrock's function within [-2, 2]^d, from (1.25, -1.75) (`named`) and from random starts.
  - `f`, `gradient`: evaluations to f <= 1e-6, and to max |df/dx| <= 1e-6, of the runs that reach f <= 1e-6: median,
    quartiles, largest. Runs that reach f <= 1e-6 but not the limit of the gradient (`without_gradient`) count as
    infinite, which is written as null.
  - `second_minimum`, `failed`: runs that end at f near 3.9, and runs that end elsewhere.
  - `restarts`: expected evaluations to the global minimum with restarts until it is found: evaluations of all runs over
    the number that reach it. A run in the second minimum ends at the limit of its gradient.
  - `ratio`: to the best SciPy method from the same starts, of medians and of `restarts`.

  Methods: the loop without a network (`loop`), without single correction terms, and with the default network
  (`loop, JENN`) or one whose weights are learned (`loop, learned`; few starts, as they are slow). SciPy's methods have
  exact partials and tolerances so tight that they never stop early. SLSQP and L-BFGS-B have the bounds. BFGS has none,
  and trust-constr none either, since with bounds it is an interior point method, which needs more evaluations.
- `airfoil`: the case `airfoil` from eight starts, SLSQP on the truth in several scalings, and the loop: best feasible
  CD, evaluations until a feasible design is within 3, 1 and 0.3 % of the best CD of all runs of SLSQP from that start
  (`until_within`), end and evaluations of the loop. Feasible: violations of constraints, scaled by the driver, are at
  most 1e-4. The evaluation that finds the angle of attack of the start is in none of the counts. Where their packages
  are installed (ipyopt, unopy), IPOPT and Uno run in the same scalings.

`evaluations.png` shows the medians over the dimension.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from cases.rosenbrock.function import rosenbrock
from gradopt import JENN, AdaptiveDriver
from gradopt.loop import CorrectionTerms
from gradopt.plots.figure import new_figure
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.configurations.default import default_configuration
from scripts.loop.cutest_problems import DirectProblem
from scripts.loop.direct_runs import measure
from scripts.loop.rival_solvers import SOLVERS
from scripts.shared.airfoil_problem import NEAR, SCALINGS, SHAPES, VIOLATION, Airfoil
from scripts.shared.loop_problems import Counted, rosenbrock_problem
from scripts.shared.script import begin, parser_of, run

PARTS = ("rosenbrock", "airfoil")
NAMED = (1.25, -1.75)
DIMENSIONS, STARTS = (2, 5, 10, 20), 20  # random starts, half of them above 10-D
NETWORK_STARTS = {2: 5, 5: 3}  # random starts of the loop with networks, by dimension
QUICK_BUDGET = 4  # evaluations of the loop from a random start with --quick
LIMIT = 1e-6  # of f, and of the largest partial; by hand
RIVALS = ("IPOPT", "Uno filterSQP")  # on the airfoils
AIRFOIL_TOLERANCE = 1e-3  # of the certificate, as in the case: NeuralFoil has kinks
# Tolerances by hand, so tight that no method stops before the limit of f.
SCIPY: dict[str, dict[str, float]] = {
    "SLSQP": {"ftol": 1e-16, "maxiter": 3000},
    "L-BFGS-B": {"ftol": 1e-18, "gtol": 1e-10, "maxiter": 3000, "maxfun": 10_000},
    "BFGS": {"gtol": 1e-10, "maxiter": 3000},
    "trust-constr": {"gtol": 1e-10, "xtol": 1e-14, "maxiter": 3000},
}
BOUNDED = ("SLSQP", "L-BFGS-B")
TERMS = {
    "loop": CorrectionTerms(),
    "loop, no kriging": CorrectionTerms(kriging=False),
    "loop, no secants": CorrectionTerms(secant=False),
    "loop, JENN": CorrectionTerms(),
    "loop, learned": CorrectionTerms(),
}
WITH_NETWORK = ("loop, JENN", "loop, learned")
LEARNED = JENN((20,), starts=2)
ABLATED = ("loop, no kriging", "loop, no secants")
Run = dict[str, Any]


def budget_of(d: int) -> int:
    """Return the largest number of evaluations of the loop in d dimensions; by hand."""
    return 60 + 15 * d


def random_starts(d: int, count: int) -> list[np.ndarray]:
    """Draw points (d,) within the bounds, the same for every method."""
    return [np.random.default_rng([d, seed]).uniform(-2.0, 2.0, d) for seed in range(count)]


def figures_of(counted: Counted, start: np.ndarray, seconds: float, end: str) -> Run:
    """Return the figures of a run."""
    lowest = min(float(y[0]) for _, y, _ in counted.points.values())
    arrived = counted.first(lambda x, y, dydx: bool(y[0] <= LIMIT))
    flat = counted.first(lambda x, y, dydx: bool(np.abs(dydx).max() <= LIMIT))
    second = arrived is None and flat is not None and lowest > 0.1
    return {
        "start": start,
        "f": arrived,
        "gradient": flat if arrived is not None else None,
        "spent": arrived or flat or len(counted),
        "end": "global" if arrived is not None else "second" if second else "failed",
        "lowest": lowest,
        "evaluations": len(counted),
        "seconds": seconds,
        "exit": end,
    }


def run_scipy(method: str, start: np.ndarray) -> Run:
    """Minimize Rosenbrock's function with a method of SciPy."""
    counted = Counted(rosenbrock)

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, gradient = counted(x)
        return float(f[0]), gradient[0]

    bounds = [(-2.0, 2.0)] * start.size if method in BOUNDED else None
    clock = time.perf_counter()
    solve: Any = minimize
    found = solve(both, start, jac=True, method=method, bounds=bounds, options=SCIPY[method])
    return figures_of(counted, start, time.perf_counter() - clock, str(found.message))


def run_loop(method: str, start: np.ndarray, networks: dict[str, JENN], budget: int) -> Run:
    """Minimize Rosenbrock's function with the loop within a budget of evaluations."""
    counted, d = Counted(rosenbrock), start.size
    driver = AdaptiveDriver(
        configuration=networks.get(method),
        correction=TERMS[method],
        max_evaluations=budget,
        tolerance=LIMIT,
    )
    problem = rosenbrock_problem(d).loop(driver, start, counted)
    clock = time.perf_counter()
    problem.run_driver()
    return figures_of(counted, start, time.perf_counter() - clock, problem.driver.exit.value)


def spread(counts: Sequence[float]) -> dict[str, Any]:
    """Return median, quartiles and largest of counts; None where infinite, or where there are none."""
    ordered = sorted(counts)

    def at(part: float) -> float | None:
        place = part * (len(ordered) - 1)
        if not ordered or np.isinf(ordered[int(np.ceil(place))]):
            return None
        return float(np.interp(place, range(len(ordered)), np.nan_to_num(ordered, posinf=0.0)))

    return {"median": at(0.5), "low": at(0.25), "high": at(0.75), "largest": at(1.0)}


def summarize(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the figures of one method in one dimension."""
    arrived = [run for run in runs if run["end"] == "global"]
    spent = sum(run["spent"] for run in runs)
    return {
        "starts": len(runs),
        "f": spread([run["f"] for run in arrived]),
        "gradient": spread([run["gradient"] or np.inf for run in arrived]),
        "without_gradient": sum(run["gradient"] is None for run in arrived),
        "second_minimum": sum(run["end"] == "second" for run in runs),
        "failed": sum(run["end"] == "failed" for run in runs),
        "restarts": spent / len(arrived) if arrived else None,
        "seconds_per_evaluation": sum(r["seconds"] for r in runs) / sum(r["evaluations"] for r in runs),
        "runs": list(runs),
    }


def compare(
    starts: Sequence[np.ndarray], methods: dict[str, int], networks: dict[str, JENN], budget: int, console: Console
) -> dict[str, Any]:
    """Run each method from its number of starts; ratios are to the best SciPy method from the same starts.

    Args:
        starts: Starts (d,).
        methods: Number of starts of each method.
        networks: Network of a method that has one.
        budget: Largest number of evaluations of the loop.
        console: Where the seconds of each method are printed.
    """
    found: dict[str, Any] = {}
    for method, count in methods.items():
        clock = time.perf_counter()
        runs = [
            run_scipy(method, start) if method in SCIPY else run_loop(method, start, networks, budget)
            for start in starts[:count]
        ]
        found[method] = summarize(runs)
        console.print(f"  {method}: {len(runs)} runs, {time.perf_counter() - clock:.0f} s")
    for method, of in found.items():
        same = {peer: summarize(found[peer]["runs"][: of["starts"]]) for peer in SCIPY}
        ratios = {}
        for figure in ("f", "gradient"):
            peers = [peer[figure]["median"] for peer in same.values() if peer[figure]["median"]]
            mine = of[figure]["median"]
            ratios[figure] = mine / min(peers) if mine and peers else None
        restarts = [peer["restarts"] for peer in same.values() if peer["restarts"]]
        ratios["restarts"] = of["restarts"] / min(restarts) if of["restarts"] and restarts else None
        of["ratio"] = ratios if method not in SCIPY else {}
    return found


def in_units(airfoil: Airfoil, scaling: tuple[float, float, float], counted: Counted) -> DirectProblem:
    """Make the problem for a direct solver, whose design variables and objective are divided by their units."""
    weight, angle, drag = scaling
    case, unit = airfoil.case, np.append(np.full(16, weight), angle)
    row = np.append(case.responses[0].ref / drag, np.ones(airfoil.low.size))

    def function(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydx = counted(u * unit)
        return row * airfoil.values(u * unit, y), row[:, None] * airfoil.gradients(dydx) * unit

    lower, upper = (limit / unit for limit in case.limits)
    name = f"airfoil {case.settings['airfoil']}"
    return DirectProblem(name, function, case.start / unit, lower, upper, airfoil.low, airfoil.high)


def run_rival(airfoil: Airfoil, rival: str, scaling: tuple[float, float, float]) -> Counted:
    """Run a solver on the truth, and return its evaluations."""
    counted = Counted(airfoil.case.truth)
    measure(in_units(airfoil, scaling, counted), rival)
    return counted


def run_airfoil(name: str, evaluations: int, iterations: int, others: Sequence[str] = ()) -> dict[str, Any]:
    """Run SLSQP and other solvers in all scalings, then the loop."""
    airfoil = Airfoil(name)
    rivals = {label: airfoil.direct(scaling, iterations) for label, scaling in SCALINGS.items()}
    reference = min(airfoil.best(counted) for counted in rivals.values())
    records = {f"SLSQP, {label}": airfoil.record(counted, reference) for label, counted in rivals.items()}
    for rival in others:
        for label, scaling in SCALINGS.items():
            records[f"{rival}, {label}"] = airfoil.record(run_rival(airfoil, rival, scaling), reference)
    counted, clock = Counted(airfoil.case.truth), time.perf_counter()
    settings = AdaptiveDriver(configuration=None, max_evaluations=evaluations, tolerance=AIRFOIL_TOLERANCE)
    problem = airfoil.problem().loop(settings, truth=counted)
    problem.run_driver()
    driver, seconds = problem.driver, time.perf_counter() - clock
    mine = {**airfoil.record(counted, reference), "exit": driver.exit.value, "seconds": seconds}
    mine["seconds_per_evaluation"] = seconds / len(counted)
    if driver.certificate is not None:
        mine |= {name: getattr(driver.certificate, name) for name in ("stationarity", "feasibility")}
    within: dict[str, float | None] = {}
    for near, count in mine["until_within"].items():
        best = min((found for row in records.values() if (found := row["until_within"][near])), default=None)
        within[near] = count / best if count and best else None
    return {"best_direct_CD": reference, "methods": {**records, "loop": mine}, "ratio_to_best_direct": within}


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw medians and quartiles over the dimension."""
    figure = new_figure(10.0, 4.6)
    methods = list(dict.fromkeys(method for of in found.values() for method in of["methods"]))
    titles = {"f": "f ≤ 1e-6", "gradient": "‖∇f‖∞ ≤ 1e-6"}
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (criterion, title) in zip(panels, titles.items(), strict=True):
        for number, method in enumerate(methods):
            rows = [
                (of["d"], of["methods"][method][criterion])
                for label, of in found.items()
                if label != "named" and method in of["methods"]
            ]
            rows = [(d, row) for d, row in rows if row["median"]]
            if rows:
                d = np.array([d for d, _ in rows]) * 1.015 ** (number - len(methods) / 2)
                low, middle, high = (np.array([r[n] or np.nan for _, r in rows]) for n in ("low", "median", "high"))
                style = {"color": f"C{number}", "linewidth": 2.2 if method == "loop" else 1.0, "capsize": 2.0}
                line = "o-" if method.startswith("loop") else "s--"
                axes.errorbar(d, middle, [middle - low, high - middle], fmt=line, label=method, **style)
        ticks = sorted({of["d"] for of in found.values()})
        axes.set(xscale="log", yscale="log", xlabel="dimension", title=f"Rosenbrock: evaluations to {title}")
        axes.set_xticks(ticks, [f"{d}" for d in ticks])
        axes.set_yticks([10, 20, 50, 100, 200, 500])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    panels[0].set_ylabel("truth evaluations, median and quartiles")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def number(value: float | None, digits: str = ".3g") -> str:
    """Write a number that may be missing."""
    return "-" if value is None else f"{value:{digits}}"


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables."""
    table = Table("Rosenbrock", "method", "f: median (quartiles) largest", "ratio", "gradient: the same")
    for column in ("ratio", "no gradient", "second, failed of runs", "with restarts (ratio)", "s / evaluation"):
        table.add_column(column)
    for label, part in result["rosenbrock"].items():
        for method, of in part["methods"].items():
            cells = []
            for figure in ("f", "gradient"):
                row = {name: number(value, ".0f") for name, value in of[figure].items()}
                cells.append(f"{row['median']} ({row['low']}, {row['high']}) {row['largest']}")
                cells.append(number(of["ratio"].get(figure)))
            ended = f"{of['second_minimum']}, {of['failed']} of {of['starts']}"
            restarts = f"{number(of['restarts'])} ({number(of['ratio'].get('restarts'))})"
            unmet = f"{of['without_gradient']}"
            table.add_row(label, method, *cells, unmet, ended, restarts, f"{of['seconds_per_evaluation']:.2g}")
    if table.row_count:
        console.print(table)
    near = [f"within {100 * part:g} %" for part in NEAR]
    table = Table("airfoil", "method", "best CD", *near, "evaluations", "exit")
    for name, part in result["airfoil"].items():
        for method, of in part["methods"].items():
            until = [number(count) for count in of["until_within"].values()]
            best = number(of["best_feasible_CD"], ".6f")
            table.add_row(name, method, best, *until, f"{of['evaluations']}", of.get("exit", ""))
    if table.row_count:
        console.print(table)


def measure_rosenbrock(
    quick: bool, networks: dict[str, JENN], console: Console, chosen: Sequence[str]
) -> dict[str, Any]:
    """Run the chosen methods on Rosenbrock's function, from the named start and from random starts."""
    console.print("(1.25, -1.75)")
    every = dict.fromkeys(("loop", *SCIPY, *(() if quick else (*ABLATED, *WITH_NETWORK))), 1)
    every = {method: count for method, count in every.items() if method in chosen}
    named = compare([np.array(NAMED)], every, networks, budget_of(2), console)
    found: dict[str, Any] = {"named": {"d": 2, "methods": named}}
    for d in DIMENSIONS[:1] if quick else DIMENSIONS:
        console.print(f"{d}-D")
        count = 1 if quick else STARTS if d <= 10 else STARTS // 2
        methods = {"loop": count}
        if d <= 10:
            methods |= dict.fromkeys(ABLATED, count if d < 10 else count // 2)
        if d in NETWORK_STARTS:
            methods |= dict.fromkeys(WITH_NETWORK, 1 if quick else NETWORK_STARTS[d])
        methods |= dict.fromkeys(SCIPY, count)
        methods = {method: count for method, count in methods.items() if method in chosen}
        budget = QUICK_BUDGET if quick else budget_of(d)
        found[f"{d}-D"] = {"d": d, "methods": compare(random_starts(d, count), methods, networks, budget, console)}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both parts, or one, write, draw and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    names = [*TERMS, *SCIPY]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="methods on Rosenbrock's function")
    call = begin(parser, argv, width=170)
    network = (
        JENN((5,), starts=1, solver=LevenbergMarquardt(max_iterations=2)) if call.quick else default_configuration()
    )
    networks = dict(zip(WITH_NETWORK, (network, network if call.quick else LEARNED), strict=True))
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    if "rosenbrock" in call.options.parts:
        parts["rosenbrock"] = measure_rosenbrock(call.quick, networks, call.console, call.options.methods)
    if "airfoil" in call.options.parts:
        others = [rival for rival in RIVALS if find_spec(SOLVERS[rival].package)]
        for name in SHAPES[:1] if call.quick else SHAPES:
            call.console.print(name)
            parts["airfoil"][name] = run_airfoil(name, 4, 3) if call.quick else run_airfoil(name, 150, 400, others)
    setup = {
        "limit": LIMIT,
        "budget": "60 + 15 d; airfoil 150",
        "scipy": SCIPY,
        "scalings": SCALINGS,
        "violation": VIOLATION,
        "airfoil_tolerance": AIRFOIL_TOLERANCE,
        "networks": {name: of.to_dict() for name, of in networks.items()},
    }
    call.write({"setup": setup, **parts})
    if parts["rosenbrock"]:
        draw(call.folder / "evaluations.png", parts["rosenbrock"])
    show(call.console, parts)
    return 0


if __name__ == "__main__":
    run(main)
