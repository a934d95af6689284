"""Incremental fit: samples are added to a surrogate by a short warm fit, or by a cold fit where a warm one fails."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, explain
from gradopt.surrogates.configurations.polish import Polish, check_candidate
from gradopt.surrogates.configurations.protocol import Configuration
from gradopt.surrogates.fitted.surrogate import FitInterrupted, Surrogate
from gradopt.surrogates.fitting.networks import build_problem
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.fitting.training_data import check_fixed_inputs
from gradopt.training.evidence import log_evidence
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Callback, LearnedWeights
from gradopt.training.solvers import SOLVERS, Solver

# Limits chosen by hand; scripts/surrogates/incremental_fit_cost.py measures their effect.
_LM_STEPS, _LBFGS_STEPS = 50, 200  # iterations of a warm fit by Levenberg-Marquardt, by L-BFGS
_STALLED = 3.0  # misfit over that after the last cold fit, above which a warm fit has stalled
_EXACT = 1e-4  # misfit, in standard deviations of the outputs, below which a warm fit has never stalled
_FAR = 10.0  # standardized distance from the mean, beyond which a scaling no longer suits its data
_GROWTH = 1.25  # ratio of the numbers of samples now and at the last cold fit, from which another cold fit is made


How = Literal["cold", "warm", "restarted"]


class SupportsFit(Configuration, Protocol):
    """A configuration with the method `fit`, such as `JENN`."""

    def fit(self, data: Dataset, warm_start: Surrogate | None = None, callback: Callback | None = None) -> Surrogate:
        """Train on data."""
        ...


@dataclass(frozen=True, eq=False)
class IncrementalFit:
    """A surrogate, and the state for the next incremental fit.

    Attributes:
        surrogate: Surrogate, polished about the candidate.
        how: Kind of the fit: "cold" for the first one, "warm" for one continued from the previous parameters,
            "restarted" for a new cold fit.
        reason: Reason for this kind, in words, also where a cold fit was made and the warm one was better.
        seconds: Wall time of all fits of this call, s.
        samples: Number of samples n; samples after the first n are new in the next call.
        cold_samples: Number of samples at the last cold fit, kept or not.
        cold_misfit: Root mean square of the weighted, standardized residuals after the call of the last cold fit.
        cold_kept: Whether the last cold fit was kept.
    """

    surrogate: Surrogate
    how: How
    reason: str
    seconds: float
    samples: int
    cold_samples: int
    cold_misfit: float
    cold_kept: bool


def incremental_fit(
    configuration: SupportsFit,
    data: Dataset,
    previous: IncrementalFit | None = None,
    candidate: ArrayLike | None = None,
    polish: Polish | None = None,
) -> IncrementalFit:
    """Fit a surrogate again after samples were appended to its data.

    The first call makes a cold fit. Each later call makes a warm fit: a few iterations from the previous parameters in
    the previous scaling, with larger weights near the candidate. A cold fit is made too if

    - the warm fit stalled: its misfit, on the old samples or on the new ones, is more than three times that after the
      last cold fit, and not negligible;
    - the data lie far outside the standardized range of the previous scaling, but not of their own scaling;
    - the data have grown by a quarter since the last cold fit: a warm fit stays in its minimum, while with more data
      new initial parameters often lead to a better one.

    Of both fits that with the higher evidence on the data (configured weights, physical units) is kept. After a cold
    fit that was not kept, the next one is made when the data have grown by a quarter. Only a cold fit is made where a
    warm fit is impossible: an input varies that was held fixed, or the network has another shape.

    Args:
        configuration: Settings of the fits.
        data: All samples, the new ones last; at least 2.
        previous: Result of the last call; None in the first.
        candidate: Point (d,), physical, near which samples are magnified; None magnifies nothing.
        polish: Settings of the magnification; None = `Polish(about="candidate")`.

    Returns:
        The surrogate, the kind of its fit and the reason. Calls with the same arguments return the same parameters,
        unless the solver has a time limit.

    Raises:
        InputError: If the data are no valid training data, or arguments do not match.
        ShapeError: If the candidate has another shape.
        FitInterrupted: On Ctrl-C, with the state so far.
    """
    started = time.perf_counter()
    check_dataset("data", data)
    if previous is not None and not isinstance(previous, IncrementalFit):
        remedy = "Pass the result of the last `incremental_fit`."
        raise InputError(explain("previous", "be an IncrementalFit or None", type(previous).__name__, remedy))
    if polish is not None and (not isinstance(polish, Polish) or polish.about != "candidate"):
        raise InputError(explain("polish", "be about 'candidate'", repr(polish), "Pass Polish(about='candidate')."))
    point = None if candidate is None else check_candidate(candidate, data)
    polish = polish or Polish(about="candidate")

    def cold() -> Surrogate:
        fitted = configuration.fit(data)
        return fitted if point is None else _continued(configuration, fitted, data, polish, point)

    def updated(surrogate: Surrogate, how: How, reason: str, tried: bool = True) -> IncrementalFit:
        """Build the result; `tried` says whether a cold fit was made."""
        last = None if tried else previous
        misfit = last.cold_misfit if last else _misfit(surrogate, data, slice(None))
        return IncrementalFit(
            surrogate=surrogate,
            how=how,
            reason=reason,
            seconds=time.perf_counter() - started,
            samples=data.n,
            cold_samples=last.cold_samples if last else data.n,
            cold_misfit=misfit,
            cold_kept=last.cold_kept if last else how != "warm",
        )

    if previous is None:
        return updated(cold(), "cold", "First fit.")
    obstacle = _obstacle(configuration, previous.surrogate, data)
    if obstacle:
        return updated(cold(), "restarted", f"No warm fit is possible: {obstacle}.")
    warm = _continued(configuration, previous.surrogate, data, polish, point)
    doubt = _doubt(warm, data, previous)
    if data.n >= _GROWTH * previous.cold_samples:
        doubt = doubt or f"The data have grown from {previous.cold_samples} to {data.n} samples since a cold fit."
    elif doubt and not previous.cold_kept:
        wait = math.ceil(_GROWTH * previous.cold_samples)
        return updated(
            warm, "warm", f"{doubt} A cold fit was no better lately; the next is due at {wait}.", tried=False
        )
    if not doubt:
        return updated(warm, "warm", "The warm fit represents the new samples.", tried=False)
    fresh = cold()
    if _merit(fresh, data) > _merit(warm, data):
        return updated(fresh, "restarted", f"{doubt} The cold fit has the higher evidence.")
    return updated(warm, "warm", f"{doubt} A cold fit was made, but the warm one has the higher evidence.")


def _continued(
    configuration: SupportsFit, surrogate: Surrogate, data: Dataset, polish: Polish, point: np.ndarray | None
) -> Surrogate:
    """Make a short fit from the present parameters."""
    solver = _short(configuration.solver, surrogate.fit_result.solver)
    brief = replace(surrogate, configuration=replace(configuration, solver=solver))  # type: ignore[type-var]
    try:
        if point is None:
            found = brief.refit(data, configuration.data_weights(data), None, notes=("Continued on more samples.",))
        else:
            found = brief.polish(data, polish, candidate=point)
    except FitInterrupted as stopped:
        raise FitInterrupted(replace(stopped.surrogate, configuration=configuration)) from stopped
    return replace(found, configuration=configuration)


def _short(solver: str | Solver, last: str) -> Solver:
    """Return the solver of the configuration (of the last fit for "auto") with few iterations; Adam unchanged."""
    if isinstance(solver, str):
        by_class = {kind.__name__: kind for kind in SOLVERS.values()}
        solver = by_class[last]() if solver == "auto" else SOLVERS[solver]()
    if isinstance(solver, LevenbergMarquardt):
        return replace(solver, max_iterations=min(solver.max_iterations, _LM_STEPS))
    if isinstance(solver, LBFGS):
        return replace(solver, max_iterations=min(solver.max_iterations, _LBFGS_STEPS))
    return solver


def _obstacle(configuration: SupportsFit, surrogate: Surrogate, data: Dataset) -> str:
    """Return why a warm fit is impossible, or an empty text."""
    surrogate.check_variables_of(data)
    Scaling.of(data)  # raises if the data lie outside the domain of a transform
    if not all(configuration.allows(trained.network) for trained in surrogate.networks):
        return "the configuration has another network"
    try:
        check_fixed_inputs(data, surrogate.scaling)
    except InputError:
        return "an input varies that was held fixed"
    return ""


def _doubt(warm: Surrogate, data: Dataset, previous: IncrementalFit) -> str:
    """Return why a cold fit may be better than the warm one, or an empty text."""
    reach = _reach(warm.scaling, data)
    if reach > _FAR and _reach(Scaling.of(data), data) < 0.5 * reach:
        return f"The data reach {reach:.1f} standardized units from the mean of the last cold fit."
    limit = max(_STALLED * previous.cold_misfit, _EXACT)
    old, new = slice(previous.samples), slice(previous.samples, None)
    for name, rows in (("old", old), ("new", new)):
        misfit = _misfit(warm, data, rows)
        if not misfit <= limit:
            of = f"{misfit:.1e} after {previous.cold_misfit:.1e} at the last cold fit"
            return f"The warm fit stalled: misfit of the {name} samples {of}."
    return ""


def _reach(scaling: Scaling, data: Dataset) -> float:
    """Return the largest absolute value of a standardized input or output."""
    return max(float(np.abs(scaled).max()) for scaled in (scaling.scale_inputs(data.x), scaling.scale_outputs(data.y)))


def _problem(
    surrogate: Surrogate, data: Dataset, rows: slice, learned: LearnedWeights | None = None
) -> NetworkProblem | None:
    """Build the loss of some of the samples, without magnification and prior on the gradient; None if it is empty."""
    beta, gamma = surrogate.configuration.data_weights(data)
    beta, gamma = beta[rows], np.where(surrogate.scaling.constant, 0.0, gamma[rows])
    if not (beta.any() or gamma.any()):
        return None
    in_reference = replace(surrogate.configuration, dtype="float64", device="cpu")  # type: ignore[type-var]
    some = data.select(np.arange(data.n)[rows])
    trained = TrainedNetwork(surrogate.network, surrogate.theta, learned=learned)
    return build_problem(in_reference, trained, some, surrogate.scaling, (beta, gamma)).data


def _misfit(surrogate: Surrogate, data: Dataset, rows: slice) -> float:
    """Compute the root mean square of the weighted, standardized residuals of some of the samples; 0 of none."""
    problem = _problem(surrogate, data, rows)
    if problem is None:
        return 0.0
    terms = problem.terms(torch.tensor(surrogate.theta))
    return math.sqrt(2.0 * (terms["values"] + terms["partials"]) / problem.n_residuals)


def _merit(surrogate: Surrogate, data: Dataset) -> float:
    """Compute the log evidence of the data in physical units, which compares surrogates of different scalings.

    Without a prior on the parameters, and where the matrix is too large, this is the log likelihood. For a surrogate
    that is not finite the result is -inf.
    """
    problem = _problem(surrogate, data, slice(None), surrogate.fit_result.learned)
    assert problem is not None, "a fit has residuals"
    theta = torch.tensor(surrogate.theta)
    loss = math.fsum(problem.terms(theta).values())
    if not math.isfinite(loss):
        return -math.inf
    found = log_evidence(problem, theta) if bool((problem.alpha > 0.0).all()) else math.nan
    if math.isnan(found):
        mean_square = max(2.0 * loss / problem.n_residuals, np.finfo(float).tiny)
        found = -0.5 * problem.n_residuals * math.log(mean_square)
    scaling, weights = surrogate.scaling, problem.weights.numpy()
    units = np.zeros_like(weights)  # log of the physical size of a standardized residual
    units += np.log(scaling.output_scale)[:, None]
    if problem.has_partials:
        units[:, :, 1:] -= np.log(np.where(scaling.constant, 1.0, scaling.input_scale))
    units -= 0.5 * np.log(np.where(weights > 0.0, weights, 1.0))  # a residual has a factor of the root of its weight
    return found - float(units[weights > 0.0].sum())
