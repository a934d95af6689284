"""The optimization problem of one condition as flat arrays: exact geometry, aerodynamics of the truth model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases.airfoil.aerodynamics import N_INPUTS, NeuralFoilTruth
from cases.airfoil.case import STATIONS, THICKNESS
from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape, load_shape, thickness_matrix, thickness_offset
from cases.airfoil_study.conditions import RANGES, Condition
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain
from gradopt.optimality.kkt import KKT, kkt
from gradopt.optimality.problem import Limits, Responses
from gradopt.truth.function import FunctionTruth

CONFIDENCE = 0.90
"""Lower bound of `analysis_confidence`; 0.90 is usual for NeuralFoil."""

COUNT = 1e-4
"""One drag count, as a drag coefficient."""

TOLERANCE, FEASIBILITY = 1e-3, 1e-3
"""Tolerances of the certificate: on stationarity and complementarity, and on scaled violations.

As in the case `airfoil`.
"""

CONSTRAINTS = ("CL", "CM", "analysis_confidence", *(f"thickness at {station:g}" for station in STATIONS))
"""Names of the constraints, in order."""

_CD_REF, _CM_REF, _THICKNESS_REF = 0.005, 0.1, 0.1  # units of responses, thickness in chords; as in the case `airfoil`

REACH = 0.25
"""Largest distance of weights from those of the start, chord fractions, as in the case `airfoil`.

Chosen by hand, to stay near shapes that NeuralFoil was trained on.

At 0.10 SLSQP takes half of the evaluations, and the drag is 4 counts higher.
"""

_ALPHA = (-4.0, 10.0)  # bounds of the angle of attack, degrees; by hand
_FIRST_ALPHA = 2.0  # angle of attack of the first evaluation, degrees; by hand


@dataclass(frozen=True, eq=False)
class AirfoilProblem:
    """The parts of the problem that are the same for all conditions.

    Attributes:
        shape: Shape at which every design starts.
        truth: Aerodynamics of 16 weights, angle of attack and log10 of the Reynolds number.
        lower: Lower bounds of the design variables (17,): 16 weights, chord fractions, and angle of attack, degrees.
        upper: Upper bounds of the design variables (17,).
        matrix: Partials of the thicknesses by the weights (k, 16).
        offset: Thicknesses at zero weights (k,), chord fractions.
    """

    shape: KulfanShape
    truth: FunctionTruth
    lower: np.ndarray
    upper: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights of the shape at the start (16,), chord fractions."""
        return np.concatenate([self.shape.upper_weights, self.shape.lower_weights])

    @property
    def first_inputs(self) -> np.ndarray:
        """Inputs of the truth (18,) of the first evaluation: lift and lift slope of the shape at the start."""
        return np.append(self.weights, [_FIRST_ALPHA, np.mean(RANGES["reynolds_exponent"])])

    def start(self, condition: Condition, y: np.ndarray, dydx: np.ndarray) -> np.ndarray:
        """Return the weights at the start and an angle of attack at which the lift nearly fits the condition.

        Args:
            condition: The condition.
            y: Outputs of the truth at `first_inputs` (4,).
            dydx: Their partials (4, 18).

        Returns:
            Design (17,).
        """
        alpha = _FIRST_ALPHA + (condition.lift - y[0]) / dydx[0, N_INPUTS - 1]
        return np.clip(np.append(self.weights, alpha), self.lower, self.upper)

    def inputs_at(self, condition: Condition, design: np.ndarray) -> np.ndarray:
        """Return inputs of the truth (18,) at a design (17,)."""
        return np.append(design, condition.reynolds_exponent)

    def limits(self, condition: Condition) -> Limits:
        """Return the bounds of the problem of a condition, constraints in the order of `CONSTRAINTS`, scaled."""
        thickness = condition.thickness * np.array(THICKNESS) / _THICKNESS_REF
        low = np.concatenate([[condition.lift, condition.moment / _CM_REF, CONFIDENCE], thickness])
        high = np.full(low.shape, np.inf)
        high[0] = condition.lift
        return Limits(self.lower, self.upper, low, high, self.upper - self.lower)

    def responses(self, design: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Return objective and constraints, scaled; they are the same for all conditions.

        Args:
            design: Design (17,).
            y: Lift, drag, moment and confidence at the design (4,).
            dydx: Their partials, (4, 18) or (4, 17).

        Returns:
            The responses, with gradients by the design variables.
        """
        lift, drag, moment, confidence = y
        slopes = dydx[:, :N_INPUTS]
        thickness = (self.matrix @ design[:-1] + self.offset) / _THICKNESS_REF
        thickness_slopes = np.hstack([self.matrix, np.zeros((len(self.matrix), 1))]) / _THICKNESS_REF
        return Responses(
            u=design,
            f=float(drag / _CD_REF),
            gradient=slopes[1] / _CD_REF,
            c=np.concatenate([[lift, moment / _CM_REF, confidence], thickness]),
            jacobian=np.vstack([slopes[0], slopes[2] / _CM_REF, slopes[3], thickness_slopes]),
        )


def drag_of(responses: Responses) -> float:
    """Return the drag coefficient."""
    return responses.f * _CD_REF


def violation(responses: Responses, limits: Limits) -> float:
    """Return the largest scaled violation of a constraint."""
    return float(limits.violations(responses.c).max(initial=0.0))


def kkt_of(responses: Responses, limits: Limits) -> KKT:
    """Return the KKT conditions at a design."""
    return kkt(
        responses.u,
        limits.lower,
        limits.upper,
        responses.gradient,
        responses.c,
        limits.c_lower,
        limits.c_upper,
        responses.jacobian,
        TOLERANCE,
        FEASIBILITY,
    )


def make_problem(airfoil: str = "rae2822", reach: float = REACH) -> AirfoilProblem:
    """Make the parts of the problem that are the same for all conditions.

    Args:
        airfoil: Shape at the start: a name in AeroSandbox's library, or the path of a Selig `.dat` file.
        reach: Largest distance of weights from those of the start, chord fractions.

    Raises:
        InputError: If there is no such airfoil, or `reach` is out of range.
        MissingExtraError: If NeuralFoil is not installed.
    """
    if not 0.0 < reach <= REACH:
        remedy = "Beyond it NeuralFoil may be wrong."
        raise InputError(explain("reach", f"be above 0 and at most {REACH:g} (chord fractions)", reach, remedy))
    shape = load_shape(airfoil)
    aerodynamics = NeuralFoilTruth(shape, None)
    middle = np.concatenate([shape.upper_weights, shape.lower_weights])
    lower = np.append(middle - reach, _ALPHA[0])
    upper = np.append(middle + reach, _ALPHA[1])
    n = WEIGHTS_PER_SIDE
    low, high = RANGES["reynolds_exponent"]
    inputs = (
        Variable("upper_weights", shape=(n,), lower=lower[:n], upper=upper[:n]),
        Variable("lower_weights", shape=(n,), lower=lower[n:-1], upper=upper[n:-1]),
        Variable("alpha", units="deg", lower=lower[-1], upper=upper[-1]),
        Variable("reynolds_exponent", lower=low, upper=high),
    )
    outputs = (
        Variable("CL"),
        Variable("CD", transform="log"),
        Variable("CM"),
        Variable("analysis_confidence", transform="logit"),
    )
    truth = FunctionTruth(aerodynamics.evaluate, inputs, outputs, identity=aerodynamics.identity)
    offset = thickness_offset(STATIONS, shape.trailing_edge_thickness)
    return AirfoilProblem(shape, truth, lower, upper, thickness_matrix(STATIONS), offset)
