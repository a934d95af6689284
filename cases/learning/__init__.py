"""Functions to be learned from few values, with exact partials: `PROBLEMS` holds them by name."""

from cases.learning.burgers import BURGERS
from cases.learning.friedman import FRIEDMAN
from cases.learning.lotka_volterra import LOTKA_VOLTERRA
from cases.learning.problem import LearningProblem
from cases.learning.stokes import STOKES

PROBLEMS: dict[str, LearningProblem] = {p.name: p for p in (FRIEDMAN, STOKES, LOTKA_VOLTERRA, BURGERS)}
