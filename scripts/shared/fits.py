"""Settings of fits with a tiny budget; for the scripts on surrogates."""

from __future__ import annotations

from typing import Any

from gradopt.solvers import LevenbergMarquardt

QUICK_ITERATIONS = 5  # of Levenberg-Marquardt; by hand


def fit_settings(quick: bool) -> dict[str, Any]:
    """Return fields of JENN, MLP and GradINN: none, which leaves the defaults, or few iterations from one start."""
    return {"solver": LevenbergMarquardt(max_iterations=QUICK_ITERATIONS), "starts": 1} if quick else {}
