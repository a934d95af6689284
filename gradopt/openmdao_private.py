"""Every private name of OpenMDAO that gradopt uses, each with the reason why no public one serves. Floor 1.

Tried with OpenMDAO 3.45. `tests/test_architecture.py` holds that no other file uses one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import numpy as np
import openmdao.api as om
from openmdao.core.constants import _SetupStatus  # no public query of how far a problem is set up
from openmdao.core.driver import RecordingDebugging  # public name, but not in the API: records one driver iteration
from openmdao.core.total_jac import _TotalJacInfo  # `compute_totals` would make its matrices anew on each call
from openmdao.utils.record_util import create_local_meta  # not in the API: metadata of one recording
from openmdao.utils.units import unit_conversion

from gradopt.errors import InputError, explain

Metadata = dict[str, dict[str, Any]]
"""What OpenMDAO keeps of each variable, by name."""


def is_set_up(problem: om.Problem) -> bool:
    """Whether `setup` has been called."""
    return _status(problem) >= _SetupStatus.POST_SETUP


def is_final(problem: om.Problem) -> bool:
    """Whether `final_setup` has been called."""
    return _status(problem) >= _SetupStatus.POST_FINAL_SETUP


def _status(problem: om.Problem) -> Any:
    return _SetupStatus.PRE_SETUP if problem._metadata is None else problem._metadata["setup_status"]


def design_variables(driver: om.Driver) -> Metadata:
    """Return the metadata of the driver's design variables; `list_driver_vars` prints and copies."""
    return dict(driver._designvars)


def objectives(driver: om.Driver) -> Metadata:
    """Return the metadata of the driver's objectives."""
    return dict(driver._objs)


def constraints(driver: om.Driver) -> Metadata:
    """Return the metadata of the driver's constraints."""
    return dict(driver._cons)


def driver_scaling(driver: om.Driver, kind: str, name: str) -> tuple[Any, Any]:
    """Return adder and scaler of a quantity, of which only the driver's autoscaler has the declared ones."""
    scaling = driver.autoscaler._var_meta[kind][name]
    return scaling["total_adder"], scaling["total_scaler"]


def output_metadata(model: om.Group) -> Metadata:
    """Return the metadata of all outputs by absolute name; `get_io_metadata` is slow and copies."""
    return dict(model._var_allprocs_abs2meta["output"])


def is_discrete_output(model: om.Group, source: str) -> bool:
    """Whether an output, by absolute name, is discrete."""
    return source in model._var_allprocs_discrete["output"]


def get_outputs(problem: om.Problem) -> np.ndarray:
    """Return a copy of all outputs, flat: the state from which solvers start."""
    return np.array(problem.model._outputs.asarray(copy=True))


def set_outputs(problem: om.Problem, values: np.ndarray) -> None:
    """Set all outputs, flat, to what `get_outputs` returned."""
    problem.model._outputs.set_val(values)


def present_outputs(problem: om.Problem) -> np.ndarray:
    """Return all outputs, flat, as they are: to write into this array sets them; `set_val` is slow."""
    return np.asarray(problem.model._outputs.asarray())


def places_of(model: om.Group, source: str) -> np.ndarray:
    """Return the indices of an output, by absolute name, among all outputs."""
    return np.arange(*model._outputs.get_range(source))


@contextmanager
def unchanged_vectors(problem: om.Problem) -> Iterator[None]:
    """Keep outputs, inputs and residuals to the last bit: the model's own scaling rounds them."""
    vectors = (problem.model._outputs, problem.model._inputs, problem.model._residuals)
    states = [vector.asarray(copy=True) for vector in vectors]
    try:
        yield
    finally:
        for vector, state in zip(vectors, states, strict=True):
            vector.set_val(state)


def get_input(component: om.ExplicitComponent, name: str) -> np.ndarray:
    """Return an input as the component received it last; `get_val` would follow the connection."""
    return np.asarray(component._inputs[name])


def run_model(problem: om.Problem) -> None:
    """Run the model as the driver does: without recording a problem case and with the driver's counts."""
    problem.driver._run_solve_nonlinear()


def uses_derivatives(model: om.Group) -> bool:
    """Whether the problem was set up with derivatives."""
    return bool(model._use_derivatives)


def approximates_totals(model: om.Group) -> bool:
    """Whether a group, such as the whole model, approximates its derivatives."""
    return bool(model._owns_approx_jac)


def forget_driver_totals(problem: om.Problem) -> None:
    """Have the driver set up its totals anew: those of an approximated model were set up for other variables."""
    problem.driver._total_jac = None


