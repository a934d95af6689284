"""Ask and tell for people with their own evaluation system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from gradopt.corrected.samples import Gain
from gradopt.data.arrays import as_floats
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable, as_variables, column_bounds, column_slices, total_size
from gradopt.errors import FileFormatError, InputError, ShapeError, explain
from gradopt.loop.asking import ask, samples_first
from gradopt.loop.initial_design import initial_design
from gradopt.loop.learning import guesses, no_partials
from gradopt.loop.refinement import checks, output_weights, outputs_that_matter
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.running import Watch, run
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration, Stage, State, begin, resumed
from gradopt.loop.telling import tell
from gradopt.optimality.certificate import Certificate, certificate_of, with_saddle
from gradopt.optimality.layout import Arrays, Layout
from gradopt.optimizer import files
from gradopt.optimizer.evaluations import Result, read
from gradopt.optimizer.flat_problem import Constraint, FlatProblem, LinearConstraint, Objective
from gradopt.surrogates.protocol import SupportsEvaluate
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.protocol import Evaluations, Truth
from gradopt.truth.store import EvaluationStore

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit


class Optimizer:
    """Minimize an output of a truth that somebody else evaluates.

    `ask` returns the points to evaluate next, `tell` takes their evaluations:

        optimizer = Optimizer(inputs, outputs, x0)
        while not optimizer.done:
            request = optimizer.ask()
            optimizer.tell(request, truth.evaluate(request.points))

    It is the loop of `AdaptiveDriver` on a problem without other components. `save` and `load` continue a run in
    another process.

    Attributes:
        problem: Problem.
        settings: Settings of the loop.
        state: State of the run.
    """

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        x0: ArrayLike,
        *,
        objective: str | Objective | None = None,
        constraints: Sequence[Constraint] = (),
        linear: LinearConstraint | None = None,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        configuration: SupportsFit | Literal["default"] | None = "default",
        initial_surrogate: SupportsEvaluate | None = None,
        initial_data: Dataset | None = None,
        initial_samples: int = 0,
        seed: int = 0,
        settings: Settings | None = None,
    ) -> None:
        """Pose a problem.

        Args:
            inputs: Design variables, the inputs of the truth.
            outputs: Outputs of the truth.
            x0: Start (d,), physical; moved to the bounds where it is beyond them.
            objective: Name of the output to be minimized, or an `Objective`; None = the first output.
            constraints: Constraints on other outputs.
            linear: Exact linear constraints on the inputs.
            bounds: Lower and upper bounds of the design variables, each (d,); None = those of `inputs`.
            configuration: Configuration of the global surrogate; None fits none, "default" as `AdaptiveDriver`.
            initial_surrogate: Fitted surrogate of the truth. It is corrected, none is fitted in its place, and the
                truth is evaluated at its optimum first.
            initial_data: Samples of the truth that cost nothing.
            initial_samples: Number of points of a Latin hypercube that are evaluated before the start.
            seed: Seed of the Latin hypercube.
            settings: Settings of the loop.

        Raises:
            InputError: If an argument is of another kind, or names no output.
            ShapeError: If arrays do not fit together.
        """
        inputs, outputs = as_variables("inputs", inputs), as_variables("outputs", outputs)
        start = as_floats("x0", x0).ravel()
        if start.shape != (total_size(inputs),) or not np.isfinite(start).all():
            expected = f"hold {total_size(inputs)} finite numbers"
            raise ShapeError(explain("x0", expected, start.tolist(), "Give one for each column of `inputs`."))
        if isinstance(objective, Objective):
            target = objective
        else:
            target = Objective(outputs[0].name if objective is None else objective)
        self.settings = settings or Settings()
        lower, upper = _design_bounds(bounds, inputs)
        start = np.clip(start, lower, upper)
        fitted = _default_configuration(configuration) if isinstance(configuration, str) else configuration
        self.problem = FlatProblem(
            inputs, outputs, start, (lower, upper), target, constraints, linear, fitted, initial_surrogate
        )
        design = initial_design(self.problem.limits, start, initial_samples, seed, self.settings.max_evaluations)
        self.state = begin(self.problem, start, self.settings, [initial_data], design)
        self._request: Request | None = None
        self._plan: FiniteDifferencePlan | CentralDifferencePlan | None = None

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.state.done

    @property
    def exit(self) -> Exit | None:
        """Why the run ended; None while it goes on."""
        return self.state.exit

    @property
    def history(self) -> tuple[Iteration, ...]:
        """Records of the iterations."""
        return self.state.history

    @property
    def evaluations(self) -> int:
        """Number of points evaluated so far."""
        return self.state.evaluations

    @property
    def data(self) -> Dataset | None:
        """Samples of the truth; None before the first."""
        return self.state.samples[0].data

    @property
    def surrogate(self) -> SupportsEvaluate | None:
        """Global surrogate; None where there is none."""
        initial, fitted = self.problem.components[0].initial, self.state.samples[0].fitted
        return initial if initial is not None or fitted is None else fitted.surrogate

    @property
    def x(self) -> np.ndarray:
        """Current iterate (d,), physical; the start before it was evaluated."""
        return (self.state.start if self.state.at < 0 else self.state.iterate.u).copy()

    @property
    def y(self) -> Arrays:
        """True outputs at the current iterate by name; NaN before the start was evaluated."""
        flat = np.full(total_size(self.problem.outputs), np.nan)
        if self.state.at >= 0:
            assert self.data is not None
            flat = self.data.y[self.state.iterate.rows[0]]
        return {name: flat[columns].copy() for name, columns in column_slices(self.problem.outputs).items()}

    @property
    def certificate(self) -> Certificate | None:
        """KKT conditions of the true problem at the current iterate; None before the start was evaluated."""
        state, problem = self.state, self.problem
        if state.kkt is None:
            return None
        names = Layout([v.name for v in problem.inputs], [v.size for v in problem.inputs], np.ones(len(state.start)))
        objective = float(self.y[problem.objective.name][0])
        found = certificate_of(state.kkt, objective, problem.objective.scaler, names, problem.layout)
        if state.exit is not Exit.CERTIFIED:
            found = replace(found, certified=False, reason=_doubt(state, found))
        elif state.saddle is not None:
            found = with_saddle(found, state.saddle, names)
        return found

    def ask(self, count: int | None = None) -> Request:
        """Return the points to be evaluated next; the same ones until they are told.

        Args:
            count: Number of candidates at most of a new request; None = `settings.batch`.

        Returns:
            A request: `points` (q, d), physical, and their `purpose`. Without points (q = 0) there is nothing to
            evaluate: tell it all the same, with no rows, and the run goes on or ends.

        Raises:
            InputError: If the run has ended, or the number is not positive.
        """
        if self._request is None:
            batch = self.settings.batch if count is None else count
            request = ask(self.state, self.problem, replace(self.settings, batch=batch))
            if request.purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
                if self._plan is None:
                    self._plan = self._plan_for(request.purpose)
                request = replace(request, points=self._plan.points)
            self._request = request
        return self._request

    def tell(self, request: Request, evaluations: Result) -> None:
        """Take the evaluations of a request.

        Args:
            request: Request that `ask` returned.
            evaluations: `Evaluations` at its points, such as those of a truth; or outputs y (q, m), or the pair of y
                and partials dydx (q, m, d). A row of y with NaN is a failed point; NaN in dydx is an unknown partial.

        Raises:
            InputError: If the request is not the one that `ask` returned last, or evaluations are at other points.
            ShapeError: If there is not one row for each point.
        """
        expected = self.ask()
        if request is not expected and not (
            request.purpose is expected.purpose and np.array_equal(request.points, expected.points)
        ):
            got = f"{request.purpose.value} at {request.points.tolist()}"
            remedy = "Call `ask` again, and tell what it returned."
            raise InputError(explain("request", "be the one that `ask` returned last", got, remedy))
        found = read(expected.points, evaluations, self.problem.inputs, self.problem.outputs)
        if expected.purpose in (Purpose.DIFFERENCE, Purpose.REFINEMENT):
            outcomes = self._differentiated(found)
        else:
            outcomes = self._outcomes(found)
        self._request = None
        if outcomes is not None:
            core = replace(expected, points=self.state.iterate.u[None]) if self._plan is not None else expected
            self._plan = None
            self.state = tell(self.state, core, outcomes, self.problem, self.settings)

    def run(
        self,
        truth: Truth | Callable[[np.ndarray], Result],
        store: EvaluationStore | None = None,
        watch: Watch | None = None,
    ) -> Exit:
        """Evaluate a truth until the run ends.

        Args:
            truth: Truth, or a function of points (q, d) that returns what `tell` takes.
            store: Store in which evaluations of a truth are looked up and kept.
            watch: Called with the state after each iteration; returning True ends the run there.

        Returns:
            Why the run ended.
        """
        exit = run(self, lambda request: self._evaluated(truth, request.points, store), watch).exit
        assert exit is not None
        return exit

    def save(self, path: str | Path) -> None:
        """Write problem, settings and state to a file, from which `load` continues the run.

        Args:
            path: File to write; it appears whole or not at all.
        """
        problem = self.problem
        parts = {
            "inputs": problem.inputs,
            "outputs": problem.outputs,
            "x0": self.state.start,
            "objective": problem.objective,
            "constraints": problem.constraints,
            "linear": problem.linear,
            "bounds": (problem.limits.lower, problem.limits.upper),
            "configuration": problem.truths[0].configuration,
            "initial_surrogate": problem.components[0].initial,
            "settings": self.settings,
        }
        files.write(path, {"problem": parts, "state": self.state, "plan": self._plan})

    @classmethod
    def load(cls, path: str | Path, max_evaluations: int | None = None) -> Optimizer:
        """Continue a run that `save` wrote; nothing in the file is executed.

        Args:
            path: The file.
            max_evaluations: Another budget than that of the run; None keeps it.

        Raises:
            FileNotFoundError: If there is no such file.
            FileFormatError: If the file is truncated, foreign, newer than this version, or was changed.
        """
        found = files.read(path)
        try:
            parts = found["problem"]
            if max_evaluations is not None:
                parts["settings"] = replace(parts["settings"], max_evaluations=max_evaluations)
            optimizer = cls(**parts)
            optimizer.state, optimizer._plan = found["state"], found["plan"]
        except (KeyError, TypeError, ValueError) as broken:
            remedy = "Copy it again from where it was written."
            raise FileFormatError(f"{str(path)!r} lacks or garbles a part ({broken}). {remedy}") from broken
        optimizer.state = resumed(optimizer.state, optimizer.state)
        return optimizer

    def _evaluated(
        self, truth: Truth | Callable[[np.ndarray], Result], points: np.ndarray, store: EvaluationStore | None
    ) -> Result:
        m, d = total_size(self.problem.outputs), total_size(self.problem.inputs)
        if not len(points):
            return Evaluations.join([], m, d)
        if callable(truth):
            return truth(points)
        return truth.evaluate(points) if store is None else store.evaluate(truth, points)

    def _outcomes(self, found: Evaluations) -> list[Outcome]:
        sampling = self.state.stage is Stage.START and samples_first(self.state, self.settings)
        (guess,) = no_partials(self.state) if sampling else guesses(self.state, self.problem, self.settings)
        outcomes = []
        for row in range(found.n):
            one = found.rows(slice(row, row + 1))
            gains = (Gain.of(one),)
            if not one.ok[0]:
                outcomes.append(Outcome(None, f"The truth failed at {one.x[0]}: {one.message[0]}", gains))
                continue
            samples = self.state.samples[0].with_evaluations(one)
            assert samples.data is not None
            dydx = samples.data.partials[samples.row(one.x[0])]
            if np.isnan(dydx).any():
                dydx = np.where(np.isnan(dydx), 0.0 if guess is None else guess(one.x[0]), dydx)
            outcomes.append(self._outcome(one.x[0], one.y[0], dydx, gains))
        return outcomes

    def _outcome(
        self,
        x: np.ndarray,
        y: np.ndarray,
        dydx: np.ndarray,
        gains: tuple[Gain, ...],
        errors: np.ndarray | None = None,
    ) -> Outcome:
        responses, sensitivities = self.problem.responses(x, y, dydx), self.problem.sensitivities
        if errors is not None:
            responses = replace(responses, error=np.abs(sensitivities) @ errors)
        return Outcome(responses, "", gains, (x,), (sensitivities,))

    def _plan_for(self, purpose: Purpose) -> FiniteDifferencePlan | CentralDifferencePlan:
        state, differences = self.state, self.settings.finite_differences
        (samples,), (row,) = state.samples, state.iterate.rows
        if purpose is Purpose.REFINEMENT:
            weights = output_weights(state, self.problem)[0]
            return samples.refinement(row, differences, weights, checks(state, self.problem, self.settings))
        return samples.plan(row, differences, outputs_that_matter(state, self.problem)[0])

    def _differentiated(self, found: Evaluations) -> list[Outcome] | None:
        """Outcome at the current iterate once no points of finite differences are left, None before."""
        assert self._plan is not None
        samples, plan = self.state.samples[0], self._plan
        self.state = replace(self.state, samples=(samples.with_beside(plan.points, found.y),))
        self._plan = plan = plan.after(found)
        if len(plan.points):
            return None
        partials, central = plan.partials(), isinstance(plan, CentralDifferencePlan)
        errors = plan.errors() if isinstance(plan, CentralDifferencePlan) and plan.checked else None
        nothing = Evaluations.join([], *partials.shape)
        gain = Gain(nothing, found.x, found.y, plan.x[None], partials[None], np.array([central]))
        (guess,) = guesses(self.state, self.problem, self.settings)
        if np.isnan(partials).any():
            partials = np.where(np.isnan(partials), 0.0 if guess is None else guess(plan.x), partials)
        return [self._outcome(plan.x, plan.y, partials, (gain,), errors)]


def _doubt(state: State, found: Certificate) -> str:
    """Why a run without the exit `CERTIFIED` gives no certificate."""
    if state.exit is Exit.RESOLUTION:
        return f"Not certified: {state.failure}"
    if state.exit is Exit.CONTRADICTED:
        return f"Not certified: {state.exit.advice}"
    if not state.iterate.exact:
        return "Not certified: the partials at the answer are estimates, they have not been finite-differenced."
    if found.certified:
        return "Not certified: the run ended before its derivatives were checked."
    return found.reason


def _design_bounds(
    bounds: tuple[ArrayLike, ArrayLike] | None, inputs: Sequence[Variable]
) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None:
        return column_bounds(inputs)
    d = total_size(inputs)
    lower, upper = (np.broadcast_to(as_floats("bounds", side), (d,)).copy() for side in bounds)
    wrong = np.flatnonzero(~(lower <= upper))
    if wrong.size:
        got = f"{lower[wrong[0]]} and {upper[wrong[0]]} in column {wrong[0]}"
        raise InputError(explain("bounds", "have lower bounds that are not above the upper ones", got, "Swap them."))
    return lower, upper


def _default_configuration(name: str) -> Any:
    from gradopt.surrogates.configurations.default import default_configuration

    if name != "default":
        remedy = "Pass for instance JENN((20,)), None or 'default'."
        raise InputError(explain("configuration", "be an object that fits surrogates", repr(name), remedy))
    return default_configuration()
