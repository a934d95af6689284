"""Lengths of variables."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.data.lengths import lengths_of, without_loose


@pytest.mark.parametrize(
    ("lower", "upper", "x", "length"),
    [
        (-2.0, 2.0, 1.2, 4.0),  # its range
        (-2.0, 2.0, 0.0, 4.0),
        (-2.0, 2.0, 1e-9, 4.0),  # an optimum at 0, not quite reached
        (-1e4, 1e4, 1.0, 100.0),  # bounds that say nothing
        (1e-7, 1e-5, 5e-6, 9.9e-6),
        (-1e9, 1e9, 0.0, 1.0),
        (-np.inf, np.inf, 3.0, 3.0),  # no bounds
        (-np.inf, 5.0, 3.0, 3.0),
        (-np.inf, np.inf, 0.3, 1.0),
        (2.0, 2.0, 2.0, 2.0),  # fixed
    ],
)
def test_length(lower: float, upper: float, x: float, length: float) -> None:
    assert lengths_of(np.array([lower]), np.array([upper]), np.array([x])) == pytest.approx(length, rel=1e-12)


def test_bounds_of_1e20_are_none() -> None:
    assert without_loose(np.array([-1e20, 1e30, 9e19, -np.inf])).tolist() == [-np.inf, np.inf, 9e19, -np.inf]
