"""A case: an expensive truth model (the truth) inside a cheap, exact model, and its surrogates."""

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
    """Output of the model that the driver minimizes, maximizes or constrains.

    Attributes:
        name: Name of an output of the model.
        kind: "minimize" or "maximize", "equals", "lower" or "upper".
        bound: Bound of a constraint, a number or one for each entry of the output.
        ref: Value that the driver sees as 1.
        shown_unit: Customary unit, in tables and pictures.
        shown_per_unit: Number of customary units in one unit of the model.
    """

    name: str
    kind: str
    bound: float | tuple[float, ...] = 0.0
    ref: float = 1.0
    shown_unit: str = ""
    shown_per_unit: float = 1.0

    @property
    def is_objective(self) -> bool:
        """Whether the response is the objective, not a constraint."""
        return self.kind in ("minimize", "maximize")

    @property
    def driver_ref(self) -> float:
        """Value that the driver sees as 1; negative where the objective is maximized."""
        return -self.ref if self.kind == "maximize" else self.ref

    def violation(self, value: np.ndarray) -> float:
        """Distance of a value of the output, any shape, beyond the bound.

        0 where the bound is met, and for an objective; infinite where the value is NaN, as the truth failed.
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
        configuration: Surrogate to fit, or None to polish those of the stage before.
        polish: Settings of the polish, where there is no configuration.
    """

    label: str
    configuration: JENN | MLP | None = None
    polish: Polish | None = None


@dataclass(frozen=True)
class Case:
    """An optimization problem, and how to solve it on surrogates that are fitted once.

    Attributes:
        name: Name on the command line.
        title: One line on what is optimized.
        citation: Source of truth and problem.
        inputs: Inputs of the truth; their bounds are the sampled region.
        outputs: Outputs of the truth.
        truth: Expensive part, with partials.
        start: Initial design (d,).
        lower: Lower bounds of the design variables on a surrogate (d,), within the sampled region.
        upper: Upper bounds likewise (d,).
        limits: Lower and upper bounds of the true problem, each (d,), for a reference run on the truth itself.
        responses: Objective first, then constraints.
        design: (n, seed) -> points (n, d) of the design of experiments.
        samples: Truth evaluations of the design of experiments, the start among them.
        held_out: Further truth evaluations that only check the surrogate.
        stages: Trainings in order; the optimum of the last is the final design.
        exact: Function that makes the cheap subsystems, which stay exact, by name.
        separate: Whether each output gets a network of its own.
        probes: Truth evaluations spent before, to lay out the case.
        identity: Identity of the truth, see `FunctionTruth`; None where its source is enough.
        optimum: Known optimum x (d,) of the truth, or None.
        draw: Function that draws the pictures of this case into a folder and returns their paths.
        settings: Settings of the problem, for `result.json`.
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
