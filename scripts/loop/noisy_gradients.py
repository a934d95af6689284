"""How deep the adaptive loop and SciPy's quasi-Newton methods get where the gradients have noise.

The *truth model*, short truth, is Rosenbrock's function of Marchildon & Zingg, with 10 in place of 100, within
[-10, 10]^d. Values are exact. To each partial noise s N(0, 1) is added, of one of three kinds:

- `partial`: s is a share (1, 5, 10 %) of the partial itself. The noise vanishes with the gradient at the minimum.
- `gradient`: s is a share of the root mean square of all partials there. It vanishes too.
- `constant`: s is a share of 1, everywhere. Gradients alone tell nothing near the minimum.

The noise depends on the point and a seed alone, so that a repeated point has the same noise. A truth evaluation is the
value and the gradient at one point; a repeated point is counted once. The budget is 20 d evaluations, at most 150.
Printed and written to the result file:

- `runs`: best f of each run, `exit`, the evaluations spent, and f after each evaluation (`best`, running minimum).
  - `loop`: the loop without a network, tolerance 1e-12, so that certificates do not end it early.
  - SciPy's methods with tolerances so tight that they do not stop early, and as they stop (`L-BFGS-B`), or restarted
    where they stopped until the budget is spent or a restart evaluates nothing new (`L-BFGS-B, restarted`).
- `summary`: for each kind, noise, dimension and method median and largest of log10 f over starts and seeds, and of the
  orders of magnitude by which the loop is deeper than each other method: median and least, over the same starts and
  seeds. f counts from the minimum that a run approaches: the global one, or the second one, which there is in 4 and
  more dimensions, if the best f is within 0.1 of it. Less than 1e-14 counts as that. Settings of the loop were chosen
  on the first two starts with seed 0 (`chosen`).

`noisy_gradients.png` shows the median of the best f over evaluations.

References:
    Marchildon & Zingg (2025), arXiv 2504.09375; starts from the repository gpgradpy, commits 2bc7bd3, b85dc87.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

import gradopt as go
from gradopt.plots.figure import new_figure
from scripts.shared.loop_problems import Counted
from scripts.shared.script import begin, parser_of, run

STARTS: dict[int, list[list[float]]] = {
    2: [[4, 0], [-8, -4], [8, -8], [-4, 4], [0, 8]],
    5: [[-8, 0, 4, -8, -8], [-4, 8, 0, 8, 4], [0, -4, -4, 0, 0], [4, -8, 8, 4, 8], [8, 4, -8, -4, -4]],
    10: [
        [0, 4, -8, -4, 8, 0, -4, 8, -8, -8],
        [4, 0, 4, 8, -8, -4, 4, 4, 0, -4],
        [-8, -4, 0, 0, -4, -8, 0, -4, -4, 0],
        [8, 8, 8, 4, 0, 4, -8, 0, 4, 4],
        [-4, -8, -4, -8, 4, 8, 8, -8, 8, 8],
    ],
}
NOISES = (0.01, 0.05, 0.1)
SIZES: dict[str, Callable[[np.ndarray], Any]] = {  # of what the noise is a share
    "partial": np.abs,
    "gradient": lambda gradient: np.sqrt((gradient**2).mean()),
    "constant": np.ones_like,
}
SEEDS = 2  # seeds of the noise
CHOSEN = 2  # first starts on which, with seed 0, the settings of the loop were chosen
TINY = 1e-14  # gap to the minimum: the second minimum has no more digits; by hand
TOLERANCE = 1e-12  # of the loop; by hand
# Tolerances by hand, so tight that no method stops before the noise stops it.
SCIPY: dict[str, dict[str, float]] = {
    "L-BFGS-B": {"ftol": 0.0, "gtol": 1e-14, "maxiter": 3000, "maxfun": 10_000},
    "SLSQP": {"ftol": 1e-30, "maxiter": 3000},
    "BFGS": {"gtol": 1e-14, "maxiter": 3000},
}
BOUNDED = ("L-BFGS-B", "SLSQP")
METHODS = ("loop", *(f"{name}{how}" for name in SCIPY for how in ("", ", restarted")))
Run = dict[str, Any]


def budget_of(d: int) -> int:
    """Return the number of evaluations in d dimensions; by hand."""
    return min(20 * d, 150)


def rosenbrock_10(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate f = sum 10 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2 at x (d,): f (1,) and its partials (1, d)."""
    head, tail = x[:-1], x[1:]
    bend = tail - head**2
    slope = np.zeros_like(x)
    slope[:-1] = -40.0 * head * bend - 2.0 * (1.0 - head)
    slope[1:] += 20.0 * bend
    return np.array([np.sum(10.0 * bend**2 + (1.0 - head) ** 2)]), slope[None]


