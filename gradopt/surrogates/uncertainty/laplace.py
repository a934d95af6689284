"""The posterior of a trained network: Laplace's approximation, inflated by leave-one-out errors of the training data.

The precision is the Gauss-Newton matrix at the trained parameters, H = sum_k w_k J_k'J_k + diag(alpha). The weights w
are those that the evidence learned. Fixed weights are divided by the common noise variance of highest likelihood,
2 E / N. Predictive variances (`gradopt.surrogates.uncertainty.posterior`) have the factor

    s^2 = max(1, z^2) (t / 1.645)^2.

- z^2 is the mean square of the standardized leave-one-out errors; a sample is left out with all its outputs and
  partials. With the block S = J_i H^-1 J_i' of the sample's whitened rows and their residuals r after one more Newton
  step, the errors are M r with covariance M = (I - S)^-1. Values and partials of each output have their own z^2.
- t is the 95 % quantile of Student's distribution with n - 1 degrees of freedom, since n samples determine the scale.

A fit of values alone has no residuals of partials. Their noise is then that of a wave between the samples: with a
wavelength of twice the spacing h of the samples, its partials have pi / (h sqrt(d)) times its standard deviation.

If the whole matrix is too large, only the parameters in which the network is linear (last layer, trend) are uncertain;
all values and partials of the data condition them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.surrogates.configurations.protocol import Configuration
from gradopt.surrogates.fitting.networks import build_problem
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.uncertainty.posterior import Posterior, chunks, derivatives, linear_parameters, whiten
from gradopt.training.residuals import NetworkProblem

_MOST_PARAMETERS = 2000  # number of parameters up to which the whole matrix is kept, 32 MB; chosen by hand
_MOST_WORK = 2e10  # multiplications up to which the matrix is made, about a second on one core; chosen by hand
_LEAST_NOISE = 1e-4  # least noise, in standard deviations of the outputs; as in the evidence
_ROUNDING = 1e-10  # lower bound of eigenvalues of I - S; 0 is a sample that alone determines a parameter; by hand
_JITTER = (0.0, 1e-15, 1e-13, 1e-11, 1e-9)  # additions to a diagonal over its largest entry, in order; by hand
_HALF_WIDTH = 1.6448536269514722  # of the 90 % interval of a normal distribution, in standard deviations


def posteriors_of(
    configuration: Configuration, networks: Sequence[TrainedNetwork], data: Dataset, scaling: Scaling
) -> tuple[Posterior, ...]:
    """Compute the posterior of each of some trained networks; an empty tuple if one of them has none."""
    found = [posterior_of(configuration, trained, data, scaling) for trained in networks]
    there = tuple(posterior for posterior in found if posterior is not None)
    return there if len(there) == len(found) else ()


@torch.no_grad()
def posterior_of(
    configuration: Configuration, trained: TrainedNetwork, data: Dataset, scaling: Scaling
) -> Posterior | None:
    """Compute the posterior of the parameters of a network, at the cost of about one Levenberg-Marquardt iteration.

    Args:
        configuration: Settings of the fit. Its weights are used without the magnification of a polish.
        trained: The network with its parameters and learned weights.
        data: The training data.
        scaling: Their standardization.

    Returns:
        The posterior; None if the fit is not finite, or if even the last layer is too wide.
    """
    fitted = _fitted(configuration, trained, data, scaling)
    return fitted.posterior(int((~scaling.constant).sum()))


@torch.no_grad()
def leave_one_out_densities(
    configuration: Configuration, networks: Sequence[TrainedNetwork], data: Dataset, scaling: Scaling
) -> np.ndarray:
    """Compute the leave-one-out log density of each sample, predicted by an average of networks.

    A sample is left out with all its outputs and partials, standardized, in the linear model about each fit.

    Args:
        configuration: Settings of the fit.
        networks: The networks with their parameters, shares and learned weights.
        data: The training data.
        scaling: Their standardization.

    Returns:
        Log densities (n,), up to one constant of the data; -inf where a fit is not finite.
    """
    found = [_fitted(configuration, trained, data, scaling).leave_one_out_densities() for trained in networks]
    shares = torch.tensor([trained.share for trained in networks], dtype=torch.float64)
    densities = torch.logsumexp(torch.stack(found) + shares.log()[:, None], dim=0).numpy()
    return np.where(np.isfinite(densities), densities, -np.inf)


def _fitted(configuration: Configuration, trained: TrainedNetwork, data: Dataset, scaling: Scaling) -> _Fitted:
    weights, network = configuration.data_weights(data), trained.network
    whole = build_problem(configuration, trained, data, scaling, weights)
    dtype, device = whole.tensor_options
    of_prior = whole.marginal_prior(torch.tensor(trained.parameters, dtype=dtype, device=device))
    problem = whole.data
    arrays = problem.x, problem.targets, problem.weights, problem.alpha
    x, targets, of_data, prior = (array.to("cpu", torch.float64) for array in arrays)
    problem = NetworkProblem(network, x, targets, of_data, prior)
    parameters = torch.tensor(trained.theta)
    if trained.learned is None:
        variance = 2.0 * math.fsum(problem.terms(parameters).values()) / problem.n_residuals
        precision = 1.0 / max(variance, _LEAST_NOISE**2)
        problem = NetworkProblem(network, x, targets, of_data * precision, prior * precision)
        of_prior = of_prior and (of_prior[0] * precision, of_prior[1] * precision)
    return _Fitted(problem, parameters, of_prior)


class _Fitted:
    """A trained network with its loss, on the CPU in float64."""

    def __init__(self, problem: NetworkProblem, theta: Tensor, of_prior: tuple[Tensor, Tensor] | None = None) -> None:
        self.problem, self.theta, self.of_prior = problem, theta, of_prior
        network, rows = problem.network, problem.n_residuals
        self.whole = network.n_parameters <= _MOST_PARAMETERS and rows * network.n_parameters**2 <= _MOST_WORK
        which = torch.arange(network.n_parameters)[None] if self.whole else linear_parameters(network)
        self.alpha, self.part = problem.alpha[which], theta[which]  # (blocks, Q)

    def posterior(self, d: int) -> Posterior | None:
        """Compute the posterior of a network with d inputs that vary."""
        found = self._factor()
        if found is None:
            return None
        factor, step = found
        squares, optimism = self._leave_one_out(factor, step)
        inflation = squares.clamp_min(1.0).sqrt() * float(stdtrit(self.problem.n_samples - 1, 0.95)) / _HALF_WIDTH
        noise = self._noise(d)
        if not bool(torch.cat([noise, inflation, noise.new_full((1, 2), optimism)]).isfinite().all()):
            return None
        return Posterior(factor.numpy(), noise.numpy(), inflation.numpy(), np.array([optimism]))

    def leave_one_out_densities(self) -> Tensor:
        """Compute the leave-one-out log density of each sample (n,): that of M r, whose covariance is M, whitened."""
        found, weights = self._factor(), self.problem.weights
        if found is None:
            return weights.new_full((len(weights),), -math.inf)
        densities = 0.5 * torch.where(weights > 0.0, weights, 1.0).log().sum(dim=(1, 2))
        parts = []
        for residuals, free, vectors in self._leverages(*found):
            along = (vectors.mT @ residuals[..., None])[..., 0]
            parts.append(0.5 * (free.log() - along**2 / free).sum(dim=(1, 2)))
        return densities + torch.cat(parts)

    def _factor(self) -> tuple[Tensor, Tensor] | None:
        """Compute the lower Cholesky factor of H (blocks, Q, Q), and one more Newton step (blocks, Q)."""
        blocks, size = self.alpha.shape
        if size > _MOST_PARAMETERS:
            return None
        matrix, gradient = torch.diag_embed(self.alpha), self.alpha * self.part
        if self.of_prior is not None and self.whole:  # the prior hardly conditions the last layer alone
            matrix, gradient = (part[None].clone() for part in self.of_prior)
        for residuals, rows in self._whitened():
            flat = rows.transpose(0, 1).reshape(blocks, -1, size)
            matrix += flat.mT @ flat
            gradient += (flat.mT @ residuals.transpose(0, 1).reshape(blocks, -1, 1))[..., 0]
        factor = _cholesky(matrix)
        return None if factor is None else (factor, -torch.cholesky_solve(gradient[..., None], factor)[..., 0])

    def _whitened(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weighted residuals (n, blocks, k) and derivatives (n, blocks, k, Q) in chunks; 0 where not fitted."""
        problem, done = self.problem, 0
        for x in chunks(problem.x, problem.network, problem.has_partials, self.whole):
            responses, rows = derivatives(problem.network, self.theta, x, problem.has_partials, self.whole)
            at = slice(done, done + len(x))
            done = at.stop
            root = torch.sqrt(problem.weights[at])
            residuals = (responses - problem.targets[at]) * root
            rows = rows * root[..., None]
            blocks, size = self.alpha.shape
            yield residuals.reshape(len(x), blocks, -1), rows.reshape(len(x), blocks, -1, size)

    def _noise(self, d: int) -> Tensor:
        """Compute variances 1/w of the noise of each output's values and partials (m, 2)."""
        n, m, width = self.problem.weights.shape
        noise = torch.zeros((m, 2), dtype=torch.float64)
        for output in range(m):
            for kind, weights in enumerate((self.problem.weights[:, output, :1], self.problem.weights[:, output, 1:])):
                if bool((weights > 0.0).any()):
                    noise[output, kind] = 1.0 / weights[weights > 0.0].median()
        if width == 1:
            spacing = math.sqrt(12.0) * n ** (-1.0 / max(d, 1))  # of points spread evenly, with standard deviation 1
            noise[:, 1] = noise[:, 0] * (math.pi / spacing) ** 2 / max(d, 1)
        return noise

    def _leverages(self, factor: Tensor, step: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield residuals (n, blocks, k) after the step, eigenvalues and eigenvectors of I - S, in chunks."""
        for residuals, rows in self._whitened():
            whitened = whiten(factor, rows)
            values, vectors = torch.linalg.eigh(whitened @ whitened.mT)
            yield residuals + (rows @ step[..., None])[..., 0], (1.0 - values).clamp_min(_ROUNDING), vectors

    def _leave_one_out(self, factor: Tensor, step: Tensor) -> tuple[Tensor, float]:
        """Compute z^2 of each output's values and partials (m, 2), 0 where none are fitted; and gamma/N."""
        n, m, width = self.problem.weights.shape
        used, errors = 0.0, []
        for residuals, free, vectors in self._leverages(factor, step):
            used += float((1.0 - free).sum())
            covariance = (vectors / free[..., None, :]) @ vectors.mT
            variances = covariance.diagonal(dim1=-2, dim2=-1)
            errors.append(((covariance @ residuals[..., None])[..., 0] / variances.sqrt()).reshape(-1, m, width))
        squares, fitted = torch.cat(errors) ** 2, self.problem.weights > 0.0
        found = torch.zeros((m, 2), dtype=torch.float64)
        for kind, columns in enumerate((slice(1), slice(1, None))):
            count = fitted[:, :, columns].sum(dim=(0, 2))
            found[:, kind] = squares[:, :, columns].sum(dim=(0, 2)) / count.clamp_min(1)
        return found, min(used / self.problem.n_residuals, 1.0)


def _cholesky(matrix: Tensor) -> Tensor | None:
    """Compute the lower Cholesky factor, with the least addition to the diagonal that works; None if none does."""
    largest = matrix.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None]
    for extra in _JITTER:
        found, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(extra * largest.expand(matrix.shape[:2])))
        if not bool(info.any()) and bool(found.isfinite().all()):
            return found
    return None
