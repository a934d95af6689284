"""Truth evaluations that the adaptive loop needs, against SciPy's gradient methods in the same run.

A truth evaluation is the value and all partials at one point; a point asked again is not counted again. Written to
OUT/result.json with the set-up, versions and commit, and printed:

- `rosenbrock`: Rosenbrock's function in [-2, 2]^d, from (1.25, -1.75) (`named`) and from random starts.
  - `f`, `gradient`: evaluations to f <= 1e-6, and to max |df/dx| <= 1e-6, of the runs that arrive at f <= 1e-6: median,
    quartiles, worst. Runs that arrive and never meet the gradient's limit (`without_gradient`) count as infinite,
    which is written as null.
  - `second_minimum`, `failed`: runs that end at f near 3.9, and runs that never arrive for another reason.
  - `restarts`: expected evaluations to the global minimum if one starts anew until it is found: evaluations of all
    runs over the number that arrive. A run in the wrong minimum is ended at its own gradient's limit.
  - `ratio`: to the best SciPy method from the same starts, of medians and of `restarts`.

  Methods: the loop without a network (`loop`), without parts of its correction, and with the default network
  (`loop, JENN`) or one whose weights are learned (`loop, learned`; few starts, as they are slow). SciPy's get exact
  partials and tolerances so tight that they never stop early. SLSQP and L-BFGS-B know the box; BFGS and trust-constr
  are not told of it, trust-constr because it would turn into an interior point method then, which needs more
  evaluations.
- `airfoil`: the case `airfoil` from three starts, direct SLSQP on the truth in several scalings, and the loop: best
  feasible CD, evaluations until a feasible design is within 3, 1 and 0.3 % of the best CD of all direct runs from that
  start (`until_within`), how the loop ended and after how many evaluations. Feasible: violations of driver-scaled
  constraints are at most 1e-4. The pass that finds the start's angle of attack is in none of the counts.

`evaluations.png` shows the medians over the dimension. Everything is on one thread:

    python -m scripts.evaluations_vs_scipy

`--dimensions 2 5 --starts 10` and `--only rosenbrock` or `--only airfoil` make parts of it; `--airfoil-network` adds
the loop with the network on the airfoil, which takes minutes each.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases.records import write_result
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from cases.rosenbrock.function import rosenbrock
from gradopt import JENN
from gradopt.loop import CorrectionTerms
from gradopt.plots.figure import new_figure
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.configurations.default import default_configuration
from scripts.airfoil_study import AIRFOILS, NEAR, SCALINGS, VIOLATION, Airfoil
from scripts.small_problems import Counted, rosenbrock_study

NAMED = (1.25, -1.75)
LIMIT = 1e-6  # of f, and of the largest partial
AIRFOIL_TOLERANCE = 1e-3  # of the certificate, as in the case: NeuralFoil has kinks
SCIPY: dict[str, dict[str, float]] = {
    "SLSQP": {"ftol": 1e-16, "maxiter": 3000},
    "L-BFGS-B": {"ftol": 1e-18, "gtol": 1e-10, "maxiter": 3000, "maxfun": 10_000},
    "BFGS": {"gtol": 1e-10, "maxiter": 3000},
    "trust-constr": {"gtol": 1e-10, "xtol": 1e-14, "maxiter": 3000},
}
BOXED = ("SLSQP", "L-BFGS-B")
PARTS = {
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


def random_starts(d: int, count: int) -> list[np.ndarray]:
    """Draw points (d,) of the box, the same for every method."""
    return [np.random.default_rng([d, seed]).uniform(-2.0, 2.0, d) for seed in range(count)]


def outcome(counted: Counted, start: np.ndarray, seconds: float, exit_status: str = "") -> Run:
    """Read a run from what it evaluated."""
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
        "exit": exit_status,
    }


def run_scipy(method: str, start: np.ndarray) -> Run:
    """Minimize Rosenbrock's function with a method of SciPy."""
    counted = Counted(rosenbrock)

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, gradient = counted(x)
        return float(f[0]), gradient[0]

    bounds = [(-2.0, 2.0)] * start.size if method in BOXED else None
    clock = time.perf_counter()
    solve: Any = minimize
    found = solve(both, start, jac=True, method=method, bounds=bounds, options=SCIPY[method])
    return outcome(counted, start, time.perf_counter() - clock, str(found.message))


