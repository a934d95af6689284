"""Search for wrong partials, which contradict all other data, such as those with a wrong sign or of another point.

A partial is wrong if the data are more likely with the partial drawn from its overall distribution than with the
partial given by the network. Then the log odds

    log N(g; 0, rms^2) + log p(others) - log p(others and g)

of the evidences with and without the given partial g are far above 0; rms is the root mean square of that partial over
the samples. Both evidences are those of trained networks, because a network adapts to a wrong partial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling
from gradopt.data.variables import column_names
from gradopt.errors import InputError, explain
from gradopt.networks.jacobian import parameter_jacobian
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.surrogates.fitting.networks import build_problem, to_precisions
from gradopt.training.evidence import Evidence, Precisions
from gradopt.training.residuals import NetworkProblem

# Constants chosen by hand; scripts/surrogates/noisy_partials.py measures the search.
_SUSPECTS, _SHARE = 5, 0.05  # least number of suspects, and their least fraction of all partials
_REPEATS = 5  # searches for more wrong partials, at most
_ITERATIONS = 40  # iterations of a training with or without suspects
_LOG_ODDS = 10.0  # log odds above which a partial is wrong: 20,000 to 1
_LEAST = 0.1  # deviation over the root mean square of that partial, below which a partial is harmless
_NEGLIGIBLE = 0.03  # deviation, in standard deviations of output per standard deviation of input, that is harmless too
_FAR = 3.0  # deviation, in predictive standard deviations, below which a partial is right
_ROUNDING = 1e-9  # lower bound of the fraction of a residual that its own datum does not determine
_MEMORY = 2**30  # size of the residual Jacobian in memory at once, bytes

Entry = tuple[int, int, int]  # sample, output column, input column


@dataclass(frozen=True)
class Outlier:
    """A partial that contradicts the other data; `str` of it is a message.

    Attributes:
        sample: Row of the dataset.
        output: Column of the outputs.
        input: Column of the inputs.
        of: Name of the output.
        wrt: Name of the input.
        given: Partial in the data, unit of y per unit of x.
        expected: Prediction from the other data, unit of y per unit of x.
        std: Predictive standard deviation, unit of y per unit of x.
        log_odds: Logarithm of the odds that the partial is wrong, for even prior odds.
    """

    sample: int
    output: int
    input: int
    of: str
    wrt: str
    given: float
    expected: float
    std: float
    log_odds: float

    def __str__(self) -> str:
        """Write a message."""
        return (
            f"partial d({self.of})/d({self.wrt}) of sample {self.sample} contradicts the other data: given "
            f"{self.given:.4g}, expected {self.expected:.4g} +- {self.std:.2g} (log odds {self.log_odds:.0f})"
        )


def find_outliers(surrogate: Surrogate, data: Dataset) -> tuple[Outlier, ...]:
    """Find wrong partials, at about the cost of another fit.

    The partials with the largest residuals are held out of a new fit, and compared with its predictions. Harmless
    partials are never in the result: those that deviate by less than a tenth of their root mean square, or by less than
    3 % of the standard deviation of the output per standard deviation of the input.

    Args:
        surrogate: Surrogate fitted to these data with learned weights.
        data: The samples.

    Returns:
        The partials that are probably wrong, the most certain first; empty for a fit to values alone. To fit without
        them: `surrogate.configuration.fit(drop_outliers(data, outliers))`.

    Raises:
        InputError: If the surrogate has other variables, fixed weights, or a prior on the gradient.
    """
    check_dataset("data", data)
    surrogate.check_variables_of(data)
    present = _Fit.of(surrogate, data, ())
    named: dict[Entry, Outlier] = {}
    blind: Surrogate | None = None
    for _ in range(_REPEATS):
        suspects = [*named, *present.suspects()]
        if len(suspects) == len(named):
            break
        if blind is None:  # a new fit, because training cannot always undo the effect of a wrong partial
            blind = surrogate.configuration.fit(_masked(data, suspects))  # type: ignore[attr-defined]
            judge = _Fit.of(blind, data, suspects)
        else:
            judge = present.trained(suspects)
        doubted = [entry for entry in suspects if judge.is_off(entry)]
        present = judge.trained(doubted)
        before, named = named, {}
        for entry in doubted:
            odds = present.log_odds(entry)
            if odds > _LOG_ODDS and present.is_off(entry):
                named[entry] = _describe(data, blind.scaling, entry, *present.predict(entry), odds)
        if named.keys() <= before.keys():
            break
    return tuple(sorted(named.values(), key=lambda outlier: -outlier.log_odds))


def drop_outliers(data: Dataset, outliers: Sequence[Outlier]) -> Dataset:
    """Mark partials as not known.

    Args:
        data: The samples.
        outliers: Result of `find_outliers` for these samples.

    Returns:
        Dataset with NaN at these partials.
    """
    return _masked(data, [(outlier.sample, outlier.output, outlier.input) for outlier in outliers])


def _masked(data: Dataset, entries: Sequence[Entry]) -> Dataset:
    partials = data.partials.copy()
    for entry in entries:
        partials[entry] = np.nan
    return replace(data, dydx=partials)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A trained network with its loss and precisions.

    Attributes:
        whole: Loss with all partials.
        out: Partials that are held out.
        theta: Parameters (n_parameters,), float64.
        precisions: Learned precisions.
        loss: Negative log evidence; NaN where it is not known.
    """

    whole: NetworkProblem
    out: tuple[Entry, ...]
    theta: Tensor
    precisions: Precisions
    loss: float = math.nan

    @classmethod
    def of(cls, surrogate: Surrogate, data: Dataset, out: Sequence[Entry]) -> _Fit:
        """Take the best network of a surrogate that was fitted with some partials held out."""
        best, configuration = surrogate.networks[0], surrogate.configuration
        if best.learned is None:
            remedy = "Fit with weights='evidence', which learns the noise of the residuals."
            raise InputError(explain("surrogate", "have learned weights", "fixed weights", remedy))
        if best.auxiliary is not None:
            remedy = "Look for outliers with `JENN().fit(data)`."
            raise InputError(
                explain("surrogate", "be fitted without a prior on the gradient", repr(configuration), remedy)
            )
        in_reference = replace(configuration, dtype="float64", device="cpu")  # type: ignore[type-var]
        weights = configuration.data_weights(data)
        whole = build_problem(in_reference, replace(best, learned=None), data, surrogate.scaling, weights).data
        return cls(whole, tuple(out), torch.tensor(best.theta), to_precisions(best.learned, whole))

    def trained(self, out: Sequence[Entry]) -> _Fit:
        """Continue the training with other partials held out."""
        problem = self._without(out)
        found = Evidence(_ITERATIONS).solve(problem, self.theta, precisions=self.precisions)
        return _Fit(self.whole, tuple(out), found.theta, found.precisions, found.loss)

    def suspects(self) -> list[Entry]:
        """Return the fitted partials with the largest residuals over their standard deviations, the largest first."""
        if not self.whole.has_partials:
            return []
        problem, factor = self._posterior
        chunks = zip(*problem.linearized(self.theta, _MEMORY), strict=True)
        residuals, rows = (torch.cat(parts) for parts in chunks)
        noise = self.precisions.noise[problem.residual_groups]
        whitened = torch.linalg.solve_triangular(factor, rows.T, upper=False)
        free = (1.0 - noise * (whitened**2).sum(dim=0)).clamp_min(_ROUNDING)
        entries = torch.nonzero(problem.weights > 0.0)
        partial = entries[:, 2] > 0
        sizes = (residuals.abs() * torch.sqrt(noise / free))[partial]
        count = min(max(_SUSPECTS, math.ceil(_SHARE * len(sizes))), len(sizes) // 2)
        worst = entries[partial][torch.argsort(sizes, descending=True)[:count]].tolist()
        return [(sample, output, column - 1) for sample, output, column in worst]

    def predict(self, entry: Entry) -> tuple[float, float]:
        """Predict mean and standard deviation of a held-out partial, standardized."""
        sample, output, column = entry
        x, at = self.whole.x[sample : sample + 1], (0, output, 1 + column)
        responses, jacobian = parameter_jacobian(self.whole.network, self.theta, x, True)
        whitened = torch.linalg.solve_triangular(self._posterior[1], jacobian[at][:, None], upper=False)
        return float(responses[at]), math.sqrt(float(1.0 / self._noise_of(entry) + (whitened**2).sum()))

    def is_off(self, entry: Entry) -> bool:
        """Return whether a held-out partial deviates from its prediction too far to be right or harmless."""
        mean, std = self.predict(entry)
        return abs(self._given(entry) - mean) > max(_FAR * std, _LEAST * self._size(entry), _NEGLIGIBLE)

    def log_odds(self, entry: Entry) -> float:
        """Compute the log odds that a held-out partial is wrong."""
        with_it = self.trained([other for other in self.out if other != entry])
        without = min(self.loss, with_it.trained(self.out).loss)  # both after the same amount of training
        size = self._size(entry)
        return with_it.loss - without - math.log(size) - 0.5 * (self._given(entry) / size) ** 2

    def _without(self, out: Sequence[Entry]) -> NetworkProblem:
        weights = self.whole.weights.clone()
        for sample, output, column in out:
            weights[sample, output, 1 + column] = 0.0
        return replace(self.whole, weights=weights)

    @cached_property
    def _posterior(self) -> tuple[NetworkProblem, Tensor]:
        """Fitted loss, and Cholesky factor of H (P, P)."""
        problem = self._without(self.out)
        noise = self.precisions.noise[problem.residual_groups]
        rows = torch.cat([part for _, part in problem.linearized(self.theta, _MEMORY)])
        matrix = rows.T @ (noise[:, None] * rows)
        matrix.diagonal().add_(self.precisions.alpha[problem.parameter_groups])
        return problem, torch.linalg.cholesky(matrix)

    def _noise_of(self, entry: Entry) -> Tensor:
        """Return the learned precision of the group of a partial."""
        sample, output, column = entry
        at = torch.nonzero(self.whole.weights > 0.0) == torch.tensor([sample, output, 1 + column])
        return self.precisions.noise[self.whole.residual_groups[at.all(dim=1)]][0]

    def _given(self, entry: Entry) -> float:
        sample, output, column = entry
        return float(self.whole.targets[sample, output, 1 + column])

    def _size(self, entry: Entry) -> float:
        """Compute the root mean square of a partial over the samples in which it is known, standardized."""
        _, output, column = entry
        known = self.whole.weights[:, output, 1 + column] > 0.0
        return float((self.whole.targets[:, output, 1 + column][known] ** 2).mean().sqrt())


def _describe(data: Dataset, scaling: Scaling, entry: Entry, mean: float, std: float, odds: float) -> Outlier:
    sample, output, column = entry
    standardized = np.zeros((2, data.m, data.d))
    standardized[:, output, column] = mean, std
    rows = [sample, sample]
    expected, spread = scaling.unscale_partials(data.x[rows], data.y[rows], standardized)[:, output, column]
    of, wrt = column_names(data.output_variables)[output], column_names(data.input_variables)[column]
    given = float(data.partials[entry])
    return Outlier(sample, output, column, of, wrt, given, float(expected), float(abs(spread)), odds)
