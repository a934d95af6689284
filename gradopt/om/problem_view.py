"""An OpenMDAO problem as the loop sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.data.variables import flatten, total_size
from gradopt.errors import EvaluationError
from gradopt.loop.problem import Component, LearnedTruth
from gradopt.om.component import SurrogateComp
from gradopt.om.feed_forward import FeedForward
from gradopt.om.quantities import Places, Quantities, limits_of
from gradopt.optimality.problem import Responses
from gradopt.surrogates.protocol import SupportsEvaluate


class ProblemView:
    """A `Problem` of the loop: an OpenMDAO problem with `SurrogateComp`s in the place of truths.

    Attributes:
        problem: OpenMDAO problem, at its start.
        comps: Components with a truth that the driver runs.
        truths: Truths that are learned; components may share one.
        components: Which truth and which initial surrogate each component has.
        limits: Bounds, in the driver's scaling.
    """

    def __init__(
        self,
        problem: om.Problem,
        comps: Sequence[SurrogateComp],
        truths: Sequence[LearnedTruth],
        truth_of: Sequence[int],
    ) -> None:
        """View a problem.

        Args:
            problem: Problem after its final setup.
            comps: Components with a truth.
            truths: Truths that are learned.
            truth_of: For each component the index of its truth.
        """
        self.problem = problem
        self.comps = tuple(comps)
        self.truths = tuple(truths)
        self.components = tuple(Component(truth, comp.initial) for truth, comp in zip(truth_of, comps, strict=True))
        driver = problem.driver
        self._objective = list(private.objectives(driver))
        self._names = [*self._objective, *private.constraints(driver)]
        self.totals: private.Totals | None = None
        design = self.design()
        constraints = Quantities(problem, "constraint", private.constraints(driver))
        objective = Quantities(problem, "objective", private.objectives(driver))
        self.limits = limits_of(design, objective, constraints)
        self._places = [
            Places(problem, kind, declared)
            for kind, declared in (
                ("design_var", private.design_variables(driver)),
                ("objective", private.objectives(driver)),
                ("constraint", private.constraints(driver)),
            )
        ]

    def design(self) -> Quantities:
        """Return the design variables as they are."""
        return Quantities(self.problem, "design_var", private.design_variables(self.problem.driver))

    def evaluate_on(self, surrogates: Sequence[SupportsEvaluate], u: np.ndarray) -> Responses:
        """Run the model on surrogates, see `gradopt.loop.problem.Problem`.

        Outside the domain of a surrogate the option `extrapolate` of its component decides.
        """
        for comp, surrogate in zip(self.comps, surrogates, strict=True):
            if comp.evaluator is not surrogate:  # but the truth, say, which failed
                comp.evaluate_with(surrogate)
        with np.errstate(over="ignore", invalid="ignore"):  # extrapolation may overflow: then the model fails there
            if self._feed_forward is None:
                return self.run(u)
            return self._run(u, self._run_directly)

    def set_design(self, u: np.ndarray) -> None:
        """Set the design variables (k,), in the driver's scaling."""
        self._places[0].set(u)

    @cached_property
    def _feed_forward(self) -> FeedForward | None:
        """The model without OpenMDAO's passes, where that is possible."""
        design, objective, constraints = self._places
        responses = np.concatenate([objective.indices, constraints.indices])
        return FeedForward.of(self.problem, design.indices, responses)

    def run(self, u: np.ndarray) -> Responses:
        """Run the model at a design, with whatever evaluates the components at present.

        Args:
            u: Design variables (k,), in the driver's scaling.

        Returns:
            Objective and constraints with their totals.

        Raises:
            EvaluationError: If the model fails, or gives a number that is not finite; it then stands as before.
        """
        return self._run(u, self._run_by_openmdao)

    def _run(self, u: np.ndarray, totals: Callable[[], np.ndarray]) -> Responses:
        """Set the design variables u (k,) and run the model by `totals`, which returns its totals (1 + p, k)."""
        problem = self.problem
        before = private.get_outputs(problem)
        try:
            self.set_design(u)
            jacobian = totals()
        except (om.AnalysisError, EvaluationError) as failed:
            private.set_outputs(problem, before)  # solvers start from there: what a failure left may be anything
            raise EvaluationError(str(failed)) from failed
        objective, constraints = (places.read() for places in self._places[1:])
        found = Responses(u.copy(), float(objective[0]), jacobian[0], constraints, jacobian[1:])
        if not found.finite:
            private.set_outputs(problem, before)
            raise EvaluationError(f"The model gives a value or a derivative that is not finite at {u}.")
        return found

    def _run_by_openmdao(self) -> np.ndarray:
        problem = self.problem
        private.run_model(problem)
        design, *responses = self._places
        if not all(np.isfinite(places.read()).all() for places in responses):  # linear solvers would raise
            return np.full((sum(len(places.indices) for places in responses), len(design.indices)), np.nan)
        if self.totals is None:
            wrt = list(private.design_variables(problem.driver))
            self.totals = private.Totals(problem, self._names, wrt, of_driver=True)
        started = time.perf_counter()
        jacobian = np.array(self.totals.compute())
        problem.driver.result.deriv_time += time.perf_counter() - started
        return jacobian

    def _run_directly(self) -> np.ndarray:
        assert self._feed_forward is not None
        jacobian = self._feed_forward.run()
        for rows, columns in self._scales:
            jacobian *= rows
            jacobian *= columns
        return jacobian

    @cached_property
    def _scales(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Factors (1 + p, 1) and (k,) of the totals, for units, then for scaling: the order is OpenMDAO's."""
        design, *responses = self._places
        rows = [
            np.concatenate(parts)[:, None]
            for parts in zip(*((one.unit_scaler, one.scaler) for one in responses), strict=True)
        ]
        return list(zip(rows, (1.0 / design.unit_scaler, 1.0 / design.scaler), strict=True))

    def inputs_of(self, index: int) -> np.ndarray:
        """Return the inputs (d,) that a component received last."""
        comp = self.comps[index]
        variables = self.truths[self.components[index].truth].inputs
        return flatten({v.name: private.get_input(comp, v.name) for v in variables}, variables)

    def sensitivities(self) -> list[np.ndarray]:
        """Return total derivatives of objective and constraints (1 + p, m) to the outputs of each component.

        They are 0 where a group around the component is approximated: OpenMDAO differentiates only through such a
        group as a whole.
        """
        totals = {} if self._sensitivities is None else self._sensitivities.compute()
        # OpenMDAO applies neither units nor scaling to totals with respect to anything but design variables.
        scale = np.concatenate([places.scaler * places.unit_scaler for places in self._places[1:]])
        found = []
        for paths, component in zip(self._output_paths, self.components, strict=True):
            if paths:
                blocks = [np.vstack([totals[of, name] for of in self._names]) for name in paths]
                found.append(np.hstack(blocks) * scale[:, None])
            else:
                found.append(np.zeros((len(scale), total_size(self.truths[component.truth].outputs))))
        return found

    @cached_property
    def _output_paths(self) -> list[list[str]]:
        """Absolute names of the outputs of each component, none where a group around it is approximated."""
        pairs = zip(self.comps, self.components, strict=True)
        return [
            []
            if self._is_approximated(comp.pathname)
            else [f"{comp.pathname}.{variable.name}" for variable in self.truths[component.truth].outputs]
            for comp, component in pairs
        ]

    @cached_property
    def _sensitivities(self) -> private.Totals | None:
        """Totals with respect to the outputs of the components, set up once."""
        wrt = [name for paths in self._output_paths for name in paths]
        return private.Totals(self.problem, self._names, wrt, of_driver=True, scaled=False) if wrt else None

    def _is_approximated(self, path: str) -> bool:
        groups = self.problem.model.system_iter(include_self=True, recurse=True, typ=om.Group)
        return any(
            private.approximates_totals(group) and (not group.pathname or path.startswith(f"{group.pathname}."))
            for group in groups
        )
