"""The loss with a prior belief about the gradient: an auxiliary network F says how the response ought to change.

    E(theta, phi) = E_data(theta) + 1/2 sum_kj omega_kj sum_c (df_k/dx_j(c) - F_kj(c; phi))^2 + 1/2 sum alpha phi^2

over collocation points c; theta and phi are trained together. The structure, an auxiliary network that is trained with
the first and carries the belief by its shape and its initial parameters, is that of GradINN (Aglietti et al. 2024,
arXiv 2409.01914; Neural Networks 199, 2026), rebuilt from the abstract and secondary descriptions. That the bracket is
a Gaussian prior, whose weights the evidence learns (`gradopt.training.evidence`), is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network
from gradopt.training.residuals import NetworkProblem

_CHUNK = 2**24  # bytes of a chunk of the Jacobian with all that makes it


@dataclass(frozen=True, eq=False)
class GradientField:
    """F: partials as a network, within bounds.

    Attributes:
        network: d inputs, m d outputs: the partials of each output in turn, before the bounds.
        low: Least partials (m, d), -inf where there is no bound.
        high: Largest partials (m, d); where it equals `low` the partial is known.
        sees: Which inputs the partials depend on (d,), 1 or 0.
    """

    network: Network
    low: Tensor
    high: Tensor
    sees: Tensor

    def bounded(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Partials (n, m, d) within the bounds, and their derivatives by the raw outputs (n, m d) of the network."""
        raw = raw.reshape(len(raw), *self.low.shape)
        rate = torch.sigmoid(raw)
        low, high = torch.nan_to_num(self.low, neginf=0.0), torch.nan_to_num(self.high, posinf=0.0)
        above, below = torch.isfinite(self.low), torch.isfinite(self.high)
        partials = torch.where(above, low + softplus(raw), raw)
        slopes = torch.where(above, rate, torch.ones_like(raw))
        partials = torch.where(below & ~above, high - softplus(-raw), partials)
        slopes = torch.where(below & ~above, 1.0 - rate, slopes)
        partials = torch.where(below & above, low + (high - low) * rate, partials)
        slopes = torch.where(below & above, (high - low) * rate * (1.0 - rate), slopes)
        return partials, slopes

    def partials(self, phi: Tensor, x: Tensor) -> Tensor:
        """Believed partials (n, m, d) at standardized inputs x (n, d)."""
        return self.bounded(trace(self.network, phi, x * self.sees).values)[0]

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Believed partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        raw, jacobian = parameter_jacobian(self.network, phi, x * self.sees, partials=False)
        partials, slopes = self.bounded(raw[:, :, 0])
        return partials, slopes[..., None] * jacobian[:, :, 0].reshape(*partials.shape, self.network.n_parameters)


