"""How tests look at a figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

Pixels = Callable[[Figure], bytes]


@pytest.fixture
def pixels() -> Pixels:
    """Draw a figure coarsely, check that something shows, and return its pixels."""

    def draw(figure: Figure) -> bytes:
        figure.set_dpi(40)
        canvas: Any = figure.canvas
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())
        assert drawn[..., :3].std() > 2.0
        return drawn.tobytes()

    return draw
