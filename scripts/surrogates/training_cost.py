"""Cost of training, and of a surrogate inside OpenMDAO.

Printed and written to the result file:

- `gradient`: milliseconds of one evaluation of the loss and its gradient on values and all partials (1000 samples, one
  output, hidden layers 64-64) for 2 to 128 inputs; the ratio of the least time with 128 inputs to that with 16.
  Drawn in gradient.png.
- `against_jenn`: the same evaluation and one full-batch iteration of jenn at 16 inputs, by turns, and the ratio jenn /
  gradopt. An iteration of jenn also makes Adam's step, which is cheap beside it.
- `component`: run_model and compute_totals with a SurrogateComp (17 inputs in two vectors and a scalar, four outputs,
  20 neurons) and with a hand-written NumPy component of the same weights, by turns, and the ratio.
- `time_to_loss`: seconds of Levenberg-Marquardt to jenn's lowest loss of a grid of learning rates and iterations over
  jenn's seconds, on the same network, data and loss, for 2 to 15 inputs and up to 200 samples, in CPU and wall seconds;
  a loss that is not reached counts as infinitely slow, and is counted in `missed`.
- `memory`: peak bytes of one iteration of Levenberg-Marquardt (5000 samples of 10 inputs with partials) above those
  before it, for several values of the option `memory_limit`, the first above all it needs. Linux only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jenn
import numpy as np
import openmdao.api as om
import torch
from rich.console import Console
from rich.table import Table

from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.networks.mlp import Network
from gradopt.om.component import SurrogateComp
from gradopt.plots.figure import new_figure
from gradopt.solvers import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds
from scripts.surrogates.fit_memory import memory, memory_table
from scripts.surrogates.time_to_loss import table_of, time_to_loss

SAMPLES, HIDDEN = 1000, (64, 64)
INPUTS = (Variable("a", (8,)), Variable("b", (8,)), Variable("c"))
OUTPUTS = tuple(Variable(f"y{number}") for number in range(4))


def random_data(n: int, d: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw inputs (n, d), outputs (n, m) and partials (n, m, d), which do not change the cost."""
    rng = np.random.default_rng(d)
    return rng.normal(size=(n, d)), rng.normal(size=(n, m)), rng.normal(size=(n, m, d))


def gradient_call(d: int) -> Callable[[], object]:
    """Prepare one evaluation of the loss and its gradient with d inputs."""
    network = Network((d, *HIDDEN, 1))
    x, y, dydx = random_data(SAMPLES, d, 1)
    problem = NetworkProblem.build(network, x, y, dydx, np.ones_like(y), np.ones_like(dydx), alpha=1e-8)
    theta = torch.tensor(network.initialize(np.random.default_rng(0)))
    return lambda: problem.loss_and_gradient(theta)


def milliseconds(call: Callable[[], object]) -> float:
    """Return wall-clock milliseconds of a call."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def gradient_cost(inputs: Sequence[int], repeats: int) -> dict[str, Any]:
    """Time the gradient of the loss; all numbers of inputs by turns, so that a busy minute slows all."""
    calls = {d: gradient_call(d) for d in inputs}
    turns = [{d: milliseconds(call) for d, call in calls.items()} for _ in range(repeats + 3)]
    found = {d: over_seeds([turn[d] for turn in turns[3:]]) for d in inputs}  # the first turns warm up
    return {"ms": found, "ratio_128_to_16": found[128]["least"] / found[16]["least"]}


def jenn_iteration(x: np.ndarray, y: np.ndarray, dydx: np.ndarray, few: int, many: int) -> float:
    """Return milliseconds of one full-batch iteration of jenn: the difference of two runs, without the set-up."""
    arrays = [np.ascontiguousarray(array) for array in (x.T, y.T, dydx.transpose(1, 2, 0))]

    def run(iterations: int) -> float:
        network = jenn.NeuralNet([x.shape[1], *HIDDEN, y.shape[1]])
        return milliseconds(lambda: network.fit(*arrays, max_iter=iterations, alpha=1e-3, random_state=0))

    return (run(many) - run(few)) / (many - few)


def against_jenn(turns: int, many: int, d: int = 16) -> dict[str, Any]:
    """Time the gradient of the loss and jenn's iteration by turns."""
    call, data = gradient_call(d), random_data(SAMPLES, d, 1)

    def turn() -> tuple[float, float]:
        return float(np.median([milliseconds(call) for _ in range(20)])), jenn_iteration(*data, 2, many)

    ours, theirs = np.array([turn() for _ in range(turns + 1)])[1:].T  # the first warms up
    return {
        "inputs": d,
        "gradopt_ms": over_seeds(ours),
        "jenn_ms": over_seeds(theirs),
        "ratio": over_seeds(theirs / ours),
    }


class HandWritten(om.ExplicitComponent):  # type: ignore[misc]
    """A network of one hidden layer written by hand, with the scaling folded into the weights."""

    def __init__(self, surrogate: Surrogate) -> None:
        """Take the weights of a surrogate without transforms."""
        super().__init__()
        (w1, b1, shape1), (w2, b2, shape2) = surrogate.network.layers
        theta, scaling = surrogate.theta, surrogate.scaling
        self.first = theta[w1].reshape(shape1) / scaling.input_scale
        self.bias = theta[b1] - self.first @ scaling.input_mean
        self.last = theta[w2].reshape(shape2) * scaling.output_scale[:, None]
        self.offset = theta[b2] * scaling.output_scale + scaling.output_mean

    def setup(self) -> None:
        """Declare inputs, outputs and partials."""
        for variable in INPUTS:
            self.add_input(variable.name, shape=variable.shape)
        for variable in OUTPUTS:
            self.add_output(variable.name)
        self.declare_partials("*", "*")

    def hidden(self, inputs: Any) -> np.ndarray:
        """Return the activations of the hidden layer."""
        return np.tanh(self.first @ np.concatenate([inputs["a"], inputs["b"], inputs["c"]]) + self.bias)

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Predict."""
        outputs["y0"], outputs["y1"], outputs["y2"], outputs["y3"] = self.last @ self.hidden(inputs) + self.offset

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Differentiate."""
        rows = (self.last * (1.0 - self.hidden(inputs) ** 2)) @ self.first
        for variable, row in zip(OUTPUTS, rows, strict=True):
            name = variable.name
            partials[name, "a"], partials[name, "b"], partials[name, "c"] = row[:8], row[8:16], row[16:]


