"""Output of a one-shot run: tables on the screen, `result.json`, the surrogates and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.table import Table

from cases.case import Case, Response
from cases.one_shot import OneShot, Reference, StageResult
from gradopt.data.dataset import Dataset
from gradopt.data.variables import column_names
from gradopt.plots.surrogate import plot_optimizer_history, plot_parity
from gradopt.report.records import write_result
from gradopt.surrogates.configurations.polish import Polish
from gradopt.surrogates.fitted.surrogate import Surrogate


def summary_table(result: OneShot, reference: Reference | None) -> Table:
    """Return the table of a run: truth at the start, the optimum on the last surrogates, the truth there."""
    case = result.case
    final = result.final
    table = Table(title=f"{case.name}: {case.title}", caption=_caption(result, reference), caption_justify="left")
    columns = {
        "start (truth)": result.start,
        f"optimum on {final.stage.label}": final.predicted,
        "truth there": final.true,
    }
    if reference:
        columns["SLSQP on truth"] = reference.responses
    table.add_column("response", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for label in columns:
        table.add_column(label, justify="right", style="bold" if label == "truth there" else None)
    for response in case.responses:
        bounds = np.broadcast_to(response.bound, result.start[response.name].shape)
        for k, bound in enumerate(bounds):
            sign = {"equals": "=", "lower": ">=", "upper": "<="}.get(response.kind)
            name = response.name if len(bounds) == 1 else f"{response.name}\\[{k}]"
            cells = [f"{values[response.name][k]:.4g}" for values in columns.values()]
            table.add_row(name, f"{sign} {bound:g}" if sign else response.kind, *cells)
    return table


def stages_table(result: OneShot) -> Table:
    """Return a table of the stages of a run: predictions and truth at the optimum of each."""
    objective = result.case.responses[0].name
    table = Table(title="each training")
    for label in ("training", "seconds", f"predicted {objective}", f"true {objective}", "true violation"):
        table.add_column(label, justify="left" if label == "training" else "right", no_wrap=True)
    if result.case.optimum is not None:
        table.add_column("off optimum", justify="right")
    for stage in result.stages:
        worst = max(violation(response, stage) for response in result.case.responses)
        cells = [stage.fit_seconds, stage.predicted[objective][0], stage.true[objective][0], worst]
        if result.case.optimum is not None:
            cells.append(float(np.linalg.norm(stage.x - result.case.optimum)))
        table.add_row(stage.stage.label, *(f"{cell:.3g}" for cell in cells))
    return table


def _caption(result: OneShot, reference: Reference | None) -> str:
    lines = [
        f"{result.truth_evaluations} truth evaluations for the final design ({result.failures} of them failed), "
        f"{result.held_out.n} more to check the surrogate; {result.seconds:.1f} s"
    ]
    for stage in result.stages:
        if not stage.success:
            lines.append(f"SLSQP did not converge on {stage.stage.label}.")
    worst = max(result.case.responses, key=lambda response: violation(response, result.final))
    if violation(worst, result.final) > 0.0:
        lines.append(
            f"Largest true violation at the final design: {violation(worst, result.final):.2g} in {worst.name}"
        )
    if reference:
        lines.append(f"SLSQP on the truth: {reference.evaluations} evaluations, wider bounds")
    return "\n".join(lines)


def violation(response: Response, stage: StageResult) -> float:
    """Return the distance of the truth at a stage's optimum beyond a bound."""
    return response.violation(stage.true[response.name])


def write_outcome(result: OneShot, reference: Reference | None, folder: Path) -> list[Path]:
    """Write `result.json`, the surrogates of the last stage and all pictures.

    Args:
        result: Outcome of a run.
        reference: SLSQP on the truth, or None.
        folder: Folder of the files.

    Returns:
        Paths of the pictures.
    """
    case, final = result.case, result.final
    write_result(
        folder / "result.json",
        {
            "case": case.name,
            "title": case.title,
            "citation": case.citation,
            "settings": {
                **case.settings,
                "samples": case.samples,
                "held_out": case.held_out,
                "stages": {
                    stage.label: stage.configuration.to_dict()
                    if stage.configuration
                    else {"polish": vars(stage.polish or Polish())}
                    for stage in case.stages
                },
            },
            "seed": result.seed,
            "truth_evaluations": result.truth_evaluations,
            "failed_evaluations": result.failures,
            "held_out_evaluations": result.held_out.n,
            "seconds": result.seconds,
            "start": {"x": case.start, "true": result.start},
            "x": final.x,
            "x_names": column_names(case.inputs),
            "predicted": final.predicted,
            "true": final.true,
            "violations": {response.name: violation(response, final) for response in case.responses},
            "known_optimum": case.optimum,
            "stages": [_stage_record(stage, result.held_out) for stage in result.stages],
            "reference": vars(reference) if reference else None,
        },
    )
    for index, surrogate in enumerate(final.surrogates):
        name = surrogate.outputs[0].name if case.separate else f"{index}"
        surrogate.save(folder / f"surrogate_{name}.gradopt")
    return [_draw_parity(result, folder), _draw_history(case, final, folder), *case.draw(result, folder)]


def _stage_record(stage: StageResult, held_out: Dataset) -> dict[str, object]:
    y, dydx = _predict(stage.surrogates, held_out)
    steps = held_out.x.std(axis=0)
    slopes, predicted = held_out.partials * steps, dydx * steps
    with np.errstate(divide="ignore", invalid="ignore"):  # an output that does not vary has no relative error: null
        value_error = np.sqrt(((y - held_out.y) ** 2).mean(axis=0)) / held_out.y.std(axis=0)
        slope_error = np.sqrt(((predicted - slopes) ** 2).mean(axis=(0, 2))) / slopes.std(axis=(0, 2))
    return {
        "label": stage.stage.label,
        "x": stage.x,
        "predicted": stage.predicted,
        "true": stage.true,
        "slsqp_converged": stage.success,
        "slsqp_steps": len(stage.path),
        "fit_seconds": stage.fit_seconds,
        "optimize_seconds": stage.optimize_seconds,
        "fit": [
            {"status": s.fit_result.status.name, "iterations": s.fit_result.iterations, "loss": s.fit_result.loss}
            for s in stage.surrogates
        ],
        "held_out_nrmse_values": value_error,
        "held_out_nrmse_partials": slope_error,
    }


def _predict(surrogates: tuple[Surrogate, ...], data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, m) and partials (n, m, d) of surrogates that share the outputs among them."""
    pairs = [surrogate.linearize(data.x) for surrogate in surrogates]
    return np.concatenate([y for y, _ in pairs], axis=1), np.concatenate([dydx for _, dydx in pairs], axis=1)


def _draw_parity(result: OneShot, folder: Path) -> Path:
    picture = folder / "predicted_against_true.png"
    title = f"{result.case.name}: {result.final.stage.label} on {result.held_out.n} held-out points"
    plot_parity(result.final.surrogates, result.held_out, title=title, path=picture)
    return picture


def _draw_history(case: Case, final: StageResult, folder: Path) -> Path:
    picture = folder / "history.png"
    bounds = {
        response.name: (response.kind, np.broadcast_to(response.bound, final.true[response.name].shape).tolist())
        for response in case.responses
        if not response.is_objective
    }
    title = f"{case.name}: SLSQP on {final.stage.label}"
    plot_optimizer_history(final.history, bounds, final.true, title=title, path=picture)
    return picture
