"""Output of a run of the loop: tables on the screen, `result.json`, the surrogates and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from cases.adaptive_case import (
    AdaptiveCase,
    AdaptiveResult,
    Values,
    Visit,
    evaluations_to,
    objective,
    violation,
)
from cases.baseline import CaseBaseline
from cases.case import Response
from gradopt.data.variables import column_names
from gradopt.om.baseline import FEASIBLE
from gradopt.plots.history import Trace, plot_convergence, plot_prediction, plot_trust_region
from gradopt.report.records import write_result

_MOST = 6  # entries of a response with a row each in a table; of more, one row shows the worst; by hand
_SIGNS = {"equals": "=", "lower": ">=", "upper": "<="}


def adaptive_table(result: AdaptiveResult, baseline: CaseBaseline | None) -> Table:
    """Return the table of a run: truth at the start, at the final design, and where SLSQP on the truth ended."""
    case = result.case
    columns = {"start": result.start, "final design": result.final.true}
    if baseline:
        columns["SLSQP on truth"] = baseline.final.true
    table = Table(title=f"{case.name}: {case.title}")
    table.add_column("true response", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for label in columns:
        table.add_column(label, justify="right", no_wrap=True, style="bold" if label == "final design" else None)
    for response in case.responses:
        size = result.start[response.name].size
        if size > _MOST:
            table.add_row(*_worst_label(response), *(_cell(response, v, _worst(response, v)) for v in columns.values()))
            continue
        for k in range(size):
            table.add_row(*_label(response, k, result.start), *(_cell(response, v, k) for v in columns.values()))
    if len(case.responses) > 1:
        table.add_row("violation", "scaled", *(f"{violation(case, values):.1e}" for values in columns.values()))
    counts = [result.visits[0].evaluations, result.evaluations, *([baseline.evaluations] if baseline else [])]
    table.add_row("evaluations", "", *(str(count) for count in counts))
    return table


def _label(response: Response, k: int, values: Values) -> tuple[str, str]:
    several = values[response.name].size > 1
    unit = f" ({response.shown_unit})" if response.shown_unit else ""
    name = escape(f"{response.name}[{k}]" if several else response.name) + unit
    if response.is_objective:
        return name, response.kind
    bound = np.broadcast_to(response.bound, values[response.name].shape)[k] * response.shown_per_unit
    return name, f"{_SIGNS[response.kind]} {bound:g}"


def _worst(response: Response, values: Values) -> int:
    """Return the entry of a constraint that is nearest to its bound, or furthest beyond it."""
    gap = values[response.name] - np.asarray(response.bound)
    return int(np.argmax({"equals": np.abs(gap), "lower": -gap, "upper": gap}[response.kind]))


def _worst_label(response: Response) -> tuple[str, str]:
    unit = f" ({response.shown_unit})" if response.shown_unit else ""
    bounds = np.unique(response.bound)
    target = f"{bounds[0] * response.shown_per_unit:g}" if bounds.size == 1 else "its bounds"
    return f"{response.name}, worst{unit}", f"{_SIGNS[response.kind]} {target}"


def _cell(response: Response, values: Values, k: int) -> str:
    """Write one entry of a response, marked where it violates its bound by more than `FEASIBLE`."""
    value = values[response.name][k]
    bound = np.broadcast_to(response.bound, values[response.name].shape)[k]
    excess = Response("", response.kind, float(bound)).violation(np.array(value))
    text = f"{value * response.shown_per_unit:.5g}"
    return f"[red]{text} !![/]" if excess / response.ref > FEASIBLE else text


def closing_lines(result: AdaptiveResult, baseline: CaseBaseline | None) -> str:
    """Return the termination, the evaluations, the comparison with SLSQP on the truth, and the certificate."""
    case = result.case
    lines = [f"Termination: {result.exit.value}. {result.exit.advice}"]
    stored = f" ({result.stored} of them from an earlier run)" if result.stored else ""
    lines.append(
        f"{result.evaluations} truth evaluations{stored}, {len(result.iterations) - 1} iterations, "
        f"{result.seconds:.1f} s"
    )
    if baseline:
        ended = "converged" if baseline.success else "did not converge"
        lines.append(f"SLSQP on the truth {ended} after {baseline.evaluations} evaluations, {baseline.seconds:.1f} s.")
        loop, slsqp = (evaluations_to(case, visits, baseline.best) for visits in (result.visits, baseline.visits))
        lines.append(
            f"Evaluations to within 1 % of its best objective: the loop {loop or 'never'}, SLSQP {slsqp or 'never'}."
        )
    return "\n".join([*lines, "", str(result.certificate)])


def write_adaptive(result: AdaptiveResult, baseline: CaseBaseline | None, folder: Path) -> list[Path]:
    """Write `result.json`, the surrogates and all pictures.

    Args:
        result: Outcome of a run.
        baseline: SLSQP on the truth, or None.
        folder: Folder of the files.

    Returns:
        Paths of the pictures.
    """
    write_result(folder / "result.json", _record(result, baseline))
    for path, surrogate in result.surrogates.items():
        surrogate.save(folder / f"surrogate_{path}.gradopt")
    return [*_draw(result, baseline, folder), *result.case.draw(result, folder)]


def _record(result: AdaptiveResult, baseline: CaseBaseline | None) -> dict[str, Any]:
    case = result.case
    return {
        "case": case.name,
        "title": case.title,
        "citation": case.citation,
        "method": "adaptive loop",
        "settings": {
            **case.settings,
            "configuration": case.configuration.to_dict() if case.configuration else None,
            "closing": case.closing.to_dict() if case.closing else None,
            "max_evaluations": case.max_evaluations,
            "workers": case.workers,
            "tolerance": case.tolerance,
        },
        "seed": result.seed,
        "exit": result.exit.value,
        "advice": result.exit.advice,
        "certificate": result.certificate.to_dict(),
        "evaluations": result.evaluations,
        "evaluations_from_store": result.stored,
        "seconds": result.seconds,
        "x_names": column_names(case.inputs),
        "start": {"x": case.start, "true": result.start},
        "final": {**vars(result.final), "violation": violation(case, result.final.true)},
        "known_optimum": case.optimum,
        "iterations": [
            {**_visit_record(case, visit), **_iteration_record(one)}
            for visit, one in zip(result.visits, result.iterations, strict=True)
        ],
        "reference": _baseline_record(result, baseline) if baseline else None,
    }


def _iteration_record(one: Any) -> dict[str, Any]:
    names = ("number", "ratio", "restoration", "radius", "feasibility", "stationarity", "complementarity")
    return {name: getattr(one, name) for name in (*names, "fit", "failure", "seconds")}


def _visit_record(case: AdaptiveCase, visit: Visit) -> dict[str, Any]:
    return {**vars(visit), "violation": violation(case, visit.true)}


def _baseline_record(result: AdaptiveResult, baseline: CaseBaseline) -> dict[str, Any]:
    case = result.case
    return {
        "method": "SLSQP on the truth",
        **vars(baseline.final),
        "violation": violation(case, baseline.final.true),
        "converged": baseline.success,
        "evaluations": baseline.evaluations,
        "best": baseline.best,
        "evaluations_to_within_1_percent": evaluations_to(case, baseline.visits, baseline.best),
        "evaluations_of_the_loop_to_the_same": evaluations_to(case, result.visits, baseline.best),
        "seconds": baseline.seconds,
        "visits": [
            {"evaluations": v.evaluations, "objective": objective(case, v.true), "violation": violation(case, v.true)}
            for v in baseline.visits
        ],
    }


def _draw(result: AdaptiveResult, baseline: CaseBaseline | None, folder: Path) -> list[Path]:
    case = result.case
    first = case.responses[0]
    name = f"{first.name} ({first.shown_unit})" if first.shown_unit else first.name
    traces = {"adaptive loop": _trace(case, result.visits)}
    if baseline:
        traces["SLSQP on the truth"] = _trace(case, baseline.visits)
    pictures = [folder / f"{stem}.png" for stem in ("convergence", "trust_region", "prediction")]
    ended = f"{case.name}: ended after {result.evaluations} evaluations ({result.exit.value})"
    best = baseline.best * first.shown_per_unit if baseline else None
    plot_convergence(traces, name=name, best=best, title=ended, path=pictures[0])
    plot_trust_region(result.iterations, title=f"{case.name}: the trust region of each iteration", path=pictures[1])
    title = f"{case.name}: objective predicted by the surrogates and of the truth, by iteration"
    plot_prediction(traces["adaptive loop"], name=name, title=title, path=pictures[2])
    return pictures


def _trace(case: AdaptiveCase, visits: Sequence[Visit]) -> Trace:
    shown = case.responses[0].shown_per_unit
    return Trace(
        np.array([visit.evaluations for visit in visits]),
        np.array([objective(case, visit.true) for visit in visits]) * shown,
        np.array([visit.accepted for visit in visits]),
        np.array([violation(case, visit.true) for visit in visits]) if len(case.responses) > 1 else None,
        predicted=np.array([objective(case, visit.predicted) for visit in visits]) * shown,
    )
