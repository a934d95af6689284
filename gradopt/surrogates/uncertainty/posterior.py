"""Gaussian posteriors of the parameters of trained networks, and predictive standard deviations.

`gradopt.surrogates.uncertainty.laplace` computes the posteriors. A value or partial of a network, with derivatives g
with respect to the parameters, has the predictive variance

    v = s^2 (g' H^-1 g + 1 / w),

where 1/w is the variance of the residuals: noise of the data, or for data without noise misfit of the network, which
exists between samples too. The average f of networks f_i with shares p_i has the predictive variance

    sum_i p_i v_i + max(sum_i p_i v_i gamma_i / N, sum_i p_i (f_i - f)^2).

The second term accounts for the choice of parameters and precisions by the same N residuals, of which the fit uses
gamma: it is that of Akaike's final prediction error, or the variance between the networks where that is larger.

References:
    MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Computation 4(3). Akaike (1970),
    Statistical predictor identification, Ann. Inst. Stat. Math. 22.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradopt.data.arrays import ReadOnly, freeze_fields
from gradopt.errors import InputError, explain
from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitting.trained_network import TrainedNetwork

_CHUNK = 2**24  # entries of a Jacobian in memory at once, 128 MB; chosen by hand


@dataclass(frozen=True, eq=False)
class Posterior(ReadOnly):
    """Posterior of the parameters of a network, in standardized units.

    Attributes:
        factor: Lower Cholesky factor of H, (1, P, P) of all parameters, or (m, Q, Q) of the parameters of each output
            in which the network is linear.
        noise: Variances 1/w of each output's values and partials (m, 2).
        inflation: Factors s of each output's values and partials (m, 2).
        optimism: Fraction gamma/N of the residuals that the fit uses (1,).
    """

    factor: np.ndarray
    noise: np.ndarray
    inflation: np.ndarray
    optimism: np.ndarray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_fields(self, "factor", "noise", "inflation", "optimism")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a file by name; of `factor` only the lower triangle."""
        rows, columns = np.tril_indices(self.factor.shape[-1])
        triangle = self.factor[:, rows, columns]
        return {"factor": triangle, "noise": self.noise, "inflation": self.inflation, "optimism": self.optimism}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Posterior:
        """Build a posterior from what `to_arrays` returned."""
        triangle = arrays["factor"]
        size = (math.isqrt(8 * triangle.shape[1] + 1) - 1) // 2
        factor = np.zeros((len(triangle), size, size))
        rows, columns = np.tril_indices(size)
        factor[:, rows, columns] = triangle
        return cls(factor, arrays["noise"], arrays["inflation"], arrays["optimism"])

    def variances(self, network: Network, theta: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Compute predictive variances of values.

        Args:
            network: Shape of the network.
            theta: Its parameters (n_parameters,).
            z: Inputs (n, d), standardized.

        Returns:
            Variances v (n, m), standardized.
        """
        spread = self._spread(network, theta, z, partials=False, combine=lambda rows: rows)[:, :, 0]
        return np.asarray(self.inflation[:, 0] ** 2 * (spread + self.noise[:, 0]))

    def variances_of_partials(self, network: Network, theta: np.ndarray, z: np.ndarray, bend: np.ndarray) -> np.ndarray:
        """Compute predictive variances of partials.

        Args:
            network: Shape of the network.
            theta: Its parameters (n_parameters,).
            z: Inputs (n, d), standardized.
            bend: Derivatives of partials with respect to their values (n, m, d), see `Scaling.bend`.

        Returns:
            Variances v (n, m, d), standardized.
        """
        done = 0

        def combine(rows: Tensor) -> Tensor:
            nonlocal done
            part = torch.from_numpy(bend[done : done + len(rows)])[..., None]
            done += len(rows)
            return rows[:, :, 1:] + part * rows[:, :, :1]

        spread = self._spread(network, theta, z, partials=True, combine=combine)
        noise = self.noise[:, 1, None] + bend**2 * self.noise[:, 0, None]
        return np.asarray(self.inflation[:, 1, None] ** 2 * (spread + noise))

    def _spread(
        self, network: Network, theta: np.ndarray, z: np.ndarray, partials: bool, combine: Callable[[Tensor], Tensor]
    ) -> np.ndarray:
        """Compute variances g' H^-1 g (n, m, k) of the rows g that `combine` makes from rows of values and partials."""
        factor, parameters, found = torch.tensor(self.factor), torch.tensor(theta), []
        whole = self.factor.shape[-1] == network.n_parameters
        with torch.no_grad():
            for x in chunks(torch.from_numpy(z), network, partials, whole):
                rows = combine(derivatives(network, parameters, x, partials, whole)[1])
                found.append((whiten(factor, rows) ** 2).sum(dim=-1).numpy())
        return np.concatenate(found) if found else np.zeros((0, network.layer_sizes[-1], z.shape[1] if partials else 1))


def std_of(networks: Sequence[TrainedNetwork], posteriors: Sequence[Posterior], z: np.ndarray) -> np.ndarray:
    """Compute predictive standard deviations of the outputs of an average of networks.

    Args:
        networks: The networks.
        posteriors: The posterior of each.
        z: Inputs (n, d), standardized.

    Returns:
        Predictive standard deviations (n, m), standardized.

    Raises:
        InputError: If there are no posteriors.
    """
    _check(posteriors)
    own = [of.variances(trained.network, trained.theta, z) for trained, of in zip(networks, posteriors, strict=True)]
    return _std_of_average(networks, posteriors, own, [_outputs(trained, z)[0] for trained in networks])


def std_partials_of(
    networks: Sequence[TrainedNetwork], posteriors: Sequence[Posterior], z: np.ndarray, bend: np.ndarray
) -> np.ndarray:
    """Compute predictive standard deviations of the partials of an average of networks.

    Args:
        networks: The networks.
        posteriors: The posterior of each.
        z: Inputs (n, d), standardized.
        bend: Derivatives of partials with respect to their values (n, m, d), see `Scaling.bend`.

    Returns:
        Predictive standard deviations (n, m, d), standardized.

    Raises:
        InputError: If there are no posteriors.
    """
    _check(posteriors)
    pairs = zip(networks, posteriors, strict=True)
    own = [of.variances_of_partials(trained.network, trained.theta, z, bend) for trained, of in pairs]
    outputs = [_outputs(trained, z) for trained in networks]
    return _std_of_average(
        networks, posteriors, own, [partials + bend * values[:, :, None] for values, partials in outputs]
    )


def linear_parameters(network: Network) -> Tensor:
    """Return the parameters in which each output is linear: weights and bias of the last layer, and the trend.

    Args:
        network: Shape of the network.

    Returns:
        Indices in theta (m, Q), for each output in the order weights, bias, linear trend, quadratic trend.
    """
    weights, biases, (m, _) = network.layers[-1]
    parts = [weights, biases, network.linear_trend, network.quadratic_trend]
    return torch.cat([torch.arange(p.start, p.stop).reshape(m, -1) for p in parts if p is not None], dim=1)


def derivatives(network: Network, theta: Tensor, x: Tensor, partials: bool, whole: bool) -> tuple[Tensor, Tensor]:
    """Compute values and partials with their derivatives with respect to all parameters, or to the linear ones.

    Args:
        network: Shape of the network.
        theta: Parameters (n_parameters,).
        x: Inputs (n, d), standardized.
        partials: Whether to compute partials too.
        whole: Whether to differentiate with respect to all parameters, or to `linear_parameters` only.

    Returns:
        Responses (n, m, k), k = 1 + d or 1, and their derivatives (n, m, k, P), or (n, m, k, Q) by `linear_parameters`.
    """
    if whole:
        return parameter_jacobian(network, theta, x, partials)
    # A network whose outputs are the last hidden layer, which the weights of the last layer multiply.
    *hidden, width, m = network.layer_sizes
    last = network.layers[-1][0].start
    ending = [torch.eye(width, dtype=x.dtype).reshape(-1), x.new_zeros(width)]
    run = trace(Network((*hidden, width, width), network.activation), torch.cat([theta[:last], *ending]), x)
    features = run.values[:, None, :]
    if partials:
        features = torch.cat([features, run.partials().transpose(1, 2)], dim=1)
    # Bias and trend: all parameters but the weights of a network without hidden layers.
    d = x.shape[1]
    bare = Network((d, 1), network.activation, network.trend)
    others = parameter_jacobian(bare, x.new_zeros(bare.n_parameters), x, partials)[1][:, 0, :, d:]
    rows = torch.cat([features, others], dim=2)
    responses = rows @ theta[linear_parameters(network)].T
    return responses.transpose(1, 2), rows[:, None].expand(-1, m, -1, -1)


def chunks(x: Tensor, network: Network, partials: bool, whole: bool) -> Iterator[Tensor]:
    """Yield inputs (n, d) in parts whose `derivatives`, with copies, have at most `_CHUNK` entries."""
    size = network.n_parameters if whole else linear_parameters(network).shape[1]
    per_sample = network.layer_sizes[-1] * (1 + x.shape[1] if partials else 1) * size
    yield from torch.split(x, max(1, _CHUNK // (4 * per_sample)))


def whiten(factor: Tensor, rows: Tensor) -> Tensor:
    """Multiply rows (n, b, k, Q) by the inverse of the transposed factor (blocks, Q, Q); blocks is b or 1."""
    n, b, k, size = rows.shape
    blocks = len(factor)
    flat = rows.reshape(n, blocks, -1, size).transpose(0, 1).reshape(blocks, -1, size)
    solved = torch.linalg.solve_triangular(factor, flat.mT, upper=False).mT
    return solved.reshape(blocks, n, -1, size).transpose(0, 1).reshape(n, b, k, size)


def _check(posteriors: Sequence[Posterior]) -> None:
    if not posteriors:
        remedy = "Fit again: `surrogate.configuration.fit(data)`."
        got = "none: its file is older, its fit is not finite, or its last layer is too wide"
        raise InputError(explain("surrogate", "have a posterior", got, remedy))


def _outputs(trained: TrainedNetwork, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute values (n, m) and partials (n, m, d) of one network, standardized."""
    with torch.no_grad():
        run = trace(trained.network, torch.tensor(trained.theta), torch.from_numpy(z))
        return run.values.numpy(), run.partials().numpy()


def _std_of_average(
    networks: Sequence[TrainedNetwork],
    posteriors: Sequence[Posterior],
    own: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
) -> np.ndarray:
    """Compute the standard deviation of an average from the variances and outputs of its networks."""
    shares = np.array([trained.share for trained in networks])
    optimism = np.concatenate([posterior.optimism for posterior in posteriors])
    variance = np.tensordot(shares, own, 1)
    apart = np.tensordot(shares, (outputs - np.tensordot(shares, outputs, 1)) ** 2, 1)
    return np.asarray(np.sqrt(variance + np.maximum(np.tensordot(shares * optimism, own, 1), apart)))
