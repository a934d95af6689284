"""Wrong partials: finds those that disagree with all other data, such as a wrong sign or one of another point.

A partial is called wrong when the data are likelier with it drawn from anywhere than told by the network: the log odds

    log N(g; 0, rms^2) + log p(others) - log p(others and g)

of the evidences with and without the given partial g, where rms is the root mean square of that partial over the
samples, are then far above 0. Both evidences come from training, because a network bends to a wrong partial.
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

_SUSPECTS, _SHARE = 5, 0.05  # least number of partials that are looked at closely, and least share of all
_ROUNDS = 5  # of looking for more after some were named
_ITERATIONS = 40  # of training with or without suspects
_LOG_ODDS = 10.0  # from which a partial is named: 1 to 20,000
_LEAST = 0.1  # deviation, as a part of the root mean square of that partial, below which it does little harm
_NEGLIGIBLE = 0.03  # deviation in standard deviations of the output per one of the input, likewise
_FAR = 3.0  # standard deviations of a prediction, within which a partial is taken for right
_ROUNDING = 1e-9  # least part of a residual that its own datum does not determine
_MEMORY = 2**30  # bytes for the residual Jacobian at once

Entry = tuple[int, int, int]  # sample, output column, input column


@dataclass(frozen=True)
class Outlier:
    """A partial that disagrees with the other data; `print` it for a message.

    Attributes:
        sample: Row of the dataset.
        output: Column of the outputs.
        input: Column of the inputs.
        of: Name of that output.
        wrt: Name of that input.
        given: The partial in the data, physical.
        expected: What the other data predict, physical.
        std: Standard deviation of that prediction, physical.
        log_odds: Logarithm of the odds that the partial is wrong, if it were as likely as not.
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
        """Say what is wrong."""
        return (
            f"partial d({self.of})/d({self.wrt}) of sample {self.sample} disagrees with the other data: given "
            f"{self.given:.4g}, expected {self.expected:.4g} +- {self.std:.2g} (log odds {self.log_odds:.0f})"
        )


def find_outliers(surrogate: Surrogate, data: Dataset) -> tuple[Outlier, ...]:
    """Find wrong partials, at about the cost of another fit.

    The partials that a fit explains worst are left out of a fresh fit, which then judges them. What does little harm is
    never named: partials that are off by less than a tenth of their root mean square, or by less than 3 % of the
    standard deviation of the output per standard deviation of the input.

    Args:
        surrogate: A fit that learned its weights, of that data.
        data: The samples.

    Returns:
        The partials that are most likely wrong, the most certain first; empty for a fit to values alone. To fit without
        them: `surrogate.configuration.fit(drop_outliers(data, outliers))`.

    Raises:
        InputError: If the surrogate has other variables, or its weights were fixed.
    """
    check_dataset("data", data)
    surrogate.check_variables_of(data)
    present = _Fit.of(surrogate, data, ())
    named: dict[Entry, Outlier] = {}
    blind: Surrogate | None = None
    for _ in range(_ROUNDS):
        suspects = [*named, *present.suspects()]
        if len(suspects) == len(named):
            break
        if blind is None:  # afresh: what was trained with a wrong partial may be bent for good
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
                named[entry] = _in_words(data, blind.scaling, entry, *present.predict(entry), odds)
        if named.keys() <= before.keys():
            break
    return tuple(sorted(named.values(), key=lambda outlier: -outlier.log_odds))


def drop_outliers(data: Dataset, outliers: Sequence[Outlier]) -> Dataset:
    """Mark partials as not known.

    Args:
        data: The samples.
        outliers: What `find_outliers` found in them.

    Returns:
        Dataset with NaN at those partials.
    """
    return _masked(data, [(outlier.sample, outlier.output, outlier.input) for outlier in outliers])


