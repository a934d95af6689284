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
    """A set-up problem as a function of flat vectors.

    A run starts from the state of the last good run, as in OpenMDAO. After a failed run that state is restored, so that
    no NaN reaches the next run.

    Attributes:
        inputs: Variables of the columns of x, in the units of x.
        outputs: Variables of the columns of y, in the units of y.
        runs: Number of model runs.
    """

    def __init__(
        self, problem: Any, inputs: Sequence[str | Variable], outputs: Sequence[str | Variable], converged: bool
    ) -> None:
        """Set the problem up unless that was done, and find the variables.

        Args:
            problem: An `om.Problem`, before or after setup.
            inputs: Names of independent variables of the model, or Variables with units of their own.
            outputs: Names of any variables, or Variables.
            converged: Whether a solver that does not converge makes a run fail.

        Raises:
            InputError: If `problem` is not an `om.Problem`, or a variable is not in the model, is discrete, or has
                units that do not convert to those of the model.
            ShapeError: If a Variable has another shape than in the model.
        """
        if not isinstance(problem, om.Problem):
            remedy = "Return the problem that the factory builds, set up or not, not run."
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
        """Run the model at x (d,) and return y (m,) and totals dydx (m, d), NaN if set up without derivatives."""

        def work() -> tuple[np.ndarray, np.ndarray]:
            y = self._run(x)
            unknown = np.full((y.size, x.size), np.nan)
            return y, self._totals() if np.isfinite(y).all() else unknown  # linear solvers raise errors at NaN

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
        return private.get_outputs(self._problem)

    def _restore(self) -> None:
        private.set_outputs(self._problem, self._good)  # a run transfers the inputs from the outputs

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
        """Return a function that computes the totals (m, d) at the state of the last run.

        `_TotalJacInfo` without the driver computes them in the units of the model. The two public ways do not serve:
        `Problem.compute_totals` uses units and indices of the driver for the driver's own variables, and
        `Problem.get_callback` returns zeros for a model that approximates its totals (OpenMDAO 3.45).
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


def _path(entry: object, available: dict[str, str | None], argument: str) -> str:
    """Find the model's name of a user's entry; a colon in the name of a Variable may stand for a dot."""
    name = entry.name if isinstance(entry, Variable) else entry
    for path in (name, name.replace(":", ".")) if isinstance(name, str) else ():
        if path in available:
            return path
    kind = "independent variables" if argument == "inputs" else "continuous outputs"
    remedy = "Use promoted names; in the name of a Variable write ':' for '.'."
    raise InputError(explain(argument, f"be among the model's {kind} {sorted(available)}", repr(name), remedy))


def _factor(units: str | None, target: str | None) -> float:
    """Factor that converts a difference in `units` to `target` units."""
    return 1.0 if units == target else float(unit_conversion(units, target)[0])


def _be_strict(model: Any) -> None:
    """Make every nonlinear solver raise an error where it does not converge.

    Newton, Broyden and block solvers with `use_apply_nonlinear` check the residuals of all systems below them. They
    therefore ignore such an error from below and decide themselves. Other block solvers check only whether outputs stop
    changing, which is also the case in a failed system; the option makes them raise the error from below again.
    """
    for system in model.system_iter(include_self=True, recurse=True):
        options = {} if system.nonlinear_solver is None else system.nonlinear_solver.options
        if "err_on_non_converge" in options:
            options["err_on_non_converge"] = True
        if "use_apply_nonlinear" in options and not options["use_apply_nonlinear"]:
            options["reraise_child_analysiserror"] = True
