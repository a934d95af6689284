"""The OpenMDAO model of a case, with the truth or surrogates in its expensive place, and the problem about it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om

from cases.adaptive_case import AdaptiveCase
from cases.case import Case, Response
from gradopt.data.variables import Variable, column_slices, flatten, unflatten
from gradopt.errors import EvaluationError
from gradopt.om.baseline import FailureTolerantSLSQP
from gradopt.om.component import SurrogateComp
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Truth


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
    model = om.Group()
    for index, component in enumerate(expensive):
        model.add_subsystem(f"expensive_{index}", component, promotes=["*"])
    for name, component in case.exact().items():
        model.add_subsystem(name, component, promotes=["*"])
    driver = FailureTolerantSLSQP(tolerance)
    if recorder is not None:
        driver.add_recorder(om.SqliteRecorder(str(recorder.absolute())))
        driver.recording_options["record_constraints"] = True
    return pose(model, case.inputs, bounds, case.responses, case.start, driver)


def pose(
    model: om.Group,
    inputs: Sequence[Variable],
    bounds: tuple[np.ndarray, np.ndarray],
    responses: Sequence[Response],
    start: np.ndarray,
    driver: om.Driver,
    ref: np.ndarray | None = None,
) -> om.Problem:
    """Make the optimization problem about a model.

    Args:
        model: Has the design variables and responses on top.
        inputs: Design variables.
        bounds: Their lower and upper bounds, each (d,).
        responses: Objective first, then constraints.
        start: Initial design (d,).
        driver: The driver.
        ref: Lengths of the design variables (d,) that the driver sees as 1; None = 1 of their units.

    Returns:
        A problem that is set up.
    """
    problem = om.Problem(model, driver, reports=None)
    lower, upper = (unflatten(bound, inputs) for bound in bounds)
    unit = unflatten(np.ones_like(start) if ref is None else ref, inputs)
    for variable in inputs:
        name = variable.name
        model.add_design_var(name, lower=lower[name], upper=upper[name], ref=unit[name], units=variable.units)
    for response in responses:
        if response.is_objective:
            model.add_objective(response.name, ref=response.driver_ref)
        else:
            bound = np.asarray(response.bound) if isinstance(response.bound, tuple) else response.bound
            model.add_constraint(response.name, ref=response.ref, **{response.kind: bound})
    problem.setup()
    for variable in inputs:
        problem.set_val(variable.name, unflatten(start, inputs)[variable.name], units=variable.units)
    return problem


def adaptive_case(case: Case, **fields: Any) -> AdaptiveCase:
    """Make the case for the loop from one for one shot.

    Args:
        case: The case.
        **fields: The other fields of `AdaptiveCase`.

    Returns:
        The same problem, within the limits of the true one.
    """
    lower, upper = (unflatten(bound, case.inputs) for bound in case.limits)
    inputs = tuple(replace(v, lower=lower[v.name], upper=upper[v.name]) for v in case.inputs)

    def model(truths: Sequence[Truth]) -> om.Group:
        group = om.Group()
        group.add_subsystem(case.name, SurrogateComp(truth=truths[0]), promotes=["*"])
        for name, component in case.exact().items():
            group.add_subsystem(name, component, promotes=["*"])
        return group

    return AdaptiveCase(
        name=case.name,
        title=case.title,
        citation=case.citation,
        inputs=inputs,
        start=case.start,
        responses=case.responses,
        # The bounds of the truth are its length scale: the region that one shot samples, smaller than the limits.
        truths=(FunctionTruth(case.truth, case.inputs, case.outputs, identity=case.identity),),
        model=model,
        optimum=case.optimum,
        settings=case.settings,
        **fields,
    )


@contextmanager
def newton_is_meant() -> Iterator[None]:
    """Silence OpenMDAO's remark on groups with Newton's method, which treat their parts as one: cases mean that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following groups have a nonlinear solver", om.OpenMDAOWarning)
        yield


def run(problem: om.Problem) -> bool:
    """Run the driver and return whether it reports success."""
    with newton_is_meant():
        return bool(problem.run_driver().success)


def set_design(problem: om.Problem, case: Case | AdaptiveCase, x: np.ndarray) -> None:
    """Set the design variables of a problem to x (d,)."""
    for variable in case.inputs:
        problem.set_val(variable.name, unflatten(x, case.inputs)[variable.name], units=variable.units)


def get_design(problem: om.Problem, case: Case | AdaptiveCase) -> np.ndarray:
    """Return the design variables of a problem, x (d,)."""
    values = {v.name: problem.get_val(v.name, units=v.units) for v in case.inputs}
    return flatten(values, case.inputs)


def get_responses(problem: om.Problem, case: Case | AdaptiveCase) -> dict[str, np.ndarray]:
    """Return objective and constraints of a problem that has run, each a flat array."""
    return {response.name: np.ravel(problem.get_val(response.name)).copy() for response in case.responses}
