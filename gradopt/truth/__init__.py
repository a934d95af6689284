"""Truths as functions, OpenMDAO models or programs; finite differences; workers; the store of evaluations. Floor 4."""

from gradopt.truth.command import CommandTruth
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.truth.finite_differences import FiniteDifferences, FiniteDifferenceTruth, estimate_noise
from gradopt.truth.function import FunctionTruth
from gradopt.truth.model import ModelTruth
from gradopt.truth.parallel import ParallelTruth
from gradopt.truth.program import Finished, Program
from gradopt.truth.progress import Progress
from gradopt.truth.protocol import Evaluations, PointStatus, Truth
from gradopt.truth.store import EvaluationStore

__all__ = [
    "CommandTruth",
    "EvaluationStore",
    "Evaluations",
    "Finished",
    "FiniteDifferencePlan",
    "FiniteDifferenceTruth",
    "FiniteDifferences",
    "FunctionTruth",
    "ModelTruth",
    "ParallelTruth",
    "PointStatus",
    "Program",
    "Progress",
    "Truth",
    "estimate_noise",
]