def second_minimum(d: int) -> float:
    """Return f at the minimum near (-1, 1, ..., 1); infinity below 4 dimensions, where there is none."""
    if d < 4:
        return np.inf
    start = np.ones(d)
    start[0] = -1.0
    found = minimize(
        lambda x: (rosenbrock_10(x)[0][0], rosenbrock_10(x)[1][0]), start, jac=True, options={"gtol": 1e-9}
    )
    return float(found.fun) if found.x[0] < 0.0 else np.inf


class Spent(Exception):
    """The budget is spent."""


class NoisyTruth(Counted):
    """Rosenbrock's function with noise in its partials, until a budget is spent."""

    def __init__(self, kind: str, noise: float, seed: int, budget: int) -> None:
        """Set kind and standard deviation of the noise, its seed, and the number of evaluations."""
        super().__init__(self._noisy)
        self.size, self.noise, self.seed, self.budget = SIZES[kind], noise, seed, budget

    def _noisy(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self) >= self.budget:
            raise Spent
        f, gradient = rosenbrock_10(x)
        digest = hashlib.sha256((x + 0.0).tobytes()).digest()  # no -0
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "little")])
        return f, gradient + self.noise * self.size(gradient) * rng.standard_normal(gradient.shape)

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate at x (d,): f and its partials (d,)."""
        f, gradient = self(np.array(x))
        return float(f[0]), gradient[0].copy()

    @property
    def best(self) -> list[float]:
        """Lowest f after each evaluation."""
        return np.minimum.accumulate([float(f[0]) for _, f, _ in self.points.values()]).tolist()


def run_loop(truth: NoisyTruth, start: np.ndarray) -> str:
    """Minimize by the loop; return its exit."""
    options = {"max_evaluations": truth.budget}
    bounds = [(-10.0, 10.0)] * start.size
    try:
        found = go.minimize(
            truth.value_and_gradient, start, jac=True, bounds=bounds, tol=TOLERANCE, options=options, identity="noisy"
        )
    except Spent:  # within a derivative check, which may go beyond the budget
        return "budget"
    return str(found.exit.value)


def run_scipy(method: str, truth: NoisyTruth, start: np.ndarray) -> tuple[str, int]:
    """Minimize by a method of SciPy, restarted where it stops; return its first end and the evaluations until then."""
    bounds = [(-10.0, 10.0)] * start.size if method in BOUNDED else None
    end, first, before, x = "budget", 0, -1, start
    solve: Any = minimize
    try:
        while before < len(truth):
            before = len(truth)
            found = solve(truth.value_and_gradient, x, jac=True, method=method, bounds=bounds, options=SCIPY[method])
            x = found.x
            if not first:
                end, first = str(found.message), len(truth)
    except Spent:
        pass
    return end, first or len(truth)


def runs_of(kind: str, d: int, noise: float, number: int, seed: int, budget: int) -> list[Run]:
    """Run all methods from a start with a seed of the noise."""
    start, rows = np.array(STARTS[d][number], dtype=float), []
    common = {"kind": kind, "noise": noise, "d": d, "start": number, "seed": seed}
    common["chosen"] = number < CHOSEN and seed == 0
    second = second_minimum(d)

    def add(method: str, best: list[float], end: str, seconds: float) -> None:
        lowest = best[-1] - second if abs(best[-1] - second) < 0.1 else best[-1]
        log = float(np.log10(max(abs(lowest), TINY)))
        row = {"method": method, "f": best[-1], "log_f": log, "second": bool(abs(best[-1] - second) < 0.1)}
        rows.append({**common, **row, "exit": end, "evaluations": len(best), "seconds": seconds, "best": best})

    with np.errstate(all="ignore"):  # line searches beyond all bounds overflow
        truth, clock = NoisyTruth(kind, noise, seed, budget), time.perf_counter()
        end = run_loop(truth, start)
        add("loop", truth.best, end, time.perf_counter() - clock)
        for method in SCIPY:
            truth, clock = NoisyTruth(kind, noise, seed, budget), time.perf_counter()
            end, first = run_scipy(method, truth, start)
            seconds = time.perf_counter() - clock
            add(method, truth.best[:first], end, seconds)
            add(f"{method}, restarted", truth.best, "", seconds)
    return rows


def summarize(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each dimension, noise, method, and set of starts: those that settings were chosen on, others."""
    rows = []
    keys = ("kind", "noise", "d", "chosen")
    for key in dict.fromkeys(tuple(one[name] for name in keys) for one in runs):
        some = [one for one in runs if tuple(one[name] for name in keys) == key]
        logs = {method: np.array([one["log_f"] for one in some if one["method"] == method]) for method in METHODS}
        ends = [one["exit"] for one in some if one["method"] == "loop"]
        for method, log in logs.items():
            gained = log - logs["loop"]
            row = dict(zip(keys, key, strict=True)) | {"method": method, "runs": len(log)}
            row |= {"log_f": {"median": float(np.median(log)), "largest": float(log.max())}}
            row |= {"loop_deeper": {"median": float(np.median(gained)), "least": float(gained.min())}}
            if method == "loop":
                row["exits"] = {end: ends.count(end) for end in sorted(set(ends))}
            rows.append(row)
    return rows


