"""What a run found, its tables, and its record."""

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
from gradopt.surrogates.fitted import Surrogate

TARGET = 0.02  # relative error on the part of the sweep that is inside the data and within -1 to 5 degrees
_WORDS = {"samples": "n", "relative_rms": "RMS, %", "relative_p90": "90 % below, %", "std": "std, %"}


@dataclass(frozen=True, eq=False)
class Study:
    """What a run found.

    Attributes:
        data: All samples.
        held_out: Those that were held out.
        training: Accuracy and seconds of each fit, by name.
        surrogate: The average.
        calibration: Its errors on the held-out samples.
        sweep: The sweep of the NACA 4412.
        swept: Predicted drag coefficients there (k,).
        designs: Start, optimum within the limit, optimum anywhere, by name.
        neighbors: Samples nearest to each design, by name.
        limit: Largest distance from the data that was allowed.
        settings: Of the run.
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
    """Return what to print."""
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
    """Return what to write to `result.json`."""
    calibration, largest = study.calibration, float(np.abs(study.sweep_errors[study.inside]).max())
    designs = {}
    for name, design in study.designs.items():
        half, near = study.half_width(design), study.neighbors[name]
        designs[name] = {
            **vars(design),
            "interval": (design.drag - half, design.drag + half),
            "interval_backed_by_held_out_samples": calibration.backed(design.distance),
            "interval_coverage": calibration.coverage(design.distance, study.settings["seed"]),
            "held_out_farther": calibration.part_beyond(design.distance),
            "true": study.true_drag(design),
            "nearest": vars(near),
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
    table = Table(title=f"{study.held_out.n} held-out samples; drag counts of 1e-4")
    table.add_column("network")
    for label in ("R2", "RMSE", "mean |error|", "largest", "relative RMS, %", "R2 of partials", "s"):
        table.add_column(label, justify="right")
    for name, of in study.training.items():
        cells = (of["rmse_counts"], of["mae_counts"], of["max_counts"], 100.0 * of["relative_rms"])
        texts = (f"{of['r2']:.5f}", *(f"{cell:.3g}" for cell in cells), f"{of['gradient_r2']:.4f}")
        table.add_row(name, *texts, f"{of['seconds']:.0f}")
    return table


def _distances(study: Study) -> Table:
    table = Table(title="errors of the average by the distance of the held-out shapes from the data")
    for label in ("quantiles", "distance", *_WORDS.values(), "within 1.645 std, %"):
        table.add_column(label, justify="right")
    for row in study.calibration.rows():
        (low, high), (near, far) = row["quantiles"], row["distances"]
        percents = (100.0 * row[name] for name in ("relative_rms", "relative_p90", "std", "coverage_of_std"))
        texts = (f"{cell:.3g}" for cell in percents)
        table.add_row(f"{low:g} to {high:g}", f"{near:.2f} to {far:.2f}", str(row["samples"]), *texts)
    return table


def _sweep(study: Study) -> Table:
    title = (
        f"NACA 4412, Mach {MACH_OF_SWEEP}, Re {REYNOLDS_OF_SWEEP:.0e}: no sample of the data, and used for no choice"
    )
    table = Table(title=title)
    for label in ("alpha, deg", "ADflow, counts", "predicted", "error, %", ""):
        table.add_column(label, justify="right")
    points = zip(study.sweep.alpha, study.sweep.cd, study.swept, study.sweep_errors, study.inside, strict=True)
    for alpha, true, predicted, error, inside in points:
        cells = (f"{alpha:g}", f"{true / COUNT:.2f}", f"{predicted / COUNT:.2f}", f"{100.0 * error:+.2f}")
        table.add_row(*cells, "" if inside else "extrapolated")
    return table


def _designs(study: Study) -> Table:
    flow = next(iter(study.designs.values()))
    table = Table(title=f"least drag at Mach {flow.mach:g}, {flow.angle:g} degrees; distances up to {study.limit:.2f}")
    for label in (
        "shape",
        "drag, counts",
        f"{LEVEL:.0%} interval",
        "covers, %",
        "networks apart, %",
        "distance",
        "farther, %",
    ):
        table.add_column(label, justify="left" if label == "shape" else "right")
    for name, design in study.designs.items():
        interval, coverage = "none", ""
        if study.calibration.backed(design.distance):
            interval = f"+- {study.half_width(design) / COUNT:.2f}"
            coverage = f"{100.0 * study.calibration.coverage(design.distance, study.settings['seed']):.0f}"
        table.add_row(
            name if design.success else f"{name} (SLSQP did not converge)",
            f"{design.drag / COUNT:.2f}",
            interval,
            coverage,
            f"{100.0 * design.disagreement:.2g}",
            f"{design.distance:.2f}",
            f"{100.0 * study.calibration.part_beyond(design.distance):.2g}",
        )
    return table


def _neighbors(study: Study) -> Table:
    table = Table(title="the nearest samples: true drag, and carried to the design by their partials")
    for label in ("design", "Mach", "alpha, deg", "distance in shape", "true, counts", "at the design"):
        table.add_column(label, justify="left" if label == "design" else "right")
    for name, near in study.neighbors.items():
        for k in range(len(near.rows)):
            flow = (f"{near.flow[k, 0]:.3f}", f"{near.flow[k, 1]:.2f}", f"{near.shape[k]:.2f}")
            drag = (f"{near.drag[k] / COUNT:.1f}", f"{near.carried[k] / COUNT:.1f}")
            table.add_row("" if k else name, *flow, *drag, end_section=k == len(near.rows) - 1)
    return table


def _remarks(study: Study) -> list[str]:
    errors = 100.0 * study.sweep_errors[study.inside]
    start, optimum, anywhere = study.designs.values()
    largest = study.calibration.distances.max()
    lines = [
        f"Sweep, inside the data: errors of {errors.min():+.2f} to {errors.max():+.2f} %; target {100.0 * TARGET:g} %.",
        f"The NACA 4412 is a rare shape: {100.0 * study.calibration.part_beyond(start.distance):.2g} % of the held-out "
        f"shapes are farther from the data.",
        f"Without the measure SLSQP goes to a distance of {anywhere.distance:.1f}, where no shape is (the farthest held-"
        f"out one: {largest:.1f}), and the networks disagree by {100.0 * anywhere.disagreement:.2g} %.",
    ]
    true = study.true_drag(start)
    if true is not None:
        gain = optimum.drag / start.drag - 1.0
        lines.append(
            f"At the start ADflow says {true / COUNT:.2f} counts, predicted are {start.drag / COUNT:.2f}. "
            f"Predicted change to the optimum: {100.0 * gain:+.2f} %."
        )
    return lines
