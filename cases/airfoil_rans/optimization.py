"""Least drag over the shape modes on the surrogate, by SLSQP inside OpenMDAO, near the shapes of the data or anywhere.

The data hold drag alone: no lift, no moment, no structure. Minimized over all modes the drag would be that of a thin,
flat plate that carries nothing. So these stay:

- Mach number and angle of attack.
- The leading camber modes, four of seven by default: lift and moment of a thin airfoil at an angle of attack are
  functions of its mean line alone, and the others are ripples of about a thousandth of the chord.
  (That three more may move lets the shape come nearer to the data: amplitude 5 of the NACA 4412, whose mean line is two
  parabolas with a kink in the curvature, is nearly five standard deviations from the mean.)
- The thickness: its leading mode may not become thinner than at the start. This is room for a spar and for fuel.

All other modes may go anywhere in their range in the data, and within the measure of `gradopt.om.data_distance`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
import openmdao.api as om

from cases.airfoil_rans.accuracy import members_of
from cases.airfoil_rans.data import ANGLE, CAMBER, MODES
from cases.model import run
from gradopt import SurrogateComp
from gradopt.om.data_distance import DataDistance, DataDistanceComp
from gradopt.surrogates.fitted.surrogate import Surrogate

HELD = 4  # leading camber modes that stay, of 7; by hand, see above
STARTS = 5  # starts of SLSQP, as the density of the data has several maxima; by hand
_STEP = 0.01  # change of the drag, as a fraction of it, that the driver sees as 1; by hand
_TOLERANCE = 1e-7  # of SLSQP on the scaled objective; by hand
_FEASIBLE = 1e-4  # standard deviations by which an optimum may exceed the limit of the distance; by hand


@dataclass(frozen=True, eq=False)
class Design:
    """A shape and its predictions.

    Attributes:
        modes: Camber, then thickness (14,).
        mach: Mach number.
        angle: Angle of attack, degrees.
        drag: Predicted drag coefficient.
        std: Predicted standard deviation of the drag coefficient.
        networks: Prediction of each network.
        slope: Predicted change of the drag coefficient with the angle of attack, per degree.
        distance: Distance to the shapes of the data, in standard deviations.
        success: Whether SLSQP converged to this shape.
        starts: Predicted drag at the feasible ends of all runs of SLSQP.
    """

    modes: np.ndarray
    mach: float
    angle: float
    drag: float
    std: float
    networks: tuple[float, ...]
    slope: float
    distance: float
    success: bool = True
    starts: tuple[float, ...] = ()

    @property
    def disagreement(self) -> float:
        """Standard deviation of the networks, as a fraction of the drag."""
        return float(np.std(self.networks)) / self.drag

    @property
    def x(self) -> np.ndarray:
        """Inputs of the surrogate (16,)."""
        return np.array([*self.modes, self.mach, self.angle])


def design_at(
    surrogate: Surrogate,
    data_distance: DataDistance,
    modes: np.ndarray,
    flow: tuple[float, float],
    success: bool = True,
    starts: tuple[float, ...] = (),
) -> Design:
    """Evaluate the surrogate at a shape.

    Args:
        surrogate: Average of networks.
        data_distance: Distance of shapes to the data.
        modes: The shape (14,).
        flow: Mach number and angle of attack in degrees.
        success: Whether an optimizer converged to it.
        starts: See `Design`.

    Returns:
        The shape with its drag and how sure that is.
    """
    x = np.array([[*modes, *flow]])
    drag, slopes = surrogate.linearize(x)
    networks = tuple(float(member.predict(x)[0, 0]) for member in members_of(surrogate))
    std, distance = float(surrogate.std(x)[0, 0]), float(data_distance.distance(modes)[0])
    return Design(modes, *flow, float(drag[0, 0]), std, networks, float(slopes[0, 0, ANGLE]), distance, success, starts)


def build_problem(
    surrogate: Surrogate,
    data_distance: DataDistance,
    start: np.ndarray,
    flow: tuple[float, float],
    held: int,
    limit: float | None,
) -> om.Problem:
    """Build the optimization problem.

    Args:
        surrogate: Surrogate of the drag.
        data_distance: Distance of shapes to the data.
        start: Modes (14,) whose leading camber modes and thickness are kept.
        flow: Mach number and angle of attack in degrees.
        held: Number of leading camber modes that stay, 1 to 7.
        limit: Largest distance to the data, None = none.

    Returns:
        A problem that is set up and stands at the start.
    """
    problem = om.Problem(reports=None)
    # The constraint keeps shapes near the data, so the component extrapolates.
    problem.model.add_subsystem("aerodynamics", SurrogateComp(surrogate, extrapolate="allow"), promotes=["*"])
    problem.model.add_subsystem("data_distance", DataDistanceComp(data_distance), promotes=["*"])
    # The range of the data, or where the start is outside of that, up to the start.
    low = np.minimum(surrogate.lower[MODES], start)
    high = np.maximum(surrogate.upper[MODES], start)
    high[CAMBER] = start[CAMBER]  # negative = thick
    scale = 1.0 / np.linalg.norm(data_distance.whitening, axis=0)  # standard deviation of each mode, given all others
    for name, columns in (("camber", np.arange(held, CAMBER)), ("thickness", np.arange(CAMBER, MODES.stop))):
        if len(columns):
            problem.model.add_design_var(
                name,
                indices=columns % CAMBER,
                lower=low[columns],
                upper=high[columns],
                ref0=data_distance.mean[columns],
                ref=data_distance.mean[columns] + scale[columns],
            )
    drag = float(surrogate.predict(np.array([[*start, *flow]]))[0, 0])
    problem.model.add_objective("cd", ref=_STEP * drag)
    if limit is not None:
        problem.model.add_constraint("distance", upper=limit)
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=_TOLERANCE, maxiter=300, disp=False)
    problem.setup()
    set_modes(problem, start)
    problem.set_val("mach", flow[0])
    problem.set_val("alpha", flow[1])
    return problem


def set_modes(problem: om.Problem, modes: np.ndarray) -> None:
    """Set the shape of a problem to modes (14,)."""
    problem.set_val("camber", modes[:CAMBER])
    problem.set_val("thickness", modes[CAMBER:])


def minimize(
    surrogate: Surrogate,
    data_distance: DataDistance,
    start: np.ndarray,
    flow: tuple[float, float],
    held: int,
    limit: float | None,
    report: Callable[[str], None],
    starts: int = STARTS,
) -> Design:
    """Minimize the drag from several starts: the shape itself, and those of the data nearest to it.

    Args:
        surrogate: Surrogate of the drag.
        data_distance: Distance of shapes to the data.
        start: See `build_problem`.
        flow: Mach number and angle of attack in degrees.
        held: See `build_problem`.
        limit: Largest distance to the data, None = none.
        report: Function that receives a line on each run.
        starts: Number of runs of SLSQP.

    Returns:
        The best end that keeps the limit; where none does, the end nearest to the data, as no success.
    """
    problem = build_problem(surrogate, data_distance, start, flow, held, limit)
    rows, _ = data_distance.nearest(start, starts - 1)
    neighbors = data_distance.mean + np.linalg.solve(data_distance.whitening, data_distance.samples[rows].T).T
    neighbors[:, :held] = start[:held]
    neighbors[:, CAMBER] = np.minimum(neighbors[:, CAMBER], start[CAMBER])
    ends = []
    for number, modes in enumerate((start, *neighbors), start=1):
        report(f"SLSQP {'anywhere' if limit is None else 'near the data'}, run {number} of {starts}")
        set_modes(problem, modes)
        with redirect_stdout(StringIO()):  # the driver prints a failure, which is in the result
            success = run(problem)
        found = np.concatenate([problem.get_val("camber"), problem.get_val("thickness")])
        ends.append((float(problem.get_val("cd")[0]), float(problem.get_val("distance")[0]), found, success))
    feasible = [end for end in ends if limit is None or end[1] <= limit + _FEASIBLE]
    if not feasible:
        _, _, modes, _ = min(ends, key=lambda end: end[1])
        return design_at(surrogate, data_distance, modes, flow, success=False)
    _, _, modes, success = min(feasible, key=lambda end: end[0])
    return design_at(surrogate, data_distance, modes, flow, success, tuple(end[0] for end in feasible))
