"""Figures and tables of the rows: medians over seeds, ratios to the best peer; for `surrogates.accuracy_vs_peers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from scripts.shared.benchmark_problems import TEST_POINTS
from scripts.shared.rows import Row
from scripts.surrogates.peer_rows import best_setting, penalized

FIGURES = ("nrmse_values", "nrmse_partials")
Runs = dict[tuple[str, int, str], dict[int, Row]]  # problem, size, method -> seed -> row


def chosen_runs(rows: Sequence[Row]) -> Runs:
    """Group rows; of a method with a grid only the rows of the setting chosen at seed 0 count."""
    found: Runs = {}
    settings: dict[tuple[str, int, str], Any] = {}
    for row in rows:
        group = (row["problem"], row["size"], row["method"])
        if group not in settings:
            at_zero = any((r["problem"], r["size"], r["method"], r["seed"]) == (*group, 0) for r in rows)
            settings[group] = best_setting(rows, *group) if at_zero else row["setting"]
        if row["setting"] == settings[group]:
            found.setdefault(group, {})[row["seed"]] = row
    return found


def summarize(runs: Mapping[int, Row]) -> dict[str, Any]:
    """Return median, least and largest error over seeds, infinite where a fit failed, and medians of the seconds."""
    rows = list(runs.values())
    fitted = [row for row in rows if row["status"] == "ok"]
    found: dict[str, Any] = {"setting": rows[0]["setting"], "n": rows[0]["n"], "seeds": len(rows)}
    found["failed"] = {s: sum(row["status"] == s for row in rows) for s in ("time", "failed")}
    found["reasons"] = sorted({row["reason"] for row in rows if row["status"] != "ok"})
    for figure in FIGURES:
        of = [penalized(row, figure) for row in rows]
        found[figure] = {"median": float(np.median(of)), "least": min(of), "largest": max(of)}
    for figure in ("fit_seconds", "predict_seconds"):
        found[figure] = float(np.median([row[figure] for row in fitted])) if fitted else np.nan
    return found


def compare(runs: Runs, method: str, rivals: Sequence[str], size: int, figure: str) -> dict[str, Any]:
    """Compare a method with the best of its rivals, problem by problem.

    Args:
        runs: From `chosen_runs`.
        method: Name of one of ours.
        rivals: Names of its peers; a peer that was not run on a problem is not compared there.
        size: Samples for each input.
        figure: Name of an error.

    Returns:
        For each problem the ratio of the medians over the common seeds, ours to the least of the rivals', and whose
        that is. Over problems `geometric_mean` and `worst`. `by_seed`: least, median and largest over seeds of the
        geometric mean over problems of the ratio at one seed, where the best rival is another at each seed.
    """
    problems: dict[str, Any] = {}
    by_seed: dict[int, list[float]] = {}
    for problem in dict.fromkeys(name for name, of, _ in runs if of == size):
        mine = runs.get((problem, size, method), {})
        theirs = {rival: runs[problem, size, rival] for rival in rivals if (problem, size, rival) in runs}
        seeds = sorted(set(mine).intersection(*theirs.values()))
        if not theirs or not seeds:
            continue
        of = {rival: [penalized(found[seed], figure) for seed in seeds] for rival, found in theirs.items()}
        best = min(of, key=lambda rival: float(np.median(of[rival])))
        my = [penalized(mine[seed], figure) for seed in seeds]
        ratio = _ratio(float(np.median(my)), float(np.median(of[best])))
        problems[problem] = {"ratio": ratio, "best": best, "seeds": len(seeds), "rivals": list(theirs)}
        for place, seed in enumerate(seeds):
            by_seed.setdefault(seed, []).append(_ratio(my[place], min(of[rival][place] for rival in of)))
    if not problems:
        return {}
    ratios = {name: found["ratio"] for name, found in problems.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    means = [_mean(of) for of in by_seed.values() if len(of) == len(problems)]
    spread = {"least": min(means), "median": float(np.median(means)), "largest": max(means)} if means else {}
    return {
        "geometric_mean": _mean(list(ratios.values())),
        "worst": ratios[worst],
        "worst_problem": worst,
        "by_seed": spread,
        "problems": problems,
    }


def _ratio(mine: float, theirs: float) -> float:
    """Return the ratio: infinite where ours failed; where all peers failed, to 1, the error of the mean of the data."""
    return mine / (theirs if np.isfinite(theirs) else 1.0)


def _mean(ratios: Sequence[float]) -> float:
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(ratios))))


def tabulate(rows: Sequence[Row], rivals: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Make all figures of rows.

    Args:
        rows: Rows of `peer_rows`.
        rivals: Names of the peers that each of our methods is compared with.
    """
    runs = chosen_runs(rows)
    sizes = sorted({size for _, size, _ in runs})
    errors: dict[str, Any] = {str(size): {} for size in sizes}
    for (problem, size, method), of in runs.items():
        errors[str(size)].setdefault(problem, {})[method] = summarize(of)
    comparison = {
        name: {str(s): {f: found for f in FIGURES if (found := compare(runs, name, against, s, f))} for s in sizes}
        for name, against in rivals.items()
    }
    packages = sorted({(row["package"], row["version"]) for row in rows})
    return {
        "errors": errors,
        "comparison": {name: of for name, of in comparison.items() if any(of.values())},
        "rivals": {name: list(against) for name, against in rivals.items()},
        "packages": [" ".join(package) for package in packages],
        "commits_of_rows": sorted({str(row["commit"]) for row in rows}),
        "time_limits": sorted({row["time_limit"] for row in rows}),
    }


