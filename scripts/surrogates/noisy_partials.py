"""Noisy, wrong and missing partials: whether they hurt, whether a wrong one is found, and what finding it costs.

Printed and written to the result file:

- `noise`: to each partial is added a normal number times a level times the root mean square of that partial over the
  samples. Error of JENN() over that of MLP(), which learns from the values alone.
- `wrong`: one partial is made wrong: sign turned ("sign"), that of another sample ("stale"), ten times too large
  ("factor"), 0 ("zero"), or a sample's partials all with their signs turned ("row"). The partial is drawn from those
  whose standardized magnitude is above the median; "any_sign" draws from all. `named`: share of the trials in which
  `find_outliers` names it (all of a row); `others`: share in which another one is named; `false_alarms`: share of the
  trials without a wrong partial in which any is named. Errors with the wrong partial, and without those that were
  named, over the error without any wrong one.
- `missing`: error with some partials not known over that of MLP(): half of all entries drawn at random, every second
  column not known, the first column alone known, the last column alone known.

Errors are RMSE of values at 1000 points of a Latin hypercube: median, largest and all over the seeds. A seed sets
points, noise and initial parameters. All fits are of the default configuration. `noise.png` shows `noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gradopt import JENN, MLP, Dataset
from gradopt.plots.figure import new_figure
from gradopt.surrogates.diagnostics.outliers import drop_outliers, find_outliers
from scripts.shared.benchmark_problems import PROBLEMS, TEST_POINTS, TEST_SEED, with_noise
from scripts.shared.costs import timed
from scripts.shared.fits import fit_settings
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds, rmse, worst_cell

SEEDS = 10
LEVELS = (0.0, 0.02, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5)  # of the root mean square of each partial
NOISE = {"rastrigin_2": 100, "borehole": 40, "friedman_1": 50}  # samples, here and below
WRONG = {"rosenbrock_2": 20, "branin": 20, "friedman_1": 20, "borehole": 20}
MISSING = {"rosenbrock_2": 20, "friedman_1": 25, "borehole": 40}
KINDS = ("sign", "any_sign", "stale", "factor", "zero", "row")


def spoiled(data: Dataset, kind: str, seed: int) -> tuple[Dataset, set[tuple[int, int, int]]]:
    """Make a partial wrong; return the data, and the entries (sample, of, wrt) that are wrong."""
    rng = np.random.default_rng([seed, 2])
    size = np.abs(data.partials) * data.x.std(axis=0) / data.y.std(axis=0)[:, None]
    entries = np.argwhere(size > (-1.0 if kind == "any_sign" else np.median(size)))
    i, k, j = (int(index) for index in rng.choice(entries))
    partials = data.partials.copy()
    if kind == "row":
        partials[i, k] *= -1.0
        return replace(data, dydx=partials), {(i, k, column) for column in range(data.d)}
    other = int(rng.choice(np.delete(np.arange(data.n), i)))
    given = partials[i, k, j]
    partials[i, k, j] = {"stale": partials[other, k, j], "factor": 10.0 * given, "zero": 0.0}.get(kind, -given)
    return replace(data, dydx=partials), {(i, k, j)}


def noise_study(
    names: dict[str, int], seeds: range, levels: Sequence[float], settings: dict[str, Any]
) -> dict[str, Any]:
    """Measure the error with noisy partials over that without partials."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test = PROBLEMS[name].test()
        ratios: dict[float, list[float]] = {level: [] for level in levels}
        for seed in seeds:
            data = PROBLEMS[name].sample(n, seed)
            plain = rmse(MLP(seed=seed, **settings).fit(data), test)
            for level in levels:
                fit = JENN(seed=seed, **settings).fit(with_noise(data, level, seed))
                ratios[level].append(rmse(fit, test) / plain)
        found[name] = {"n": n, "levels": {str(level): over_seeds(of) for level, of in ratios.items()}}
    return found


