"""Experiment on the samples that an accuracy takes, with partials and without; for `jenn.experiments`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cases.airfoil_rans.accuracy import network, values_alone
from cases.airfoil_rans.data import load_samples, split
from gradopt import JENN, MLP, Dataset
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from gradopt.solvers import Adam
from scripts.jenn.curves import samples_needed
from scripts.shared.statistics import over_seeds, r2

SAMPLES = {"JENN": (100, 200, 500, 1000, 2000), "MLP": (200, 500, 1000, 2000, 5000, 10_000, 20_000)}
ALPHAS, SEEDS, TARGETS = (0.01, 0.1), 3, (0.99, 0.999)
SPLIT_SEED = 0
SELECTION = 2000  # held-out samples that choose alpha; the others test


def adflow(folder: Path, quick: bool) -> dict[str, Any]:
    """Learn the drag of airfoils from ever more samples; write `adflow.png`.

    Network and solver, those of the case `airfoil_rans`, are the same with partials (JENN) and without (MLP). A
    seed draws samples and initial parameters; alpha is the better of two for each method, size and seed.

    Args:
        folder: Folder of the picture.
        quick: Whether to make few samples and epochs, and one seed.

    Returns:
        R2 of the drag on the test samples over the seeds, and alpha, for each method and size; samples needed for each
        target and their ratio, of the medians and of each seed.
    """
    training, held = split(load_samples(), SPLIT_SEED)
    order = np.random.default_rng(0).permutation(held.n)
    selection, test = held.select(order[:SELECTION]), held.select(order[SELECTION:])
    base = network(Adam(epochs=2) if quick else Adam())
    seeds = range(1 if quick else SEEDS)

    def chosen(seed: int, n: int) -> Dataset:
        return training.select(np.random.default_rng(seed).permutation(training.n)[:n])

    def best(configuration: JENN | MLP, n: int) -> tuple[float, float]:
        """Fit with each alpha; return the best on the selection samples, and its R2 on the others."""
        data = chosen(configuration.seed, n)
        tried = {alpha: replace(configuration, alpha=alpha).fit(data) for alpha in ALPHAS}
        alpha = max(tried, key=lambda of: r2(selection.y, tried[of].predict(selection.x)))
        return alpha, r2(test.y, tried[alpha].predict(test.x))

    methods: dict[str, Any] = {}
    configurations: dict[str, JENN | MLP] = {"JENN": base, "MLP": values_alone(base)}
    for name, configuration in configurations.items():
        methods[name] = {}
        for n in SAMPLES[name][:3] if quick else SAMPLES[name]:
            runs = [best(replace(configuration, seed=seed), n) for seed in seeds]
            methods[name][str(n)] = {"alpha": [alpha for alpha, _ in runs], **over_seeds([score for _, score in runs])}
    targets = {str(target): _needed(methods, target, len(seeds)) for target in TARGETS}
    found = {"test": test.n, "selection": selection.n, "methods": methods, "targets": targets}
    draw(folder / "adflow.png", found)
    return found


def _needed(methods: dict[str, Any], target: float, seeds: int) -> dict[str, Any]:
    """Return the samples that each method needs, and their ratio: of the medians, and of each seed."""

    def pair(figure: int | None) -> dict[str, float | None]:
        numbers = {
            name: samples_needed(
                {int(n): run["median"] if figure is None else run["all"][figure] for n, run in of.items()}, target
            )
            for name, of in methods.items()
        }
        few, many = numbers["JENN"], numbers["MLP"]
        return {**numbers, "ratio": many / few if few and many else None}

    return {"of_medians": pair(None), "all": [pair(i) for i in range(seeds)]}


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw the learning curves, with the samples that each target takes."""
    figure = new_figure(7.0, 4.6)
    axes = figure.subplots()
    for name, color in (("JENN", MODEL), ("MLP", LIMIT)):
        runs = found["methods"][name]
        n = [int(size) for size in runs]
        middle, low, high = ([1.0 - run[f] for run in runs.values()] for f in ("median", "largest", "least"))
        label = {"JENN": "JENN, values and 16 partials", "MLP": "MLP, values alone"}[name]
        axes.plot(n, middle, "o-", color=color, label=label)
        axes.fill_between(n, low, high, color=color, alpha=0.15)
    for (target, of), style in zip(found["targets"].items(), (":", "--"), strict=True):
        level, pair, text = 1.0 - float(target), of["of_medians"], f"R2 = {target}"
        if pair["ratio"]:
            axes.annotate("", (pair["MLP"], level), (pair["JENN"], level), arrowprops={"arrowstyle": "<->"})
            text += f": {pair['JENN']:.0f} against {pair['MLP']:.0f}, {pair['ratio']:.1f} times fewer"
        axes.axhline(level, color=TRUTH, linewidth=0.8, linestyle=style, label=text)
    axes.set(xscale="log", yscale="log", xlabel="training samples", ylabel="1 - R2 of the drag")
    axes.set_title("Drag of airfoils by RANS (ADflow)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the tables."""
    table = Table("method", "samples", "alpha", "median R2", "least", "largest", title="ADflow: R2 of the drag")
    for name, runs in found["methods"].items():
        for n, of in runs.items():
            table.add_row(
                name,
                n,
                ", ".join(f"{alpha:g}" for alpha in of["alpha"]),
                *(f"{of[f]:.4f}" for f in ("median", "least", "largest")),
            )
    console.print(table)
    for target, needed in found["targets"].items():
        for label, pair in (("medians", needed["of_medians"]), *enumerate(needed["all"])):
            numbers = (f"{key} {'not reached' if of is None else f'{of:.3g}'}" for key, of in pair.items())
            console.print(f"samples for R2 = {target}, {label}:", ", ".join(numbers))
