"""Optimize a whole OpenMDAO model: its declared problem, mirrored into one that stands on surrogates of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.data.dataset import Dataset
from gradopt.errors import InputError, explain
from gradopt.loop.state import Exit, Iteration
from gradopt.om.component import SurrogateComp
from gradopt.om.driver import AdaptiveDriver
from gradopt.om.quantities import Places, Quantities
from gradopt.om.whole_model import Declarations, Entry, choose, read
from gradopt.optimality.certificate import Certificate
from gradopt.optimality.layout import Arrays
from gradopt.truth.identity import check_identity
from gradopt.truth.model import ModelTruth
from gradopt.truth.parallel import ParallelTruth, batch_for, on_workers
from gradopt.truth.protocol import Truth
from gradopt.truth.store import EvaluationStore
from gradopt.workers.engine import Workers

COMPONENT = "whole_model"
"""Path of the component in the surrogate problem."""


@dataclass(frozen=True, eq=False)
class OptimizeResult:
    """What `optimize` found.

    Dictionaries have the driver's names (aliases where there are any); their values are in the units declared to the
    driver, in the model's shape, or flat where indices choose entries.

    Attributes:
        x: Design variables at the answer, in the order in which `u` of an `Iteration` holds them.
        objective: True objective there; NaN where the truth failed at the start.
        constraints: True constraints there, likewise.
        certificate: KKT conditions of the true model there; None where the truth failed at the start.
        exit: Why the run ended; `exit.advice` says what to try.
        success: Whether the answer is certified.
        history: An `Iteration` for each, in the driver's scaling: its candidate, of a batch the best.
        surrogate: Global surrogate, None without one. Its variables are called as in the model, with ":" for ".".
        data: What this run learned of the truth, None where nothing.
        store: The store, open.
        truth: What `store.evaluations(truth)` has the rows of.
        problem: The surrogate problem, at the answer.
        evaluations: Number of points of the truth in this run, those found in the store included.
        new_evaluations: Number of evaluations that it made, that of a stored point to verify it included.
        verified: Number of stored points that were evaluated again and compared, 0 or 1.
    """

    x: Arrays
    objective: float
    constraints: Arrays
    certificate: Certificate | None
    exit: Exit
    success: bool
    history: tuple[Iteration, ...]
    surrogate: Any
    data: Dataset | None
    store: EvaluationStore
    truth: Truth
    problem: om.Problem
    evaluations: int
    new_evaluations: int
    verified: int

    def __str__(self) -> str:
        """Write the termination, the evaluations, the answer, and the certificate."""
        known = self.evaluations - self.new_evaluations + self.verified
        counted = f"{self.evaluations} evaluations" + (f", {known} of them from the store" if known else "")
        counted += ", one of these made again to verify it" if self.verified else ""
        lines = [f"{self.exit.value}: {counted}", f"objective = {self.objective:.10g}"]
        for name, value in (*self.x.items(), *self.constraints.items()):
            lines.append(f"{name} = {np.array2string(value, precision=8, threshold=12, max_line_width=100)}")
        lines.append(self.exit.advice if self.certificate is None or not self.success else str(self.certificate))
        return "\n".join(lines)


def optimize(
    factory: Callable[[], Any],
    *,
    store: EvaluationStore | str | Path | None = None,
    identity: str | None = None,
    transforms: Mapping[str, str] | None = None,
    failures: Sequence[type[Exception]] = (),
    check_totals: bool = True,
    require_convergence: bool = True,
    initial_data: Dataset | None = None,
    workers: Workers | None = None,
    time_limit: float = np.inf,
    **options: Any,
) -> OptimizeResult:
    """Optimize a whole OpenMDAO model on surrogates of it, until the optimum is certified on the model itself.

    Design variables, objective and constraints are those that the model declares, with their units, bounds, scaling,
    indices and aliases; the run starts at its values, or at the bounds that they are beyond. The model's own driver is
    not run. Constraints that are declared linear count as nonlinear ones: the surrogate of one is not linear.

    Called again with the same arguments and the same store, it takes the same steps and goes on where it ended, or was
    killed. One stored point is evaluated again and compared, nothing else is evaluated twice. (A model with iterative
    solvers starts each run from the last one, so that after a restart its results may differ within the solvers'
    tolerance.)

    Args:
        factory: Returns an `om.Problem` with design variables, one objective and any constraints, set up or not. It
            is called twice.
        store: Where evaluations are kept, an `EvaluationStore` or the path of one; None = in memory.
        identity: Words for what the model computes: equal words, equal results. By default a hash of the code and of
            the values that the factory reaches, and of the model, see `ModelTruth`.
        transforms: For the name or alias of a response "log" or "logit": what the surrogate models it through.
        failures: See `ModelTruth`.
        check_totals: Whether to compare one directional derivative of the objective and of the constraints with
            finite differences at the first good point of a store, within the bounds of the design variables; takes 2
            runs of the model, up to 6 if they disagree.
        require_convergence: See `ModelTruth`.
        initial_data: Samples that cost nothing, such as `data` of an earlier result.
        workers: Number of processes, or an executor, on which initial samples, candidates and the points of finite
            differences are evaluated at the same time, see `gradopt.truth.ParallelTruth`; None evaluates in this
            process. Each process builds the model, and checks its totals at its first good point. A number is that of
            the candidates too, unless the option `batch` is given; for an executor it has to be given there.
        time_limit: Time after which the process of an evaluation is killed, s; the point has failed then. Needs
            `workers`, such as 1.
        **options: Of `AdaptiveDriver`: `configuration`, `max_evaluations`, `tolerance`, `callback`, and so on.

    Returns:
        The answer, its certificate, and what was learned.

    Raises:
        InputError: If the factory returns no such problem, a response is an independent variable that is not
            designed, `transforms` names no response, or a store on disk needs an identity.
        StaleStoreError: If a stored point, evaluated again, gives something else.
        StoreError: If the store cannot be written or is gone; `evaluations` of the error has what is not on the disk.
    """
    if not callable(factory):
        remedy = "Pass the function that builds the problem: it is called here and by the truth."
        raise InputError(explain("factory", "be a function that returns an om.Problem", repr(factory), remedy))
    kept = store if isinstance(store, EvaluationStore) else EvaluationStore(store)
    try:
        declared = read(factory)
        model = ModelTruth(
            factory,
            [held.path for held in declared.inputs.values()],
            [held.path for held in declared.outputs.values()],
            check_totals=False,
            require_convergence=require_convergence,
            identity=identity,
            failures=failures,
        )
        if kept.path is not None:
            check_identity(model)
        words = None if model.identity is None else f"{model.identity}, converged {require_convergence}"
        entries = choose(declared, model, transforms or {}, words, check_totals)
        entries.check.pending &= not kept.evaluations(entries).ok.any()
        truth = on_workers(entries, workers, time_limit)
        options.setdefault("batch", batch_for(workers))
        driver = AdaptiveDriver(store=kept, initial_data=_known(initial_data, truth), **options)
        problem = _mirror(declared, truth, driver)
        before = kept.evaluated, kept.verified
        try:
            problem.run_driver()
        finally:
            if isinstance(truth, ParallelTruth):
                truth.close()
        return _result(declared, truth, problem, kept.evaluated - before[0], kept.verified - before[1])
    except BaseException:
        if kept is not store:
            kept.close()
        raise


def _known(initial_data: Dataset | None, truth: Truth) -> dict[str, Dataset]:
    """Give samples the variables of the truth, whose bounds and transforms may differ from theirs."""
    if initial_data is None:
        return {}
    if not isinstance(initial_data, Dataset):
        raise InputError(
            explain("initial_data", "be a Dataset", repr(initial_data), "Such as `data` of an earlier result.")
        )
    return {COMPONENT: initial_data.with_variables("initial_data", truth.inputs, truth.outputs)}


def _mirror(declared: Declarations, truth: Truth, driver: AdaptiveDriver) -> om.Problem:
    """Build the surrogate problem, at the model's initial design."""
    problem = om.Problem(driver=driver, reports=None)
    model = problem.model
    model.add_subsystem(COMPONENT, SurrogateComp(truth=truth), promotes=["*"])
    for design in declared.designs:
        name = declared.inputs[design.source].variable.name
        model.add_design_var(name, units=design.units, **design.options)

    def where(response: Entry) -> tuple[str, str | None, list[int]]:
        held, indices = declared.held(response)
        name = held.variable.name
        return name, None if response.name == name else response.name, indices

    name, alias, indices = where(declared.objective)
    options = declared.objective.options
    model.add_objective(
        name, index=indices[0], flat_indices=True, alias=alias, units=declared.objective.units, **options
    )
    for constraint in declared.constraints:
        name, alias, indices = where(constraint)
        options = constraint.options
        model.add_constraint(name, indices=indices, flat_indices=True, alias=alias, units=constraint.units, **options)
    problem.setup()
    for held in declared.inputs.values():
        problem.set_val(held.variable.name, held.value.ravel()[held.indices].reshape(held.variable.shape))
    problem.final_setup()
    start = Quantities(problem, "design_var", private.design_variables(driver))
    within = np.clip(start.value, start.lower, start.upper)
    if (within != start.value).any():
        Places(problem, "design_var", private.design_variables(driver)).set(within)
    return problem


