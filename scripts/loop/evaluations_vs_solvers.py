"""Truth evaluations of the adaptive loop, against the strongest direct solvers on CUTEst problems.

The *truth model*, short truth, is objective and constraints. A truth evaluation is their values and all partials at one
point; a repeated point is counted once. The loop runs without a network, with one configuration for all problems. The
other solvers evaluate the truth directly: SciPy's SLSQP, L-BFGS-B, BFGS and trust-constr, NLopt's SLSQP, L-BFGS and
MMA, IPOPT, and Uno with the preset filterSQP. All get exact first derivatives and no second derivatives. L-BFGS and
BFGS have no constraints, BFGS no bounds, MMA no equalities; they run on the problems that they can pose.

A run has solved a problem at its first evaluation with violations of at most 1e-6 max(1, |bound|) and an objective of
at most f* + 1e-6 max(1, |f*|), f* being the lowest feasible value that any solver found on that problem. A run that
ends in a higher local minimum has not solved it; ends at such other KKT points are counted apart. Printed and written:

- `solvers`: problems, solved, ends at other KKT points, and of the problems that any solver solved the fractions with
  the fewest evaluations and with at most 1.5 times as many;
- `ratios`: geometric mean of the loop's evaluations over those of a rival, on the problems that both solved;
- `certificates`: certified ends of the loop, those of them that are no KKT points by `loop.independent_check` with
  exact derivatives (`false`; `reached`: the lowest value was reached all the same, which happens where a unit of a
  design variable is large, as the check knows no scales), and those at another KKT point than the lowest (`higher`);
- `differing`: problems whose lowest value is not the one that the collection names, with both; an unbounded problem,
  whose lowest value is below -1e10, counts as solved by nobody;
- `worst`: problems where the loop does worst against the best rival;
- `failures`: runs that an exception or the limit of time ended;
- `runs`: outcomes of all runs.

`profiles.png` shows data profiles: the fraction of problems solved over evaluations / (n + 1).

The problems come from the package sif2jax. It and the solvers are no dependencies of gradopt. Make an environment for
them, with gradopt's folder in PYTHONPATH:

    python -m venv rivals
    rivals/bin/pip install sif2jax flatbuffers scipy nlopt ipyopt unopy rich matplotlib openmdao safetensors

The first call exports the problems into `--problems`, which takes about ten minutes. Rows of rivals are kept in
`--rivals`, rows of the loop beside the result file; runs whose row is there are not repeated. A new version of the loop
is measured with another `--out` and `--solvers loop`. Settings of the loop are chosen on the problems of
`--split develop`, a third of all by a hash of the name, and figures are reported on those of `report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.table import Table

from gradopt.plots.figure import new_figure
from scripts.loop.cutest_problems import INDEX, LARGEST, MOST, SPLITS, expected_values, export, names
from scripts.loop.data_profiles import (
    FEASIBLE,
    NEAR,
    SLACK,
    STATIONARY,
    STRICT,
    Outcomes,
    differing,
    outcomes,
    profile,
    ratio,
    summary,
    worst,
)
from scripts.loop.direct_runs import BUILT_IN, Worker, key_of
from scripts.loop.rival_solvers import LOOP, SOLVERS, TIGHT, TOLERANCE
from scripts.shared.rows import Row, RowFile
from scripts.shared.script import Call, begin, parser_of, run

LOOP_ROWS, RIVAL_ROWS = "loop.jsonl", "rivals.jsonl"
END_OF_PROFILE = 60.0  # evaluations / (n + 1)
WORST = 20  # problems that are named
# Okabe and Ito's colors, which readers with color blindness tell apart; rivals differ in the dashes as well.
COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#d55e00", "#0072b2", "#009e73")
DASHES = ("-", "-", "-", "-", "-", "-", "-", "--", "--", "--")


def missing(solvers: Sequence[str], folder: Path) -> list[str]:
    """Return the packages that are not installed."""
    needed = {SOLVERS[name].package for name in solvers} | {"jax", "flatbuffers"}
    if not (folder / INDEX).exists():
        needed.add("sif2jax")
    return sorted(name for name in needed if find_spec(name) is None)


class Files:
    """Rows of the loop and of its rivals.

    Attributes:
        loop: Rows of the loop.
        rivals: Rows of the rivals.
    """

    def __init__(self, loop: Path, rivals: Path) -> None:
        """Read the rows that are there."""
        self.loop, self.rivals = (RowFile(path, lambda row: (row["problem"], row["solver"])) for path in (loop, rivals))

    def of(self, solver: str) -> RowFile:
        """Return the file of a solver."""
        return self.loop if solver == LOOP else self.rivals

    def chosen(self, problems: Sequence[str], solvers: Sequence[str]) -> list[Row]:
        """Return the rows of some problems and solvers, in their order."""
        keys = [(problem, solver) for problem in problems for solver in solvers]
        return [self.of(solver).rows[problem, solver] for problem, solver in keys if self._has(problem, solver)]

    def _has(self, problem: str, solver: str) -> bool:
        return key_of(problem, solver) in self.of(solver) and "front" in self.of(solver).rows[problem, solver]


def measure(call: Call, problems: Sequence[str], solvers: Sequence[str], folder: Path | None, files: Files) -> None:
    """Run the solvers on the problems where there is no row yet."""
    worker = Worker(folder)
    for number, problem in enumerate(problems, 1):
        said = []
        for solver in solvers:
            key = key_of(problem, solver)
            if key in files.of(solver):
                continue
            row = worker.run(problem, solver)
            files.of(solver).add(row or {**key, "unsuited": True})
            if row is not None:
                said.append(f"{solver} {row['evaluations']}")
        if said:
            line = f"{number} of {len(problems)}, {call.seconds:.0f} s, {problem}: {', '.join(said)}"
            call.console.print(line, highlight=False)
    worker.close()


def evaluate(rows: Sequence[Row], found: Outcomes, expected: dict[str, float]) -> dict[str, Any]:
    """Return all figures.

    Args:
        rows: Rows of the runs.
        found: Their outcomes.
        expected: Lowest values that the collection names, by problem.
    """
    present = [solver for solver in SOLVERS if any(solver in of for of in found.values())]
    certified = [row for row in rows if row["certified"]]
    false = [row for row in certified if row["verdict"] is None or not row["verdict"]["agrees"]]
    return {
        "problems": len(found),
        "solved_by_any": sum(any(each.evaluations is not None for each in of.values()) for of in found.values()),
        "solvers": {solver: summary(found, solver) for solver in present},
        "ratios": {rival: ratio(found, LOOP, rival) for rival in present if rival != LOOP},
        "certificates": {
            "certified": len(certified),
            "false": [
                {
                    "problem": row["problem"],
                    "stationarity": row["verdict"] and row["verdict"]["stationarity"],
                    "feasibility": row["verdict"] and row["verdict"]["feasibility"],
                    "reached": found[row["problem"]][LOOP].evaluations is not None,
                }
                for row in false
            ],
            "higher": [row["problem"] for row in certified if found[row["problem"]][LOOP].other],
        },
        "differing": differing(rows, expected),
        "worst": [
            {"problem": problem, "loop": own, "fewest": fewest, "solver": name}
            for problem, own, fewest, name in worst(found, LOOP, WORST)
        ],
        "failures": [
            {name: row[name] for name in ("problem", "solver", "message")} for row in rows if row["verdict"] is None
        ],
        "runs": [
            {
                **{name: of for name, of in row.items() if name not in ("front", "x")},
                "to_target": found[row["problem"]][row["solver"]].evaluations,
                "other_kkt": found[row["problem"]][row["solver"]].other,
            }
            for row in rows
        ],
    }


def draw(path: Path, rows: Sequence[Row], found: Outcomes) -> None:
    """Draw data profiles of all problems, of those without constraints and of those with constraints."""
    sizes = {row["problem"]: (row["n"], row["m"]) for row in rows if row["n"] is not None}
    groups = {
        "all problems": list(sizes),
        "no constraints but bounds": [name for name, (_, m) in sizes.items() if m == 0],
        "with constraints": [name for name, (_, m) in sizes.items() if m > 0],
    }
    figure = new_figure(15.0, 5.0)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (title, chosen) in zip(panels, groups.items(), strict=True):
        for solver, color, dashes in zip(SOLVERS, COLORS, DASHES, strict=True):
            if not all(solver in found[name] for name in chosen) or not chosen:
                continue
            counts = [(found[name][solver].evaluations or float("inf")) / (sizes[name][0] + 1) for name in chosen]
            width = 2.4 if solver == LOOP else 1.2
            at, part = profile(counts, END_OF_PROFILE)
            axes.step(at, part, dashes, where="post", color=color, linewidth=width, label=solver)
        axes.set(title=f"{title} ({len(chosen)})", xlabel="evaluations / (n + 1)", xscale="log", ylim=(0.0, 1.0))
        axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        if chosen:
            axes.legend(fontsize=8)
    panels[0].set_ylabel("fraction of problems solved")
    figure.savefig(path, dpi=150)


def show(call: Call, figures: dict[str, Any]) -> None:
    """Print the tables."""
    table = Table(
        "solver",
        "problems",
        "solved",
        "other KKT point",
        "fewest",
        f"within {SLACK:g} x",
        "loop / solver",
        "both solved",
    )
    table.add_column("only loop, only solver")
    for solver, of in figures["solvers"].items():
        against = figures["ratios"].get(solver)
        cells = ["", "", ""]
        if against is not None:
            mean = against["geometric_mean"]
            alone = f"{against['only_one']}, {against['only_other']}"
            cells = ["-" if mean is None else f"{mean:.2f}", f"{against['both']} of {against['run']}", alone]
        counts = [f"{of[name]}" for name in ("problems", "solved", "other_kkt")]
        table.add_row(solver, *counts, f"{of['fewest']:.0%}", f"{of['near']:.0%}", *cells)
    call.console.print(table)
    call.console.print(f"{figures['problems']} problems, {figures['solved_by_any']} solved by any solver")
    certificates = figures["certificates"]
    call.console.print(
        f"{certificates['certified']} certified ends, {len(certificates['false'])} false, "
        f"{len(certificates['higher'])} at a higher KKT point"
    )
    for each in certificates["false"]:
        at = "at the lowest value" if each["reached"] else "not at the lowest value"
        call.console.print(f"false: {each['problem']}, stationarity {each['stationarity']}, {at}", highlight=False)
    cases = [f"{c['problem']} {c['loop'] or 'unsolved'} : {c['fewest']} ({c['solver']})" for c in figures["worst"]]
    call.console.print("worst, loop : best rival: " + "; ".join(cases), highlight=False)
    values = [f"{name} {best} : {value}" for name, (best, value) in figures["differing"].items()]
    call.console.print("lowest value : that of the collection: " + "; ".join(values), highlight=False)
    call.console.print(f"{len(figures['failures'])} runs without a point to judge; see `failures`", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, write, draw and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of problems, instead of a split")
    parser.add_argument(
        "--split", choices=SPLITS, default="develop", help="part of the problems (default: %(default)s)"
    )
    parser.add_argument("--solvers", default=",".join(SOLVERS), help="solvers to run; rows of others are read")
    parser.add_argument(
        "--problems", type=Path, metavar="FOLDER", help="exported problems (default: beside the result)"
    )
    parser.add_argument("--rivals", type=Path, metavar="FILE", help="rows of rivals (default: beside the result)")
    call = begin(parser, argv, width=170)
    options = call.options
    folder: Path | None = options.problems or call.folder / "problems"
    solvers = options.solvers.split(",")
    unknown = sorted(set(solvers) - set(SOLVERS))
    if unknown:
        parser.error(f"--solvers: unknown {', '.join(unknown)}; there are {', '.join(SOLVERS)}")
    if call.quick:
        folder, problems = None, list(BUILT_IN)
        solvers = [name for name in solvers if SOLVERS[name].package == "scipy"]
    else:
        assert folder is not None
        lacking = missing(solvers, folder)
        if lacking:
            parser.error(f"install {', '.join(lacking)} in a throwaway environment, as --help says")
        if not (folder / INDEX).exists():
            for line in export(folder):
                call.console.print(line, highlight=False)
        problems = options.only or names(folder, options.split)
    files = Files(call.folder / LOOP_ROWS, options.rivals or call.folder / RIVAL_ROWS)
    measure(call, problems, solvers, folder, files)
    rows = files.chosen(problems, list(SOLVERS))
    found = outcomes(rows)
    figures = evaluate(rows, found, {} if folder is None else expected_values(folder))
    setup = {
        "split": None if options.only or call.quick else options.split,
        "largest": {"n": LARGEST, "m": MOST},
        "near": NEAR,
        "feasible": FEASIBLE,
        "strict": STRICT,
        "stationary": STATIONARY,
        "tolerance": {"loop": TOLERANCE, "rivals": TIGHT},
        "budgets": {name: {"evaluations": of.evaluations, "seconds": of.seconds} for name, of in SOLVERS.items()},
    }
    call.write({"setup": setup, **figures})
    draw(call.folder / "profiles.png", rows, found)
    show(call, figures)
    return 0


if __name__ == "__main__":
    run(main)
