"""Minimize Sellar's objective with one discipline, or both, behind surrogates."""

from __future__ import annotations

import argparse

import numpy as np

from cases.adaptive_case import AdaptiveCase
from cases.case import Response
from cases.sellar.disciplines import CITATION, X, Z, disciplines, sellar_model
from cases.sellar.pictures import draw

TITLE = "minimize Sellar's coupled problem, one discipline or both behind surrogates"
REPLACED = {"1": (1,), "2": (2,), "both": (1, 2)}
OPTIMUM = np.array([1.97763888, 0.0, 0.0])  # z1, z2, x; the objective there is 3.18339395


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this case has."""
    parser.add_argument(
        "--replace", choices=tuple(REPLACED), default="both", help="discipline that is expensive (default both)"
    )


def adaptive(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build the case from the command line."""
    return sellar_case(REPLACED[arguments.replace], arguments.quick)


def sellar_case(replaced: tuple[int, ...] = (1, 2), quick: bool = False) -> AdaptiveCase:
    """Build the case.

    Args:
        replaced: Which disciplines, 1 and 2, are expensive and stand behind surrogates.
        quick: Tiny budget: a test that the case runs.

    Returns:
        The case: z (2,) and x, y1 at least 3.16, y2 at most 24.
    """
    both = disciplines()
    return AdaptiveCase(
        name="sellar",
        title=TITLE,
        citation=CITATION,
        inputs=(Z, X),
        start=np.array([5.0, 2.0, 1.0]),
        responses=(
            Response("obj", "minimize"),
            Response("y1", "lower", 3.16),
            Response("y2", "upper", 24.0, ref=10.0),
        ),
        truths=tuple(both[number - 1] for number in replaced),
        model=lambda truths: sellar_model(replaced, truths),
        configuration=None,  # correction terms alone suffice here
        max_evaluations=12 if quick else 200,
        optimum=OPTIMUM,
        draw=draw,
        settings={"replaced": replaced, "quick": quick},
    )
