"""Parity and errors, the drag curve, the modes of the optimum, and where it is in the distribution of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cases.airfoil_rans.data import ANGLE, CAMBER, COUNT, MACH, MACH_OF_SWEEP, MODES, REYNOLDS_OF_SWEEP
from cases.airfoil_rans.results import TARGET, Study
from gradopt.plots.figure import LIMIT, MODEL, TRUTH, new_figure

_SEEN = 10.0  # counts of error that the histogram shows
_COLORS = (TRUTH, MODEL, LIMIT)  # start, optimum within the limit, optimum without
_MARKERS = ("s", "o", "^")


def draw(study: Study, folder: Path) -> list[Path]:
    """Draw all pictures of a run into a folder; returns them."""
    return [_parity(study, folder), _curve(study, folder), _modes(study, folder), _distances(study, folder)]


def _parity(study: Study, folder: Path) -> Path:
    figure = new_figure(13.0, 4.2)
    parity, histogram, envelope = figure.subplots(1, 3)
    x, true = study.held_out.x, study.held_out.y[:, 0] / COUNT
    predicted = study.surrogate.predict(x)[:, 0] / COUNT
    of = study.training["average"]
    parity.scatter(true, predicted, s=4, alpha=0.4, color=MODEL, edgecolors="none")
    ends = [true.min(), true.max()]
    parity.plot(ends, ends, color=TRUTH, linewidth=0.8)
    parity.set(xlabel="true drag, counts", ylabel="predicted drag, counts", xscale="log", yscale="log")
    ticks = [tick for tick in (70, 100, 150, 200, 300, 500, 700) if ends[0] <= tick <= ends[1]]
    for axis in (parity.xaxis, parity.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    parity.set_title(f"{len(true)} held-out airfoils, R² = {of['r2']:.5f}")
    errors = predicted - true
    histogram.hist(np.clip(errors, -_SEEN, _SEEN), np.linspace(-_SEEN, _SEEN, 81), color=MODEL)
    beyond = int((np.abs(errors) > _SEEN).sum())
    histogram.set(xlabel=f"error, counts (the ends hold the {beyond} beyond)", ylabel="airfoils", yscale="log")
    histogram.set_title(f"RMSE {of['rmse_counts']:.2f}, largest {of['max_counts']:.0f} counts")
    order = np.argsort(np.abs(errors))  # the worst on top
    shown = envelope.scatter(
        x[order, MACH], x[order, ANGLE], c=np.maximum(np.abs(errors[order]), 0.01), s=6, cmap="viridis_r", norm="log"
    )
    figure.colorbar(shown, ax=envelope, label="|error|, counts")
    envelope.set(xlabel="Mach number", ylabel="angle of attack, degrees", title="where it errs")
    return _saved(figure, folder / "parity.png")


def _curve(study: Study, folder: Path) -> Path:
    figure = new_figure(7.5, 6.2)
    drag, errors = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    sweep, edge = study.sweep, float(study.data.x[:, ANGLE].max())
    alpha = np.linspace(sweep.alpha.min(), sweep.alpha.max(), 111)
    predicted = study.surrogate.predict(np.array([[*sweep.modes, MACH_OF_SWEEP, angle] for angle in alpha]))[:, 0]
    label = f"ADflow, with ±{100.0 * TARGET:g} %"
    drag.errorbar(
        sweep.alpha,
        sweep.cd / COUNT,
        TARGET * sweep.cd / COUNT,
        fmt="o",
        color=TRUTH,
        capsize=3,
        markersize=4,
        label=label,
    )
    for side, style, label in ((alpha <= edge, "-", "surrogate"), (alpha > edge, "--", "extrapolated")):
        drag.plot(alpha[side], predicted[side] / COUNT, style, color=MODEL, label=label)
    errors.axhspan(-100.0 * TARGET, 100.0 * TARGET, color=MODEL, alpha=0.12, linewidth=0)
    errors.axhline(0.0, color=TRUTH, linewidth=0.8)
    percent = 100.0 * study.sweep_errors
    errors.plot(sweep.alpha[study.inside], percent[study.inside], "o-", color=MODEL)
    errors.plot(sweep.alpha[~study.inside], percent[~study.inside], "o", color=MODEL, fillstyle="none")
    for axis in (drag, errors):
        axis.axvspan(edge, sweep.alpha.max(), color="0.92", zorder=0)
        axis.set_xlim(sweep.alpha.min() - 0.3, sweep.alpha.max() + 0.3)
    drag.text(edge + 0.1, 0.97, "no data", va="top", transform=drag.get_xaxis_transform())
    drag.legend(loc="upper left")
    drag.set(ylabel="drag, counts", title=f"NACA 4412, Mach {MACH_OF_SWEEP}, Re {REYNOLDS_OF_SWEEP / 1e6:g} million")
    errors.set(xlabel="angle of attack, degrees", ylabel=f"error, % (band: ±{100.0 * TARGET:g} %)")
    return _saved(figure, folder / "naca4412.png")


def _modes(study: Study, folder: Path) -> Path:
    figure = new_figure(10.0, 4.6)
    axis = figure.subplots()
    modes = study.data.x[:, MODES]
    mean, std = modes.mean(axis=0), modes.std(axis=0)
    places = np.arange(MODES.stop)
    low, high = ((edge - mean) / std for edge in (modes.min(axis=0), modes.max(axis=0)))
    axis.bar(places, high - low, 0.9, low, color="0.92", label="range of the data")
    middle = (np.percentile(modes, (5.0, 95.0), axis=0) - mean) / std
    axis.bar(places, middle[1] - middle[0], 0.9, middle[0], color="0.8", label="90 % of the data")
    width = 0.26
    for k, (name, design) in enumerate(study.designs.items()):
        label = f"{name}: {design.drag / COUNT:.1f} counts predicted, distance {design.distance:.1f}"
        axis.bar(places + (k - 1) * width, (design.modes - mean) / std, width, color=_COLORS[k], label=label)
    held = study.settings["held_camber_modes"]
    names = [f"{'camber' if k < CAMBER else 'thick.'} {k % CAMBER}" for k in places]
    axis.set_xticks(places, [f"{name}\n(held)" if k < held else name for k, name in enumerate(names)], fontsize=8)
    axis.axhline(0.0, color=TRUTH, linewidth=0.6)
    flow = study.designs["NACA 4412"]
    axis.set(ylabel="modes, standard deviations of the data")
    axis.margins(y=0.03)
    axis.use_sticky_edges = False
    axis.set_title(
        f"shapes of least drag at Mach {flow.mach:g}, {flow.angle:g} degrees; thick. 0 may not rise (thinner)"
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return _saved(figure, folder / "modes.png")


def _distances(study: Study, folder: Path) -> Path:
    figure = new_figure(11.0, 4.4)
    histogram, errors = figure.subplots(1, 2, sharex=True)
    distances = study.calibration.distances
    histogram.hist(distances, 60, color="0.7", label=f"{len(distances)} held-out shapes")
    histogram.set(yscale="log", ylabel="shapes", title="where the data are")
    percent = np.maximum(100.0 * np.abs(study.calibration.errors), 1e-3)
    errors.scatter(distances, percent, s=4, color="0.6", edgecolors="none", label="held-out shapes: |error|")
    rows = study.calibration.rows()
    middles = [np.mean(row["distances"]) for row in rows]
    errors.plot(
        middles, [100.0 * row["relative_p90"] for row in rows], ".-", color=TRUTH, label="90 % of them are below"
    )
    for (name, design), color, marker in zip(study.designs.items(), _COLORS, _MARKERS, strict=True):
        histogram.axvline(design.distance, color=color, linewidth=1.4, label=name)
        apart = max(100.0 * design.disagreement, 1e-3)
        errors.plot(design.distance, apart, marker, color=color, markersize=8, label=f"{name}: disagreement")
        true = study.true_drag(design)
        if true is not None:
            error = max(100.0 * abs(design.drag / true - 1.0), 1e-3)
            errors.plot(design.distance, error, "*", color=color, markersize=12, label=f"{name}: |error|")
    for axis in (histogram, errors):
        axis.axvline(study.limit, color=TRUTH, linestyle=":", label="limit" if axis is histogram else None)
        axis.set_xlabel("distance from the shapes of the training data, standard deviations")
        axis.legend(fontsize=8)
    errors.set(yscale="log", ylabel="%, of the drag", title="errors, and how far the networks disagree")
    return _saved(figure, folder / "distance.png")


def _saved(figure: object, path: Path) -> Path:
    figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    return path
