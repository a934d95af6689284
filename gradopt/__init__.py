"""Optimize expensive models with gradient-enhanced neural surrogates, inside OpenMDAO.

The public names stand here and in the submodules diagnostics, errors, loop, om, optimizer, plots, priors, report,
sampling, solvers, surrogates and truth. All are imported at first use: `import gradopt` loads neither torch nor
OpenMDAO.

Reading order: a `Truth` evaluates the expensive model; a `Dataset` holds samples of its values and partials; `JENN` is
fitted to them and becomes a `Surrogate`; `SurrogateComp` puts that into an OpenMDAO model; `AdaptiveDriver` optimizes
on it, evaluates the truth at the candidates, and returns a `Certificate` of the optimum.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in `_MODULES` and `_SUBMODULES`, for type checkers and editors
    from gradopt import diagnostics as diagnostics
    from gradopt import errors as errors
    from gradopt import loop as loop
    from gradopt import om as om
    from gradopt import optimizer as optimizer
    from gradopt import plots as plots
    from gradopt import priors as priors
    from gradopt import report as report
    from gradopt import sampling as sampling
    from gradopt import solvers as solvers
    from gradopt import surrogates as surrogates
    from gradopt import truth as truth
    from gradopt.data.dataset import Dataset as Dataset
    from gradopt.data.variables import Variable as Variable
    from gradopt.errors import GradoptError as GradoptError
    from gradopt.loop.state import Exit as Exit
    from gradopt.om.certificate import certify as certify
    from gradopt.om.component import SurrogateComp as SurrogateComp
    from gradopt.om.driver import AdaptiveDriver as AdaptiveDriver
    from gradopt.om.optimize import OptimizeResult as OptimizeResult
    from gradopt.om.optimize import optimize as optimize
    from gradopt.optimality.certificate import Certificate as Certificate
    from gradopt.optimizer.optimizer import Optimizer as Optimizer
    from gradopt.optimizer.scipy_minimize import minimize as minimize
    from gradopt.surrogates.configurations.jenn import JENN as JENN
    from gradopt.surrogates.configurations.jenn import MLP as MLP
    from gradopt.surrogates.fitted.files import load as load
    from gradopt.surrogates.fitted.surrogate import Surrogate as Surrogate
    from gradopt.surrogates.gradinn.configuration import GradINN as GradINN
    from gradopt.truth.command import CommandTruth as CommandTruth
    from gradopt.truth.function import FunctionTruth as FunctionTruth
    from gradopt.truth.model import ModelTruth as ModelTruth
    from gradopt.truth.protocol import Evaluations as Evaluations
    from gradopt.truth.protocol import Truth as Truth
    from gradopt.truth.store import EvaluationStore as EvaluationStore

__version__ = "0.1.0"

_MODULES = {
    "AdaptiveDriver": "gradopt.om.driver",
    "Certificate": "gradopt.optimality.certificate",
    "CommandTruth": "gradopt.truth.command",
    "Dataset": "gradopt.data.dataset",
    "EvaluationStore": "gradopt.truth.store",
    "Evaluations": "gradopt.truth.protocol",
    "Exit": "gradopt.loop.state",
    "FunctionTruth": "gradopt.truth.function",
    "GradINN": "gradopt.surrogates.gradinn.configuration",
    "GradoptError": "gradopt.errors",
    "JENN": "gradopt.surrogates.configurations.jenn",
    "MLP": "gradopt.surrogates.configurations.jenn",
    "ModelTruth": "gradopt.truth.model",
    "OptimizeResult": "gradopt.om.optimize",
    "Optimizer": "gradopt.optimizer.optimizer",
    "Surrogate": "gradopt.surrogates.fitted.surrogate",
    "SurrogateComp": "gradopt.om.component",
    "Truth": "gradopt.truth.protocol",
    "Variable": "gradopt.data.variables",
    "certify": "gradopt.om.certificate",
    "load": "gradopt.surrogates.fitted.files",
    "minimize": "gradopt.optimizer.scipy_minimize",
    "optimize": "gradopt.om.optimize",
}
_SUBMODULES = {  # public submodule: its public names that do not stand here too; read by the message of a wrong name
    "diagnostics": ("CrossValidation", "Outlier", "cross_validate", "drop_outliers", "find_outliers"),
    "errors": (
        "EvaluationError",
        "FileFormatError",
        "InputError",
        "MissingExtraError",
        "ShapeError",
        "StaleStoreError",
        "StoreError",
        "WorkersError",
    ),
    "loop": (
        "Component",
        "CorrectionTerms",
        "Gain",
        "Iteration",
        "LearnedTruth",
        "Limits",
        "Loop",
        "Outcome",
        "Problem",
        "Purpose",
        "Request",
        "Responses",
        "Settings",
        "State",
        "TrustRegion",
        "ask",
        "begin",
        "load_state",
        "run",
        "save_state",
        "tell",
    ),
    "om": ("BaselineResult", "BaselineVisit", "DataDistance", "DataDistanceComp", "run_slsqp_on_truth"),
    "optimizer": ("Constraint", "Generator", "LinearConstraint", "Objective"),
    "plots": (
        "Trace",
        "plot_convergence",
        "plot_cross_validation",
        "plot_optimizer_history",
        "plot_parity",
        "plot_prediction",
        "plot_trust_region",
    ),
    "priors": ("Bounded", "Constant", "Custom", "Independent", "Monotone", "Oscillating", "Prior", "Smooth"),
    "report": ("Progress", "provenance", "write_result"),
    "sampling": ("full_factorial", "latin_hypercube", "sobol"),
    "solvers": ("Adam", "FitResult", "LBFGS", "LevenbergMarquardt", "Progress", "Status"),
    "surrogates": ("FitInterrupted", "Polish"),
    "truth": (
        "FiniteDifferencePlan",
        "FiniteDifferenceTruth",
        "FiniteDifferences",
        "Finished",
        "ParallelTruth",
        "PointStatus",
        "Program",
        "Progress",
        "estimate_noise",
    ),
}

__all__ = ["__version__", *_MODULES]


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])


def _import(name: str) -> Any:
    """Import a public name or submodule when it is first used (PEP 562)."""
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"gradopt.{name}")
    else:
        raise AttributeError(f"module `gradopt` has no attribute `{name}`.{_suggestion(name)}")
    globals()[name] = value
    return value


def _suggestion(name: str) -> str:
    """Return the sentence that names the public name nearest to a wrong one, "" where none is near."""
    from difflib import get_close_matches

    paths = {one: f"gradopt.{one}" for one in (*_MODULES, *_SUBMODULES)}
    paths |= {one: f"gradopt.{module}.{one}" for module, names in _SUBMODULES.items() for one in names}
    if name in paths:
        return f" It is `{paths[name]}`."
    by_lower = {one.lower(): path for one, path in reversed(paths.items())}  # names come before submodules
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f" The nearest name is `{by_lower[near[0]]}`." if near else " `dir(gradopt)` lists the public names."


if not TYPE_CHECKING:  # a type checker that saw it would accept any name
    __getattr__ = _import
