"""Trials of certificates: a smooth problem, its units and bounds, and what spoils its truth.

For `loop.certificates_by_kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from scripts.loop.misleading_trials import Evaluation
from scripts.shared.loop_problems import Function, LoopProblem

Spoil = Callable[[Function], Function]


@dataclass(frozen=True, eq=False)
class Units:
    """Factors from the numbers of the smooth problem to those of the truth.

    Attributes:
        objective: Factor of the objective.
        variables: Factor of each design variable, or one for all.
        constraints: Factor of each constraint, or one for all.
        ref: Whether the factors of objective and constraints are also their `ref`; with `Trial.driver` those of the
            design variables too.
    """

    objective: float = 1.0
    variables: float | Sequence[float] = 1.0
    constraints: float | Sequence[float] = 1.0
    ref: bool = False

    def __str__(self) -> str:
        """Return what differs from 1."""
        parts = {"f": self.objective, "x": self.variables, "c": self.constraints}
        shown = [
            f"{name} times {np.array2string(np.asarray(by))}"
            for name, by in parts.items()
            if np.any(np.asarray(by) != 1.0)
        ]
        return ", ".join([*shown, *(["ref"] if self.ref else [])])


def same(function: Function) -> Function:
    """Leave the truth as it is."""
    return function


@dataclass(frozen=True, eq=False)
class CertificateTrial:
    """One run of the loop whose end is judged on the smooth problem, in its own units.

    Attributes:
        kind: Kind of trial.
        label: Variant of the kind, with all that differs; unique within the kind.
        base: Smooth problem.
        start: Start (d,), in the units of `base`.
        spoil: Function from the truth of `base` to the one that is evaluated, in the units of `base`.
        bounds: Lower and upper bounds of the design variables, each (d,), in the units of `base`.
        units: Units of the truth.
        step: Step of finite differences; None for the default.
        right: Whether the partials that the truth returns are those of `base`.
        driver: Whether `AdaptiveDriver` makes the run; else `Optimizer`.
        parts: Truths of consecutive entries of x that are added up, with the number of entries of each; () for one.
        max_evaluations: Budget.
    """

    kind: str
    label: str
    base: LoopProblem
    start: np.ndarray
    spoil: Spoil = same
    bounds: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.empty(0), np.empty(0)))
    units: Units = Units()
    step: float | None = None
    right: bool = True
    driver: bool = False
    parts: tuple[tuple[int, Function], ...] = ()
    max_evaluations: int = 80

    @property
    def lower(self) -> np.ndarray:
        """Lower bounds (d,) of the design variables, in the units of `base`."""
        return self.bounds[0] if self.bounds[0].size else self.base.lower

    @property
    def upper(self) -> np.ndarray:
        """Upper bounds (d,) likewise."""
        return self.bounds[1] if self.bounds[1].size else self.base.upper

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of objective and constraints (1 + m,), and of the design variables (d,)."""
        m, d = self.base.c_lower.size, self.start.size
        of = np.append(self.units.objective, np.broadcast_to(self.units.constraints, m))
        return of, np.broadcast_to(np.asarray(self.units.variables, dtype=float), d).copy()

    def truth(self, function: Function | None = None, entries: slice = slice(None)) -> Function:
        """Return the truth in its units.

        Args:
            function: Function of some entries of x in the units of `base`; None for the spoiled one.
            entries: Entries of x that it takes.
        """
        evaluated = self.spoil(self.base.truth) if function is None else function
        of, by = self.factors
        by = by[entries]

        def scaled(x: np.ndarray) -> Evaluation:
            y, dydx = evaluated(x / by)
            rows = of[: y.size]
            return rows * y, rows[:, None] * dydx / by

        return scaled


