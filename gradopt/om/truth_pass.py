"""Truth passes: runs of the model in which each component evaluates its truth. The driver's side of ask and tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.corrected.samples import Gain, Samples
from gradopt.data.variables import total_size
from gradopt.errors import EvaluationError
from gradopt.loop.asking import samples_first
from gradopt.loop.learning import Guess, corrected_surrogates, guesses, no_partials
from gradopt.loop.refinement import checks, output_weights, outputs_that_matter
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.settings import Settings
from gradopt.loop.state import Stage, State
from gradopt.loop.telling import with_gains
from gradopt.om.problem_view import ProblemView
from gradopt.om.truth_evaluator import Tangent, TruthEvaluator
from gradopt.optimality.problem import Responses
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.protocol import EvaluatesAtOnce, Evaluations, Truth
from gradopt.truth.store import EvaluationStore

_SWEEPS = 6  # passes over a coupled model on tangents, which converge like Newton's method; by hand
_SETTLED = 1e-8  # relative change of a component's inputs below which its tangent is as good as the truth; by hand

_DRAWS = 8  # random signs of the errors of partials: a single error that counts needs one, sums several; by hand

Plan = TypeVar("Plan", FiniteDifferencePlan, CentralDifferencePlan)
Record = Callable[[], AbstractContextManager[object]]
"""Makes a context within which a truth pass is recorded."""


class TruthPasses:
    """Evaluates the requests of the loop on the truths of a problem, through a store."""

    def __init__(
        self,
        view: ProblemView,
        truths: Sequence[Truth],
        store: EvaluationStore,
        settings: Settings,
        record: Record = nullcontext,
    ) -> None:
        """Make what evaluates.

        Args:
            view: Problem.
            truths: Its truths.
            store: Store of their evaluations.
            settings: Settings of the run.
            record: Context of each pass.
        """
        self._view, self._truths, self._store, self._settings, self._record = view, truths, store, settings, record

    def __call__(self, state: State, request: Request) -> list[Outcome]:
        """Evaluate the points of a request, those of initial samples at the same time where the truths can."""
        if state.stage is Stage.START and samples_first(state, self._settings):
            return self._sample(state, request.points)
        if len(request.points) > 1:
            self._evaluate_ahead(request.points)
        return [self._evaluate(state, request.purpose, u) for u in request.points]

    def _sample(self, state: State, points: np.ndarray) -> list[Outcome]:
        """Evaluate initial samples (q, k) as far as the budget goes, which leaves one evaluation for the start."""
        left = self._settings.max_evaluations - 1 - state.evaluations
        self._evaluate_ahead(points[: math.ceil(left / len(self._view.components))])
        outcomes = []
        for u in points:
            if samples_first(state, self._settings):
                outcomes.append(self._pass(state, u, self._gatherings(state, no_partials(state)), {}))
                state = with_gains(state, outcomes[-1])
            else:  # some samples took more than one evaluation
                outcomes.append(Outcome(None, "It was not evaluated: one evaluation is left for the start."))
        return outcomes

    def _evaluate_ahead(self, points: np.ndarray) -> None:
        """Evaluate the truths of a feed-forward model at design variables (q, k), for the passes that follow.

        One truth after the other, as the inputs of each may depend on the outputs of those before it; its points at
        the same time.
        """
        comps = {id(comp): comp for comp in self._view.comps}
        chain = [comps[id(one)] for one in private.feed_forward(self._view.problem.model) or () if id(one) in comps]
        present = [comp.evaluator for comp in chain]
        try:
            for comp in chain:
                if isinstance(comp.truth, EvaluatesAtOnce):
                    ahead = _Reached(comp.truth, self._store)
                    comp.evaluate_with(ahead)
                    for u in points:
                        with suppress(EvaluationError):
                            self._view.run(u)
                    if ahead.seen:
                        self._store.evaluate(comp.truth, np.array(ahead.seen))
                assert comp.truth is not None
                comp.evaluate_with(TruthEvaluator(comp.truth, self._store, complete=_without_unknown))
        finally:
            for comp, evaluator in zip(chain, present, strict=True):
                comp.evaluate_with(evaluator)

    def repeat(self, state: State) -> Outcome:
        """Run the model at the current iterate again: nothing new is evaluated, not even where solvers iterate."""
        found = guesses(state, self._view, self._settings)
        return self._pass(state, state.iterate.u, self._gatherings(state, found), state.iterate.context)

    def _evaluate(self, state: State, purpose: Purpose, u: np.ndarray) -> Outcome:
        if purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
            return self._differentiate(state, purpose)
        found = guesses(state, self._view, self._settings)
        return self._pass(state, u, self._gatherings(state, found), {})

    def _differentiate(self, state: State, purpose: Purpose) -> Outcome:
        """Finite-difference the partials at the current iterate, and run the model with them."""
        gatherings = self._gatherings(state, guesses(state, self._view, self._settings))
        refines = purpose is Purpose.REFINEMENT
        every = (output_weights if refines else outputs_that_matter)(state, self._view)
        checked = refines and checks(state, self._view, self._settings)
        errors = []
        for component, row in zip(self._view.components, state.iterate.rows, strict=True):
            gathering, outputs = gatherings[component.truth], every[component.truth]
            if refines:
                errors.append(gathering.refine(row, outputs, checked))
            else:
                gathering.differentiate(row, outputs)
        context = dict(state.iterate.context)
        for index, component in enumerate(self._view.components):
            if f"x {index}" in context:
                tangent = Tangent.of(gatherings[component.truth].evaluator, context[f"x {index}"])
                context |= _context_of(index, tangent)
        found = self._pass(state, state.iterate.u, gatherings, context)
        if found.responses is None or not checked:
            return found
        error = self._errors(found.responses, gatherings, found.inputs, errors)
        return replace(found, responses=replace(found.responses, error=error))

    def _errors(
        self,
        found: Responses,
        gatherings: Sequence[_Gathering],
        inputs: Sequence[np.ndarray],
        errors: Sequence[np.ndarray],
    ) -> np.ndarray:
        """Errors (1 + p, k) of the totals where the model stands, from those of the partials (m, d) of each component.

        The model gives totals with all partials off by their errors, with random signs; the largest change of several
        such draws is the estimate.
        """
        view, largest = self._view, np.zeros((1 + len(found.c), len(found.u)))
        evaluators = [comp.evaluator for comp in view.comps]
        tangents = [
            Tangent.of(gatherings[component.truth].evaluator, x)
            for component, x in zip(view.components, inputs, strict=True)
        ]
        generator = np.random.default_rng(0)
        try:
            assert view.totals is not None
            for _ in range(_DRAWS if any(error.any() for error in errors) else 0):
                for comp, tangent, error in zip(view.comps, tangents, errors, strict=True):
                    shift = generator.choice([-1.0, 1.0], error.shape) * error
                    comp.evaluate_with(replace(tangent, partials=tangent.partials + shift))
                totals = np.array(view.totals.compute())
                largest = np.maximum(largest, np.abs(totals - np.vstack([found.gradient, found.jacobian])))
        finally:
            for comp, evaluator in zip(view.comps, evaluators, strict=True):
                comp.evaluate_with(evaluator)
        return largest

    def _gatherings(self, state: State, found: Sequence[Guess | None]) -> list[_Gathering]:
        parts = zip(self._truths, state.samples, found, strict=True)
        return [
            _Gathering(t, samples, guess, self._store, self._settings.finite_differences) for t, samples, guess in parts
        ]

    def _pass(
        self, state: State, u: np.ndarray, gatherings: list[_Gathering], context: Mapping[str, np.ndarray]
    ) -> Outcome:
        """Run the model at u (k,), each component on its truth.

        Where components are coupled, the model's solver would evaluate the truths in every sweep. Once there are
        corrected surrogates, the model is converged on these instead, corrected anew where that leads, until nothing
        moves any more.

        Args:
            state: State of the run.
            u: Design variables.
            gatherings: For each truth what is evaluated.
            context: What an earlier pass at this point left, {} at a new one.
        """
        view, components = self._view, self._view.components
        started = [len(one.samples.evaluated) for one in gatherings]
        new = "outputs" not in context
        before = private.get_outputs(view.problem) if new else context["outputs"]
        if not new:  # the same state as the first time, so that solvers take the same way and evaluate nothing else
            private.set_outputs(view.problem, before)
        tangents = [_tangent_from(context, index, gatherings[c.truth]) for index, c in enumerate(components)]
        try:
            with self._record():
                if new and state.coupled and state.selections:
                    tangents = self._converged(state, u, gatherings)
                    before = private.get_outputs(view.problem)
                everyone: list[SupportsEvaluate] = [
                    tangent or gatherings[component.truth].evaluator
                    for tangent, component in zip(tangents, components, strict=True)
                ]
                for comp, evaluator in zip(view.comps, everyone, strict=True):
                    comp.evaluate_with(evaluator)
                found = view.run(u)
            assert view.totals is not None
            view.totals.record(view.problem.driver)
        except EvaluationError as failed:
            return Outcome(None, str(failed), tuple(one.gain() for one in gatherings))
        evaluated = sum(len(one.samples.evaluated) for one in gatherings) - sum(started)
        left = {"outputs": before}
        for index, tangent in enumerate(tangents):
            left |= {} if tangent is None else _context_of(index, tangent)
        return Outcome(
            found,
            "",
            tuple(one.gain() for one in gatherings),
            tuple(view.inputs_of(i) if tangent is None else tangent.x for i, tangent in enumerate(tangents)),
            tuple(view.sensitivities()),
            evaluated > len(components),
            left,
        )

    def _converged(self, state: State, u: np.ndarray, gatherings: list[_Gathering]) -> list[Tangent | None]:
        """Tangents of the truths about the state in which a coupled model is consistent; None if it does not settle."""
        view, components = self._view, self._view.components
        for comp, surrogate in zip(view.comps, corrected_surrogates(state, view, self._settings), strict=True):
            comp.evaluate_with(surrogate)
        last: list[Tangent] = []
        before = private.get_outputs(view.problem)
        try:
            view.set_design(u)
            for _ in range(_SWEEPS):
                private.run_model(view.problem)
                points = [view.inputs_of(index) for index in range(len(components))]
                if last and all(_same(x, tangent.x) for x, tangent in zip(points, last, strict=True)):
                    return list(last)
                evaluators = [gatherings[component.truth].evaluator for component in components]
                last = [Tangent.of(evaluator, x) for evaluator, x in zip(evaluators, points, strict=True)]
                for comp, tangent in zip(view.comps, last, strict=True):
                    comp.evaluate_with(tangent)
        except (om.AnalysisError, EvaluationError) as failed:
            private.set_outputs(view.problem, before)
            raise EvaluationError(str(failed)) from failed
        return [None] * len(components)


@dataclass(frozen=True, eq=False)
class _Reached(TruthEvaluator):
    """Notes where a truth would be evaluated, and fails.

    Attributes:
        seen: Points (d,).
    """

    seen: list[np.ndarray] = field(default_factory=list)

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.seen.append(x[0].real.copy())
        raise om.AnalysisError("The truth is evaluated later.")


def _without_unknown(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Zeros for unknown partials (m, d), which nothing depends on."""
    return np.nan_to_num(known)