@dataclass(frozen=True, eq=False)
class BeliefProblem:
    """The loss of a network with a belief about its gradient; a `GroupedProblem` in theta, then phi.

    Attributes:
        data: The loss of the data, of the network alone.
        field: The auxiliary network.
        points: Collocation points (k, d), standardized.
        omega: Weights of the belief about each partial (m, d).
        alpha: Precision of the prior on each parameter (n_parameters,), of theta and of phi.
    """

    data: NetworkProblem
    field: GradientField
    points: Tensor
    omega: Tensor
    alpha: Tensor

    @property
    def network(self) -> Network:
        """Shape of the network that is learned."""
        return self.data.network

    @property
    def x(self) -> Tensor:
        """Inputs of the data (n, d), standardized."""
        return self.data.x

    @property
    def n_parameters(self) -> int:
        """Length of theta and phi together."""
        return self.data.n_parameters + self.field.network.n_parameters

    @property
    def n_samples(self) -> int:
        """Number of samples of the data."""
        return self.data.n_samples

    @property
    def n_residuals(self) -> int:
        """Residuals of data and belief."""
        return self.data.n_residuals + len(self.points) * self.field.low.numel()

    @property
    def has_partials(self) -> bool:
        """Whether any known partial is fitted."""
        return self.data.has_partials

    @property
    def has_values(self) -> bool:
        """Whether any value is fitted."""
        return self.data.has_values

    @property
    def tensor_options(self) -> tuple[torch.dtype, torch.device]:
        """Type and device of the computation."""
        return self.data.tensor_options

    @cached_property
    def parameter_groups(self) -> Tensor:
        """Group of each parameter (n_parameters,): those of the network, then those of the auxiliary one."""
        first = self.data.parameter_groups
        second = torch.as_tensor(self.field.network.parameter_groups[0], device=first.device)
        return torch.cat([first, second + len(self.network.parameter_groups[1])])

    @cached_property
    def residual_groups(self) -> Tensor:
        """Group of each residual (n_residuals,): those of the data, then the belief about each partial."""
        of_belief = torch.arange(self.omega.numel(), device=self.x.device).repeat(len(self.points))
        return torch.cat([self.data.residual_groups, len(self.data.residual_pools) + of_belief])

    @cached_property
    def residual_pools(self) -> Tensor:
        """Pool of each group of residuals: a belief is one by itself."""
        pools = self.data.residual_pools
        return torch.cat([pools, int(pools.max()) + 1 + torch.arange(self.omega.numel(), device=pools.device)])

    @cached_property
    def residual_parents(self) -> Tensor:
        """Group of the values of each group's output; a belief has none, so it is its own."""
        parents = self.data.residual_parents
        return torch.cat([parents, len(parents) + torch.arange(self.omega.numel(), device=parents.device)])

    @cached_property
    def believed(self) -> Tensor:
        """Which groups of residuals are a part of the prior."""
        return torch.cat([self.data.believed, torch.ones_like(self.omega.flatten(), dtype=torch.bool)])

    def of_values(self) -> BeliefProblem:
        """The same without partials."""
        return replace(self, data=self.data.of_values())

    @torch.no_grad()
    def prior_of_theta(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The prior of theta alone, phi integrated out in the linear model about some parameters.

        Returns:
            Its precision (k, k), float64, and the gradient (k,) of its negative logarithm.
        """
        size = self.data.n_parameters
        precision = torch.diag(self.alpha).double()
        gradient = (self.alpha * parameters).double()
        for residuals, jacobian in self._belief_linearized(parameters, 2**30):
            precision += jacobian.double().T @ jacobian.double()
            gradient += jacobian.double().T @ residuals.double()
        of_phi = torch.linalg.solve(
            precision[size:, size:], torch.cat([precision[size:, :size], gradient[size:, None]], 1)
        )
        mixed = precision[:size, size:]
        return precision[:size, :size] - mixed @ of_phi[:, :-1], gradient[:size] - mixed @ of_phi[:, -1]

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Theta and phi."""
        return parameters[: self.data.n_parameters], parameters[self.data.n_parameters :]

    def _disbelief(self, parameters: Tensor) -> Tensor:
        """Root-weighted differences (k, m, d) of the network's partials and the believed ones; differentiable."""
        theta, phi = self.split(parameters)
        apart = trace(self.network, theta, self.points).partials() - self.field.partials(phi, self.points)
        return apart * torch.sqrt(self.omega)

    def residuals(self, theta: Tensor) -> Tensor:
        """Weighted residuals (n_residuals,): those of the data, then point, output, input."""
        return torch.cat([self.data.residuals(self.split(theta)[0]), self._disbelief(theta).reshape(-1)])

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield chunks of residuals (k,) and exact Jacobian (k, n_parameters) within the memory limit in bytes."""
        first, second = self.split(theta)
        for residuals, jacobian in self.data.linearized(first, memory_limit):
            yield residuals, torch.cat([jacobian, jacobian.new_zeros(len(jacobian), len(second))], dim=1)
        yield from self._belief_linearized(theta, memory_limit)

    def _belief_linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        first, second = self.split(theta)
        per_point = self.field.low.numel() * self.n_parameters * self.x.element_size()
        size = max(1, int(min(memory_limit, _CHUNK) / (4 * per_point)))
        for points in torch.split(self.points, size):
            responses, jacobian = parameter_jacobian(self.network, first, points, partials=True)
            believed, of_field = self.field.linearized(second, points)
            root = torch.sqrt(self.omega)
            rows = torch.cat([jacobian[:, :, 1:], -of_field], dim=3).mul_(root[..., None])
            yield ((responses[:, :, 1:] - believed) * root).reshape(-1), rows.reshape(-1, self.n_parameters)

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        """Loss and its gradient (n_parameters,); a mini-batch has all of the belief."""
        theta = theta.detach()
        first, second = self.split(theta)
        of_data, slope = self.data.loss_and_gradient(first, samples)
        of_prior = self.alpha[len(first) :] * second
        variable = theta.clone().requires_grad_()
        part = 0.5 * (self._disbelief(variable) ** 2).sum()
        gradient = torch.cat([slope, of_prior]) + torch.autograd.grad(part, variable)[0]
        return of_data + 0.5 * float(of_prior @ second) + float(part.detach()), gradient

    @torch.no_grad()
    def terms(self, theta: Tensor) -> dict[str, float]:
        """The parts of the loss: "values", "partials", "prior" and "belief"; their sum is E."""
        first, second = self.split(theta)
        found = self.data.terms(first)
        found["prior"] += 0.5 * float((self.alpha[len(first) :] * second) @ second)
        return {**found, "belief": 0.5 * float((self._disbelief(theta) ** 2).sum())}
