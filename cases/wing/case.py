"""Minimize the fuel that a wing burns, its twist and the thickness of its spar together."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from cases.adaptive_case import AdaptiveCase
from cases.case import Response
from cases.wing.aerostructure import check_sizes, design_variables, wing_model, wing_surface, wing_truth
from cases.wing.pictures import draw
from gradopt.data.variables import column_bounds

TITLE = "minimize the fuel burn of a flexible wing, OpenAeroStruct as the truth"
CITATION = (
    "Jasa, Hwang & Martins (2018), Open-source coupled aerostructural optimization using Python, Struct. Multidiscip. "
    "Optim. 57; the problem is that of OpenAeroStruct's documentation, optimization with the tube model"
)
STARTS = ("crm", "flat")
PANELS, POINTS = 10, 5  # spanwise panels of a half wing, and control points of twist and thickness; by hand
_ALPHA = 5.0  # degrees, the start of OpenAeroStruct's documentation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this case has."""
    parser.add_argument(
        "--start",
        choices=STARTS,
        default="crm",
        help="the Common Research Model with a heavy spar, or no twist and a spar of 0.1 m (default crm)",
    )
    parser.add_argument("--panels", type=int, default=PANELS, help=f"panels of one half of the span (default {PANELS})")
    parser.add_argument(
        "--points", type=int, default=POINTS, help=f"control points of twist, and of thickness (default {POINTS})"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="fuel, weight and failure from the surrogate too, not by exact algebra",
    )


def adaptive(arguments: argparse.Namespace) -> AdaptiveCase:
    """Build the case from the command line."""
    return wing_case(arguments.start, arguments.panels, arguments.points, arguments.quick, arguments.whole)


def start_of(name: str, panels: int = PANELS, points: int = POINTS) -> np.ndarray:
    """Return the design variables (2 points + 1,) of a start: degrees, m, degrees."""
    if name == "flat":
        return np.concatenate([np.zeros(points), np.full(points, 0.1), [_ALPHA]])
    surface = wing_surface(panels, points)
    return np.concatenate([surface["twist_cp"], surface["thickness_cp"], [_ALPHA]])


def wing_case(
    start: str = "crm", panels: int = PANELS, points: int = POINTS, quick: bool = False, whole: bool = False
) -> AdaptiveCase:
    """Build the case.

    The coupled analysis is the truth; fuel, weight and failure follow from its lift, drag, mass and stresses by algebra
    that stays exact. Drag, mass and stresses are modelled through their logarithms, over the logarithm of thickness.
    The loop uses correction terms alone: with so many outputs, fits of a network take many minutes in each run.
    Whether they would save evaluations is not known.

    Args:
        start: One of `STARTS`.
        panels: Vortices, and beam elements, along one half of the span.
        points: Control points of twist, and of thickness, along one half of the span.
        quick: Tiny budget: a test that the case runs.
        whole: Whether the whole model is behind the surrogate, fuel, weight and failure included.

    Returns:
        The case: 2 `points` + 1 design variables, lift as an equality, limits on failure and on the tube's thickness.

    Raises:
        InputError: If there are too few panels or control points, or more points than panels.
        MissingExtraError: If OpenAeroStruct is not installed.
    """
    check_sizes(panels, points)
    inputs = design_variables(points)
    lower, upper = column_bounds(inputs)
    return AdaptiveCase(
        name="wing",
        title=TITLE,
        citation=CITATION,
        inputs=inputs,
        start=start_of(start, panels, points),
        responses=(
            Response("fuelburn", "minimize", ref=1e5, shown_unit="t", shown_per_unit=1e-3),
            Response("L_equals_W", "equals", 0.0),
            Response("failure", "upper", 0.0),
            Response("thickness_intersects", "upper", (0.0,) * panels, ref=0.1, shown_unit="mm", shown_per_unit=1e3),
        ),
        truths=(wing_truth(panels, points, whole),),
        model=partial(wing_model, panels=panels, points=points, whole=whole),
        configuration=None,
        max_evaluations=5 if quick else 60,
        baseline_ref=upper - lower,  # least evaluations of six scalings from most starts, scripts/wing_study
        draw=lambda result, folder: draw(result, folder, panels, points),
        settings={"start": start, "panels": panels, "points": points, "whole": whole, "quick": quick},
    )
