"""Memory of Levenberg-Marquardt at several memory limits; for `surrogates.training_cost`.

Run by itself, with a memory limit in bytes and a number of samples, the module measures one fit in its own process,
since the peak memory of a process never falls.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from rich.table import Table

from gradopt.networks.mlp import Network
from gradopt.solvers import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from scripts.shared.costs import STATUS, measured_alone, memory_of_process

SIZES = {"n": 5000, "d": 10, "m": 1, "width": 64, "layers": 1}  # a Jacobian of 323 MiB
UNLIMITED, LIMITS = 2**34, (2**30, 2**28, 2**26)  # bytes


def build(n: int, d: int, m: int, width: int, layers: int) -> tuple[NetworkProblem, torch.Tensor]:
    """Make a loss on random values and partials, and random parameters, which do not change the cost.

    Args:
        n: Number of samples.
        d: Number of inputs.
        m: Number of outputs.
        width: Number of neurons of each hidden layer.
        layers: Number of hidden layers.
    """
    rng = np.random.default_rng(0)
    network = Network((d, *(width,) * layers, m))
    x, y, dydx = rng.normal(size=(n, d)), rng.normal(size=(n, m)), rng.normal(size=(n, m, d))
    problem = NetworkProblem.build(network, x, y, dydx, np.ones_like(y), np.ones_like(dydx), alpha=1e-3)
    return problem, torch.tensor(network.initialize(rng))


def fit_within(limit: int, n: int) -> dict[str, float]:
    """Make one iteration of Levenberg-Marquardt on n samples within a memory limit, and measure it.

    Returns:
        `peak`: peak memory above that before the iteration, in bytes; `jacobian`: size of the full Jacobian, in bytes;
        `cpu_seconds`; `loss`.
    """
    torch.set_num_threads(1)
    solver = LevenbergMarquardt(max_iterations=1, memory_limit=limit)
    solver.solve(*build(**{**SIZES, "n": 20}))  # libraries are loaded by their first call
    problem, theta = build(**{**SIZES, "n": n})
    before, start = memory_of_process("VmRSS"), time.process_time()
    result = solver.solve(problem, theta)
    seconds, jacobian = time.process_time() - start, 8.0 * problem.n_residuals * problem.n_parameters
    return {
        "peak": memory_of_process("VmHWM") - before,
        "cpu_seconds": seconds,
        "jacobian": jacobian,
        "loss": result.loss,
    }


def memory(quick: bool) -> dict[str, Any]:
    """Measure the peak memory for several limits; return nothing where not on Linux, and with a tiny budget.

    Each limit takes a process.
    """
    if quick or not STATUS.exists():
        return {}
    n, rows = SIZES["n"], []
    for limit in (UNLIMITED, *LIMITS):
        rows.append({"limit": limit, **measured_alone("scripts.surrogates.fit_memory", limit, n)})
    if max(row["loss"] for row in rows) > (1.0 + 1e-9) * min(row["loss"] for row in rows):
        raise AssertionError(f"The limit changes the result: {[row['loss'] for row in rows]}.")
    return {"setup": {**SIZES, "iterations": 1}, "limits": {str(row.pop("limit")): row for row in rows}}


def memory_table(found: dict[str, Any]) -> Table:
    """Make the table of peaks."""
    table = Table("memory_limit, MiB", "peak, MiB", "peak / limit", "Jacobian, MiB", "CPU seconds of an iteration")
    for limit, row in found.get("limits", {}).items():
        numbers = (int(limit) / 2**20, row["peak"] / 2**20, row["peak"] / int(limit), row["jacobian"] / 2**20)
        table.add_row(*(f"{number:.4g}" for number in (*numbers, row["cpu_seconds"])))
    return table


if __name__ == "__main__":
    print(json.dumps(fit_within(int(sys.argv[1]), int(sys.argv[2]))))
