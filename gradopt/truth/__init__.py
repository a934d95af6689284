"""Truths as functions, OpenMDAO models or programs; finite differences; the store of evaluations. Floor 4."""

from gradopt.truth.command import CommandTruth as CommandTruth
from gradopt.truth.finite_differences import FiniteDifferencePlan as FiniteDifferencePlan
from gradopt.truth.finite_differences import FiniteDifferences as FiniteDifferences
from gradopt.truth.finite_differences import FiniteDifferenceTruth as FiniteDifferenceTruth
from gradopt.truth.finite_differences import estimate_noise as estimate_noise
from gradopt.truth.function import FunctionTruth as FunctionTruth
from gradopt.truth.model import ModelTruth as ModelTruth
from gradopt.truth.program import Finished as Finished
from gradopt.truth.program import Program as Program
from gradopt.truth.protocol import Evaluations as Evaluations
from gradopt.truth.protocol import PointStatus as PointStatus
from gradopt.truth.protocol import Truth as Truth
from gradopt.truth.store import EvaluationStore as EvaluationStore
