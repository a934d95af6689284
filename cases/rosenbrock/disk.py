"""Minimize Rosenbrock's function within a disk that keeps its minimum out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import openmdao.api as om

from cases.adaptive_case import AdaptiveCase
from cases.case import Response
from cases.rosenbrock.function import CITATION, rosenbrock
from cases.rosenbrock.pictures import draw_path
from gradopt.data.variables import Variable
from gradopt.om.component import SurrogateComp
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Truth

TITLE = "minimize Rosenbrock's function in the unit disk, both from the truth"
# The root of df/dt on (cos t, sin t) by SciPy's brentq; grad f = -0.24299311 x there, so the disk holds it back.
OPTIMUM = np.array([0.786415154168, 0.617698312523])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This case has no options of its own."""


def adaptive(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build the case from the command line."""
    return disk_case(arguments.quick)


def rosenbrock_disk(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate Rosenbrock's function and the squared distance from the origin.

    Args:
        x: Point (2,), without unit.

    Returns:
        f and x1^2 + x2^2 (2,), and their partials (2, 2).
    """
    f, slope = rosenbrock(x)
    return np.append(f, x @ x), np.stack([slope[0], 2.0 * x])


def disk_case(quick: bool = False) -> AdaptiveCase:
    """Build the case.

    Args:
        quick: Tiny budget: a test that the case runs.

    Returns:
        The case: two design variables, the square of the radius at most 1.
    """
    x = Variable("x", shape=(2,), lower=-2.0, upper=2.0)
    truth = FunctionTruth(rosenbrock_disk, (x,), (Variable("f"), Variable("r2")))
    return AdaptiveCase(
        name="rosenbrock_disk",
        title=TITLE,
        citation=CITATION,
        inputs=(x,),
        start=np.array([1.25, -1.75]),
        responses=(Response("f", "minimize"), Response("r2", "upper", 1.0)),
        truths=(truth,),
        model=_model,
        configuration=None,
        max_evaluations=10 if quick else 100,
        optimum=OPTIMUM,
        draw=draw_path,
        settings={"radius": 1.0, "quick": quick},
    )


def _model(truths: Sequence[Truth]) -> om.Group:
    model = om.Group()
    model.add_subsystem("rosenbrock_disk", SurrogateComp(truth=truths[0]), promotes=["*"])
    return model
