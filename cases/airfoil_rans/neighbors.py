"""What the nearest samples say of a design: their true drag, and that drag carried to the design by its partials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.airfoil_rans.data import FLOW, MODES
from cases.airfoil_rans.optimization import Design
from cases.airfoil_rans.trust import Trust
from gradopt import Dataset


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Samples near a design in shape and flow.

    Attributes:
        rows: Rows in the data (k,), the nearest first.
        shape: Distances in shape (k,), in standard deviations.
        flow: Mach numbers and angles of attack (k, 2).
        drag: True drag coefficients (k,).
        carried: The same at the design (k,), to first order in the logarithm, by the partials of the sample.
    """

    rows: np.ndarray
    shape: np.ndarray
    flow: np.ndarray
    drag: np.ndarray
    carried: np.ndarray


def neighbors_of(design: Design, data: Dataset, trust: Trust, k: int) -> Neighbors:
    """Find the samples nearest to a design.

    Args:
        design: The design.
        data: Samples.
        trust: Gives the scale of the modes.
        k: How many.

    Returns:
        The k samples, by distance in shape and flow, all in standard deviations of the data.
    """
    steps = design.x - data.x
    shape = np.sqrt(((steps[:, MODES] @ trust.whitening.T) ** 2).sum(axis=1))
    flow = steps[:, FLOW] / data.x[:, FLOW].std(axis=0)
    rows = np.argsort(shape**2 + (flow**2).sum(axis=1), kind="stable")[:k]
    drag = data.y[rows, 0]
    carried = drag * np.exp((data.partials[rows, 0] * steps[rows]).sum(axis=1) / drag)
    return Neighbors(rows, shape[rows], data.x[rows, FLOW], drag, carried)
