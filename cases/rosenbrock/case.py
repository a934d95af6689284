"""Minimize Rosenbrock's function, by the loop or on surrogates fitted once: plain network, JENN, polished JENN."""

from __future__ import annotations

import argparse

import numpy as np

from cases.adaptive_case import AdaptiveCase
from cases.case import Case, Response, Stage
from cases.model import adaptive_case
from cases.rosenbrock.function import CITATION, rosenbrock
from cases.rosenbrock.pictures import draw, draw_path
from gradopt.data.sampling import full_factorial, latin_hypercube
from gradopt.data.variables import Variable
from gradopt.errors import InputError, explain
from gradopt.surrogates.configurations.default import default_configuration
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.configurations.polish import Polish
from gradopt.training.levenberg_marquardt import LevenbergMarquardt

DEMO_SOLVER = LevenbergMarquardt(max_iterations=100)  # enough for 1e-5 on JENN's 389 points
TITLE = "minimize Rosenbrock's function in a box"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this case has."""
    parser.add_argument("--dimension", type=int, default=2, help="number of design variables (default 2)")
    parser.add_argument(
        "--samples",
        type=int,
        help="truth evaluations with --one-shot (default: 389, JENN's demonstration, in 2-D; 20 d elsewhere)",
    )


def build(arguments: argparse.Namespace) -> Case:
    """Build the case from the command line."""
    return rosenbrock_case(arguments.dimension, arguments.samples, arguments.quick)


def adaptive(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build the case for the loop from the command line."""
    if arguments.samples is not None:
        remedy = "Add --one-shot, or limit the loop with --max-evaluations."
        raise InputError(explain("--samples", "come with --one-shot", arguments.samples, remedy))
    return adaptive_case(
        build(arguments),
        configuration=default_configuration(),
        max_evaluations=10 if arguments.quick else 50 * arguments.dimension,
        draw=draw_path,
    )


def rosenbrock_case(dimension: int = 2, samples: int | None = None, quick: bool = False) -> Case:
    """Build the case.

    Args:
        dimension: Number of design variables, at least 2.
        samples: Truth evaluations; None takes JENN's demonstration (100 random points and a 17 x 17 grid) in 2-D,
            otherwise 20 for each variable on a Latin hypercube.
        quick: Fewer samples and iterations: a test that the case runs.

    Returns:
        The case.
    """
    if dimension < 2:
        raise InputError(explain("dimension", "be at least 2", dimension, "Rosenbrock's function couples neighbors."))
    if samples is not None and samples < 3:
        raise InputError(explain("samples", "be at least 3", samples, "20 for each variable are a good start."))
    x = Variable("x", shape=(dimension,), lower=-2.0, upper=2.0)
    demonstration = dimension == 2 and samples is None and not quick
    sizes = (20, 20, 20) if demonstration else (20,)
    solver = DEMO_SOLVER if demonstration else LevenbergMarquardt(max_iterations=30 if quick else 500)
    starts = 1 if demonstration or quick else 4
    n = 389 if demonstration else samples or (20 if quick else 20 * dimension)

    def design(points: int, seed: int) -> np.ndarray:
        if demonstration and points == n - 1:
            scattered = np.random.default_rng(seed).uniform(-2.0, 2.0, (points - 17**2, dimension))
            return np.concatenate([scattered, full_factorial([x], 17)])
        return latin_hypercube([x], points, seed)

    edge = np.full(dimension, 2.0)
    return Case(
        name="rosenbrock",
        title=TITLE,
        citation=CITATION,
        inputs=(x,),
        outputs=(Variable("f"),),
        truth=rosenbrock,
        start=np.resize([1.25, -1.75], dimension),
        lower=-edge,
        upper=edge,
        limits=(-edge, edge),
        responses=(Response("f", "minimize"),),
        design=design,
        samples=n,
        held_out=50 if quick else 500,
        stages=(  # fixed weights, as in JENN's demo
            Stage("MLP", MLP(sizes, activation="tanh", weights="fixed", solver=solver, starts=1)),
            Stage("JENN", JENN(sizes, activation="tanh", weights="fixed", solver=solver, starts=starts)),
            Stage("polished JENN", polish=Polish()),
        ),
        optimum=np.ones(dimension),
        draw=draw,
        settings={"dimension": dimension, "hidden_sizes": sizes, "quick": quick},
    )
