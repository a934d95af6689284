"""Plain JSON values of results and records."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np


def plain_json(value: Any) -> Any:
    """Convert a value to plain JSON values, recursively.

    Args:
        value: Number, string, None, array or NumPy scalar, or mappings, lists and tuples of them.

    Returns:
        The same in dictionaries with string keys, lists, strings, finite numbers, booleans and None. A number that is
        not finite becomes None.
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain_json(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
