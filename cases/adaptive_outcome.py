"""What a run of the loop leaves behind: tables on the screen, `result.json`, the surrogates and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from cases.adaptive import FEASIBLE, Adaptive, Values, Visit, evaluations_to, objective, violation
from cases.case import AdaptiveCase, Response
from cases.direct import Direct
from cases.records import write_result
from gradopt.data.variables import column_names
from gradopt.plots.history import Trace, plot_convergence, plot_prediction, plot_trust_region

_MOST = 6  # entries of a response that a table shows one by one
_SIGNS = {"equals": "=", "lower": ">=", "upper": "<="}


def adaptive_table(result: Adaptive, direct: Direct | None) -> Table:
    """Return the table of a run: start, answer, and SLSQP on the truth, all as the truth sees them."""
    case = result.case
    columns = {"start": result.start, "answer": result.answer.true}
    if direct:
        columns["SLSQP on truth"] = direct.answer.true
    table = Table(title=f"{case.name}: {case.title}")
    table.add_column("true response", no_wrap=True)
    table.add_column("wanted", no_wrap=True)
    for label in columns:
        table.add_column(label, justify="right", no_wrap=True, style="bold" if label == "answer" else None)
    for response in case.responses:
        size = result.start[response.name].size
        if size > _MOST:
            table.add_row(*_worst_label(response), *(_cell(response, v, _worst(response, v)) for v in columns.values()))
            continue
        for k in range(size):
            table.add_row(*_label(response, k, result.start), *(_cell(response, v, k) for v in columns.values()))
    if len(case.responses) > 1:
        table.add_row("violation", "scaled", *(f"{violation(case, values):.1e}" for values in columns.values()))
    counts = [result.visits[0].evaluations, result.evaluations, *([direct.evaluations] if direct else [])]
    table.add_row("evaluations", "few", *(str(count) for count in counts))
    return table


def _label(response: Response, k: int, values: Values) -> tuple[str, str]:
    several = values[response.name].size > 1
    unit = f" ({response.shown_unit})" if response.shown_unit else ""
    name = escape(f"{response.name}[{k}]" if several else response.name) + unit
    if response.is_objective:
        return name, "least" if response.kind == "minimize" else "most"
    bound = np.broadcast_to(response.bound, values[response.name].shape)[k] * response.shown_per_unit
    return name, f"{_SIGNS[response.kind]} {bound:g}"


def _worst(response: Response, values: Values) -> int:
    """Entry of a constraint that is nearest to its bound, or furthest beyond it."""
    gap = values[response.name] - np.asarray(response.bound)
    return int(np.argmax({"equals": np.abs(gap), "lower": -gap, "upper": gap}[response.kind]))


def _worst_label(response: Response) -> tuple[str, str]:
    unit = f" ({response.shown_unit})" if response.shown_unit else ""
    bounds = np.unique(response.bound)
    wanted = f"{bounds[0] * response.shown_per_unit:g}" if bounds.size == 1 else "its bound"
    return f"{response.name}, worst{unit}", f"{_SIGNS[response.kind]} {wanted}"


def _cell(response: Response, values: Values, k: int) -> str:
    """One entry of a response, marked where it violates its bound by more than is overlooked."""
    value = values[response.name][k]
    bound = np.broadcast_to(response.bound, values[response.name].shape)[k]
    excess = Response("", response.kind, float(bound)).violation(np.array(value))
    text = f"{value * response.shown_per_unit:.5g}"
    return f"[red]{text} !![/]" if excess / response.ref > FEASIBLE else text


def closing_lines(result: Adaptive, direct: Direct | None) -> str:
    """Return why the run ended, what it cost, how SLSQP on the truth compares, and the certificate."""
    case = result.case
    lines = [f"Exit: {result.exit.value}. {result.exit.advice}"]
    stored = f" ({result.stored} of them from an earlier run)" if result.stored else ""
    lines.append(
        f"{result.evaluations} truth evaluations{stored}, {len(result.rounds) - 1} rounds, {result.seconds:.1f} s"
    )
    if direct:
        ended = "converged" if direct.success else "did not converge"
        lines.append(f"SLSQP on the truth {ended} after {direct.evaluations} evaluations, {direct.seconds:.1f} s.")
        mine, its = (evaluations_to(case, visits, direct.best) for visits in (result.visits, direct.visits))
        lines.append(f"To within 1 % of its best: the loop {mine or 'never'}, SLSQP {its or 'never'}.")
    return "\n".join([*lines, "", str(result.certificate)])


def write_adaptive(result: Adaptive, direct: Direct | None, folder: Path) -> list[Path]:
    """Write `result.json`, the surrogates and all pictures.

    Args:
        result: Outcome of a run.
        direct: SLSQP on the truth, or None.
        folder: Where to write.

    Returns:
        The pictures that were drawn.
    """
    write_result(folder / "result.json", _record(result, direct))
    for path, surrogate in result.surrogates.items():
        surrogate.save(folder / f"surrogate_{path}.gradopt")
    return [*_draw(result, direct, folder), *result.case.draw(result, folder)]


def _record(result: Adaptive, direct: Direct | None) -> dict[str, Any]:
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
        "answer": {**vars(result.answer), "violation": violation(case, result.answer.true)},
        "known_optimum": case.optimum,
        "rounds": [
            {**_visit_record(case, visit), **_round_record(one)}
            for visit, one in zip(result.visits, result.rounds, strict=True)
        ],
        "reference": _direct_record(result, direct) if direct else None,
    }


def _round_record(one: Any) -> dict[str, Any]:
    names = ("number", "ratio", "restoration", "radius", "feasibility", "stationarity", "complementarity")
    return {name: getattr(one, name) for name in (*names, "fit", "failure", "seconds")}


def _visit_record(case: AdaptiveCase, visit: Visit) -> dict[str, Any]:
    return {**vars(visit), "violation": violation(case, visit.true)}


def _direct_record(result: Adaptive, direct: Direct) -> dict[str, Any]:
    case = result.case
    return {
        "method": "SLSQP on the truth",
        **vars(direct.answer),
        "violation": violation(case, direct.answer.true),
        "converged": direct.success,
        "evaluations": direct.evaluations,
        "best": direct.best,
        "evaluations_to_within_1_percent": evaluations_to(case, direct.visits, direct.best),
        "evaluations_of_the_loop_to_the_same": evaluations_to(case, result.visits, direct.best),
        "seconds": direct.seconds,
        "visits": [
            {"evaluations": v.evaluations, "objective": objective(case, v.true), "violation": violation(case, v.true)}
            for v in direct.visits
        ],
    }


def _draw(result: Adaptive, direct: Direct | None, folder: Path) -> list[Path]:
    case, rounds = result.case, result.rounds
    first = case.responses[0]
    name = f"{first.name} ({first.shown_unit})" if first.shown_unit else first.name
    traces = {"adaptive loop": _trace(case, result.visits)}
    if direct:
        traces["SLSQP on the truth"] = _trace(case, direct.visits)
    pictures = [folder / f"{stem}.png" for stem in ("convergence", "trust_region", "prediction")]
    ended = f"{case.name}: ended after {result.evaluations} evaluations ({result.exit.value})"
    best = direct.best * first.shown_per_unit if direct else None
    plot_convergence(traces, name=name, best=best, title=ended, path=pictures[0])
    plot_trust_region(rounds, title=f"{case.name}: the trust region of each iteration", path=pictures[1])
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