def show(console: Console, result: Mapping[str, Any], methods: Sequence[str]) -> None:
    """Print errors and seconds by problem for each number of samples, then the ratios."""
    for size, problems in result["errors"].items():
        present = [name for name in methods if any(name in of for of in problems.values())]
        for figure in FIGURES:
            ratios = {m: of.get(size, {}).get(figure) for m, of in result["comparison"].items()}
            title = f"{size} d samples, {figure}: median over seeds (failed fits); ours / best peer"
            table = Table("problem", *present, *(f"{name} ratio" for name in ratios), title=title)
            for problem, of in problems.items():
                best = min(found[figure]["median"] for found in of.values())
                cells = [_cell(of[name], figure, best) if name in of else "" for name in present]
                to = ((found or {"problems": {}})["problems"].get(problem) for found in ratios.values())
                table.add_row(problem, *cells, *(f"{r['ratio']:.2f} of {r['best']}" if r else "" for r in to))
            console.print(table)
        table = Table(
            "problem", *present, title=f"{size} d samples: CPU seconds of a fit; milliseconds of {TEST_POINTS} values"
        )
        for problem, of in problems.items():
            table.add_row(problem, *(_seconds(of[name]) if name in of else "" for name in present))
        console.print(table)
    table = Table("ours", "samples", "figure", "geometric mean", "worst", "by seed", title="ratio ours / best peer")
    for name, sizes in result["comparison"].items():
        for size, figures in sizes.items():
            for figure, found in figures.items():
                spread = " - ".join(f"{value:.2f}" for value in found["by_seed"].values())
                worst = f"{found['worst']:.2f} ({found['worst_problem']})"
                table.add_row(name, f"{size} d", figure, f"{found['geometric_mean']:.3f}", worst, spread)
    console.print(table)


def _cell(found: Mapping[str, Any], figure: str, best: float) -> str:
    median = found[figure]["median"]
    text = f"{median:.2g}" if np.isfinite(median) else "–"
    failed = sum(found["failed"].values())
    return (f"[bold]{text}[/bold]" if median == best else text) + (f" ({failed}/{found['seeds']})" if failed else "")


def _seconds(found: Mapping[str, Any]) -> str:
    return f"{found['fit_seconds']:.2g}; {1e3 * found['predict_seconds']:.2g}" if found["fit_seconds"] > 0.0 else "–"
