"""Sellar's two coupled disciplines with their partials, and the model that joins them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openmdao.api as om

from gradopt.data.variables import Variable
from gradopt.om.component import SurrogateComp
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Truth

CITATION = (
    "Sellar, Batill & Renaud (1996), Response surface based, concurrent subspace optimization for multidisciplinary "
    "system design, AIAA 96-0714"
)
Z = Variable("z", shape=(2,), lower=[-10.0, 0.0], upper=[10.0, 10.0])
X = Variable("x", lower=0.0, upper=10.0)
_EXACT = ("y1 = z[0]**2 + z[1] + x - 0.2*y2", "y2 = abs(y1)**0.5 + z[0] + z[1]")


def discipline_1(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate y1 = z1^2 + z2 + x - 0.2 y2.

    Args:
        point: z1, z2, x, y2 (4,), without unit.

    Returns:
        y1 (1,) and its partials (1, 4).
    """
    z1, z2, x, y2 = point
    return np.array([z1**2 + z2 + x - 0.2 * y2]), np.array([[2.0 * z1, 1.0, 1.0, -0.2]])


def discipline_2(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate y2 = sqrt(|y1|) + z1 + z2; the absolute value, usual in codes, lets solvers pass through y1 < 0.

    Args:
        point: z1, z2, y1 (3,), without unit; not y1 = 0, where there is no slope.

    Returns:
        y2 (1,) and its partials (1, 3).
    """
    z1, z2, y1 = point
    root = np.sqrt(abs(y1))
    slope = 0.5 * np.sign(y1) / root if root > 0.0 else np.inf
    return np.array([root + z1 + z2]), np.array([[1.0, 1.0, slope]])


def disciplines() -> tuple[FunctionTruth, FunctionTruth]:
    """Return both disciplines as truths."""
    first = FunctionTruth(discipline_1, (Z, X, Variable("y2")), (Variable("y1"),))
    return first, FunctionTruth(discipline_2, (Z, Variable("y1")), (Variable("y2"),))


def sellar_model(replaced: Sequence[int], truths: Sequence[Truth]) -> om.Group:
    """Join the disciplines, with Newton's method for their coupling.

    Args:
        replaced: Which of the disciplines, 1 and 2, are expensive.
        truths: Their truths, in that order.

    Returns:
        A model with the inputs z and x, and with obj, y1 and y2 to be optimized.
    """
    model = om.Group()
    cycle = model.add_subsystem("cycle", om.Group(), promotes=["*"])
    for number, equation in enumerate(_EXACT, start=1):
        component = om.ExecComp(equation, z=np.zeros(2))
        if number in replaced:
            component = SurrogateComp(truth=truths[list(replaced).index(number)])
        cycle.add_subsystem(f"discipline_{number}", component, promotes=["*"])
    # Newton, not block Gauss-Seidel: each iteration evaluates every truth, and partials come with the values.
    cycle.nonlinear_solver = om.NewtonSolver(solve_subsystems=False, iprint=-1, atol=1e-12, rtol=1e-12, maxiter=30)
    cycle.linear_solver = om.DirectSolver()
    model.add_subsystem("objective", om.ExecComp("obj = x**2 + z[1] + y1 + exp(-y2)", z=np.zeros(2)), promotes=["*"])
    for variable in (Z, X):
        model.set_input_defaults(variable.name, np.ones(variable.shape))
    return model
