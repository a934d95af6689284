"""Noisy, wrong and missing partials: do partials ever hurt, is a wrong one found, what does it cost.

Makes these figures, printed and written to OUT/result.json with the set-up, versions and commit, and OUT/noise.png:

- `noise`: to each partial is added a normal number times a level times the root mean square of that partial over the
  samples. Error of JENN() over that of MLP(), which learns from the values alone: median, worst and all seeds.
- `wrong`: one partial is made wrong: sign turned ("sign"), that of another sample ("stale"), ten times too large
  ("factor"), 0 ("zero"), or a sample's partials all with their signs turned ("row"). It is drawn from those whose
  standardized magnitude is above the median; "any_sign" draws from all. `named`: share of the trials in which
  `find_outliers` names it (all of a row); `others`: share in which it names another one; `false_alarms`: share of the
  trials without a wrong partial in which it names any. Errors with the wrong partial, and without those that were
  named, over the error without any wrong one.
- `missing`: error with some partials not known over that of MLP(): half of all entries drawn at random, every second
  column not known, the first column alone known, the last column alone known.

Error is the RMSE on 1000 points of a Latin hypercube. A seed sets points, noise and initial parameters; all fits are of
the default configuration, on one thread:

    PYTHONPATH=. python scripts/noisy_partials.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from cases.records import write_result
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from gradopt import JENN, MLP, Dataset, Surrogate
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.diagnostics.outliers import drop_outliers, find_outliers
from gradopt.training.solvers import Solver
from scripts.benchmark_problems import PROBLEMS

TEST_SEED, TEST_POINTS = 20_260_101, 1000
LEVELS = (0.0, 0.02, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5)
NOISE = {"rastrigin_2": 100, "borehole": 40, "friedman_1": 50}  # samples
WRONG = {"rosenbrock_2": 20, "branin": 20, "friedman_1": 20, "borehole": 20}
MISSING = {"rosenbrock_2": 20, "friedman_1": 25, "borehole": 40}
KINDS = ("sign", "any_sign", "stale", "factor", "zero", "row")


def error(surrogate: Surrogate, test: Dataset) -> float:
    """Root of the mean squared error of the values."""
    return float(np.sqrt(((surrogate.predict(test.x) - test.y) ** 2).mean()))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, worst and all."""
    return {"median": float(np.median(values)), "worst": float(np.max(values)), "all": list(values)}


def with_partials(data: Dataset, partials: np.ndarray) -> Dataset:
    """The same samples with other partials."""
    return replace(data, dydx=partials)


def noisy(data: Dataset, level: float, seed: int) -> Dataset:
    """Add noise to the partials."""
    size = np.sqrt((data.partials**2).mean(axis=0))
    draw = np.random.default_rng([seed, 1]).standard_normal(data.partials.shape)
    return with_partials(data, data.partials + level * size * draw)


def spoiled(data: Dataset, kind: str, seed: int) -> tuple[Dataset, set[tuple[int, int, int]]]:
    """Make a partial wrong: the data, and which entries are wrong."""
    rng = np.random.default_rng([seed, 2])
    size = np.abs(data.partials) * data.x.std(axis=0) / data.y.std(axis=0)[:, None]
    entries = np.argwhere(size > (-1.0 if kind == "any_sign" else np.median(size)))
    i, k, j = (int(index) for index in rng.choice(entries))
    partials = data.partials.copy()
    if kind == "row":
        partials[i, k] *= -1.0
        return with_partials(data, partials), {(i, k, column) for column in range(data.d)}
    other = int(rng.choice(np.delete(np.arange(data.n), i)))
    given = partials[i, k, j]
    partials[i, k, j] = {"stale": partials[other, k, j], "factor": 10.0 * given, "zero": 0.0}.get(kind, -given)
    return with_partials(data, partials), {(i, k, j)}


def noise_study(names: dict[str, int], seeds: range, levels: Sequence[float], solver: str | Solver) -> dict[str, Any]:
    """Error with noisy partials over that without partials."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test = PROBLEMS[name].sample(TEST_POINTS, TEST_SEED)
        ratios: dict[float, list[float]] = {level: [] for level in levels}
        for seed in seeds:
            data = PROBLEMS[name].sample(n, seed)
            plain = error(MLP(seed=seed, solver=solver).fit(data), test)
            for level in levels:
                fit = JENN(seed=seed, solver=solver).fit(noisy(data, level, seed))
                ratios[level].append(error(fit, test) / plain)
        found[name] = {"n": n, "levels": {str(level): summary(of) for level, of in ratios.items()}}
    return found


def wrong_study(names: dict[str, int], seeds: range, kinds: Sequence[str], solver: str | Solver) -> dict[str, Any]:
    """How often a wrong partial is named, and what leaving it out brings."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test = PROBLEMS[name].sample(TEST_POINTS, TEST_SEED)
        alarms: list[bool] = []
        of_kind: dict[str, dict[str, list[float]]] = {
            kind: {"named": [], "others": [], "with": [], "without": [], "seconds": []} for kind in kinds
        }
        for seed in seeds:
            data, configuration = PROBLEMS[name].sample(n, seed), JENN(seed=seed, solver=solver)
            clean = configuration.fit(data)
            alarms.append(bool(find_outliers(clean, data)))
            for kind, record in of_kind.items():
                bad, entries = spoiled(data, kind, seed)
                fit = configuration.fit(bad)
                start = time.perf_counter()
                outliers = find_outliers(fit, bad)
                record["seconds"].append(time.perf_counter() - start)
                named = {(outlier.sample, outlier.output, outlier.input) for outlier in outliers}
                repaired = configuration.fit(drop_outliers(bad, outliers)) if named else fit
                record["named"].append(float(entries <= named))
                record["others"].append(float(bool(named - entries)))
                record["with"].append(error(fit, test) / error(clean, test))
                record["without"].append(error(repaired, test) / error(clean, test))
        shares = {
            kind: {
                **{share: float(np.mean(record[share])) for share in ("named", "others")},
                **{figure: summary(record[figure]) for figure in ("with", "without", "seconds")},
            }
            for kind, record in of_kind.items()
        }
        found[name] = {"n": n, "trials": len(seeds), "false_alarms": float(np.mean(alarms)), "kinds": shares}
    return found


