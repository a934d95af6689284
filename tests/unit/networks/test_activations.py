"""Activations: derivatives equal those of autograd, complex numbers are accepted, kinks are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradopt.errors import InputError
from gradopt.networks.activations import ACTIVATIONS, get_activation

POINTS = torch.linspace(-6.0, 6.0, 49, dtype=torch.float64)
TEXTBOOK: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "softplus": lambda z: torch.nn.functional.softplus(z, threshold=1000.0),
    "sin": torch.sin,
}
every_activation = pytest.mark.parametrize("name", list(ACTIVATIONS))


def autograd(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    derivative: Tensor = torch.func.vmap(torch.func.grad(function))(z)
    return derivative


@every_activation
def test_value_equals_the_textbook(name: str) -> None:
    torch.testing.assert_close(get_activation(name).first(POINTS)[0], TEXTBOOK[name](POINTS), rtol=1e-14, atol=1e-14)


@every_activation
def test_first_derivative_equals_autograd(name: str) -> None:
    expected = autograd(TEXTBOOK[name], POINTS)
    torch.testing.assert_close(get_activation(name).first(POINTS)[1], expected, rtol=1e-13, atol=1e-14)


@every_activation
def test_second_derivative_equals_autograd(name: str) -> None:
    activation = get_activation(name)
    expected = autograd(torch.func.grad(TEXTBOOK[name]), POINTS)
    torch.testing.assert_close(activation.second(POINTS, *activation.first(POINTS)), expected, rtol=1e-12, atol=1e-14)


@every_activation
def test_autograd_through_the_value_equals_the_slope(name: str) -> None:
    first = get_activation(name).first
    torch.testing.assert_close(autograd(lambda z: first(z)[0], POINTS), first(POINTS)[1], rtol=1e-12, atol=1e-14)


@every_activation
def test_complex_step_of_the_value_equals_the_slope(name: str) -> None:
    first = get_activation(name).first
    stepped = first(torch.complex(POINTS, torch.full_like(POINTS, 1e-30)))[0]
    torch.testing.assert_close(stepped.imag / 1e-30, first(POINTS)[1], rtol=1e-12, atol=1e-14)


@every_activation
def test_complex_step_of_the_slope_equals_the_second_derivative(name: str) -> None:
    activation = get_activation(name)
    stepped = activation.first(torch.complex(POINTS, torch.full_like(POINTS, 1e-30)))[1]
    expected = activation.second(POINTS, *activation.first(POINTS))
    torch.testing.assert_close(stepped.imag / 1e-30, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_softplus_does_not_overflow(dtype: torch.dtype) -> None:
    value, slope = get_activation("softplus").first(torch.tensor([-2000.0, 2000.0], dtype=dtype))
    assert value.real.tolist() == [0.0, 2000.0]
    assert slope.real.tolist() == [0.0, 1.0]


def test_softplus_gradient_does_not_overflow() -> None:
    first = get_activation("softplus").first
    extreme = torch.tensor([-2000.0, 0.0, 2000.0], dtype=torch.float64)
    assert autograd(lambda z: first(z)[0], extreme).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["relu", "ReLU", "leaky_relu", "elu", "hardtanh"])
def test_kinked_activation_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"got '{name}'.*has a kink: its partials cannot be fitted.*Use 'silu' or 'softplus'"
    ):
        get_activation(name)


def test_unknown_activation_is_refused_with_the_known_names() -> None:
    with pytest.raises(InputError, match=r"`activation` must be one of 'tanh', .*'sin', got 'tahn'. Use 'tanh'"):
        get_activation("tahn")
