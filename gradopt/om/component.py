"""A surrogate as an ordinary OpenMDAO component."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om

from gradopt.data.scaling import check_input_domain
from gradopt.data.variables import Variable, check_same_variables, column_names, column_slices
from gradopt.errors import InputError, explain
from gradopt.om.truth_evaluator import TruthEvaluator
from gradopt.surrogates.protocol import Evaluation, SupportsEvaluate
from gradopt.truth.finite_differences import FiniteDifferenceTruth
from gradopt.truth.model import ModelTruth
from gradopt.truth.parallel import ParallelTruth
from gradopt.truth.protocol import Truth
from gradopt.truth.store import EvaluationStore

_ROUNDING = 1e-9  # part of the domain's width by which optimizers overstep their own bounds: round-off; by hand
_CITE = """
@article{berguin2024jenn,
    title={Jacobian-Enhanced Neural Networks},
    author={Berguin, Steven H.},
    journal={arXiv preprint arXiv:2406.09132},
    year={2024}
}"""


class SurrogateComp(om.ExplicitComponent):  # type: ignore[misc]
    """Explicit component that evaluates a fitted surrogate, with exact partials, or a truth.

    With a truth it is a component that `AdaptiveDriver` works on. The driver has it evaluate the truth, or a surrogate
    corrected to the truth about the current iterate. Before the driver has run, a component without a fitted surrogate
    evaluates the truth; after the run, the last corrected surrogate.

    Inputs and outputs are the surrogate's variables: names, shapes and units; with `vec_size` > 1 each gets that many
    rows, evaluated together, with block-diagonal partials. Complex step runs through the network itself, so that it
    checks the partials independently.

    Options: `vec_size` (int), `extrapolate` (str), and `surrogate_digest` (str), which recorders keep in place of the
    network.
    """

    def __init__(
        self,
        surrogate: SupportsEvaluate | None = None,
        truth: Truth | None = None,
        vec_size: int = 1,
        extrapolate: str = "error",
        **options: Any,
    ) -> None:
        """Wrap a surrogate, or a truth.

        Args:
            surrogate: Fitted surrogate, such as `JENN(...).fit(data)`; may be left out where there is a truth. Beside a
                truth it is an initial surrogate: `AdaptiveDriver` corrects it, fits none in its place, and evaluates
                the truth at its optimum first.
            truth: Truth that the surrogate stands for, such as a `FunctionTruth` or `ModelTruth`, with its variables.
            vec_size: Number of points evaluated together; 1 with a truth.
            extrapolate: What to do with inputs outside the surrogate's domain: "error" raises `AnalysisError` (under
                an optimizer give the design variables these bounds), "warn" warns once and evaluates, "clip"
                evaluates the nearest point of the domain, "allow" evaluates.
            **options: Options of every OpenMDAO component, such as `run_root_only`.

        Raises:
            InputError: If there is neither a fitted surrogate nor a truth, or they do not fit together.
        """
        if surrogate is not None or truth is None:
            _check_fitted(surrogate)
        if truth is not None:
            _check_truth(truth, surrogate, vec_size)
        self._truth = truth
        self._surrogate = self._initial = surrogate
        self._evaluator = self._first_evaluator()
        self._last: tuple[np.ndarray, Evaluation] | None = None
        self._domain: tuple[np.ndarray, np.ndarray] | None = None
        self._warned = False
        digest = "" if surrogate is None else surrogate.digest
        super().__init__(vec_size=vec_size, extrapolate=extrapolate, surrogate_digest=digest, **options)
        self.cite = _CITE

    def initialize(self) -> None:
        """Declare the options."""
        self.options.declare("vec_size", types=int, lower=1, desc="Number of points evaluated together.")
        self.options.declare(
            "extrapolate",
            values=["error", "warn", "clip", "allow"],
            desc="What to do with inputs outside the domain of the surrogate.",
        )
        self.options.declare("surrogate_digest", types=str, desc="Hash of the fitted surrogate.")

    @property
    def truth(self) -> Truth | None:
        """Truth that the surrogate stands for, or None."""
        return self._truth

    @property
    def surrogate(self) -> SupportsEvaluate | None:
        """Fitted surrogate, None before there is one; another one with the same variables may be assigned."""
        return self._surrogate

    @surrogate.setter
    def surrogate(self, surrogate: SupportsEvaluate) -> None:
        _check_fitted(surrogate)
        if self._truth is None:
            mine, remedy = self._evaluator, "Use a new component."
            check_same_variables("surrogate.inputs", mine.inputs, surrogate.inputs, remedy, exact=True)
            check_same_variables("surrogate.outputs", mine.outputs, surrogate.outputs, remedy, exact=True)
        else:
            _check_truth(self._truth, surrogate, self.options["vec_size"])
        self.keep(surrogate)
        self._initial = surrogate
        self.evaluate_with(surrogate)

    @property
    def initial(self) -> SupportsEvaluate | None:
        """Initial surrogate: the fitted one that the user gave. `AdaptiveDriver` corrects but does not replace it."""
        return self._initial

    @property
    def evaluator(self) -> SupportsEvaluate:
        """Surrogate or truth that is evaluated at present."""
        return self._evaluator

    def keep(self, surrogate: SupportsEvaluate) -> None:
        """Take a newer surrogate without evaluating it yet."""
        self._surrogate = surrogate
        self.options["surrogate_digest"] = surrogate.digest

    def evaluate_with(self, evaluator: SupportsEvaluate) -> None:
        """Evaluate something else from now on: a truth, or a corrected surrogate; `surrogate` stays what it is."""
        self._evaluator = evaluator
        self._last = self._domain = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave evaluations behind: a copy starts with none, so that those in memory need not travel."""
        state = self.__dict__ | {"_domain": None}
        if isinstance(self._evaluator, TruthEvaluator):
            state.update(_evaluator=None, _last=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Evaluate the truth again, where that was evaluated."""
        self.__dict__.update(state)
        if state["_evaluator"] is None:
            self._evaluator = self._first_evaluator()

    def setup(self) -> None:
        """Add the surrogate's variables."""
        # Initial values are those of the model that the truth is. Else they stay OpenMDAO's 1.0: any other would clash
        # with components promoted to the same name.
        values = _initial_values(self._truth)
        for variable in self._evaluator.inputs:
            shape, value = self._shape_of(variable), values.get(variable.name, 1.0)
            self.add_input(variable.name, value, shape, variable.units, desc="Input of the surrogate.")
        for variable in self._evaluator.outputs:
            shape = self._shape_of(variable)
            self.add_output(variable.name, shape=shape, units=variable.units, desc="Predicted by the surrogate.")
        self._warned = False

    def setup_partials(self) -> None:
        """Declare exact partials, block-diagonal for several points."""
        points = np.arange(self.options["vec_size"])[:, None, None]
        for of in self._evaluator.outputs:
            for wrt in self._evaluator.inputs:
                if len(points) == 1:
                    self.declare_partials(of.name, wrt.name)
                    continue
                block = np.ones((len(points), of.size, wrt.size), dtype=int)
                rows = block * (points * of.size + np.arange(of.size)[:, None])
                cols = block * (points * wrt.size + np.arange(wrt.size))
                self.declare_partials(of.name, wrt.name, rows=rows.ravel(), cols=cols.ravel())

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Predict."""
        evaluation, _ = self._evaluate(self._points(inputs))
        for name, columns in column_slices(self._evaluator.outputs).items():
            outputs[name] = evaluation.y[:, columns].reshape(outputs[name].shape)

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """Differentiate the prediction, on the forward pass of `compute` if the inputs are still the same."""
        _, dydx = self.linearize_at(self._points(inputs))
        wrt_slices = column_slices(self._evaluator.inputs)
        for of, rows in column_slices(self._evaluator.outputs).items():
            for wrt, columns in wrt_slices.items():
                block = dydx[:, rows, columns]
                partials[of, wrt] = block[0] if len(block) == 1 else block.ravel()

    def _first_evaluator(self) -> SupportsEvaluate:
        if self._initial is not None:
            return self._initial
        assert self._truth is not None
        return TruthEvaluator(self._truth, EvaluationStore())

    def _shape_of(self, variable: Variable) -> tuple[int, ...]:
        points = self.options["vec_size"]
        return variable.shape if points == 1 else (points, *variable.shape)

    def linearize_at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate points as the component does at its inputs, without these.

        Args:
            x: Points (n, d), in the units of the surrogate.

        Returns:
            Outputs (n, m) and partials (n, m, d).

        Raises:
            AnalysisError: If a point is outside the domain and the option `extrapolate` is "error", or where a
                transform has no value.
        """
        evaluation, outside = self._evaluate(x)
        dydx = evaluation.dydx()
        if outside.any() and self.options["extrapolate"] == "clip":
            dydx = np.where(outside[:, None, :], 0.0, dydx)
        return evaluation.y, dydx

    def _points(self, inputs: Any) -> np.ndarray:
        """Points (n, d) at the present inputs."""
        n = self.options["vec_size"]
        return np.concatenate([inputs[v.name].reshape(n, v.size) for v in self._evaluator.inputs], axis=1)

    def _evaluate(self, x: np.ndarray) -> tuple[Evaluation, np.ndarray]:
        """The forward pass at points x (n, d), and which of their entries (n, d) are outside the domain."""
        points, outside = self._within_domain(x)
        if self._last is None or self._last[0].dtype != points.dtype or not np.array_equal(self._last[0], points):
            self._last = (points, self._evaluator.evaluate(points))
        return self._last[1], outside

    def _within_domain(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply the option `extrapolate`: the points to evaluate, and which inputs were outside."""
        if self._domain is None:
            low, high = self._evaluator.lower, self._evaluator.upper
            slack = _ROUNDING * np.where(high > low, high - low, np.maximum(np.abs(low), 1.0))
            self._domain = low - slack, high + slack
        lower, upper = self._domain
        outside = ~((x.real >= lower) & (x.real <= upper))  # so that NaN is outside
        mode = self.options["extrapolate"]
        if not outside.any():
            self._check_transforms(x)
            return x, outside
        low, high = self._evaluator.lower, self._evaluator.upper
        point, column = (int(index) for index in np.argwhere(outside)[0])
        name = column_names(self._evaluator.inputs)[column]
        message = (
            f"Input {name!r} is {x[point, column].real:g}, outside the domain [{low[column]:g}, {high[column]:g}] of "
            "the surrogate. Bound the design variables by the domain, or set the option 'extrapolate' to 'warn', "
            "'clip' or 'allow'."
        )
        if mode == "error" or np.isnan(x).any():
            raise om.AnalysisError(f"{self.msginfo}: {message}")
        if mode == "clip":
            return np.where(outside, np.clip(x.real, low, high), x), outside
        self._check_transforms(x)
        if mode == "warn" and not self._warned:
            self._warned = True
            om.issue_warning(message, prefix=self.msginfo)
        return x, outside

    def _check_transforms(self, x: np.ndarray) -> None:
        """Raise `AnalysisError` where a transform has no value: no mode may give NaN."""
        try:
            check_input_domain(x, self._evaluator.inputs)
        except InputError as impossible:
            raise om.AnalysisError(f"{self.msginfo}: {impossible}") from impossible


def _initial_values(truth: Truth | None) -> dict[str, np.ndarray]:
    """Values of the inputs by name that a model sets, {} where the truth is no model."""
    if isinstance(truth, FiniteDifferenceTruth | ParallelTruth):
        return _initial_values(truth.truth)
    return truth.initial_values if isinstance(truth, ModelTruth) else {}


def _check_fitted(surrogate: object) -> None:
    if not callable(getattr(surrogate, "evaluate", None)):
        remedy = "Fit first: SurrogateComp(surrogate=JENN().fit(data))."
        raise InputError(explain("surrogate", "be a fitted surrogate", repr(surrogate), remedy))


def _check_truth(truth: Truth, surrogate: SupportsEvaluate | None, vec_size: int) -> None:
    if not callable(getattr(truth, "evaluate", None)) or isinstance(truth, type):
        remedy = "Wrap it: SurrogateComp(truth=FunctionTruth(f, inputs, outputs))."
        raise InputError(explain("truth", "be a truth", repr(truth), remedy))
    if vec_size != 1:
        remedy = "Use one component for each point; they may share the truth."
        raise InputError(explain("vec_size", "be 1 with a truth", vec_size, remedy))
    if surrogate is not None:
        remedy = "Fit the surrogate to data of this truth."
        check_same_variables("surrogate.inputs", truth.inputs, surrogate.inputs, remedy)
        check_same_variables("surrogate.outputs", truth.outputs, surrogate.outputs, remedy)
