"""The evidence is exact where theory knows it: a linear model with the most likely noise level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from gradopt.networks.mlp import Network
from gradopt.training.evidence import log_evidence
from gradopt.training.residuals import NetworkProblem

ALPHAS = [0.01, 1.0, 30.0]


def linear_fit(alpha: float, seed: int = 0, samples: int = 15) -> tuple[NetworkProblem, Tensor, np.ndarray, np.ndarray]:
    """Fit the linear network: the problem, its minimum, and the weighted design matrix and targets."""
    rng = np.random.default_rng(seed)
    x, y, beta = rng.normal(size=(samples, 3)), rng.normal(size=(samples, 1)), rng.uniform(0.5, 2.0, size=(samples, 1))
    absent = np.zeros((samples, 1, 3))
    problem = NetworkProblem.build(Network((3, 1)), x, y, absent, beta, absent, alpha)
    design, targets = np.sqrt(beta) * np.column_stack([x, np.ones(samples)]), (np.sqrt(beta) * y)[:, 0]
    minimum = np.linalg.solve(design.T @ design + alpha * np.eye(4), design.T @ targets)
    return problem, torch.tensor(minimum), design, targets


def exact_log_evidence(alpha: float, design: np.ndarray, targets: np.ndarray) -> float:
    """Density of the targets at the noise level that makes them most likely, by the definition."""
    covariance = np.eye(len(targets)) + design @ design.T / alpha
    noise = targets @ np.linalg.solve(covariance, targets) / len(targets)
    return float(multivariate_normal.logpdf(targets, cov=noise * covariance))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("samples", [3, 15])
def test_evidence_of_a_linear_model_is_exact_up_to_a_constant(alpha: float, samples: int) -> None:
    problem, minimum, design, targets = linear_fit(alpha, samples=samples)
    constant = -0.5 * samples * (np.log(2.0 * np.pi) + 1.0)
    expected = exact_log_evidence(alpha, design, targets)
    assert log_evidence(problem, minimum) + constant == pytest.approx(expected, rel=1e-10)


def test_evidence_does_not_depend_on_the_memory_limit() -> None:
    problem, minimum, _, _ = linear_fit(1.0)
    little = 8 * problem.n_parameters**2  # the matrix fits, the Jacobian comes in chunks
    assert log_evidence(problem, minimum, little) == pytest.approx(log_evidence(problem, minimum), rel=1e-12)


def test_evidence_is_not_computed_where_its_matrix_does_not_fit() -> None:
    problem, minimum, _, _ = linear_fit(1.0)
    assert math.isnan(log_evidence(problem, minimum, memory_limit=1))


def test_evidence_allows_a_precision_for_each_parameter() -> None:
    problem, _, design, targets = linear_fit(1.0)
    scales = np.array([0.1, 1.0, 4.0, 20.0])
    design_scaled = design / np.sqrt(scales)
    minimum = np.linalg.solve(design.T @ design + np.diag(scales), design.T @ targets)
    graded = NetworkProblem(problem.network, problem.x, problem.targets, problem.weights, torch.tensor(scales))
    expected = exact_log_evidence(1.0, design_scaled, targets) + 0.5 * 15 * (np.log(2.0 * np.pi) + 1.0)
    assert log_evidence(graded, torch.tensor(minimum)) == pytest.approx(expected, rel=1e-10)


def test_evidence_of_a_perfect_fit_is_finite() -> None:
    zeros = np.zeros((4, 1))
    problem = NetworkProblem.build(Network((1, 1)), zeros, zeros, zeros[:, :, None], zeros + 1, zeros[:, :, None], 1.0)
    assert np.isfinite(log_evidence(problem, torch.zeros(2, dtype=torch.float64)))
