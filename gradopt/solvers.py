"""Solvers for the training of surrogates, and the results of a fit."""

from gradopt.training.adam import Adam as Adam
from gradopt.training.lbfgs import LBFGS as LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from gradopt.training.result import FitResult as FitResult
from gradopt.training.result import Progress as Progress
from gradopt.training.result import Status as Status
