"""Solvers for the training of surrogates, and the results of a fit."""

from gradopt.training.adam import Adam
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.result import FitResult, Progress, Status

__all__ = [
    "Adam",
    "FitResult",
    "LBFGS",
    "LevenbergMarquardt",
    "Progress",
    "Status",
]
