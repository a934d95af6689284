"""The evidence is exact for a linear model; learned precisions maximize it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from gradopt.errors import InputError
from gradopt.networks.mlp import Network
from gradopt.training.evidence import Evidence, EvidenceResult, log_evidence
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import Progress, Status

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


def test_evidence_above_the_memory_limit_is_nan() -> None:
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


def straight(samples: int, noise: float = 0.3, noise_of_partials: float | None = None) -> NetworkProblem:
    """Make a linear network with a line through three inputs, of which the last does nothing, and noise."""
    rng = np.random.default_rng(4)
    slopes, x = np.array([1.0, -2.0, 0.0]), rng.normal(size=(samples, 3))
    y = (x @ slopes + 0.7 + noise * rng.normal(size=samples))[:, None]
    spread, gamma = (noise_of_partials, 1.0) if noise_of_partials else (0.0, 0.0)
    dydx = (slopes + spread * rng.normal(size=x.shape))[:, None, :]
    return NetworkProblem.build(
        Network((3, 1)), x, y, dydx, np.ones((samples, 1)), np.full((samples, 1, 3), gamma), 1.0
    )


def wave(samples: int = 25, known: Any = 1.0, dtype: torch.dtype = torch.float64, spoil: float = 0.0) -> NetworkProblem:
    """Make a network with a wave of two inputs; noise may spoil the second partial."""
    rng = np.random.default_rng(6)
    x = rng.uniform(-1.7, 1.7, size=(samples, 2))
    y, gamma = np.sin(x[:, 0]) + 0.5 * x[:, 1] ** 2, np.broadcast_to(known, (samples, 1, 2))
    dydx = np.stack([np.cos(x[:, 0]), x[:, 1]], axis=1)
    dydx[:, 1] = np.where(spoil > 0.0, spoil * rng.normal(size=samples), dydx[:, 1])
    network, beta = Network((2, 5, 1), "softplus"), np.ones((samples, 1))
    return NetworkProblem.build(network, x, y[:, None], dydx[:, None, :], beta, gamma, 1.0, dtype)


def begin(problem: NetworkProblem, seed: int = 1) -> Tensor:
    theta = problem.network.initialize(np.random.default_rng(seed))
    return torch.tensor(theta, dtype=problem.tensor_options[0])


def solved(problem: NetworkProblem, **settings: Any) -> EvidenceResult:
    return Evidence(**settings).solve(problem, begin(problem))


def exact(problem: NetworkProblem, alpha: np.ndarray, noise: float) -> float:
    """Log density of the values of a linear network, by the definition."""
    design = np.column_stack([problem.x.numpy(), np.ones(problem.n_samples)])
    covariance = np.eye(problem.n_samples) / noise + (design / alpha) @ design.T
    return float(multivariate_normal.logpdf(problem.targets[:, 0, 0].numpy(), cov=covariance))


def test_learned_evidence_of_a_linear_model_is_exact_up_to_a_constant() -> None:
    problem = straight(20)
    found = solved(problem)
    constant = 0.5 * 20 * np.log(2.0 * np.pi)
    learned = found.precisions.alpha.numpy(), float(found.precisions.noise[0])
    assert -found.loss - constant == pytest.approx(exact(problem, *learned), abs=1e-5)


def test_learned_precisions_maximize_the_evidence_of_a_linear_model() -> None:
    problem = straight(40, noise=1.5)
    found = solved(problem, tolerance=1e-9)
    assert min(found.determined[[0, 3]]) < 0.95, "more than the data alone has to tell"

    def negative(logs: np.ndarray) -> float:
        return -exact(problem, np.exp(logs[:4]), math.exp(logs[4]))

    best = minimize(negative, np.zeros(5), method="L-BFGS-B", bounds=[(-12.0, 12.0)] * 5)
    alpha, noise = np.exp(best.x[:4]), math.exp(best.x[4])
    relevant = [0, 1, 3]
    np.testing.assert_allclose(found.precisions.alpha[relevant], alpha[relevant], rtol=0.05)  # a weak prior is on alpha
    assert float(found.precisions.noise[0]) == pytest.approx(noise, rel=1e-2)
    learned = exact(problem, found.precisions.alpha.numpy(), float(found.precisions.noise[0]))
    assert -best.fun - 0.1 < learned < -best.fun + 1e-3


def test_an_irrelevant_input_gets_a_large_alpha() -> None:
    problem = straight(40)
    found = solved(problem)
    alpha, theta = found.precisions.alpha, found.theta
    assert alpha[2] > 50.0 * max(alpha[0], alpha[1], alpha[3])
    assert abs(theta[2]) < 0.02 < 0.7 < abs(theta[0])
    assert found.determined[2] < 0.7 and min(found.determined[[0, 1, 3]]) > 0.9
    assert bool((found.determined <= 1.0).all())


def test_learned_noise_is_that_of_the_data() -> None:
    found = solved(straight(400, noise=0.3, noise_of_partials=0.1))
    deviations = found.precisions.noise.rsqrt()
    assert deviations.tolist() == pytest.approx([0.3, 0.1, 0.1, 0.1], rel=0.1)


def test_partials_of_pure_noise_lose_their_weight_and_the_others_keep_it() -> None:
    spoiled, clean = (solved(wave(60, spoil=spoil)).precisions.noise for spoil in (1.0, 0.0))
    assert spoiled[2] < 3.0 and min(spoiled[:2]) > 100.0
    assert min(clean) > 1e3


@pytest.mark.parametrize("keep_best", [False, True])
def test_the_last_state_is_kept_or_the_best(keep_best: bool) -> None:
    problem = wave(spoil=1.0)
    found = Evidence(keep_best=keep_best).solve(problem, begin(problem, 4))
    assert min(found.history) < found.history[-1], "the last state has to be a worse one for this test to tell"
    assert found.loss == (min(found.history) if keep_best else found.history[-1])
    again = Evidence(max_iterations=0).solve(problem, found.theta, None, found.precisions)
    assert again.loss == found.loss


def test_noise_of_few_residuals_is_drawn_towards_that_of_the_other_partials() -> None:
    problem = straight(60, noise_of_partials=0.5)
    weights = problem.weights.clone()
    weights[1:, 0, 3] = 0.0  # one residual is left
    few = replace(problem, weights=weights)
    noise = solved(few).precisions.noise
    common = float(noise[1] * noise[2]) ** 0.5
    theta = solved(few).theta
    alone = 1.0 / float(problem.targets[0, 0, 3] - theta[2]) ** 2
    assert abs(math.log(noise[3] / common)) < 0.5 * abs(math.log(alone / common))


def test_a_group_without_residuals_keeps_its_noise_and_changes_nothing() -> None:
    known = np.array([1.0, 0.0])
    found = solved(wave(known=known), noise=50.0)
    assert found.precisions.noise[2] == 50.0
    assert min(found.precisions.noise[:2]) > 1e3
    assert np.array_equal(solved(wave(known=known, spoil=1.0), noise=50.0).theta, found.theta)


def test_learning_does_not_depend_on_the_memory_limit() -> None:
    known = np.random.default_rng(2).random((25, 1, 2)) < 0.5
    problem = wave(known=known.astype(float))
    whole, chunks = solved(problem, max_iterations=8), solved(problem, max_iterations=8, memory_limit=1)
    np.testing.assert_allclose(chunks.theta, whole.theta, rtol=1e-5, atol=1e-7)
    assert chunks.history == pytest.approx(whole.history, rel=1e-7)


def test_learning_in_single_precision_finds_the_same() -> None:
    single, double = solved(wave(dtype=torch.float32)), solved(wave())
    assert single.theta.dtype is torch.float32
    assert single.loss == pytest.approx(double.loss, abs=5.0)


def test_learning_converges_and_continues_where_it_ended() -> None:
    problem = straight(40)
    found = solved(problem)
    assert found.status is Status.CONVERGED and found.iterations < 150
    assert found.loss == found.history[-1] < found.history[0]
    again = Evidence(max_iterations=0).solve(problem, found.theta, None, found.precisions)
    assert again.loss == found.loss
    assert again.precisions == found.precisions
    assert again.status is Status.ITERATION_LIMIT


def test_initial_precisions_are_those_of_the_settings() -> None:
    found = solved(wave(), max_iterations=0, alpha=0.25, noise=7.0)
    assert set(found.precisions.alpha.tolist()) == {0.25}
    assert set(found.precisions.noise.tolist()) == {7.0}
    assert np.array_equal(found.theta, begin(wave()))


def test_starts_have_several_initial_precisions() -> None:
    settings = [Evidence(max_iterations=3).at_start(index) for index in range(16)]
    assert len({(each.alpha, each.noise) for each in settings}) > 2
    assert settings[:8] == settings[8:]
    assert settings[0].max_iterations == 3


def test_callback_gets_the_negative_evidence_and_stops_at_that_state() -> None:
    told: list[Progress] = []

    def callback(progress: Progress) -> bool:
        told.append(progress)
        return progress.iteration == 6

    found = Evidence().solve(wave(), begin(wave()), callback)
    limited = solved(wave(), max_iterations=6)
    assert found.status is Status.STOPPED
    assert tuple(progress.loss for progress in told) == found.history[1:] == limited.history[1:]
    assert found.loss == limited.loss and np.array_equal(found.theta, limited.theta)


def test_ctrl_c_keeps_the_state() -> None:
    def callback(progress: Progress) -> None:
        if progress.iteration == 6:
            raise KeyboardInterrupt

    found = Evidence().solve(wave(), begin(wave()), callback)
    assert found.status is Status.INTERRUPTED
    assert np.array_equal(found.theta, solved(wave(), max_iterations=6).theta)


def test_time_limit_ends_the_run() -> None:
    found = solved(wave(), time_limit=0.0)
    assert (found.status, found.iterations) == (Status.TIME_LIMIT, 0)


@pytest.mark.parametrize("size", [math.nan, math.inf])
def test_data_that_give_no_finite_evidence_end_the_run_at_its_start(size: float) -> None:
    problem = wave()
    broken = replace(problem, targets=problem.targets * size)
    found = solved(broken)
    assert found.status is Status.NOT_FINITE
    assert np.array_equal(found.theta, begin(problem))


def test_a_run_that_turns_not_finite_keeps_its_last_finite_state(monkeypatch: pytest.MonkeyPatch) -> None:
    linearized, calls = NetworkProblem.linearized, list[int]()

    def breaking(self: NetworkProblem, *arguments: Any) -> Any:
        calls.append(len(calls))
        for residuals, jacobian in linearized(self, *arguments):
            yield residuals, jacobian * (math.nan if len(calls) == 4 else 1.0)

    expected = solved(wave(), max_iterations=2)
    monkeypatch.setattr(NetworkProblem, "linearized", breaking)
    found = solved(wave())
    assert found.status is Status.NOT_FINITE
    assert found.loss == expected.loss and np.array_equal(found.theta, expected.theta)


def test_a_perfect_fit_ends_with_finite_precisions() -> None:
    zeros = np.zeros((4, 1))
    problem = NetworkProblem.build(Network((1, 1)), zeros, zeros, zeros[:, :, None], zeros + 1, zeros[:, :, None], 1.0)
    found = solved(problem)
    assert np.isfinite(found.loss)
    assert bool((found.precisions.noise <= 1e8).all()) and bool((found.precisions.alpha <= 1e8).all())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_iterations": -1}, "`max_iterations` must be a whole number of at least 0, got -1"),
        ({"time_limit": -1.0}, "`time_limit` must .* got -1"),
        ({"tolerance": -1.0}, "`tolerance` must be finite and not negative, got -1"),
        ({"memory_limit": 0}, "`memory_limit` must be a whole number of at least 1, got 0"),
        ({"alpha": 0.0}, "`alpha` must be finite and positive, got 0"),
        ({"noise": 0.0}, "`noise` must be finite and positive, got 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_impossible_setting_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Evidence(**setting)
