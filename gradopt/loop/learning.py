"""From samples to the surrogates of the next iteration: fit, correct, select."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gradopt.corrected.selection import Selection
from gradopt.data.variables import Variable, total_size
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.loop.problem import Problem, initial_surrogates
from gradopt.loop.settings import Settings
from gradopt.loop.state import State
from gradopt.optimality.problem import Responses
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate

_REACH = 50.0  # trust-region radii within which kriging takes points; chosen by hand on Rosenbrock's function
_DOUBTED = 10  # last candidates, one of which was rejected where partials are searched for noise: it costs; by hand


def learned(state: State, problem: Problem, settings: Settings) -> tuple[State, str]:
    """Refit the global surrogates and correct every component about the current iterate.

    Args:
        state: State whose samples are to be learned.
        problem: Problem.
        settings: Settings of the run.

    Returns:
        The state with its surrogates, and what was done to the global ones; "" without any.
    """
    iterate, samples, done = state.iterate, list(state.samples), dict[int, str]()
    before = state.selections or (Selection(),) * len(problem.components)
    doubtful = any(not one.accepted for one in state.history[-_DOUBTED:])
    selections = []
    for index, component in enumerate(problem.components):
        truth = component.truth
        # The rows of several components lie in clusters, which the evidence takes for noise where there is none.
        alone = sum(other.truth == truth for other in problem.components) == 1
        if truth not in done:
            data = samples[truth].data
            assert data is not None
            candidate = data.x[iterate.rows[index]]
            samples[truth], done[truth] = samples[truth].refitted(problem.truths[truth].configuration, candidate)
        pairs = [(state.points[a].rows[index], state.points[b].rows[index]) for a, b in state.steps]
        selection = before[index].after(
            samples[truth],
            _base(component.initial, samples[truth].fitted),
            iterate.rows[index],
            pairs,
            np.sign(iterate.sensitivities[index][0]),  # convex where more of the output is a higher objective
            settings.correction,
            _REACH * state.trust_region.radius,
            doubtful and alone,
            [point.rows[index] for point in state.points],
        )
        selections.append(selection)
    state = replace(state, samples=tuple(samples), selections=tuple(selections))
    corrected_surrogates(state, problem, settings)  # raises where there are none
    return state, "; ".join(text for text in done.values() if text)


def corrected_surrogates(state: State, problem: Problem, settings: Settings) -> list[SupportsEvaluate]:
    """Return the corrected surrogate of each component.

    Raises:
        InputError: If the first-order correction is off and there is no global surrogate.
    """
    if settings.correction.first_order:
        return [selection.selected for selection in state.selections]
    found: list[SupportsEvaluate] = []
    for component in problem.components:
        base = _base(component.initial, state.samples[component.truth].fitted)
        if base is None:
            remedy = "Give a configuration and initial samples, or keep the first-order correction."
            raise InputError(explain("correction", "be on while there is no fitted surrogate", "off", remedy))
        found.append(_Unbounded(base))
    return found


def global_surrogates(state: State, problem: Problem) -> list[SupportsEvaluate | None]:
    """Return the global surrogate of each component, None where there is none."""
    return [_base(component.initial, state.samples[component.truth].fitted) for component in problem.components]


def on_corrected(state: State, problem: Problem, settings: Settings) -> Callable[[np.ndarray], Responses]:
    """Return the problem on the corrected surrogates, as a function of the design variables (k,)."""
    surrogates = corrected_surrogates(state, problem, settings)
    return lambda u: problem.evaluate_on(surrogates, u)


def on_alternatives(
    state: State, problem: Problem, settings: Settings
) -> list[Callable[[np.ndarray], Responses] | None]:
    """Return the problem on other models of the same samples than `on_corrected`, each a function of u (k,).

    Returns:
        The problem on the corrected surrogates without kriging, with additive kriging alone, with isotropic kriging
        alone, and on the variants that are not selected; None where there is no such model.
    """
    found: list[Callable[[np.ndarray], Responses] | None] = [None] * 4
    if not settings.correction.first_order:
        return found
    chosen = [selection.selected for selection in state.selections]
    krigings = max(len(one.correction.krigings) for one in chosen)
    # Of one input both kernels are the same.
    kernels: dict[int, list[int | None]] = {0: [], 1: [None, 0], 2: [None, 1, 0]}
    for place, kernel in enumerate(kernels[krigings]):
        found[place] = partial(problem.evaluate_on, [one.with_kriging(kernel) for one in chosen])
    others = [selection.other for selection in state.selections]
    if any(one is not other for one, other in zip(chosen, others, strict=True)):
        found[-1] = partial(problem.evaluate_on, others)
    return found


Guess = Callable[[np.ndarray], np.ndarray]
"""Estimate of the partials (m, d) at x (d,)."""


def guesses(state: State, problem: Problem, settings: Settings) -> list[Guess | None]:
    """Return, for each truth, the estimate of partials that stands in where the truth returns none.

    These are the partials of the latest corrected surrogate, or of the initial surrogate; None before there is one.
    """
    surrogates: list[SupportsEvaluate] | None = initial_surrogates(problem)
    if state.selections:
        surrogates = corrected_surrogates(state, problem, settings)
    found: list[Guess | None] = [None] * len(problem.truths)
    for component, surrogate in zip(problem.components, surrogates or (), strict=bool(surrogates)):
        found[component.truth] = _partials_of(surrogate)
    return found


def no_partials(state: State) -> list[Guess | None]:
    """Return estimates of 0, for samples whose partials nothing depends on."""
    shapes = [(total_size(samples.outputs), total_size(samples.inputs)) for samples in state.samples]
    return [_zeros(shape) for shape in shapes]


def can_differentiate(state: State, problem: Problem) -> bool:
    """Whether finite differences could add to the partials at the current iterate."""
    rows = zip(problem.components, state.iterate.rows, strict=True)
    return any(state.samples[component.truth].can_differentiate(row) for component, row in rows)


def _base(initial: SupportsEvaluate | None, fitted: object) -> SupportsEvaluate | None:
    """The global surrogate under the correction: the initial one, or else the one fitted so far."""
    if initial is not None or fitted is None:
        return initial
    return fitted.surrogate  # type: ignore[attr-defined]


def _partials_of(surrogate: SupportsEvaluate) -> Guess:
    shape = (total_size(surrogate.outputs), total_size(surrogate.inputs))

    def guess(x: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(surrogate.evaluate(x[None]).dydx()[0])
        except EvaluationError:  # the truth was evaluated there, and that counts
            return np.zeros(shape)

    return guess


def _zeros(shape: tuple[int, int]) -> Guess:
    return lambda x: np.zeros(shape)


@dataclass(frozen=True, eq=False)
class _Unbounded:
    """A surrogate without the edges of its domain: the trust region keeps the candidates near the samples."""

    surrogate: SupportsEvaluate

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return self.surrogate.inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        return self.surrogate.outputs

    @property
    def digest(self) -> str:
        return self.surrogate.digest

    @property
    def lower(self) -> np.ndarray:
        return np.full(len(self.surrogate.lower), -np.inf)

    @property
    def upper(self) -> np.ndarray:
        return np.full(len(self.surrogate.upper), np.inf)

    def evaluate(self, x: np.ndarray) -> Evaluation:
        return self.surrogate.evaluate(x)
