"""The loss of data: weighted residuals of values and partials, and a Gaussian prior on the parameters.

    E(theta) = 1/2 sum beta (f - y)^2 + 1/2 sum gamma (df/dx - dy/dx)^2 + 1/2 sum alpha theta^2

in standardized units (Berguin 2024, arXiv 2406.09132, with sums in place of means).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network
from gradopt.training.result import PriorResult

# Sizes, bytes, of a chunk of the Jacobian with its intermediate arrays, and of the activations of a piece of the loss.
# They fit the cache of a CPU; larger chunks were up to 3 times slower (no script kept).
_CHUNK, _PIECE = 2**24, 2**23
_OTHER_DEVICES = 64  # factor on both sizes on other devices, where each call has a fixed cost; not tuned
_GROUPS_MEMORY = 2**27  # size of the matrices of all groups of partials, bytes, above which groups are merged; by hand


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """The loss of a network on standardized data; a `FitProblem`.

    Attributes:
        network: Shape of the network.
        x: Inputs (n, d).
        targets: Values and partials (n, m, 1 + d), value first; without partials (n, m, 1). All entries are finite.
        weights: Weights beta and gamma in the layout of `targets`; an entry of weight 0 has no residual.
        alpha: Precision of the prior on each parameter (n_parameters,).
    """

    network: Network
    x: Tensor
    targets: Tensor
    weights: Tensor
    alpha: Tensor

    @classmethod
    def build(
        cls,
        network: Network,
        x: np.ndarray,
        y: np.ndarray,
        dydx: np.ndarray,
        beta: np.ndarray,
        gamma: np.ndarray,
        alpha: float | np.ndarray,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
    ) -> NetworkProblem:
        """Assemble the loss from standardized arrays.

        Args:
            network: Shape of the network.
            x: Inputs (n, d).
            y: Outputs (n, m).
            dydx: Partials (n, m, d); ignored where gamma is 0, so that they may be NaN there.
            beta: Weights of the values (n, m).
            gamma: Weights of the partials (n, m, d), 0 where a partial is not known.
            alpha: Precision of the prior, one number or (n_parameters,).
            dtype: Floating type of the computation.
            device: Torch device of the computation.

        Returns:
            The problem; if gamma is 0 everywhere, partials are never computed.
        """
        targets, weights = y[:, :, None], beta[:, :, None]
        if gamma.any():
            targets = np.concatenate([targets, np.where(gamma > 0.0, dydx, 0.0)], axis=2)
            weights = np.concatenate([weights, gamma], axis=2)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.tensor(array, dtype=dtype, device=device)

        prior = np.array(np.broadcast_to(alpha, network.n_parameters))
        return cls(network, tensor(x), tensor(targets), tensor(weights), tensor(prior))

    @property
    def data(self) -> NetworkProblem:
        """Loss of the data alone: this problem itself, which has no prior on the gradient."""
        return self

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        return self.network.n_parameters

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.x)

    @property
    def n_residuals(self) -> int:
        """Number of entries of positive weight."""
        return len(self._rows)

    @property
    def has_partials(self) -> bool:
        """Whether any partial is fitted."""
        return self.targets.shape[2] > 1

    @property
    def uses_gradients(self) -> bool:
        """Whether partials are fitted or have a prior: here, whether they are fitted."""
        return self.has_partials

    @property
    def has_values(self) -> bool:
        """Whether any value is fitted."""
        return bool((self.weights[:, :, 0] > 0.0).any())

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups of parameters."""
        return self.network.parameter_groups[1]

    @cached_property
    def parameter_groups(self) -> Tensor:
        """Group of each parameter (n_parameters,), see `Network.parameter_groups`."""
        return torch.as_tensor(self.network.parameter_groups[0], device=self.x.device)

    @cached_property
    def residual_groups(self) -> Tensor:
        """Group of each residual (n_residuals,): the values of each output, then each partial of each output.

        If the matrices of so many groups take too much memory, all partials of an output form one group.
        """
        n, m, width = self.targets.shape
        groups = torch.arange(m, device=self.x.device)[:, None].repeat(1, width)
        if self.has_partials:
            each = self._groups_of_partials
            groups[:, 1:] = m + each * groups[:, 1:] + torch.arange(width - 1, device=self.x.device) % each
        return groups.expand(n, m, width).reshape(-1)[self._rows]

    @cached_property
    def residual_pools(self) -> Tensor:
        """Pool of each group of residuals (n_groups,): each output's values, then each output's partials."""
        outputs = torch.arange(self.targets.shape[1], device=self.x.device)
        if not self.has_partials:
            return outputs
        return torch.cat([outputs, len(outputs) + outputs.repeat_interleave(self._groups_of_partials)])

    @cached_property
    def residual_parents(self) -> Tensor:
        """Group of the values of each group's output (n_groups,)."""
        return self.residual_pools % self.targets.shape[1]

    @cached_property
    def prior_groups(self) -> Tensor:
        """Whether each group of residuals belongs to the prior (n_groups,): False for all."""
        return torch.zeros_like(self.residual_pools, dtype=torch.bool)

    @property
    def _groups_of_partials(self) -> int:
        """Number of groups for the partials of an output: d or 1."""
        _, m, width = self.targets.shape
        return width - 1 if 8 * m * (width - 1) * self.n_parameters**2 <= _GROUPS_MEMORY else 1

    def without_partials(self) -> NetworkProblem:
        """Return the problem without partials."""
        return replace(self, targets=self.targets[:, :, :1], weights=self.weights[:, :, :1])

    @property
    def tensor_options(self) -> tuple[torch.dtype, torch.device]:
        """Type and device of the computation."""
        return self.x.dtype, self.x.device

    @cached_property
    def _rows(self) -> Tensor:
        """Flat indices of the entries of positive weight."""
        return torch.nonzero(self.weights.reshape(-1) > 0.0)[:, 0]

    @cached_property
    def _root_weights(self) -> Tensor:
        return torch.sqrt(self.weights)

    def _weighted_errors(self, theta: Tensor, samples: slice | Tensor) -> Tensor:
        """Compute root-weighted errors (k, m, 1 or 1 + d), 0 where the weight is 0; differentiable."""
        run = trace(self.network, theta, self.x[samples])
        responses = run.values[:, :, None]
        if self.has_partials:
            responses = torch.cat([responses, run.partials()], dim=2)
        return (responses - self.targets[samples]) * self._root_weights[samples]

    def residuals(self, theta: Tensor) -> Tensor:
        """Compute weighted residuals (n_residuals,) in the order sample, output, (value, partials ...)."""
        errors = [self._weighted_errors(theta, samples).reshape(-1) for samples in self._pieces()]
        return (errors[0] if len(errors) == 1 else torch.cat(errors))[self._rows]

    def _pieces(self) -> list[slice]:
        """Split all samples into pieces whose activations and partials take about `_PIECE` bytes."""
        _, m, width = self.targets.shape
        per_sample = self.x.element_size() * sum(self.network.layer_sizes) * min(m + 1, width)
        size = max(1, self._fitting(_PIECE) // per_sample)
        return [slice(start, start + size) for start in range(0, self.n_samples, size)]

    def _fitting(self, size: int) -> int:
        return size if self.x.device.type == "cpu" else _OTHER_DEVICES * size

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield chunks of residuals (k,) and exact Jacobian (k, n_parameters), each within `memory_limit` bytes."""
        per_sample = self.targets[0].numel() * self.n_parameters * self.x.element_size()
        limit = min(memory_limit, self._fitting(_CHUNK))
        size = max(1, int(limit / (4 * per_sample)))  # 4: the last chunk, this one, a layer's block, and a reserve
        for start in range(0, self.n_samples, size):
            samples = slice(start, start + size)
            responses, jacobian = parameter_jacobian(self.network, theta, self.x[samples], self.has_partials)
            root = self._root_weights[samples]
            residuals, flat = ((responses - self.targets[samples]) * root).reshape(-1), root.reshape(-1)
            jacobian = jacobian.mul_(root[..., None]).reshape(-1, self.n_parameters)
            if not bool((flat > 0.0).all()):
                rows = torch.nonzero(flat > 0.0)[:, 0]
                residuals, jacobian = residuals[rows], jacobian[rows]
            yield residuals, jacobian
            del jacobian

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        """Compute the loss and its gradient (n_parameters,) by autograd; see `FitProblem`."""
        theta = theta.detach()
        loss = 0.5 * float((self.alpha * theta * theta).sum())
        gradient = self.alpha * theta
        if samples is None:
            chunks: list[slice | Tensor] = list(self._pieces())
            share = 1.0
        else:
            chunks, share = [samples], self.n_samples / len(samples)
        for chunk in chunks:
            variable = theta.clone().requires_grad_()
            errors = self._weighted_errors(variable, chunk)
            part = 0.5 * share * (errors * errors).sum()
            gradient = gradient + torch.autograd.grad(part, variable)[0]
            loss += float(part.detach())
        return loss, gradient

    def terms(self, theta: Tensor) -> dict[str, float]:
        """Return the terms of the loss: "values", "partials" and "regularization"; their sum is E."""
        values = partials = 0.0
        with torch.no_grad():
            for samples in self._pieces():
                errors = self._weighted_errors(theta, samples)
                values += 0.5 * float((errors[:, :, 0] ** 2).sum())
                partials += 0.5 * float((errors[:, :, 1:] ** 2).sum())
        return {
            "values": values,
            "partials": partials,
            "regularization": 0.5 * float((self.alpha * theta * theta).sum()),
        }

    def marginal_prior(self, parameters: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return None: there is no prior on theta beside alpha."""
        return None

    def prior_result(self, parameters: Tensor) -> PriorResult | None:
        """Return None: there is no prior on the gradient."""
        return None
