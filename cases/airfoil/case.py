"""Minimize the drag of an airfoil at fixed lift: the aerodynamics on surrogates, the geometry exact."""

from __future__ import annotations

import argparse

import numpy as np

from cases.adaptive_case import AdaptiveCase
from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.components import ThicknessComp
from cases.airfoil.geometry import WEIGHTS_PER_SIDE, load_shape, thickness_matrix, thickness_offset
from cases.airfoil.on_xfoil import check_truth, xfoil_case
from cases.airfoil.pictures import draw
from cases.airfoil.problems import (
    add_problem_arguments,
    check_problem,
    conditions_of_arguments,
    lift_to_drag,
    multipoint,
)
from cases.case import Case, Response, Stage
from cases.model import adaptive_case
from gradopt.data.sampling import sobol
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.training.levenberg_marquardt import LevenbergMarquardt

TITLE = "minimize an airfoil's drag at fixed lift, NeuralFoil as the truth"
CITATION = (
    "Aerodynamics: Sharpe & Hansman (2025), NeuralFoil, arXiv 2503.16323. "
    "Shape: Kulfan (2008), Universal parametric geometry representation method, J. Aircraft 45(1)"
)
# Least thickness at stations of the chord, both in chord fractions: part of the problem, chosen by hand.
STATIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
THICKNESS = (0.07, 0.115, 0.10, 0.06, 0.015)

_PROBE_ALPHA = 2.0  # degrees; one evaluation here gives lift and lift slope of the start; by hand
_WEIGHT_REACH, _ALPHA_REACH = 0.06, 3.0  # half widths of the one-shot design space, chord fractions, degrees; by hand
_ALPHA_SPREAD = 1.0  # degrees about the angle at which a sample has about the target lift; by hand
_MARGIN = 1.4  # width of the samples over that of the design space, so that its corners are interpolated; by hand
_LIMIT_REACH = 0.25  # half widths of the weights in the true problem, chord fractions; within NeuralFoil's data
_THIN = 0.02  # chord fractions by which a sample may be thinner than the limit; by hand
_CANDIDATES = 2**13  # Sobol points from which the samples that are thick enough are chosen; by hand
_TOLERANCE = 1e-3  # of the certificate; by hand: below, the drag hardly changes
_CLOSING = JENN((20,), activation="tanh", starts=1, alpha=1e-2, solver=LevenbergMarquardt(max_iterations=60))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this case has."""
    parser.add_argument(
        "--airfoil",
        default="rae2822",
        help="start: a name that AeroSandbox ships or a Selig .dat file (default rae2822)",
    )
    parser.add_argument(
        "--truth",
        choices=("neuralfoil", "xfoil"),
        default="neuralfoil",
        help="NeuralFoil with its partials, or the program XFOIL, which returns none (default neuralfoil)",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="with --truth xfoil: begin without NeuralFoil as the initial surrogate",
    )
    parser.add_argument("--reynolds", type=float, default=5e6, help="Reynolds number (default 5e6)")
    parser.add_argument(
        "--lift",
        type=float,
        default=0.6,
        help="lift coefficient to hold, or where lift is free to start at (default 0.6)",
    )
    parser.add_argument(
        "--moment", type=float, default=-0.10, help="lower limit of the moment coefficient (default -0.10)"
    )
    add_problem_arguments(parser)


def build(arguments: argparse.Namespace) -> Case:
    """Build the case from the command line."""
    check_problem(arguments)
    check_truth(arguments)
    return airfoil_case(arguments.airfoil, arguments.reynolds, arguments.lift, arguments.moment, quick=arguments.quick)


def adaptive(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build the case for the loop from the command line."""
    case = build(arguments)
    if arguments.problem == "multipoint":
        return _multipoint(arguments)
    if arguments.problem == "lift-to-drag":
        case = lift_to_drag(case)
    if arguments.truth == "xfoil":
        shape, quick = load_shape(arguments.airfoil), arguments.quick
        return xfoil_case(case, shape, arguments.reynolds, initial_surrogate=not arguments.alone, quick=quick)
    return adaptive_case(
        case,
        # A network in the loop saved no evaluations here, and cost seconds an iteration where the truth takes
        # milliseconds. One is fitted at the end, for other uses.
        configuration=None,
        closing=_CLOSING,
        max_evaluations=6 if arguments.quick else 100,
        tolerance=_TOLERANCE,
        draw=case.draw,
    )


