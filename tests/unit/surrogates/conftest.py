"""Data of several tests, and a callback that acts once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradopt import Dataset
from gradopt.training.result import Callback


@pytest.fixture
def waves() -> Callable[..., Dataset]:
    """Return a function that makes samples of two outputs of two inputs with their partials."""

    def make(n: int = 14, noise: float = 0.0) -> Dataset:
        rng = np.random.default_rng(0)
        x = rng.uniform(-2.0, 2.0, (n, 2))
        phase = x @ [1.0, 0.5]
        y = np.stack([np.sin(phase), x[:, 0] * x[:, 1]], axis=1)
        slopes = np.cos(phase)[:, None] * [1.0, 0.5]
        dydx = np.stack([slopes, x[:, ::-1]], axis=1)
        return Dataset(x, y + noise * rng.normal(size=y.shape), dydx)

    return make


@pytest.fixture
def at_call() -> Callable[[int, Callback], Callback]:
    """Return a function that makes callbacks that act at one call, counted from 1."""

    def make(number: int, act: Callback) -> Callback:
        left = iter(range(number - 1, -1, -1))
        return lambda progress: act(progress) if next(left) == 0 else None

    return make
