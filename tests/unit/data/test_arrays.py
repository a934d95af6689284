"""Arrays of records: frozen in place."""

from __future__ import annotations

import numpy as np
import pytest

from gradopt.data.arrays import frozen


def test_a_frozen_array_is_the_same_one_and_cannot_be_written() -> None:
    array = np.zeros(2)
    assert frozen(array) is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