def wrong_study(names: dict[str, int], seeds: range, kinds: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Measure how often a wrong partial is named, and the error without those that are named."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test = PROBLEMS[name].test()
        alarms: list[bool] = []
        of_kind: dict[str, dict[str, list[float]]] = {
            kind: {"named": [], "others": [], "with": [], "without": [], "seconds": []} for kind in kinds
        }
        for seed in seeds:
            data, configuration = PROBLEMS[name].sample(n, seed), JENN(seed=seed, **settings)
            clean = configuration.fit(data)
            alarms.append(bool(find_outliers(clean, data)))
            for kind, record in of_kind.items():
                bad, entries = spoiled(data, kind, seed)
                fit = configuration.fit(bad)
                outliers, seconds = timed(partial(find_outliers, fit, bad))
                record["seconds"].append(seconds)
                named = {(outlier.sample, outlier.output, outlier.input) for outlier in outliers}
                repaired = configuration.fit(drop_outliers(bad, outliers)) if named else fit
                record["named"].append(float(entries <= named))
                record["others"].append(float(bool(named - entries)))
                record["with"].append(rmse(fit, test) / rmse(clean, test))
                record["without"].append(rmse(repaired, test) / rmse(clean, test))
        shares = {
            kind: {
                **{share: float(np.mean(record[share])) for share in ("named", "others")},
                **{figure: over_seeds(record[figure]) for figure in ("with", "without", "seconds")},
            }
            for kind, record in of_kind.items()
        }
        found[name] = {"n": n, "trials": len(seeds), "false_alarms": float(np.mean(alarms)), "kinds": shares}
    return found


def missing_study(names: dict[str, int], seeds: range, settings: dict[str, Any]) -> dict[str, Any]:
    """Measure the error with some partials missing over that without partials."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test, d = PROBLEMS[name].test(), PROBLEMS[name].d
        columns = {
            "every_second": np.arange(d) % 2 == 1,
            "first_alone": np.arange(d) > 0,
            "last_alone": np.arange(d) < d - 1,
        }
        ratios: dict[str, list[float]] = {"random_half": [], **{what: [] for what in columns}}
        for seed in seeds:
            data = PROBLEMS[name].sample(n, seed)
            plain = rmse(MLP(seed=seed, **settings).fit(data), test)
            half = np.random.default_rng([seed, 3]).random(data.partials.shape) < 0.5
            for what, gone in {"random_half": half, **{k: c[None, None, :] for k, c in columns.items()}}.items():
                known = replace(data, dydx=np.where(gone, np.nan, data.partials))
                ratios[what].append(rmse(JENN(seed=seed, **settings).fit(known), test) / plain)
        found[name] = {"n": n, "known": {what: over_seeds(of) for what, of in ratios.items()}}
    return found


def draw(path: Path, noise: dict[str, Any]) -> None:
    """Draw the ratio of errors over the noise level: medians, and the range over the seeds."""
    figure = new_figure(6.0, 4.0)
    axis = figure.subplots()
    for name, of in noise.items():
        levels = [100.0 * float(level) for level in of["levels"]]
        runs = [found["all"] for found in of["levels"].values()]
        (line,) = axis.plot(levels, [np.median(run) for run in runs], "o-", label=f"{name} (n = {of['n']})")
        axis.fill_between(levels, [min(r) for r in runs], [max(r) for r in runs], color=line.get_color(), alpha=0.15)
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set(yscale="log", xlabel="noise of the partials, % of their rms", ylabel="error with partials / without")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables."""
    for part, of_kind, what in (("noise", "levels", "noisy partials"), ("missing", "known", "missing partials")):
        columns = list(next(iter(result[part].values()))[of_kind])
        table = Table("problem", *columns, title=f"Error with {what} / without partials: median (largest)")
        for name, of in result[part].items():
            table.add_row(name, *(worst_cell(found) for found in of[of_kind].values()))
        console.print(table)
    heads = ("problem", "kind", "named", "others named", "error with", "error without", "seconds")
    table = Table(*heads, title="One wrong partial, with it and without those that were named: median (largest)")
    for name, of in result["wrong"].items():
        for kind, found in of["kinds"].items():
            shares = (f"{found[share]:.0%}" for share in ("named", "others"))
            table.add_row(name, kind, *shares, *(worst_cell(found[f]) for f in ("with", "without", "seconds")))
        table.add_row(name, "none", f"{of['false_alarms']:.0%}")
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, draw and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    settings, seeds = fit_settings(call.quick), range(1 if call.quick else SEEDS)
    noise, wrong, missing = [{"branin": 8}] * 3 if call.quick else [NOISE, WRONG, MISSING]
    levels, kinds = (LEVELS[::7], KINDS[:1]) if call.quick else (LEVELS, KINDS)
    result: dict[str, Any] = {
        "setup": {"seeds": len(seeds), "test_points": TEST_POINTS, "test_seed": TEST_SEED},
        "noise": noise_study(noise, seeds, levels, settings),
        "wrong": wrong_study(wrong, seeds, kinds, settings),
        "missing": missing_study(missing, seeds, settings),
    }
    call.write(result)
    draw(call.folder / "noise.png", result["noise"])
    show(call.console, result)
    return 0


if __name__ == "__main__":
    run(main)
