"""What a case is: an expensive truth inside a cheap, exact model, and how to optimize it on surrogates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradopt.data.variables import Variable
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.configurations.polish import Polish

Function = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x (d,) -> y (m,) and dydx (m, d), physical; raises `EvaluationError` where it fails."""


@dataclass(frozen=True)
class Response:
    """What the driver minimizes or constrains.

    Attributes:
        name: Name of an output of the model.
        kind: "minimize" or "maximize", "equals", "lower" or "upper".
        bound: Bound of a constraint, a number or one for each entry of the output.
        ref: Value that the driver sees as 1.
        shown_unit: What people call the unit, in tables and pictures.
        shown_per_unit: How many of these one is.
    """

    name: str
    kind: str
    bound: float | tuple[float, ...] = 0.0
    ref: float = 1.0
    shown_unit: str = ""
    shown_per_unit: float = 1.0

    @property
    def is_objective(self) -> bool:
        """Whether it is what the driver minimizes or maximizes, not a constraint."""
        return self.kind in ("minimize", "maximize")

    @property
    def driver_ref(self) -> float:
        """Value that the driver sees as 1: negative where less of what it sees is more of this."""
        return -self.ref if self.kind == "maximize" else self.ref

    def violation(self, value: np.ndarray) -> float:
        """How far a value of the output, any shape, is beyond the bound.

        0 where it is met, as for an objective; infinite where the value is NaN, because the truth failed.
        """
        if np.isnan(value).any():
            return np.inf
        if self.is_objective:
            return 0.0
        gap = np.ravel(value) - np.asarray(self.bound)
        beyond = {"equals": np.abs(gap), "lower": -gap, "upper": gap}[self.kind]
        return max(float(beyond.max()), 0.0)


@dataclass(frozen=True)
class Stage:
    """One step of the training: a fit, or a polish of the stage before.

    Attributes:
        label: Name in tables and pictures.
        configuration: What to fit, or None to polish the surrogates of the stage before.
        polish: How to polish, where there is no configuration.
    """

    label: str
    configuration: JENN | MLP | None = None
    polish: Polish | None = None


@dataclass(frozen=True)
class Case:
    """An optimization problem and the recipe to solve it in one shot, on surrogates that are fitted once.

    Attributes:
        name: Name on the command line.
        title: One line that says what is optimized.
        citation: Where truth and problem come from.
        inputs: Inputs of the truth; their bounds are the region that is sampled.
        outputs: Outputs of the truth.
        truth: The expensive part, with partials.
        start: Where the driver starts (d,).
        lower: Lower bounds of the design variables on a surrogate (d,): where it can be trusted.
        upper: Upper bounds likewise (d,).
        limits: Lower and upper bounds of the true problem, each (d,), for a reference run on the truth itself.
        responses: Objective first, then constraints.
        design: (n, seed) -> points (n, d) of the design of experiments.
        samples: Truth evaluations of the design of experiments, the start among them.
        held_out: Further truth evaluations that only check the surrogate.
        stages: The training; the last stage's optimum is the answer.
        exact: Makes the cheap subsystems that stay exact, by name.
        separate: Whether each output gets a network of its own.
        probes: Truth evaluations already spent on laying out the case.
        identity: What the truth computes, see `FunctionTruth`; None where its source tells all.
        optimum: Known optimum x (d,) of the truth, or None.
        draw: Draws the pictures that only this case has into a folder and returns them.
        settings: What `result.json` should tell of the problem.
    """

    name: str
    title: str
    citation: str
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    truth: Function
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    limits: tuple[np.ndarray, np.ndarray]
    responses: tuple[Response, ...]
    design: Callable[[int, int], np.ndarray]
    samples: int
    held_out: int
    stages: Sequence[Stage]
    exact: Callable[[], dict[str, Any]] = dict
    separate: bool = False
    probes: int = 0
    identity: str | None = None
    optimum: np.ndarray | None = None
    draw: Callable[[Any, Path], list[Path]] = lambda result, folder: []
    settings: dict[str, Any] = field(default_factory=dict)
