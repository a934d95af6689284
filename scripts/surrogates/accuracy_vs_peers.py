"""Accuracy of our surrogates and of their peers: problems x sample sizes x seeds x methods.

Each fit is a row of rows.jsonl beside the result file. A fit that has a row is skipped, so that a run that is stopped
continues where it was; `--redo` makes rows of `--methods` again. The result file and the pictures are made of all rows.

- Data: a Latin hypercube of max(4, size x d) points; a seed sets the points and the start of each method.
- Errors on 1000 points of another hypercube: `nrmse_values` is the RMSE over the standard deviation of the true values;
  `nrmse_partials` is the same of all partials pooled, each times the standard deviation of its input over the test
  points; 1 - nrmse_partials^2 is the pooled R^2 of the gradient.
- Every fit runs in a process of its own on one thread; its seconds are CPU seconds. A fit beyond 60 of them has status
  "time"; with its predictions on the test points it is killed at 120. An exception or a prediction that is not finite:
  status "failed". Either counts as an infinite error. Where all fits of a setting so far, two or more, passed the
  limit, the rest are not tried, and their rows say so.
- A peer with a grid of settings is fitted with all of them at seed 0; the one with the least product of both errors
  on the test points is used for the other seeds. That favors the peers: ours have one configuration for all problems.
- Ratios: median over seeds of ours / the least median of the peers. JENN is compared with all peers, MLP, which learns
  from values alone, with the kriging and the Gaussian process that do (KRG, GP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from gradopt import JENN, MLP, Dataset
from gradopt.versions import versions
from scripts.shared.benchmark_problems import PROBLEMS, TEST_POINTS, TEST_SEED
from scripts.shared.fits import fit_settings
from scripts.shared.peer_methods import PEERS, Method, Predictor, Setting
from scripts.shared.rows import Row, RowFile
from scripts.shared.script import begin, parser_of, run
from scripts.surrogates.peer_pictures import draw
from scripts.surrogates.peer_rows import best_setting, given_up, key, limited, measure
from scripts.surrogates.peer_tables import show, tabulate

FEWEST = 4  # samples
SEEDS, TIME_LIMIT = 10, 60.0  # the latter in CPU seconds of a fit; by hand
OURS: dict[str, type[JENN] | type[MLP]] = {"JENN": JENN, "MLP": MLP}
VALUES_RIVALS = ("KRG", "GP")
QUICK_PROBLEMS, QUICK_SIZES, QUICK_ITERATIONS = ("sine",), (5,), 50


@dataclass(frozen=True)
class Plan:
    """All combinations that are fitted.

    Attributes:
        problems: Names of the problems.
        sizes: Numbers of samples for each input.
        seeds: Seeds of points and methods.
        methods: Methods by name.
        time_limit: CPU seconds of a fit, at most.
        redo: Whether fits that have a row are made again.
    """

    problems: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: Mapping[str, Method]
    time_limit: float
    redo: bool


def method_of(kind: type[JENN] | type[MLP], settings: Mapping[str, Any]) -> Method:
    """Make a method of a configuration of ours, with some fields other than the defaults."""

    def fit(data: Dataset, seed: int, setting: Setting) -> Predictor:
        surrogate = kind(seed=seed, **settings).fit(data)
        return surrogate.predict, lambda at: surrogate.linearize(at)[1]

    return Method(fit, "gradopt", issubclass(kind, JENN))


METHODS = {name: method_of(kind, {}) for name, kind in OURS.items()} | PEERS


def quick(name: str) -> Method:
    """Make a method with few iterations, and two settings of the grid at most."""

    def grid(d: int) -> tuple[Setting, ...]:
        shortened = ({k: min(v, QUICK_ITERATIONS) if k == "max_iter" else v for k, v in s.items()} for s in full(d))
        return tuple(shortened)[:2]

    if name in OURS:
        return method_of(OURS[name], fit_settings(True))
    full = METHODS[name].grid
    return replace(METHODS[name], grid=grid)


def planned(plan: Plan, file: RowFile) -> Iterator[Row]:
    """Begin the rows of all fits, sizes and seeds outermost, so that early rows cover all problems and methods."""
    for size, seed, name, method in product(plan.sizes, plan.seeds, plan.problems, plan.methods):
        d = PROBLEMS[name].d
        row = {"problem": name, "d": d, "size": size, "n": max(FEWEST, size * d), "method": method}
        grid = plan.methods[method].grid(d)
        if len(grid) > 1 and seed:
            yield from ({**row, "seed": 0, "setting": dict(setting)} for setting in grid)
            grid = (best_setting(list(file.rows.values()), name, size, method),)
        yield from ({**row, "seed": seed, "setting": dict(setting)} for setting in grid)


def fit_all(path: Path, plan: Plan) -> list[Row]:
    """Fit what has no row yet, append the rows, and return all rows of the file."""
    known, file = versions(), RowFile(path, key)
    done = set() if plan.redo else set(file.rows)
    for row in planned(plan, file):
        if key(row) in done:
            continue
        method = plan.methods[row["method"]]
        fit = partial(measure, PROBLEMS[row["problem"]], row["n"], row["seed"], method, row["setting"])
        reason = given_up(list(file.rows.values()), row)
        row |= {"status": "time", "reason": reason} if reason else limited(fit, plan.time_limit)
        of = known.get(method.package) or version(method.package)
        file.add({**row, "time_limit": plan.time_limit, "package": method.package, "version": of})
        done.add(key(row))
    return list(file.rows.values())


def rivals() -> dict[str, tuple[str, ...]]:
    """Return the peers that each of ours is compared with."""
    return {name: tuple(PEERS) if METHODS[name].uses_partials else VALUES_RIVALS for name in OURS}


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, write, draw and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="methods to fit")
    parser.add_argument("--sizes", nargs="+", type=int, default=[5], help="samples for each input (default: 5)")
    parser.add_argument("--redo", action="store_true", help="fit also what has a row; the new row counts")
    call = begin(parser, argv, width=170)
    options = call.options
    methods = {name: METHODS[name] for name in options.methods}
    plan = Plan(tuple(PROBLEMS), tuple(options.sizes), tuple(range(SEEDS)), methods, TIME_LIMIT, options.redo)
    if call.quick:
        shortened = {name: quick(name) for name in methods}
        plan = replace(plan, problems=QUICK_PROBLEMS, sizes=QUICK_SIZES, seeds=(0,), methods=shortened)
    rows = fit_all(call.folder / "rows.jsonl", plan)
    result = {
        "setup": {"test_points": TEST_POINTS, "test_seed": TEST_SEED, "fewest_samples": FEWEST},
        "sources": {name: PROBLEMS[name].source for name in {row["problem"]: 0 for row in rows}},
        **tabulate(rows, rivals()),
    }
    call.write(result)
    draw(call.folder, result, list(METHODS), list(OURS))
    show(call.console, result, list(METHODS))
    return 0


if __name__ == "__main__":
    run(main)
