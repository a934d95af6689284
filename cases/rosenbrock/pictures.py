"""Contours of truth and surrogates, with the optimizers' paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cases.adaptive_case import AdaptiveResult
from cases.one_shot import OneShot, StageResult
from cases.rosenbrock.function import rosenbrock
from gradopt.plots.figure import LIMIT, MODEL, new_figure

_LEVELS = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0])


def draw_path(result: AdaptiveResult, folder: Path) -> list[Path]:
    """Draw the evaluated points, and the disk of the case if there is one, into `path.png`; in 2-D only."""
    if len(result.case.start) != 2:
        return []
    axis_values = np.linspace(-2.0, 2.0, 201)
    grid = np.stack(np.meshgrid(axis_values, axis_values), axis=-1)
    surface = np.array([rosenbrock(point)[0][0] for point in grid.reshape(-1, 2)]).reshape(grid.shape[:2])
    figure = new_figure(7.2, 6.6)
    axis = figure.subplots()
    filled = axis.contourf(
        grid[..., 0],
        grid[..., 1],
        np.log10(np.maximum(surface, 1e-3)),
        levels=np.log10([1e-3, *_LEVELS, 1e4]),
        cmap="Greys",
        alpha=0.5,
    )
    figure.colorbar(filled, ax=axis, label="log10 f", shrink=0.8)
    for response in result.case.responses[1:]:
        angles = np.linspace(0.0, 2.0 * np.pi, 200)
        radius = np.sqrt(float(np.max(response.bound)))
        axis.plot(radius * np.cos(angles), radius * np.sin(angles), color=LIMIT, label="edge of the disk")
    points = np.array([visit.x for visit in result.visits])
    accepted = np.array([visit.accepted for visit in result.visits])
    axis.plot(*points[accepted].T, "o-", color=MODEL, markersize=5, linewidth=1.0, label="accepted")
    axis.plot(*points[~accepted].T, "x", color=MODEL, markersize=6, label="rejected")
    axis.plot(*points[0], "s", color=MODEL, markersize=10, markerfacecolor="none", label="start")
    if result.case.optimum is not None:
        axis.plot(*result.case.optimum, "*", color="black", markersize=12, label="known optimum")
    axis.set(xlabel="x[0]", ylabel="x[1]", aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    axis.set_title(f"{result.case.name}: {result.evaluations} truth evaluations")
    axis.legend(fontsize=8, loc="lower left")
    picture = folder / "path.png"
    figure.savefig(picture, dpi=120)
    return [picture]


def draw(result: OneShot, folder: Path) -> list[Path]:
    """Draw the contours of a two-dimensional run into `contours.png` and return it; otherwise draw nothing."""
    if result.data.d != 2:
        return []
    axis_values = np.linspace(-2.0, 2.0, 121)
    grid = np.stack(np.meshgrid(axis_values, axis_values), axis=-1)
    points = grid.reshape(-1, 2)
    truth = np.array([rosenbrock(point)[0][0] for point in points])
    pictures: list[tuple[str, np.ndarray, StageResult | None]] = [("truth", truth, None)]
    for stage in result.stages:
        pictures.append((stage.stage.label, stage.surrogates[0].predict(points)[:, 0], stage))
    figure = new_figure(4.2 * len(pictures), 4.6)
    figure.suptitle(
        f"Rosenbrock: {result.data.n} training points (dots), SLSQP from the square to the circle; star: (1, 1)"
    )
    for axis, (label, values, shown) in zip(figure.subplots(1, len(pictures)), pictures, strict=True):
        surface = np.maximum(values, 1e-3).reshape(grid.shape[:2])
        levels = np.log10([1e-3, *_LEVELS, 1e4])
        filled = axis.contourf(grid[..., 0], grid[..., 1], np.log10(surface), levels=levels, cmap="Greys", alpha=0.6)
        axis.contour(grid[..., 0], grid[..., 1], surface, levels=_LEVELS, colors="gray", linewidths=0.4)
        title = label
        if shown is None:
            axis.plot(*result.data.x.T, ".", color=MODEL, markersize=2)
        else:
            axis.plot(*shown.path.T, "-", color=LIMIT, linewidth=1.2)
            axis.plot(*shown.path[0], "s", color=LIMIT)
            axis.plot(*shown.x, "o", color=LIMIT, markerfacecolor="none", markersize=9, markeredgewidth=2)
            title += f": ({shown.x[0]:.3f}, {shown.x[1]:.3f})\ntrue f = {shown.true['f'][0]:.2g}"
        axis.plot(1.0, 1.0, "*", color="black", markersize=9)
        axis.set(title=title, xlabel="x[0]", ylabel="x[1]", aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    figure.colorbar(filled, ax=figure.axes, label="log10 f", shrink=0.8)
    picture = folder / "contours.png"
    figure.savefig(picture, dpi=120)
    return [picture]
