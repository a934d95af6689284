"""The adaptive driver: optimizes the true model on surrogates that it fits on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
from openmdao.core.driver import RecordingDebugging

from gradopt.corrected.correction import CorrectionTerms
from gradopt.data.dataset import Dataset
from gradopt.data.sampling import latin_hypercube
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.loop.run import advance, begin
from gradopt.loop.state import Exit, Iteration, Settings, State
from gradopt.loop.trust_region import TrustRegion
from gradopt.om.arguments import checked_configuration, checked_initial_data, of_one
from gradopt.om.certificate import Certificate, certify
from gradopt.om.component import SurrogateComp
from gradopt.om.knowledge import Corrected, Knowledge
from gradopt.om.problem_view import AdaptiveModel
from gradopt.om.truth_evaluator import TruthAnswers
from gradopt.optimality.kkt import FEASIBILITY_TOLERANCE, TOLERANCE
from gradopt.surrogates.configurations.jenn import JENN
from gradopt.surrogates.fitting.incremental import SupportsFit
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.store import EvaluationStore

logger = logging.getLogger("gradopt")

Watch = Callable[[Iteration], object]
"""Is called after each round; returning True ends the run there."""

_FINEST = 0.1  # part of the steps of differences: what happens within is not seen by them

DEFAULT = JENN((20,), activation="tanh", starts=1, alpha=1e-6)
"""Global surrogate where none is asked for."""


class AdaptiveDriver(om.ScipyOptimizeDriver):  # type: ignore[misc]
    """Optimize the true model: SLSQP on corrected surrogates, the truth at the candidate, re-polish, until certified.

    Works on every `SurrogateComp(truth=...)` of the model; all else stays exact. Each round minimizes on the
    surrogates within a trust region, asks the truth at the candidate, accepts or rejects it by the true merit, refits
    the surrogates and corrects them about the best point. Where every component was given a surrogate, the first round
    has no trust region: the truth is asked at the optimum of these as they are, and the better of it and the start is
    where the other rounds begin. The run ends where the KKT conditions of the true model hold;
    then, and only then, `driver.result.success` is True.

    Recorders note one iteration for each pass through the truth.

    Attributes:
        history: An `Iteration` for each candidate, in the driver's scaling.
        certificate: KKT conditions of the true model at the answer, None if the truth failed at the start.
        exit: Why the last run ended, an `Exit`; its `advice` says what to try.
        evaluations: Truth evaluations of the last run, stored and failed ones and those of differences among them.
        data: For each component by its path, what was learned of its truth.
        surrogates: For each component by its path, the global surrogate, None where there is none.
    """

    def __init__(
        self,
        *,
        store: EvaluationStore | str | Path | None = None,
        configuration: SupportsFit | Mapping[str, SupportsFit | None] | None = DEFAULT,
        initial_data: Mapping[str, Dataset] | None = None,
        correction: CorrectionTerms | None = None,
        trust_region: TrustRegion | None = None,
        finite_differences: FiniteDifferences | None = None,
        callback: Watch | None = None,
        **options: Any,
    ) -> None:
        """Make a driver.

        Args:
            store: Where evaluations are kept, an `EvaluationStore` or the path of one; None = in memory. A run
                repeated on the same store, with the same settings, takes the same steps without evaluating anything
                twice, and goes on where it ended.
            configuration: Global surrogate, such as `JENN((20,))`, or one for each component by its path; None fits
                none, and the correction alone is the model. Components that were given a fitted one keep that.
            initial_data: What is known already of a component's truth, by its path; of those that share a truth one.
            correction: Terms of the correction to use; None = all of them.
            trust_region: First trust region and its rule; None = `TrustRegion()`.
            finite_differences: How partials that a truth does not return are finite-differenced, where the surrogates'
                estimates of them do not suffice; None = `FiniteDifferences()`. Each step counts as an evaluation.
            callback: Called with each `Iteration`; returning True ends the run.
            **options: `max_evaluations`, `tolerance`, `feasibility_tolerance`, `initial_samples`, `seed`, `starts`
                and those of every driver. Those of SciPy's optimizers are not there: `tolerance` says when to stop.

        Raises:
            InputError: If an argument is of another kind.
        """
        super().__init__(**options)
        for name, value, kind in (
            ("correction", correction, CorrectionTerms),
            ("trust_region", trust_region, TrustRegion),
            ("finite_differences", finite_differences, FiniteDifferences),
        ):
            if value is not None and not isinstance(value, kind):
                remedy = f"Pass an object, such as {kind.__name__}()."
                raise InputError(explain(name, f"be a {kind.__name__} or None", repr(value), remedy))
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
        self._parts = correction or CorrectionTerms()
        self._region = trust_region or TrustRegion()
        self._differences = finite_differences or FiniteDifferences()
        self._callback = callback
        self.history: tuple[Iteration, ...] = ()
        self.certificate: Certificate | None = None
        self.exit: Exit | None = None
        self.evaluations = 0
        self.data: dict[str, Dataset | None] = {}
        self.surrogates: dict[str, Any] = {}

    def _declare_options(self) -> None:
        super()._declare_options()
        declare = self.options.declare
        for unused in ("tol", "maxiter", "disp"):
            self.options.undeclare(unused)
        declare("optimizer", "SLSQP", values=["SLSQP"], desc="Optimizer on the surrogates.")
        declare(
            "max_evaluations",
            100,
            types=int,
            lower=1,
            desc="Truth evaluations, failed ones too, over all truths together: no pass through the truth begins after "
            "them, but one that has begun is finished.",
        )
        for name, default, what in (
            ("tolerance", TOLERANCE, "stationarity and complementarity"),
            ("feasibility_tolerance", FEASIBILITY_TOLERANCE, "feasibility"),
        ):
            declare(name, default, types=(int, float), lower=0.0, upper=1.0, desc=f"Of {what} in the certificate.")
        declare("initial_samples", 0, types=int, lower=0, desc="Latin hypercube points evaluated before the loop.")
        declare("seed", 0, types=int, lower=0, desc="Seed of the initial samples.")
        declare("starts", 1, types=int, lower=1, desc="Starts of each inner optimization.")

    def _get_name(self) -> str:
        return "Adaptive_SLSQP"

    def get_exit_status(self) -> str:
        """Say why the last run ended: one of the values of `gradopt.loop.state.Exit`."""
        return "not run" if self.exit is None else self.exit.value

    def run(self) -> bool:
        """Run the loop.

        Returns:
            Failure flag: False where the answer is certified.
        """
        problem = self._problem()
        self.result.reset()
        self.iter_count = 0
        self.history, self.certificate, self.exit = (), None, None
        self.evaluations = 0
        self.data, self.surrogates = {}, {}
        if not self._designvars:
            raise InputError(explain("problem", "have design variables", "none", "Declare them with `add_design_var`."))
        self._check_for_missing_objective()
        self._check_for_invalid_desvar_values()
        components = self._components(problem)
        model = AdaptiveModel(problem, components, self._parts, self._recorded)
        found = ""
        try:
            state = self._loop(model)
            self._finish(problem, model, components, state)
            assert self.certificate is not None
            found = self.certificate.reason
        except _FailedAtStart as failed:
            self.exit, found = Exit.TRUTH_FAILED, str(failed)
        finally:
            self.evaluations = model.evaluations
            self.data = {c.comp.pathname: c.knowledge.data for c in components}
            self.surrogates = {c.comp.pathname: c.base for c in components}
        assert self.exit is not None
        self.fail = self.exit is not Exit.CERTIFIED
        if self.fail:
            say = "The optimization ended without a certificate (%s). %s %s"
            logger.warning(say, self.exit.value, found, self.exit.advice)
        return self.fail

    def _loop(self, model: AdaptiveModel) -> State:
        options = self.options
        settings = Settings(
            max_evaluations=options["max_evaluations"],
            tolerance=options["tolerance"],
            feasibility_tolerance=options["feasibility_tolerance"],
            region=self._region,
            starts=options["starts"],
            resolution=_FINEST * float(np.max(self._differences.step)),
        )
        start = np.clip(model.design().value, model.limits.lower, model.limits.upper)
        self._sample(model, start)
        try:
            state = begin(model, start, settings)
        except EvaluationError as failed:
            raise _FailedAtStart(str(failed)) from failed
        while True:
            new = len(state.rounds) > len(self.history)  # the loop may end without another round
            self.history = state.rounds
            if new and self._callback is not None and self._callback(state.rounds[-1]) is True:
                self.exit = state.exit or Exit.STOPPED
                return state
            if state.exit is not None:
                self.exit = state.exit
                return state
            state = advance(state, model, settings)

    def _sample(self, model: AdaptiveModel, start: np.ndarray) -> None:
        """Evaluate the initial design; failures are outcomes."""
        count, most = self.options["initial_samples"], self.options["max_evaluations"]
        if not count:
            return
        if count >= most:
            raise InputError(
                explain("initial_samples", f"be below max_evaluations = {most}", count, "Raise the latter.")
            )
        lower, upper = self._region_of_samples(model, start)
        box = Variable("u", shape=start.shape, lower=lower, upper=upper)
        for point in latin_hypercube([box], count, self.options["seed"]):
            if model.evaluations >= most - 1:  # a pass may take several; the start has to be left
                break
            try:
                model.sample(point)
            except EvaluationError as failed:
                logger.info("An initial sample failed. %s", failed)

    def _region_of_samples(self, model: AdaptiveModel, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        limits = model.limits
        lower = np.where(np.isfinite(limits.lower), limits.lower, start - limits.width)
        upper = np.where(np.isfinite(limits.upper), limits.upper, start + limits.width)
        return lower, np.where(upper > lower, upper, lower + 1e-12 * limits.width)

    def _finish(self, problem: om.Problem, model: AdaptiveModel, components: list[Corrected], state: State) -> None:
        """Leave the model at the answer, with the truth's values, and certify it."""
        model.truth(state.center.u)
        self.certificate = certify(problem, self.options["tolerance"], self.options["feasibility_tolerance"])
        if self.exit is Exit.CERTIFIED and not self.certificate.certified:
            self.exit = Exit.EXHAUSTED
        if self.exit is Exit.CONTRADICTED:
            self.certificate = replace(self.certificate, certified=False, reason=f"Not certified: {self.exit.advice}")
        if not state.center.exact:
            reason = (
                "Not certified: the partials at the answer are estimates, the truth has not been differenced there."
            )
            self.certificate = replace(self.certificate, certified=False, reason=reason)
        if self._parts.first_order:
            model.learn(state.center, list(state.steps), state.region.radius)
        for component in components:
            if component.base is not None:
                component.comp.keep(component.base)

    def _components(self, problem: om.Problem) -> list[Corrected]:
        everyone = _with_truth(problem)
        paths = {comp.pathname for comp in everyone}
        relevance = problem.model._relevance  # OpenMDAO runs the others before and after, from their truth
        comps = [comp for comp in everyone if relevance.is_relevant_system(comp.pathname)]
        if not comps:
            remedy = "Put SurrogateComp(truth=...) in the place of the expensive component."
            expected = "hold a SurrogateComp with a truth between design variables and objective or constraints"
            raise InputError(explain("problem.model", expected, sorted(paths) or "none", remedy))
        known: dict[int, Knowledge] = {}
        for comp in comps:
            truth = comp.truth
            assert truth is not None
            if id(truth) in known:
                continue
            sharing = [other for other in comps if other.truth is truth]
            names = [other.pathname for other in sharing]
            configuration = self._configuration
            if isinstance(configuration, Mapping):
                configuration = of_one("configuration", configuration, names, paths)
            if all(other.given is not None for other in sharing):
                configuration = None
            initial = of_one("initial_data", self._initial_data, names, paths)
            known[id(truth)] = Knowledge(truth, self.store, configuration, initial, self._differences)
        return [Corrected(comp, known[id(comp.truth)]) for comp in comps]

    def _setup_driver(self, problem: om.Problem) -> None:
        """Have whatever components ask of their truth before the run, and beside it, kept in the store too."""
        super()._setup_driver(problem)
        for comp in _with_truth(problem):
            present = comp.answers
            if isinstance(present, TruthAnswers) and present.store is not self.store:
                comp.answer_from(TruthAnswers(present.truth, self.store))

    def _recorded(self) -> AbstractContextManager[object]:
        self.iter_count += 1
        return RecordingDebugging(self._get_name(), self.iter_count - 1, self)


class _FailedAtStart(Exception):
    """The truth, or the model around it, has no answer at the start."""


def _with_truth(problem: om.Problem) -> list[SurrogateComp]:
    systems = problem.model.system_iter(include_self=True, recurse=True, typ=SurrogateComp)
    return [system for system in systems if system.truth is not None]
