"""The loop without OpenMDAO: ask and tell for other programs, and SciPy's calling convention. Floor 7."""

from gradopt.optimizer.flat_problem import Constraint, LinearConstraint, Objective
from gradopt.optimizer.generator import Generator

__all__ = [
    "Constraint",
    "Generator",
    "LinearConstraint",
    "Objective",
]