def _result(declared: Declarations, truth: Truth, problem: om.Problem, new: int, verified: int) -> OptimizeResult:
    driver = problem.driver
    counted = driver.history[-1].evaluations if driver.history else driver.store.count(truth)
    design = Quantities(problem, "design_var", private.design_variables(driver))
    objective = Quantities(problem, "objective", private.objectives(driver)).physical[0]
    constraints = Quantities(problem, "constraint", private.constraints(driver))
    found = constraints.physical
    if driver.certificate is None:
        objective, found = np.nan, np.full_like(found, np.nan)
    called = {declared.inputs[entry.source].variable.name: entry.name for entry in declared.designs}
    return OptimizeResult(
        x=_shaped(declared.designs, design.split(design.physical)),
        objective=float(objective),
        constraints=_shaped(declared.constraints, constraints.split(found)),
        certificate=None if driver.certificate is None else _renamed(driver.certificate, called),
        exit=driver.exit,
        success=driver.exit is Exit.CERTIFIED,
        history=driver.history,
        surrogate=driver.surrogates[COMPONENT],
        data=driver.data[COMPONENT],
        store=driver.store,
        truth=truth,
        problem=problem,
        evaluations=max(counted, new - verified),  # the driver may evaluate once more after the last iteration
        new_evaluations=new,
        verified=verified,
    )


def _shaped(entries: Sequence[Entry], values: Arrays) -> Arrays:
    """Give flat values, in the order of the entries, their names and shapes."""
    return {entry.name: value.reshape(entry.shape) for entry, value in zip(entries, values.values(), strict=True)}


def _renamed(certificate: Certificate, called: Mapping[str, str]) -> Certificate:
    """Call the design variables in a certificate as the user does."""
    reason, worst = certificate.reason, {}
    for measure, (name, index) in certificate.worst.items():
        worst[measure] = (called.get(name, name), index)
        reason = reason.replace(f" {name}[{index}]", " {}[{}]".format(*worst[measure]))
    return replace(
        certificate,
        reason=reason,
        worst=worst,
        bound_multipliers={called[name]: values for name, values in certificate.bound_multipliers.items()},
        scaled_bound_multipliers={called[n]: values for n, values in certificate.scaled_bound_multipliers.items()},
        active_bounds={called[name]: sides for name, sides in certificate.active_bounds.items()},
    )
