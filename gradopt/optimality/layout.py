"""Names and scaling of flat arrays of design variables or constraints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Arrays = dict[str, np.ndarray]
"""Flat arrays by name."""


class Layout:
    """Where the entries of named quantities stand in a flat array, and how they are scaled.

    Attributes:
        names: Names, in the order of the flat array.
        scaler: Factor from physical to scaled values for each entry (size,).
    """

    def __init__(self, names: Sequence[str], sizes: Sequence[int], scaler: np.ndarray) -> None:
        """Lay quantities side by side.

        Args:
            names: Names.
            sizes: Number of entries of each.
            scaler: Factor from physical to scaled values for each entry.
        """
        self.names = list(names)
        self.scaler = scaler
        self._ends = np.cumsum(np.asarray(sizes, dtype=int), dtype=int)

    def split(self, flat: np.ndarray) -> Arrays:
        """Cut a flat array into one for each name."""
        return dict(zip(self.names, np.split(flat, self._ends[:-1]), strict=True)) if self.names else {}

    def place(self, index: int) -> tuple[str, int]:
        """Return the name, and the index within the quantity, of a flat index."""
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.names[which], int(index - (self._ends[which - 1] if which else 0))

    def unscaled_sides(self, active: np.ndarray) -> np.ndarray:
        """Turn active sides of scaled values into those of physical ones: a negative scaler swaps them."""
        return np.where((self.scaler < 0.0) & (active != 2), -active, active)
