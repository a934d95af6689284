"""Other problems of the airfoil: the largest lift-to-drag ratio, and the least drag over several conditions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import openmdao.api as om

from cases.adaptive_case import AdaptiveCase
from cases.case import Case, Response
from gradopt.data.variables import Variable, column_bounds, unflatten
from gradopt.errors import InputError, explain
from gradopt.om.component import SurrogateComp
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Truth

PROBLEMS = ("drag", "lift-to-drag", "multipoint")
"""Problems, the first by default."""

_ALPHA_REACH = 10.0  # degrees about the start; by hand: with free lift the optimal angle is far from the start
_SHAPE = ("upper_weights", "lower_weights")


@dataclass(frozen=True)
class Condition:
    """A flight condition of the multipoint problem.

    Attributes:
        lift: Lift coefficient to hold.
        reynolds: Reynolds number of the chord.
        weight: Weight of its drag; the weights of all conditions are divided by their sum.
    """

    lift: float
    reynolds: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight; lift and Reynolds number are checked where the aerodynamics are built."""
        if not (np.isfinite(self.weight) and self.weight > 0.0):
            raise InputError(
                explain("weight", "be a positive number", self.weight, "Leave out conditions of no weight.")
            )


def add_problem_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the problem."""
    text = "least drag at fixed lift, largest lift-to-drag ratio with lift free, or least drag over several conditions"
    parser.add_argument("--problem", choices=PROBLEMS, default=PROBLEMS[0], help=f"{text} (default drag)")
    parser.add_argument(
        "--condition",
        nargs=3,
        type=float,
        action="append",
        metavar=("LIFT", "REYNOLDS", "WEIGHT"),
        help="a condition of --problem multipoint, repeated for each (default: six, lift 0.2 below, at and 0.2 above "
        "--lift, the middle counting double, at --reynolds and at 0.4 of it)",
    )


def check_problem(arguments: argparse.Namespace) -> None:
    """Raise `InputError` where options of the command line do not go with the problem."""
    if arguments.one_shot and arguments.problem != "drag":
        remedy = "Leave out --one-shot: the adaptive loop solves every problem."
        raise InputError(explain("--problem", "be drag with --one-shot", arguments.problem, remedy))
    if arguments.condition and arguments.problem != "multipoint":
        remedy = "Add --problem multipoint, or give --lift and --reynolds."
        raise InputError(explain("--condition", "come with --problem multipoint", arguments.problem, remedy))


def conditions_of_arguments(arguments: argparse.Namespace) -> tuple[Condition, ...]:
    """Return the conditions of the command line, or those about its lift and Reynolds number."""
    if arguments.condition:
        return tuple(Condition(*given) for given in arguments.condition)
    return default_conditions(arguments.lift, arguments.reynolds)


def default_conditions(lift: float, reynolds: float) -> tuple[Condition, ...]:
    """Return three lift coefficients about one, the middle one counting double, at full and at 0.4 Reynolds number."""
    return tuple(
        Condition(round(lift + step, 9), part * reynolds, weight)
        for part in (1.0, 0.4)
        for step, weight in ((-0.2, 1.0), (0.0, 2.0), (0.2, 1.0))
    )


def lift_to_drag(case: Case) -> Case:
    """Turn least drag at fixed lift into the largest ratio of lift to drag, lift free.

    The ratio is maximized, not its inverse minimized: drag is never zero, so that the ratio is smooth for every lift,
    where drag over lift has a pole.

    Args:
        case: Least drag at fixed lift, which is the initial lift here.

    Returns:
        The same design variables, the angle of attack within wider limits, and the same truth and other constraints.
    """
    best = Response("lift_to_drag", "maximize", ref=100.0)
    kept = tuple(response for response in case.responses if response.name not in ("CD", "CL"))

    def exact() -> dict[str, Any]:
        return {**case.exact(), "ratio": om.ExecComp("lift_to_drag = CL / CD")}

    low, high = (bound.copy() for bound in case.limits)
    low[-1], high[-1] = case.start[-1] - _ALPHA_REACH, case.start[-1] + _ALPHA_REACH
    return replace(
        case,
        limits=(low, high),
        title="maximize an airfoil's lift-to-drag ratio, lift free",
        responses=(best, *kept),
        exact=exact,
        settings={**case.settings, "problem": "lift-to-drag"},
    )


def multipoint(cases: Sequence[Case], weights: Sequence[float], share: bool = True, **fields: Any) -> AdaptiveCase:
    """Join the least drag of one shape at several conditions into one problem.

    Args:
        cases: Least drag at each condition (k of them), all from the same shape.
        weights: Weight of the drag at each (k,).
        share: Whether conditions with the same truth share its samples.
        **fields: The other fields of `AdaptiveCase`.

    Returns:
        Design variables: the weights of the shape and the angle of attack at each condition, (16 + k,). Each condition
        is a `SurrogateComp` with its own lift; all other constraints hold at every one.
    """
    first, k = cases[0], len(cases)
    part = np.array(weights, dtype=np.float64) / np.sum(weights)
    groups: dict[Any, list[Case]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(case.identity if share else index, []).append(case)
    truths = tuple(_truth(alike) for alike in groups.values())
    which = [list(groups).index(case.identity if share else index) for index, case in enumerate(cases)]

    def model(given: Sequence[Truth]) -> om.Group:
        group = om.Group()
        together = om.MuxComp(vec_size=k)
        for output in first.outputs:
            together.add_var(output.name, shape=(1,))
        for index in range(k):
            point = f"point_{index}"
            group.add_subsystem(point, SurrogateComp(truth=given[which[index]]), promotes_inputs=list(_SHAPE))
            group.promotes(point, inputs=["alpha"], src_indices=[index], src_shape=(k,))
            for output in first.outputs:
                group.connect(f"{point}.{output.name}", f"together.{output.name}_{index}")
        group.add_subsystem("together", together, promotes_outputs=["*"])
        mean = om.ExecComp("drag = sum(part * CD)", part=part[:, np.newaxis], CD={"shape": (k, 1)})
        group.add_subsystem("mean", mean, promotes=["drag", "CD"])
        for name, component in first.exact().items():
            group.add_subsystem(name, component, promotes=["*"])
        return group

    return AdaptiveCase(
        name=first.name,
        title="minimize an airfoil's drag over several conditions",
        citation=first.citation,
        inputs=_design_variables(cases),
        start=np.append(first.start[:-1], [case.start[-1] for case in cases]),
        responses=tuple(_joined(responses) for responses in zip(*(case.responses for case in cases), strict=True)),
        truths=truths,
        model=model,
        **fields,
    )


def _truth(cases: Sequence[Case]) -> FunctionTruth:
    """Make one truth of some cases; its bounds, which are its length scale, hold all of theirs."""
    first = cases[0]
    lower, upper = zip(*(column_bounds(case.inputs) for case in cases), strict=True)
    inputs = _bounded(first.inputs, np.min(lower, axis=0), np.max(upper, axis=0))
    return FunctionTruth(first.truth, inputs, first.outputs, identity=first.identity)


def _design_variables(cases: Sequence[Case]) -> tuple[Variable, ...]:
    """Return the shape's weights and one angle for each case, within the limits of the true problems."""
    *shape, alpha = cases[0].inputs
    lower, upper = (np.append(cases[0].limits[side][:-1], [case.limits[side][-1] for case in cases]) for side in (0, 1))
    return _bounded((*shape, replace(alpha, shape=(len(cases),), lower=None, upper=None)), lower, upper)


def _bounded(variables: Sequence[Variable], lower: np.ndarray, upper: np.ndarray) -> tuple[Variable, ...]:
    low, high = unflatten(lower, variables), unflatten(upper, variables)
    return tuple(replace(v, lower=low[v.name], upper=high[v.name]) for v in variables)


def _joined(responses: Sequence[Response]) -> Response:
    """Join the same response of all cases into one of the joined model."""
    first = responses[0]
    if first.is_objective:
        return replace(first, name="drag")
    if isinstance(first.bound, tuple):  # of the shape, not of a condition
        return first
    return replace(first, bound=tuple(float(np.asarray(response.bound)) for response in responses))
