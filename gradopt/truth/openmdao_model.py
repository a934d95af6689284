"""An OpenMDAO problem as a function y, dydx = f(x) of flat vectors in chosen units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openmdao.api as om
from openmdao.utils.units import is_compatible, unit_conversion

from gradopt import openmdao_private as private
from gradopt.data.variables import Variable, column_slices, flatten, unflatten
from gradopt.errors import InputError, ShapeError, explain


class ModelFunction:
    """A set-up problem, called with flat vectors.

    A run starts from the state of the last good one, as it does in OpenMDAO. After a failed run that state is put
    back, so that no NaN of it gets into the next.

    Attributes:
        inputs: Variables of the columns of x, in the units that x comes in.
        outputs: Variables of the columns of y, likewise.
        runs: Number of times the model was run.
    """

    def __init__(
        self, problem: Any, inputs: Sequence[str | Variable], outputs: Sequence[str | Variable], converged: bool
    ) -> None:
        """Set the problem up as far as it is not, and find the variables.

        Args:
            problem: An `om.Problem`, before or after setup.
            inputs: Names of independent variables of the model, or Variables with units of their own.
            outputs: Names of any variables, or Variables.
            converged: Whether a solver that does not converge makes a run fail.

        Raises:
            InputError: If `problem` is none, or a variable is not in the model, discrete, or of other units.
            ShapeError: If a Variable has another shape than in the model.
        """
        if not isinstance(problem, om.Problem):
            remedy = "The factory builds the problem and returns it, set up or not, not run."
            raise InputError(explain("factory", "return an om.Problem", type(problem).__name__, remedy))
        if not private.is_set_up(problem):
            problem.setup()
        problem.final_setup()
        if converged:
            _be_strict(problem.model)
        self._problem = problem
        found = problem.list_indep_vars(out_stream=None)
        independent = {name: meta["units"] for name, meta in found if "units" in meta}  # discrete ones have none
        available = {meta["prom_name"]: meta for meta in problem.model.get_io_metadata(iotypes="output").values()}
        units = {name: meta["units"] for name, meta in available.items() if not meta["discrete"]}
        self._paths = [_path(entry, independent, "inputs") for entry in inputs]
        self._of_paths = [_path(entry, units, "outputs") for entry in outputs]
        self.inputs = tuple(
            self._variable(e, p, independent[p], "inputs") for e, p in zip(inputs, self._paths, strict=True)
        )
        self.outputs = tuple(
            self._variable(e, p, units[p], "outputs") for e, p in zip(outputs, self._of_paths, strict=True)
        )
        self._native = {**units, **independent}
        self._totals = self._totals_function()
        self.runs = 0
        self._good = self._state()

    def _variable(self, entry: str | Variable, path: str, units: str | None, argument: str) -> Variable:
        shape = np.shape(np.atleast_1d(self._problem.get_val(path)))
        if isinstance(entry, str):
            return Variable(entry.replace(".", ":"), shape, units)
        if int(np.prod(shape)) != entry.size:
            remedy = f"Write Variable({entry.name!r}, shape={shape})."
            raise ShapeError(explain(f"shape of {entry.name!r}", f"be the model's, {shape}", entry.shape, remedy))
        if entry.units != units and (entry.units is None or units is None or not is_compatible(units, entry.units)):
            remedy = f"Write Variable({entry.name!r}, units={units!r}), or units that convert to it."
            got = repr(entry.units)
            raise InputError(
                explain(f"units of {entry.name!r} in {argument}", f"fit the model's {units!r}", got, remedy)
            )
        return entry

    def values(self, x: np.ndarray) -> np.ndarray:
        """Run the model at x (d,) and return y (m,), both in the units of the variables."""
        return self._guarded(lambda: self._run(x))

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the model at x (d,) and return y (m,) and the totals dydx (m, d); NaN if it was set up without them."""

        def work() -> tuple[np.ndarray, np.ndarray]:
            y = self._run(x)
            unknown = np.full((y.size, x.size), np.nan)
            return y, self._totals() if np.isfinite(y).all() else unknown  # linear solvers stumble over NaN

        return self._guarded(work)

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            result = work()
            state = self._state()
            if np.isfinite(state).all():
                self._good = state
            else:
                self._restore()
        except BaseException:
            self._restore()
            raise
        return result

    def _state(self) -> np.ndarray:
        return np.array(self._problem.model._outputs.asarray(copy=True))

    def _restore(self) -> None:
        self._problem.model._outputs.set_val(self._good)  # inputs are taken from outputs in a run

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.runs += 1
        values = unflatten(x, self.inputs)
        for variable, path in zip(self.inputs, self._paths, strict=True):
            value = values[variable.name].reshape(np.shape(self._problem.get_val(path)))
            self._problem.set_val(path, value, units=variable.units)
        self._problem.run_model()
        found = {
            v.name: np.reshape(self._problem.get_val(path, units=v.units), v.shape)
            for v, path in zip(self.outputs, self._of_paths, strict=True)
        }
        return np.array(flatten(found, self.outputs), dtype=float)

    def _totals_function(self) -> Callable[[], np.ndarray]:
        """Make what computes the totals (m, d) at the state of the last run.

        Neither `Problem.compute_totals` nor `Problem.get_callback` serves: the first answers in the units and at the
        indices of the driver where its variables are asked for, the second gives zeros for a model that approximates
        its totals (OpenMDAO 3.45). Without the driver, what both stand on answers in the units of the model.
        """
        model = self._problem.model
        rows, columns = column_slices(self.outputs), column_slices(self.inputs)
        shape = (sum(v.size for v in self.outputs), sum(v.size for v in self.inputs))
        if not private.uses_derivatives(model):
            return lambda: np.full(shape, np.nan)
        info = private.Totals(self._problem, self._of_paths, self._paths, of_driver=False)

        def totals() -> np.ndarray:
            found, dydx = info.compute(), np.empty(shape)
            for of, of_path in zip(self.outputs, self._of_paths, strict=True):
                for wrt, path in zip(self.inputs, self._paths, strict=True):
                    factor = _factor(self._native[of_path], of.units) / _factor(self._native[path], wrt.units)
                    dydx[rows[of.name], columns[wrt.name]] = found[of_path, path] * factor
            return dydx

        return totals


