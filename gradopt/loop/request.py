"""Requests of the loop, and the outcomes that its caller tells it in return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from gradopt.corrected.samples import Gain
from gradopt.loop.subproblem import Candidate
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Responses


class Purpose(StrEnum):
    """What the points of a request are for."""

    START = "start"  # initial samples, then the start itself
    INITIAL_OPTIMUM = "initial optimum"  # of initial surrogates
    CANDIDATE = "candidate"  # minimizer of the trust-region subproblem
    RECOVERY = "recovery"  # another candidate after the truth failed
    DIFFERENCE = "difference"  # partials by one-sided finite differences
    REFINEMENT = "refinement"  # partials by central differences, with an estimate of their error
    VERIFICATION = "verification"  # derivative check beside an optimum


@dataclass(frozen=True, eq=False)
class Request:
    """Points to be evaluated on the truth.

    A request without points has nothing to evaluate; once it is told, the run goes on by other means, or ends.

    Attributes:
        points: Design variables (q, k), in the driver's scaling.
        purpose: What they are for. `DIFFERENCE` and `REFINEMENT` request the partials at their point, by
            evaluations beside it.
        candidates: Candidate of each point with its predicted responses, the one of the loop without a batch first; ()
            where nothing is predicted.
        trust_region: Trust region in which the first candidate was found.
        predicted_reduction: Predicted reduction of the merit by an initial optimum; NaN for other purposes.
        penalties: Penalties of that merit (p,).
        seconds: Wall time of finding the points.
    """

    points: np.ndarray
    purpose: Purpose
    candidates: tuple[Candidate, ...] = ()
    trust_region: TrustRegion = TrustRegion()
    predicted_reduction: float = np.nan
    penalties: np.ndarray = field(default_factory=lambda: np.empty(0))
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the evaluation of one point of a request gave.

    Attributes:
        responses: Objective, constraints and gradients; None where the evaluation failed.
        failure: Why it failed; "" where it did not.
        gains: Samples that it added, one for each truth; also where the evaluation failed after some.
        inputs: Inputs (d,) of each component in the end.
        sensitivities: For each component the derivatives (1 + p, m) of objective and constraints with respect to its
            outputs; 0 where they are not known.
        coupled: Whether truths were evaluated several times because components depend on each other.
        context: Arrays with which the caller can repeat the evaluation; the loop keeps them with the point.
    """

    responses: Responses | None
    failure: str = ""
    gains: tuple[Gain, ...] = ()
    inputs: tuple[np.ndarray, ...] = ()
    sensitivities: tuple[np.ndarray, ...] = ()
    coupled: bool = False
    context: Mapping[str, np.ndarray] = field(default_factory=dict)
