"""What a solver sees of a fit: flat parameters, a loss, residuals. No solver knows a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class FitProblem(Protocol):
    """A regularized nonlinear least-squares problem E(theta) = 1/2 |r(theta)|^2 + 1/2 sum alpha theta^2."""

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        ...

    @property
    def n_samples(self) -> int:
        """Number of samples, the unit of mini-batches."""
        ...

    @property
    def n_residuals(self) -> int:
        """Length of r."""
        ...

    @property
    def alpha(self) -> Tensor:
        """Precision of the Gaussian prior on each parameter, (n_parameters,)."""
        ...

    @property
    def tensor_options(self) -> tuple[torch.dtype, torch.device]:
        """Type and device on which theta has to live."""
        ...

    def residuals(self, theta: Tensor) -> Tensor:
        """Weighted residuals r (n_residuals,), without the prior."""
        ...

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield consecutive chunks of r (k,) and dr/dtheta (k, n_parameters), no chunk above the limit in bytes."""
        ...

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        """Loss and its gradient (n_parameters,).

        Args:
            theta: Parameters (n_parameters,).
            samples: Row numbers of a mini-batch, whose residual sums are scaled up to all samples; None = all.
        """
        ...


class GroupedProblem(FitProblem, Protocol):
    """A problem whose parameters and residuals come in groups, the precisions of which can be learned."""

    @property
    def parameter_groups(self) -> Tensor:
        """Which group each parameter belongs to (n_parameters,), from 0; a group shares one prior precision."""
        ...

    @property
    def residual_groups(self) -> Tensor:
        """Which group each residual belongs to (n_residuals,), from 0; a group shares one noise level."""
        ...

    @property
    def residual_pools(self) -> Tensor:
        """Which pool each group of residuals belongs to (n_groups,), from 0; empty groups too.

        The noise levels of a pool are expected to be of one order, as those of all partials of an output.
        """
        ...

    @property
    def residual_parents(self) -> Tensor:
        """Group of the values of the output of each group (n_groups,); a group of values is its own."""
        ...

    @property
    def prior_groups(self) -> Tensor:
        """Which groups of residuals are a part of the prior, not data (n_groups,), booleans."""
        ...
