"""Priors on the gradient for `GradINN`: which partials an auxiliary network (the field) expects before any data.

A prior is soft for the surrogate: its partials are drawn towards those of the field, and data that contradict the prior
outweigh it. The bounds of `Bounded`, `Monotone` and `Independent` are hard for the field itself.
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
from gradopt.data.variables import Variable, column_names
from gradopt.errors import InputError, ShapeError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.gradinn.auxiliary import Field, ModuleField, NetworkField
from gradopt.training.options import number


class Prior(ABC):
    """Base of the priors on the gradient."""

    @abstractmethod
    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,) of the field.

        Args:
            d: Number of input columns.
            m: Number of output columns.
            generator: Source of randomness.
        """

    @abstractmethod
    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """Build the auxiliary network for some data."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, with the class name under "kind"."""


@dataclass(frozen=True)
class NetworkPrior(Prior):
    """Base of the priors whose field is a multilayer perceptron.

    Attributes:
        hidden_sizes: Widths of the hidden layers of the field.
    """

    hidden_sizes: tuple[int, ...] = (8,)

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "hidden_sizes", tuple(np.atleast_1d(self.hidden_sizes).tolist()))
        Network((1, *self.hidden_sizes, 1))

    def network(self, d: int, m: int) -> Network:
        """Return the shape of the field: d inputs, m d outputs."""
        return Network((d, *self.hidden_sizes, m * d), self._activation)

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,) of the field."""
        return self.network(d, m).initialize(generator)

    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """Build the field for some data."""
        low, high = self.bounds(data, scaling)
        arrays = (torch.tensor(array, dtype=dtype, device=device) for array in (low, high, self.active_inputs(data.d)))
        return NetworkField(self.network(data.d, data.m), *arrays)

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of the partials, each (m, d), standardized."""
        return np.full((data.m, data.d), -np.inf), np.full((data.m, data.d), np.inf)

    def active_inputs(self, d: int) -> np.ndarray:
        """Return 1 for each input that the partials may depend on, else 0, (d,)."""
        return np.ones(d)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, with the class name under "kind"."""
        return {"kind": type(self).__name__, **asdict(self)}

    @property
    def _activation(self) -> str:
        return "tanh"


@dataclass(frozen=True)
class Smooth(NetworkPrior):
    """Partials that change slowly; the field is a small tanh network."""


@dataclass(frozen=True)
class Oscillating(NetworkPrior):
    """Partials that oscillate; the field is a network of sines.

    Attributes:
        frequency: Number of full waves per standard deviation of an input.
    """

    frequency: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "frequency", number("frequency", self.frequency, positive=True))

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Draw initial parameters (n_parameters,); the first layer has the frequency."""
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
class Constant(NetworkPrior):
    """Constant partials: a linear response."""

    hidden_sizes: tuple[int, ...] = ()

    def active_inputs(self, d: int) -> np.ndarray:
        """Return zeros (d,): constant partials depend on no input."""
        return np.zeros(d)


@dataclass(frozen=True, kw_only=True)
class Independent(NetworkPrior):
    """Partials of 0: outputs that do not depend on some inputs.

    Attributes:
        inputs: Names of the input columns.
    """

    inputs: Sequence[str]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of 0 for these inputs, each (m, d)."""
        low, high = super().bounds(data, scaling)
        columns = _columns(self.inputs, data)
        low[:, columns] = high[:, columns] = 0.0
        return low, high


@dataclass(frozen=True, kw_only=True)
class Monotone(NetworkPrior):
    """Partials of one sign: outputs that increase or decrease with some inputs.

    Attributes:
        sign: 1 = increase, -1 = decrease.
        inputs: Names of the input columns.
    """

    sign: int
    inputs: Sequence[str]

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.sign not in (1, -1):
            raise InputError(
                explain("sign", "be 1 or -1", repr(self.sign), "1 = outputs increase with the inputs, -1 = decrease.")
            )
        object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Return a lower or an upper bound of 0 for these inputs, each (m, d)."""
        low, high = super().bounds(data, scaling)
        (low if self.sign > 0 else high)[:, _columns(self.inputs, data)] = 0.0
        return low, high


