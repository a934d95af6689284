"""gradopt: design optimization with gradient-enhanced neural surrogates.

Reading order: `Dataset` (gradopt.data) holds samples with their partials; `JENN` (gradopt.surrogates) is fitted to it
by a solver of gradopt.training and becomes a `Surrogate`; `SurrogateComp` (gradopt.om) puts that into an OpenMDAO
model, where SLSQP optimizes on it with exact partials.
"""

from gradopt.corrected.correction import CorrectionTerms as CorrectionTerms
from gradopt.data.dataset import Dataset as Dataset
from gradopt.data.sampling import full_factorial as full_factorial
from gradopt.data.sampling import latin_hypercube as latin_hypercube
from gradopt.data.sampling import sobol as sobol
from gradopt.data.variables import Variable as Variable
from gradopt.errors import EvaluationError as EvaluationError
from gradopt.errors import FileFormatError as FileFormatError
from gradopt.errors import GradoptError as GradoptError
from gradopt.errors import InputError as InputError
from gradopt.errors import MissingExtraError as MissingExtraError
from gradopt.errors import ShapeError as ShapeError
from gradopt.loop.state import Exit as Exit
from gradopt.loop.state import Iteration as Iteration
from gradopt.loop.trust_region import TrustRegion as TrustRegion
from gradopt.om.certificate import certify as certify
from gradopt.om.component import SurrogateComp as SurrogateComp
from gradopt.om.driver import AdaptiveDriver as AdaptiveDriver
from gradopt.om.optimize import OptimizeResult as OptimizeResult
from gradopt.om.optimize import optimize as optimize
from gradopt.optimality.certificate import Certificate as Certificate
from gradopt.surrogates.configurations.jenn import JENN as JENN
from gradopt.surrogates.configurations.jenn import MLP as MLP
from gradopt.surrogates.configurations.polish import Polish as Polish
from gradopt.surrogates.diagnostics.cross_validation import CrossValidation as CrossValidation
from gradopt.surrogates.diagnostics.cross_validation import cross_validate as cross_validate
from gradopt.surrogates.diagnostics.outliers import Outlier as Outlier
from gradopt.surrogates.diagnostics.outliers import drop_outliers as drop_outliers
from gradopt.surrogates.diagnostics.outliers import find_outliers as find_outliers
from gradopt.surrogates.fitted.files import load as load
from gradopt.surrogates.fitted.surrogate import FitInterrupted as FitInterrupted
from gradopt.surrogates.fitted.surrogate import Surrogate as Surrogate
from gradopt.surrogates.gradinn.configuration import GradINN as GradINN
from gradopt.surrogates.gradinn.priors import Bounded as Bounded
from gradopt.surrogates.gradinn.priors import Constant as Constant
from gradopt.surrogates.gradinn.priors import Custom as Custom
from gradopt.surrogates.gradinn.priors import Independent as Independent
from gradopt.surrogates.gradinn.priors import Monotone as Monotone
from gradopt.surrogates.gradinn.priors import Oscillating as Oscillating
from gradopt.surrogates.gradinn.priors import Smooth as Smooth
from gradopt.training.adam import Adam as Adam
from gradopt.training.lbfgs import LBFGS as LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from gradopt.training.result import FitResult as FitResult
from gradopt.training.result import Progress as Progress
from gradopt.training.result import Status as Status
from gradopt.truth.command import CommandTruth as CommandTruth
from gradopt.truth.finite_differences import FiniteDifferences as FiniteDifferences
from gradopt.truth.finite_differences import FiniteDifferenceTruth as FiniteDifferenceTruth
from gradopt.truth.finite_differences import estimate_noise as estimate_noise
from gradopt.truth.function import FunctionTruth as FunctionTruth
from gradopt.truth.model import ModelTruth as ModelTruth
from gradopt.truth.program import Finished as Finished
from gradopt.truth.program import Program as Program
from gradopt.truth.protocol import Evaluations as Evaluations
from gradopt.truth.protocol import PointStatus as PointStatus
from gradopt.truth.store import EvaluationStore as EvaluationStore
