"""Posterior and standard deviations equal closed forms, refits without a sample, and the spread of draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal as normal
from scipy.stats import t as student

from gradopt import JENN, MLP, Dataset, Variable
from gradopt.data.scaling import Scaling
from gradopt.networks.jacobian import parameter_jacobian, trace
from gradopt.networks.mlp import TRENDS, Network
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.uncertainty import laplace
from gradopt.surrogates.uncertainty import posterior as uncertainty
from gradopt.surrogates.uncertainty.laplace import leave_one_out_densities, posterior_of, posteriors_of
from gradopt.surrogates.uncertainty.posterior import Posterior, derivatives, linear_parameters, std_of, std_partials_of
from gradopt.training.result import LearnedWeights

LINEAR = Network((2, 2))  # without hidden layers: everything has a closed form
LEARNED = LearnedWeights((0.3, 0.7, 0.2), ("input 0", "input 1", "biases 1"), (1.0, 1.0, 1.0), (4.0, 9.0), (2.0, 3.0))
PLAIN = np.ones((2, 2))


def samples(n: int = 7, transform: str | None = None) -> Dataset:
    """Two outputs, with noise so that nothing is fitted exactly."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-1.0, 1.0, (n, 2))
    y = x @ rng.normal(size=(2, 2)) + 0.3 * rng.normal(size=(n, 2))
    dydx = rng.normal(size=(n, 2, 2))
    if transform:
        y = 1.0 / (1.0 + np.exp(-y))
    outputs = (Variable("f", (2,), transform=transform),)
    return Dataset(x, y, dydx, (Variable("x", (2,)),), outputs)


def rows(data: Dataset, scaling: Scaling, network: Network = LINEAR, theta: np.ndarray | None = None) -> np.ndarray:
    """Derivatives (n, m, 1 + d, P) by the parameters."""
    z = torch.tensor(scaling.scale_inputs(data.x))
    point = torch.zeros(network.n_parameters, dtype=torch.float64) if theta is None else torch.tensor(theta)
    return parameter_jacobian(network, point, z, True)[1].numpy()


def targets(data: Dataset, scaling: Scaling) -> np.ndarray:
    """Values and partials (n, m, 1 + d), standardized."""
    partials = scaling.scale_partials(data.x, data.y, data.partials)
    return np.concatenate([scaling.scale_outputs(data.y)[:, :, None], partials], axis=2)


