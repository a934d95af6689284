"""Accuracy and seconds of training: 20 points of Rosenbrock's function, and JENN's demonstration against jenn itself.

Printed and written to the result file:

- `small_design`: 20 Latin-hypercube points with partials. For JENN(), and MLP() on the same values, over the seeds:
  NRMSE of values, of the worse column of partials and of the pooled partials, and the seconds of a fit. A seed sets
  design and initial parameters. `activations`: medians of JENN with each other activation.
- `demonstration`: demo 4 of JENN: 389 points with partials, network 2-20-20-20-1, optimum sought from (1.25, -1.75),
  with the solver of the case `rosenbrock`, 100 iterations of Levenberg-Marquardt for the fit and for the polish.
  For MLP, JENN and polished JENN, and for jenn at the demo's settings on the same data: NRMSE, the optimum SLSQP finds
  on the surrogate, the true f there, its distance from (1, 1), and the seconds; the ratio of the seconds to jenn's.

NRMSE is the RMSE on 1000 uniform points over the standard deviation of the truth there. jenn's run takes minutes and a
gigabyte; with --quick it is a thousandth of it, and its seconds are multiplied by a thousand (`scaled`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jenn
import numpy as np
import openmdao.api as om
from rich.console import Console
from rich.table import Table

import gradopt
from cases.rosenbrock.case import DEMO_SOLVER
from cases.rosenbrock.function import rosenbrock
from gradopt import JENN, MLP, Dataset, Surrogate, Variable
from gradopt.om.component import SurrogateComp
from gradopt.solvers import LevenbergMarquardt
from gradopt.training.solvers import Solver
from scripts.shared.benchmark_problems import TEST_POINTS, TEST_SEED
from scripts.shared.costs import timed
from scripts.shared.fits import QUICK_ITERATIONS, fit_settings
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds

INPUTS = (Variable("x", (2,), lower=-2.0, upper=2.0),)
OUTPUTS = (Variable("f"),)
OPTIMUM = np.array([1.0, 1.0])
START = np.array([1.25, -1.75])
SMALL_DESIGN, SEEDS = 20, 10
OTHER_ACTIVATIONS = ("tanh", "sigmoid", "silu", "softplus", "sin")
DEMO_HIDDEN, DEMO_SEED, DEMO_RANDOM, DEMO_LEVELS = (20, 20, 20), 1, 100, 17
JENN_SETTINGS = {"alpha": 1e-5, "lambd": 1e-3, "is_normalize": True, "random_state": DEMO_SEED, "shuffle": False}
JENN_FIT, JENN_POLISH = 75_000, 100_000  # iterations of the demonstration, as are all settings of jenn here
QUICK_FRACTION = 1e-3  # of them


@dataclass(frozen=True)
class JennEvaluation:
    """Values and partials of jenn's network."""

    y: np.ndarray
    partials: np.ndarray

    def dydx(self) -> np.ndarray:
        """Partials (n, m, d)."""
        return self.partials


@dataclass(frozen=True, eq=False)
class JennSurrogate:
    """jenn's network in the form that `SurrogateComp` takes: samples first."""

    network: Any
    inputs: tuple[Variable, ...] = INPUTS
    outputs: tuple[Variable, ...] = OUTPUTS
    lower: np.ndarray = field(default_factory=lambda: np.full(2, -2.0))
    upper: np.ndarray = field(default_factory=lambda: np.full(2, 2.0))
    digest: str = "jenn"

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict values (n, 1) and partials (n, 1, 2) at x (n, 2)."""
        y, dydx = self.network(x.T)
        return y.T, dydx.transpose(2, 0, 1)

    def evaluate(self, x: np.ndarray) -> JennEvaluation:
        """Evaluate at x (n, 2)."""
        return JennEvaluation(*self.linearize(x))


def evaluate(x: np.ndarray) -> Dataset:
    """Evaluate Rosenbrock's function and its partials at x (n, 2)."""
    y, dydx = zip(*(rosenbrock(point) for point in x), strict=True)
    return Dataset(x, np.array(y), np.array(dydx), INPUTS, OUTPUTS)


