"""Auxiliary networks F, whose outputs are the partials that a prior on the gradient expects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.functional import softplus

from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network


class Field(Protocol):
    """A function from inputs (n, d) to expected partials (n, m, d), both standardized, with parameters phi."""

    @property
    def n_parameters(self) -> int:
        """Length of phi."""
        ...

    @property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), and the names of the groups."""
        ...

    def partials(self, phi: Tensor, x: Tensor) -> Tensor:
        """Return expected partials (n, m, d) at x (n, d); differentiable with respect to phi."""
        ...

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkField:
    """A multilayer perceptron with bounds on its outputs.

    Attributes:
        network: Shape of the perceptron: d inputs, and m d outputs, the partials of each output in turn before bounds.
        low: Lower bounds of the partials (m, d), -inf for none.
        high: Upper bounds of the partials (m, d), inf for none; where they equal `low` the partial is constant.
        active_inputs: 1 for each input that the partials depend on, else 0, (d,).
    """

    network: Network
    low: Tensor
    high: Tensor
    active_inputs: Tensor

    @property
    def n_parameters(self) -> int:
        """Length of phi."""
        return self.network.n_parameters

    @property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), and the names of the groups."""
        return self.network.parameter_groups

    def bounded(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Map the raw outputs (n, m d) of the network into the bounds.

        Args:
            raw: Outputs of the network (n, m d).

        Returns:
            Partials (n, m, d), and the derivative of each with respect to its raw output (n, m, d).
        """
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
        """Return expected partials (n, m, d) at standardized inputs x (n, d)."""
        return self.bounded(trace(self.network, phi, x * self.active_inputs).values)[0]

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        raw, jacobian = parameter_jacobian(self.network, phi, x * self.active_inputs, partials=False)
        partials, slopes = self.bounded(raw[:, :, 0])
        return partials, slopes[..., None] * jacobian[:, :, 0].reshape(*partials.shape, self.n_parameters)


@dataclass(frozen=True, eq=False)
class ModuleField:
    """A torch module of the user, from physical inputs (n, d) to physical partials (n, m, d).

    phi is the change of the module's trainable parameters from their initial values, which makes these values the most
    likely ones. Parameters that do not require a gradient stay fixed.

    Attributes:
        module: Module in the type and on the device of the training; never changed.
        mean: Means of the inputs (d,), physical.
        scale: Scales of the inputs (d,), physical.
        factor: Factors from physical to standardized partials (m, d).
    """

    module: nn.Module
    mean: Tensor
    scale: Tensor
    factor: Tensor

    @cached_property
    def _sizes(self) -> dict[str, torch.Size]:
        return {name: p.shape for name, p in self.module.named_parameters() if p.requires_grad}

    @property
    def n_parameters(self) -> int:
        """Length of phi."""
        return sum(math.prod(shape) for shape in self._sizes.values())

    @cached_property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), one group for each trainable tensor, and the names of the groups."""
        counts = [math.prod(shape) for shape in self._sizes.values()]
        return np.repeat(np.arange(len(counts)), counts), tuple(self._sizes)

    def partials(self, phi: Tensor, x: Tensor) -> Tensor:
        """Return expected partials (n, m, d) at standardized inputs x (n, d)."""
        begin, moved = 0, dict[str, Tensor](self.module.named_parameters())
        for name, shape in self._sizes.items():
            size = math.prod(shape)
            moved[name] = moved[name].detach() + phi[begin : begin + size].reshape(shape)
            begin += size
        found: Tensor = functional_call(self.module, moved, (self.mean + self.scale * x,))
        return found.reshape(len(x), *self.factor.shape) * self.factor

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        of_one = vmap(jacrev(lambda p, point: self.partials(p, point[None])[0]), in_dims=(None, 0))
        with torch.enable_grad():
            return self.partials(phi, x).detach(), of_one(phi, x).detach()