def missing_study(names: dict[str, int], seeds: range, solver: str | Solver) -> dict[str, Any]:
    """Error with some partials missing over that without partials."""
    found: dict[str, Any] = {}
    for name, n in names.items():
        test, d = PROBLEMS[name].sample(TEST_POINTS, TEST_SEED), PROBLEMS[name].d
        columns = {
            "every_second": np.arange(d) % 2 == 1,
            "first_alone": np.arange(d) > 0,
            "last_alone": np.arange(d) < d - 1,
        }
        ratios: dict[str, list[float]] = {"random_half": [], **{what: [] for what in columns}}
        for seed in seeds:
            data = PROBLEMS[name].sample(n, seed)
            plain = error(MLP(seed=seed, solver=solver).fit(data), test)
            half = np.random.default_rng([seed, 3]).random(data.partials.shape) < 0.5
            for what, gone in {"random_half": half, **{k: c[None, None, :] for k, c in columns.items()}}.items():
                fit = JENN(seed=seed, solver=solver).fit(with_partials(data, np.where(gone, np.nan, data.partials)))
                ratios[what].append(error(fit, test) / plain)
        found[name] = {"n": n, "known": {what: summary(of) for what, of in ratios.items()}}
    return found


def draw(path: Path, noise: dict[str, Any]) -> None:
    """Ratio of errors against the noise level: medians, and the range over the seeds."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
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

    def cell(of: dict[str, Any]) -> str:
        return f"{of['median']:.2f} ({of['worst']:.2f})"

    if "noise" in result:
        levels = list(next(iter(result["noise"].values()))["levels"])
        table = Table("problem", *levels, title="Error with noisy partials / without partials: median (worst)")
        for name, of in result["noise"].items():
            table.add_row(name, *(cell(found) for found in of["levels"].values()))
        console.print(table)
    if "wrong" in result:
        heads = ("problem", "kind", "named", "others named", "error with", "error left out", "seconds")
        table = Table(*heads, title="One wrong partial")
        for name, of in result["wrong"].items():
            for kind, found in of["kinds"].items():
                shares = (f"{found[share]:.0%}" for share in ("named", "others"))
                table.add_row(name, kind, *shares, *(cell(found[f]) for f in ("with", "without", "seconds")))
            table.add_row(name, "none", f"{of['false_alarms']:.0%}")
        console.print(table)
    if "missing" in result:
        kinds = list(next(iter(result["missing"].values()))["known"])
        table = Table("problem", *kinds, title="Error with missing partials / without any: median (worst)")
        for name, of in result["missing"].items():
            table.add_row(name, *(cell(found) for found in of["known"].values()))
        console.print(table)


def main() -> None:
    """Make the studies that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/noisy_partials"), help="folder of the result")
    parser.add_argument(
        "--parts", nargs="+", choices=("noise", "wrong", "missing"), default=["noise", "wrong", "missing"]
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of wrong partials")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one small problem, one seed, few iterations")
    options = parser.parse_args()
    quick, parts = options.quick, options.parts
    seeds = range(1 if quick else options.seeds)
    levels: Sequence[float] = LEVELS[::7] if quick else LEVELS
    kinds: Sequence[str] = options.kinds[:1] if quick else options.kinds
    solver: str | Solver = LevenbergMarquardt(max_iterations=5) if quick else "auto"

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    sizes = [{"branin": 8}] * 3 if quick else [NOISE, WRONG, MISSING]
    setup = {"seeds": len(seeds), "test_points": TEST_POINTS, "test_seed": TEST_SEED}
    result: dict[str, Any] = {"quick": quick, "setup": setup}
    if "noise" in parts:
        result["noise"] = noise_study(sizes[0], seeds, levels, solver)
    if "wrong" in parts:
        result["wrong"] = wrong_study(sizes[1], seeds, kinds, solver)
    if "missing" in parts:
        result["missing"] = missing_study(sizes[2], seeds, solver)
    write_result(options.out / "result.json", result)
    if "noise" in parts:
        draw(options.out / "noise.png", result["noise"])
    show(Console(width=140), result)


if __name__ == "__main__":
    main()
