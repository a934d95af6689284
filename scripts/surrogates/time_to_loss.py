"""Seconds of Levenberg-Marquardt to the lowest loss of jenn, on the same network, data and loss.

For `surrogates.training_cost`. jenn trains at each learning rate of a grid with seed 0, at the best of them with the
other seeds; its seconds are those until that run first had its lowest loss, so neither the search for the learning rate
nor the iterations after the lowest loss count. Ours starts again where a start stalls; the seconds of all starts count.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jenn
import numpy as np
import torch
from rich.table import Table

from gradopt import Dataset
from gradopt.data.scaling import Scaling
from gradopt.networks.mlp import Network
from gradopt.solvers import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Progress
from scripts.shared.benchmark_problems import PROBLEMS

DESIGNS = (("rosenbrock_2", (20, 200)), ("borehole", (40, 200)), ("torsion", (75, 200)))
QUICK_DESIGNS = (("rosenbrock_2", (20,)),)
NETWORKS = (
    ((12, 12), 0.0),
    ((20,), 1e-3),
)  # hidden sizes, and lambda: the default of jenn, and that of its demonstrations
LEARNING_RATES, ITERATIONS = (1e-2, 3e-3, 1e-3), (1000, 3000, 10_000)
SEEDS, REPEATS, STARTS = 3, 3, 4
WITHIN = 0.05  # ratio of seconds that was aimed at; by hand
SOLVERS = {  # tolerances and damping by hand: jenn's lowest loss is lower than a fit needs
    "gradopt": LevenbergMarquardt(max_iterations=150, tolerance=1e-4, damping=0.1),
    "gradopt, default damping": LevenbergMarquardt(max_iterations=150, tolerance=1e-4),
}
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


def now() -> np.ndarray:
    """Return CPU and wall seconds (2,)."""
    return np.array([clock() for clock in CLOCKS.values()])


@dataclass(frozen=True, eq=False)
class Run:
    """Losses of a run and their times.

    Attributes:
        losses: Loss after each iteration (k,).
        seconds: CPU and wall seconds until then (k, 2).
        setting: Learning rate of jenn, or number of starts of ours.
    """

    losses: np.ndarray
    seconds: np.ndarray
    setting: float

    def first(self, target: float) -> np.ndarray:
        """Return CPU and wall seconds (2,) until the loss was first as low as a target; infinite if never."""
        reached = np.flatnonzero(self.losses <= target)
        return self.seconds[reached[0]] if len(reached) else np.full(2, np.inf)

    def lowest(self, iterations: int) -> float:
        """Return the lowest loss within a number of iterations."""
        return float(self.losses[:iterations].min())


def build(network: Network, data: Dataset, penalty: float) -> NetworkProblem:
    """Make the loss of jenn times the number of samples: beta = gamma = 1, the penalty on all weights and no bias."""
    scaling = Scaling.of(data)
    alpha = np.zeros(network.n_parameters)
    for weights, _, _ in network.layers:
        alpha[weights] = penalty
    standardized = scaling.scale_inputs(data.x), scaling.scale_outputs(data.y)
    partials = scaling.scale_partials(data.x, data.y, data.partials)
    return NetworkProblem.build(network, *standardized, partials, np.ones_like(data.y), np.ones_like(partials), alpha)


def train_jenn(problem: NetworkProblem, data: Dataset, penalty: float, seed: int, rate: float, iterations: int) -> Run:
    """Train jenn; convert its losses to those of `problem`, and check the last one."""
    peer = jenn.NeuralNet(list(problem.network.layer_sizes))
    arrays = [np.ascontiguousarray(array) for array in (data.x.T, data.y.T, data.partials.transpose(1, 2, 0))]
    before = now()
    peer.fit(*arrays, is_normalize=True, random_state=seed, alpha=rate, lambd=penalty, max_iter=iterations)
    elapsed = now() - before
    history = np.ravel(peer.history["epoch_0"]["batch_0"])
    losses = data.n * history - 0.5 * penalty * data.d  # jenn penalizes the fixed identity of its input layer
    layers = zip(peer.parameters.W[1:], peer.parameters.b[1:], strict=True)
    theta = torch.tensor(np.concatenate([array.ravel() for layer in layers for array in layer]))
    ours, _ = problem.loss_and_gradient(theta)
    if not abs(ours - losses[-1]) <= 1e-9 * (losses[-1] + 0.5 * penalty * data.d):
        raise AssertionError(f"The losses differ, {ours} and {losses[-1]}: they are not the same problem.")
    parts = np.arange(1, len(losses) + 1)[:, None] / len(losses)  # every iteration costs the same
    return Run(losses, parts * elapsed, rate)


def train_ours(
    network: Network, data: Dataset, penalty: float, seed: int, solver: LevenbergMarquardt, aim: float
) -> Run:
    """Train to a loss, from one start after another."""
    losses, seconds = [], []

    def note(progress: Progress) -> bool:
        losses.append(progress.loss)
        seconds.append(now() - before)
        return progress.loss <= aim

    before = now()
    problem = build(network, data, penalty)
    for start in range(STARTS):
        theta = torch.tensor(network.initialize(np.random.default_rng([seed, start])))
        if solver.solve(problem, theta, note).loss <= aim:
            break
    return Run(np.array(losses), np.array(seconds), start + 1)


def compare(
    data: Dataset, hidden: Sequence[int], penalty: float, seed: int, rates: Sequence[float], quick: bool
) -> Any:
    """Train jenn at some learning rates, and ours to its lowest losses within each number of iterations.

    Returns:
        By number of iterations: jenn's lowest loss (mean over the samples, as jenn reports it), learning rate and
        seconds, and for each solver the median seconds, the starts, and the ratios.
    """
    counts = (50, 100) if quick else ITERATIONS
    network = Network((data.d, *hidden, data.m))
    problem = build(network, data, penalty)
    peers = [train_jenn(problem, data, penalty, seed, rate, counts[-1]) for rate in rates]
    best = {count: min(peers, key=lambda run: run.lowest(count)) for count in counts}
    targets = {count: run.lowest(count) for count, run in best.items()}
    ours = {
        name: [train_ours(network, data, penalty, seed, solver, min(targets.values())) for _ in range(REPEATS)]
        for name, solver in SOLVERS.items()
    }
    found: dict[int, dict[str, Any]] = {}
    for count, run in best.items():
        theirs = run.first(targets[count])
        about = {"loss": targets[count] / data.n, "learning_rate": run.setting}
        found[count] = {"jenn": {**about, **dict(zip(CLOCKS, theirs, strict=True))}}
        for name, runs in ours.items():
            median = np.median([run.first(targets[count]) for run in runs], axis=0)
            ratios = {f"ratio_{clock}": ratio for clock, ratio in zip(CLOCKS, median / theirs, strict=True)}
            found[count][name] = {**dict(zip(CLOCKS, median, strict=True)), "starts": runs[0].setting, **ratios}
    return found


def time_to_loss(quick: bool) -> dict[str, Any]:
    """Compare on all designs, networks and seeds; return the ratios of each case over its seeds, and of all cases."""
    cases: dict[str, Any] = {}
    for name, sizes in QUICK_DESIGNS if quick else DESIGNS:
        for n, (hidden, penalty) in ((n, network) for n in sizes for network in NETWORKS):
            problem, seeds = PROBLEMS[name], []
            rates: Sequence[float] = LEARNING_RATES
            for seed in range(1 if quick else SEEDS):
                seeds.append(compare(problem.sample(n, seed), hidden, penalty, seed, rates, quick))
                rates = (seeds[0][max(seeds[0])]["jenn"]["learning_rate"],)
            case = f"{name}, {n} samples, {'-'.join(map(str, (problem.d, *hidden, 1)))}"
            cases[case] = {"d": problem.d, "n": n, "hidden": hidden, "lambda": penalty, "seeds": seeds}
    counts = list(next(iter(cases.values()))["seeds"][0])
    about = {"learning_rates": LEARNING_RATES, "iterations": counts, "repeats": REPEATS, "starts": STARTS}
    solvers = {name: vars(solver) for name, solver in SOLVERS.items()}
    for case in cases.values():
        case["ratio"] = {name: ratios([case], name, counts[-1]) for name in SOLVERS}
    of_all = {name: {count: ratios(list(cases.values()), name, count) for count in counts} for name in SOLVERS}
    return {"setup": {**about, "solvers": solvers, "within": WITHIN}, "cases": cases, "ratio": of_all}


def ratios(cases: Sequence[dict[str, Any]], solver: str, count: int) -> dict[str, Any]:
    """Return the ratios of cases together: a run that never reached jenn's loss is `missed` and counts as infinite."""
    found: dict[str, Any] = {}
    for clock in CLOCKS:
        of = np.array([seed[count][solver][f"ratio_{clock}"] for case in cases for seed in case["seeds"]])
        found[clock] = {"median": float(np.median(of)), "largest": float(of.max()), "within": int((of <= WITHIN).sum())}
    return {**found, "runs": len(of), "missed": int(np.isinf(of).sum())}


