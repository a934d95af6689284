"""The fits of the experiments on GradINN, each measured as one row; for `gradinn.experiments`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from cases.learning import PROBLEMS
from cases.learning.problem import LearningProblem
from gradopt import Dataset
from scripts.gradinn.methods import DEFAULTS, HYBRID, METHODS, PRIORS, Method, partly_known
from scripts.shared.rows import Row, RowFile

NOISES = (0.0, 0.01, 0.05, 0.1, 0.2)  # of the values, in standard deviations of them
PARTS = ("problems", "priors", "hybrid", "defaults")
HYBRID_PROBLEMS = ("friedman", "lotka_volterra", "burgers")
TEST_POINTS = 2000


@dataclass(frozen=True)
class Task:
    """One fit to make.

    Attributes:
        part: One of PARTS.
        problem: Name of a problem.
        n: Number of samples.
        noise: Standard deviation of the noise of the values over that of the values.
        seed: Seed of points, noise and network.
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
        """Method of the fit."""
        return {**METHODS, **PRIORS, **HYBRID, **DEFAULTS}[self.method]

    def data(self) -> Dataset:
        """Draw the samples, with the partials that the method may use."""
        hybrid = self.method in HYBRID
        data = PROBLEMS[self.problem].draw(self.n, self.seed, self.noise, partials=hybrid)
        return partly_known(data, all_known="all" in self.method) if hybrid else data


def tasks(parts: Iterable[str], problems: Iterable[str], seeds: int) -> Iterator[Task]:
    """Return all fits of parts, those without noise first, then by seed: early rows fill whole tables."""
    for noisy, seed, part, name in product((False, True), range(seeds), parts, problems):
        sizes = PROBLEMS[name].sizes
        if part == "problems":
            for n, noise, method in product(sizes, NOISES[1:] if noisy else NOISES[:1], METHODS):
                yield Task(part, name, n, noise, seed, method)
        elif noisy:
            continue
        elif part == "priors":
            for n, method in product(sizes[:2], PRIORS):
                yield Task(part, name, n, 0.0, seed, method)
        elif part == "defaults" and name == "friedman":
            for n, method in product(sizes, DEFAULTS):
                yield Task(part, name, n, 0.0, seed, method)
        elif part == "hybrid" and name in HYBRID_PROBLEMS:
            for n, method in product((2 * sizes[0] // 3, *sizes[:2]), (*HYBRID, "GradINN")):
                yield Task(part, name, n, 0.0, seed, method)


def errors(problem: LearningProblem, values: np.ndarray, partials: np.ndarray) -> dict[str, float]:
    """Return the RMSE of predictions at the test points, pooled over outputs.

    Args:
        problem: Problem that was learned.
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
    return {**vars(task), **found, "seconds": seconds, **fit.prior}


def key(row: Row) -> tuple[Any, ...]:
    """Return the key of a row; one fit may belong to several parts."""
    return (row["problem"], row["n"], row["noise"], row["seed"], row["method"])


def fit_all(file: RowFile, planned: Iterable[Task], settings: Mapping[str, Any]) -> None:
    """Make the fits that have no row yet, and append their rows."""
    for task in planned:
        if vars(task) not in file:
            file.add(measure(task, settings))