class Totals:
    """Totals of a model, set up once.

    `Problem.compute_totals` sets up anew on each call, and `Problem.get_callback` gives zeros for a model that
    approximates its totals (3.45).
    """

    def __init__(
        self, problem: om.Problem, of: Sequence[str], wrt: Sequence[str], of_driver: bool, scaled: bool = True
    ) -> None:
        """Set up.

        Args:
            problem: Problem after `final_setup`.
            of: Names of the responses.
            wrt: Names of the variables.
            of_driver: Whether the names are the driver's, and the totals in its units, indices and scaling.
            scaled: Whether such totals are scaled and in an array; else `wrt` may be any outputs.
        """
        approximated = approximates_totals(problem.model)
        if of_driver and scaled:
            self._info = _TotalJacInfo(problem, of, wrt, "array", approx=approximated)
        elif of_driver:
            options = {"driver_scaling": False, "coloring_info": False}
            self._info = _TotalJacInfo(problem, of, wrt, "flat_dict", approx=approximated, **options)
        else:
            self._info = _TotalJacInfo(
                problem, of, wrt, "flat_dict", approx=approximated, driver_scaling=False, driver=False
            )

    def compute(self) -> Any:
        """Return the totals at the present state: an array (of, wrt) of the driver's, else a dictionary."""
        return self._info.compute_totals()

    def record(self, driver: om.Driver) -> None:
        """Record the last totals where the driver has recorders and `record_derivatives` is on.

        They belong to the case that was recorded last: readers find them by the number of its iteration.
        """
        if driver.recording_options["record_derivatives"] and driver._rec_mgr._recorders:
            driver.iter_count -= 1
            try:
                self._info.record_derivatives(driver, create_local_meta(driver._get_name()))
            finally:
                driver.iter_count += 1


def is_relevant(model: om.Group, component: om.ExplicitComponent) -> bool:
    """Whether a component lies between design variables and responses: the driver does not run the others."""
    return bool(model._relevance.is_relevant_system(component.pathname))


def relevant_connections(model: om.Group) -> list[tuple[str, str]]:
    """Return (input, output), by absolute names, of the continuous connections between relevant components."""
    with all_relevant(model):
        return [
            (target, source)
            for target, source in model._conn_global_abs_in2out.items()
            if target in model._var_abs2meta["input"] and model._relevance.is_relevant(target)
        ]


def feed_forward(model: om.Group) -> list[om.ExplicitComponent] | None:
    """Return the relevant components in their order; None where running each once is not all that OpenMDAO does.

    That is so where a group iterates, is approximated or does anything of its own, where a component is implicit, has
    discrete variables or only products with its partials, where a system or solver has recorders, and with MPI.
    """
    components: list[om.ExplicitComponent] = []
    if model.comm.size > 1:
        return None
    for system in model.system_iter(include_self=True, recurse=True):
        if system.pathname and not model._relevance.is_relevant_system(system.pathname):
            continue
        solvers = [one for one in (system.nonlinear_solver, system.linear_solver) if one is not None]
        if any(one._rec_mgr._recorders for one in (system, *solvers)):
            return None
        if isinstance(system, om.Group):
            plain = type(system)._solve_nonlinear is om.Group._solve_nonlinear and not system._owns_approx_jac
            exact = isinstance(system.linear_solver, om.LinearRunOnce | om.DirectSolver)
            if not (plain and exact and type(system.nonlinear_solver) is om.NonlinearRunOnce):
                return None
        elif isinstance(system, om.IndepVarComp):
            continue
        elif not isinstance(system, om.ExplicitComponent) or system.matrix_free or any(system._var_discrete.values()):
            return None
        else:
            components.append(system)
    return components


def wires(model: om.Group, component: om.ExplicitComponent) -> dict[str, tuple[np.ndarray, float, float]]:
    """Return where each input comes from, in their order: places, factor, shift.

    An input is outputs[places] * factor + shift, with all outputs of the model flat.
    """
    found, outputs = {}, model._var_allprocs_abs2meta["output"]
    for target, meta in component._var_abs2meta["input"].items():
        source = model._conn_global_abs_in2out[target]
        places, indices = places_of(model, source), model.get_conn_graph().get_src_index_array(target)
        old, new = outputs[source]["units"], meta["units"]
        factor, offset = (1.0, 0.0) if None in (old, new) or old == new else unit_conversion(old, new)
        chosen = places if indices is None else places[np.ravel(indices)]
        found[target.rpartition(".")[2]] = chosen, factor, offset * factor
    return found


def set_inputs(component: om.ExplicitComponent, values: np.ndarray) -> None:
    """Set all inputs of a component, flat, as a transfer from their sources would."""
    component._inputs.set_val(values)


def has_constant_partials(component: om.ExplicitComponent) -> bool:
    """Whether a component declares values of its partials and never computes any."""
    computes = component._has_compute_partials or component._has_approx
    return not computes and type(component)._linearize is om.ExplicitComponent._linearize


class Partials:
    """Partials of a component as one dense matrix.

    Attributes:
        outputs: Absolute names of the outputs, in the order of the rows.
    """

    def __init__(self, component: om.ExplicitComponent) -> None:
        """Find where the partials of each output with respect to each input stand."""
        self._component, slices, self._shape = component, [], []
        for kind in ("output", "input"):
            sizes = {name: meta["size"] for name, meta in component._var_abs2meta[kind].items()}
            ends = np.cumsum([0, *sizes.values()])
            slices.append({name: slice(*ends[i : i + 2]) for i, name in enumerate(sizes)})
            self._shape.append(int(ends[-1]))
        self.outputs, (self._rows, self._columns) = list(slices[0]), slices

    def read(self) -> np.ndarray:
        """Return the partials (m, d) as they were computed last."""
        found = np.zeros(self._shape)
        for (of, wrt), part in self._component._get_jacobian()._get_subjacs(self._component).items():
            if wrt in self._columns:
                found[self._rows[of], self._columns[wrt]] = part.todense()
        return found


