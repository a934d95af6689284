"""Auxiliary networks F that carry a belief about the gradient: partials as a function of the inputs, to be trained."""

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
    """Partials (n, m, d) at standardized inputs (n, d), in standardized units."""

    @property
    def n_parameters(self) -> int:
        """Length of phi."""
        ...

    @property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), and the names of the groups."""
        ...

    def partials(self, phi: Tensor, x: Tensor) -> Tensor:
        """Believed partials (n, m, d); differentiable by phi."""
        ...

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Believed partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkField:
    """A multilayer perceptron, within bounds.

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

    @property
    def n_parameters(self) -> int:
        """Length of phi."""
        return self.network.n_parameters

    @property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), and the names of the groups."""
        return self.network.parameter_groups

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
        return partials, slopes[..., None] * jacobian[:, :, 0].reshape(*partials.shape, self.n_parameters)


@dataclass(frozen=True, eq=False)
class ModuleField:
    """Anybody's torch module, from physical inputs (n, d) to physical partials (n, m, d).

    phi is how far its trainable parameters are from those that it came with, which so are the most likely ones.
    Parameters that do not require a gradient stay as they are.

    Attributes:
        module: The module, in the type and on the device of the training; it is not changed.
        mean: Means of the inputs (d,).
        scale: Their scales (d,).
        factor: What turns physical partials into standardized ones (m, d).
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
        """Each trainable parameter of the module is a group."""
        counts = [math.prod(shape) for shape in self._sizes.values()]
        return np.repeat(np.arange(len(counts)), counts), tuple(self._sizes)

    def partials(self, phi: Tensor, x: Tensor) -> Tensor:
        """Believed partials (n, m, d) at standardized inputs x (n, d)."""
        begin, moved = 0, dict[str, Tensor](self.module.named_parameters())
        for name, shape in self._sizes.items():
            size = math.prod(shape)
            moved[name] = moved[name].detach() + phi[begin : begin + size].reshape(shape)
            begin += size
        found: Tensor = functional_call(self.module, moved, (self.mean + self.scale * x,))
        return found.reshape(len(x), *self.factor.shape) * self.factor

    def linearized(self, phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Believed partials (n, m, d) and their derivatives (n, m, d, n_parameters) with respect to phi."""
        of_one = vmap(jacrev(lambda p, point: self.partials(p, point[None])[0]), in_dims=(None, 0))
        with torch.enable_grad():
            return self.partials(phi, x).detach(), of_one(phi, x).detach()