class _Gathering:
    """What one pass evaluates of one truth."""

    def __init__(
        self,
        truth: Truth,
        samples: Samples,
        guess: Guess | None,
        store: EvaluationStore,
        finite_differences: FiniteDifferences,
    ) -> None:
        self.samples = samples
        self.evaluator = TruthEvaluator(truth, store, self._note, self._complete)
        self._guess, self._finite_differences = guess, finite_differences
        self._found: list[Evaluations] = []
        self._beside: list[Evaluations] = []
        self._finite_differenced: list[tuple[np.ndarray, np.ndarray, bool]] = []

    def differentiate(self, row: int, matters: np.ndarray | None = None) -> None:
        """Finite-difference the unknown partials of a row; where the truth fails beside it they stay unknown."""
        if self.samples.can_differentiate(row):
            plan = self._finished(self.samples.plan(row, self._finite_differences, matters))
            self._keep(row, plan.partials(), False)

    def refine(self, row: int, weights: np.ndarray, checked: bool) -> np.ndarray:
        """Measure partials of a row that the truth did not return by central differences; returns errors (m, d)."""
        if not (self.samples.can_differentiate(row) or row in self.samples.difference_rows):
            return np.zeros((total_size(self.evaluator.outputs), total_size(self.evaluator.inputs)))
        plan = self._finished(self.samples.refinement(row, self._finite_differences, weights, checked))
        self._keep(row, plan.partials(), True)
        return plan.errors()

    def gain(self) -> Gain:
        """Return what was evaluated."""
        m, d = total_size(self.evaluator.outputs), total_size(self.evaluator.inputs)
        beside = Evaluations.join(self._beside, m, d)
        return Gain(
            Evaluations.join(self._found, m, d),
            beside.x,
            beside.y,
            np.array([x for x, _, _ in self._finite_differenced]).reshape(-1, d),
            np.array([partials for _, partials, _ in self._finite_differenced]).reshape(-1, m, d),
            np.array([refined for _, _, refined in self._finite_differenced], dtype=bool),
        )

    def _finished(self, plan: Plan) -> Plan:
        """Evaluate the points of a plan, stage by stage."""
        truth, store = self.evaluator.truth, self.evaluator.store
        while len(plan.points):
            found = store.evaluate(truth, plan.points)
            self._beside.append(found)
            self.samples = self.samples.with_beside(found.x, found.y)
            plan = plan.after(found)
        return plan

    def _keep(self, row: int, partials: np.ndarray, refined: bool) -> None:
        assert self.samples.data is not None
        self._finite_differenced.append((self.samples.data.x[row], partials, refined))
        self.samples = self.samples.with_partials(row, partials, refined)

    def _note(self, found: Evaluations) -> None:
        self.samples = self.samples.with_evaluations(found)
        self._found.append(found)

    def _complete(self, x: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Fill in what finite differences gave of the partials (m, d) at x (d,), and estimates for the others.

        Without an estimate they are finite-completed at once, and 0 where that fails.
        """
        row = self.samples.row(x)
        if self._guess is None:
            self.differentiate(row)
        data = self.samples.data
        assert data is not None
        completed = np.where(np.isnan(known), data.partials[row], known)
        if not np.isnan(completed).any():
            return completed
        guessed = np.zeros(known.shape) if self._guess is None else self._guess(x)
        return np.where(np.isnan(completed), guessed, completed)


def _tangent_from(context: Mapping[str, np.ndarray], index: int, gathering: _Gathering) -> Tangent | None:
    if f"x {index}" not in context:
        return None
    return Tangent(gathering.evaluator, *(context[f"{part} {index}"] for part in ("x", "y", "partials")))


def _context_of(index: int, tangent: Tangent) -> dict[str, np.ndarray]:
    return {f"x {index}": tangent.x, f"y {index}": tangent.y, f"partials {index}": tangent.partials}


def _same(x: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(x, other, rtol=_SETTLED, atol=_SETTLED * _SETTLED))
