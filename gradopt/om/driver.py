"""Adaptive driver: optimizes the true model on surrogates that it fits on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.corrected.correction import CorrectionTerms
from gradopt.data.dataset import Dataset
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.loop.files import load_state
from gradopt.loop.initial_design import initial_design
from gradopt.loop.learning import corrected_surrogates, global_surrogates, learned
from gradopt.loop.problem import LearnedTruth
from gradopt.loop.refinement import is_differenced
from gradopt.loop.running import Loop, run
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration, State, begin, resumed
from gradopt.loop.telling import with_gains
from gradopt.loop.trust_region import TrustRegion
from gradopt.om.arguments import Configurations, checked_configuration, checked_initial_data, of_one
from gradopt.om.certificate import certify_after
from gradopt.om.component import SurrogateComp
from gradopt.om.problem_view import ProblemView
from gradopt.om.truth_evaluator import TruthEvaluator
from gradopt.om.truth_pass import TruthPasses
from gradopt.optimality.certificate import Certificate, with_saddle
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.store import EvaluationStore

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit

logger = logging.getLogger("gradopt")

Watch = Callable[[Iteration], object]
"""Is called after each iteration; returning True ends the run there."""

_DEFAULTS = Settings()


class AdaptiveDriver(private.LoopDriver):
    """Optimize the true model: SLSQP on corrected surrogates, truth at the candidate, refit, until certified.

    Works on every `SurrogateComp(truth=...)` of the model; all else stays exact. Each iteration minimizes on the
    corrected surrogates within a trust region, evaluates the truth at the candidate, accepts or rejects it by the true
    merit, refits the surrogates and corrects them about the current iterate. Where every component has an initial
    surrogate, the truth is evaluated at the optimum of these after the start, and the iterations begin at the better
    one of the two. The run ends where the KKT conditions of the true model hold; then, and only then,
    `driver.result.success` is True.

    Recorders note one driver iteration for each pass through the truth, with its totals where the recording option
    `record_derivatives` is on. `driver.result.model_evals` is the number of truth evaluations.

    Options: every field of `gradopt.loop.Settings` by its name, `initial_samples`, `seed`, and those of every driver.

    Attributes:
        history: An `Iteration` for each, in the driver's scaling: its candidate, of a batch the best.
        certificate: KKT conditions of the true model at the answer, None if the truth failed at the start.
        exit: Why the last run ended, an `Exit`; its `advice` says what to try.
        evaluations: Number of truth evaluations of the last run, stored and failed ones and those of finite differences
            among them.
        state: State of the last run in its end, None before the first.
        data: For each component by its path, the samples of its truth.
        surrogates: For each component by its path, the global surrogate, None where there is none.
        store: Store of the evaluations.
    """

    def __init__(
        self,
        *,
        store: EvaluationStore | str | Path | None = None,
        configuration: Configurations = "default",
        initial_data: Mapping[str, Dataset] | None = None,
        callback: Watch | None = None,
        resume: State | str | Path | None = None,
        **options: Any,
    ) -> None:
        """Make a driver.

        Args:
            store: Store of the evaluations, an `EvaluationStore` or the path of one; None = in memory. A run repeated
                on the same store, with the same settings, takes the same steps and continues where it ended. One
                stored point of each truth is evaluated again and compared, which counts in `store.evaluated` alone;
                nothing else is evaluated twice.
            configuration: Configuration of the global surrogate, such as `JENN((20,))`, or one for each component by
                its path; None fits none, and the correction alone is the model. "default" is a small JENN network.
                Components with an initial surrogate keep that.
            initial_data: Samples that cost nothing, by the path of the component; of components that share a truth,
                for one of them.
            callback: Called with each `Iteration`; returning True ends the run.
            resume: State of an earlier run of the same problem, such as `driver.state`, or the path of one that
                `gradopt.loop.save_state` wrote: the run goes on from it without repeating anything. A state that ended
                for its budget or by the callback goes on too.
            **options: Options, such as `max_evaluations=40`.

        Raises:
            InputError: If an argument is of another kind.
        """
        super().__init__(**options)
        if callback is not None and not callable(callback):
            raise InputError(
                explain("callback", "be a callable or None", repr(callback), "It receives each Iteration.")
            )
        if store is not None and not isinstance(store, EvaluationStore | str | Path):
            remedy = "Pass EvaluationStore('evaluations.sqlite') or its path."
            raise InputError(explain("store", "be an EvaluationStore, a path or None", repr(store), remedy))
        self._configuration = checked_configuration(configuration)
        self._initial_data = checked_initial_data(initial_data)
        self.store = store if isinstance(store, EvaluationStore) else EvaluationStore(store)
        self._callback = callback
        self._resume = _checked_state(resume)
        self.history: tuple[Iteration, ...] = ()
        self.certificate: Certificate | None = None
        self.exit: Exit | None = None
        self.evaluations = 0
        self.state: State | None = None
        self.data: dict[str, Dataset | None] = {}
        self.surrogates: dict[str, Any] = {}

    def declare_options(self) -> None:
        """Declare the options."""
        declare = self.options.declare
        declare("optimizer", "SLSQP", values=["SLSQP"], desc="Optimizer of the trust-region subproblem.")
        for name, least, what in (
            (
                "max_evaluations",
                1,
                "Truth evaluations, failed ones too, over all truths: no iteration begins after them.",
            ),
            ("batch", 1, "Candidates evaluated at the same time, such as the number of workers."),
            ("starts", 1, "Starts of each trust-region subproblem."),
            ("max_failures", 1, "Truth failures in a row after which the run ends."),
        ):
            declare(name, getattr(_DEFAULTS, name), types=int, lower=least, desc=what)
        for name, what in (("tolerance", "stationarity and complementarity"), ("feasibility_tolerance", "feasibility")):
            default = getattr(_DEFAULTS, name)
            declare(name, default, types=(int, float), lower=0.0, upper=1.0, desc=f"Limit of {what}.")
        declare("check_derivatives", _DEFAULTS.check_derivatives, types=bool, desc="Confirm an optimum beside it.")
        for name, kind, what in (
            ("trust_region", TrustRegion, "First trust region and its rule."),
            ("correction", CorrectionTerms, "Terms of the correction."),
            ("finite_differences", FiniteDifferences, "How unknown partials are finite-differenced."),
        ):
            declare(name, kind(), check_valid=_must_be(kind), desc=what)
        declare("initial_samples", 0, types=int, lower=0, desc="Latin hypercube points evaluated before the loop.")
        declare("seed", 0, types=int, lower=0, desc="Seed of the initial samples.")

    def get_exit_status(self) -> str:
        """Return why the last run ended: one of the values of `Exit`."""
        return "not run" if self.exit is None else self.exit.value

    def run(self) -> bool:
        """Run the loop.

        Returns:
            Failure flag: False where the answer is certified.
        """
        problem = self.posed
        self.result.reset()
        self.iter_count = 0
        self.history, self.certificate, self.exit, self.state = (), None, None, None
        self.evaluations = 0
        self.data, self.surrogates = {}, {}
        if not private.design_variables(self):
            raise InputError(explain("problem", "have design variables", "none", "Declare them with `add_design_var`."))
        self.check_declarations()
        comps = self._components(problem)
        truths = list({id(comp.truth): comp.truth for comp in comps if comp.truth is not None}.values())
        index = {id(truth): number for number, truth in enumerate(truths)}
        learnable, known = [], []
        for truth in truths:
            sharing = [comp for comp in comps if comp.truth is truth]
            learnable.append(LearnedTruth(truth.inputs, truth.outputs, self._configuration_of(sharing, problem)))
            known.append(of_one("initial_data", self._initial_data, _paths(sharing), _paths(_with_truth(problem))))
        view = ProblemView(problem, comps, learnable, [index[id(comp.truth)] for comp in comps])
        settings = self._settings()
        passes = TruthPasses(view, truths, self.store, settings, self.recorded_iteration)
        start = np.clip(view.design().value, view.limits.lower, view.limits.upper)
        count, seed = self.options["initial_samples"], self.options["seed"]
        design = initial_design(view.limits, start, count, seed, settings.max_evaluations)
        state = begin(view, start, settings, known, design)
        if self._resume is not None:
            state = resumed(self._resume, state)
        loop = Loop(state, view, settings)
        self._keep(loop.state, view)
        try:
            state = run(loop, lambda request: passes(loop.state, request), lambda state: self._watched(state, view))
            self._keep(state, view)
            found = state.failure if state.at < 0 else self._finish(view, passes, settings, state)
        finally:
            self.result.model_evals = self.result.deriv_evals = self.evaluations
        assert self.exit is not None
        self.fail = self.exit is not Exit.CERTIFIED
        if self.fail:
            say = "The optimization ended without a certificate (%s). %s %s"
            logger.warning(say, self.exit.value, found, self.exit.advice)
        return self.fail

    def _keep(self, state: State, view: ProblemView) -> None:
        """Show the state of the run in the attributes."""
        self.state, self.history, self.exit, self.evaluations = state, state.history, state.exit, state.evaluations
        parts = zip(view.comps, view.components, global_surrogates(state, view), strict=True)
        for comp, component, surrogate in parts:
            self.data[comp.pathname] = state.samples[component.truth].data
            self.surrogates[comp.pathname] = surrogate

    def _watched(self, state: State, view: ProblemView) -> bool:
        self._keep(state, view)
        return self._callback is not None and self._callback(state.history[-1]) is True

    def _finish(self, view: ProblemView, passes: TruthPasses, settings: Settings, state: State) -> str:
        """Leave the model at the answer, with the truth's values, and certify it; returns the certificate's reason."""
        outcome = passes.repeat(state)
        if outcome.responses is None:
            raise EvaluationError(outcome.failure)
        state = with_gains(state, outcome)
        found = certify_after(
            view.problem,
            state.explored,
            settings.tolerance,
            settings.feasibility_tolerance,
            state.iterate.error if state.iterate.exact else None,
        )
        exit = Exit.EXHAUSTED if state.exit is Exit.CERTIFIED and not found.certified else state.exit
        if exit is Exit.CONTRADICTED:
            found = replace(found, certified=False, reason=f"Not certified: {exit.advice}")
        if exit is Exit.RESOLUTION:
            found = replace(found, certified=False, reason=f"Not certified: {state.failure}")
        elif found.certified and exit is not Exit.CERTIFIED and is_differenced(state, view):
            reason = "Not certified: the run ended before its derivatives were checked."
            found = replace(found, certified=False, reason=reason)
        if not state.iterate.exact:
            reason = "Not certified: the partials at the answer are estimates, they have not been finite-differenced."
            found = replace(found, certified=False, reason=reason)
        elif state.saddle is not None:
            found = with_saddle(found, state.saddle, view.design())
        state = replace(state, exit=exit)
        if settings.correction.first_order:
            state, _ = learned(state, view, settings)
            for comp, surrogate in zip(view.comps, corrected_surrogates(state, view, settings), strict=True):
                comp.evaluate_with(surrogate)
        for comp, base in zip(view.comps, global_surrogates(state, view), strict=True):
            if base is not None:
                comp.keep(base)
        ended = self.state
        self._keep(state, view)
        self.state = None if ended is None else replace(ended, exit=exit)  # as the loop left it, to be resumed
        self.certificate = found
        return found.reason

    def _settings(self) -> Settings:
        return Settings(**{field.name: self.options[field.name] for field in fields(Settings)})

    def _components(self, problem: om.Problem) -> list[SurrogateComp]:
        """Components with a truth that the driver runs; OpenMDAO runs the others before and after, from their truth."""
        everyone = _with_truth(problem)
        comps = [comp for comp in everyone if private.is_relevant(problem.model, comp)]
        if not comps:
            remedy = "Put SurrogateComp(truth=...) in the place of the expensive component."
            expected = "hold a SurrogateComp with a truth between design variables and objective or constraints"
            raise InputError(explain("problem.model", expected, sorted(_paths(everyone)) or "none", remedy))
        return comps

    def _configuration_of(self, sharing: list[SurrogateComp], problem: om.Problem) -> SupportsFit | None:
        """The configuration for the components that share a truth; None where each has an initial surrogate."""
        found = self._configuration
        if isinstance(found, Mapping):
            found = of_one("configuration", found, _paths(sharing), _paths(_with_truth(problem)))
        return None if all(comp.initial is not None for comp in sharing) else found

    def prepare(self, problem: om.Problem) -> None:
        """Have whatever components evaluate of their truth before the run, and beside it, kept in the store too.

        Raises:
            InputError: If the store is a file and a truth has no identity.
        """
        for comp in _with_truth(problem):
            assert comp.truth is not None
            self.store.register(comp.truth)
            present = comp.evaluator
            if isinstance(present, TruthEvaluator) and present.store is not self.store:
                comp.evaluate_with(TruthEvaluator(present.truth, self.store))


def _with_truth(problem: om.Problem) -> list[SurrogateComp]:
    systems = problem.model.system_iter(include_self=True, recurse=True, typ=SurrogateComp)
    return [system for system in systems if system.truth is not None]


def _checked_state(resume: State | str | Path | None) -> State | None:
    if resume is None or isinstance(resume, State):
        return resume
    if not isinstance(resume, str | Path):
        remedy = "Pass driver.state of an earlier run, or the path of one that gradopt.loop.save_state wrote."
        raise InputError(explain("resume", "be a State, a path or None", repr(resume), remedy))
    return load_state(resume)


def _paths(comps: Sequence[SurrogateComp]) -> list[str]:
    return [comp.pathname for comp in comps]


def _must_be(kind: type) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            remedy = f"Pass an object, such as {kind.__name__}()."
            raise InputError(explain(name, f"be a {kind.__name__}", repr(value), remedy))

    return check
