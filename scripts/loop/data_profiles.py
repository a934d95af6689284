"""Evaluations to a target, data profiles and ratios from the rows of runs; for `loop.evaluations_vs_solvers`.

The target of a problem is its lowest feasible value of all runs, plus `NEAR` of max(1, |value|). Data profiles are
those of Moré and Wild (2009): the fraction of problems solved within a number of evaluations over n + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.shared.rows import Row

NEAR = 1e-6  # of max(1, |lowest value|)
FEASIBLE = 1e-6  # largest violation over max(1, |bound|) of a point that counts as feasible
STRICT = 1e-8
"""Largest violation of the point that sets the lowest value.

Stricter than `FEASIBLE`: a violation buys its multiplier in the objective. A run that ended within `FEASIBLE` at 1e-7
would set a value that no run with less violation can reach. If no run has such a point, `FEASIBLE` holds.
"""
UNBOUNDED = -1e10  # lowest value below which a problem counts as unbounded, and as solved by nobody; by hand
COMMON = 1e-3  # difference of two lowest values, of max(1, |value|), above which they are two minima; by hand
STATIONARY = 1e-5  # largest scaled residual of an end that counts as a KKT point
SLACK = 1.5  # factor on the fewest evaluations within which a solver counts as near the best


@dataclass(frozen=True)
class Solved:
    """Outcome of a run.

    Attributes:
        evaluations: Number of the first evaluation at the target; None if there is none.
        other: Whether a run that did not reach the target ended at another KKT point.
    """

    evaluations: int | None
    other: bool


Outcomes = dict[str, dict[str, Solved]]
"""By problem and solver."""


def lowest(rows: Sequence[Row]) -> float | None:
    """Return the lowest feasible value of the runs on one problem, or None."""
    for limit in (STRICT, FEASIBLE):
        values = [f for row in rows for _, f, violation in row["front"] if violation <= limit]
        if values:
            return min(values)
    return None


def reached(row: Row, target: float) -> int | None:
    """Return the number of the first feasible evaluation whose objective is at most a target, or None."""
    return next((number for number, f, beyond in row["front"] if beyond <= FEASIBLE and f <= target), None)


def differing(rows: Sequence[Row], expected: Mapping[str, float]) -> dict[str, tuple[float | None, float]]:
    """Return the lowest value found and that of the collection, by problem, where they differ by more than `COMMON`."""
    found = {}
    for problem, value in expected.items():
        of = [row for row in rows if row["problem"] == problem]
        best = lowest(of)
        if of and (best is None or abs(best - value) > COMMON * max(1.0, abs(value))):
            found[problem] = (best, value)
    return found


def outcome(row: Row, best: float | None) -> Solved:
    """Return the outcome of a run on a problem whose lowest feasible value is known, if there is one."""
    count = None if best is None else reached(row, best + NEAR * max(1.0, abs(best)))
    verdict = row["verdict"]
    stationary = bool(
        verdict is not None and verdict["feasibility"] <= FEASIBLE and verdict["stationarity"] <= STATIONARY
    )
    return Solved(count, count is None and stationary)


def outcomes(rows: Sequence[Row]) -> Outcomes:
    """Return the outcome of every run."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        problems.setdefault(row["problem"], []).append(row)
    found = {}
    for problem, of in sorted(problems.items()):
        best = lowest(of)
        best = best if best is not None and best > UNBOUNDED else None
        found[problem] = {row["solver"]: outcome(row, best) for row in of}
    return found


def profile(counts: Sequence[float], most: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a data profile.

    Args:
        counts: Evaluations over n + 1 of each problem, infinite where it is not solved.
        most: Right end of the profile.

    Returns:
        Steps: evaluations over n + 1, and the fraction of problems solved within them.
    """
    ordered = np.sort([count for count in counts if count <= most])
    part = np.arange(1, ordered.size + 1) / max(len(counts), 1)
    ends = np.concatenate([ordered, [most]])
    return ends, np.append(part, part[-1] if part.size else 0.0)


def ratio(found: Outcomes, one: str, other: str) -> dict[str, float | int | None]:
    """Return the ratio of the evaluations of two solvers on the problems that both solved.

    Returns:
        `geometric_mean`, `both` (number of these problems), `run` (problems on which both ran), `only_one` and
        `only_other` (those that only the one or the other solved).
    """
    pairs = [(of[one].evaluations, of[other].evaluations) for of in found.values() if one in of and other in of]
    logs = [np.log(a / b) for a, b in pairs if a is not None and b is not None]
    return {
        "geometric_mean": float(np.exp(np.mean(logs))) if logs else None,
        "both": len(logs),
        "run": len(pairs),
        "only_one": sum(a is not None and b is None for a, b in pairs),
        "only_other": sum(a is None and b is not None for a, b in pairs),
    }


def summary(found: Outcomes, solver: str) -> dict[str, float | int]:
    """Return the figures of one solver.

    Returns:
        `problems` on which it ran, `solved`, `other_kkt` (ends at another KKT point), and of the problems on which it
        ran and that any solver solved: `fewest` and `near`, the fractions in which it needed the fewest evaluations,
        and at most `SLACK` times as many.
    """
    mine = [of for of in found.values() if solver in of]
    fewest, near, any_solved = 0, 0, 0
    for of in mine:
        counts = [each.evaluations for each in of.values() if each.evaluations is not None]
        own = of[solver].evaluations
        any_solved += bool(counts)
        fewest += own is not None and own == min(counts)
        near += own is not None and own <= SLACK * min(counts)
    return {
        "problems": len(mine),
        "solved": sum(of[solver].evaluations is not None for of in mine),
        "other_kkt": sum(of[solver].other for of in mine),
        "fewest": fewest / max(any_solved, 1),
        "near": near / max(any_solved, 1),
    }


def worst(found: Outcomes, solver: str, count: int) -> list[tuple[str, int | None, int, str]]:
    """Return the problems where a solver does worst against the best other one.

    Returns:
        Problem, evaluations (None: not solved), fewest evaluations of the others, and who needs them; unsolved ones
        first, then by the ratio.
    """
    cases = []
    for problem, of in found.items():
        others = [(each.evaluations, name) for name, each in of.items() if name != solver and each.evaluations]
        if solver in of and others:
            fewest, name = min(others)
            own = of[solver].evaluations
            cases.append((-np.inf if own is None else -own / fewest, problem, own, fewest, name))
    return [
        (problem, own, fewest, name) for _, problem, own, fewest, name in sorted(cases, key=lambda c: c[:2])[:count]
    ]