def table_of(found: dict[str, Any]) -> Table:
    """Make the table, a row for each case."""
    last = found["setup"]["iterations"][-1]
    titles = (
        "loss",
        "jenn, CPU s",
        "gradopt, CPU s",
        "ratio (largest)",
        "wall ratio",
        "ratio, default damping (largest)",
    )
    table = Table("seconds to jenn's lowest loss", *titles)
    for name, case in found["cases"].items():
        of = [seed[last] for seed in case["seeds"]]
        middle = [np.median([o[who][what] for o in of]) for who, what in (("jenn", "loss"), ("jenn", "cpu"))]
        middle.append(np.median([o["gradopt"]["cpu"] for o in of]))
        table.add_row(name, *(f"{number:.3g}" for number in middle), *_ratios(case["ratio"]))
    for count in found["setup"]["iterations"]:
        of_count = {solver: found["ratio"][solver][count] for solver in SOLVERS}
        mine = of_count["gradopt"]
        missed = f"{mine['missed']} of {mine['runs']} missed"
        table.add_row(f"all, {count} iterations of jenn", missed, "", "", *_ratios(of_count))
    return table


def _ratios(of: dict[str, Any]) -> list[str]:
    ours, default = (of[solver]["cpu"] for solver in SOLVERS)
    pair = [f"{each['median']:.3f} ({each['largest']:.3f})" for each in (ours, default)]
    return [pair[0], f"{of['gradopt']['wall']['median']:.3f}", pair[1]]
