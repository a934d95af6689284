"""The optimization problem of one condition, as flat arrays: exact geometry around the aerodynamics."""

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
"""Lower limit of `analysis_confidence`; 0.90 is usual for NeuralFoil."""

COUNT = 1e-4
"""One drag count."""

TOLERANCE, FEASIBILITY = 1e-3, 1e-3
"""Of the certificate: stationarity and complementarity as in the case `airfoil`, and scaled violations."""

CONSTRAINTS = ("CL", "CM", "analysis_confidence", *(f"thickness at {station:g}" for station in STATIONS))
"""Names of the constraints, in order."""

_CD_REF, _CM_REF, _THICKNESS_REF = 0.005, 0.1, 0.1  # as in the case `airfoil`
REACH = 0.25
"""Largest distance of weights from the start's, chord fractions, as in the case `airfoil`; by hand.

At 0.10 SLSQP takes half of the evaluations, and the drag is 4 counts higher.
"""

_ALPHA = (-4.0, 10.0)  # bounds of the angle of attack, degrees; by hand
_PROBE = 2.0  # degrees; one evaluation here gives lift and lift slope of the start; by hand


@dataclass(frozen=True, eq=False)
class AirfoilProblem:
    """The part of the problem that all conditions share.

    Attributes:
        shape: Initial shape of every design.
        truth: Aerodynamics of 16 weights, angle of attack and log10 of the Reynolds number.
        lower: Lower bounds of the design variables: 16 weights, chord fractions, and angle of attack, degrees, (17,).
        upper: Upper bounds likewise.
        matrix: Partials of the thicknesses (k, 16).
        offset: Thicknesses of zero weights (k,).
    """

    shape: KulfanShape
    truth: FunctionTruth
    lower: np.ndarray
    upper: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights of the start (16,), chord fractions."""
        return np.concatenate([self.shape.upper_weights, self.shape.lower_weights])

    @property
    def probe(self) -> np.ndarray:
        """Inputs of the truth (18,) that give lift and lift slope of the start, at the middle Reynolds number."""
        return np.append(self.weights, [_PROBE, np.mean(RANGES["reynolds_exponent"])])

    def start(self, condition: Condition, y: np.ndarray, dydx: np.ndarray) -> np.ndarray:
        """Return the start's weights at an angle of attack of about the target lift.

        Args:
            condition: The condition.
            y: Outputs of the truth at `probe` (4,).
            dydx: Its partials there (4, 18).

        Returns:
            Design (17,).
        """
        alpha = _PROBE + (condition.lift - y[0]) / dydx[0, N_INPUTS - 1]
        return np.clip(np.append(self.weights, alpha), self.lower, self.upper)

    def inputs_at(self, condition: Condition, design: np.ndarray) -> np.ndarray:
        """Inputs of the truth (18,) at a design (17,)."""
        return np.append(design, condition.reynolds_exponent)

    def limits(self, condition: Condition) -> Limits:
        """Bounds of the problem of a condition, constraints in the order of `CONSTRAINTS`, scaled."""
        least = condition.thickness * np.array(THICKNESS) / _THICKNESS_REF
        low = np.concatenate([[condition.lift, condition.moment / _CM_REF, CONFIDENCE], least])
        high = np.full(low.shape, np.inf)
        high[0] = condition.lift
        return Limits(self.lower, self.upper, low, high, self.upper - self.lower)

    def responses(self, design: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        """Return objective and constraints, scaled; they are the same for all conditions.

        Args:
            design: Design (17,).
            y: Lift, drag, moment and confidence there (4,).
            dydx: Their partials, (4, 18) or (4, 17).

        Returns:
            The responses, with respect to the design.
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
    """Drag coefficient."""
    return responses.f * _CD_REF


def violation(responses: Responses, limits: Limits) -> float:
    """Largest scaled violation of a constraint."""
    return float(limits.violations(responses.c).max(initial=0.0))


def conditions_of(responses: Responses, limits: Limits) -> KKT:
    """Optimality conditions at a design."""
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
    """Build the part of the problem that all conditions share.

    Args:
        airfoil: Start: a name that AeroSandbox ships, or the path of a Selig `.dat` file.
        reach: Largest distance of weights from the start's, chord fractions.

    Raises:
        InputError: If there is no such airfoil, or the reach is out of range.
        MissingExtraError: If NeuralFoil is not installed.
    """
    if not 0.0 < reach <= REACH:
        remedy = "Beyond it there are shapes outside NeuralFoil's training data."
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