@contextmanager
def all_relevant(model: om.Group) -> Iterator[None]:
    """Have components linearize for all design variables and responses, as for totals."""
    with model._relevance.active(True), model._relevance.all_seeds_active():
        yield


@contextmanager
def without_recorders(problem: om.Problem) -> Iterator[None]:
    """Keep what happens within out of the recorders of systems and solvers."""
    systems = list(problem.model.system_iter(include_self=True, recurse=True))
    solvers = [s for system in systems for s in (system.nonlinear_solver, system.linear_solver) if s is not None]
    solvers += [s.linesearch for s in solvers if getattr(s, "linesearch", None) is not None]
    recorders = [(owner._rec_mgr, owner._rec_mgr._recorders) for owner in [*systems, *solvers]]
    for manager, _ in recorders:
        manager._recorders = []
    try:
        yield
    finally:
        for manager, kept in recorders:
            manager._recorders = kept


class _RenamedOptions(om.OptionsDictionary):  # type: ignore[misc]
    """Options of a driver that names, for those of SciPy's optimizers, the ones to use instead."""

    renamed: ClassVar[dict[str, str]] = {"tol": "tolerance", "maxiter": "max_evaluations"}
    remedies: ClassVar[dict[str, str]] = {
        "disp": "Pass callback=... to the driver; what it logs is in logging's 'gradopt'."
    }

    def __getitem__(self, name: str) -> Any:
        self._check(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._check(name)
        super().__setitem__(name, value)

    def _check(self, name: str) -> None:
        if name in self.renamed or name in self.remedies:
            remedy = self.remedies.get(name) or f"Use {self.renamed[name]!r}."
            raise InputError(explain(f"options[{name!r}]", "be an option of this driver", "one of SciPy's", remedy))


class LoopDriver(om.ScipyOptimizeDriver):  # type: ignore[misc]
    """Base of our driver: gives OpenMDAO's private hooks public names.

    It is a `ScipyOptimizeDriver` for what that supports: which constraints, objectives and derivatives.
    """

    title = "Adaptive_SLSQP"
    """Name in recordings and reports."""

    def declare_options(self) -> None:
        """Declare the options of the driver."""
        raise NotImplementedError

    def prepare(self, problem: om.Problem) -> None:
        """Prepare a problem, at the end of its final setup."""
        raise NotImplementedError

    def check_declarations(self) -> None:
        """Raise where the objective is missing; warn of design variables outside their bounds."""
        self._check_for_missing_objective()
        self._check_for_invalid_desvar_values()

    def recorded_iteration(self) -> AbstractContextManager[object]:
        """Record what happens within as one iteration of the driver."""
        self.iter_count += 1
        return RecordingDebugging(self._get_name(), self.iter_count - 1, self)

    @property
    def posed(self) -> om.Problem:
        """Problem of the driver."""
        return self._problem()

    def _declare_options(self) -> None:
        super()._declare_options()
        for unused in ("tol", "maxiter", "disp"):
            self.options.undeclare(unused)
        self.options.__class__ = _RenamedOptions  # the driver makes its options before anything of ours runs
        self.declare_options()

    def _get_name(self) -> str:
        return self.title

    def _setup_driver(self, problem: om.Problem) -> None:
        super()._setup_driver(problem)
        self.prepare(problem)


@contextmanager
def without_newton_remark() -> Iterator[None]:
    """Keep quiet OpenMDAO's remark that it takes a group with Newton's method as a whole."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following groups have a nonlinear solver", om.OpenMDAOWarning)
        yield


class SurvivingSLSQP(om.ScipyOptimizeDriver):  # type: ignore[misc]
    """SciPy's SLSQP, which backs away from designs where the model fails instead of ending there.

    OpenMDAO's own driver ends with the first `AnalysisError`.
    """

    def __init__(self, note: Callable[[om.Problem], object], worse: float, **options: Any) -> None:
        """Make a driver.

        Args:
            note: Called with the problem after each run of the model.
            worse: Relative rise of the last objective that stands for a design where the model fails.
            **options: Options of `ScipyOptimizeDriver`.
        """
        super().__init__(optimizer="SLSQP", **options)
        self._note, self._worse = note, worse
        self._last: float | None = None
        self._exc_info: Any = None

    def _objfunc(self, x_new: np.ndarray) -> Any:
        value = super()._objfunc(x_new)
        if self._exc_info is None:
            self._note(self._problem())
            self._last = float(np.ravel(value)[0])
        elif isinstance(self._exc_info[1], om.AnalysisError) and self._last is not None:
            self._exc_info = None
            return self._last + self._worse * max(1.0, abs(self._last))
        return value
