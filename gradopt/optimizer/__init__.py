"""The loop without OpenMDAO: ask and tell for other programs, and SciPy's calling convention. Floor 7."""

from gradopt.optimizer.flat_problem import Constraint as Constraint
from gradopt.optimizer.flat_problem import LinearConstraint as LinearConstraint
from gradopt.optimizer.flat_problem import Objective as Objective
