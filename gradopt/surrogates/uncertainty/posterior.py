"""What fitted networks do not know: Gaussian posteriors of their parameters, and the standard deviations these give.

`gradopt.surrogates.uncertainty.laplace` makes the posteriors. A value (a partial likewise) of a network, with
derivatives g with respect to its parameters, has the variance

    v = s^2 (g' H^-1 g + 1 / w),

where 1/w is what the network leaves unexplained: for a truth without noise that is misfit, which is there between
samples too. For the average f of networks f_i with shares p_i it is

    sum_i p_i v_i + max(sum_i p_i v_i gamma_i / N, sum_i p_i (f_i - f)^2).

The second term says that a network and its precisions were chosen with the same N residuals, of which gamma were used
up: as much is added as in Akaike's final prediction error, or where several networks disagree by more, by how much.

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

from gradopt.errors import InputError, explain
from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitting.networks import TrainedNetwork

_CHUNK = 2**24  # entries of a Jacobian that are held at once, 128 MB


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of the parameters of a network, in standardized units.

    Attributes:
        factor: Lower Cholesky factor of H, (1, P, P) of all parameters, or (m, Q, Q) of those of each output in which
            the network is linear.
        noise: 1/w, the variance of what is left unexplained in each output's values and partials (m, 2).
        inflation: s of each output's values and partials (m, 2).
        optimism: gamma/N, the part of the residuals that was used up (1,).
    """

    factor: np.ndarray
    noise: np.ndarray
    inflation: np.ndarray
    optimism: np.ndarray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("factor", "noise", "inflation", "optimism"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a file by name, of the factor its lower triangle only."""
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
        """Variances of values.

        Args:
            network: Shape of the network.
            theta: Its parameters (n_parameters,).
            z: Inputs (n, d), standardized.

        Returns:
            v (n, m), standardized.
        """
        spread = self._spread(network, theta, z, partials=False, combine=lambda rows: rows)[:, :, 0]
        return np.asarray(self.inflation[:, 0] ** 2 * (spread + self.noise[:, 0]))

    def variances_of_partials(self, network: Network, theta: np.ndarray, z: np.ndarray, bend: np.ndarray) -> np.ndarray:
        """Variances of partials.

        Args:
            network: Shape of the network.
            theta: Its parameters (n_parameters,).
            z: Inputs (n, d), standardized.
            bend: By how much a partial changes with its value (n, m, d), see `Scaling.bend`.

        Returns:
            v (n, m, d), standardized.
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
        """Variances g' H^-1 g (n, m, k) of the rows g that `combine` makes of those of values and partials."""
        factor, parameters, found = torch.tensor(self.factor), torch.tensor(theta), []
        whole = self.factor.shape[-1] == network.n_parameters
        with torch.no_grad():
            for x in chunks(torch.from_numpy(z), network, partials, whole):
                rows = combine(derivatives(network, parameters, x, partials, whole)[1])
                found.append((whiten(factor, rows) ** 2).sum(dim=-1).numpy())
        return np.concatenate(found) if found else np.zeros((0, network.layer_sizes[-1], z.shape[1] if partials else 1))


def std_of(networks: Sequence[TrainedNetwork], posteriors: Sequence[Posterior], z: np.ndarray) -> np.ndarray:
    """Standard deviations of the average of some networks.

    Args:
        networks: The networks.
        posteriors: The posterior of each.
        z: Inputs (n, d), standardized.

    Returns:
        Standard deviations (n, m), standardized.

    Raises:
        InputError: If there are no posteriors.
    """
    _check(posteriors)
    own = [of.variances(trained.network, trained.theta, z) for trained, of in zip(networks, posteriors, strict=True)]
    return _mixed(networks, posteriors, own, [_answers(trained, z)[0] for trained in networks])


def std_partials_of(
    networks: Sequence[TrainedNetwork], posteriors: Sequence[Posterior], z: np.ndarray, bend: np.ndarray
) -> np.ndarray:
    """Standard deviations of partials of the average of some networks; see `std_of`.

    Args:
        networks: The networks.
        posteriors: The posterior of each.
        z: Inputs (n, d), standardized.
        bend: By how much a partial changes with its value (n, m, d), see `Scaling.bend`.

    Returns:
        Standard deviations (n, m, d), standardized.

    Raises:
        InputError: If there are no posteriors.
    """
    _check(posteriors)
    pairs = zip(networks, posteriors, strict=True)
    own = [of.variances_of_partials(trained.network, trained.theta, z, bend) for trained, of in pairs]
    answers = [_answers(trained, z) for trained in networks]
    return _mixed(networks, posteriors, own, [partials + bend * values[:, :, None] for values, partials in answers])


def linear_parameters(network: Network) -> Tensor:
    """Which parameters each output is linear in: its weights and bias of the last layer, and its trend.

    Args:
        network: Shape of the network.

    Returns:
        Indices in theta (m, Q), for each output in the order weights, bias, linear trend, quadratic trend.
    """
    weights, biases, (m, _) = network.layers[-1]
    parts = [weights, biases, network.linear_trend, network.quadratic_trend]
    return torch.cat([torch.arange(p.start, p.stop).reshape(m, -1) for p in parts if p is not None], dim=1)


def derivatives(network: Network, theta: Tensor, x: Tensor, partials: bool, whole: bool) -> tuple[Tensor, Tensor]:
    """Values and partials with their derivatives with respect to all parameters, or to those they are linear in.

    Args:
        network: Shape of the network.
        theta: Parameters (n_parameters,).
        x: Inputs (n, d), standardized.
        partials: Whether partials are wanted after the values.
        whole: Whether all parameters count.

    Returns:
        Responses (n, m, k), k = 1 + d or 1, and their derivatives (n, m, k, P), or (n, m, k, Q) by `linear_parameters`.
    """
    if whole:
        return parameter_jacobian(network, theta, x, partials)
    # A network that puts out the last hidden layer: what the last layer's weights multiply, with its partials.
    *hidden, width, m = network.layer_sizes
    last = network.layers[-1][0].start
    ending = [torch.eye(width, dtype=x.dtype).reshape(-1), x.new_zeros(width)]
    run = trace(Network((*hidden, width, width), network.activation), torch.cat([theta[:last], *ending]), x)
    features = run.values[:, None, :]
    if partials:
        features = torch.cat([features, run.partials().transpose(1, 2)], dim=1)
    # The same of the bias and the trend: all parameters but the weights of a network without hidden layers.
    d = x.shape[1]
    bare = Network((d, 1), network.activation, network.trend)
    others = parameter_jacobian(bare, x.new_zeros(bare.n_parameters), x, partials)[1][:, 0, :, d:]
    rows = torch.cat([features, others], dim=2)
    responses = rows @ theta[linear_parameters(network)].T
    return responses.transpose(1, 2), rows[:, None].expand(-1, m, -1, -1)


def chunks(x: Tensor, network: Network, partials: bool, whole: bool) -> Iterator[Tensor]:
    """Yield inputs (n, d) in parts whose `derivatives`, with a copy and whitened, are within memory."""
    size = network.n_parameters if whole else linear_parameters(network).shape[1]
    per_sample = network.layer_sizes[-1] * (1 + x.shape[1] if partials else 1) * size
    yield from torch.split(x, max(1, _CHUNK // (4 * per_sample)))


def whiten(factor: Tensor, rows: Tensor) -> Tensor:
    """Rows (n, b, k, Q) times the inverse of the transposed factor (blocks, Q, Q); one factor serves all b."""
    n, b, k, size = rows.shape
    blocks = len(factor)
    flat = rows.reshape(n, blocks, -1, size).transpose(0, 1).reshape(blocks, -1, size)
    solved = torch.linalg.solve_triangular(factor, flat.mT, upper=False).mT
    return solved.reshape(blocks, n, -1, size).transpose(0, 1).reshape(n, b, k, size)


def _check(posteriors: Sequence[Posterior]) -> None:
    if not posteriors:
        remedy = "Fit again: `surrogate.configuration.fit(data)`."
        got = "none: it comes from an older file, its fit is not finite, or its last layer is too wide"
        raise InputError(explain("surrogate", "have a posterior", got, remedy))


def _answers(trained: TrainedNetwork, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, m) and partials (n, m, d), standardized."""
    with torch.no_grad():
        run = trace(trained.network, torch.tensor(trained.theta), torch.from_numpy(z))
        return run.values.numpy(), run.partials().numpy()


def _mixed(
    networks: Sequence[TrainedNetwork],
    posteriors: Sequence[Posterior],
    own: Sequence[np.ndarray],
    answers: Sequence[np.ndarray],
) -> np.ndarray:
    """Standard deviation of an average, from the variances and answers of its parts."""
    shares = np.array([trained.share for trained in networks])
    optimism = np.concatenate([posterior.optimism for posterior in posteriors])
    variance = np.tensordot(shares, own, 1)
    apart = np.tensordot(shares, (answers - np.tensordot(shares, answers, 1)) ** 2, 1)
    return np.asarray(np.sqrt(variance + np.maximum(np.tensordot(shares * optimism, own, 1), apart)))
