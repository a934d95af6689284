"""Prior beliefs about the gradient, for `GradINN`: what an auxiliary network takes for likely before any data.

A belief is soft for the surrogate, whose partials are only drawn towards the field, and yields where the data
contradict it; the bounds of `Bounded`, `Monotone` and `Independent` are hard for the field itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import column_names
from gradopt.errors import InputError, ShapeError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.gradinn.auxiliary import Field, ModuleField, NetworkField
from gradopt.training.options import number


class Belief(ABC):
    """What all beliefs share."""

    @abstractmethod
    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,) that carry the belief."""

    @abstractmethod
    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """The auxiliary network for some data."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, with the class name under "kind"."""


@dataclass(frozen=True)
class NetworkBelief(Belief):
    """A belief that a multilayer perceptron carries.

    Attributes:
        hidden_sizes: Widths of its hidden layers.
    """

    hidden_sizes: tuple[int, ...] = (8,)

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "hidden_sizes", tuple(np.atleast_1d(self.hidden_sizes).tolist()))
        Network((1, *self.hidden_sizes, 1))

    def network(self, d: int, m: int) -> Network:
        """Shape of the auxiliary network: d inputs, m d partials."""
        return Network((d, *self.hidden_sizes, m * d), self._activation)

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,) that carry the belief."""
        return self.network(d, m).initialize(generator)

    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """The auxiliary network for some data."""
        low, high = self.bounds(data, scaling)
        arrays = (torch.tensor(array, dtype=dtype, device=device) for array in (low, high, self.sees(data.d)))
        return NetworkField(self.network(data.d, data.m), *arrays)

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
class Smooth(NetworkBelief):
    """Partials that change slowly: a small tanh network."""


@dataclass(frozen=True)
class Oscillating(NetworkBelief):
    """Partials that go up and down: sines.

    Attributes:
        frequency: Full waves per standard deviation of an input.
    """

    frequency: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "frequency", number("frequency", self.frequency, positive=True))

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters whose first layer has the frequency."""
        found = super().initialize(d, m, generator)
        weights, _, _ = self.network(d, m).layers[0]
        rows = generator.standard_normal((weights.stop - weights.start) // d * d).reshape(-1, d)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        found[weights] = (2.0 * np.pi * self.frequency * rows / lengths).ravel()
        return found

    @property
    def _activation(self) -> str:
        return "sin"


@dataclass(frozen=True)
class Constant(NetworkBelief):
    """Partials that do not change: a response that is linear."""

    hidden_sizes: tuple[int, ...] = ()

    def sees(self, d: int) -> np.ndarray:
        """No input."""
        return np.zeros(d)


@dataclass(frozen=True, kw_only=True)
class Independent(NetworkBelief):
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
class Monotone(NetworkBelief):
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
class Bounded(NetworkBelief):
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


@dataclass(frozen=True)
class Custom(Belief):
    """Whatever a torch module says: from inputs (n, d) to partials (n, m, d) or (n, m d), both in physical units.

    The parameters that it comes with are the most likely ones, from which those that require a gradient are moved by
    the data; the others stay as they are. `GradINN(prior=module)` makes one. A file keeps its name alone, so that a
    surrogate that was loaded predicts, and is fitted again with `GradINN(prior=module).fit(data, warm_start=loaded)`.

    Attributes:
        module: The module; a copy of it is trained.
    """

    module: nn.Module | None = None

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """As far from the module's parameters as those are likely: not at all."""
        return np.zeros(sum(p.numel() for p in self._present.parameters() if p.requires_grad))

    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """The module between standardized inputs and partials."""
        if any(column_transforms(data.input_variables)) or any(column_transforms(data.output_variables)):
            remedy = "Take the transforms away, or use a named belief."
            raise InputError(
                explain("prior", "be a named belief with variables that have a transform", "a module", remedy)
            )
        arrays = scaling.input_mean, scaling.input_scale, scaling.input_scale / scaling.output_scale[:, None]
        mean, scale, factor = (torch.tensor(array, dtype=dtype, device=device) for array in arrays)
        module = deepcopy(self._present).to(dtype=dtype, device=device)
        x = torch.tensor(data.x[:2], dtype=dtype, device=device)
        with torch.no_grad():
            found = module(x)
        expected = f"return partials of shape (n, m, d) = (2, {data.m}, {data.d}) for 2 samples"
        if not isinstance(found, torch.Tensor) or found.numel() != 2 * data.m * data.d or len(found) != 2:
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ShapeError(explain("prior", expected, got, "One row for each sample: of each output, by each input."))
        if not bool(found.isfinite().all()):
            raise InputError(explain("prior", "return finite partials", found.tolist(), "Check it at `data.x`."))
        return ModuleField(module, mean, scale, factor)

    def to_dict(self) -> dict[str, Any]:
        """Return the name of the module's class."""
        return {"kind": type(self).__name__, "name": type(self._present).__name__}

    @property
    def _present(self) -> nn.Module:
        if self.module is None:
            remedy = "A file does not keep it: use `dataclasses.replace(configuration, prior=module)`."
            raise InputError(explain("prior", "have its module", "a belief that was read from a file", remedy))
        return self.module


BELIEFS: dict[str, type[Belief]] = {
    kind.__name__: kind for kind in (Smooth, Oscillating, Constant, Independent, Monotone, Bounded, Custom)
}


def belief_from_dict(settings: dict[str, Any]) -> Belief:
    """Build a belief from what `Belief.to_dict` returned, by way of JSON."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    kind = BELIEFS[values.pop("kind")]
    return Custom() if kind is Custom else kind(**values)


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
