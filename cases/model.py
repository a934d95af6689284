"""The OpenMDAO model of a case, with the truth or surrogates in its expensive place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om

from cases.case import Case
from gradopt.data.variables import column_slices, flatten, unflatten
from gradopt.errors import EvaluationError


class TruthComp(om.ExplicitComponent):  # type: ignore[misc]
    """The truth of a case as a component; value and partials of a point are evaluated once, together."""

    def __init__(self, case: Case, known: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None) -> None:
        """Wrap the truth of a case; x (d,), y (m,) and dydx (m, d) of a `known` point are not evaluated again."""
        self._case = case
        self._last = known
        self.evaluations = 0
        super().__init__()

    def setup(self) -> None:
        """Add the variables of the truth."""
        for variable in self._case.inputs:
            self.add_input(variable.name, shape=variable.shape, units=variable.units)
        for variable in self._case.outputs:
            self.add_output(variable.name, shape=variable.shape, units=variable.units)

    def setup_partials(self) -> None:
        """Declare exact partials of all with respect to all."""
        self.declare_partials("*", "*")

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate."""
        y, _ = self._evaluate(inputs)
        for name, value in unflatten(y, self._case.outputs).items():
            outputs[name] = value

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Hand over the partials of the evaluation."""
        _, dydx = self._evaluate(inputs)
        for of, rows in column_slices(self._case.outputs).items():
            for wrt, columns in column_slices(self._case.inputs).items():
                partials[of, wrt] = dydx[rows, columns]

    def _evaluate(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        x = flatten({variable.name: inputs[variable.name] for variable in self._case.inputs}, self._case.inputs)
        if self._last is None or not np.array_equal(self._last[0], x):
            try:
                y, dydx = self._case.truth(x)
            except EvaluationError as failed:
                raise om.AnalysisError(str(failed)) from failed
            self.evaluations += 1
            self._last = (x, y, dydx)
        return self._last[1], self._last[2]


def build_problem(
    case: Case,
    expensive: Sequence[Any],
    bounds: tuple[np.ndarray, np.ndarray],
    recorder: Path | None = None,
    tolerance: float = 1e-8,
) -> om.Problem:
    """Build the model of a case, ready to run at the case's start.

    Args:
        case: The case.
        expensive: Components that together have the variables of the truth, such as `SurrogateComp`s.
        bounds: Lower and upper bounds of the design variables, each (d,).
        recorder: File for the driver's iterations, or None.
        tolerance: Tolerance of SLSQP on the scaled objective.

    Returns:
        A problem that is set up, with an SLSQP driver.
    """
    problem = om.Problem(reports=None)
    model = problem.model
    for index, component in enumerate(expensive):
        model.add_subsystem(f"expensive_{index}", component, promotes=["*"])
    for name, component in case.exact().items():
        model.add_subsystem(name, component, promotes=["*"])
    lower, upper = (unflatten(bound, case.inputs) for bound in bounds)
    for variable in case.inputs:
        name = variable.name
        model.add_design_var(name, lower=lower[name], upper=upper[name], units=variable.units)
    for response in case.responses:
        if response.kind == "minimize":
            model.add_objective(response.name, ref=response.ref)
        else:
            bound = np.asarray(response.bound) if isinstance(response.bound, tuple) else response.bound
            model.add_constraint(response.name, ref=response.ref, **{response.kind: bound})
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=tolerance, maxiter=500, disp=False)
    if recorder is not None:
        problem.driver.add_recorder(om.SqliteRecorder(str(recorder.absolute())))
        problem.driver.recording_options["record_constraints"] = True
    problem.setup()
    set_design(problem, case, case.start)
    return problem


def set_design(problem: om.Problem, case: Case, x: np.ndarray) -> None:
    """Set the design variables of a problem to x (d,)."""
    for variable in case.inputs:
        problem.set_val(variable.name, unflatten(x, case.inputs)[variable.name], units=variable.units)


def get_design(problem: om.Problem, case: Case) -> np.ndarray:
    """Return the design variables of a problem, x (d,)."""
    values = {v.name: problem.get_val(v.name, units=v.units) for v in case.inputs}
    return flatten(values, case.inputs)


def get_responses(problem: om.Problem, case: Case) -> dict[str, np.ndarray]:
    """Return objective and constraints of a problem that has run, each a flat array."""
    return {response.name: np.ravel(problem.get_val(response.name)).copy() for response in case.responses}
