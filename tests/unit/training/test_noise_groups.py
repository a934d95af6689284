"""Each partial has its own noise level, drawn towards those of its output; partials can be removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.mlp import Network
from gradopt.training import evidence, residuals
from gradopt.training.evidence import Evidence
from gradopt.training.residuals import NetworkProblem

Taught = Callable[..., tuple[NetworkProblem, Tensor]]


def test_each_partial_is_a_group_and_those_of_an_output_a_pool(taught: Taught) -> None:
    problem, _ = taught((3, 4, 2), samples=2)
    one_sample = [0, 2, 3, 4, 1, 5, 6, 7]  # output by output: value, partials
    assert problem.residual_groups.tolist() == one_sample * 2
    assert problem.residual_pools.tolist() == [0, 1, 2, 2, 2, 3, 3, 3]
    assert problem.residual_parents.tolist() == [0, 1, 0, 0, 0, 1, 1, 1]


def test_where_memory_is_short_an_output_has_one_group_of_partials(
    taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residuals, "_GROUPS_MEMORY", 1000)
    problem, _ = taught((3, 4, 2), samples=1)
    assert problem.residual_groups.tolist() == [0, 2, 2, 2, 1, 3, 3, 3]
    assert problem.residual_pools.tolist() == [0, 1, 2, 3]
    assert problem.residual_parents.tolist() == [0, 1, 0, 1]


def test_without_partials_has_values_alone(taught: Taught) -> None:
    problem, theta = taught((3, 4, 2), samples=5, noise=0.1)
    values = problem.without_partials()
    assert not values.has_partials and values.residual_pools.tolist() == [0, 1]
    expected = problem.residuals(theta)[problem.residual_groups < 2]
    torch.testing.assert_close(values.residuals(theta), expected, rtol=1e-12, atol=1e-12)


def linear(noise: list[float], known: list[int], samples: int = 400) -> NetworkProblem:
    """A linear truth of two inputs, whose partials have these noise levels and are known in the first samples."""
    rng = np.random.default_rng(0)
    x, slopes = rng.normal(size=(samples, 2)), np.array([1.0, -2.0])
    partials = (slopes + np.array(noise) * rng.normal(size=(samples, 2)))[:, None, :]
    gamma = (np.arange(samples)[:, None] < np.array(known)).astype(float)[:, None, :]
    values = x @ slopes[:, None] + 0.1 * rng.normal(size=(samples, 1))
    return NetworkProblem.build(Network((2, 1)), x, values, partials, np.ones((samples, 1)), gamma, 1.0)


def learned_noise(problem: NetworkProblem) -> list[float]:
    found = Evidence(60).solve(problem, torch.zeros(problem.n_parameters, dtype=torch.float64))
    return (1.0 / found.precisions.noise.sqrt()).tolist()


def test_the_noise_of_each_partial_is_learned() -> None:
    found = learned_noise(linear([0.02, 0.5], [4000, 4000], samples=4000))
    assert found == pytest.approx([0.1, 0.02, 0.5], rel=0.15)


def test_noise_of_a_partial_known_in_few_samples_is_drawn_towards_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(known: int, leaning: float) -> list[float]:
        monkeypatch.setattr(evidence, "_POOL_RESIDUALS", leaning)
        return learned_noise(linear([0.02, 0.5], [400, known]))[1:]

    (of_many, of_few), (_, by_itself) = both(2, 3.0), both(2, 0.0)
    assert of_many == pytest.approx(0.02, rel=0.1) and of_many < of_few < 0.8 * by_itself
    assert both(100, 3.0)[1] > 0.4


def test_noise_of_partials_is_at_least_a_tenth_of_that_of_the_values() -> None:
    values, exact, noisy = learned_noise(linear([0.0, 0.5], [400, 400]))
    assert exact == pytest.approx(0.1 * values, rel=1e-3) and noisy == pytest.approx(0.5, rel=0.15)


def test_noise_of_partials_without_values_has_no_such_bound() -> None:
    problem = linear([0.0, 0.0], [400, 400])
    weights = problem.weights.clone()
    weights[:, :, 0] = 0.0
    assert learned_noise(replace(problem, weights=weights))[1:] == pytest.approx([1e-4, 1e-4], rel=1e-3)


def test_a_partial_known_nowhere_changes_nothing() -> None:
    of_other = learned_noise(linear([0.02, 0.5], [400, 0]))[1]
    assert of_other == pytest.approx(0.02, rel=0.1)
