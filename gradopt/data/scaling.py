"""Standardization and transforms: the only place with the chain rule of units.

A physical column v becomes (t(v) - mean) / scale, where t is the transform of its variable (identity, log or logit).
Mean and scale are those of the training data. Partials follow: with u for outputs and z for inputs,

    du/dz = dy/dx * t_y'(y) / scale_y * scale_x / t_x'(x)

A constant input column has scale 0; its z and the partials with respect to it are 0, and nothing is divided by 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradopt.data.arrays import ReadOnly, freeze_fields
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable, column_names
from gradopt.errors import InputError, explain

_LARGEST_EXPONENT = 700.0  # largest log of an output; by hand: just below 709.8, where exp() overflows in float64
_SMALLEST_SCALE = 1e-306  # smallest scale, and inverse of the largest; by hand: numbers end at 2e-308 and 2e308
_CONSTANT = 1e-13  # standard deviation that counts as 0, part of the largest absolute value; by hand, near round-off


@dataclass(frozen=True, eq=False)
class Scaling(ReadOnly):
    """Map of physical columns to standardized ones and back.

    Attributes:
        input_mean: Means (d,) of the input columns, in transformed units, as the other arrays.
        input_scale: Scales (d,) of the input columns, 0 where the column is constant.
        output_mean: Means (m,) of the output columns.
        output_scale: Scales (m,) of the output columns, never 0.
        input_transforms: Transforms of the input columns, each None, "log" or "logit".
        output_transforms: Transforms of the output columns, likewise.
    """

    input_mean: np.ndarray
    input_scale: np.ndarray
    output_mean: np.ndarray
    output_scale: np.ndarray
    input_transforms: tuple[str | None, ...]
    output_transforms: tuple[str | None, ...]

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_fields(self, "input_mean", "input_scale", "output_mean", "output_scale")

    @classmethod
    def of(cls, data: Dataset) -> Scaling:
        """Compute means and standard deviations of data.

        Args:
            data: The training data.

        Returns:
            The scaling. A constant output gets the scale of its partials, or 1 where these vanish too.

        Raises:
            InputError: If a value is outside the domain of its transform, or a column varies by so little or so much
                that its scale or the inverse of its scale is beyond the range of numbers.
        """
        input_transforms = column_transforms(data.input_variables)
        output_transforms = column_transforms(data.output_variables)
        _check_domain("x", data.x, input_transforms, column_names(data.input_variables))
        _check_domain("y", data.y, output_transforms, column_names(data.output_variables))
        input_mean, input_scale = _moments(_forward(data.x, input_transforms))
        output_mean, output_scale = _moments(_forward(data.y, output_transforms))
        unit = cls(input_mean, input_scale, output_mean, np.ones(data.m), input_transforms, output_transforms)
        with np.errstate(over="ignore", invalid="ignore"):  # `_check_range` names the column
            slopes = unit.scale_partials(data.x, data.y, np.where(data.known, data.partials, 0.0))
            steepest = np.hypot.reduce(np.abs(slopes), axis=2).max(axis=0)  # squares of 1e200 would overflow
        fallback = np.where(steepest >= _SMALLEST_SCALE, steepest, 1.0)
        output_scale = np.where(output_scale > 0.0, output_scale, fallback)
        for argument, scale, names in (
            ("x", input_scale, column_names(data.input_variables)),
            ("y", output_scale, column_names(data.output_variables)),
        ):
            _check_range(argument, scale, names)
        return cls(input_mean, input_scale, output_mean, output_scale, input_transforms, output_transforms)

    @cached_property
    def _per_scale(self) -> np.ndarray:
        """Inverses (d,) of the scales of the inputs, 0 where the column is constant."""
        return _inverse(self.input_scale)

    @property
    def constant(self) -> np.ndarray:
        """Mask (d,) of the constant input columns, bool."""
        return self.input_scale == 0.0

    def transform_inputs(self, x: np.ndarray) -> np.ndarray:
        """Apply the transforms, not the standardization, to inputs x (n, d)."""
        return _forward(x, self.input_transforms)

    def scale_inputs(self, x: np.ndarray) -> np.ndarray:
        """Standardize inputs x (n, d), real or complex."""
        return (self.transform_inputs(x) - self.input_mean) * self._per_scale

    def scale_outputs(self, y: np.ndarray) -> np.ndarray:
        """Standardize outputs y (n, m)."""
        return (_forward(y, self.output_transforms) - self.output_mean) / self.output_scale

    def scale_partials(self, x: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> np.ndarray:
        """Standardize partials.

        Args:
            x: Inputs (n, d), physical.
            y: Outputs (n, m), physical.
            dydx: Partials (n, m, d), physical; NaN stays NaN.

        Returns:
            Partials (n, m, d) of standardized outputs with respect to standardized inputs.
        """
        rows = 1.0 / (_rate(y, self.output_transforms) * self.output_scale)
        columns = self.input_scale * _rate(x, self.input_transforms)
        return dydx * rows[:, :, None] * columns[:, None, :]

    def unscale_outputs(self, u: np.ndarray) -> np.ndarray:
        """Convert standardized outputs u (n, m), real or complex, to physical units."""
        return _backward(u * self.output_scale + self.output_mean, self.output_transforms)

    def unscale_partials(self, x: np.ndarray, y: np.ndarray, dudz: np.ndarray) -> np.ndarray:
        """Convert standardized partials to physical units, the inverse of `scale_partials`.

        Args:
            x: Inputs (n, d), physical.
            y: Outputs (n, m), physical, from `unscale_outputs`.
            dudz: Partials (n, m, d), standardized.

        Returns:
            Partials (n, m, d), physical; 0 with respect to constant columns.
        """
        rows = self.output_scale * _rate(y, self.output_transforms)
        columns = self._per_scale / _rate(x, self.input_transforms)
        return dudz * rows[:, :, None] * columns[:, None, :]

    def unscale_std(self, y: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Convert standard deviations (n, m) of standardized outputs to physical units at y (n, m), physical."""
        return std * self.output_scale * _rate(y, self.output_transforms)

    def transform_coupling(self, y: np.ndarray, dudz: np.ndarray) -> np.ndarray:
        """Derivative of the physical partials with respect to the standardized outputs, through the transforms.

        Args:
            y: Outputs (n, m), physical.
            dudz: Partials (n, m, d), standardized.

        Returns:
            Coefficients b (n, m, d), 0 without a transform: small changes of u and of du/dz change the physical
            partials by `unscale_partials` of (change of du/dz + b times change of u).
        """
        growth = np.zeros_like(_floats(y))  # d log(1/t'(y)) / d t(y)
        for column, transform in enumerate(self.output_transforms):
            if transform is not None:
                growth[:, column] = 1.0 if transform == "log" else 1.0 - 2.0 * y[:, column]
        return dudz * (growth * self.output_scale)[:, :, None]


