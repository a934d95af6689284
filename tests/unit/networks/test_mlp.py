"""The network's shape, the layout of its parameters and their initial values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradopt.errors import InputError
from gradopt.networks.activations import ACTIVATIONS
from gradopt.networks.jacobian import trace
from gradopt.networks.mlp import TRENDS, Network

every_trend = pytest.mark.parametrize("trend", TRENDS)


@pytest.mark.parametrize(("sizes", "count"), [((3, 2), 8), ((2, 5, 1), 21), ((4, 3, 6, 2), 53)])
def test_number_of_parameters_counts_weights_and_biases(sizes: tuple[int, ...], count: int) -> None:
    assert Network(sizes).n_parameters == count


@every_trend
def test_layers_and_trend_cover_theta_without_gap_or_overlap(trend: str | None) -> None:
    network = Network((4, 3, 6, 2), trend=trend)
    covered = np.zeros(network.n_parameters, dtype=int)
    parts = [part for weights, biases, _ in network.layers for part in (weights, biases)]
    for part in (*parts, network.linear_trend, network.quadratic_trend):
        if part is not None:
            covered[part] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("trend", "linear", "quadratic"),
    [(None, None, None), ("linear", slice(8, 14), None), ("quadratic", slice(8, 14), slice(14, 26))],
)
def test_trend_follows_the_layers(trend: str | None, linear: slice | None, quadratic: slice | None) -> None:
    network = Network((3, 1, 2), trend=trend)
    assert (network.linear_trend, network.quadratic_trend) == (linear, quadratic)


def test_trend_holds_its_coefficients_row_by_row() -> None:
    network = Network((2, 1, 2), trend="quadratic")
    theta = torch.zeros(network.n_parameters)
    theta[network.linear_trend] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    theta[network.quadratic_trend] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) * 100
    values = trace(network, theta, torch.tensor([[1.0, 10.0]])).values
    assert values.tolist() == [[21 + 100 + 2000 + 30000, 43 + 400 + 5000 + 60000]]


@pytest.mark.parametrize(
    ("sizes", "trend", "names"),
    [
        ((2, 5, 3, 1), None, ("input 0", "input 1", "biases 1", "layer 2", "layer 3")),
        ((1, 5, 2), "linear", ("input 0", "biases 1", "layer 2", "linear trend")),
        ((2, 5, 2), "quadratic", ("input 0", "input 1", "biases 1", "layer 2", "linear trend", "quadratic trend")),
        ((2, 3), None, ("input 0", "input 1", "biases 1")),
        ((2, 3), "linear", ("input 0", "input 1", "biases 1", "linear trend")),
    ],
)
def test_groups_cover_every_parameter(sizes: tuple[int, ...], trend: str | None, names: tuple[str, ...]) -> None:
    network = Network(sizes, trend=trend)
    groups, found = network.parameter_groups
    assert found == names
    assert groups.shape == (network.n_parameters,)
    assert set(groups.tolist()) == set(range(len(names)))


def test_groups_hold_the_parameters_they_are_named_after() -> None:
    network = Network((3, 4, 2, 2), trend="quadratic")
    groups, names = network.parameter_groups
    (weights, biases), (weights2, biases2), (weights3, biases3) = network.unpack(torch.tensor(groups))
    assert (weights == torch.arange(3)).all()
    for part, name in (
        (biases, "biases 1"),
        (weights2, "layer 2"),
        (biases2, "layer 2"),
        (weights3, "layer 3"),
        (biases3, "layer 3"),
        (torch.tensor(groups[network.linear_trend]), "linear trend"),
        (torch.tensor(groups[network.quadratic_trend]), "quadratic trend"),
    ):
        assert (part == names.index(name)).all()


def test_theta_holds_weights_row_by_row_then_biases() -> None:
    (weights, biases), (last_weights, last_biases) = Network((2, 3, 1)).unpack(torch.arange(13.0))
    assert weights.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert biases.tolist() == [6, 7, 8]
    assert last_weights.tolist() == [[9, 10, 11]]
    assert last_biases.tolist() == [12]


def test_unpacked_layers_are_views_of_theta() -> None:
    theta = torch.zeros(13)
    for part in (part for layer in Network((2, 3, 1)).unpack(theta) for part in layer):
        part.fill_(1.0)
    assert theta.tolist() == [1.0] * 13


def test_initial_parameters_follow_the_generator() -> None:
    network = Network((3, 4, 2))
    first, again, other = (network.initialize(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).all()


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_hidden_units_start_spread_by_the_gain(activation: str) -> None:
    network = Network((50, 400, 100, 1), activation)
    theta = network.initialize(np.random.default_rng(3))
    gain = network.function.gain
    for weights, biases, (_, fan_in) in network.layers[:-1]:
        assert theta[weights].std() == pytest.approx(0.5 * gain / np.sqrt(fan_in), rel=0.05)
        assert theta[biases].std() == pytest.approx(gain, rel=0.2)


def test_last_layer_starts_with_unit_gain_and_no_bias() -> None:
    network = Network((3, 400, 50), "sigmoid")
    theta = network.initialize(np.random.default_rng(4))
    weights, biases, _ = network.layers[-1]
    assert theta[weights].std() == pytest.approx(1.0 / np.sqrt(400), rel=0.05)
    assert not theta[biases].any()


@pytest.mark.parametrize("trend", ["linear", "quadratic"])
def test_a_trend_starts_at_zero_and_changes_no_other_initial_parameter(trend: str) -> None:
    alone, beside = (Network((3, 4, 2), trend=t).initialize(np.random.default_rng(5)) for t in (None, trend))
    np.testing.assert_array_equal(beside[: len(alone)], alone)
    assert len(beside) > len(alone)
    assert not beside[len(alone) :].any()


def test_initial_parameters_are_those_of_earlier_versions() -> None:
    theta = Network((2, 2, 1)).initialize(np.random.default_rng(0))
    expected = [
        *(0.04445234596761114, -0.046706122330500685, 0.2264235994769533, 0.03708779209308882),
        *(-0.535669373161111, 0.36159505490948474),
        *(0.922067274579084, 0.6696873713613737, 0.0),
    ]
    np.testing.assert_allclose(theta, expected, rtol=1e-12)


@pytest.mark.parametrize("trend", ["cubic", "Linear", "", 1, False])
def test_an_unknown_trend_is_refused(trend: Any) -> None:
    with pytest.raises(
        InputError, match=r"`trend` must be None, 'linear' or 'quadratic', got .*\. None means no trend"
    ):
        Network((3, 4, 1), trend=trend)


@pytest.mark.parametrize("hidden", [(0,), (-3,), (5, 0), (2.5,), ("8",)])
def test_hidden_size_that_is_no_positive_whole_number_is_refused(hidden: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"`hidden_sizes` must hold whole numbers of at least 1, got .*Try \(20,\)"):
        Network((3, *hidden, 1))


def test_network_without_output_is_refused() -> None:
    with pytest.raises(InputError, match="`hidden_sizes` must"):
        Network((3,))


def test_kinked_activation_is_refused_on_construction() -> None:
    with pytest.raises(InputError, match="`activation` must be one of"):
        Network((3, 4, 1), "relu")
