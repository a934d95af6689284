"""Output of the study: a table on the screen and `result.json`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.airfoil_study.problem import COUNT, TOLERANCE
from cases.airfoil_study.rivals import FEASIBLE, RivalRun
from cases.airfoil_study.study import DIRECT, WARM, Rivals, Study
from gradopt.report.records import write_result


def differences(study: Study, rivals: Rivals) -> np.ndarray:
    """Drag of the designs less that of direct SLSQP (n,), counts; negative where the study's is the better one."""
    pairs = zip(study.designs, rivals.direct, strict=True)
    return np.array([(design.drag - run.drag) / COUNT for design, run in pairs])


def study_table(study: Study, rivals: Rivals | None) -> Table:
    """Return the table of totals."""
    designs = study.designs
    table = Table(title=f"{len(designs)} airfoils for {len(designs)} conditions")
    table.add_column("")
    table.add_column("one surrogate", justify="right", style="bold")
    rows: dict[str, list[str]] = {
        "truth evaluations": [f"{study.evaluations}"],
        "  of these before the first design": [f"{study.samples}"],
        "  a condition": [f"{study.evaluations / len(designs):.1f}"],
        f"feasible to {FEASIBLE:g}": [f"{sum(design.violation <= FEASIBLE for design in designs)}"],
        f"certified (KKT to {TOLERANCE:g})": [f"{sum(design.kkt.certified for design in designs)}"],
        "no reduction predicted, not certified": [
            f"{sum(design.resting and not design.kkt.certified for design in designs)}"
        ],
        "mean CD, counts": [f"{np.mean([design.drag for design in designs]) / COUNT:.2f}"],
        "seconds": [f"{study.seconds:.0f}"],
    }
    if rivals:
        for label, runs in (("SLSQP, same start", rivals.direct), ("SLSQP, warm", rivals.warm)):
            table.add_column(label, justify="right")
            _add_rival(rows, runs, study.evaluations)
        rows["seconds"].append(f"{rivals.seconds:.0f} both")
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _add_rival(rows: dict[str, list[str]], runs: tuple[RivalRun, ...], evaluations: int) -> None:
    total = sum(run.evaluations for run in runs)
    rows["truth evaluations"].append(f"{total}")
    rows["  of these before the first design"].append("1")
    rows["  a condition"].append(f"{total / len(runs):.1f}")
    rows[f"feasible to {FEASIBLE:g}"].append(f"{sum(run.violation <= FEASIBLE for run in runs)}")
    rows[f"certified (KKT to {TOLERANCE:g})"].append(f"{sum(run.certified for run in runs)}")
    rows["no reduction predicted, not certified"].append("-")
    rows["mean CD, counts"].append(f"{np.mean([run.drag for run in runs]) / COUNT:.2f}")
    rows.setdefault("evaluations until within 0.1 count of its end", ["-"]).append(f"{_arrived(runs)}")
    rows.setdefault("one surrogate's evaluations / its", ["-"]).append(f"{evaluations / total:.3f}")


def _arrived(runs: tuple[RivalRun, ...]) -> int:
    return sum(run.arrived or run.evaluations for run in runs)


def closing_lines(study: Study, rivals: Rivals | None) -> str:
    """Return in words how the designs compare."""
    stored = f" ({study.stored} of them from an earlier run)" if study.stored else ""
    lines = [f"{study.evaluations} truth evaluations{stored}. A design that is not certified may still be improved."]
    if rivals:
        gap = differences(study, rivals)
        lines.append(
            f"CD against SLSQP from the same start, counts: median {np.median(gap):+.2f}, 90 % below "
            f"{np.quantile(gap, 0.9):+.2f}, worst {gap.max():+.2f}, best {gap.min():+.2f}; "
            f"better for {(gap < 0.0).sum()}, "
            f"within 0.5 count or better for {(gap <= 0.5).sum()}, within 2 for {(gap <= 2.0).sum()} of {len(gap)}."
        )
    return "\n".join(lines)


def write_study(study: Study, rivals: Rivals | None, seed: int, traces: Any, path: Path) -> None:
    """Write `result.json`.

    Args:
        study: The study.
        rivals: The rivals, or None.
        seed: Seed of the conditions.
        traces: What was drawn of the surrogate beside the designs, plain values.
        path: The file.
    """
    record: dict[str, Any] = {
        "case": "airfoil_study",
        "seed": seed,
        "start": study.problem.shape.name,
        "rules": asdict(study.engine.rules),
        "evaluations": study.evaluations,
        "evaluations_from_store": study.stored,
        "samples": study.samples,
        "seconds": study.seconds,
        "designs": [
            {
                **asdict(design.condition),
                "x": design.responses.u,
                "CD": design.drag,
                "CL": design.responses.c[0],
                "violation": design.violation,
                "stationarity": design.kkt.stationarity,
                "complementarity": design.kkt.complementarity,
                "certified": design.kkt.certified,
                "no_gain_promised": design.resting,
                "predicted_reduction_of_CD": design.promised,
                "evaluations": design.asked,
            }
            for design in study.designs
        ],
        "traces": traces,
        "rivals": None,
    }
    if rivals:
        gap = differences(study, rivals)
        totals = {name: sum(run.evaluations for run in getattr(rivals, name)) for name in ("direct", "warm")}
        record["rivals"] = {
            "seconds": rivals.seconds,
            "CD_difference_counts": {"median": np.median(gap), "worst": gap.max(), "better": int((gap < 0.0).sum())},
        }
        for name, scaling in (("direct", DIRECT), ("warm", WARM)):
            runs = getattr(rivals, name)
            record["rivals"][name] = {
                "scaling": asdict(scaling),
                "evaluations": totals[name],
                "evaluations_until_arrived": _arrived(runs),
                "ratio": study.evaluations / totals[name],
                "runs": [
                    {
                        "x": run.responses.u,
                        "CD": run.drag,
                        "violation": run.violation,
                        "evaluations": run.evaluations,
                        "arrived": run.arrived,
                        "certified": run.certified,
                        "success": run.success,
                    }
                    for run in runs
                ],
            }
    write_result(path, record)
