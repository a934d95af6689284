"""Smooth activations with their first two derivatives.

A fit of partials uses the second derivative of the activation, and SLSQP needs continuous partials. So there are only
activations with continuous second derivatives here. All accept complex tensors, for complex step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradopt.errors import InputError, explain


@dataclass(frozen=True)
class Activation:
    """One activation; its functions work elementwise on a tensor of any shape.

    Attributes:
        name: Name in a configuration.
        first: Function z -> (value, first derivative).
        second: Function (z, value, first derivative) -> second derivative.
        gain: Factor on the standard deviation of the initial weights, the inverse of the slope at 0.
    """

    name: str
    first: Callable[[Tensor], tuple[Tensor, Tensor]]
    second: Callable[[Tensor, Tensor, Tensor], Tensor]
    gain: float = 1.0


def _tanh(z: Tensor) -> tuple[Tensor, Tensor]:
    a = torch.tanh(z)
    return a, 1.0 - a * a


def _sigmoid(z: Tensor) -> tuple[Tensor, Tensor]:
    a = torch.sigmoid(z)
    return a, a * (1.0 - a)


def _silu(z: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(z)
    a = z * s
    return a, s + a * (1.0 - s)


def _silu_second(z: Tensor, a: Tensor, slope: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1.0 - s) * (2.0 + z * (1.0 - 2.0 * s))


def _softplus(z: Tensor) -> tuple[Tensor, Tensor]:
    # log(1 + exp(z)) without overflow; torch's own softplus does not accept complex numbers.
    positive = z.real > 0
    a = torch.log1p(torch.exp(torch.where(positive, -z, z))) + torch.where(positive, z, torch.zeros_like(z))
    return a, torch.sigmoid(z)


def _sin(z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.sin(z), torch.cos(z)


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("tanh", _tanh, lambda z, a, slope: -2.0 * a * slope),
        Activation("sigmoid", _sigmoid, lambda z, a, slope: slope * (1.0 - 2.0 * a), gain=4.0),
        Activation("silu", _silu, _silu_second, gain=2.0),
        Activation("softplus", _softplus, lambda z, a, slope: slope * (1.0 - slope), gain=2.0),
        Activation("sin", _sin, lambda z, a, slope: -a),
    )
}

_NOT_SMOOTH = {"relu", "leaky_relu", "leakyrelu", "prelu", "elu", "selu", "hardtanh", "relu6"}


def get_activation(name: str) -> Activation:
    """Find an activation by name.

    Args:
        name: One of "tanh", "sigmoid", "silu", "softplus", "sin".

    Returns:
        The activation.

    Raises:
        InputError: If the name is unknown, or names an activation that is not smooth.
    """
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    smooth = ", ".join(repr(known) for known in ACTIVATIONS)
    if str(name).lower() in _NOT_SMOOTH:
        remedy = (
            "This activation has a kink: its partials cannot be fitted, and SLSQP may stop at the kink. "
            "Use 'silu' or 'softplus', which are smooth."
        )
    else:
        remedy = "Use 'tanh' in doubt."
    raise InputError(explain("activation", f"be one of {smooth}", repr(name), remedy))
