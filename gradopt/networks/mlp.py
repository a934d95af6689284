"""The shape of a network: a multilayer perceptron plus a polynomial trend, with parameters in one flat vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
from torch import Tensor

from gradopt.errors import InputError, explain
from gradopt.networks.activations import Activation, get_activation

TRENDS = (None, "linear", "quadratic")


@dataclass(frozen=True)
class Network:
    """Shape of a multilayer perceptron with a linear last layer, plus a trend; without parameters.

    A linear trend adds to output k the sum of c_kj z_j over the standardized inputs z. A quadratic trend also adds the
    sum of q_kij z_i z_j over i <= j. So the layers need not fit what a polynomial of low degree fits.

    The parameters form one flat vector theta of length `n_parameters`: for each layer the weights (outputs, inputs)
    row by row, then the biases (outputs,); then the coefficients of the linear trend c (m, d) row by row and those of
    the quadratic trend q (m, d(d+1)/2) row by row, pairs in the order of `np.triu_indices(d)`.

    Attributes:
        layer_sizes: Numbers of units (d, hidden sizes ..., m).
        activation: Name of a smooth activation, see `gradopt.networks.activations`.
        trend: Trend "linear", "quadratic" (with the linear terms), or None.
    """

    layer_sizes: tuple[int, ...]
    activation: str = "tanh"
    trend: str | None = None

    def __post_init__(self) -> None:
        """Check sizes, activation and trend."""
        if len(self.layer_sizes) < 2 or any(not isinstance(size, Integral) or size < 1 for size in self.layer_sizes):
            raise InputError(
                explain("hidden_sizes", "hold whole numbers of at least 1", self.layer_sizes[1:-1], "Try (20,).")
            )
        get_activation(self.activation)
        if self.trend not in TRENDS:
            remedy = "None means no trend."
            raise InputError(explain("trend", "be None, 'linear' or 'quadratic'", repr(self.trend), remedy))

    @property
    def function(self) -> Activation:
        """Activation with its derivatives."""
        return get_activation(self.activation)

    @cached_property
    def layers(self) -> tuple[tuple[slice, slice, tuple[int, int]], ...]:
        """Slice of the weights in theta, slice of the biases, and shape (outputs, inputs) of each layer."""
        found = []
        start = 0
        for fan_in, fan_out in zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True):
            weights = slice(start, start + fan_in * fan_out)
            biases = slice(weights.stop, weights.stop + fan_out)
            found.append((weights, biases, (fan_out, fan_in)))
            start = biases.stop
        return tuple(found)

    @cached_property
    def linear_trend(self) -> slice | None:
        """Slice of the linear trend's coefficients in theta; None without a linear trend."""
        if self.trend is None:
            return None
        start = self.layers[-1][1].stop
        return slice(start, start + self.layer_sizes[-1] * self.layer_sizes[0])

    @cached_property
    def quadratic_trend(self) -> slice | None:
        """Slice of the quadratic trend's coefficients in theta; None without a quadratic trend."""
        if self.trend != "quadratic" or self.linear_trend is None:
            return None
        d, start = self.layer_sizes[0], self.linear_trend.stop
        return slice(start, start + self.layer_sizes[-1] * (d * (d + 1) // 2))

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        return (self.quadratic_trend or self.linear_trend or self.layers[-1][1]).stop

    @property
    def parameter_groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Group of each parameter (n_parameters,), and the names of the groups; a group shares one prior precision.

        The names are "input 0" ... for the weights of the first layer by input column, "biases 1" for the biases of the
        first layer, "layer 2" ... for the weights and biases of each later layer, "linear trend" and "quadratic trend".
        """
        (weights, biases, (units, d)), *later = self.layers
        groups = np.empty(self.n_parameters, dtype=int)
        groups[weights] = np.tile(np.arange(d), units)
        groups[biases] = d
        names = [*(f"input {column}" for column in range(d)), "biases 1"]
        parts = {f"layer {number}": slice(w.start, b.stop) for number, (w, b, _) in enumerate(later, start=2)}
        trends = {"linear trend": self.linear_trend, "quadratic trend": self.quadratic_trend}
        for name, part in {**parts, **trends}.items():
            if part is not None:
                groups[part] = len(names)
                names.append(name)
        return groups, tuple(names)

    def unpack(self, theta: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Split theta into layers.

        Args:
            theta: Parameters (n_parameters,).

        Returns:
            Weights (outputs, inputs) and biases (outputs,) of each layer, views of theta.
        """
        return [(theta[w].reshape(shape), theta[b]) for w, b, shape in self.layers]

    def initialize(self, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters for standardized inputs.

        Weights of hidden layers are normal with standard deviation gain/(2 sqrt(fan in)), so that the network is smooth
        at first. Their biases are normal with standard deviation gain, which spreads the bends of the units over the
        data. Of five pairs of these two scales this pair gave the lowest errors on 2-D Rosenbrock (no script kept).
        Weights of the last layer are normal with standard deviation 1/sqrt(fan in). Its biases and the trend are 0.

        Args:
            generator: Source of randomness.

        Returns:
            theta (n_parameters,).
        """
        theta = np.zeros(self.n_parameters)
        *hidden, last = self.layers
        for weights, biases, (_, fan_in) in hidden:
            scale = 0.5 * self.function.gain / np.sqrt(fan_in)
            theta[weights] = scale * generator.standard_normal(weights.stop - weights.start)
            theta[biases] = self.function.gain * generator.standard_normal(biases.stop - biases.start)
        weights, _, (_, fan_in) = last
        theta[weights] = generator.standard_normal(weights.stop - weights.start) / np.sqrt(fan_in)
        return theta