def _multipoint(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build one case for each condition and join them."""
    conditions = conditions_of_arguments(arguments)
    cases = [
        airfoil_case(arguments.airfoil, one.reynolds, one.lift, arguments.moment, quick=arguments.quick)
        for one in conditions
    ]
    limits = dict(zip(STATIONS, THICKNESS, strict=True))
    shape, reynolds = load_shape(arguments.airfoil), [one.reynolds for one in conditions]
    return multipoint(
        cases,
        [one.weight for one in conditions],
        configuration=None,
        max_evaluations=(6 if arguments.quick else 100) * len(conditions),
        tolerance=_TOLERANCE,
        draw=lambda result, folder: draw(result, folder, shape, limits, reynolds),
        settings={**cases[0].settings, "problem": "multipoint", "conditions": [vars(one) for one in conditions]},
    )


def airfoil_case(
    airfoil: str = "rae2822", reynolds: float = 5e6, lift: float = 0.6, moment: float = -0.10, quick: bool = False
) -> Case:
    """Build the case.

    Args:
        airfoil: Start: a name that AeroSandbox ships, or the path of a Selig `.dat` file.
        reynolds: Reynolds number of the chord.
        lift: Lift coefficient to hold.
        moment: Lower limit of the moment coefficient about the quarter chord.
        quick: Fewer samples and iterations: a test that the case runs.

    Returns:
        The case: 17 design variables, lift as an equality, limits on moment, thickness and NeuralFoil's confidence.

    Raises:
        InputError: If there is no such airfoil, or a number is not finite.
        MissingExtraError: If NeuralFoil is not installed.
    """
    for name, value in (("lift", lift), ("moment", moment)):
        if not np.isfinite(value):
            raise InputError(explain(name, "be a finite number", value, "Coefficients are of order 1."))
    shape = load_shape(airfoil)
    truth = NeuralFoilTruth(shape, reynolds)
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    y, dydx = truth.evaluate(np.append(weights, _PROBE_ALPHA))
    lift_slope = dydx[0]  # of CL with respect to the weights and alpha
    start = np.append(weights, _PROBE_ALPHA + (lift - y[0]) / lift_slope[-1])
    reach = np.append(np.full(2 * WEIGHTS_PER_SIDE, _WEIGHT_REACH), _ALPHA_REACH)
    low, high = start - _MARGIN * reach, start + _MARGIN * reach
    n = WEIGHTS_PER_SIDE
    inputs = (
        Variable("upper_weights", shape=(n,), lower=low[:n], upper=high[:n]),
        Variable("lower_weights", shape=(n,), lower=low[n:-1], upper=high[n:-1]),
        Variable("alpha", units="deg", lower=low[-1], upper=high[-1]),
    )
    outputs = (
        Variable("CL"),
        Variable("CD", transform="log"),
        Variable("CM"),
        Variable("analysis_confidence", transform="logit"),
    )
    matrix, offset = thickness_matrix(STATIONS), thickness_offset(STATIONS, shape.trailing_edge_thickness)

    def design(points: int, seed: int) -> np.ndarray:
        """Take thick enough shapes from a Sobol sequence, each at an angle of about the target lift."""
        candidates = sobol(inputs, _CANDIDATES, seed)
        shortfall = (np.array(THICKNESS) - candidates[:, :-1] @ matrix.T - offset).max(axis=1)
        # Stable: the thick enough ones in the order of the sequence, then, if these are few, the least thin.
        order = np.argsort(np.maximum(shortfall - _THIN, 0.0), kind="stable")
        chosen = candidates[order[:points]]
        spread = (chosen[:, -1] - start[-1]) * _ALPHA_SPREAD / (high[-1] - start[-1])
        balance = (chosen[:, :-1] - weights) @ lift_slope[:-1] / lift_slope[-1]
        chosen[:, -1] = np.clip(start[-1] + spread - balance, low[-1], high[-1])
        return chosen

    limit_reach = np.append(np.full(2 * n, _LIMIT_REACH), 5.0)
    # No polish, which magnifies flat slopes: at an optimum with active constraints no slope needs to be flat. Over
    # three airfoils and two seeds polishing made the worst error of CL at the optimum two to three times larger.
    solver = LevenbergMarquardt(max_iterations=15 if quick else 60)
    return Case(
        name="airfoil",
        title=TITLE,
        citation=CITATION,
        inputs=inputs,
        outputs=outputs,
        truth=truth.evaluate,
        identity=truth.identity,
        start=start,
        lower=start - reach,
        upper=start + reach,
        limits=(start - limit_reach, start + limit_reach),
        responses=(
            Response("CD", "minimize", ref=0.005, shown_unit="counts", shown_per_unit=1e4),
            Response("CL", "equals", lift),
            Response("CM", "lower", moment, ref=0.1),
            Response("thickness", "lower", THICKNESS, ref=0.1),
            Response("analysis_confidence", "lower", 0.90),
        ),
        design=design,
        samples=30 if quick else 128,
        held_out=5 if quick else 20,
        stages=(Stage("JENN", JENN((20,), activation="tanh", alpha=1e-2, solver=solver, starts=1 if quick else 3)),),
        exact=lambda: {
            "geometry": ThicknessComp(stations=STATIONS, trailing_edge_thickness=shape.trailing_edge_thickness)
        },
        separate=True,
        probes=1,
        draw=lambda result, folder: draw(
            result, folder, shape, dict(zip(STATIONS, THICKNESS, strict=True)), [reynolds]
        ),
        settings={"airfoil": shape.name, "reynolds": reynolds, "lift": lift, "moment": moment, "quick": quick},
    )
