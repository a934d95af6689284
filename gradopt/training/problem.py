"""The protocol of a problem for a solver: flat parameters, a loss, residuals. Solvers do not use networks."""

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
        """Type and device that theta must have."""
        ...

    def residuals(self, theta: Tensor) -> Tensor:
        """Compute weighted residuals r (n_residuals,), without the prior."""
        ...

    def linearized(self, theta: Tensor, memory_limit: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield consecutive chunks of r (k,) and dr/dtheta (k, n_parameters), no chunk above the limit in bytes."""
        ...

    def loss_and_gradient(self, theta: Tensor, samples: Tensor | None = None) -> tuple[float, Tensor]:
        """Compute the loss and its gradient (n_parameters,).

        Args:
            theta: Parameters (n_parameters,).
            samples: Row numbers of a mini-batch, whose sums of residuals are scaled to all samples; None = all.
        """
        ...


class GroupedProblem(FitProblem, Protocol):
    """A problem whose parameters and residuals form groups, each with a precision that can be learned."""

    @property
    def parameter_groups(self) -> Tensor:
        """Group of each parameter (n_parameters,), from 0; a group shares one prior precision."""
        ...

    @property
    def residual_groups(self) -> Tensor:
        """Group of each residual (n_residuals,), from 0; a group shares one noise level."""
        ...

    @property
    def residual_pools(self) -> Tensor:
        """Pool of each group of residuals (n_groups,), from 0, also of empty groups.

        The noise levels in a pool are of the same order, for instance those of all partials of an output.
        """
        ...

    @property
    def residual_parents(self) -> Tensor:
        """Group of the values of each group's output (n_groups,); a group of values is its own parent."""
        ...

    @property
    def prior_groups(self) -> Tensor:
        """Whether each group of residuals belongs to the prior, not to the data (n_groups,), booleans."""
        ...