def regression(
    data: Dataset, scaling: Scaling, learned: LearnedWeights, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and H of the linear network on some samples, written out."""
    jacobian, wanted = rows(data, scaling), targets(data, scaling)
    gamma = learned.gamma or (0.0, 0.0)
    matrix = np.diag(np.array(learned.alpha)[LINEAR.parameter_groups[0]])
    right = np.zeros(len(matrix))
    for i in np.flatnonzero(kept):
        for k in range(2):
            for j in range(3):
                weight = learned.beta[k] if j == 0 else gamma[k]
                if weight and np.isfinite(wanted[i, k, j]):
                    matrix += weight * np.outer(jacobian[i, k, j], jacobian[i, k, j])
                    right += weight * wanted[i, k, j] * jacobian[i, k, j]
    return np.linalg.solve(matrix, right), matrix


def fitted(data: Dataset, theta: np.ndarray | None = None) -> Posterior:
    """Posterior of the linear network."""
    scaling = Scaling.of(data)
    if theta is None:
        theta = regression(data, scaling, LEARNED, np.ones(data.n, dtype=bool))[0]
    found = posterior_of(JENN(), TrainedNetwork(LINEAR, theta, learned=LEARNED), data, scaling)
    assert found is not None
    return found


def test_factor_is_that_of_the_weighted_normal_equations_and_noise_is_one_over_the_weights() -> None:
    data = samples()
    found = fitted(data)
    matrix = regression(data, Scaling.of(data), LEARNED, np.ones(data.n, dtype=bool))[1]
    np.testing.assert_allclose(found.factor[0] @ found.factor[0].T, matrix, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.noise, [[1 / 4, 1 / 2], [1 / 9, 1 / 3]])


def test_leave_one_out_density_is_that_of_refits_without_each_sample() -> None:
    data = samples()
    partials = data.partials.copy()
    partials[1, 0, 1] = partials[4, 1] = np.nan
    data = Dataset(data.x, data.y, partials, data.input_variables, data.output_variables)
    scaling, weights = Scaling.of(data), np.array([LEARNED.beta, LEARNED.gamma]).T[:, [0, 1, 1]]
    jacobian, wanted, expected = rows(data, scaling), targets(data, scaling), np.zeros(data.n)
    for i in range(data.n):
        theta, matrix = regression(data, scaling, LEARNED, np.arange(data.n) != i)
        known = np.isfinite(wanted[i])
        design, noise = jacobian[i][known], np.diag(1.0 / weights[known])
        covariance = design @ np.linalg.inv(matrix) @ design.T + noise
        expected[i] = float(normal(np.zeros(known.sum()), covariance).logpdf(wanted[i][known] - design @ theta))
        expected[i] += 0.5 * known.sum() * np.log(2.0 * np.pi)
    theta = regression(data, scaling, LEARNED, np.ones(data.n, dtype=bool))[0]
    fit = TrainedNetwork(LINEAR, theta, learned=LEARNED)
    np.testing.assert_allclose(leave_one_out_densities(JENN(), [fit], data, scaling), expected, rtol=1e-9)
    other = replace(LEARNED, beta=(0.4, 0.9), gamma=(0.2, 0.3))
    pair = TrainedNetwork(LINEAR, theta, 0.25, LEARNED), TrainedNetwork(LINEAR, theta, 0.75, other)
    alone = [leave_one_out_densities(JENN(), [replace(trained, share=1.0)], data, scaling) for trained in pair]
    mixed = np.log(0.25 * np.exp(alone[0]) + 0.75 * np.exp(alone[1]))
    np.testing.assert_allclose(leave_one_out_densities(JENN(), pair, data, scaling), mixed, rtol=1e-9)
    nowhere = TrainedNetwork(LINEAR, np.full_like(theta, np.nan), learned=LEARNED)
    assert (leave_one_out_densities(JENN(), [nowhere], data, scaling) == -np.inf).all()


@pytest.mark.parametrize("missing", [False, True])
def test_inflation_is_that_of_refits_without_each_sample(missing: bool) -> None:
    data = samples()
    if missing:
        partials = data.partials.copy()
        partials[1, 0, 1] = partials[4, 1] = np.nan
        data = Dataset(data.x, data.y, partials, data.input_variables, data.output_variables)
    scaling, weights = Scaling.of(data), np.array([LEARNED.beta, LEARNED.gamma]).T[:, [0, 1, 1]]
    jacobian, wanted = rows(data, scaling), targets(data, scaling)
    squares = np.full(wanted.shape, np.nan)
    for i in range(data.n):
        theta, matrix = regression(data, scaling, LEARNED, np.arange(data.n) != i)
        variances = np.einsum("kjp,pq,kjq->kj", jacobian[i], np.linalg.inv(matrix), jacobian[i]) + 1.0 / weights
        squares[i] = (wanted[i] - jacobian[i] @ theta) ** 2 / variances
    left_out = [np.nanmean(squares[:, :, :1], axis=(0, 2)), np.nanmean(squares[:, :, 1:], axis=(0, 2))]
    whole = regression(data, scaling, LEARNED, np.ones(data.n, dtype=bool))[1]
    prior = np.array(LEARNED.alpha)[LINEAR.parameter_groups[0]]
    used = len(whole) - prior @ np.linalg.inv(whole).diagonal()
    expected = np.sqrt(np.maximum(left_out, 1.0).T) * student.ppf(0.95, data.n - 1) / student.ppf(0.95, 1e9)
    assert np.max(left_out) > 1.0, "else the test says nothing of it"
    np.testing.assert_allclose(fitted(data).inflation, expected, rtol=1e-6)
    np.testing.assert_allclose(fitted(data).optimism, used / np.isfinite(wanted).sum())


def test_inflation_does_not_depend_on_where_the_solver_stopped() -> None:
    data = samples()
    np.testing.assert_allclose(fitted(data, np.full(6, 3.0)).inflation, fitted(data).inflation, rtol=1e-9)


def test_inflation_is_at_least_that_of_student_s_distribution() -> None:
    data = samples()
    slopes = np.array([[0.5, -1.0], [1.0, 0.3]])
    exact = Dataset(data.x, data.x @ slopes.T, np.tile(slopes, (7, 1, 1)), data.input_variables, data.output_variables)
    np.testing.assert_allclose(fitted(exact).inflation, student.ppf(0.95, 6) / student.ppf(0.95, 1e9), rtol=1e-6)


@pytest.mark.parametrize("n", range(2, 8))
def test_more_parameters_than_residuals_without_a_prior_have_a_posterior(n: int) -> None:
    data, network = samples(n), Network((2, 30, 2))
    theta = network.initialize(np.random.default_rng(n))
    found = posterior_of(JENN(alpha=0.0), TrainedNetwork(network, theta), data, Scaling.of(data))
    assert found is not None and np.isfinite(found.inflation).all() and np.isfinite(found.factor).all()


def test_std_is_the_closed_form() -> None:
    data = samples()
    scaling, found = Scaling.of(data), fitted(data)
    matrix = regression(data, scaling, LEARNED, np.ones(data.n, dtype=bool))[1]
    variances = np.einsum("nkjp,pq,nkjq->nkj", rows(data, scaling), np.linalg.inv(matrix), rows(data, scaling))
    theta, z = np.zeros(6), scaling.scale_inputs(data.x)
    expected = found.inflation[:, 0] ** 2 * (variances[:, :, 0] + found.noise[:, 0])
    np.testing.assert_allclose(found.variances(LINEAR, theta, z), expected, rtol=1e-12)
    bend = np.full((7, 2, 2), 0.4)
    of_partials = rows(data, scaling)[:, :, 1:] + 0.4 * rows(data, scaling)[:, :, :1]
    variances = np.einsum("nkjp,pq,nkjq->nkj", of_partials, np.linalg.inv(matrix), of_partials)
    noise = found.noise[:, 1] + 0.4**2 * found.noise[:, 0]
    expected_partials = found.inflation[:, 1, None] ** 2 * (variances + noise[:, None])
    np.testing.assert_allclose(found.variances_of_partials(LINEAR, theta, z, bend), expected_partials, rtol=1e-12)
    alone, optimism = [TrainedNetwork(LINEAR, theta)], 1.0 + found.optimism
    np.testing.assert_allclose(std_of(alone, [found], z) ** 2, optimism * expected)
    np.testing.assert_allclose(std_partials_of(alone, [found], z, bend) ** 2, optimism * expected_partials)


def test_variance_between_networks_counts_where_it_exceeds_the_optimism() -> None:
    data = samples()
    scaling, theta = Scaling.of(data), np.zeros(6)
    theta[:] = regression(data, scaling, LEARNED, np.ones(data.n, dtype=bool))[0]
    shift = np.array([0.0, 0.0, 0.0, 0.0, 3.0, 0.0])  # the bias of the first output
    slope = np.array([0.0, 0.0, 0.0, 5.0, 0.0, 0.0])  # of the second along the second input
    networks = [TrainedNetwork(LINEAR, theta, 0.75), TrainedNetwork(LINEAR, theta + shift + slope, 0.25)]
    posteriors = posteriors_of(JENN(), [replace(m, learned=LEARNED) for m in networks], data, scaling)
    z, bend = scaling.scale_inputs(data.x), np.full((7, 2, 2), 0.5)
    bend[:, 0] = 0.0
    own = posteriors[0].variances(LINEAR, theta, z)
    expected = own[:, 0] * 1.0 + 0.75 * 0.25 * 3.0**2
    np.testing.assert_allclose(std_of(networks, posteriors, z)[:, 0] ** 2, expected)
    own = posteriors[0].variances_of_partials(LINEAR, theta, z, bend)
    apart = 0.75 * 0.25 * (5.0 + 0.5 * 5.0 * z[:, 1]) ** 2
    found = std_partials_of(networks, posteriors, z, bend) ** 2
    least = own[:, 1, 1] * (1.0 + posteriors[0].optimism)
    np.testing.assert_allclose(found[:, 1, 1], np.maximum(own[:, 1, 1] + apart, least))
    np.testing.assert_allclose(found[:, 0, 0], own[:, 0, 0] * (1.0 + posteriors[0].optimism))


@pytest.mark.parametrize("kind", [JENN, MLP])
def test_linear_parameters_alone_give_the_same_where_all_are_linear(
    kind: type[JENN | MLP], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = samples()
    scaling, theta = Scaling.of(data), np.linspace(-1.0, 1.0, 6)
    z, bend = scaling.scale_inputs(data.x), np.full((7, 2, 2), 0.4)
    whole = posterior_of(kind(), TrainedNetwork(LINEAR, theta, learned=LEARNED), data, scaling)
    monkeypatch.setattr(laplace, "_MOST_WORK", 0)
    part = posterior_of(kind(), TrainedNetwork(LINEAR, theta, learned=LEARNED), data, scaling)
    assert whole is not None and part is not None
    assert whole.factor.shape == (1, 6, 6) and part.factor.shape == (2, 3, 3)
    np.testing.assert_allclose(part.noise, whole.noise)
    of_part, of_whole = (of.variances(LINEAR, theta, z) / of.inflation[:, 0] ** 2 for of in (part, whole))
    np.testing.assert_allclose(of_part, of_whole)
    of_part, of_whole = (
        of.variances_of_partials(LINEAR, theta, z, bend) / of.inflation[:, 1, None] ** 2 for of in (part, whole)
    )
    np.testing.assert_allclose(of_part, of_whole)


@pytest.mark.parametrize("trend", TRENDS)
@pytest.mark.parametrize("partials", [False, True])
def test_rows_of_the_linear_parameters_are_those_of_the_whole_jacobian(trend: str | None, partials: bool) -> None:
    network = Network((3, 4, 5, 2), "tanh", trend)
    rng = np.random.default_rng(0)
    theta, x = torch.tensor(rng.normal(size=network.n_parameters)), torch.tensor(rng.normal(size=(6, 3)))
    responses, jacobian = parameter_jacobian(network, theta, x, partials)
    found, part = derivatives(network, theta, x, partials, whole=False)
    torch.testing.assert_close(found, responses)
    for output, columns in enumerate(linear_parameters(network)):
        torch.testing.assert_close(part[:, output], jacobian[:, output][..., columns])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples(9)
    scaling, network = Scaling.of(data), Network((2, 3, 2))
    theta, z = network.initialize(np.random.default_rng(1)), scaling.scale_inputs(data.x)
    bend = np.random.default_rng(2).normal(size=(9, 2, 2))

    def deviations() -> list[np.ndarray]:
        found = posterior_of(JENN(), TrainedNetwork(network, theta), data, scaling)
        assert found is not None
        return [
            found.factor,
            found.inflation,
            found.variances(network, theta, z),
            found.variances_of_partials(network, theta, z, bend),
        ]

    at_once = deviations()
    monkeypatch.setattr(uncertainty, "_CHUNK", 500)
    for one, other in zip(deviations(), at_once, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_fixed_weights_get_the_noise_of_highest_likelihood() -> None:
    data = samples()
    scaling, theta = Scaling.of(data), np.linspace(-1.0, 1.0, 6)
    configuration = JENN(beta=2.0, gamma=0.5, alpha=0.3)
    found = posterior_of(configuration, TrainedNetwork(LINEAR, theta), data, scaling)
    assert found is not None
    weights = np.array([2.0, 0.5, 0.5])
    errors = rows(data, scaling) @ theta - targets(data, scaling)
    variance = ((weights * errors**2).sum() + 0.3 * theta @ theta) / errors.size
    np.testing.assert_allclose(found.noise, variance / weights[[[0, 1], [0, 1]]])
    jacobian = rows(data, scaling).reshape(-1, 6) * np.sqrt(np.tile(weights, 14))[:, None]
    matrix = (jacobian.T @ jacobian + 0.3 * np.eye(6)) / variance
    np.testing.assert_allclose(found.factor[0] @ found.factor[0].T, matrix, rtol=1e-10, atol=1e-10)


def test_noise_of_partials_that_were_not_fitted_is_that_of_a_wave_between_the_samples() -> None:
    data = samples(9)
    found = posterior_of(MLP(), TrainedNetwork(LINEAR, np.ones(6), learned=LEARNED), data, Scaling.of(data))
    assert found is not None
    spacing = math.sqrt(12.0) / 3.0
    np.testing.assert_allclose(found.noise[:, 1], found.noise[:, 0] * (math.pi / spacing) ** 2 / 2.0)


def test_a_fit_that_is_not_finite_or_too_wide_has_no_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples()
    scaling, network = Scaling.of(data), Network((2, 3, 2))
    assert posterior_of(JENN(), TrainedNetwork(network, np.full(network.n_parameters, np.nan)), data, scaling) is None
    networks = [TrainedNetwork(network, np.full(network.n_parameters, value), 0.5) for value in (1.0, np.nan)]
    assert posteriors_of(JENN(), networks, data, scaling) == ()
    monkeypatch.setattr(laplace, "_MOST_PARAMETERS", 3)
    assert posterior_of(JENN(), TrainedNetwork(network, np.ones(network.n_parameters)), data, scaling) is None


@pytest.mark.parametrize("transform", [None, "log", "logit"])
def test_std_is_the_spread_of_draws_also_with_a_transform(transform: str | None) -> None:
    """Draws of parameters close to the fit vary values and partials, in physical units, by std."""
    data = samples(transform=transform)
    scaling, network = Scaling.of(data), Network((2, 3, 2))
    theta = network.initialize(np.random.default_rng(1))
    factor = 1e6 * np.linalg.qr(np.random.default_rng(2).normal(size=(network.n_parameters,) * 2))[1].T
    factor *= np.sign(factor.diagonal())
    networks, posteriors = (
        [TrainedNetwork(network, theta)],
        [Posterior(factor[None], np.zeros((2, 2)), PLAIN, np.zeros(1))],
    )
    z = scaling.scale_inputs(data.x)

    def physical(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        run = trace(network, torch.tensor(parameters), torch.tensor(z))
        y = scaling.unscale_outputs(run.values.numpy())
        return y, scaling.unscale_partials(data.x, y, run.partials().numpy())

    draws = theta + np.linalg.solve(factor.T, np.random.default_rng(3).normal(size=(len(theta), 4000))).T
    values, partials = (np.array(part).std(axis=0) for part in zip(*map(physical, draws), strict=True))
    y, dydx = physical(theta)
    std = scaling.unscale_std(y, std_of(networks, posteriors, z))
    bend = scaling.transform_coupling(y, scaling.scale_partials(data.x, y, dydx))
    of_partials = scaling.unscale_partials(data.x, y, std_partials_of(networks, posteriors, z, bend))
    np.testing.assert_allclose(std, values, rtol=0.06)
    np.testing.assert_allclose(of_partials, partials, rtol=0.06)
