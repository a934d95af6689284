"""Pictures of the study: Pareto fronts, evaluations, drag against the baselines, shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cases.airfoil.geometry import WEIGHTS_PER_SIDE, coordinates
from cases.airfoil_study.conditions import RANGES, Condition, coordinates_of
from cases.airfoil_study.problem import COUNT, drag_of, violation
from cases.airfoil_study.study import Baselines, Study
from cases.airfoil_study.tables import differences
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure

_THICKNESSES = (0.85, 1.0, 1.15)  # factors on the lower bounds of the thicknesses
_COLORS = (MODEL, TRUTH, LIMIT)
_LIFT, _EXPONENT, _MOMENT = 0.6, 6.5, -0.09  # of the condition in the middle of all fronts: the middle of `RANGES`
_POINTS = 7  # on a front


@dataclass(frozen=True)
class Front:
    """Optima of the surrogate along one number of the condition.

    Attributes:
        varied: Name of that number.
        thickness: Factor on the lower bounds of the thicknesses, the same for all optima.
        values: Values of that number.
        predicted: Drag coefficients of the surrogate.
        true: Drag coefficients of the truth.
        violations: Largest scaled violations of the truth.
    """

    varied: str
    thickness: float
    values: tuple[float, ...]
    predicted: tuple[float, ...]
    true: tuple[float, ...]
    violations: tuple[float, ...]


def trace_fronts(study: Study) -> list[Front]:
    """Minimize on the surrogate alone along the bound of the moment and along lift, for three thicknesses each.

    The truth is then evaluated at these optima for the pictures only. The surrogate does not use these evaluations, and
    they do not count.
    """
    fronts = []
    for varied in ("moment", "lift"):
        values = tuple(np.linspace(*RANGES[varied], _POINTS).tolist())
        middle = Condition(_LIFT, _EXPONENT, _MOMENT, 1.0)
        for thickness in _THICKNESSES:
            conditions = [replace(middle, thickness=thickness, **{varied: value}) for value in values]
            found = [_optimum(study, condition) for condition in conditions]
            predicted, true, violations = zip(*found, strict=True)
            fronts.append(Front(varied, thickness, values, predicted, true, violations))
    return fronts


def _optimum(study: Study, condition: Condition) -> tuple[float, float, float]:
    """Return drags of the surrogate and of the truth, and the violation of the truth, at the surrogate's optimum."""
    problem = study.problem
    place = coordinates_of([design.condition for design in study.designs])
    apart = np.linalg.norm(place - coordinates_of([condition]), axis=1)
    starts = [study.designs[index].responses.u for index in np.argsort(apart, kind="stable")[:3]]
    found = study.engine.optimum(
        problem.limits(condition), lambda u: problem.inputs_at(condition, u), starts, 0.5 * study.engine.rules.radius
    )
    y, dydx = problem.truth.f(problem.inputs_at(condition, found.u))
    true = problem.responses(found.u, y, dydx)
    return drag_of(found), drag_of(true), violation(true, problem.limits(condition))


def draw_study(study: Study, baselines: Baselines | None, fronts: Sequence[Front], folder: Path) -> list[Path]:
    """Draw all pictures into a folder and return their paths."""
    pictures = [_draw_fronts(fronts, folder), _draw_shapes(study, folder), _draw_cost(study, baselines, folder)]
    if baselines:
        pictures.append(_draw_differences(study, baselines, folder))
    return pictures


def _draw_fronts(fronts: Sequence[Front], folder: Path) -> Path:
    figure = new_figure(10.0, 4.4)
    axes = figure.subplots(1, 2, sharey=True)
    titles = {
        "moment": f"CL = {_LIFT:g}, Re = 10^{_EXPONENT:g}",
        "lift": f"CM >= {_MOMENT:g}, Re = 10^{_EXPONENT:g}",
    }
    labels = {"moment": "lower bound of the moment coefficient CM", "lift": "lift coefficient CL"}
    for axis, varied in zip(axes, titles, strict=True):
        chosen = [front for front in fronts if front.varied == varied]
        for front, color in zip(chosen, _COLORS, strict=True):
            axis.plot(
                front.values,
                np.array(front.predicted) / COUNT,
                color=color,
                linewidth=1.4,
                label=f"thickness bounds x {front.thickness:g}",
            )
            axis.plot(front.values, np.array(front.true) / COUNT, "o", color=color, markersize=4)
        axis.set(xlabel=labels[varied])
        axis.set_title(titles[varied], fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("CD, counts")
    figure.suptitle("Fronts of the surrogate (lines) and the truth at these optima (dots)")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return _saved(figure, folder / "fronts.png")


def _draw_cost(study: Study, baselines: Baselines | None, folder: Path) -> Path:
    figure = new_figure(6.5, 4.2)
    axis = figure.subplots()
    count = np.arange(len(study.designs) + 1)
    rest = study.evaluations - sum(design.evaluations for design in study.designs)
    own = np.cumsum([rest, *(design.evaluations for design in study.designs)])
    axis.plot(count, own, color=MODEL, linewidth=2.0, label="one surrogate, with its first samples")
    if baselines:
        for runs, color, label in (
            (baselines.direct, LIMIT, "SLSQP on the truth, from one start"),
            (baselines.warm, TRUTH, "SLSQP on the truth, from the nearest design so far"),
        ):
            axis.plot(count, np.cumsum([1, *(run.evaluations for run in runs)]), color=color, label=label)
    axis.set(xlabel="conditions", ylabel="truth evaluations, summed", ylim=(0, None), xlim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")
    return _saved(figure, folder / "evaluations.png")


def _draw_differences(study: Study, baselines: Baselines, folder: Path) -> Path:
    gap = differences(study, baselines)
    figure = new_figure(6.5, 3.6)
    axis = figure.subplots()
    edges = np.arange(-3.0, 6.01, 0.25)
    axis.hist(np.clip(gap, edges[0], edges[-1]), bins=edges.tolist(), color=MODEL)
    axis.axvline(0.0, color=TRUTH, linewidth=1.0)
    axis.axvline(float(np.median(gap)), color=LIMIT, linestyle="--", label=f"median {np.median(gap):+.2f} counts")
    axis.set(xlabel="CD minus that of SLSQP from one start, counts; the end bars hold all beyond")
    axis.set_ylabel("conditions")
    axis.legend()
    return _saved(figure, folder / "differences.png")


def _draw_shapes(study: Study, folder: Path) -> Path:
    columns = min(5, len(study.designs))
    rows = -(-len(study.designs) // columns)
    figure = new_figure(2.9 * columns, 1.15 * rows + 0.5)
    axes = np.atleast_2d(np.array(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)))
    n = WEIGHTS_PER_SIDE
    by_lift = sorted(study.designs, key=lambda design: design.condition.lift)
    for axis in axes.flat[len(by_lift) :]:
        axis.set_axis_off()
    for axis, design in zip(axes.flat, by_lift, strict=False):
        u, condition = design.responses.u, design.condition
        shape = replace(study.problem.shape, upper_weights=u[:n], lower_weights=u[n:-1])
        axis.plot(*coordinates(shape), color=MODEL, linewidth=1.0)
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_title(
            f"CL {condition.lift:.2f}  Re {10**condition.reynolds_exponent / 1e6:.1f}e6  CM>{condition.moment:.2f}\n"
            f"t x{condition.thickness:.2f}  CD {design.drag / COUNT:.1f}",
            fontsize=7,
        )
    figure.suptitle("Designs by lift coefficient; drag in counts")
    return _saved(figure, folder / "shapes.png")


def _saved(figure: object, path: Path) -> Path:
    figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    return path
