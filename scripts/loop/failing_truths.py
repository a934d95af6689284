"""Truth evaluations of the loop where a fifth of the domain fails.

The *truth model*, short truth, is Rosenbrock's function in 2-D and 5-D and in a disk. It returns NaN, or raises, in a
region of about 20 % of the domain within the bounds: a ball beside the path to the optimum, fine stripes (0.05 wide,
every 0.25), walls (0.2 wide, every 1), a slab whose edge is just beyond the optimum, and cells (0.25 wide) chosen by
chance. Neither the optimum nor a start is in it. Each run is compared with the run from the same start without
failures. Printed and written to the result file, for each problem and shape:

- `ratio`: evaluations until certified, failed ones included, over those without failures: median, quartiles and largest
  of the `pairs` in which both are certified;
- `within`: number of the runs certified without failures that are also certified with them, with at most 1.5 times the
  evaluations (`most`); for all problems together, the share;
- `not_certified`: ends of the other runs; `without`: ends of the uncertified runs without failures;
- `elsewhere`: certified at another objective than without failures (another minimum, or an edge);
- `failed`: mean number of failed evaluations; `share`: of the domain that fails, by 20000 points.

With `--workers`, both runs evaluate batches of candidates, and rounds are compared in the place of evaluations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt import AdaptiveDriver
from gradopt.loop.state import Exit
from scripts.shared.loop_problems import Function, LoopProblem, disk_problem, rosenbrock_problem
from scripts.shared.script import begin, parser_of, run

FAILS = 0.2  # share of the domain that fails; by hand, as are the numbers below
POINTS = 20_000
BUDGET = 150  # evaluations of a run
STARTS = 8  # for each problem and shape
MOST = 1.5  # ratio to the evaluations without failures

Shape = Callable[[np.ndarray], np.ndarray]
"""Function from points (n, d) to whether each fails (n,)."""

PROBLEMS = {
    "rosenbrock_2": (rosenbrock_problem(2), np.ones(2)),
    "disk": (disk_problem(), np.array([0.786415, 0.617698])),
    "rosenbrock_5": (rosenbrock_problem(5), np.ones(5)),
}


class Diverged(Exception):
    """A failed evaluation."""


def region(shape: str, d: int, optimum: np.ndarray) -> Shape:
    """Make a region of a shape, of such a size that the share `FAILS` of the domain fails."""
    points = np.random.default_rng(d).uniform(-2.0, 2.0, (POINTS, d))
    if shape == "ball":  # beside the curve x_(i+1) = x_i^2, the floor of the valley
        middle = np.resize([1.0, -0.8], d)
        return _largest(lambda x: np.linalg.norm(x - middle, axis=1), points)
    if shape in ("stripes", "walls"):
        every = 0.25 if shape == "stripes" else 1.0
        middle_of_gap = float(optimum[0] + optimum[1])  # the optimum is between two
        return _largest(lambda x: np.abs((x[:, 0] + x[:, 1] - middle_of_gap) % every - 0.5 * every), points)
    if shape == "slab":  # from 0.05 beyond the optimum to where a fifth fails
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
    """A truth that fails in a region.

    Attributes:
        truth: Truth without failures.
        where: Region of the failures.
        raises: Whether a failed evaluation raises; otherwise it returns NaN.
        failures: Number of failed evaluations so far.
    """

    def __init__(self, truth: Function, where: Shape, raises: bool) -> None:
        """Wrap a truth."""
        self.truth, self.where, self.raises = truth, where, raises
        self.failures = 0

    def fails(self, x: np.ndarray) -> bool:
        """Whether the evaluation at x (d,) fails."""
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


def run_loop(of: LoopProblem, start: np.ndarray, truth: Function, budget: int, workers: int) -> dict[str, Any]:
    """Make one run; `spent` are its rounds, or with one worker its evaluations."""
    settings = AdaptiveDriver(configuration=None, max_evaluations=workers * budget, batch=workers)
    problem = of.loop(settings, start, truth, (Diverged,))
    problem.run_driver()
    driver = problem.driver
    evaluations = driver.history[-1].evaluations if driver.history else 1
    x = of.design_of(problem)
    spent = evaluations if workers == 1 else len(driver.history) + (driver.state.checks if driver.state else 0)
    end = {"exit": driver.exit.value, "evaluations": evaluations, "spent": spent}
    return {**end, "f": float(of.responses(x)[0]), "x": x}


def compare(
    name: str, shape: str, count: int, budget: int, usual: dict[bytes, dict[str, Any]], workers: int
) -> dict[str, Any]:
    """Run from several starts with one shape of failures, NaN and raising by turns, and without failures."""
    of, optimum = PROBLEMS[name]
    where, rng = region(shape, of.start.size, optimum), np.random.default_rng([of.start.size, len(name), 3])
    starts: list[np.ndarray] = []
    while len(starts) < count:
        start = rng.uniform(of.lower, of.upper)
        starts += [start] * (not where(start[None])[0])
    runs = []
    for number, start in enumerate(starts):
        truth = Failing(of.truth, where, raises=number % 2 == 1)
        found = run_loop(of, start, truth, budget, workers)
        key = start.tobytes()
        if key not in usual:
            usual[key] = run_loop(of, start, of.truth, budget, workers)
        runs.append({"start": start, "raises": truth.raises, "failed": truth.failures, **found, "usual": usual[key]})
    points = np.random.default_rng(0).uniform(of.lower, of.upper, (POINTS, of.start.size))
    certified = Exit.CERTIFIED.value
    both = [one for one in runs if one["exit"] == one["usual"]["exit"] == certified]
    ratios = np.array([one["spent"] / one["usual"]["spent"] for one in both])
    low, middle, high = np.percentile(ratios, [25, 50, 75]) if ratios.size else [None] * 3
    return {
        "ratio": {"median": middle, "low": low, "high": high, "largest": ratios.max() if ratios.size else None},
        "ratios": ratios,
        "pairs": len(both),
        "within": int((ratios <= MOST).sum()),
        "runs": runs,
        "not_certified": Counter(one["exit"] for one in runs if one["exit"] != certified),
        "without": Counter(one["usual"]["exit"] for one in runs if one["usual"]["exit"] != certified),
        "elsewhere": sum(abs(one["f"] - one["usual"]["f"]) > 1e-3 for one in both),
        "failed": float(np.mean([one["failed"] for one in runs])),
        "share": float(where(points).mean()),
    }


def show(console: Console, problems: dict[str, Any]) -> None:
    """Print the table."""
    ends = ("not certified", "without failures", "elsewhere", "failed")
    headers = ("ratio: median (quartiles)", "largest", "pairs", "within", *ends)
    table = Table("problem", "fails", "share", *headers)
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
                f"{found['share']:.2f}",
                middle,
                ratio["largest"],
                pairs,
                f"{found['within']}",
                *ended,
                *numbers,
            )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Make all runs, write and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--workers", type=int, default=1, help="candidates at the same time (default 1)")
    call, problems = begin(parser, argv, width=160), {}
    workers = call.options.workers
    for name in list(PROBLEMS)[:1] if call.quick else PROBLEMS:
        usual: dict[bytes, dict[str, Any]] = {}
        count = 1 if call.quick else STARTS
        shapes = SHAPES[:2] if call.quick else SHAPES
        problems[name] = {shape: compare(name, shape, count, BUDGET, usual, workers) for shape in shapes}
    found = [found for shapes in problems.values() for found in shapes.values()]
    usually = sum(sum(one["usual"]["exit"] == Exit.CERTIFIED.value for one in each["runs"]) for each in found)
    pooled = [ratio for each in found for ratio in each["ratios"]]
    result: dict[str, Any] = {
        "setup": {"fails": FAILS, "budget": BUDGET, "most": MOST, "starts": STARTS, "workers": workers},
        "ratio": {"median": np.median(pooled), "largest": np.max(pooled)} if pooled else {},
        "within": sum(each["within"] for each in found) / max(usually, 1),
        "problems": problems,
    }
    call.write(result)
    show(call.console, problems)
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratio"].items())
    what = "evaluations" if workers == 1 else f"rounds of {workers} workers"
    within = f"certified with at most {MOST:g} times the {what}: {100 * result['within']:.0f} %"
    call.console.print(f"ratio over all pairs: {ratios}; {within}")
    return 0


if __name__ == "__main__":
    run(main)
