"""Plain JSON values of arrays, tuples and numbers that are not finite."""

from __future__ import annotations

import json
from types import MappingProxyType

import numpy as np

from gradopt.data.json_values import plain_json


def test_nested_values_become_what_json_reads_back() -> None:
    given = {
        "array": np.array([[1.0, np.nan], [np.inf, -0.5]]),
        "scalars": (np.float64(2.5), np.int64(3), np.bool_(True)),
        3: MappingProxyType({"text": "a", "none": None}),
    }
    expected = {
        "array": [[1.0, None], [None, -0.5]],
        "scalars": [2.5, 3, True],
        "3": {"text": "a", "none": None},
    }
    assert json.loads(json.dumps(plain_json(given), allow_nan=False)) == expected
