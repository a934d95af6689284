"""The record of a run: every point at which its truths were evaluated, and its history. For `loop.digests`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import gradopt as go
from gradopt.truth.protocol import Truth

ROUND_OFF = 2e-15
"""Standard deviation of the relative error that `disturbance` adds: ten times the resolution of float64; by hand."""

_RANDOM: ContextVar[np.random.Generator | None] = ContextVar("_RANDOM", default=None)


@contextmanager
def disturbance(seed: int) -> Iterator[None]:
    """Add round-off to all outputs of truths within the context, as another CPU or library may."""
    token = _RANDOM.set(np.random.default_rng(seed))
    try:
        yield
    finally:
        _RANDOM.reset(token)


def disturbed(values: np.ndarray) -> np.ndarray:
    """Return outputs or partials of a truth, with round-off added within `disturbance`."""
    random = _RANDOM.get()
    return values if random is None else values * (1.0 + ROUND_OFF * random.standard_normal(np.shape(values)))


@dataclass(frozen=True, eq=False)
class Recorded:
    """A truth model that keeps a copy of each point at which it is evaluated.

    Attributes:
        truth: The truth model.
        points: The points (d,) in the order of their evaluation, failed ones and those of finite differences included.
    """

    truth: Truth
    points: list[np.ndarray] = field(default_factory=list)

    @property
    def inputs(self) -> tuple[go.Variable, ...]:
        """Variables of the columns of `x`."""
        return self.truth.inputs

    @property
    def outputs(self) -> tuple[go.Variable, ...]:
        """Variables of the columns of `y`."""
        return self.truth.outputs

    @property
    def identity(self) -> str | None:
        """Identity of the truth model."""
        return self.truth.identity

    def evaluate(self, x: ArrayLike) -> go.Evaluations:
        """Evaluate points x (n, d)."""
        self.points.extend(np.array(x, dtype=np.float64))
        found = self.truth.evaluate(x)
        return replace(found, y=disturbed(found.y), dydx=disturbed(found.dydx))


@dataclass(frozen=True, eq=False)
class Record:
    """What one run did.

    Attributes:
        points: For each truth model all evaluated points, in order.
        history: For each iteration u, objective, radius and whether it was accepted.
        exit: Reason of the termination.
        evaluations: Number of evaluations, as the run reports it.
        objective: Objective at the end.
    """

    points: tuple[tuple[np.ndarray, ...], ...]
    history: tuple[tuple[np.ndarray, float, float, bool], ...]
    exit: str
    evaluations: int
    objective: float

    @property
    def marks(self) -> list[str]:
        """Short hashes of the points and then of the iterations: the first that differs shows where two runs part."""
        return [_sha256([point])[:8] for points in self.points for point in points] + [
            _sha256(one)[:8] for one in self.history
        ]

    @property
    def sha256(self) -> str:
        """Hash of the bytes of all points, then of the history."""
        columns = zip(*self.history, strict=True) if self.history else ()
        return _sha256([part for parts in (*self.points, *columns) for part in parts])


def _sha256(parts: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for part in parts:
        array = np.asarray(part, dtype=np.float64)
        found.update(np.where(np.isnan(array), np.nan, array).tobytes())  # one pattern of bits for every NaN
    return found.hexdigest()


def record(truths: Iterable[Recorded], history: Iterable[Any], exit: str, evaluations: int, objective: Any) -> Record:
    """Make the record of a run from the history of the loop."""
    kept = tuple((one.u.copy(), float(one.objective), float(one.radius), bool(one.accepted)) for one in history)
    points = tuple(tuple(truth.points) for truth in truths)
    return Record(points, kept, exit, evaluations, float(np.ravel(objective)[0]))
