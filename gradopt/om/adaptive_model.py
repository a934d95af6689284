"""An OpenMDAO problem as the adaptive loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import openmdao.api as om
from openmdao.core.total_jac import _TotalJacInfo

from gradopt.adaptive.correction import Parts
from gradopt.adaptive.problem import Limits, Responses
from gradopt.data.variables import flatten
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.om.knowledge import Corrected
from gradopt.om.quantities import Quantities, set_design
from gradopt.surrogates.protocol import SupportsEvaluate

_REACH = 50.0  # radii of the region within which kriging takes points


class AdaptiveModel:
    """Runs the model with its components answering from the truth or from corrected surrogates.

    Attributes:
        limits: Bounds of the problem in the driver's scaling.
    """

    def __init__(
        self,
        problem: om.Problem,
        components: Sequence[Corrected],
        parts: Parts,
        recording: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Take over a problem that is set up.

        Args:
            problem: The problem.
            components: Its components with a truth.
            parts: Parts of the correction to use.
            recording: Makes the context of each truth pass, in which recorders note an iteration.
        """
        driver = problem.driver
        self._problem = problem
        self._components = components
        self._parts = parts
        self._recording = recording
        self._rows: dict[bytes, list[int]] = {}  # of each component's truth, at each point u that the truth answered
        self._weights: dict[bytes, list[np.ndarray]] = {}  # d(objective, constraints)/d(outputs) there
        self._objective = list(driver._objs)
        self._names = [*self._objective, *driver._cons]
        self._totals: _TotalJacInfo | None = None
        design = self.design()
        constraints = Quantities(problem, "constraint", driver._cons)
        width = design.upper - design.lower
        bounded = np.isfinite(width) & (width > 0.0)
        fallback = np.maximum(np.abs(design.value), 1.0)
        self.limits = Limits(
            design.lower,
            design.upper,
            constraints.lower,
            constraints.upper,
            np.where(bounded, width, fallback),
        )

    @property
    def evaluations(self) -> int:
        """Truth evaluations so far, over all truths."""
        return sum(
            knowledge.evaluations for knowledge in {id(c.knowledge): c.knowledge for c in self._components}.values()
        )

    def design(self) -> Quantities:
        """The design variables as they are."""
        return Quantities(self._problem, "design_var", self._problem.driver._designvars)

    def truth(self, u: np.ndarray) -> Responses:
        """Run the model on the truth: each component evaluates its truth at the inputs it gets."""
        for component in self._components:
            component.comp.answer_from(component.knowledge.answers)
        with self._recording():
            found = self._run(u)
            outputs = [f"{c.comp.pathname}.{v.name}" for c in self._components for v in c.knowledge.truth.outputs]
            totals = self._problem.compute_totals(
                self._names, outputs, return_format="flat_dict", driver_scaling=True, coloring_info=False
            )
        key = u.tobytes()
        self._rows[key] = [c.knowledge.row(_inputs(c)) for c in self._components]
        self._weights[key] = []
        for component in self._components:
            blocks = [
                np.vstack([np.atleast_2d(totals[of, f"{component.comp.pathname}.{v.name}"]) for of in self._names])
                for v in component.knowledge.truth.outputs
            ]
            self._weights[key].append(np.hstack(blocks))
        return found

    def corrected(self, u: np.ndarray) -> Responses:
        """Run the model on the corrected surrogates."""
        return self._run(u)

    def learn(
        self, center: Responses, steps: list[tuple[Responses, Responses]], multipliers: np.ndarray, radius: float
    ) -> str:
        """Refit the global surrogates and correct every component about a center, to answer from then on."""
        rows = self._rows[center.u.tobytes()]
        done: dict[int, str] = {}
        for index, component in enumerate(self._components):
            knowledge = component.knowledge
            if id(knowledge) not in done:
                assert knowledge.data is not None
                done[id(knowledge)] = knowledge.refit(knowledge.data.x[rows[index]])
            pairs = [(self._rows[a.u.tobytes()][index], self._rows[b.u.tobytes()][index]) for a, b in steps]
            weights = self._weights[center.u.tobytes()][index]
            signs = np.sign(weights[0] + multipliers @ weights[1:])
            component.recorrect(rows[index], pairs, signs, self._parts, _REACH * radius)
            component.comp.answer_from(self._answers(component))
        return "; ".join(text for text in done.values() if text)

    def _answers(self, component: Corrected) -> SupportsEvaluate:
        if self._parts.first_order:
            return component.answers
        fitted = component.knowledge.fitted
        given = component.comp.surrogate if fitted is None else fitted.surrogate
        if given is None:
            remedy = "Give a configuration and initial samples, or keep the first-order correction."
            raise InputError(explain("correction", "be on while there is no fitted surrogate", "off", remedy))
        return _Everywhere(given)

    def _run(self, u: np.ndarray) -> Responses:
        problem = self._problem
        before = problem.model._outputs.asarray(copy=True)
        try:
            set_design(problem, self.design(), u)
            problem.driver._run_solve_nonlinear()
            if self._totals is None:
                wrt = list(problem.driver._designvars)
                approximated = problem.model._owns_approx_jac
                self._totals = _TotalJacInfo(problem, self._names, wrt, "array", approx=approximated)
            jacobian = np.array(self._totals.compute_totals())
        except om.AnalysisError as failed:
            problem.model._outputs.set_val(before)  # solvers start from there: what a failure left may be anything
            raise EvaluationError(str(failed)) from failed
        objective = Quantities(problem, "objective", problem.driver._objs)
        constraints = Quantities(problem, "constraint", problem.driver._cons)
        found = Responses(u.copy(), float(objective.value[0]), jacobian[0], constraints.value, jacobian[1:])
        if not found.finite:
            problem.model._outputs.set_val(before)
            raise EvaluationError(f"The model gives a value or a derivative that is not finite at {u}.")
        return found


def _inputs(component: Corrected) -> np.ndarray:
    variables = component.knowledge.truth.inputs
    return flatten({v.name: component.comp._inputs[v.name] for v in variables}, variables)


class _Everywhere:
    """A surrogate without the edges of its domain: the trust region keeps it where it belongs."""

    def __init__(self, surrogate: SupportsEvaluate) -> None:
        self.inputs, self.outputs, self.digest = surrogate.inputs, surrogate.outputs, surrogate.digest
        self.lower, self.upper = np.full(len(surrogate.lower), -np.inf), np.full(len(surrogate.upper), np.inf)
        self.evaluate = surrogate.evaluate