def uniform(n: int, seed: int) -> np.ndarray:
    """Draw n points (n, 2) within the bounds."""
    return np.random.default_rng(seed).uniform(-2.0, 2.0, (n, 2))


def errors(surrogate: Surrogate | JennSurrogate, test: Dataset) -> dict[str, float]:
    """Return NRMSE of the values, of the worse column of partials, and of all partials pooled."""
    y, dydx = surrogate.linearize(test.x)
    wrong, truth = (dydx - test.partials).reshape(test.n, -1), test.partials.reshape(test.n, -1)
    squares, variances = (wrong**2).mean(axis=0), truth.var(axis=0)
    return {
        "nrmse_values": float(np.sqrt(((y - test.y) ** 2).mean() / test.y.var())),
        "nrmse_partials_worse": float(np.sqrt(squares / variances).max()),
        "nrmse_partials_pooled": float(np.sqrt(squares.sum() / variances.sum())),
    }


def summary(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Summarize each figure of several runs over the seeds."""
    return {name: over_seeds([run[name] for run in runs]) for name in runs[0]}


def small_design(seeds: int, settings: dict[str, Any], test: Dataset) -> dict[str, Any]:
    """Fit designs of 20 points, one for each seed, with some fields other than the defaults."""

    def fits(kind: type[JENN] | type[MLP], activation: str) -> dict[str, dict[str, Any]]:
        runs = []
        for seed in range(seeds):
            data = evaluate(gradopt.sampling.latin_hypercube(INPUTS, SMALL_DESIGN, seed))
            configuration = kind(activation=activation, seed=seed, **settings)
            surrogate, seconds = timed(lambda c=configuration, d=data: c.fit(d))  # type: ignore[misc]
            runs.append({**errors(surrogate, test), "seconds": seconds})
        return summary(runs)

    others = {activation: fits(JENN, activation) for activation in OTHER_ACTIVATIONS}
    medians = {name: {figure: of["median"] for figure, of in found.items()} for name, found in others.items()}
    return {"JENN": fits(JENN, "auto"), "MLP": fits(MLP, "auto"), "activations": medians}


def minimize(surrogate: Surrogate | JennSurrogate) -> dict[str, Any]:
    """Minimize a surrogate within the bounds by SLSQP, and evaluate the truth there."""
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("surrogate", SurrogateComp(surrogate), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0)
    problem.model.add_objective("f")
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-9, maxiter=300, disp=False)
    problem.setup()
    problem.set_val("x", START)
    problem.run_driver()
    x = np.clip(problem.get_val("x"), -2.0, 2.0)
    true_f = float(rosenbrock(x)[0][0])
    distance = float(np.linalg.norm(x - OPTIMUM))
    return {"optimum": x, "true_f": true_f, "distance": distance, "slsqp_converged": problem.driver.result.success}


def jenn_runs(data: Dataset, fraction: float) -> list[tuple[str, JennSurrogate, dict[str, Any]]]:
    """Fit and polish by jenn at the settings of its demo: name, surrogate, and seconds and iterations of each."""
    x, y, dydx = (np.ascontiguousarray(array) for array in (data.x.T, data.y.T, data.partials.transpose(1, 2, 0)))
    network = jenn.NeuralNet([2, *DEMO_HIDDEN, 1])
    polish = {"gamma": 1.0 + 1000.0 * jenn.utilities.rbf(dydx, epsilon=0.1), "is_warmstart": True}
    found = []
    for name, planned, options in (("jenn", JENN_FIT, {}), ("jenn polished", JENN_POLISH, polish)):
        most = max(2, round(fraction * planned))
        settings = {**JENN_SETTINGS, **options, "max_iter": most}
        network = copy.deepcopy(network)
        _, seconds = timed(lambda n=network, s=settings: n.fit(x, y, dydx, **s))  # type: ignore[misc]
        made = len(network.history["epoch_0"]["batch_0"])
        full = planned / most if made == most else 1.0  # a run that converged early is not scaled
        found.append((name, JennSurrogate(network), {"seconds": seconds * full, "iterations": made}))
    return found


def demonstration(solver: str | Solver, fraction: float, test: Dataset) -> dict[str, Any]:
    """Train on the data of JENN's demo, find the optima, and compare with jenn."""
    grid = gradopt.sampling.full_factorial(INPUTS, DEMO_LEVELS)
    data = evaluate(np.concatenate([uniform(DEMO_RANDOM, DEMO_SEED), grid]))
    plain, plain_seconds = timed(
        lambda: MLP(DEMO_HIDDEN, activation="tanh", weights="fixed", starts=1, solver=solver).fit(data)
    )
    fitted, fit_seconds = timed(
        lambda: JENN(DEMO_HIDDEN, activation="tanh", weights="fixed", starts=1, solver=solver).fit(data)
    )
    better, polish_seconds = timed(lambda: fitted.polish(data))
    names, seconds = ("MLP", "JENN", "JENN polished"), (plain_seconds, fit_seconds, polish_seconds)
    runs: list[tuple[str, Surrogate | JennSurrogate, dict[str, Any]]] = []
    for name, surrogate, elapsed in zip(names, (plain, fitted, better), seconds, strict=True):
        of = surrogate.fit_result
        fit = {"solver": of.solver, "status": of.status.name, "iterations": of.iterations, "loss": of.loss}
        runs.append((name, surrogate, {**fit, "seconds": elapsed}))
    runs += jenn_runs(data, fraction)
    models = {name: {**run, **errors(surrogate, test), **minimize(surrogate)} for name, surrogate, run in runs}

    ours, theirs = (models[name]["seconds"] + models[f"{name} polished"]["seconds"] for name in ("JENN", "jenn"))
    return {"models": models, "seconds_ratio": ours / theirs, "scaled": fraction != 1.0, "jenn_fraction": fraction}


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables."""
    small, demo = result["small_design"], result["demonstration"]
    figures = ("nrmse_values", "nrmse_partials_worse", "nrmse_partials_pooled", "seconds")
    table = Table("model", *figures, title=f"{SMALL_DESIGN} points: median (largest)")
    for name in ("JENN", "MLP"):
        table.add_row(name, *(f"{small[name][f]['median']:.2e} ({small[name][f]['largest']:.2e})" for f in figures))
    for name, found in small["activations"].items():
        table.add_row(f"JENN {name}", *(f"{found[f]:.2e}" for f in figures))
    console.print(table)
    title = f"JENN's demo: {demo['seconds_ratio']:.3f} of jenn's seconds{' (scaled)' if demo['scaled'] else ''}"
    table = Table("model", "NRMSE values", "partials pooled", "optimum", "true f", "distance", "seconds", title=title)
    for name, found in demo["models"].items():
        numbers = (found[f] for f in ("true_f", "distance", "seconds"))
        accuracy = (f"{found[f]:.2e}" for f in ("nrmse_values", "nrmse_partials_pooled"))
        table.add_row(name, *accuracy, "({:.4f}, {:.4f})".format(*found["optimum"]), *(f"{n:.3g}" for n in numbers))
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both parts, write and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    few: Solver = LevenbergMarquardt(max_iterations=QUICK_ITERATIONS)
    test = evaluate(uniform(TEST_POINTS, TEST_SEED))
    JENN(starts=1, solver=few).fit(test.select(range(SMALL_DESIGN)))  # torch's first call is slow
    seeds, fraction = (1, QUICK_FRACTION) if call.quick else (SEEDS, 1.0)
    result = {
        "setup": {"bounds": [-2.0, 2.0], "test_points": TEST_POINTS, "test_seed": TEST_SEED, "seeds": seeds},
        "jenn": {"version": jenn.__version__, **JENN_SETTINGS, "iterations": [JENN_FIT, JENN_POLISH]},
        "small_design": small_design(seeds, fit_settings(call.quick), test),
        "demonstration": demonstration(few if call.quick else DEMO_SOLVER, fraction, test),
    }
    call.write(result)
    show(call.console, result)
    return 0


if __name__ == "__main__":
    run(main)
