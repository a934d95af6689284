"""What it costs when a fifth of the box fails.

Rosenbrock's function in 2-D and 5-D and in a disk, from starts at which the truth answers. The truth returns NaN, or
raises, in a region of about 20 % of the box: a ball beside the path to the optimum, fine stripes across all of the box
(0.05 wide, every 0.25), walls (0.2 wide, every 1), a slab whose edge is just beyond the optimum, and cells (0.25 wide)
chosen by chance. The optimum itself is never in it, nor is the start. Each run is compared to the run
from the same start without failures. Written to OUT/result.json with versions and commit, and printed, for each problem
and shape:

- `ratio`: evaluations until certified, failed ones included, over those without failures: median, quartiles and worst
  of the `pairs` in which both are certified;
- `within`: how many of the runs that are certified without failures are certified with them too, within 1.5 times
  the evaluations (`most`); over all problems the part of them;
- `not_certified`: how the others ended; `without`: how runs without failures ended that were not certified;
- `elsewhere`: certified at another objective than without failures (another minimum, or an edge);
- `failed`: failed evaluations, mean; `part`: of the box that fails, by 20000 points.

On one thread:

    python -m scripts.failing_truths
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gradopt.loop.state import Exit
from gradopt.report.records import write_result
from scripts.small_problems import Function, Study, disk_study, rosenbrock_study

FAILS = 0.2  # of the box
POINTS = 20_000
BUDGET = 150
MOST = 1.5  # times the evaluations without failures

Shape = Callable[[np.ndarray], np.ndarray]
"""Whether points (n, d) fail, (n,)."""

STUDIES = {
    "rosenbrock_2": (rosenbrock_study(2), np.ones(2)),
    "disk": (disk_study(), np.array([0.786415, 0.617698])),
    "rosenbrock_5": (rosenbrock_study(5), np.ones(5)),
}


class Diverged(Exception):
    """What the truths raise here."""


def region(shape: str, d: int, optimum: np.ndarray) -> Shape:
    """Make a region of one of the shapes; its size is set so that the wanted part of the box fails."""
    points = np.random.default_rng(d).uniform(-2.0, 2.0, (POINTS, d))
    if shape == "ball":  # beside the curve x_(i+1) = x_i^2, on which the valley's floor is
        middle = np.resize([1.0, -0.8], d)
        return _largest(lambda x: np.linalg.norm(x - middle, axis=1), points)
    if shape in ("stripes", "walls"):
        every = 0.25 if shape == "stripes" else 1.0
        middle_of_gap = float(optimum[0] + optimum[1])  # the optimum is between two
        return _largest(lambda x: np.abs((x[:, 0] + x[:, 1] - middle_of_gap) % every - 0.5 * every), points)
    if shape == "slab":  # its edge is 0.05 beyond the optimum, and it ends where a fifth fails
        edge = optimum[0] + 0.05
        return _largest(lambda x: np.where(x[:, 0] > edge, x[:, 0], np.inf), points)
    chance = np.random.default_rng([d, 7]).uniform(size=(16, 16))  # cells of 0.25 in the first and the last input

    def cells(x: np.ndarray) -> np.ndarray:
        place = np.clip(np.floor((x + 2.0) * 4.0).astype(int), 0, 15)
        return chance[place[:, 0], place[:, -1]]

    for corner in (-0.125, 0.125):  # the optimum may lie on an edge
        chance[chance == cells(optimum[None] + corner)] = 1.0

    return _largest(cells, points)


def _largest(measure: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> Shape:
    limit = float(np.quantile(measure(points), FAILS, method="lower"))
    return lambda x: measure(x) <= limit


SHAPES = ("ball", "stripes", "walls", "slab", "cells")


class Failing:
    """A truth that fails in a region; counts how often."""

    def __init__(self, truth: Function, where: Shape, raises: bool) -> None:
        """Wrap a truth."""
        self.truth, self.where, self.raises = truth, where, raises
        self.failures = 0

    def fails(self, x: np.ndarray) -> bool:
        """Whether it fails at x (d,)."""
        return bool(self.where(x[None])[0])

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate at x (d,)."""
        y, dydx = self.truth(x)
        if not self.fails(x):
            return y, dydx
        self.failures += 1
        if self.raises:
            raise Diverged("The truth diverged.")
        return np.full_like(y, np.nan), np.full_like(dydx, np.nan)


def play(of: Study, start: np.ndarray, truth: Function, budget: int) -> dict[str, Any]:
    """Make one run."""
    problem = of.loop(start, truth=truth, failures=(Diverged,), configuration=None, max_evaluations=budget)
    problem.run_driver()
    driver = problem.driver
    evaluations = driver.history[-1].evaluations if driver.history else 1
    value = float(of.responses(of.answer(problem))[0])
    return {"exit": driver.exit.value, "evaluations": evaluations, "f": value, "x": of.answer(problem)}


