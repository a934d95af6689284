"""The network's shape, the layout of its parameters and their initial values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradopt.errors import InputError
from gradopt.networks.activations import ACTIVATIONS
from gradopt.networks.mlp import Network


@pytest.mark.parametrize(("sizes", "count"), [((3, 2), 8), ((2, 5, 1), 21), ((4, 3, 6, 2), 53)])
def test_number_of_parameters_counts_weights_and_biases(sizes: tuple[int, ...], count: int) -> None:
    assert Network(sizes).n_parameters == count


def test_layers_cover_theta_without_gap_or_overlap() -> None:
    network = Network((4, 3, 6, 2))
    covered = np.zeros(network.n_parameters, dtype=int)
    for weights, biases, _ in network.layers:
        covered[weights] += 1
        covered[biases] += 1
    assert (covered == 1).all()


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
