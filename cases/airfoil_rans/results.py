"""Result of a run, its tables, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from cases.airfoil_rans.calibration import LEVEL, Calibration
from cases.airfoil_rans.data import ANGLE, COUNT, MACH_OF_SWEEP, REYNOLDS_OF_SWEEP, Sweep, ranges_table
from cases.airfoil_rans.neighbors import Neighbors
from cases.airfoil_rans.optimization import Design
from gradopt import Dataset
from gradopt.surrogates.fitted.surrogate import Surrogate

TARGET = 0.02  # largest relative error on the sweep inside the data, -1 to 5 degrees; by hand


@dataclass(frozen=True, eq=False)
class Study:
    """Result of a run.

    Attributes:
        data: All samples.
        held_out: Samples that were held out.
        training: Accuracy and seconds of each fit, by name.
        surrogate: Average of networks.
        calibration: Errors of the surrogate on the held-out samples.
        sweep: The sweep of the NACA 4412.
        swept: Predicted drag coefficients of the sweep (k,).
        designs: The start, the optimum within the limit, and the one without, by name.
        neighbors: Samples nearest to each design, by name.
        limit: Largest distance to the data that was allowed, in standard deviations.
        settings: Settings of the run.
    """

    data: Dataset
    held_out: Dataset
    training: Mapping[str, Mapping[str, float]]
    surrogate: Surrogate
    calibration: Calibration
    sweep: Sweep
    swept: np.ndarray
    designs: Mapping[str, Design]
    neighbors: Mapping[str, Neighbors]
    limit: float
    settings: Mapping[str, Any]

    @property
    def inside(self) -> np.ndarray:
        """Which points of the sweep (k,) have an angle of attack within the data."""
        angles = self.data.x[:, ANGLE]
        return (self.sweep.alpha >= angles.min()) & (self.sweep.alpha <= angles.max())

    @property
    def sweep_errors(self) -> np.ndarray:
        """Relative errors along the sweep (k,)."""
        return np.asarray(self.swept / self.sweep.cd - 1.0)

    def half_width(self, design: Design) -> float:
        """Half width of the 90 % interval of the drag coefficient of a design."""
        return self.calibration.factor(design.distance) * design.std

    def true_drag(self, design: Design) -> float | None:
        """Drag coefficient where the sweep has the very shape and flow, None elsewhere."""
        same = np.isclose(self.sweep.x, design.x, rtol=0.0, atol=1e-12).all(axis=1)
        return float(self.sweep.cd[same][0]) if same.any() else None


def tables(study: Study) -> list[RenderableType]:
    """Return texts and tables to print."""
    return [
        ranges_table(study.data),
        _training(study),
        _distances(study),
        _sweep(study),
        _designs(study),
        _neighbors(study),
        *_remarks(study),
    ]


def record(study: Study) -> dict[str, Any]:
    """Return the record for `result.json`."""
    calibration, largest = study.calibration, float(np.abs(study.sweep_errors[study.inside]).max())
    designs = {}
    for name, design in study.designs.items():
        half, backed = study.half_width(design), calibration.backed(design.distance)
        designs[name] = {
            **vars(design),
            "disagreement": design.disagreement,
            "interval": (design.drag - half, design.drag + half) if backed else None,
            "interval_coverage": calibration.coverage(design.distance, study.settings["seed"]) if backed else None,
            "held_out_farther": calibration.part_beyond(design.distance),
            "true": study.true_drag(design),
            "nearest": vars(study.neighbors[name]),
        }
    return {
        "case": "airfoil_rans",
        "settings": study.settings,
        "samples": study.data.n,
        "held_out": study.held_out.n,
        "training": study.training,
        "errors_by_distance": calibration.rows(),
        "sweep": {
            "reynolds": REYNOLDS_OF_SWEEP,
            "mach": MACH_OF_SWEEP,
            "alpha": study.sweep.alpha,
            "true": study.sweep.cd,
            "predicted": study.swept,
            "relative_error": study.sweep_errors,
            "inside": study.inside,
            "largest_inside": largest,
            "within_target": largest <= TARGET,
        },
        "limit": study.limit,
        "designs": designs,
    }


def _training(study: Study) -> Table:
    table = Table(title=f"errors on {study.held_out.n} held-out samples, in drag counts of 1e-4")
    for label in ("network", "R2", "RMSE", "mean", "largest", "RMS, %", "R2 of partials", "s"):
        first = label == "network"
        table.add_column(label, justify="left" if first else "right", no_wrap=first)
    for name, of in study.training.items():
        cells = (of["rmse_counts"], of["mae_counts"], of["max_counts"], 100.0 * of["relative_rms"])
        texts = (f"{of['r2']:.5f}", *(f"{cell:.3g}" for cell in cells), f"{of['gradient_r2']:.4f}")
        table.add_row(name, *texts, f"{of['seconds']:.0f}")
    return table


def _distances(study: Study) -> Table:
    caption = "p90: not exceeded by 90 % of the errors; covered: errors within 1.645 predicted standard deviations"
    table = Table(title="the average on held-out shapes, by their distance to the data", caption=caption)
    for label in ("part", "distance", "n", "RMS %", "p90 %", "std %", "covered %"):
        table.add_column(label, justify="right", no_wrap=True)
    for row in study.calibration.rows():
        (low, high), (near, far) = row["quantiles"], row["distances"]
        percents = (100.0 * row[name] for name in ("relative_rms", "relative_p90", "std", "coverage_of_std"))
        texts = (f"{cell:.3g}" for cell in percents)
        table.add_row(f"{low:g} to {high:g}", f"{near:.2f} to {far:.2f}", str(row["samples"]), *texts)
    return table


def _sweep(study: Study) -> Table:
    table = Table(title=f"NACA 4412, Mach {MACH_OF_SWEEP}, Re {REYNOLDS_OF_SWEEP / 1e6:g} million: not in the data")
    for label in ("alpha, deg", "ADflow, counts", "predicted", "error, %", ""):
        table.add_column(label, justify="right")
    points = zip(study.sweep.alpha, study.sweep.cd, study.swept, study.sweep_errors, study.inside, strict=True)
    for alpha, true, predicted, error, inside in points:
        cells = (f"{alpha:g}", f"{true / COUNT:.2f}", f"{predicted / COUNT:.2f}", f"{100.0 * error:+.2f}")
        table.add_row(*cells, "" if inside else "extrapolated")
    return table


def _designs(study: Study) -> Table:
    start = study.designs["NACA 4412"]
    title = f"least drag at Mach {start.mach:g}, {start.angle:g} degrees; limit: a distance of {study.limit:.2f}"
    caption = (
        f"{100.0 * LEVEL:g} %: half width of the interval, and how many held-out samples at that distance it covers; "
        "apart: standard deviation of the networks; beyond: held-out shapes that are farther from the data"
    )
    table = Table(title=title, caption=caption)
    labels = ("shape", "counts", f"{100.0 * LEVEL:g} %", "covers", "apart %", "distance", "beyond %")
    for label in labels:
        table.add_column(label, justify="left" if label == "shape" else "right", no_wrap=True)
    for name, design in study.designs.items():
        interval, coverage = "none", ""
        if study.calibration.backed(design.distance):
            interval = f"+- {study.half_width(design) / COUNT:.2f}"
            coverage = f"{100.0 * study.calibration.coverage(design.distance, study.settings['seed']):.0f} %"
        table.add_row(
            name if design.success else f"{name} (not converged)",
            f"{design.drag / COUNT:.2f}",
            interval,
            coverage,
            f"{100.0 * design.disagreement:.2g}",
            f"{design.distance:.2f}",
            f"{100.0 * study.calibration.part_beyond(design.distance):.2g}",
        )
    return table


def _neighbors(study: Study) -> Table:
    table = Table(title="the nearest held-out samples, and how well they were predicted")
    for label in ("of", "Mach", "alpha, deg", "distance", "true, counts", "predicted"):
        table.add_column(label, justify="left" if label == "of" else "right", no_wrap=label == "of")
    for name, near in study.neighbors.items():
        for k in range(len(near.drag)):
            flow = (f"{near.flow[k, 0]:.3f}", f"{near.flow[k, 1]:.2f}", f"{near.shape[k]:.2f}")
            drag = (f"{near.drag[k] / COUNT:.2f}", f"{near.predicted[k] / COUNT:.2f}")
            table.add_row("" if k else name, *flow, *drag, end_section=k == len(near.drag) - 1)
    return table


def _remarks(study: Study) -> list[str]:
    calibration, errors = study.calibration, 100.0 * study.sweep_errors[study.inside]
    start, optimum, anywhere = (study.designs[name] for name in ("NACA 4412", "optimum, limited", "optimum, free"))
    farther = 100.0 * calibration.part_beyond(start.distance)
    worse = 100.0 * calibration.part_worse(start.distance, float(np.abs(errors).max()) / 100.0)
    change = optimum.drag - start.drag
    lines = [
        f"Sweep, inside the data: {errors.min():+.2f} to {errors.max():+.2f} %; target: within {100.0 * TARGET:g} %. "
        f"{farther:.2g} % of the held-out shapes are farther from the data than the NACA 4412; of those about as far "
        f"{worse:.2g} % err more.",
        f"Without the limit SLSQP goes to a distance of {anywhere.distance:.1f}; the farthest held-out shape is at "
        f"{calibration.distances.max():.1f}. The networks disagree there by {100.0 * anywhere.disagreement:.2g} %, at "
        f"the start by {100.0 * start.disagreement:.2g} %.",
        f"Predicted change from the start to the optimum within the limit: {100.0 * change / start.drag:+.2f} %. The "
        f"start would change as much by {change / start.slope:+.2f} degrees of angle of attack: the data hold no lift, "
        "so the optimum may have lost as much lift.",
    ]
    true = study.true_drag(start)
    if true is not None:
        lines.append(
            f"At the start ADflow gives {true / COUNT:.2f} counts, {start.drag / COUNT:.2f} are predicted. Intervals "
            "come from the data; they do not include an offset between data and sweep."
        )
    return lines
