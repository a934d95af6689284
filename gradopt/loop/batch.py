"""Batches: further candidates beside the first, for workers that would wait.

The first candidate is that of a loop without batches. The others are minimizers on other models of the same samples,
and in smaller and larger trust regions: where one model or radius is wrong, another may be right. The best one becomes
the current iterate, and all of them are samples. That saves rounds, in which candidates are evaluated at the same time,
not evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gradopt.errors import EvaluationError
from gradopt.loop.state import State
from gradopt.loop.subproblem import Candidate, solve_subproblem
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits, Responses

_FIRST, _PLAIN, _ADDITIVE, _ISOTROPIC, _OTHER = range(5)
# Models, and factors on the radius of the first candidate, in turn. By rounds on Rosenbrock's function (5-D and 10-D,
# starts that no study uses) and on the airfoil from four shapes; larger radii first were as good on Rosenbrock's
# function, and gained nothing on the airfoil.
_ORDER = (
    (_OTHER, 1.0),
    (_FIRST, 0.5),
    (_PLAIN, 1.0),
    (_ADDITIVE, 1.0),
    (_ISOTROPIC, 1.0),
    (_FIRST, 2.0),
    (_FIRST, 0.25),
    (_PLAIN, 0.5),
    (_ADDITIVE, 0.5),
    (_ISOTROPIC, 0.5),
    (_FIRST, 4.0),
    (_OTHER, 0.5),
    (_PLAIN, 2.0),
    (_ADDITIVE, 2.0),
    (_ISOTROPIC, 2.0),
)
_APART = 0.05  # distance of a candidate from the others, in parts of its step, from which it is another one; by hand

Model = Callable[[np.ndarray], Responses]
"""Responses on surrogates at u (k,)."""


def further_candidates(
    count: int,
    first: Candidate,
    models: Sequence[Model | None],
    state: State,
    region: TrustRegion,
    limits: Limits,
    nearest: Sequence[np.ndarray],
) -> list[Candidate]:
    """Find candidates to be evaluated beside the first.

    Args:
        count: Number of candidates, the first included, at most.
        first: First candidate.
        models: Responses on the corrected surrogates of the first candidate, on those without kriging, with additive
            kriging alone, with isotropic kriging alone, and on the variant that is not selected; None where there is no
            such model.
        state: State of the run.
        region: Trust region in which the first candidate was found.
        limits: Bounds of the problem.
        nearest: Further starts of the trust-region subproblem, each (k,).

    Returns:
        Candidates, the first one first; fewer where models and radii give no others.
    """
    found = [first]
    for number, factor in _ORDER:
        if len(found) == count:
            break
        model, radius = models[number], min(factor * region.radius, region.largest)
        if model is None or (factor > 1.0 and radius <= region.radius):
            continue
        box = replace(region, radius=radius).box(state.iterate.u, limits)
        try:
            one = solve_subproblem(model, limits, state.iterate, box, state.penalties, nearest)
        except EvaluationError:  # this model fails where the first one does not
            continue
        step = region.length(one.predicted.u - state.iterate.u, limits)
        others = [*(point.u for point in state.points), *(other.predicted.u for other in found)]
        if step > 0.0 and all(region.length(one.predicted.u - u, limits) > _APART * step for u in others):
            found.append(replace(one, radius=radius))
    return found
