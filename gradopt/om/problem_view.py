"""An OpenMDAO problem as the adaptive loop sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import openmdao.api as om
from openmdao.core.total_jac import _TotalJacInfo

from gradopt.corrected.correction import CorrectionTerms
from gradopt.data.variables import flatten, total_size
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.om.knowledge import Corrected, Knowledge
from gradopt.om.quantities import Quantities, set_design
from gradopt.om.truth_evaluator import Tangent
from gradopt.optimality.problem import Limits, Responses
from gradopt.surrogates.protocol import SupportsEvaluate

_SWEEPS = 6  # of a coupled model on tangents, which converge like Newton's method
_SETTLED = 1e-8  # relative change of a component's inputs below which its tangent is as good as the truth
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
        parts: CorrectionTerms,
        recording: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Take over a problem that is set up.

        Args:
            problem: The problem.
            components: Its components with a truth.
            parts: Terms of the correction to use.
            recording: Makes the context of each truth pass, in which recorders note an iteration.
        """
        driver = problem.driver
        self._problem = problem
        self._components = components
        self._parts = parts
        self._recording = recording
        self._rows: dict[bytes, list[int]] = {}  # of each component's truth, at each point u that the truth answered
        self._weights: dict[bytes, list[np.ndarray]] = {}  # d(objective, constraints)/d(outputs) there
        self._before: dict[bytes, np.ndarray] = {}  # outputs from which the model started there
        self._corrected: list[SupportsEvaluate] = []
        self._coupled = False  # whether a pass has asked truths more than once
        self._tangents: dict[bytes, list[Tangent] | None] = {}  # of coupled truths at the points they answered
        self._objective = list(driver._objs)
        self._names = [*self._objective, *driver._cons]
        self._totals: _TotalJacInfo | None = None
        self._given = [component.comp.given for component in components if component.comp.given is not None]
        if self.believes:  # all that is known of partials before the truth is differenced
            for component, given in zip(components, self._given, strict=True):
                component.knowledge.guess = partial(_partials, given)
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
        return sum(knowledge.evaluations for knowledge in self._knowledges)

    @property
    def _asked(self) -> int:
        """Evaluations that were not for differences."""
        return sum(knowledge.asked for knowledge in self._knowledges)

    @property
    def _knowledges(self) -> list[Knowledge]:
        """What is known of each truth; components may share one."""
        return list({id(c.knowledge): c.knowledge for c in self._components}.values())

    def design(self) -> Quantities:
        """The design variables as they are."""
        return Quantities(self._problem, "design_var", self._problem.driver._designvars)

    def truth(self, u: np.ndarray) -> Responses:
        """Run the model on the truth: each component evaluates its truth at the inputs it gets.

        Where components are coupled, the model's solver would ask the truths in every sweep. Once there are corrected
        surrogates, these are converged instead, corrected anew where that leads, until nothing moves any more.

        Asked again at the last center, it evaluates nothing anew, not even where solvers iterate.
        """
        key = u.tobytes()
        model = self._problem.model
        before = self._before.get(key)
        new = before is None
        if before is None:
            before = model._outputs.asarray(copy=True)
        else:  # from the same state as the first time, so that solvers take the same way and ask nothing else
            model._outputs.set_val(before)
        spent = self._asked
        with self._recording():
            if new and self._coupled and self._corrected:
                self._tangents[key] = self._converge(u)
                before = model._outputs.asarray(copy=True)
            tangents = self._tangents.get(key)
            everyone: list[SupportsEvaluate] = [*(tangents or (c.knowledge.answers for c in self._components))]
            for component, answers in zip(self._components, everyone, strict=True):
                component.comp.answer_from(answers)
            found = self._run(u)
        self._coupled = self._coupled or self._asked - spent > len(self._components)
        self._before[key] = before
        self._rows[key] = [
            c.knowledge.row(answers.x if isinstance(answers, Tangent) else _inputs(c))
            for c, answers in zip(self._components, everyone, strict=True)
        ]
        self._weights[key] = self._sensitivities()
        exact = all(c.knowledge.known(row) for c, row in zip(self._components, self._rows[key], strict=True))
        return replace(found, exact=exact)

    @property
    def believes(self) -> bool:
        """Whether every component was given a surrogate."""
        return len(self._given) == len(self._components)

    def believed(self, u: np.ndarray) -> Responses:
        """Run the model on the surrogates that were given; outside their domains the components' option rules."""
        return self._run_on(self._given, u)

    @property
    def differenced(self) -> bool:
        """Whether derivatives at a point are differences of values, as far as the truths do not give them."""
        return any(component.knowledge.differenced for component in self._components)

    def can_differentiate(self, u: np.ndarray) -> bool:
        """Whether differences could tell more of the partials at a point that the truths answered."""
        rows = zip(self._components, self._rows[u.tobytes()], strict=True)
        return any(component.knowledge.can_differentiate(row) for component, row in rows)

    def differentiate(self, u: np.ndarray) -> Responses:
        """Difference the partials of the truths that are not known at a point they answered."""
        key = u.tobytes()
        for component, row in zip(self._components, self._rows[key], strict=True):
            component.knowledge.differentiate(row)
        tangents = self._tangents.get(key)
        if tangents is not None:
            self._tangents[key] = [Tangent.of(tangent.answers, tangent.x) for tangent in tangents]
        return self.truth(u)

    def sample(self, u: np.ndarray) -> None:
        """Ask the truths for values alone; raises `EvaluationError` where they fail."""
        before = [(knowledge, knowledge.guess) for knowledge in self._knowledges]
        for knowledge, _ in before:
            knowledge.guess = partial(
                _nothing, (total_size(knowledge.truth.outputs), total_size(knowledge.truth.inputs))
            )
        try:
            self.truth(u)
        finally:
            for knowledge, guess in before:
                knowledge.guess = guess

    def _converge(self, u: np.ndarray) -> list[Tangent] | None:
        """Tangents of the truths about the state in which a coupled model is consistent; None if it does not settle."""
        for component, answers in zip(self._components, self._corrected, strict=True):
            component.comp.answer_from(answers)
        last: list[Tangent] = []
        before = self._problem.model._outputs.asarray(copy=True)
        try:
            set_design(self._problem, self.design(), u)
            for _ in range(_SWEEPS):
                self._problem.driver._run_solve_nonlinear()
                points = [_inputs(component) for component in self._components]
                if last and all(_same(x, tangent.x) for x, tangent in zip(points, last, strict=True)):
                    return last
                last = [Tangent.of(c.knowledge.answers, x) for c, x in zip(self._components, points, strict=True)]
                for component, tangent in zip(self._components, last, strict=True):
                    component.comp.answer_from(tangent)
        except (om.AnalysisError, EvaluationError) as failed:
            self._problem.model._outputs.set_val(before)
            raise EvaluationError(str(failed)) from failed
        return None

    def corrected(self, u: np.ndarray) -> Responses:
        """Run the model on the corrected surrogates."""
        return self._run_on(self._corrected, u)

    def _run_on(self, surrogates: Sequence[SupportsEvaluate], u: np.ndarray) -> Responses:
        for component, answers in zip(self._components, surrogates, strict=True):
            if component.comp.answers is not answers:  # but the truth, say, which failed
                component.comp.answer_from(answers)
        return self._run(u)

    def learn(self, center: Responses, steps: list[tuple[Responses, Responses]], radius: float) -> str:
        """Refit the global surrogates and correct every component about a center, to answer from then on."""
        key = center.u.tobytes()
        self._before = {key: self._before[key]}
        self._tangents = {key: self._tangents[key]} if key in self._tangents else {}
        rows = self._rows[key]
        done: dict[int, str] = {}
        for index, component in enumerate(self._components):
            knowledge = component.knowledge
            if id(knowledge) not in done:
                assert knowledge.data is not None
                done[id(knowledge)] = knowledge.refit(knowledge.data.x[rows[index]])
            pairs = [(self._rows[a.u.tobytes()][index], self._rows[b.u.tobytes()][index]) for a, b in steps]
            weights = self._weights[key][index]
            signs = np.sign(weights[0])  # convex where more of the output is a higher objective
            component.recorrect(rows[index], pairs, signs, self._parts, _REACH * radius)
        self._corrected = [self._answers(component) for component in self._components]
        for component, answers in zip(self._components, self._corrected, strict=True):
            component.knowledge.guess = partial(_partials, answers)
        for component, answers in zip(self._components, self._corrected, strict=True):
            component.comp.answer_from(answers)
        return "; ".join(text for text in done.values() if text)

    def _sensitivities(self) -> list[np.ndarray]:
        """Total derivatives of objective and constraints (1 + p, m) with respect to each component's outputs.

        Zero where a group around the component is approximated: OpenMDAO differentiates through such a group only.
        """
        paths = {
            c.comp.pathname: [f"{c.comp.pathname}.{v.name}" for v in c.knowledge.truth.outputs]
            for c in self._components
            if not self._is_approximated(c.comp.pathname)
        }
        wrt = [name for names in paths.values() for name in names]
        if wrt:
            totals = self._problem.compute_totals(self._names, wrt, coloring_info=False, driver_scaling=False)
        scale = self._scale()
        found = []
        for component in self._components:
            columns = paths.get(component.comp.pathname)
            if columns is None:
                found.append(np.zeros((len(scale), total_size(component.knowledge.truth.outputs))))
            else:
                blocks = [np.vstack([totals[of, name] for of in self._names]) for name in columns]
                found.append(np.hstack(blocks) * scale[:, None])
        return found

    def _scale(self) -> np.ndarray:
        """Factors (1 + p,) from the model's units of objective and constraints to the driver's scaling.

        OpenMDAO does not apply it to totals with respect to anything but design variables.
        """
        driver, known = self._problem.driver, self._problem.model._var_allprocs_abs2meta["output"]
        parts = []
        for kind, declared in (("objective", driver._objs), ("constraint", driver._cons)):
            quantities = Quantities(self._problem, kind, declared)
            for name, scaler in quantities.split(quantities.scaler).items():
                units, own = declared[name]["units"], known[declared[name]["source"]]["units"]
                ends = np.array([0.0, 1.0]) if units is None else om.convert_units(np.array([0.0, 1.0]), own, units)
                parts.append(scaler * (ends[1] - ends[0]))
        return np.concatenate(parts)

    def _is_approximated(self, path: str) -> bool:
        groups = self._problem.model.system_iter(include_self=True, recurse=True, typ=om.Group)
        return any(
            group._owns_approx_jac and (not group.pathname or path.startswith(f"{group.pathname}.")) for group in groups
        )

    def _answers(self, component: Corrected) -> SupportsEvaluate:
        if self._parts.first_order:
            return component.answers
        base = component.base
        if base is None:
            remedy = "Give a configuration and initial samples, or keep the first-order correction."
            raise InputError(explain("correction", "be on while there is no fitted surrogate", "off", remedy))
        return _Everywhere(base)

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
            started = time.perf_counter()
            jacobian = np.array(self._totals.compute_totals())
            problem.driver.result.deriv_evals += 1
            problem.driver.result.deriv_time += time.perf_counter() - started
        except (om.AnalysisError, EvaluationError) as failed:
            problem.model._outputs.set_val(before)  # solvers start from there: what a failure left may be anything
            raise EvaluationError(str(failed)) from failed
        objective = Quantities(problem, "objective", problem.driver._objs)
        constraints = Quantities(problem, "constraint", problem.driver._cons)
        found = Responses(u.copy(), float(objective.value[0]), jacobian[0], constraints.value, jacobian[1:])
        if not found.finite:
            problem.model._outputs.set_val(before)
            raise EvaluationError(f"The model gives a value or a derivative that is not finite at {u}.")
        return found


def _same(x: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(x, other, rtol=_SETTLED, atol=_SETTLED * _SETTLED))


def _inputs(component: Corrected) -> np.ndarray:
    variables = component.knowledge.truth.inputs
    return flatten({v.name: component.comp._inputs[v.name] for v in variables}, variables)


def _nothing(shape: tuple[int, int], x: np.ndarray) -> np.ndarray:
    return np.zeros(shape)


def _partials(answers: SupportsEvaluate, x: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(answers.evaluate(x[None]).dydx()[0])
    except EvaluationError:  # the truth has answered there, and that counts
        return _nothing((total_size(answers.outputs), total_size(answers.inputs)), x)


class _Everywhere:
    """A surrogate without the edges of its domain: the trust region keeps it where it belongs."""

    def __init__(self, surrogate: SupportsEvaluate) -> None:
        self.inputs, self.outputs, self.digest = surrogate.inputs, surrogate.outputs, surrogate.digest
        self.lower, self.upper = np.full(len(surrogate.lower), -np.inf), np.full(len(surrogate.upper), np.inf)
        self.evaluate = surrogate.evaluate
