"""Held-out samples nearest to a design: their true and their predicted drag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.airfoil_rans.data import FLOW, MODES
from cases.airfoil_rans.optimization import Design
from gradopt import Dataset
from gradopt.om.data_distance import DataDistance
from gradopt.surrogates.fitted.surrogate import Surrogate


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Samples near a design in shape and flow.

    Attributes:
        shape: Distances in shape (k,), in standard deviations of whitened modes.
        flow: Mach numbers and angles of attack (k, 2).
        drag: True drag coefficients (k,).
        predicted: Predicted ones (k,).
    """

    shape: np.ndarray
    flow: np.ndarray
    drag: np.ndarray
    predicted: np.ndarray


def neighbors_of(
    design: Design, held_out: Dataset, surrogate: Surrogate, data_distance: DataDistance, k: int
) -> Neighbors:
    """Find the held-out samples nearest to a design.

    Args:
        design: The design.
        held_out: Samples that the surrogate has not seen.
        surrogate: Surrogate of the drag.
        data_distance: Measure that gives the scale of the modes.
        k: Number of samples.

    Returns:
        The k samples, by distance in shape and flow, all in standard deviations, the nearest first.
    """
    steps = design.x - held_out.x
    shape = np.sqrt(((steps[:, MODES] @ data_distance.whitening.T) ** 2).sum(axis=1))
    flow = steps[:, FLOW] / held_out.x[:, FLOW].std(axis=0)
    rows = np.argsort(shape**2 + (flow**2).sum(axis=1), kind="stable")[:k]
    near = held_out.select(rows)
    return Neighbors(shape[rows], near.x[:, FLOW], near.y[:, 0], surrogate.predict(near.x)[:, 0])