def draw(path: Path, runs: Sequence[Run]) -> None:
    """Draw the median of the best f over evaluations."""
    dimensions = sorted({run["d"] for run in runs})
    noises = list(dict.fromkeys((run["kind"], run["noise"]) for run in runs if run["noise"] > 0.01)) or [("", 0.01)]
    figure = new_figure(3.4 * len(noises), 3.2 * len(dimensions))
    panels = figure.subplots(len(dimensions), len(noises), squeeze=False)
    shown = [method for method in METHODS if method == "loop" or "restarted" in method]
    for d, row in zip(dimensions, panels, strict=True):
        for (kind, noise), axes in zip(noises, row, strict=True):
            some = [run for run in runs if (run["d"], run["kind"], run["noise"]) == (d, kind, noise)]
            count = max(run["evaluations"] for run in some)
            for method in shown:
                curves = [run["best"] for run in some if run["method"] == method]
                padded = [curve + curve[-1:] * (count - len(curve)) for curve in curves]
                median = np.maximum(np.median(padded, axis=0), TINY)
                axes.plot(range(1, count + 1), median, linewidth=2.2 if method == "loop" else 1.0, label=method)
            axes.set(yscale="log", title=f"{d}-D, noise {100 * noise:g} % of {kind}")
    for axes in panels[-1]:
        axes.set_xlabel("truth evaluations")
    for axes in panels[:, 0]:
        axes.set_ylabel("best f, median")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("noise", "d", "starts", "runs", "method", "log10 f: median (worst)", "loop deeper by: median (least)")
    table.add_column("exits")
    for row in rows:
        spread, gained = row["log_f"], row["loop_deeper"]
        table.add_row(
            f"{100 * row['noise']:g} % {row['kind']}",
            f"{row['d']}",
            "chosen on" if row["chosen"] else "others",
            f"{row['runs']}",
            row["method"],
            f"{spread['median']:.1f} ({spread['largest']:.1f})",
            "" if row["method"] == "loop" else f"{gained['median']:.1f} ({gained['least']:.1f})",
            ", ".join(f"{end}: {count}" for end, count in row.get("exits", {}).items()),
        )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all methods, write, draw and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--dimensions", nargs="+", type=int, choices=tuple(STARTS), default=tuple(STARTS))
    parser.add_argument("--kinds", nargs="+", choices=tuple(SIZES), default=tuple(SIZES), help="kinds of noise")
    parser.add_argument("--noises", nargs="+", type=float, default=NOISES, help="relative standard deviations")
    parser.add_argument("--chosen", action="store_true", help="only the runs on which settings were chosen")
    call = begin(parser, argv)
    dimensions = call.options.dimensions[:1] if call.quick else call.options.dimensions
    starts, seeds = (1, 1) if call.quick else (CHOSEN, 1) if call.options.chosen else (5, SEEDS)
    runs: list[Run] = []
    for kind, noise, d in product(call.options.kinds, call.options.noises, dimensions):
        call.console.print(f"noise {100 * noise:g} % of {kind}, {d}-D")
        for number, seed in product(range(starts), range(seeds)):
            runs += runs_of(kind, d, noise, number, seed, 5 if call.quick else budget_of(d))
    rows = summarize(runs)
    call.write({"setup": {"scipy": SCIPY, "tolerance": TOLERANCE, "starts": STARTS}, "summary": rows, "runs": runs})
    draw(call.folder / "noisy_gradients.png", runs)
    show(call.console, rows)
    return 0


if __name__ == "__main__":
    run(main)
