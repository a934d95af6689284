"""Prior beliefs about the gradient, for `GradINN`: what an auxiliary network takes for likely before any data.

A belief is soft for the surrogate, whose partials are only drawn towards the field, and relaxes where the data
contradict it; the bounds of `Bounded`, `Monotone` and `Independent` are hard for the field itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import column_names
from gradopt.errors import InputError, explain
from gradopt.networks.mlp import Network
from gradopt.training.options import number


@dataclass(frozen=True)
class Belief:
    """What all beliefs share.

    Attributes:
        hidden_sizes: Widths of the hidden layers of the auxiliary network.
    """

    hidden_sizes: tuple[int, ...] = (8,)

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "hidden_sizes", tuple(np.atleast_1d(self.hidden_sizes).tolist()))
        Network((1, *self.hidden_sizes, 1))

    def network(self, d: int, m: int) -> Network:
        """Shape of the auxiliary network: d inputs, m d partials."""
        return Network((d, *self.hidden_sizes, m * d), self._activation)

    def initialize(self, network: Network, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,) that carry the belief."""
        return network.initialize(generator)

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest partials (m, d), standardized, of the field."""
        return np.full((data.m, data.d), -np.inf), np.full((data.m, data.d), np.inf)

    def sees(self, d: int) -> np.ndarray:
        """Which inputs the partials may depend on (d,), 1 or 0."""
        return np.ones(d)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, with the class name under "kind"."""
        return {"kind": type(self).__name__, **asdict(self)}

    @property
    def _activation(self) -> str:
        return "tanh"


@dataclass(frozen=True)
class Smooth(Belief):
    """Partials that change slowly: a small tanh network."""


@dataclass(frozen=True)
class Oscillating(Belief):
    """Partials that go up and down: sines.

    Attributes:
        frequency: Full waves per standard deviation of an input.
    """

    frequency: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "frequency", number("frequency", self.frequency, positive=True))

    def initialize(self, network: Network, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters whose first layer has the frequency."""
        found = network.initialize(generator)
        weights, _, (_, d) = network.layers[0]
        rows = generator.standard_normal((weights.stop - weights.start) // d * d).reshape(-1, d)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        found[weights] = (2.0 * np.pi * self.frequency * rows / lengths).ravel()
        return found

    @property
    def _activation(self) -> str:
        return "sin"


@dataclass(frozen=True)
class Constant(Belief):
    """Partials that do not change: a response that is linear."""

    hidden_sizes: tuple[int, ...] = ()

    def sees(self, d: int) -> np.ndarray:
        """No input."""
        return np.zeros(d)


@dataclass(frozen=True, kw_only=True)
class Independent(Belief):
    """Partials that vanish: outputs that do not depend on some inputs.

    Attributes:
        inputs: Names of the input columns.
    """

    inputs: Sequence[str]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Zero for these inputs."""
        low, high = super().bounds(data, scaling)
        columns = _columns(self.inputs, data)
        low[:, columns] = high[:, columns] = 0.0
        return low, high


@dataclass(frozen=True, kw_only=True)
class Monotone(Belief):
    """Partials of one sign: outputs that grow, or fall, with some inputs.

    Attributes:
        sign: 1 = grow, -1 = fall.
        inputs: Names of the input columns.
    """

    sign: int
    inputs: Sequence[str]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.sign not in (1, -1):
            raise InputError(explain("sign", "be 1 or -1", repr(self.sign), "1 = they grow with the inputs."))
        object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Zero as the least, or the largest, partials for these inputs."""
        low, high = super().bounds(data, scaling)
        (low if self.sign > 0 else high)[:, _columns(self.inputs, data)] = 0.0
        return low, high


@dataclass(frozen=True, kw_only=True)
class Bounded(Belief):
    """Partials between two numbers.

    Attributes:
        low: Least partial, unit of y per unit of x.
        high: Largest partial.
        inputs: Names of the input columns; None = all.
    """

    low: float = -np.inf
    high: float = np.inf
    inputs: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if not self.low < self.high:
            remedy = "Partials known to be one number are data: put it into `dydx`."
            raise InputError(explain("low", f"be less than high = {self.high}", self.low, remedy))
        if self.inputs is not None:
            object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """The two numbers, standardized."""
        least, largest = super().bounds(data, scaling)
        columns = list(range(data.d)) if self.inputs is None else _columns(self.inputs, data)
        transforms = column_transforms(data.input_variables)
        if any(column_transforms(data.output_variables)) or any(transforms[column] for column in columns):
            remedy = "Their size depends on the point there; use `Monotone` for their sign."
            raise InputError(explain("prior", "bound partials of variables without a transform", "others", remedy))
        factor = scaling.input_scale / scaling.output_scale[:, None]
        least[:, columns], largest[:, columns] = (self.low * factor)[:, columns], (self.high * factor)[:, columns]
        return np.where(factor > 0.0, least, 0.0), np.where(factor > 0.0, largest, 0.0)


BELIEFS: dict[str, type[Belief]] = {
    kind.__name__: kind for kind in (Smooth, Oscillating, Constant, Independent, Monotone, Bounded)
}


def belief_from_dict(settings: dict[str, Any]) -> Belief:
    """Build a belief from what `Belief.to_dict` returned, by way of JSON."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    return BELIEFS[values.pop("kind")](**values)


def _names(inputs: Sequence[str] | str) -> tuple[str, ...]:
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(explain("inputs", "hold names of input columns", repr(inputs), "Try ('x0',)."))
    return names


def _columns(names: Sequence[str], data: Dataset) -> list[int]:
    known = column_names(data.input_variables)
    for name in names:
        if name not in known:
            raise InputError(explain("inputs", f"name input columns, of {known}", repr(name), "See `data.inputs`."))
    return [known.index(name) for name in names]
