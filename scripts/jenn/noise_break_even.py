"""Experiment on the noise at which partials are worth nothing; for `jenn.experiments`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt import JENN, MLP
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure
from scripts.jenn.curves import first_reach
from scripts.shared.benchmark_problems import PROBLEMS, with_noise
from scripts.shared.fits import fit_settings
from scripts.shared.statistics import over_seeds, r2

LEVELS = (0.0, 0.02, 0.04, 0.06, 0.07, 0.08, 0.10, 0.12, 0.15, 0.25, 0.5)  # of the rms of each partial
SAMPLES, SEEDS = {"rastrigin_2": 100, "rosenbrock_2": 20}, 5
WEIGHTS: dict[str, tuple[str, dict[str, Any]]] = {  # color, fields of the configuration
    "fixed": (LIMIT, {"weights": "fixed"}),
    "fixed, alpha = 0.01": ("#e69f00", {"alpha": 0.01}),
    "learned": (MODEL, {}),
}


def break_even(levels: Sequence[float], r2s: Sequence[float], plain: float) -> float | None:
    """Return the noise at which partials are worth nothing, log(1 - R2) being linear in the noise between the levels.

    Args:
        levels: Levels of noise, rising.
        r2s: R2 with partials of each level.
        plain: R2 without partials.

    Returns:
        The noise; None where partials help at all levels.
    """
    return first_reach(levels, [float(np.log(1.0 - of)) for of in r2s], float(np.log(1.0 - plain)))


def noise(folder: Path, quick: bool) -> dict[str, Any]:
    """Fit noisy partials with weights that are fixed, as in the paper, and learned; write `noise.png`.

    The break-even depends on the error without partials, hence on alpha (lambda in the paper): fixed weights are tried
    with the default of 1e-8 and with 0.01.

    Args:
        folder: Folder of the picture.
        quick: Whether to make one problem, one seed and three levels only.

    Returns:
        For each problem: R2 of the values over the seeds with each kind of weights for each level (JENN) and without
        partials (MLP), and the break-even noise against the MLP with the same kind of weights and against that with
        learned weights, of the medians and of each seed.
    """
    problems = {"rosenbrock_2": 20} if quick else SAMPLES
    levels, seeds = LEVELS[::5] if quick else LEVELS, range(1 if quick else SEEDS)
    found: dict[str, Any] = {}
    for name, n in problems.items():
        test = PROBLEMS[name].test()

        def score(configuration: JENN | MLP, level: float, name: str = name, n: int = n, test: Any = test) -> float:
            data = with_noise(PROBLEMS[name].sample(n, configuration.seed), level, configuration.seed)
            return r2(test.y, configuration.fit(data).predict(test.x))

        kinds: dict[str, Any] = {}
        for kind, (_, own) in WEIGHTS.items():
            common = {"activation": "tanh", **own, **fit_settings(quick)}
            plain = over_seeds([score(MLP(seed=seed, **common), 0.0) for seed in seeds])
            curve = {level: over_seeds([score(JENN(seed=seed, **common), level) for seed in seeds]) for level in levels}
            kinds[kind] = {"MLP": plain, "JENN": curve}
        for of in kinds.values():
            runs = list(of["JENN"].values())
            for against in (of, kinds["learned"]):
                each = [break_even(levels, [run["all"][i] for run in runs], against["MLP"]["all"][i]) for i in seeds]
                middle = break_even(levels, [run["median"] for run in runs], against["MLP"]["median"])
                key = "break_even" if against is of else "break_even_to_learned"
                of[key] = {"of_medians": middle, "all": each}
        found[name] = {"n": n, "weights": kinds}
    draw(folder / "noise.png", found)
    return found


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw 1 - R2 over noise: medians, and the range over the seeds."""
    figure = new_figure(5.5 * len(found), 4.4)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (name, of) in zip(panels, found.items(), strict=True):
        for kind, (color, _) in WEIGHTS.items():
            run = of["weights"][kind]
            percent = [100.0 * float(level) for level in run["JENN"]]
            middle, low, high = (
                [1.0 - level[f] for level in run["JENN"].values()] for f in ("median", "largest", "least")
            )
            even = run["break_even"]["of_medians"]
            even_text = "no break-even" if even is None else f"break-even {100.0 * even:.1f} %"
            axes.plot(percent, middle, "o-", color=color, label=f"JENN, weights {kind}: {even_text}")
            axes.fill_between(percent, low, high, color=color, alpha=0.12)
            plain = 1.0 - run["MLP"]["median"]
            axes.axhline(plain, color=color, linestyle="--", linewidth=1.2)  # of the same weights without partials
            if even is not None:
                axes.plot(100.0 * even, plain, "X", color=color, markersize=11, markeredgecolor="white", zorder=5)
        axes.set_xscale("symlog", linthresh=2.0, linscale=0.5)
        axes.set_xlim(-0.2, 55.0)
        ticks = [0, 2, 4, 7, 10, 15, 25, 50]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(yscale="log", xlabel="noise in the partials, % of their rms", ylabel="1 - R2 of the values")
        axes.plot([], [], "--", color=TRUTH, label="dashed: MLP with those weights")
        axes.set_title(f"{name}, {of['n']} samples, tanh")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the tables."""

    def percent(of: float | None) -> str:
        return "none" if of is None else f"{100.0 * of:.1f}"

    for name, of in found.items():
        levels = [f"{100.0 * float(level):g} %" for level in of["weights"]["fixed"]["JENN"]]
        table = Table("weights", "MLP", *levels, title=f"{name}, {of['n']} samples: median 1 - R2 with noise")
        for kind, run in of["weights"].items():
            cells = [run["MLP"], *run["JENN"].values()]
            table.add_row(kind, *(f"{1.0 - one['median']:.1g}" for one in cells))
        console.print(table)
        for kind, run in of["weights"].items():
            for key in (key for key in run if key.startswith("break_even")):
                seeds = ", ".join(percent(one) for one in run[key]["all"])
                console.print(f"{kind} {key}: {percent(run[key]['of_medians'])} % (seeds: {seeds})")
