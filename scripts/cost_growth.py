"""How the cost of training grows: time of the gradient over sizes of the problem, memory of Levenberg-Marquardt.

A part of scripts/training_cost.py. Run by itself with a memory limit, it measures one fit in its own process, since the
peak of a process never falls again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from gradopt.networks.mlp import Network
from gradopt.plots.figure import new_figure
from gradopt.solvers import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem

BASE = {"n": 500, "d": 8, "m": 1, "width": 32}  # samples, inputs, outputs, neurons of each of two hidden layers
VARIED = {
    "n": tuple(2**k for k in range(5, 16)),
    "d": tuple(2**k for k in range(11)),
    "m": tuple(2**k for k in range(10)),
    "width": tuple(2**k for k in range(2, 11)),
}
QUICK = {name: values[-7:-1:2] for name, values in VARIED.items()}
KINDS = {"values and partials": 1.0, "values only": 0.0}  # weight of the partials
MEMORY = {"n": 5000, "d": 10, "m": 1, "width": 64, "layers": 1}
UNLIMITED, LIMITS = 2**34, (2**30, 2**28, 2**26)
_SHORTEST = 0.2  # CPU seconds of each measurement at least, so of all its repeats together


def build(n: int, d: int, m: int, width: int, layers: int, gamma: float) -> tuple[NetworkProblem, torch.Tensor]:
    """A loss on random data, and parameters; what they are does not change the cost."""
    rng = np.random.default_rng(0)
    network = Network((d, *(width,) * layers, m))
    x, y, dydx = rng.normal(size=(n, d)), rng.normal(size=(n, m)), rng.normal(size=(n, m, d))
    problem = NetworkProblem.build(network, x, y, dydx, np.ones_like(y), np.full_like(dydx, gamma), alpha=1e-3)
    return problem, torch.tensor(network.initialize(rng))


def cpu_milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median CPU milliseconds of a call, which a busy machine changes least."""
    call()
    found: list[float] = []
    while len(found) < repeats and (sum(found) < 1e3 * _SHORTEST or len(found) < 3):
        start = time.process_time()
        call()
        found.append(1e3 * (time.process_time() - start))
    return float(np.median(found))


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Exponent of the growth: least squares of the logarithms over the upper half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def growth(quick: bool) -> dict[str, Any]:
    """Time one loss and gradient, with one size at a time away from the base point."""
    found: dict[str, Any] = {}
    for name, sizes in (QUICK if quick else VARIED).items():
        of: dict[str, Any] = {"sizes": sizes}
        for kind, gamma in KINDS.items():
            times = []
            for size in sizes:
                problem, theta = build(**{**BASE, name: size}, layers=2, gamma=gamma)
                times.append(cpu_milliseconds(lambda p=problem, t=theta: p.loss_and_gradient(t), 2 if quick else 50))  # type: ignore[misc]
            of[kind] = {"ms": times, "slope": slope(sizes, times)}
        found[name] = of
    return {"base": {**BASE, "layers": 2}, "varied": found}


def status(field: str) -> float:
    """Memory of this process in bytes by its name in Linux's table: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def fit_within(limit: int, n: int) -> dict[str, float]:
    """One iteration of Levenberg-Marquardt: bytes of the peak above what the process held before, and CPU seconds."""
    torch.set_num_threads(1)
    solver = LevenbergMarquardt(max_iterations=1, memory_limit=limit)
    solver.solve(*build(**{**MEMORY, "n": 20}, gamma=1.0))  # libraries are loaded by their first call
    problem, theta = build(**{**MEMORY, "n": n}, gamma=1.0)
    before, start = status("VmRSS"), time.process_time()
    result = solver.solve(problem, theta)
    seconds, jacobian = time.process_time() - start, 8.0 * problem.n_residuals * problem.n_parameters
    return {"peak": status("VmHWM") - before, "cpu_seconds": seconds, "jacobian": jacobian, "loss": result.loss}


def memory(quick: bool) -> dict[str, Any]:
    """Peak memory of a fit for several limits, each in a process of its own; nothing where /proc is not Linux's."""
    if not Path("/proc/self/status").exists():
        return {}
    n, rows = MEMORY["n"] // 5 if quick else MEMORY["n"], []
    path = os.pathsep.join(entry for entry in sys.path if entry)
    for limit in (UNLIMITED, *(LIMITS[-1:] if quick else LIMITS)):
        command = [sys.executable, str(Path(__file__)), str(limit), str(n)]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        rows.append({"limit": limit, **json.loads(done.stdout)})
    if max(row["loss"] for row in rows) > (1.0 + 1e-9) * min(row["loss"] for row in rows):
        raise AssertionError(f"The limit changes the result: {[row['loss'] for row in rows]}.")
    return {"setup": {**MEMORY, "n": n, "iterations": 1}, "limits": {str(row.pop("limit")): row for row in rows}}


def draw_growth(path: Path, found: dict[str, Any]) -> None:
    """Draw the times over each size, log-log."""
    names = {"n": "samples n", "d": "inputs d", "m": "outputs m", "width": "neurons in each of two layers"}
    figure = new_figure(13.0, 3.6)
    for axes, (name, of) in zip(figure.subplots(1, 4, sharey=True), found["varied"].items(), strict=True):
        for kind in KINDS:
            axes.loglog(of["sizes"], of[kind]["ms"], "o-", label=f"{kind}, slope {of[kind]['slope']:.2f}")
        axes.axvline(BASE[name], color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel=names[name])
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("loss and gradient, CPU ms")
    figure.suptitle("One size at a time; dotted: where the others stay. Slopes of the upper half")
    figure.savefig(path, dpi=150)


def tables_of(cost: dict[str, Any], peaks: dict[str, Any]) -> list[Table]:
    """The tables of slopes and of peaks."""
    table = Table("loss and gradient", "sizes", *(f"{kind}: CPU ms, slope" for kind in KINDS))
    for name, of in cost["varied"].items():
        ends = (f"{of[k]['ms'][0]:.3g} to {of[k]['ms'][-1]:.3g}, slope {of[k]['slope']:.2f}" for k in KINDS)
        table.add_row(name, f"{of['sizes'][0]} to {of['sizes'][-1]}", *ends)
    second = Table("memory_limit, MiB", "peak, MiB", "peak / limit", "Jacobian, MiB", "CPU seconds an iteration")
    for limit, row in peaks.get("limits", {}).items():
        numbers = (int(limit) / 2**20, row["peak"] / 2**20, row["peak"] / int(limit), row["jacobian"] / 2**20)
        second.add_row(*(f"{number:.4g}" for number in (*numbers, row["cpu_seconds"])))
    return [table, second]


if __name__ == "__main__":
    print(json.dumps(fit_within(int(sys.argv[1]), int(sys.argv[2]))))