def run_loop(method: str, start: np.ndarray, networks: dict[str, JENN]) -> Run:
    """Minimize it with the loop."""
    counted, d = Counted(rosenbrock), start.size
    problem = rosenbrock_study(d).loop(
        start,
        truth=counted,
        configuration=networks.get(method),
        correction=PARTS[method],
        max_evaluations=60 + 15 * d,
        tolerance=LIMIT,
    )
    clock = time.perf_counter()
    problem.run_driver()
    return outcome(counted, start, time.perf_counter() - clock, problem.driver.exit.value)


def spread(counts: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and worst of counts, some of them infinite; null where infinite, or where there are none."""
    ordered = sorted(counts)

    def at(part: float) -> float | None:
        place = part * (len(ordered) - 1)
        if not ordered or np.isinf(ordered[int(np.ceil(place))]):
            return None
        return float(np.interp(place, range(len(ordered)), np.nan_to_num(ordered, posinf=0.0)))

    return {"median": at(0.5), "low": at(0.25), "high": at(0.75), "worst": at(1.0)}


def summarize(runs: Sequence[Run]) -> dict[str, Any]:
    """Figures of one method in one dimension."""
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
    starts: Sequence[np.ndarray], methods: dict[str, int], networks: dict[str, JENN], console: Console
) -> dict[str, Any]:
    """Run each method from its number of starts; ratios are to the best SciPy method from the same starts."""
    found: dict[str, Any] = {}
    for method, count in methods.items():
        clock = time.perf_counter()
        run = [run_scipy(method, s) if method in SCIPY else run_loop(method, s, networks) for s in starts[:count]]
        found[method] = summarize(run)
        console.print(f"  {method}: {len(run)} runs, {time.perf_counter() - clock:.0f} s")
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


def run_airfoil(name: str, network: JENN | None, evaluations: int, iterations: int) -> dict[str, Any]:
    """Direct SLSQP in all scalings, then the loop."""
    airfoil = Airfoil(name)
    direct = {label: airfoil.direct(scaling, iterations) for label, scaling in SCALINGS.items()}
    reference = min(airfoil.best(counted) for counted in direct.values())
    records = {f"SLSQP, {label}": airfoil.record(counted, reference) for label, counted in direct.items()}
    for label, configuration in {"loop": None, **({"loop, JENN": network} if network else {})}.items():
        counted = Counted(airfoil.case.truth)
        clock = time.perf_counter()
        budget: dict[str, Any] = {"max_evaluations": evaluations, "tolerance": AIRFOIL_TOLERANCE}
        problem = airfoil.study().loop(truth=counted, configuration=configuration, **budget)
        problem.run_driver()
        seconds = time.perf_counter() - clock
        driver = problem.driver
        found = {"exit": driver.exit.value, "seconds": seconds, "seconds_per_evaluation": seconds / len(counted)}
        if driver.certificate is not None:
            found["stationarity"], found["feasibility"] = (
                driver.certificate.stationarity,
                driver.certificate.feasibility,
            )
        records[label] = {**airfoil.record(counted, reference), **found}
    within: dict[str, dict[str, float | None]] = {}
    for label in [label for label in records if label.startswith("loop")]:
        for near in records[label]["until_within"]:
            peers = [r["until_within"][near] for peer, r in records.items() if peer.startswith("SLSQP")]
            mine, best = records[label]["until_within"][near], min((p for p in peers if p), default=None)
            within.setdefault(label, {})[near] = mine / best if mine and best else None
    return {"best_direct_CD": reference, "methods": records, "ratio_to_best_direct": within}


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
    """Format a number that may be missing."""
    return "-" if value is None else f"{value:{digits}}"


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables."""
    table = Table("Rosenbrock", "method", "f: median (quartiles) worst", "ratio", "gradient: median (quartiles) worst")
    for column in ("ratio", "no gradient", "second, failed of runs", "with restarts (ratio)", "s / evaluation"):
        table.add_column(column)
    for label, part in result["rosenbrock"].items():
        for method, of in part["methods"].items():
            cells = []
            for figure in ("f", "gradient"):
                row = {name: number(value, ".0f") for name, value in of[figure].items()}
                cells.append(f"{row['median']} ({row['low']}, {row['high']}) {row['worst']}")
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


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/evaluations_vs_scipy"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="two starts in 2-D, one airfoil: to see that it runs")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 10, 20], help="of Rosenbrock's function")
    parser.add_argument("--starts", type=int, default=20, help="random starts, half of them above 10-D")
    parser.add_argument("--jenn-starts", type=int, nargs="*", default=[10, 4], help="with networks: in 2-D, in 5-D")
    parser.add_argument("--only", choices=("rosenbrock", "airfoil"), help="make this part only")
    parser.add_argument("--airfoil-network", action="store_true", help="also the loop with the network")
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    console, load, clock = Console(width=170), os.getloadavg(), time.perf_counter()
    network = JENN((5,), starts=1, solver=LevenbergMarquardt(max_iterations=2)) if quick else default_configuration()
    networks = dict(zip(WITH_NETWORK, (network, network if quick else LEARNED), strict=True))
    starts, dimensions = (2, [2]) if quick else (options.starts, options.dimensions)
    with_network = dict(zip((2, 5), [1] if quick else options.jenn_starts, strict=False))
    parts: dict[str, dict[str, Any]] = {"rosenbrock": {}, "airfoil": {}}
    if options.only != "airfoil":
        console.print("(1.25, -1.75)")
        every = {**dict.fromkeys(("loop", *ABLATED, *SCIPY), 1), **({} if quick else dict.fromkeys(WITH_NETWORK, 1))}
        parts["rosenbrock"]["named"] = {"d": 2, "methods": compare([np.array(NAMED)], every, networks, console)}
        for d in dimensions:
            console.print(f"{d}-D")
            count = starts if d <= 10 else max(starts // 2, 1)
            ablated = dict.fromkeys(ABLATED, count if d < 10 else max(count // 2, 1)) if d <= 10 else {}
            methods = {
                "loop": count,
                **ablated,
                **dict.fromkeys(WITH_NETWORK if d in with_network else (), with_network.get(d, 0)),
            }
            methods |= dict.fromkeys(SCIPY, count)
            found = compare(random_starts(d, count), methods, networks, console)
            parts["rosenbrock"][f"{d}-D"] = {"d": d, "methods": found}
    if options.only != "rosenbrock":
        for name in AIRFOILS[:1] if quick else AIRFOILS:
            console.print(name)
            evaluations, iterations = (4, 3) if quick else (150, 400)
            parts["airfoil"][name] = run_airfoil(
                name, network if options.airfoil_network else None, evaluations, iterations
            )
    result: dict[str, Any] = {
        "setup": {
            "limit": LIMIT,
            "budget": "60 + 15 d; airfoil 150",
            "scipy": SCIPY,
            "scalings": SCALINGS,
            "violation": VIOLATION,
            "airfoil_tolerance": AIRFOIL_TOLERANCE,
            "networks": {name: of.to_dict() for name, of in networks.items()},
        },
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "seconds": time.perf_counter() - clock,
        **parts,
    }
    write_result(options.out / "result.json", result)
    if parts["rosenbrock"]:
        draw(options.out / "evaluations.png", parts["rosenbrock"])
    show(console, result)


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # NumPy reads it once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    main()