def wide(of: LoopProblem, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of +-size, or further where those of the problem are; active bounds of optima stay."""
    lower = np.where(_binding(of.name, of.lower), of.lower, np.minimum(of.lower, -size))
    return lower, np.maximum(of.upper, size)


def _binding(name: str, lower: np.ndarray) -> np.ndarray:
    return np.full(lower.shape, name in {"bounded bowl", "hs71", "sellar of one truth", "section"} or "at a" in name)


def no_partials(function: Function) -> Function:
    """Return no partials."""
    return missing(lambda y, x: np.ones((y.size, x.size), dtype=bool))(function)


def missing(mask: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Spoil:
    """Return NaN for the partials of a mask (m, d)."""

    def spoil(function: Function) -> Function:
        def spoiled(x: np.ndarray) -> Evaluation:
            y, dydx = function(x)
            return y, np.where(mask(y, x), np.nan, dydx)

        return spoiled

    return spoil


def column_missing(column: int) -> Spoil:
    """Return NaN for the partials of one input."""
    return missing(lambda y, x: np.arange(x.size)[None] == column % x.size)


def row_missing(row: int) -> Spoil:
    """Return NaN for the partials of one output."""
    return missing(lambda y, x: np.broadcast_to(np.arange(y.size)[:, None] == row % y.size, (y.size, x.size)))


def entries_missing(seed: int) -> Spoil:
    """Return NaN for about half of the partials, always the same ones."""
    return missing(lambda y, x: np.random.default_rng([seed, 7]).random((y.size, x.size)) < 0.5)


def off(row: int, column: int, error: float) -> Spoil:
    """Add an error to one partial."""

    def spoil(function: Function) -> Function:
        def spoiled(x: np.ndarray) -> Evaluation:
            y, dydx = function(x)
            wrong = dydx.copy()
            wrong[row % y.size, column % x.size] += error
            return y, wrong

        return spoiled

    return spoil


def relative(error: float, seed: int) -> Spoil:
    """Multiply each partial by 1 + error r with its own r in [-1, 1], always the same ones, as an adjoint may err."""

    def spoil(function: Function) -> Function:
        def spoiled(x: np.ndarray) -> Evaluation:
            y, dydx = function(x)
            return y, dydx * (1.0 + error * np.random.default_rng([seed, 8]).uniform(-1.0, 1.0, dydx.shape))

        return spoiled

    return spoil


def _digits(count: int, value: float) -> float:
    return float(f"{value:.{count}g}")


def _decimals(count: int, value: float) -> float:
    return float(f"{value:.{count}f}")


def _float32(value: float) -> float:
    return float(np.float32(value))


def _twentieths(value: float) -> float:
    return float(np.floor(20.0 * value) / 20.0)


QUANTIZERS: dict[str, Callable[[float], float]] = {
    **{f"{count} digits": partial(_digits, count) for count in (3, 4, 5, 6, 8)},
    **{f"{count} decimals": partial(_decimals, count) for count in (2, 4, 6)},
    "float32": _float32,
    "integers": _twentieths,
}
"""Functions that leave few digits of a value, by name; whole numbers are those of 20 times the value."""


def few_digits(name: str, rows: str, shift: float = 0.0) -> Spoil:
    """Leave few digits of the objective, of the constraints, or of all, and return no partials.

    Args:
        name: Key of `QUANTIZERS`.
        rows: "objective", "constraints" or "all".
        shift: Number that is added to the objective before.
    """
    quantized = QUANTIZERS[name]

    def spoil(function: Function) -> Function:
        def spoiled(x: np.ndarray) -> Evaluation:
            y, dydx = function(x)
            y = y + shift * (np.arange(y.size) == 0)
            chosen = {"objective": [0], "constraints": range(1, y.size), "all": range(y.size)}[rows]
            for k in chosen:
                y[k] = quantized(float(y[k]))
            return y, np.full_like(dydx, np.nan)

        return spoiled

    return spoil


def after(*spoils: Spoil) -> Spoil:
    """Apply several, the first one first."""

    def spoil(function: Function) -> Function:
        for each in spoils:
            function = each(function)
        return function

    return spoil
