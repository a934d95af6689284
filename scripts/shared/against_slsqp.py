"""The loop and SLSQP on the truth models of a case, from one start; for `airfoil` and `wing`.

A truth evaluation is a value with all its partials. SLSQP is run in several scalings, each on the same truth models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, Visit, evaluations_to, objective, violation
from cases.baseline import run_baseline
from gradopt.loop.state import Exit
from gradopt.om.baseline import FEASIBLE
from gradopt.truth.store import EvaluationStore

Row = dict[str, Any]


def silent(line: str) -> None:
    """Print nothing about a step of a run."""


def visits_of(case: AdaptiveCase, visits: Sequence[Visit]) -> list[tuple[int, float, float]]:
    """Return evaluations so far, objective (physical units) and largest violation (scaled) of each visited design."""
    return [(v.evaluations, objective(case, v.true), violation(case, v.true)) for v in visits]


def scaled(case: AdaptiveCase, design_ref: np.ndarray, objective_ref: float) -> AdaptiveCase:
    """Return the case with other scales for SLSQP.

    Args:
        case: The case.
        design_ref: Size of one unit of each design variable (d,), in its physical unit.
        objective_ref: Size of one unit of the objective, in its physical unit.
    """
    first, *others = case.responses
    return replace(case, baseline_ref=design_ref, responses=(replace(first, ref=objective_ref), *others))


def compare(
    case: AdaptiveCase,
    arms: Mapping[str, AdaptiveCase],
    rivals: Mapping[str, AdaptiveCase],
    near: Sequence[float],
    most: int | None = None,
    best_of_rivals: bool = False,
) -> Row:
    """Run the loop and SLSQP from the start of a case, and count truth evaluations.

    Args:
        case: Case whose objective and violations are judged.
        arms: Cases for the loop, by name.
        rivals: Cases for SLSQP, by name, each in another scaling.
        near: Excesses over the best objective, relative to it.
        most: Truth evaluations after which SLSQP is stopped, or None.
        best_of_rivals: Whether the best objective is that of SLSQP alone.

    Returns:
        `best`: best feasible objective of the runs; `methods`: for each run its figures, with `until_within` of the
        best for each excess (None where there is none), and for the loop `ratio` to the least count of the rivals,
        apart for each excess, and of the `end`: a certificate against a convergence of SLSQP within the last excess.
    """
    rows, paths = dict[str, Row](), dict[str, tuple[Visit, ...]]()
    for name, rival in rivals.items():
        baseline = run_baseline(rival, silent, most)
        end = "converged" if baseline.success else "did not converge"
        rows[name] = _row(case, baseline.visits, baseline.evaluations, end, baseline.seconds)
        rows[name] |= _end(case, baseline.final.true)
        paths[name] = baseline.visits
    for name, arm in arms.items():
        with EvaluationStore() as store:
            loop = run_adaptive(arm, 0, store, silent)
        rows[name] = _row(case, loop.visits, loop.evaluations, loop.exit.value, loop.seconds)
        rows[name] |= _end(case, loop.final.true)
        paths[name] = loop.visits
    sign = float(np.sign(case.responses[0].driver_ref))  # negative where the objective is maximized
    judges = [rows[name] for name in (rivals if best_of_rivals else rows)]
    best = sign * min((sign * row["best"] for row in judges if np.isfinite(row["best"])), default=np.nan)
    for name, row in rows.items():
        row["excess"] = sign * (row["best"] / best - 1.0)
        row["until_within"] = {f"{part:g}": evaluations_to(case, paths[name], best, part) for part in near}
    for name in arms:
        rows[name]["ratio"] = ratios(rows[name], [rows[rival] for rival in rivals])
    return {"best": best, "methods": rows}


def ratios(row: Row, rivals: Sequence[Row]) -> dict[str, float | None]:
    """Return the counts of a run of the loop over the least of its rivals; None where either has none."""
    found: dict[str, float | None] = {}
    for near, mine in row["until_within"].items():
        counts = [rival["until_within"][near] for rival in rivals if rival["until_within"][near]]
        found[near] = mine / min(counts) if mine and counts else None
    closest = list(row["until_within"])[-1]
    ends = [rival["evaluations"] for rival in rivals if rival["end"] == "converged" and rival["until_within"][closest]]
    certified = row["end"] == Exit.CERTIFIED.value
    found["end"] = row["evaluations"] / min(ends) if certified and ends else None
    return found


def _row(case: AdaptiveCase, visits: Sequence[Visit], evaluations: int, end: str, seconds: float) -> Row:
    sign = float(np.sign(case.responses[0].driver_ref))
    steps = visits_of(case, visits)
    best = sign * min((sign * value for _, value, beyond in steps if beyond <= FEASIBLE), default=np.nan)
    return {"evaluations": evaluations, "best": best, "end": end, "seconds": seconds, "visits": steps}


def _end(case: AdaptiveCase, true: Any) -> Row:
    return {"objective": objective(case, true), "violation": violation(case, true)}
