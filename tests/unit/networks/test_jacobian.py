"""Hand-written chain rules equal `torch.func.jacrev` to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.activations import ACTIVATIONS
from gradopt.networks.jacobian import Trace, parameter_jacobian, trace
from gradopt.networks.mlp import TRENDS, Network

SHAPES = [(3, 1), (2, 4), (1, 7, 1), (4, 5, 2), (2, 6, 5), (3, 5, 4, 3), (2, 4, 3, 5, 4, 2)]
every_kind = pytest.mark.parametrize(
    ("activation", "trend"), [*((name, None) for name in ACTIVATIONS), ("tanh", "linear"), ("silu", "quadratic")]
)
every_trend = pytest.mark.parametrize("trend", TRENDS)
every_shape = pytest.mark.parametrize("sizes", SHAPES, ids=str)


def setup(
    sizes: tuple[int, ...], activation: str, trend: str | None = None, samples: int = 4
) -> tuple[Network, Tensor, Tensor]:
    """Make a network whose biases and trend all count, its parameters and inputs."""
    network = Network(sizes, activation, trend)
    rng = np.random.default_rng(sum(sizes))
    theta = network.initialize(rng) + 0.1 * rng.normal(size=network.n_parameters)
    return network, torch.tensor(theta), torch.tensor(rng.normal(size=(samples, sizes[0])))


def evaluate(network: Network, theta: Tensor, x: Tensor) -> Tensor:
    """Run one sample (d,) through the network, by the definition."""
    *hidden, (weights, biases) = network.unpack(theta)
    a = x
    for hidden_weights, hidden_biases in hidden:
        a = network.function.first(hidden_weights @ a + hidden_biases)[0]
    y, d, m = weights @ a + biases, len(x), len(biases)
    coefficients = theta[network.layers[-1][1].stop :]
    if network.trend is not None:
        y = y + coefficients[: m * d].reshape(m, d) @ x
    if network.trend == "quadratic":
        products = torch.stack([x[i] * x[j] for i in range(d) for j in range(i, d)])
        y = y + coefficients[m * d :].reshape(m, -1) @ products
    return y


def autograd_responses(network: Network, theta: Tensor, x: Tensor) -> Tensor:
    """Values and partials (n, m, 1 + d) by autograd."""
    values = torch.func.vmap(lambda row: evaluate(network, theta, row))(x)
    partials = torch.func.vmap(torch.func.jacrev(lambda row: evaluate(network, theta, row)))(x)
    return torch.cat([values[:, :, None], partials], dim=2)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@every_kind
@every_shape
def test_values_equal_the_definition(sizes: tuple[int, ...], activation: str, trend: str | None) -> None:
    network, theta, x = setup(sizes, activation, trend)
    assert_equal(trace(network, theta, x).values, autograd_responses(network, theta, x)[:, :, 0])


@pytest.mark.parametrize("direction", ["partials", "reverse_partials", "forward_partials"])
@every_kind
@every_shape
def test_partials_equal_autograd(sizes: tuple[int, ...], activation: str, trend: str | None, direction: str) -> None:
    network, theta, x = setup(sizes, activation, trend)
    partials = getattr(trace(network, theta, x), direction)()
    assert_equal(partials, autograd_responses(network, theta, x)[:, :, 1:])


@pytest.mark.parametrize(
    ("sizes", "dearer"),
    [((3, 4, 1), "forward_partials"), ((3, 4, 3), "forward_partials"), ((2, 4, 3), "reverse_partials")],
)
def test_partials_take_the_cheaper_direction(
    sizes: tuple[int, ...], dearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Trace) -> Tensor:
        raise AssertionError(f"{dearer} costs more for {sizes}")

    monkeypatch.setattr(Trace, dearer, refuse)
    assert trace(*setup(sizes, "tanh")).partials().shape == (4, sizes[-1], sizes[0])


@every_kind
def test_complex_step_passes_through_values_and_partials(activation: str, trend: str | None) -> None:
    network, theta, x = setup((2, 4, 3, 2), activation, trend)
    along = torch.tensor([0.0, 1.0], dtype=torch.float64).expand_as(x)
    stepped = trace(network, theta.to(torch.complex128), torch.complex(x, 1e-30 * along))
    zero = torch.tensor(0.0, dtype=torch.float64)
    expected: Any = torch.func.jacrev(lambda by: autograd_responses(network, theta, x + by * along))(zero)
    assert_equal(stepped.values.imag / 1e-30, expected[:, :, 0])
    assert_equal(stepped.partials().imag / 1e-30, expected[:, :, 1:])


@every_trend
@pytest.mark.parametrize("direction", ["reverse_partials", "forward_partials"])
def test_partials_stay_differentiable_in_the_parameters(direction: str, trend: str | None) -> None:
    network, theta, x = setup((3, 5, 4, 2), "tanh", trend)
    actual: Any = torch.func.jacrev(lambda at: getattr(trace(network, at, x), direction)())(theta)
    expected: Any = torch.func.jacrev(lambda at: autograd_responses(network, at, x)[:, :, 1:])(theta)
    assert_equal(actual, expected)


@every_trend
def test_values_stay_differentiable_in_the_parameters(trend: str | None) -> None:
    network, theta, x = setup((3, 5, 4, 2), "tanh", trend)
    actual: Any = torch.func.jacrev(lambda at: trace(network, at, x).values)(theta)
    assert_equal(actual, parameter_jacobian(network, theta, x, partials=False)[1][:, :, 0])


@every_kind
@every_shape
def test_parameter_jacobian_of_values_and_partials_equals_autograd(
    sizes: tuple[int, ...], activation: str, trend: str | None
) -> None:
    network, theta, x = setup(sizes, activation, trend)
    responses, jacobian = parameter_jacobian(network, theta, x, partials=True)
    expected: Any = torch.func.jacrev(lambda at: autograd_responses(network, at, x))(theta)
    assert_equal(responses, autograd_responses(network, theta, x))
    assert_equal(jacobian, expected)


@every_kind
@every_shape
def test_parameter_jacobian_of_values_alone_equals_autograd(
    sizes: tuple[int, ...], activation: str, trend: str | None
) -> None:
    network, theta, x = setup(sizes, activation, trend)
    responses, jacobian = parameter_jacobian(network, theta, x, partials=False)
    expected: Any = torch.func.jacrev(lambda at: autograd_responses(network, at, x)[:, :, :1])(theta)
    assert_equal(responses, autograd_responses(network, theta, x)[:, :, :1])
    assert_equal(jacobian, expected)


@every_trend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_type_is_kept(dtype: torch.dtype, trend: str | None) -> None:
    network, theta, x = setup((3, 5, 2), "tanh", trend)
    run = trace(network, theta.to(dtype), x.to(dtype))
    found = (run.values, run.partials(), *parameter_jacobian(network, theta.to(dtype), x.to(dtype), partials=True))
    assert {tensor.dtype for tensor in found} == {dtype}


@every_trend
def test_batch_equals_one_sample_at_a_time(trend: str | None) -> None:
    network, theta, x = setup((3, 5, 2), "silu", trend)
    together = parameter_jacobian(network, theta, x, partials=True)
    for i in range(len(x)):
        for whole, alone in zip(together, parameter_jacobian(network, theta, x[i : i + 1], partials=True), strict=True):
            assert_equal(whole[i : i + 1], alone)