def column_transforms(variables: Sequence[Variable]) -> tuple[str | None, ...]:
    """Return the transform of each column of several variables together."""
    return tuple(variable.transform for variable in variables for _ in range(variable.size))


def check_input_domain(x: np.ndarray, variables: Sequence[Variable]) -> None:
    """Raise `InputError` if an input column x (n, d) leaves the domain of its transform."""
    if any(variable.transform for variable in variables):
        _check_domain("x", x, column_transforms(variables), column_names(variables))


def outside_domain(values: np.ndarray, variables: Sequence[Variable]) -> np.ndarray:
    """Return the mask (n, columns) of the values (n, columns) outside the domains of their transforms; NaN is not."""
    mask = np.zeros(values.shape, dtype=bool)
    for column, transform in enumerate(column_transforms(variables)):
        if transform is not None:
            mask[:, column] = _is_outside(values[:, column].real, transform)
    return mask


def _is_outside(values: np.ndarray, transform: str) -> np.ndarray:
    return (values <= 0.0) | (values >= 1.0) if transform == "logit" else values <= 0.0


def _check_domain(argument: str, values: np.ndarray, transforms: Sequence[str | None], names: Sequence[str]) -> None:
    for column, transform in enumerate(transforms):
        real = values[:, column].real
        if transform and (bad := _is_outside(real, transform)).any():
            row = int(np.flatnonzero(bad)[0])
            domain = "lie in (0, 1)" if transform == "logit" else "be positive"
            raise InputError(
                explain(
                    argument,
                    f"{domain} in column {names[column]!r}, which has transform {transform!r}",
                    f"{real[row]} in row {row}",
                    "Drop those samples or the transform.",
                )
            )


def is_usable(scale: np.ndarray) -> np.ndarray:
    """Return whether scales and their inverses are normal numbers, bool in the shape of `scale`."""
    return np.asarray((scale >= _SMALLEST_SCALE) & (scale <= 1.0 / _SMALLEST_SCALE))


def _check_range(argument: str, scale: np.ndarray, names: Sequence[str]) -> None:
    """Raise `InputError` if a scale is neither 0 nor usable."""
    bad = np.flatnonzero((scale != 0.0) & ~is_usable(scale))
    if len(bad):
        expected = f"vary by {_SMALLEST_SCALE:.0e} to {1.0 / _SMALLEST_SCALE:.0e} in column {names[bad[0]]!r}"
        got = f"a scale of {scale[bad[0]]:.1e} (standard deviation, or that of its partials)"
        raise InputError(explain(argument, expected, got, "Write the column in other units."))


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column; the latter 0 where a column hardly varies."""
    largest = np.abs(values).max(axis=0)
    relative = values / np.where(largest > 0.0, largest, 1.0)  # squares of 1e200 would overflow
    scale = relative.std(axis=0)
    return relative.mean(axis=0) * largest, np.where(scale > _CONSTANT, scale * largest, 0.0)


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0.0)


def _floats(values: np.ndarray) -> np.ndarray:
    return np.array(values, dtype=np.result_type(values, np.float64))


def _forward(values: np.ndarray, transforms: Sequence[str | None]) -> np.ndarray:
    if not any(transforms):
        return values
    result = _floats(values)
    for column, transform in enumerate(transforms):
        v = values[:, column]
        if transform == "log":
            result[:, column] = np.log(v)
        elif transform == "logit":
            result[:, column] = np.log(v) - np.log(1.0 - v)
    return result


def _backward(values: np.ndarray, transforms: Sequence[str | None]) -> np.ndarray:
    if not any(transforms):
        return values
    result = _floats(values)
    for column, transform in enumerate(transforms):
        v = values[:, column]
        if transform == "log":
            result[:, column] = np.exp(np.where(v.real > _LARGEST_EXPONENT, _LARGEST_EXPONENT, v))
        elif transform == "logit":
            small = np.exp(-np.where(v.real > 0.0, v, -v))  # never overflows
            result[:, column] = np.where(v.real > 0.0, 1.0, small) / (1.0 + small)
    return result


def _rate(values: np.ndarray, transforms: Sequence[str | None]) -> np.ndarray:
    """1/t'(v) of each entry, shape of `values`: finite even where a prediction has saturated."""
    if not any(transforms):
        return np.ones(values.shape)
    rate = np.ones_like(_floats(values))
    for column, transform in enumerate(transforms):
        v = values[:, column]
        if transform == "log":
            rate[:, column] = v
        elif transform == "logit":
            rate[:, column] = v * (1.0 - v)
    return rate
