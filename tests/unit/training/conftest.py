"""Problems: networks fitted to data of a network, and one without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.jacobian import trace
from gradopt.networks.mlp import Network
from gradopt.training.problem import FitProblem
from gradopt.training.residuals import NetworkProblem


class Rosenbrock:
    """Residuals 10 (t1 - t0^2) and 1 - t0 with the minimum 0 at (1, 1); a sample is a residual."""

    n_parameters = n_samples = n_residuals = 2
    alpha = torch.zeros(2, dtype=torch.float64)
    tensor_options = (torch.float64, torch.device("cpu"))

    def residuals(self, theta: Tensor) -> Tensor:
        return torch.stack([10.0 * (theta[1] - theta[0] ** 2), 1.0 - theta[0]])

    def jacobian(self, theta: Tensor) -> Tensor:
        return torch.tensor([[-20.0 * float(theta[0]), 10.0], [-1.0, 0.0]], dtype=torch.float64)

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.residuals(theta), self.jacobian(theta)

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        rows = torch.arange(2) if samples is None else samples
        share = 2 / len(rows)
        residuals = self.residuals(theta.detach())[rows]
        return 0.5 * share * float(residuals @ residuals), share * self.jacobian(theta.detach())[rows].T @ residuals


@pytest.fixture
def rosenbrock() -> FitProblem:
    return Rosenbrock()


@pytest.fixture
def taught() -> Callable[..., tuple[NetworkProblem, Tensor]]:
    """Return a function that makes problems with data of a network of the same shape, and that network's parameters."""

    def make(
        sizes: tuple[int, ...] = (2, 4, 1),
        samples: int = 12,
        beta: float = 1.0,
        gamma: float = 1.0,
        alpha: float = 0.0,
        noise: float = 0.0,
        known: float = 1.0,
        activation: str = "tanh",
        seed: int = 0,
    ) -> tuple[NetworkProblem, Tensor]:
        rng = np.random.default_rng(seed)
        network = Network(sizes, activation)
        theta = torch.tensor(network.initialize(rng))
        x = rng.normal(size=(samples, sizes[0]))
        run = trace(network, theta, torch.tensor(x))
        y = run.values.numpy() + noise * rng.normal(size=(samples, sizes[-1]))
        partials = run.partials().numpy() + noise * rng.normal(size=(samples, sizes[-1], sizes[0]))
        betas = beta * (rng.random(y.shape) < known)
        gammas = gamma * (rng.random(partials.shape) < known)
        partials[gammas == 0.0] = np.nan
        return NetworkProblem.build(network, x, y, partials, betas, gammas, alpha), theta

    return make