def _masked(data: Dataset, entries: Sequence[Entry]) -> Dataset:
    partials = data.partials.copy()
    for entry in entries:
        partials[entry] = np.nan
    return replace(data, dydx=partials)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fit as the evidence sees it.

    Attributes:
        whole: The loss with all partials.
        out: Partials that are left out.
        theta: Parameters (n_parameters,), float64.
        precisions: Learned weights.
        loss: Negative log evidence; NaN where it is not known.
    """

    whole: NetworkProblem
    out: tuple[Entry, ...]
    theta: Tensor
    precisions: Precisions
    loss: float = math.nan

    @classmethod
    def of(cls, surrogate: Surrogate, data: Dataset, out: Sequence[Entry]) -> _Fit:
        """The best network of a surrogate that was fitted with some partials left out."""
        best, configuration = surrogate.networks[0], surrogate.configuration
        if best.learned is None:
            remedy = "Fit with weights='evidence': its noise tells what a residual means."
            raise InputError(explain("surrogate", "have learned its weights", "fixed weights", remedy))
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
        """Train on with other partials left out."""
        problem = self._without(out)
        found = Evidence(_ITERATIONS).solve(problem, self.theta, precisions=self.precisions)
        return _Fit(self.whole, tuple(out), found.theta, found.precisions, found.loss)

    def suspects(self) -> list[Entry]:
        """Partials that were fitted and have the largest residuals for their standard deviations, the worst first."""
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
        """Mean and standard deviation of a partial that was left out, standardized."""
        sample, output, column = entry
        x, at = self.whole.x[sample : sample + 1], (0, output, 1 + column)
        responses, jacobian = parameter_jacobian(self.whole.network, self.theta, x, True)
        whitened = torch.linalg.solve_triangular(self._posterior[1], jacobian[at][:, None], upper=False)
        return float(responses[at]), math.sqrt(float(1.0 / self._noise_of(entry) + (whitened**2).sum()))

    def is_off(self, entry: Entry) -> bool:
        """Whether a partial that was left out is too far from its prediction to be overlooked."""
        mean, std = self.predict(entry)
        return abs(self._given(entry) - mean) > max(_FAR * std, _LEAST * self._size(entry), _NEGLIGIBLE)

    def log_odds(self, entry: Entry) -> float:
        """Log odds that a partial which was left out is wrong."""
        with_it = self.trained([other for other in self.out if other != entry])
        without = min(self.loss, with_it.trained(self.out).loss)  # as much training for the one as for the other
        size = self._size(entry)
        return with_it.loss - without - math.log(size) - 0.5 * (self._given(entry) / size) ** 2

    def _without(self, out: Sequence[Entry]) -> NetworkProblem:
        weights = self.whole.weights.clone()
        for sample, output, column in out:
            weights[sample, output, 1 + column] = 0.0
        return replace(self.whole, weights=weights)

    @cached_property
    def _posterior(self) -> tuple[NetworkProblem, Tensor]:
        """What was fitted, and the Cholesky factor of H (P, P)."""
        problem = self._without(self.out)
        noise = self.precisions.noise[problem.residual_groups]
        rows = torch.cat([part for _, part in problem.linearized(self.theta, _MEMORY)])
        matrix = rows.T @ (noise[:, None] * rows)
        matrix.diagonal().add_(self.precisions.alpha[problem.parameter_groups])
        return problem, torch.linalg.cholesky(matrix)

    def _noise_of(self, entry: Entry) -> Tensor:
        """Learned precision of the group of a partial."""
        sample, output, column = entry
        at = torch.nonzero(self.whole.weights > 0.0) == torch.tensor([sample, output, 1 + column])
        return self.precisions.noise[self.whole.residual_groups[at.all(dim=1)]][0]

    def _given(self, entry: Entry) -> float:
        sample, output, column = entry
        return float(self.whole.targets[sample, output, 1 + column])

    def _size(self, entry: Entry) -> float:
        """Root mean square of a partial over the samples that know it, standardized."""
        _, output, column = entry
        known = self.whole.weights[:, output, 1 + column] > 0.0
        return float((self.whole.targets[:, output, 1 + column][known] ** 2).mean().sqrt())


def _in_words(data: Dataset, scaling: Scaling, entry: Entry, mean: float, std: float, odds: float) -> Outlier:
    sample, output, column = entry
    standardized = np.zeros((2, data.m, data.d))
    standardized[:, output, column] = mean, std
    rows = [sample, sample]
    expected, spread = scaling.unscale_partials(data.x[rows], data.y[rows], standardized)[:, output, column]
    of, wrt = column_names(data.output_variables)[output], column_names(data.input_variables)[column]
    given = float(data.partials[entry])
    return Outlier(sample, output, column, of, wrt, given, float(expected), float(abs(spread)), odds)
