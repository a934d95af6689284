"""Output of the study: a table on the screen and `result.json`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cases.airfoil_study.baselines import FEASIBLE, BaselineRun
from cases.airfoil_study.problem import COUNT, TOLERANCE
from cases.airfoil_study.study import DIRECT, WARM, Baselines, Study
from gradopt.report.records import write_result


def differences(study: Study, baselines: Baselines) -> np.ndarray:
    """Return drags of the designs minus those of SLSQP from one start (n,), counts; negative: the study's are lower."""
    pairs = zip(study.designs, baselines.direct, strict=True)
    return np.array([(design.drag - run.drag) / COUNT for design, run in pairs])


def study_table(study: Study, baselines: Baselines | None) -> Table:
    """Return the table of totals."""
    designs = study.designs
    table = Table(title=f"{len(designs)} airfoils for {len(designs)} conditions")
    table.add_column("")
    table.add_column("one surrogate", justify="right", style="bold")
    rows: dict[str, list[str]] = {
        "truth evaluations": [f"{study.evaluations}"],
        "  of these before the first design": [f"{study.samples}"],
        "  per condition": [f"{study.evaluations / len(designs):.1f}"],
        f"feasible to {FEASIBLE:g}": [f"{sum(design.violation <= FEASIBLE for design in designs)}"],
        f"certified (KKT to {TOLERANCE:g})": [f"{sum(design.kkt.certified for design in designs)}"],
        "stopped, not certified": [f"{sum(design.stopped and not design.kkt.certified for design in designs)}"],
        "mean CD, counts": [f"{np.mean([design.drag for design in designs]) / COUNT:.2f}"],
        "seconds": [f"{study.seconds:.0f}"],
    }
    if baselines:
        for label, runs in (("SLSQP, one start", baselines.direct), ("SLSQP, warm", baselines.warm)):
            table.add_column(label, justify="right")
            _add_baseline(rows, runs, study.evaluations)
        rows["seconds"].append(f"{baselines.seconds:.0f} both")
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def _add_baseline(rows: dict[str, list[str]], runs: tuple[BaselineRun, ...], evaluations: int) -> None:
    total = sum(run.evaluations for run in runs)
    rows["truth evaluations"].append(f"{total}")
    rows["  of these before the first design"].append("1")
    rows["  per condition"].append(f"{total / len(runs):.1f}")
    rows[f"feasible to {FEASIBLE:g}"].append(f"{sum(run.violation <= FEASIBLE for run in runs)}")
    rows[f"certified (KKT to {TOLERANCE:g})"].append(f"{sum(run.certified for run in runs)}")
    rows["stopped, not certified"].append("-")
    rows["mean CD, counts"].append(f"{np.mean([run.drag for run in runs]) / COUNT:.2f}")
    rows.setdefault("evaluations to within 0.1 count of their end", ["-"]).append(f"{_arrived(runs)}")
    rows.setdefault("one surrogate's evaluations / theirs", ["-"]).append(f"{evaluations / total:.3f}")


def _arrived(runs: tuple[BaselineRun, ...]) -> int:
    return sum(run.arrived or run.evaluations for run in runs)


def closing_lines(study: Study, baselines: Baselines | None) -> str:
    """Return lines of text that compare the designs."""
    stored = f" ({study.stored} of them from an earlier run)" if study.stored else ""
    lines = [f"{study.evaluations} truth evaluations{stored}. A design that is not certified may still be improved."]
    if baselines:
        gap = differences(study, baselines)
        lines.append(
            f"CD minus that of SLSQP from one start, counts: median {np.median(gap):+.2f}, 90 % below "
            f"{np.quantile(gap, 0.9):+.2f}, worst {gap.max():+.2f}, best {gap.min():+.2f}; "
            f"better for {(gap < 0.0).sum()}, "
            f"within 0.5 count or better for {(gap <= 0.5).sum()}, within 2 for {(gap <= 2.0).sum()} of {len(gap)}."
        )
    return "\n".join(lines)


def write_study(study: Study, baselines: Baselines | None, seed: int, traces: Any, path: Path) -> None:
    """Write `result.json`.

    Args:
        study: Study.
        baselines: Baselines, or None.
        seed: Seed of the conditions.
        traces: Fronts on the surrogate, plain JSON values.
        path: Path of the file.
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
                "stopped": design.stopped,
                "predicted_CD_reduction": design.predicted_reduction,
                "evaluations": design.evaluations,
            }
            for design in study.designs
        ],
        "traces": traces,
        "baselines": None,
    }
    if baselines:
        gap = differences(study, baselines)
        totals = {name: sum(run.evaluations for run in getattr(baselines, name)) for name in ("direct", "warm")}
        record["baselines"] = {
            "seconds": baselines.seconds,
            "CD_difference_counts": {"median": np.median(gap), "worst": gap.max(), "better": int((gap < 0.0).sum())},
        }
        for name, scaling in (("direct", DIRECT), ("warm", WARM)):
            runs = getattr(baselines, name)
            record["baselines"][name] = {
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
