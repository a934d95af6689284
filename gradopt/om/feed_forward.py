"""A feed-forward model, evaluated component by component: values and totals without OpenMDAO's own passes.

OpenMDAO takes some milliseconds for one run of a small model and its totals, hundreds of which the subproblem needs at
each iteration. A model of explicit components, each run once after all that it reads, is a chain of functions: here its
surrogates are evaluated directly, its other components by their own `run_solve_nonlinear` and `run_linearize`, and the
totals are the products of their partials, backwards. All of this follows from what the model declares, nothing from
values; any other model is left to OpenMDAO.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import openmdao.api as om

from gradopt import openmdao_private as private
from gradopt.om.component import SurrogateComp

_MOST_ENTRIES = 1_000_000  # of one dense matrix; OpenMDAO keeps larger ones sparse. 8 MB; by hand


@dataclass(frozen=True, eq=False)
class _Step:
    """One component, with places among all outputs of the model, flat.

    Attributes:
        component: The component.
        read: Places (d,) that its inputs come from.
        factor: Factors (d,) from the units of the outputs to those of the inputs, or None where all are 1.
        shift: Summands (d,) after these factors.
        written: Places (m,) of its outputs.
        repeated: Whether it reads some place more than once.
        partials: Its partials, None of a surrogate.
        constant: Partials (m, d) where they are constant, else None.
    """

    component: om.ExplicitComponent
    read: np.ndarray
    factor: np.ndarray | None
    shift: np.ndarray
    written: np.ndarray
    repeated: bool
    partials: private.Partials | None
    constant: np.ndarray | None

    @property
    def linearizes(self) -> bool:
        """Whether OpenMDAO is to linearize the component."""
        return self.partials is not None and self.constant is None

    def run(self, outputs: np.ndarray) -> np.ndarray:
        """Set the outputs of the component among those of the model; returns its partials (m, d)."""
        x = outputs[self.read]
        if self.factor is not None:
            x = x * self.factor + self.shift
        if self.partials is None:
            y, dydx = self.component.linearize_at(x[None])
            outputs[self.written] = y[0]
            return np.asarray(dydx[0])
        private.set_inputs(self.component, x)
        self.component.run_solve_nonlinear()
        if self.constant is not None:
            return self.constant
        self.component.run_linearize()
        return self.partials.read()

    def back(self, slopes: np.ndarray, partials: np.ndarray) -> None:
        """Add to the derivatives (r, places) of responses with respect to all outputs what comes through here."""
        through = slopes[:, self.written] @ partials
        if self.factor is not None:
            through *= self.factor
        if self.repeated:
            np.add.at(slopes.T, self.read, through.T)
        else:
            slopes[:, self.read] += through


class FeedForward:
    """Runs a feed-forward model and differentiates it."""

    def __init__(self, problem: om.Problem, steps: list[_Step], designs: np.ndarray, responses: np.ndarray) -> None:
        """Take what `of` has found.

        Args:
            problem: The problem.
            steps: Components in their order.
            designs: Places (k,) of the design variables among all outputs of the model, flat.
            responses: Places (r,) of the responses.
        """
        self._problem, self._steps, self._designs, self._responses = problem, steps, designs, responses

    @classmethod
    def of(cls, problem: om.Problem, designs: np.ndarray, responses: np.ndarray) -> FeedForward | None:
        """Read the model of a problem; None where it is not feed-forward, or so large that sparsity matters.

        Args:
            problem: Problem that has run.
            designs: Places (k,) of the design variables among all outputs of the model, flat.
            responses: Places (r,) of the responses.
        """
        model = problem.model
        components = private.feed_forward(model)
        size = len(private.present_outputs(problem))
        if components is None or size * len(responses) > _MOST_ENTRIES:
            return None
        steps: list[_Step] = []
        written = np.full(size, -1)  # number of the step that writes each output; -1 for what stays as it is
        for number, component in enumerate(components):
            step = _read(model, component)
            if step is None:
                return None
            written[step.written] = number
            steps.append(step)
        ordered = all((written[step.read] < number).all() for number, step in enumerate(steps))
        return cls(problem, steps, designs, responses) if ordered and (written[designs] < 0).all() else None

    def run(self) -> np.ndarray:
        """Run the model at its present design variables.

        Returns:
            Derivatives (r, k) of the responses with respect to the design variables, in the model's units.

        Raises:
            AnalysisError: If a component fails.
            EvaluationError: If a surrogate does.
        """
        outputs = private.present_outputs(self._problem)
        linearizes = any(step.linearizes for step in self._steps)
        with private.all_relevant(self._problem.model) if linearizes else nullcontext():
            partials = [step.run(outputs) for step in self._steps]
        slopes = np.zeros((len(self._responses), len(outputs)))
        slopes[np.arange(len(self._responses)), self._responses] = 1.0
        for step, found in zip(reversed(self._steps), reversed(partials), strict=True):
            step.back(slopes, found)
        return slopes[:, self._designs]


def _read(model: om.Group, component: om.ExplicitComponent) -> _Step | None:
    """Read the connections of a component; None where its partials are too many for a dense matrix."""
    wires, partials = private.wires(model, component), None
    if _is_surrogate(component):  # in the order of its columns
        wires = {variable.name: wires[variable.name] for variable in component.evaluator.inputs}
        outputs = [f"{component.pathname}.{variable.name}" for variable in component.evaluator.outputs]
    else:
        partials = private.Partials(component)
        outputs = partials.outputs
    read = np.concatenate([np.empty(0, dtype=int), *(places for places, _, _ in wires.values())])
    written = np.concatenate([private.places_of(model, name) for name in outputs])
    if len(read) * len(written) > _MOST_ENTRIES:
        return None
    factor = np.concatenate([np.empty(0), *(np.full(len(places), by) for places, by, _ in wires.values())])
    shift = np.concatenate([np.empty(0), *(np.full(len(places), by) for places, _, by in wires.values())])
    constant = None
    if partials is not None and private.has_constant_partials(component):
        constant = partials.read()
    converted = bool((factor != 1.0).any() or shift.any())
    repeated = len(np.unique(read)) < len(read)
    return _Step(component, read, factor if converted else None, shift, written, repeated, partials, constant)


def _is_surrogate(component: om.ExplicitComponent) -> bool:
    """Whether a component is a surrogate at one point and nothing else, which no subclass has changed."""
    kind = type(component)
    return (
        isinstance(component, SurrogateComp)
        and kind.compute is SurrogateComp.compute
        and kind.compute_partials is SurrogateComp.compute_partials
        and component.options["vec_size"] == 1
    )
