"""What a solver and a fit report: why it stopped, what to try next, and how it went."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from torch import Tensor

_COLLAPSED = 0.02  # size of a believed gradient, that of a linear response being 1, which believes in nothing
_CERTAIN = 2.0  # standard errors by which samples left out must speak for a belief
_DOMINANT = 0.9999  # share of a term in the training beside which the others hardly count


class Status(Enum):
    """Why a fit stopped; the value says it in words, with the remedy."""

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
    STOPPED = "The callback asked to stop; the best parameters so far were kept. Continue with `warm_start`."
    INTERRUPTED = "The fit was interrupted; the best parameters so far were kept. Continue with `warm_start`."


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each iteration (LM, L-BFGS) or some epochs (Adam).

    Attributes:
        iteration: Number of the iteration, from 1.
        loss: Value of the loss.
        seconds: Time since the solver started.
        start: Which of the initializations is running, from 0.
    """

    iteration: int
    loss: float
    seconds: float
    start: int = 0


Callback = Callable[[Progress], bool | None]
"""Called after each iteration; returning True ends the fit with `Status.STOPPED`."""


@dataclass(frozen=True, eq=False)
class SolverResult:
    """Outcome of one solver run.

    Attributes:
        theta: Best parameters found (n_parameters,).
        loss: Loss there (Adam with validation: the validation loss).
        status: Why it stopped.
        history: Loss after each iteration, the initial loss first.
        seconds: Wall time.
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
        alpha: Precision of the prior on each group of parameters. The weights of an input that explains nothing have a
            large one.
        groups: Names of those groups.
        determined: Number of parameters that the data determine, by group.
        beta: Factor on the weights of the values of each output (m,); 1/sqrt(beta) is the noise they seem to have, in
            standard deviations of the output, down to the 1e-4 below which no noise is resolved.
        gamma: The same for each partial of each output (m d,), output by output, or where that would be too many for
            all partials of each output (m,); None where no partials were fitted.
        omega: Weight of the belief about the partials of each output (m,), beside weights of 1 of the data; None
            without a belief.
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
        """Build it from what `dataclasses.asdict` returned, by way of JSON."""
        values: dict[str, Any] = {name: None if value is None else tuple(value) for name, value in fields.items()}
        return cls(**values)


@dataclass(frozen=True)
class BeliefResult:
    """How a belief about the gradient and what was learned stand to each other, in standardized units.

    Attributes:
        believed: Root mean square, over collocation points and outputs, of the length of the believed gradient.
        learned: The same of the network's gradient; that of a linear response is near 1.
        apart: The same of their difference.
        shares: Part of "values", "partials" and "belief" in the trace of the neural tangent kernel, the sum of all
            squared weighted derivatives of residuals by the network's parameters: the pace at which each is learned.
        gain: Nats by which the samples, left out one at a time, are more likely with the belief than without; None
            where that was not compared.
        doubt: Standard error of the gain.
        kept: Whether the belief is a part of the surrogate; it is dropped where the gain is not certain.

    References:
        Vehtari, Gelman & Gabry (2017), Practical Bayesian model evaluation, Stat. Comput. 27: gain and standard error.
        Wang, Yu & Perdikaris (2022), When and why PINNs fail to train, J. Comput. Phys. 449, 110768.
    """

    believed: float
    learned: float
    apart: float
    shares: dict[str, float]
    gain: float | None = None
    doubt: float | None = None
    kept: bool = True

    @property
    def dominant(self) -> str | None:
        """Name of the term beside which the others hardly count, if there is one."""
        name, share = max(self.shares.items(), key=lambda item: item[1])
        return name if share > _DOMINANT else None

    @property
    def collapsed(self) -> bool:
        """Whether the belief is that nothing changes."""
        return self.believed < _COLLAPSED

    def compared(self, with_it: np.ndarray, without: np.ndarray) -> BeliefResult:
        """The same with gain and doubt, from the log densities (n,) of the samples with the belief and without."""
        if not np.isfinite(with_it).all():
            return replace(self, gain=-math.inf, doubt=0.0, kept=False)
        if not np.isfinite(without).all():
            return replace(self, gain=math.inf, doubt=0.0, kept=True)
        gains = with_it - without
        gain, doubt = float(gains.sum()), float(gains.std(ddof=1) * math.sqrt(len(gains)))
        return replace(self, gain=gain, doubt=doubt, kept=gain > _CERTAIN * doubt)

    def notes(self, learned: bool) -> tuple[str, ...]:
        """What the user ought to know; where the weight is learned, it is meant to say when the data count alone."""
        if not self.kept:
            return (
                "The data do not bear the belief out, so it was dropped: left out one at a time, they gain "
                f"{self.gain:.1f} ± {self.doubt:.1f} nats from it.",
            )
        found = []
        if self.collapsed:
            found.append(
                f"The belief collapsed: the gradient that it expects has {self.believed:.1e} of the size of a linear "
                "response's. Try another `prior` or `seed`, or a smaller `weight`."
            )
        if self.dominant and not learned:
            share = 100.0 * self.shares[self.dominant]
            found.append(
                f"One term dominates the training: the {self.dominant} set {share:.4f} % of its pace. Choose another "
                "`weight`, or None to learn it."
            )
        return tuple(found)


@dataclass(frozen=True)
class FitResult:
    """Outcome of a fit.

    Attributes:
        status: Why the kept start stopped; its value says what to try next.
        loss: The parts of the loss at the end: "values", "partials", "prior", and "belief" where there is one.
        iterations: Iterations of the kept start.
        seconds: Wall time of all starts.
        solver: Name of the solver that ran.
        seed: Seed of the initial parameters.
        start: Which start was kept, from 0.
        start_losses: Final loss of each start; where weights were learned, its negative log evidence.
        log_evidence: Log evidence of each start up to a common constant, or None where it is not computed.
        n_residuals: Number of fitted residuals.
        n_parameters: Number of network parameters.
        history: Loss after each iteration of the kept start, the initial loss first; where weights were learned, the
            negative log evidence, of which with partials the least is that of the kept state.
        notes: What the user ought to know, such as inputs held fixed.
        belief: How a belief about the gradient fared; None without one.
        learned: The weights that the evidence learned, now or in an earlier fit that this one continues; None where
            they are fixed by the configuration.
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
    belief: BeliefResult | None = None

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
        learned = fields.get("learned") and LearnedWeights.from_dict(fields["learned"])
        notes, status = tuple(fields["notes"]), Status[fields["status"]]
        belief = fields.get("belief") and BeliefResult(**fields["belief"])
        changed = {**numbers, "learned": learned, "belief": belief, "loss": loss, "notes": notes, "status": status}
        return cls(**{**fields, **changed})


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, tuple | list) else value