def compare(name: str, shape: str, count: int, budget: int, usual: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Run from a number of starts with one shape of failures, NaN and raising by turns, and without failures."""
    of, optimum = STUDIES[name]
    where, rng = region(shape, of.start.size, optimum), np.random.default_rng([of.start.size, len(name), 3])
    starts: list[np.ndarray] = []
    while len(starts) < count:
        start = rng.uniform(of.lower, of.upper)
        starts += [start] * (not where(start[None])[0])
    runs = []
    for number, start in enumerate(starts):
        truth = Failing(of.truth, where, raises=number % 2 == 1)
        run = play(of, start, truth, budget)
        key = start.tobytes()
        if key not in usual:
            usual[key] = play(of, start, of.truth, budget)
        runs.append({"start": start, "raises": truth.raises, "failed": truth.failures, **run, "usual": usual[key]})
    points = np.random.default_rng(0).uniform(of.lower, of.upper, (POINTS, of.start.size))
    both = [run for run in runs if run["exit"] == run["usual"]["exit"] == Exit.CERTIFIED.value]
    ratios = np.array([run["evaluations"] / run["usual"]["evaluations"] for run in both])
    low, middle, high = np.percentile(ratios, [25, 50, 75]) if ratios.size else [None] * 3
    return {
        "ratio": {"median": middle, "low": low, "high": high, "worst": ratios.max() if ratios.size else None},
        "ratios": ratios,
        "pairs": len(both),
        "within": int((ratios <= MOST).sum()),
        "runs": runs,
        "not_certified": Counter(run["exit"] for run in runs if run["exit"] != Exit.CERTIFIED.value),
        "without": Counter(run["usual"]["exit"] for run in runs if run["usual"]["exit"] != Exit.CERTIFIED.value),
        "elsewhere": sum(abs(run["f"] - run["usual"]["f"]) > 1e-3 for run in both),
        "failed": float(np.mean([run["failed"] for run in runs])),
        "part": float(where(points).mean()),
    }


def show(console: Console, problems: dict[str, Any]) -> None:
    """Print the table."""
    ends = ("not certified", "without failures", "elsewhere", "failed")
    headers = ("ratio: median (quartiles)", "worst", "pairs", "within", *ends)
    table = Table("problem", "fails", "part", *headers)
    for name, shapes in problems.items():
        for shape, found in shapes.items():
            ratio = {label: "-" if value is None else f"{value:.2f}" for label, value in found["ratio"].items()}
            ended = [", ".join(f"{n} {end}" for end, n in found[of].items()) for of in ("not_certified", "without")]
            middle = f"{ratio['median']} ({ratio['low']}, {ratio['high']})"
            pairs = f"{found['pairs']} of {len(found['runs'])}"
            numbers = (f"{found['elsewhere']}", f"{found['failed']:.1f}")
            table.add_row(
                name,
                shape,
                f"{found['part']:.2f}",
                middle,
                ratio["worst"],
                pairs,
                f"{found['within']}",
                *ended,
                *numbers,
            )
    console.print(table)


def main() -> None:
    """Make all runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/failing_truths"), help="folder of the result")
    parser.add_argument("--quick", action="store_true", help="one start in 2-D, to see that it runs")
    parser.add_argument("--starts", type=int, default=10, help="starts for each problem and shape")
    options = parser.parse_args()
    quick: bool = options.quick
    torch.set_num_threads(1)
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    load, clock, problems = os.getloadavg(), time.perf_counter(), {}
    for name in list(STUDIES)[:1] if quick else STUDIES:
        usual: dict[bytes, dict[str, Any]] = {}
        count = 1 if quick else options.starts
        problems[name] = {shape: compare(name, shape, count, BUDGET, usual) for shape in SHAPES}
    found = [found for shapes in problems.values() for found in shapes.values()]
    wanted = sum(sum(run["usual"]["exit"] == Exit.CERTIFIED.value for run in each["runs"]) for each in found)
    pooled = [ratio for each in found for ratio in each["ratios"]]
    result: dict[str, Any] = {
        "setup": {"fails": FAILS, "budget": BUDGET, "most": MOST, "starts": options.starts},
        "quick": quick,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "torch_threads": 1, "load": load},
        "seconds": time.perf_counter() - clock,
        "ratio": {"median": np.median(pooled), "worst": np.max(pooled)} if pooled else {},
        "within": sum(each["within"] for each in found) / max(wanted, 1),
        "problems": problems,
    }
    write_result(options.out / "result.json", result)
    console = Console(width=160)
    show(console, problems)
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratio"].items())
    console.print(f"ratio over all pairs: {ratios}; certified within {MOST:g} times: {100 * result['within']:.0f} %")


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # NumPy reads it once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    main()
