"""A trend is fitted together with the layers and represents a polynomial exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import Network
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem

ALPHA = 0.1  # prior on the layers, none on the trend: where the trend suffices, they vanish


def polynomial(x: np.ndarray, m: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, m) and partials (n, m, d) of a polynomial without constant; the coefficients do not depend on x."""
    d = x.shape[1]
    rng = np.random.default_rng(7)
    slopes, bends = rng.normal(size=(m, d)), (degree == 2) * rng.normal(size=(m, d, d))
    y = x @ slopes.T + np.einsum("ni,kij,nj->nk", x, bends, x)
    return y, slopes + np.einsum("kij,nj->nki", bends + bends.transpose(0, 2, 1), x)


def problem_of(network: Network, samples: int, gamma: float, degree: int) -> tuple[NetworkProblem, Tensor]:
    """Make a problem whose data are a polynomial, and initial parameters."""
    d, m = network.layer_sizes[0], network.layer_sizes[-1]
    rng = np.random.default_rng(0)
    theta, x = torch.tensor(network.initialize(rng)), rng.normal(size=(samples, d))
    y, dydx = polynomial(x, m, degree)
    alpha = np.full(network.n_parameters, ALPHA)
    for coefficients in (network.linear_trend, network.quadratic_trend):
        if coefficients is not None:
            alpha[coefficients] = 0.0
    return NetworkProblem.build(network, x, y, dydx, 1.0 + 0.0 * y, gamma + 0.0 * dydx, alpha), theta


@pytest.mark.parametrize(("trend", "degree"), [("linear", 1), ("quadratic", 1), ("quadratic", 2)])
@pytest.mark.parametrize("sizes", [(2, 1), (1, 4, 2), (3, 4, 2), (2, 4, 3, 1)], ids=str)
@pytest.mark.parametrize(("samples", "gamma"), [(5, 1.0), (20, 0.0)], ids=["partials", "values"])
def test_a_polynomial_is_reproduced_exactly_also_far_from_the_data(
    sizes: tuple[int, ...], trend: str, degree: int, samples: int, gamma: float
) -> None:
    network = Network(sizes, trend=trend)
    problem, theta = problem_of(network, samples, gamma, degree)
    found = LevenbergMarquardt(tolerance=1e-14).solve(problem, theta).theta
    x = 5.0 * np.random.default_rng(1).normal(size=(6, sizes[0]))
    run = trace(network, found, torch.tensor(x))
    y, dydx = polynomial(x, sizes[-1], degree)
    np.testing.assert_allclose(run.values, y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(run.partials(), dydx, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("trend", ["linear", "quadratic"])
@pytest.mark.parametrize("gamma", [1.0, 0.0], ids=["partials", "values"])
def test_gradient_of_the_loss_reaches_the_trend(trend: str, gamma: float) -> None:
    network = Network((3, 4, 2), trend=trend)
    problem, theta = problem_of(network, 6, gamma, degree=2)
    theta = theta + 0.1
    ((residuals, jacobian),) = problem.linearized(theta, memory_limit=2**30)
    gradient = problem.loss_and_gradient(theta)[1]
    torch.testing.assert_close(gradient, residuals @ jacobian + problem.alpha * theta, rtol=1e-11, atol=1e-11)
    assert network.linear_trend is not None
    assert gradient[network.linear_trend].all()


def test_a_trend_of_zero_changes_no_prediction() -> None:
    rng = np.random.default_rng(2)
    alone, x = Network((3, 4, 2)), torch.tensor(rng.normal(size=(5, 3)))
    theta = torch.tensor(alone.initialize(rng))
    for trend in ("linear", "quadratic"):
        beside = Network((3, 4, 2), trend=trend)
        longer = torch.cat([theta, torch.zeros(beside.n_parameters - len(theta))])
        for mine, theirs in zip(
            parameter_jacobian(beside, longer, x, partials=True),
            parameter_jacobian(alone, theta, x, partials=True),
            strict=True,
        ):
            assert torch.equal(mine[..., : theirs.shape[-1]], theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("trend", ["linear", "quadratic"])
def test_a_trend_predicts_the_same_on_a_cuda_device(trend: str) -> None:
    network = Network((3, 4, 2), trend=trend)
    rng = np.random.default_rng(3)
    theta, x = torch.tensor(rng.normal(size=network.n_parameters)), torch.tensor(rng.normal(size=(5, 3)))
    here = parameter_jacobian(network, theta, x, partials=True)
    for mine, theirs in zip(parameter_jacobian(network, theta.cuda(), x.cuda(), partials=True), here, strict=True):
        assert mine.is_cuda
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-12, atol=1e-12)
