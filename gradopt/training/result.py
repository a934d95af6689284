"""Reports of a solver and of a fit: why the run stopped, what to try next, and how the loss fell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from torch import Tensor

# Thresholds for the notes on a prior, chosen by hand.
_COLLAPSED = 0.02  # size of the expected gradient, where that of a linear response is 1, below which it counts as 0
_CERTAIN = 2.0  # standard errors that the gain in log probability must exceed for the prior to be kept
_DOMINANT = 0.9999  # share of one term in the training above which the other terms hardly count


class Status(Enum):
    """Why a fit stopped; the value says this in words, with a remedy."""

    CONVERGED = "The loss stopped falling: its gradient vanished, or the last steps gained less than the tolerance."
    ITERATION_LIMIT = (
        "The iteration limit was reached while the loss still fell. If held-out errors are too large, raise the "
        "solver's limit or continue with `warm_start`; where longer training makes them larger, raise `alpha`."
    )
    COMPLETED = "All planned epochs were made. If held-out errors are too large, plan more `epochs`."
    TIME_LIMIT = (
        "The time limit was reached while the loss still fell. Raise `time_limit` or continue with `warm_start`."
    )
    NO_PROGRESS = (
        "No step lowered the loss although its gradient is not zero. Usually the rounding floor is reached; if the fit "
        "is poor, try another `seed`, more `starts` or dtype 'float64'."
    )
    NOT_FINITE = (
        "The loss is not finite; the best finite parameters were kept. Lower the learning rate or the weights, "
        "and look for extreme values in the data."
    )
    STOPPED = "The callback stopped the fit; the best parameters so far were kept. Continue with `warm_start`."
    INTERRUPTED = "The fit was interrupted; the best parameters so far were kept. Continue with `warm_start`."


@dataclass(frozen=True)
class Progress:
    """Argument of a callback after each iteration (LM, L-BFGS) or some epochs (Adam).

    Attributes:
        iteration: Number of the iteration, from 1.
        loss: Value of the loss.
        seconds: Time since the solver started, s.
        start: Number of the start that is running, from 0.
    """

    iteration: int
    loss: float
    seconds: float
    start: int = 0


Callback = Callable[[Progress], bool | None]
"""Function called after each iteration; a return value of True ends the fit with `Status.STOPPED`."""


@dataclass(frozen=True, eq=False)
class SolverResult:
    """Outcome of one solver run.

    Attributes:
        theta: Best parameters found (n_parameters,).
        loss: Loss there (Adam with validation: the validation loss).
        status: Why the run stopped.
        history: Loss after each iteration, the initial loss first.
        seconds: Wall time, s.
    """

    theta: Tensor
    loss: float
    status: Status
    history: tuple[float, ...]
    seconds: float

    @property
    def iterations(self) -> int:
        """Number of iterations made."""
        return max(len(self.history) - 1, 0)


@dataclass(frozen=True)
class LearnedWeights:
    """The weights that the evidence learned, in standardized units.

    Attributes:
        alpha: Precision of the prior on each group of parameters. The weights of an input without effect have a large
            one.
        groups: Names of those groups.
        determined: Number of parameters that the data determine, by group.
        beta: Factor on the weights of the values of each output (m,); 1/sqrt(beta) is the noise level of these values,
            in standard deviations of the output, at least 1e-4.
        gamma: Factor on the weights of each partial of each output (m d,), output by output. Where so many factors
            would take too much memory, one factor for all partials of each output (m,). None where no partials were
            fitted.
        omega: Weight of the prior on the partials of each output (m,), where the data have a weight of 1; None without
            a prior on the gradient.
    """

    alpha: tuple[float, ...]
    groups: tuple[str, ...]
    determined: tuple[float, ...]
    beta: tuple[float, ...]
    gamma: tuple[float, ...] | None
    omega: tuple[float, ...] | None = None

    @property
    def effective_parameters(self) -> float:
        """Number of parameters that the data determine."""
        return math.fsum(self.determined)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> LearnedWeights:
        """Build learned weights from what `dataclasses.asdict` returned, by way of JSON."""
        values: dict[str, Any] = {name: None if value is None else tuple(value) for name, value in fields.items()}
        return cls(**values)


@dataclass(frozen=True)
class PriorResult:
    """Comparison of a prior on the gradient with the fitted gradient, in standardized units.

    A size is the root mean square, over collocation points and outputs, of the length of a gradient. The gradient of a
    linear response has a size near 1.

    Attributes:
        expected: Size of the gradient that the prior expects, after training.
        learned: Size of the network's gradient.
        difference: Size of their difference.
        shares: Share of "values", "partials" and "prior" in the trace of the neural tangent kernel, the sum of all
            squared weighted derivatives of residuals by the network's parameters. A share is the pace at which its
            term is fitted.
        gain: Gain in log probability of the samples, left out one at a time, by the prior, in nats; None where no fit
            without the prior was made.
        standard_error: Standard error of the gain, in nats; None where the gain is.
        kept: Whether the surrogate has the prior. A fit drops the prior where the gain is not certain.

    References:
        Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation, Stat. Comput. 27: gain and standard error.
        Wang, Yu & Perdikaris (2022), When and why PINNs fail to train, J. Comput. Phys. 449, 110768.
    """

    expected: float
    learned: float
    difference: float
    shares: dict[str, float]
    gain: float | None = None
    standard_error: float | None = None
    kept: bool = True

    @property
    def dominant(self) -> str | None:
        """Name of the term with nearly all of the shares; None if there is no such term."""
        name, share = max(self.shares.items(), key=lambda item: item[1])
        return name if share > _DOMINANT else None

    @property
    def collapsed(self) -> bool:
        """Whether the gradient that the prior expects is nearly 0."""
        return self.expected < _COLLAPSED

    def with_comparison(self, with_prior: np.ndarray, without: np.ndarray) -> PriorResult:
        """Add gain and standard error.

        Args:
            with_prior: Leave-one-out log densities of the samples with the prior (n,).
            without: The same without the prior (n,).

        Returns:
            The result with gain, standard error and the decision whether the prior is kept.
        """
        if not np.isfinite(with_prior).all():
            return replace(self, gain=-math.inf, standard_error=0.0, kept=False)
        if not np.isfinite(without).all():
            return replace(self, gain=math.inf, standard_error=0.0, kept=True)
        gains = with_prior - without
        gain, error = float(gains.sum()), float(gains.std(ddof=1) * math.sqrt(len(gains)))
        return replace(self, gain=gain, standard_error=error, kept=gain > _CERTAIN * error)

    def notes(self, learned: bool) -> tuple[str, ...]:
        """Write notes for the user.

        Args:
            learned: Whether the weight of the prior was learned. A learned weight may lawfully make one term dominate,
                so that no note is written about this.

        Returns:
            One text for each finding.
        """
        if not self.kept:
            return (
                "The prior was dropped, because the data do not support it: the gain of samples left out one at a "
                f"time is {self.gain:.1f} ± {self.standard_error:.1f} nats.",
            )
        found = []
        if self.collapsed:
            found.append(
                f"The prior collapsed: the gradient that it expects has {self.expected:.1e} of the size of a linear "
                "response's. Try another `prior` or `seed`, or a smaller `weight`."
            )
        if self.dominant and not learned:
            share = 100.0 * self.shares[self.dominant]
            found.append(
                f"One term dominates the training: the share of the {self.dominant} is {share:.4f} %. Choose another "
                "`weight`, or None to learn it."
            )
        return tuple(found)


@dataclass(frozen=True)
class FitResult:
    """Outcome of a fit.

    Attributes:
        status: Why the selected start stopped, and what to try next.
        loss: Terms of the loss at the end: "values", "partials", "regularization" (that of alpha) and, with a prior on
            the gradient, "prior".
        iterations: Iterations of the selected start.
        seconds: Wall time of all starts, s.
        solver: Name of the solver that ran.
        seed: Seed of the initial parameters.
        start: Number of the selected start, from 0.
        start_losses: Final loss of each start; where weights were learned, its negative log evidence.
        log_evidence: Log evidence of each start up to a common constant; None where there is none.
        n_residuals: Number of fitted residuals.
        n_parameters: Number of network parameters.
        history: Loss after each iteration of the selected start, the initial loss first. Where weights were learned,
            the negative log evidence; with partials its minimum belongs to the selected state.
        notes: Notes for the user, for instance on inputs held fixed.
        learned: Weights that the evidence learned, in this fit or in the one that it continues; None where the
            configuration fixes them.
        prior: Comparison of the prior on the gradient with the fit; None without a prior.
    """

    status: Status
    loss: dict[str, float]
    iterations: int
    seconds: float
    solver: str
    seed: int
    start: int
    start_losses: tuple[float, ...]
    log_evidence: tuple[float, ...] | None
    n_residuals: int
    n_parameters: int
    history: tuple[float, ...]
    notes: tuple[str, ...] = ()
    learned: LearnedWeights | None = None
    prior: PriorResult | None = None

    @property
    def total_loss(self) -> float:
        """Value of the whole loss E."""
        return math.fsum(self.loss.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; a number that is not finite becomes None."""
        return {**{name: _finite(value) for name, value in asdict(self).items()}, "status": self.status.name}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> FitResult:
        """Build a result from what `to_dict` returned."""
        numbers = {
            name: None if fields[name] is None else tuple(math.nan if v is None else v for v in fields[name])
            for name in ("start_losses", "log_evidence", "history")
        }
        loss = {name: math.nan if value is None else value for name, value in fields["loss"].items()}
        learned, prior = fields.get("learned"), fields.get("prior")
        learned = None if learned is None else LearnedWeights.from_dict(learned)
        notes, status = tuple(fields["notes"]), Status[fields["status"]]
        prior = None if prior is None else PriorResult(**prior)
        changed = {**numbers, "learned": learned, "prior": prior, "loss": loss, "notes": notes, "status": status}
        return cls(**{**fields, **changed})


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, in a number or any nesting of dictionaries and sequences."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, tuple | list) else value
