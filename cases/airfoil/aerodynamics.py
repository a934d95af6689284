"""Section aerodynamics by NeuralFoil, a network trained on XFOIL, with exact partials from CasADi."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape
from gradopt.errors import EvaluationError, InputError, ShapeError, explain, import_extra

OUTPUTS = ("CL", "CD", "CM", "analysis_confidence")
"""Outputs in order, without unit: lift, drag, moment about the quarter chord, and a confidence, 0 to 1."""

MODEL_SIZES = ("xxsmall", "xsmall", "small", "medium", "large", "xlarge", "xxlarge", "xxxlarge")
"""Sizes of NeuralFoil's network: larger is closer to XFOIL and slower."""

N_INPUTS = 2 * WEIGHTS_PER_SIDE + 1
"""Eight upper weights, eight lower weights (fractions of chord), angle of attack (degrees)."""

REYNOLDS_EXPONENTS = (5.0, 8.0)
"""Decimal logarithms of Reynolds numbers that are taken as an input: from model aircraft to airliners."""

Floats = NDArray[np.float64]


class NeuralFoilTruth:
    """Incompressible section aerodynamics and its exact Jacobian, evaluated together.

    NeuralFoil runs once on CasADi's symbols; the graph that this leaves is evaluated in milliseconds. Copies are cheap;
    a pickle holds the network's weights, 4.5 MB at the default size.
    """

    def __init__(
        self, shape: KulfanShape, reynolds: float | None = 5e6, *, model_size: str = "xlarge", n_crit: float = 9.0
    ) -> None:
        """Build the function.

        Args:
            shape: Section with the fixed leading edge weight and trailing edge thickness; its weights are not used.
            reynolds: Reynolds number of the chord; None makes its decimal logarithm the last input.
            model_size: One of `MODEL_SIZES`.
            n_crit: Amplification exponent at which the flow turns turbulent; 9 is an ordinary wind tunnel.
        """
        if reynolds is not None and not (np.isfinite(reynolds) and reynolds > 0):
            raise InputError(explain("reynolds", "be a positive number", reynolds, "Try 5e6."))
        if model_size not in MODEL_SIZES:
            remedy = f"Try one of {', '.join(MODEL_SIZES)}."
            raise InputError(explain("model_size", "name a NeuralFoil network", repr(model_size), remedy))
        if not np.isfinite(n_crit):
            raise InputError(explain("n_crit", "be a finite number", n_crit, "Try 9."))
        self.shape = shape
        self.reynolds = reynolds
        self.model_size = model_size
        self.n_crit = n_crit
        self._function = self._build()

    @property
    def identity(self) -> str:
        """Everything that the values depend on, in words: another version, setting or section is another truth."""
        shape = self.shape
        reynolds = "10^x[17]" if self.reynolds is None else float(self.reynolds)
        settings = f"{self.model_size}, Re {reynolds}, n_crit {float(self.n_crit)}"
        edges = f"leading edge {float(shape.leading_edge_weight)}, trailing edge {float(shape.trailing_edge_thickness)}"
        return f"NeuralFoil {version('neuralfoil')} {settings}, {edges}"

    @property
    def n_inputs(self) -> int:
        """Number of inputs d: `N_INPUTS`, and one more where the Reynolds number is an input."""
        return N_INPUTS + (self.reynolds is None)

    def evaluate(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """Evaluate the aerodynamics at one design.

        Args:
            x: Upper weights, lower weights, angle of attack in degrees, and log10 of the Reynolds number where that is
                an input, (d,).

        Returns:
            `OUTPUTS` (4,) and their partials (4, d).

        Raises:
            EvaluationError: If any value or partial is not finite.
            InputError: If the Reynolds number is an input and not within `REYNOLDS_EXPONENTS`.
            ShapeError: If `x` is not (d,).
        """
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.n_inputs,):
            last = ", the angle of attack and log10 of the Reynolds number." if self.reynolds is None else None
            remedy = f"Concatenate the upper weights, the lower weights{last or ' and the angle of attack.'}"
            raise ShapeError(explain("x", f"have shape ({self.n_inputs},)", x.shape, remedy))
        low, high = REYNOLDS_EXPONENTS
        if self.reynolds is None and not low <= x[-1] <= high:
            remedy = "Pass the decimal logarithm: 6.7 for 5e6."
            raise InputError(explain("x[17]", f"be log10 of a Reynolds number, {low:g} to {high:g}", x[-1], remedy))
        values, partials = (result.full() for result in self._function(x))
        if not (np.isfinite(values).all() and np.isfinite(partials).all()):
            raise EvaluationError(f"NeuralFoil gave a value or partial that is not finite at x = {x}.")
        return values.ravel(), partials

    def _build(self) -> Any:
        """Trace NeuralFoil: a CasADi function from x (d,) to values (4,) and partials (4, d)."""
        casadi = import_extra("casadi", "airfoil")
        neuralfoil = import_extra("neuralfoil", "airfoil")
        x = casadi.MX.sym("x", self.n_inputs)
        reynolds = 10.0 ** x[N_INPUTS] if self.reynolds is None else self.reynolds
        kulfan = {
            "upper_weights": x[:WEIGHTS_PER_SIDE],
            "lower_weights": x[WEIGHTS_PER_SIDE : N_INPUTS - 1],
            "leading_edge_weight": self.shape.leading_edge_weight,
            "TE_thickness": self.shape.trailing_edge_thickness,
        }
        with _numpy_functions_on_symbols(casadi):
            aero = neuralfoil.get_aero_from_kulfan_parameters(
                kulfan, alpha=x[N_INPUTS - 1], Re=reynolds, n_crit=self.n_crit, model_size=self.model_size
            )
        values = casadi.vertcat(*(aero[name] for name in OUTPUTS))
        return casadi.Function("neuralfoil", [x], [values, casadi.jacobian(values, x)])


@contextmanager
def _numpy_functions_on_symbols(casadi: ModuleType) -> Iterator[None]:
    """Let NumPy functions take CasADi symbols as they did up to CasADi 3.7.

    AeroSandbox's NumPy layer, on which NeuralFoil is written, counts on that: mode -1. Mode 0, CasADi's default, does
    the same and warns; mode 1 returns arrays of a new kind, which NeuralFoil cannot index. The mode is global to
    CasADi, so it is put back. CasADi before 3.8 has no modes.
    """
    modes = casadi.GlobalOptions
    if not hasattr(modes, "setNumpyMode"):
        yield
        return
    before = modes.getNumpyMode()
    modes.setNumpyMode(-1)
    try:
        yield
    finally:
        modes.setNumpyMode(before)
