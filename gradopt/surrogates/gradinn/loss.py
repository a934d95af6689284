"""The loss with a prior on the gradient, whose expected partials come from an auxiliary network F.

    E(theta, phi) = E_data(theta) + 1/2 sum_k omega_k sum_cj (df_k/dx_j(c) - F_kj(c; phi))^2 + 1/2 sum alpha phi^2

over collocation points c; theta and phi are trained together. The structure is that of GradINN (Aglietti et al. 2024,
arXiv 2409.01914; Neural Networks 199, 2026), rebuilt from the abstract and secondary descriptions: an auxiliary
network, trained with the first one, represents the prior by its shape and its initial parameters. Reading the middle
term as a Gaussian prior with weights learned by the evidence (`gradopt.training.evidence`) is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.surrogates.gradinn.auxiliary import Field
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import PriorResult

_TRACED = 200  # samples, and points, at most, from which the shares of the terms are estimated; chosen by hand
_CHUNK = 2**24  # bytes of a chunk of the Jacobian with its intermediate arrays; as `_CHUNK` of training/residuals.py


@dataclass(frozen=True, eq=False)
class GradINNProblem:
    """The loss of a network with a prior on its gradient; a `GroupedProblem` in theta, then phi.

    Attributes:
        data: Loss of the data, a function of theta alone.
        field: Auxiliary network with parameters phi.
        points: Collocation points (k, d), standardized.
        omega: Weight of the prior on the partials of each output (m,).
        alpha: Precision of the prior on each parameter (n_parameters,), of theta, then of phi.
    """

    data: NetworkProblem
    field: Field
    points: Tensor
    omega: Tensor
    alpha: Tensor

    @property
    def n_parameters(self) -> int:
        """Length of theta and phi together."""
        return self.data.n_parameters + self.field.n_parameters

    @property
    def n_samples(self) -> int:
        """Number of samples of the data."""
        return self.data.n_samples

    @property
    def n_residuals(self) -> int:
        """Number of residuals of data and prior."""
        return self.data.n_residuals + self.points.numel() * len(self.omega)

    @property
    def tensor_options(self) -> tuple[torch.dtype, torch.device]:
        """Type and device of the computation."""
        return self.data.tensor_options

    @property
    def uses_gradients(self) -> bool:
        """Whether partials are fitted or have a prior: always True here."""
        return True

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups of parameters."""
        return self.data.group_names + tuple(f"prior, {name}" for name in self.field.parameter_groups[1])

    @cached_property
    def parameter_groups(self) -> Tensor:
        """Group of each parameter (n_parameters,): groups of theta, then groups of phi."""
        first = self.data.parameter_groups
        second = torch.as_tensor(self.field.parameter_groups[0], device=first.device)
        return torch.cat([first, second + len(self.data.group_names)])

    @cached_property
    def residual_groups(self) -> Tensor:
        """Group of each residual (n_residuals,): groups of the data, then one prior group for each output."""
        k, d = self.points.shape
        of_prior = torch.arange(len(self.omega), device=self.points.device).repeat_interleave(d).repeat(k)
        return torch.cat([self.data.residual_groups, len(self.data.residual_pools) + of_prior])

    @cached_property
    def residual_pools(self) -> Tensor:
        """Pool of each group of residuals (n_groups,); each prior group is a pool of its own."""
        pools = self.data.residual_pools
        return torch.cat([pools, int(pools.max()) + 1 + torch.arange(len(self.omega), device=pools.device)])

    @cached_property
    def residual_parents(self) -> Tensor:
        """Group of the values of each group's output (n_groups,); a prior group is its own parent."""
        parents = self.data.residual_parents
        return torch.cat([parents, len(parents) + torch.arange(len(self.omega), device=parents.device)])

    @cached_property
    def prior_groups(self) -> Tensor:
        """Whether each group of residuals belongs to the prior (n_groups,), booleans."""
        return torch.cat([self.data.prior_groups, torch.ones_like(self.omega, dtype=torch.bool)])

    def without_partials(self) -> GradINNProblem:
        """Return the problem without the partials of the data; the prior stays."""
        return replace(self, data=self.data.without_partials())

    @torch.no_grad()
    def marginal_prior(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the prior on theta alone: phi is integrated out in the linear model about some parameters.

        Args:
            parameters: theta, then phi (n_parameters,).

        Returns:
            Precision (k, k) of that prior and gradient (k,) of its negative logarithm, k = length of theta; float64 on
            the CPU.
        """
        size = self.data.n_parameters
        precision = torch.diag(self.alpha).double()
        gradient = (self.alpha * parameters).double()
        for residuals, jacobian in self._prior_linearized(parameters, 2**30):
            precision += jacobian.double().T @ jacobian.double()
            gradient += jacobian.double().T @ residuals.double()
        of_phi = torch.linalg.solve(
            precision[size:, size:], torch.cat([precision[size:, :size], gradient[size:, None]], 1)
        )
        mixed = precision[:size, size:]
        return (precision[:size, :size] - mixed @ of_phi[:, :-1]).cpu(), (gradient[:size] - mixed @ of_phi[:, -1]).cpu()

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Split parameters (n_parameters,) into theta and phi."""
        return parameters[: self.data.n_parameters], parameters[self.data.n_parameters :]

    def _prior_residuals(self, parameters: Tensor) -> Tensor:
        """Return root-weighted differences (k, m, d) of the network's and the expected partials; differentiable."""
        theta, phi = self.split(parameters)
        apart = trace(self.data.network, theta, self.points).partials() - self.field.partials(phi, self.points)
        return apart * torch.sqrt(self.omega)[:, None]

    def residuals(self, theta: Tensor) -> Tensor:
        """Return weighted residuals (n_residuals,): those of the data, then of the prior by point, output, input."""
        return torch.cat([self.data.residuals(self.split(theta)[0]), self._prior_residuals(theta).reshape(-1)])

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield chunks of residuals (k,) and exact Jacobian (k, n_parameters), each within `memory_limit` bytes."""
        first, second = self.split(theta)
        for residuals, jacobian in self.data.linearized(first, memory_limit):
            yield residuals, torch.cat([jacobian, jacobian.new_zeros(len(jacobian), len(second))], dim=1)
        yield from self._prior_linearized(theta, memory_limit)

    def _prior_linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        first, second = self.split(theta)
        per_point = len(self.omega) * self.points.shape[1] * self.n_parameters * self.points.element_size()
        size = max(1, int(min(memory_limit, _CHUNK) / (4 * per_point)))
        for points in torch.split(self.points, size):
            responses, jacobian = parameter_jacobian(self.data.network, first, points, partials=True)
            expected, of_field = self.field.linearized(second, points)
            root = torch.sqrt(self.omega)[:, None]
            rows = torch.cat([jacobian[:, :, 1:], -of_field], dim=3).mul_(root[..., None])
            yield ((responses[:, :, 1:] - expected) * root).reshape(-1), rows.reshape(-1, self.n_parameters)

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        """Return the loss and its gradient (n_parameters,); a mini-batch includes the whole term of the prior."""
        theta = theta.detach()
        first, second = self.split(theta)
        of_data, slope = self.data.loss_and_gradient(first, samples)
        of_prior = self.alpha[len(first) :] * second
        variable = theta.clone().requires_grad_()
        part = 0.5 * (self._prior_residuals(variable) ** 2).sum()
        gradient = torch.cat([slope, of_prior]) + torch.autograd.grad(part, variable)[0]
        return of_data + 0.5 * float(of_prior @ second) + float(part.detach()), gradient

    @torch.no_grad()
    def prior_result(self, parameters: Tensor) -> PriorResult:
        """Compare the expected with the network's gradient at some parameters, on 200 samples and points at most."""
        theta, phi = self.split(parameters)
        data, network = self.data, self.data.network
        learned, expected = trace(network, theta, self.points).partials(), self.field.partials(phi, self.points)
        traces = dict.fromkeys(("values", "partials", "prior"), 0.0)
        samples = slice(None, None, -(-len(data.x) // _TRACED))
        points = self.points[:: -(-len(self.points) // _TRACED)]
        weights = data.weights[samples]
        for x, weight in zip(data.x[samples], weights, strict=True):
            jacobian = parameter_jacobian(network, theta, x[None], data.has_partials)[1][0]
            squares = (jacobian**2).sum(dim=2) * weight
            traces["values"] += float(squares[:, 0].sum()) * len(data.x) / len(weights)
            traces["partials"] += float(squares[:, 1:].sum()) * len(data.x) / len(weights)
        for point in points:
            jacobian = parameter_jacobian(network, theta, point[None], partials=True)[1][0, :, 1:]
            squares = (jacobian**2).sum(dim=(1, 2)) * self.omega
            traces["prior"] += float(squares.sum()) * len(self.points) / len(points)
        sizes = [float((each**2).sum(dim=2).mean().sqrt()) for each in (expected, learned, learned - expected)]
        return PriorResult(
            expected=sizes[0],
            learned=sizes[1],
            difference=sizes[2],
            shares={name: part / max(sum(traces.values()), sys.float_info.min) for name, part in traces.items()},
        )

    @torch.no_grad()
    def terms(self, theta: Tensor) -> dict[str, float]:
        """Return the terms of the loss: "values", "partials", "regularization" and "prior"; their sum is E."""
        first, second = self.split(theta)
        found = self.data.terms(first)
        found["regularization"] += 0.5 * float((self.alpha[len(first) :] * second) @ second)
        return {**found, "prior": 0.5 * float((self._prior_residuals(theta) ** 2).sum())}


SurrogateProblem = NetworkProblem | GradINNProblem
"""Loss of the fit of a surrogate: that of its data, with or without a prior on the gradient."""
