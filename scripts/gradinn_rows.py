"""One fit of the study of GradINN: measured, and kept as a JSON row, so that a run can be stopped and resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cases.learning import PROBLEMS
from cases.learning.problem import LearningProblem
from gradopt import Dataset
from gradopt.report.records import provenance
from scripts.gradinn_methods import BELIEFS, DEFAULTS, HYBRID, METHODS, Method, partly_known

NOISES = (0.0, 0.01, 0.05, 0.1, 0.2)
PARTS = ("problems", "beliefs", "hybrid", "defaults")
HYBRID_PROBLEMS = ("friedman", "lotka_volterra", "burgers")
TEST_POINTS = 2000
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A fit that is asked for.

    Attributes:
        part: One of PARTS.
        problem: Name of a problem.
        n: Number of samples.
        noise: Of the values, over their standard deviation.
        seed: Of points, noise and network.
        method: Name of a method of the part.
    """

    part: str
    problem: str
    n: int
    noise: float
    seed: int
    method: str

    @property
    def fit(self) -> Method:
        """The method."""
        return {**METHODS, **BELIEFS, **HYBRID, **DEFAULTS}[self.method]

    def data(self) -> Dataset:
        """The samples, with the partials that the method may know."""
        hybrid = self.method in HYBRID
        data = PROBLEMS[self.problem].draw(self.n, self.seed, self.noise, partials=hybrid)
        return partly_known(data, every="all" in self.method) if hybrid else data


def tasks(parts: Iterable[str], problems: Iterable[str], seeds: int) -> Iterator[Task]:
    """All fits of some parts; those without noise first, then by seed: a run that is stopped leaves whole tables."""
    for noisy, seed, part, name in product((False, True), range(seeds), parts, problems):
        sizes = PROBLEMS[name].sizes
        if part == "problems":
            for n, noise, method in product(sizes, NOISES[1:] if noisy else NOISES[:1], METHODS):
                yield Task(part, name, n, noise, seed, method)
        elif noisy:
            continue
        elif part == "beliefs":
            for n, method in product(sizes[:2], BELIEFS):
                yield Task(part, name, n, 0.0, seed, method)
        elif part == "defaults" and name == "friedman":
            for n, method in product(sizes, DEFAULTS):
                yield Task(part, name, n, 0.0, seed, method)
        elif part == "hybrid" and name in HYBRID_PROBLEMS:
            for n, method in product((2 * sizes[0] // 3, *sizes[:2]), (*HYBRID, "GradINN")):
                yield Task(part, name, n, 0.0, seed, method)


def errors(problem: LearningProblem, values: np.ndarray, partials: np.ndarray) -> dict[str, float]:
    """RMSE of predictions at the test points, pooled over outputs.

    Args:
        problem: What was learned.
        values: Predicted values (n, m).
        partials: Predicted partials (n, m, d).

    Returns:
        `values` in standard deviations of each output; `partials` likewise, for a standard deviation of each input.
    """
    x = problem.test_points(TEST_POINTS)
    y, dydx = problem.evaluate(x)
    wrong = (partials - dydx) * x.std(axis=0) / problem.spread[:, None]
    return {
        "values": float(np.sqrt(np.mean(((values - y) / problem.spread) ** 2))),
        "partials": float(np.sqrt(np.mean(wrong**2))),
    }


def measure(task: Task, settings: Mapping[str, Any]) -> Row:
    """Fit and measure."""
    problem, data = PROBLEMS[task.problem], task.data()
    start = time.process_time()
    fit = task.fit(data, task.seed, settings)
    seconds = time.process_time() - start
    x = problem.test_points(TEST_POINTS)
    found = errors(problem, fit.predictor[0](x), fit.predictor[1](x))
    return {**vars(task), **found, "seconds": seconds, **fit.belief}


def key(row: Row) -> tuple[Any, ...]:
    """What makes a row one of its kind; the same fit may belong to several parts."""
    return (row["problem"], row["n"], row["noise"], row["seed"], row["method"])


def read_rows(paths: Iterable[Path]) -> dict[tuple[Any, ...], Row]:
    """Rows of some files, of which one may not exist yet; the last of a kind counts."""
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return {key(row): row for row in map(json.loads, lines)}


def run(path: Path, wanted: Iterable[Task], settings: Mapping[str, Any]) -> None:
    """Make the fits that have no row yet, and append their rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, commit = set(read_rows([path])), provenance()["commit"]
    for task in wanted:
        if key(vars(task)) not in done:
            row = {**measure(task, settings), "commit": commit}
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            done.add(key(row))
