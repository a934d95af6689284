"""The loss of data: gradient, residuals and terms agree with each other and with the definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.activations import ACTIVATIONS
from gradopt.networks.jacobian import Trace
from gradopt.networks.mlp import Network
from gradopt.training import residuals as module
from gradopt.training.problem import FitProblem
from gradopt.training.residuals import NetworkProblem

Taught = Callable[..., tuple[NetworkProblem, Tensor]]
WEIGHTS = [0.0, 0.25, 1.0, 2.0, 7.0]


@pytest.fixture(params=[(beta, gamma) for beta in WEIGHTS for gamma in WEIGHTS], ids="beta {0[0]}, gamma {0[1]}".format)
def weighted(request: pytest.FixtureRequest, taught: Taught) -> tuple[NetworkProblem, Tensor]:
    """Make a problem with two outputs, a third of the entries unknown and a prior, away from its minimum."""
    beta, gamma = request.param
    problem, teacher = taught((2, 4, 3, 2), beta=beta, gamma=gamma, alpha=0.3, noise=0.5, known=0.7)
    return problem, teacher + 0.2 * torch.tensor(np.random.default_rng(1).normal(size=len(teacher)))


def concatenated(problem: FitProblem, theta: Tensor, memory_limit: int = 2**30) -> tuple[Tensor, Tensor]:
    chunks = list(problem.linearized(theta, memory_limit))
    return torch.cat([residuals for residuals, _ in chunks]), torch.cat([jacobian for _, jacobian in chunks])


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_gradient_equals_central_finite_differences(weighted: tuple[NetworkProblem, Tensor]) -> None:
    problem, theta = weighted
    steps = 1e-5 * torch.eye(len(theta), dtype=theta.dtype)
    losses = [[problem.loss_and_gradient(theta + sign * step)[0] for sign in (1, -1)] for step in steps]
    differences = torch.tensor([(ahead - behind) / 2e-5 for ahead, behind in losses], dtype=theta.dtype)
    assert relative_error(problem.loss_and_gradient(theta)[1], differences) < 1e-6


def test_loss_is_the_sum_of_its_terms(weighted: tuple[NetworkProblem, Tensor]) -> None:
    problem, theta = weighted
    assert problem.loss_and_gradient(theta)[0] == pytest.approx(sum(problem.terms(theta).values()), rel=1e-12)


def test_loss_is_half_the_squared_residuals_and_prior(weighted: tuple[NetworkProblem, Tensor]) -> None:
    problem, theta = weighted
    expected = 0.5 * float(problem.residuals(theta).square().sum() + (problem.alpha * theta**2).sum())
    assert problem.loss_and_gradient(theta)[0] == pytest.approx(expected, rel=1e-12)


def test_gradient_follows_from_the_linearization(weighted: tuple[NetworkProblem, Tensor]) -> None:
    problem, theta = weighted
    residuals, jacobian = concatenated(problem, theta)
    expected = jacobian.T @ residuals + problem.alpha * theta
    torch.testing.assert_close(problem.loss_and_gradient(theta)[1], expected, rtol=1e-10, atol=1e-12)


def test_terms_equal_the_definition() -> None:
    """A linear network, whose values and partials are known by hand, with different weights on every entry."""
    x, y, dydx = np.array([[2.0], [3.0]]), np.array([[1.0], [4.0]]), np.array([[[0.5]], [[9.0]]])
    beta, gamma = np.array([[2.0], [3.0]]), np.array([[[4.0]], [[0.0]]])
    problem = NetworkProblem.build(Network((1, 1)), x, y, dydx, beta, gamma, alpha=0.1)
    values, partials = 2.0 * (7.0 - 1.0) ** 2 / 2 + 3.0 * (10.0 - 4.0) ** 2 / 2, 4.0 * (3.0 - 0.5) ** 2 / 2
    expected = {"values": values, "partials": partials, "regularization": 0.1 * (3.0**2 + 1.0**2) / 2}
    assert problem.terms(torch.tensor([3.0, 1.0], dtype=torch.float64)) == pytest.approx(expected, rel=1e-14)


def test_residuals_come_by_sample_then_output_then_value_and_partials() -> None:
    x = np.array([[1.0], [2.0]])
    y, dydx = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[[10.0], [20.0]], [[30.0], [np.nan]]])
    beta, gamma = np.array([[1.0, 4.0], [0.0, 1.0]]), np.array([[[1.0], [9.0]], [[1.0], [0.0]]])
    problem = NetworkProblem.build(Network((1, 2)), x, y, dydx, beta, gamma, alpha=0.0)
    silent = torch.zeros(4, dtype=torch.float64)
    assert problem.residuals(silent).tolist() == [-1.0, -10.0, -2.0 * 2.0, -3.0 * 20.0, -30.0, -4.0]


def test_entries_of_zero_weight_have_no_residual(taught: Taught) -> None:
    problem, theta = taught(samples=20, gamma=2.0, known=0.5)
    positive = int((problem.weights > 0.0).sum())
    assert 0 < positive < problem.weights.numel()
    assert problem.n_residuals == len(problem.residuals(theta)) == len(concatenated(problem, theta)[0]) == positive


def test_unknown_partials_change_nothing(taught: Taught) -> None:
    problem, theta = taught(known=0.5)
    assert torch.isfinite(problem.targets).all()
    assert torch.isfinite(problem.residuals(theta)).all()


def test_linearization_equals_autograd(weighted: tuple[NetworkProblem, Tensor]) -> None:
    problem, theta = weighted
    residuals, jacobian = concatenated(problem, theta)
    expected = torch.func.jacrev(problem.residuals)(theta)
    torch.testing.assert_close(residuals, problem.residuals(theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jacobian, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory_limit", [1, 20_000, 50_000])
def test_chunks_join_to_the_whole(taught: Taught, memory_limit: int) -> None:
    problem, theta = taught((2, 4, 2), known=0.8)
    assert len(list(problem.linearized(theta, memory_limit))) > 1
    for part, whole in zip(concatenated(problem, theta, memory_limit), concatenated(problem, theta), strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-13, atol=1e-13)


def test_chunks_respect_the_memory_limit(taught: Taught) -> None:
    problem, theta = taught((2, 4, 2), samples=40)
    sizes = [j.numel() * j.element_size() for _, j in problem.linearized(theta, 50_000)]
    assert max(sizes) <= 50_000 / 4
    assert len(sizes) < 40


def test_chunks_fit_the_cache_whatever_the_limit(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = taught((2, 4, 2), samples=40)
    assert len(list(problem.linearized(theta, 2**30))) == 1
    monkeypatch.setattr(module, "_CHUNK", 50_000)
    sizes = [j.numel() * j.element_size() for _, j in problem.linearized(theta, 2**30)]
    assert max(sizes) <= 50_000 / 4


@pytest.mark.parametrize("method", ["residuals", "loss_and_gradient", "terms"])
def test_loss_in_chunks_equals_the_loss_at_once(taught: Taught, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = taught(samples=11, alpha=0.2, noise=0.4)
    at_once = getattr(problem, method)(theta)
    monkeypatch.setattr(module, "_PIECE", 400)
    assert 2 < len(problem._pieces()) < 11
    torch.testing.assert_close(getattr(problem, method)(theta), at_once, rtol=1e-13, atol=1e-13)


def test_minibatches_of_a_partition_average_to_the_full_loss(taught: Taught) -> None:
    problem, theta = taught(samples=11, alpha=0.2, noise=0.4, known=0.8)
    order = np.random.default_rng(5).permutation(11)
    batches = [torch.tensor(order[first : first + 4]) for first in (0, 4, 8)]
    parts = [problem.loss_and_gradient(theta, batch) for batch in batches]
    shares = [len(batch) / 11 for batch in batches]
    loss, gradient = problem.loss_and_gradient(theta)
    assert sum(share * part for share, (part, _) in zip(shares, parts, strict=True)) == pytest.approx(loss, rel=1e-12)
    mean = torch.stack([share * part for share, (_, part) in zip(shares, parts, strict=True)]).sum(0)
    torch.testing.assert_close(mean, gradient, rtol=1e-12, atol=1e-12)


def test_without_gamma_partials_are_not_computed(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = taught(gamma=0.0)

    def refuse(*arguments: Tensor) -> Tensor:
        raise AssertionError("partials were computed")

    monkeypatch.setattr(Trace, "reverse_partials", refuse)
    monkeypatch.setattr(Trace, "forward_partials", refuse)
    monkeypatch.setitem(ACTIVATIONS, "tanh", replace(ACTIVATIONS["tanh"], second=refuse))
    assert problem.targets.shape == problem.weights.shape == (12, 1, 1)
    assert not problem.has_partials
    assert len(problem.residuals(theta)) == len(concatenated(problem, theta)[0]) == 12
    assert problem.loss_and_gradient(theta)[0] == problem.terms(theta)["values"]


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_computation_has_the_requested_type(name: str) -> None:
    x, y, dydx = np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 1, 2))
    dtype = getattr(torch, name)
    problem = NetworkProblem.build(Network((2, 3, 1)), x, y, dydx, y + 1.0, dydx + 1.0, 0.1, dtype)
    theta = torch.zeros(problem.n_parameters, dtype=dtype)
    assert problem.tensor_options == (dtype, torch.device("cpu"))
    assert {tensor.dtype for tensor in (problem.residuals(theta), problem.loss_and_gradient(theta)[1])} == {dtype}


@pytest.mark.parametrize("requires_grad", [False, True])
def test_gradient_carries_no_autograd_history(taught: Taught, requires_grad: bool) -> None:
    problem, theta = taught(alpha=0.1)
    assert not problem.loss_and_gradient(theta.requires_grad_(requires_grad))[1].requires_grad
