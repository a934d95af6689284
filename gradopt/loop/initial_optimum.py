"""The first step where surrogates were given beforehand: to their own optimum, uncorrected, wherever that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.state import Settings
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.optimality.merit import initial_penalties, merit
from gradopt.optimality.problem import Model, Responses

_PASSES = 3  # of SLSQP: multipliers at the start tell little of the penalties that an optimum far off needs
_WORSE = 10.0  # how much worse than the last objective, relatively, a point is where the surrogates fail


@dataclass(frozen=True, eq=False)
class Jump:
    """Where the given surrogates have their optimum.

    Attributes:
        candidate: The optimum.
        promised: By how much the merit is lower there than at the start, on the surrogates.
        penalties: Of that merit (p,), high enough for both ends.
        radius: Half edge of the box in which it was sought.
    """

    candidate: Candidate
    promised: float
    penalties: np.ndarray
    radius: float


def jump(model: Model, u: np.ndarray, penalties: np.ndarray, settings: Settings) -> Jump | None:
    """Minimize on the surrogates as they were given, which asks the truth nothing.

    Where they refuse to answer outside of a domain, it ends at an edge of that, not always at the best place there.

    Args:
        model: The problem.
        u: The start (k,).
        penalties: Of the merit there (p,).
        settings: Settings of the loop. Its largest region is the box, which is all of the bounds by default; where
            there are none, one width to either side.

    Returns:
        The optimum; None where the surrogates fail at the start or promise nothing better.
    """
    limits, ask = model.limits, _turning_back(model.believed)
    try:
        start = ask(u)
    except EvaluationError:
        return None
    widest = replace(settings.region, radius=settings.region.largest)
    box = widest.box(u, limits)
    candidate = Candidate(start, restoration=False)
    for _ in range(_PASSES):
        center = candidate.predicted
        conditions = settings.conditions(center, limits)
        if conditions.certified:
            break
        penalties = np.maximum(penalties, initial_penalties(center, conditions.multipliers))
        candidate = solve_subproblem(ask, limits, center, box, penalties)
        if candidate.predicted is center:
            break
    promised = merit(start, limits, penalties) - merit(candidate.predicted, limits, penalties)
    return Jump(candidate, promised, penalties, widest.radius) if promised > 0.0 else None


def _turning_back(surrogates: Callable[[np.ndarray], Responses]) -> Callable[[np.ndarray], Responses]:
    """Let a line search turn back where surrogates fail, as beyond their domain: over all bounds that may be anywhere.

    Only where they have not answered before, the failure passes.
    """
    last: Responses | None = None

    def ask(u: np.ndarray) -> Responses:
        nonlocal last
        try:
            last = surrogates(u)
        except EvaluationError:
            if last is None:
                raise
            return replace(last, u=u, f=last.f + _WORSE * max(1.0, abs(last.f)))
        return last

    return ask