@dataclass(frozen=True, kw_only=True)
class Bounded(NetworkPrior):
    """Partials between two numbers.

    Attributes:
        low: Lower bound, unit of y per unit of x.
        high: Upper bound, unit of y per unit of x.
        inputs: Names of the input columns; None = all.
    """

    low: float = -np.inf
    high: float = np.inf
    inputs: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if not self.low < self.high:
            remedy = "Put a partial that is known into `dydx` instead."
            raise InputError(explain("low", f"be less than high = {self.high}", self.low, remedy))
        if self.inputs is not None:
            object.__setattr__(self, "inputs", _names(self.inputs))

    def bounds(self, data: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds in standardized units, each (m, d)."""
        least, largest = super().bounds(data, scaling)
        columns = list(range(data.d)) if self.inputs is None else _columns(self.inputs, data)
        bounded = [_transformed(data.input_variables)[column] for column in columns]
        transformed = [name for name in (*_transformed(data.output_variables), *bounded) if name]
        if transformed:
            remedy = "With a transform the bound depends on the point; use `Monotone`, which fixes the sign alone."
            raise InputError(explain("prior", "bound partials of variables without a transform", transformed, remedy))
        factor = scaling.input_scale / scaling.output_scale[:, None]
        least[:, columns], largest[:, columns] = (self.low * factor)[:, columns], (self.high * factor)[:, columns]
        return np.where(factor > 0.0, least, 0.0), np.where(factor > 0.0, largest, 0.0)


@dataclass(frozen=True)
class Custom(Prior):
    """Partials by a torch module: from inputs (n, d) to partials (n, m, d) or (n, m d), both in physical units.

    The initial parameters of the module are the most likely ones. Training moves those that require a gradient; the
    others stay fixed. `GradINN(prior=module)` makes such a prior. A file keeps only the name of the module's class: a
    loaded surrogate predicts, and `GradINN(prior=module).fit(data, warm_start=loaded)` continues its training.

    Attributes:
        module: Module of the user; a copy of it is trained.
    """

    module: nn.Module | None = None

    def initialize(self, d: int, m: int, generator: np.random.Generator) -> np.ndarray:
        """Return zeros: the parameters of the field are changes from the initial parameters of the module."""
        return np.zeros(sum(p.numel() for p in self._present.parameters() if p.requires_grad))

    def field(self, data: Dataset, scaling: Scaling, dtype: torch.dtype, device: torch.device) -> Field:
        """Build the field: the module between standardized inputs and standardized partials."""
        if any((*_transformed(data.input_variables), *_transformed(data.output_variables))):
            remedy = "Remove the transforms, or use a named prior such as Smooth()."
            expected = "be a named prior where a variable has a transform"
            raise InputError(explain("prior", expected, f"the module {type(self._present).__name__}", remedy))
        arrays = scaling.input_mean, scaling.input_scale, scaling.input_scale / scaling.output_scale[:, None]
        mean, scale, factor = (torch.tensor(array, dtype=dtype, device=device) for array in arrays)
        module = deepcopy(self._present).to(dtype=dtype, device=device)
        x = torch.tensor(data.x[:2], dtype=dtype, device=device)
        with torch.no_grad():
            found = module(x)
        expected = f"return partials of shape (n, m, d) = (2, {data.m}, {data.d}) for 2 samples"
        if not isinstance(found, torch.Tensor) or found.numel() != 2 * data.m * data.d or len(found) != 2:
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ShapeError(explain("prior", expected, got, "Return one row for each sample, output by output."))
        if not bool(found.isfinite().all()):
            raise InputError(
                explain("prior", "return finite partials", found.tolist(), "Check the module at `data.x[:2]`.")
            )
        return ModuleField(module, mean, scale, factor)

    def to_dict(self) -> dict[str, Any]:
        """Return the name of the module's class."""
        return {"kind": type(self).__name__, "name": type(self._present).__name__}

    @property
    def _present(self) -> nn.Module:
        if self.module is None:
            remedy = "Files do not keep modules: use `dataclasses.replace(configuration, prior=module)`."
            raise InputError(explain("prior", "have its module", "a prior read from a file", remedy))
        return self.module


PRIORS: dict[str, type[Prior]] = {
    kind.__name__: kind for kind in (Smooth, Oscillating, Constant, Independent, Monotone, Bounded, Custom)
}


def prior_from_dict(settings: dict[str, Any]) -> Prior:
    """Build a prior from what `Prior.to_dict` returned, by way of JSON."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    kind = PRIORS[values.pop("kind")]
    return Custom() if kind is Custom else kind(**values)


def _transformed(variables: Sequence[Variable]) -> list[str | None]:
    """Name of each column whose variable has a transform, None for the others."""
    pairs = zip(column_names(variables), column_transforms(variables), strict=True)
    return [name if transform else None for name, transform in pairs]


def _names(inputs: Sequence[str] | str) -> tuple[str, ...]:
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(explain("inputs", "hold names of input columns", repr(inputs), "Try ('x0',)."))
    return names


def _columns(names: Sequence[str], data: Dataset) -> list[int]:
    known = column_names(data.input_variables)
    for name in names:
        if name not in known:
            raise InputError(
                explain("inputs", f"hold names among the input columns {known}", repr(name), "See `data.inputs`.")
            )
    return [known.index(name) for name in names]
