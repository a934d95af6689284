"""An OpenMDAO problem as the loop sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.data.variables import flatten, total_size
from gradopt.errors import EvaluationError
from gradopt.loop.problem import Component, LearnedTruth
from gradopt.om.component import SurrogateComp
from gradopt.om.quantities import Quantities, limits_of, set_design
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
        return self.run(u)

    def run(self, u: np.ndarray) -> Responses:
        """Run the model at a design, with whatever evaluates the components at present.

        Args:
            u: Design variables (k,), in the driver's scaling.

        Returns:
            Objective and constraints with their totals.

        Raises:
            EvaluationError: If the model fails, or gives a number that is not finite; it then stands as before.
        """
        problem = self.problem
        before = private.get_outputs(problem)
        try:
            set_design(problem, self.design(), u)
            private.run_model(problem)
            if self.totals is None:
                wrt = list(private.design_variables(problem.driver))
                self.totals = private.Totals(problem, self._names, wrt, of_driver=True)
            started = time.perf_counter()
            jacobian = np.array(self.totals.compute())
            problem.driver.result.deriv_time += time.perf_counter() - started
        except (om.AnalysisError, EvaluationError) as failed:
            private.set_outputs(problem, before)  # solvers start from there: what a failure left may be anything
            raise EvaluationError(str(failed)) from failed
        objective = Quantities(problem, "objective", private.objectives(problem.driver))
        constraints = Quantities(problem, "constraint", private.constraints(problem.driver))
        found = Responses(u.copy(), float(objective.value[0]), jacobian[0], constraints.value, jacobian[1:])
        if not found.finite:
            private.set_outputs(problem, before)
            raise EvaluationError(f"The model gives a value or a derivative that is not finite at {u}.")
        return found

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
        outputs = [self.truths[component.truth].outputs for component in self.components]
        paths = {
            comp.pathname: [f"{comp.pathname}.{v.name}" for v in variables]
            for comp, variables in zip(self.comps, outputs, strict=True)
            if not self._is_approximated(comp.pathname)
        }
        wrt = [name for names in paths.values() for name in names]
        if wrt:
            totals = self.problem.compute_totals(self._names, wrt, coloring_info=False, driver_scaling=False)
        scale = self._scale()
        found = []
        for comp, variables in zip(self.comps, outputs, strict=True):
            columns = paths.get(comp.pathname)
            if columns is None:
                found.append(np.zeros((len(scale), total_size(variables))))
            else:
                blocks = [np.vstack([totals[of, name] for of in self._names]) for name in columns]
                found.append(np.hstack(blocks) * scale[:, None])
        return found

    def _scale(self) -> np.ndarray:
        """Factors (1 + p,) from the model's units of objective and constraints to the driver's scaling.

        OpenMDAO does not apply it to totals with respect to anything but design variables.
        """
        driver, known = self.problem.driver, private.output_metadata(self.problem.model)
        parts = []
        for kind, declared in (("objective", private.objectives(driver)), ("constraint", private.constraints(driver))):
            quantities = Quantities(self.problem, kind, declared)
            for name, scaler in quantities.split(quantities.scaler).items():
                units, own = declared[name]["units"], known[declared[name]["source"]]["units"]
                ends = np.array([0.0, 1.0]) if units is None else om.convert_units(np.array([0.0, 1.0]), own, units)
                parts.append(scaler * (ends[1] - ends[0]))
        return np.concatenate(parts)

    def _is_approximated(self, path: str) -> bool:
        groups = self.problem.model.system_iter(include_self=True, recurse=True, typ=om.Group)
        return any(
            private.approximates_totals(group) and (not group.pathname or path.startswith(f"{group.pathname}."))
            for group in groups
        )
