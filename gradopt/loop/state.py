"""State of a run between two requests: complete, immutable, made of plain arrays and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from gradopt.corrected.samples import Samples
from gradopt.corrected.selection import Selection
from gradopt.data.dataset import Dataset
from gradopt.errors import InputError, ShapeError, explain
from gradopt.loop.problem import Problem
from gradopt.loop.settings import Settings
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.kkt import KKT
from gradopt.optimality.problem import Responses
from gradopt.optimality.scales import Explored


class Exit(StrEnum):
    """Why a run ended. Only `CERTIFIED` means converged."""

    CERTIFIED = "certified"
    BUDGET = "budget"
    EXHAUSTED = "region exhausted"
    INFEASIBLE = "infeasible"
    TRUTH_FAILED = "truth failed"
    CONTRADICTED = "partials contradicted"
    RESOLUTION = "resolution"
    STOPPED = "stopped"

    @property
    def advice(self) -> str:
        """Meaning and what to try, one or two sentences."""
        return _ADVICE[self]


_ADVICE = {
    Exit.CERTIFIED: "The KKT conditions of the true problem hold at the answer.",
    Exit.BUDGET: "The evaluations are spent. Raise max_evaluations and run again with the same store: it continues.",
    Exit.EXHAUSTED: (
        "No better point was found near the last one before the KKT conditions held: the trust region shrank to its "
        "smallest radius, or candidate after candidate was evaluated before. Check the partials of the truth "
        "(problem.check_partials), its noise, and the scaling (ref) of objective, constraints and design variables. "
        "With finite differences the answer is as good as the noise of their steps allows."
    ),
    Exit.INFEASIBLE: (
        "No feasible point was found near the last one, where violations cannot be lowered further. Relax a "
        "constraint or start elsewhere."
    ),
    Exit.TRUTH_FAILED: "The truth failed at the start, or again and again near the last point. Start elsewhere.",
    Exit.CONTRADICTED: (
        "By its partials this is an optimum, but the values beside it do not agree with them, or could not be "
        "evaluated. Check the partials of the truth (problem.check_partials) and the convergence of its solvers."
    ),
    Exit.RESOLUTION: (
        "By its finite-differenced partials this is an optimum or has no better point beside it, but the values of the "
        "truth have too few digits or too much noise to tell. Have the truth return more digits or its partials, or "
        "raise the tolerance; the reason of the certificate says to what."
    ),
    Exit.STOPPED: "The callback stopped the run. Run again with the same store to continue.",
}


class Stage(StrEnum):
    """What a run is about to do."""

    START = "start"  # initial samples and the start are to be evaluated
    INITIAL_STEP = "initial step"  # the optimum of the initial surrogates is to be evaluated
    SETTLING = "settling"  # partials at the first iterate are to be finite-differenced
    ITERATING = "iterating"
    REFINING = "refining"  # partials at an optimum are to be measured by central differences
    CHECKING = "checking"  # derivative check at an optimum
    ESCAPING = "escaping"  # a step from what may be a saddle point is to be evaluated


@dataclass(frozen=True, eq=False)
class TruthPoint(Responses):
    """Responses of the truth at one point, and where its samples are.

    Attributes:
        rows: For each component the row of its sample.
        sensitivities: For each component the derivatives (1 + p, m) of objective and constraints with respect to its
            outputs; 0 where they are not known.
        context: Arrays with which the caller can repeat the evaluation.
    """

    rows: tuple[int, ...] = ()
    sensitivities: tuple[np.ndarray, ...] = ()
    context: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Iteration:
    """Record of one iteration: a candidate and its evaluation on the truth; of a batch, the one that it goes on with.

    Values are in the driver's scaling.

    Attributes:
        number: Number of the iteration, 0 for the start.
        u: Candidate (k,).
        objective: True objective there, NaN where the truth failed.
        constraints: True constraints (p,).
        predicted_objective: Objective predicted by the corrected surrogates; NaN in iteration 0.
        predicted_constraints: Constraints likewise (p,).
        ratio: Actual over predicted reduction of the merit; NaN in iteration 0 and after a failure. Of an initial
            surrogate step, the reduction predicted by the initial surrogates between its two ends.
        accepted: Whether the candidate became the current iterate.
        restoration: Whether the surrogates had no feasible point in the trust region.
        radius: Radius of the trust region in which the candidate was sought.
        evaluations: Number of truth evaluations so far.
        feasibility: Feasibility of the current iterate after the iteration, see `KKT`.
        stationarity: Stationarity likewise.
        complementarity: Complementarity likewise.
        fit: What was done to the global surrogates after the iteration; "" without any.
        failure: Why the truth failed; "" if it did not.
        seconds: Wall time of the loop: subproblem, fits and correction, without the evaluation.
    """

    number: int
    u: np.ndarray
    objective: float
    constraints: np.ndarray
    predicted_objective: float
    predicted_constraints: np.ndarray
    ratio: float
    accepted: bool
    restoration: bool
    radius: float
    evaluations: int
    feasibility: float
    stationarity: float
    complementarity: float
    fit: str
    failure: str
    seconds: float

    def at(self, conditions: KKT) -> Iteration:
        """Return the record with the optimality conditions of the current iterate."""
        return replace(
            self,
            feasibility=conditions.feasibility,
            stationarity=conditions.stationarity,
            complementarity=conditions.complementarity,
        )


@dataclass(frozen=True, eq=False)
class State:
    """State of a run.

    Attributes:
        start: Start (k,).
        samples: Samples of each truth.
        waiting: Initial samples (s, k) that have not been evaluated yet.
        stage: What the run is about to do.
        points: All points where the problem was evaluated on the truth, in order, without initial samples.
        at: Index of the current iterate in `points`; -1 before the start was evaluated.
        kkt: Optimality conditions at the current iterate, None before.
        steps: Indices into `points` of the start and the end of each step.
        trust_region: Trust region.
        penalties: Penalties of the merit (p,).
        failed: Points where the truth failed since it last succeeded: for each candidate the candidate, then those of
            its recovery along the step.
        selections: For each component its corrected surrogates; () before the first correction.
        coupled: Whether an evaluation has evaluated truths several times because components depend on each other.
        checks: Number of points of the derivative check so far.
        beside: Responses at its last point, with which the next one is to be compared.
        saddle: Step (k,) of negative curvature at the current iterate; None where none was seen.
        pending: Record of the iteration that ends once the stage `SETTLING` has ended, or None.
        history: Records of the iterations.
        exit: Why the run ended; None while it goes on.
        failure: Why the truth failed at the start, or what its resolution hides at the end; "" otherwise.
    """

    start: np.ndarray
    samples: tuple[Samples, ...]
    waiting: np.ndarray
    stage: Stage = Stage.START
    points: tuple[TruthPoint, ...] = ()
    at: int = -1
    kkt: KKT | None = None
    steps: tuple[tuple[int, int], ...] = ()
    trust_region: TrustRegion = TrustRegion()
    penalties: np.ndarray = field(default_factory=lambda: np.empty(0))
    failed: tuple[tuple[np.ndarray, ...], ...] = ()
    selections: tuple[Selection, ...] = ()
    coupled: bool = False
    checks: int = 0
    beside: Responses | None = None
    saddle: np.ndarray | None = None
    pending: Iteration | None = None
    history: tuple[Iteration, ...] = ()
    exit: Exit | None = None
    failure: str = ""

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.exit is not None

    @property
    def evaluations(self) -> int:
        """Number of truth evaluations so far, over all truths, failed ones and finite differences among them."""
        return sum(samples.evaluations for samples in self.samples)

    @property
    def finite_differenced(self) -> bool:
        """Whether any partials were finite-differenced."""
        return any(samples.finite_differenced for samples in self.samples)

    @property
    def refined(self) -> bool:
        """Whether any partials were measured by central differences: from then on all are."""
        return any(samples.refinements for samples in self.samples)

    @property
    def partials_given(self) -> bool:
        """Whether a truth has returned any partials."""
        return any(samples.partials_given for samples in self.samples)

    @property
    def iterate(self) -> TruthPoint:
        """Current iterate of a run that has evaluated its start."""
        assert self.at >= 0, "the start has not been evaluated yet"
        return self.points[self.at]

    @property
    def explored(self) -> Explored:
        """Points that tell the scales of the problem."""
        walked, ends = {self.at, *(start for start, _ in self.steps)}, {end for _, end in self.steps}
        iterates = tuple(point for index, point in enumerate(self.points) if index in walked)
        others = [(index, point) for index, point in enumerate(self.points) if point.exact and index not in walked]
        tried = tuple(point for index, point in others if index in ends)
        return Explored(iterates, tried, tuple(point for index, point in others if index not in ends))

    @property
    def conditions(self) -> KKT:
        """Optimality conditions at the current iterate."""
        assert self.kkt is not None, "the start has not been evaluated yet"
        return self.kkt


def begin(
    problem: Problem,
    start: np.ndarray,
    settings: Settings,
    initial_data: Sequence[Dataset | None] | None = None,
    initial_samples: np.ndarray | None = None,
) -> State:
    """Return the state of a run before anything is evaluated.

    Args:
        problem: Problem.
        start: Start (k,), within the bounds.
        settings: Settings of the run.
        initial_data: For each truth samples that cost nothing, or None.
        initial_samples: Points (s, k) to be evaluated before the start; None = none.

    Returns:
        The state.

    Raises:
        InputError: If initial data have other variables than their truth.
        ShapeError: If the points have another dimension than the problem.
    """
    k = len(problem.limits.lower)
    waiting = np.empty((0, k)) if initial_samples is None else np.asarray(initial_samples, dtype=float)
    for name, found, shape in (("start", np.shape(start), (k,)), ("initial_samples", waiting.shape[1:], (k,))):
        if found != shape:
            raise ShapeError(explain(name, f"have {k} design variables", found, "Give one number for each."))
    known = [None] * len(problem.truths) if initial_data is None else initial_data
    samples = tuple(
        Samples.start(truth.inputs, truth.outputs, data) for truth, data in zip(problem.truths, known, strict=True)
    )
    return State(
        np.array(start, dtype=float), samples, waiting, trust_region=settings.trust_region.growing(problem.limits)
    )


def resumed(state: State, fresh: State) -> State:
    """Return a state of an earlier run, ready to go on in a problem.

    Args:
        state: State of the earlier run.
        fresh: What `begin` returns for the problem.

    Returns:
        The state; without its exit where that was the budget or a callback.

    Raises:
        InputError: If it is of another problem: other design variables, truths or components.
    """
    for what, theirs, ours in (
        ("design variables", len(state.start), len(fresh.start)),
        ("truths", _variables(state), _variables(fresh)),
    ):
        if theirs != ours:
            remedy = "Resume a run in the problem that it was of."
            raise InputError(explain("resume", f"be of a problem with the {what} {ours}", theirs, remedy))
    return replace(state, exit=None) if state.exit in (Exit.BUDGET, Exit.STOPPED) else state


def _variables(state: State) -> list[list[tuple[str, tuple[int, ...], str | None]]]:
    return [[(v.name, v.shape, v.units) for v in (*one.inputs, *one.outputs)] for one in state.samples]


def with_iterate(state: State, point: TruthPoint) -> State:
    """Return the state with the current iterate in another version, such as one with other derivatives."""
    return replace(state, points=(*state.points[: state.at], point, *state.points[state.at + 1 :]))
