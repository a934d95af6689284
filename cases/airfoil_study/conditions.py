"""Design conditions, each with one airfoil to design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from gradopt.data.sampling import sobol
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain

RANGES = {
    "lift": (0.3, 0.9),
    "reynolds_exponent": (6.0, 7.0),
    "moment": (-0.15, -0.03),
    "thickness": (0.85, 1.15),
}
"""Lower and upper end of each number of a `Condition`; by hand."""

_WORDS = {
    "lift": "a lift coefficient",
    "reynolds_exponent": "log10 of a Reynolds number",
    "moment": "a lower bound of the moment coefficient",
    "thickness": "a factor on the lower bounds of the thicknesses",
}


@dataclass(frozen=True)
class Condition:
    """One design condition.

    Attributes:
        lift: Lift coefficient that the design must have.
        reynolds_exponent: Decimal logarithm of the Reynolds number of the chord.
        moment: Lower bound of the moment coefficient about the quarter chord.
        thickness: Factor on the lower bound of the thickness at every station.

    Raises:
        InputError: If a number lies outside its range in `RANGES`.
    """

    lift: float
    reynolds_exponent: float
    moment: float
    thickness: float

    def __post_init__(self) -> None:
        """Check every number."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                remedy = "Choose one inside: the surrogate has no data beyond."
                raise InputError(explain(name, f"be {_WORDS[name]} from {low:g} to {high:g}", value, remedy))


def sample_conditions(n: int, seed: int) -> list[Condition]:
    """Spread conditions over `RANGES`.

    Args:
        n: Number of conditions.
        seed: Seed of the scrambled Sobol sequence.

    Returns:
        The conditions.
    """
    inputs = [Variable(name, lower=low, upper=high) for name, (low, high) in RANGES.items()]
    return [Condition(*row) for row in sobol(inputs, n, seed).tolist()]


def coordinates_of(conditions: Sequence[Condition]) -> np.ndarray:
    """Return coordinates of conditions in the unit cube (n, 4): 0 and 1 are the ends of `RANGES`."""
    low, high = np.array(list(RANGES.values())).T
    return (np.array([astuple(condition) for condition in conditions]).reshape(-1, len(low)) - low) / (high - low)


def neighbor_order(conditions: Sequence[Condition]) -> tuple[list[int], list[int]]:
    """Order conditions so that each is near one before it.

    The first is the condition nearest to the mean of all. Each next one is the nearest to any condition before it.

    Args:
        conditions: One condition at least.

    Returns:
        The order, and for each in that order the index of its nearest predecessor; -1 for the first.
    """
    place = coordinates_of(conditions)
    apart = np.linalg.norm(place[:, None] - place, axis=2)
    order = [int(np.linalg.norm(place - place.mean(axis=0), axis=1).argmin())]
    parents = [-1]
    while len(order) < len(conditions):
        rest = [i for i in range(len(conditions)) if i not in order]
        distances = apart[np.ix_(rest, order)]
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        parents.append(order[column])
        order.append(rest[row])
    return order, parents