def _path(entry: object, known: dict[str, str | None], argument: str) -> str:
    """Find the name in the model of what the user named; a colon of a Variable's name may stand for a dot."""
    name = entry.name if isinstance(entry, Variable) else entry
    for path in (name, name.replace(":", ".")) if isinstance(name, str) else ():
        if path in known:
            return path
    kind = "independent variables" if argument == "inputs" else "continuous outputs"
    remedy = "Use promoted names; a Variable's name has ':' where the model's has '.'."
    raise InputError(explain(argument, f"be among the model's {kind} {sorted(known)}", repr(name), remedy))


def _factor(units: str | None, wanted: str | None) -> float:
    """How many of `wanted` a difference of one of `units` is."""
    return 1.0 if units == wanted else float(unit_conversion(units, wanted)[0])


def _be_strict(model: Any) -> None:
    """Make every nonlinear solver raise where it does not converge.

    Newton's method, Broyden's, and block solvers with `use_apply_nonlinear` pass over such an error of a solver under
    them, as they see its residuals: they alone decide. Another block solver only sees outputs that stopped changing,
    as those of a failed system do; it is told to pass the error on.
    """
    for system in model.system_iter(include_self=True, recurse=True):
        options = {} if system.nonlinear_solver is None else system.nonlinear_solver.options
        if "err_on_non_converge" in options:
            options["err_on_non_converge"] = True
        if "use_apply_nonlinear" in options and not options["use_apply_nonlinear"]:
            options["reraise_child_analysiserror"] = True