def model(component: om.ExplicitComponent) -> Any:
    """Set up a problem of one component."""
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("component", component, promotes=["*"])
    problem.setup()
    return problem


def evaluate(problem: Any, point: np.ndarray) -> tuple[float, dict[tuple[str, str], np.ndarray]]:
    """Set a new point (17,), run and compute totals; return the milliseconds of the latter two, and the totals."""
    for name, part in (("a", point[:8]), ("b", point[8:16]), ("c", point[16:])):
        problem.set_val(name, part)
    start = time.perf_counter()
    problem.run_model()
    totals = problem.compute_totals(of=[v.name for v in OUTPUTS], wrt=[v.name for v in INPUTS])
    return 1e3 * (time.perf_counter() - start), totals


def disagreement(ours: Any, theirs: Any, point: np.ndarray) -> float:
    """Return the largest difference of outputs and totals of two problems, over the largest entry of that array."""
    (_, mine), (_, other) = evaluate(ours, point), evaluate(theirs, point)
    pairs = [(mine[key], other[key]) for key in other]
    pairs += [(ours.get_val(variable.name), theirs.get_val(variable.name)) for variable in OUTPUTS]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def component_cost(blocks: int, size: int) -> dict[str, Any]:
    """Time SurrogateComp and the NumPy component in blocks by turns; every evaluation is at a new point."""
    data = Dataset(*random_data(60, 17, 4), INPUTS, OUTPUTS)
    surrogate = JENN((20,), activation="tanh", starts=1, solver=LevenbergMarquardt(max_iterations=2)).fit(data)
    ours, theirs = model(SurrogateComp(surrogate)), model(HandWritten(surrogate))
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (size, 17))
    apart = max(disagreement(ours, theirs, point) for point in points)
    if not apart < 1e-12:
        raise AssertionError(f"The components differ by {apart:.1e}: they are not the same model.")

    def block(problem: Any) -> float:
        return float(np.mean([evaluate(problem, point)[0] for point in points]))

    mine, other = np.array([[block(ours), block(theirs)] for _ in range(blocks + 1)])[1:].T  # the first warms up
    found = {"surrogate_ms": over_seeds(mine), "numpy_ms": over_seeds(other), "ratio": over_seeds(mine / other)}
    return {**found, "disagreement": apart}


def draw(path: Path, gradient: dict[str, Any], peer: dict[str, Any]) -> None:
    """Draw the milliseconds over the number of inputs, on logarithmic axes."""
    figure = new_figure(6.0, 4.0)
    axes = figure.subplots()
    medians = {d: times["median"] for d, times in gradient["ms"].items()}
    axes.plot(list(medians), list(medians.values()), "o-", label="gradopt, median")
    axes.plot(peer["inputs"], peer["jenn_ms"]["median"], "s", color="black", label="jenn, median")
    axes.set(xscale="log", yscale="log", xlabel="inputs", ylabel="loss and gradient, ms")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xticks(list(medians), minor=False)
    axes.set_yticks([2, 5, 10, 20, 50, 100], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=150)


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the table."""
    gradient, peer, component = result["gradient"], result["against_jenn"], result["component"]
    figures = ("median", "least", "largest")
    table = Table("milliseconds or ratio", *figures)
    for d, times in gradient["ms"].items():
        table.add_row(f"loss and gradient, {d} inputs", *(f"{times[f]:.3g}" for f in figures))
    table.add_row("loss and gradient, 128 / 16 inputs", "", f"{gradient['ratio_128_to_16']:.3g}")
    titled = {f"{peer['inputs']} inputs": peer, "run_model and compute_totals": component}
    rows = {f"{t}: {name}": of for t, part in titled.items() for name, of in part.items() if isinstance(of, dict)}
    for label, values in rows.items():
        table.add_row(label, *(f"{values[f]:.3g}" for f in figures))
    console.print(table, table_of(result["time_to_loss"]), memory_table(result["memory"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all parts, write, draw and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    inputs, repeats = ((16, 128), 2) if call.quick else ((2, 4, 8, 16, 32, 64, 128), 50)
    result: dict[str, Any] = {
        "setup": {"samples": SAMPLES, "hidden_sizes": HIDDEN, "outputs": 1, "dtype": "float64"},
        "jenn_version": jenn.__version__,
        "gradient": gradient_cost(inputs, repeats),
        "against_jenn": against_jenn(turns=1 if call.quick else 20, many=6 if call.quick else 12),
        "component": component_cost(blocks=2 if call.quick else 25, size=5 if call.quick else 100),
        "time_to_loss": time_to_loss(call.quick),
        "memory": memory(call.quick),
    }
    call.write(result)
    draw(call.folder / "gradient.png", result["gradient"], result["against_jenn"])
    show(call.console, result)
    return 0


if __name__ == "__main__":
    run(main)
