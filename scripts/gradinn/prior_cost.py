"""Cost of a prior: CPU time of an iteration and memory of a fit, over those of the plain network.

For `gradinn.experiments`. Run by itself, with numbers of inputs and of collocation points and 1 for a prior or 0 for
none, the module measures the memory of one fit in its own process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from gradopt import Dataset
from gradopt.data.scaling import Scaling
from gradopt.plots.figure import new_figure
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.fitting.networks import build_problem
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.gradinn.configuration import GradINN
from gradopt.training.evidence import Evidence
from scripts.shared.costs import STATUS, growth_exponent, measured_alone, memory_of_process

INPUTS, POINTS_EACH = (1, 2, 4, 8, 16), 20  # collocation points for each input, the default
COUNTS, INPUTS_THERE = (25, 50, 100, 200, 400), 5
SAMPLES, WIDTH, ITERATIONS = 10, 20, 6  # samples for each input


def seconds(d: int, points: int, with_prior: bool, iterations: int = ITERATIONS) -> float:
    """Return CPU seconds of an iteration that learns the weights, from random parameters.

    Args:
        d: Number of inputs.
        points: Number of collocation points beside the samples.
        with_prior: Whether there is a prior.
        iterations: Number of iterations that are timed together.
    """
    rng = np.random.default_rng(0)
    data = Dataset(rng.random((SAMPLES * d, d)), rng.random((SAMPLES * d, 1)))
    configuration = GradINN((WIDTH,), activation="tanh", starts=1, collocation=points, solver=LevenbergMarquardt())
    (network,) = configuration._shapes_of_starts(data)
    prior = configuration.active_prior
    assert prior is not None, "its weight is not 0"
    auxiliary = prior.initialize(d, 1, rng) if with_prior else None
    trained = TrainedNetwork(network, network.initialize(rng), auxiliary=auxiliary)
    weights = configuration.data_weights(data)
    problem = build_problem(configuration, trained, data, Scaling.of(data), weights)
    start = torch.tensor(trained.parameters)
    Evidence(1).solve(problem, start)
    begun = time.process_time()
    Evidence(iterations, tolerance=0.0).solve(problem, start)
    return (time.process_time() - begun) / iterations


def peak(d: int, points: int, with_prior: bool) -> float:
    """Return the bytes by which the memory of a process grows in one iteration; nan where not on Linux."""
    if not STATUS.exists():
        return np.nan
    return float(measured_alone("scripts.gradinn.prior_cost", d, points, int(with_prior)))


def compare(d: int, points: int, memory: bool) -> dict[str, float]:
    """Return milliseconds with and without a prior, their ratio and, if `memory`, bytes."""
    both = {"plain": False, "prior": True}
    times = {name: 1e3 * float(np.median([seconds(d, points, b) for _ in range(3)])) for name, b in both.items()}
    growth = {name: peak(d, points, with_prior) if memory else np.nan for name, with_prior in both.items()}
    return {
        "d": d,
        "points": points,
        **{f"ms_{name}": value for name, value in times.items()},
        **{f"bytes_{name}": value for name, value in growth.items()},
        "time_ratio": times["prior"] / times["plain"],
    }


def cost(quick: bool) -> dict[str, Any]:
    """Measure over the number of inputs, with the default number of points, and over the number of points.

    With a tiny budget memory is not measured, since each figure takes a process.
    """
    inputs, counts = (INPUTS[:2], COUNTS[:2]) if quick else (INPUTS, COUNTS)
    over_inputs = [compare(d, POINTS_EACH * d, memory=not quick) for d in inputs]
    over_points = [compare(INPUTS_THERE, count, memory=not quick) for count in counts]
    return {
        "samples for each input": SAMPLES,
        "width": WIDTH,
        "inputs": {"rows": over_inputs, "exponent": growth_exponent(inputs, [row["ms_prior"] for row in over_inputs])},
        "points": {"rows": over_points, "exponent": growth_exponent(counts, [row["ms_prior"] for row in over_points])},
    }


def cost_tables(found: dict[str, Any]) -> list[Table]:
    """Make a table over inputs and one over points."""
    tables = []
    for kind in ("inputs", "points"):
        columns = ("inputs", "points", "plain, CPU ms", "prior, CPU ms", "ratio", "plain, MiB", "prior, MiB")
        title = f"An iteration over {kind}; exponent of the upper half {found[kind]['exponent']:.2f}"
        table = Table(*columns, title=title)
        for row in found[kind]["rows"]:
            numbers = [row["ms_plain"], row["ms_prior"], row["time_ratio"]]
            numbers += [row["bytes_plain"] / 2**20, row["bytes_prior"] / 2**20]
            table.add_row(str(row["d"]), str(row["points"]), *(f"{number:.3g}" for number in numbers))
        tables.append(table)
    return tables


def draw_cost(path: Path, found: dict[str, Any]) -> None:
    """Draw both, on logarithmic axes."""
    figure = new_figure(9.0, 3.8)
    for axes, kind, name in zip(figure.subplots(1, 2, sharey=True), ("inputs", "points"), ("d", "points"), strict=True):
        rows = found[kind]["rows"]
        for of, label in (("prior", "with a prior"), ("plain", "plain network")):
            axes.loglog([row[name] for row in rows], [row[f"ms_{of}"] for row in rows], "o-", label=label)
        axes.set(xlabel={"inputs": "inputs, 20 points and 10 samples each", "points": "points, 5 inputs"}[kind])
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("CPU ms of an iteration")
    figure.axes[0].legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = [int(argument) for argument in sys.argv[1:]]
    seconds(1, 5, True, 1)  # libraries are loaded by their first call
    before = memory_of_process("VmRSS")
    seconds(arguments[0], arguments[1], bool(arguments[2]), 1)
    print(json.dumps(max(memory_of_process("VmHWM") - before, 0.0)))
