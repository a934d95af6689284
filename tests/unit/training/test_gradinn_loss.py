"""The loss with a prior on the gradient: exact derivatives, groups, bounds, and the learned weight of the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradopt.networks.mlp import Network
from gradopt.surrogates.gradinn.auxiliary import NetworkField
from gradopt.surrogates.gradinn.loss import GradINNProblem
from gradopt.training.evidence import Evidence, Precisions
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.residuals import NetworkProblem

Taught = Callable[..., tuple[NetworkProblem, Tensor]]
INF = torch.inf
LOW = torch.tensor([[0.5, -INF, -2.0], [-INF, 0.0, 1.5]], dtype=torch.float64)
HIGH = torch.tensor([[INF, 0.25, 3.0], [INF, 0.0, 1.75]], dtype=torch.float64)


def with_prior(data: NetworkProblem, active: tuple[float, ...] = (1.0, 0.0, 1.0), seed: int = 1) -> GradINNProblem:
    """Add a prior with every kind of bounds on 3 inputs and 2 outputs."""
    rng = np.random.default_rng(seed)
    field = NetworkField(Network((3, 4, 6)), LOW, HIGH, torch.tensor(active, dtype=torch.float64))
    alpha = torch.tensor(rng.uniform(0.1, 1.0, data.n_parameters + field.network.n_parameters))
    points = torch.tensor(rng.normal(size=(7, 3)))
    data = replace(data, alpha=alpha[: data.n_parameters])
    return GradINNProblem(data, field, points, torch.tensor([0.3, 2.0], dtype=torch.float64), alpha)


@pytest.fixture
def problem(taught: Taught) -> GradINNProblem:
    return with_prior(taught((3, 4, 2), known=0.7, noise=0.1)[0])


@pytest.fixture
def parameters(problem: GradINNProblem) -> Tensor:
    return torch.tensor(np.random.default_rng(2).normal(size=problem.n_parameters))


def test_partials_of_the_field_keep_their_bounds(problem: GradINNProblem) -> None:
    field = problem.field
    phi = 20.0 * torch.randn(field.n_parameters, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn((200, 3), generator=torch.Generator().manual_seed(1)).double()
    found = field.partials(phi, x)
    assert found.shape == (200, 2, 3)
    assert bool(((found >= LOW) & (found <= HIGH)).all())
    assert bool((found[:, 1, 1] == 0.0).all()), "a partial that is known"
    assert float(found[:, 1, 0].abs().max()) > 3.0, "no bound, no limit"
    moved = x + torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64)
    assert torch.equal(field.partials(phi, moved), found), "an input without effect"


def test_field_and_its_derivatives_agree(problem: GradINNProblem) -> None:
    field, phi = problem.field, torch.tensor(np.random.default_rng(3).normal(size=problem.field.n_parameters))
    partials, jacobian = field.linearized(phi, problem.points)
    torch.testing.assert_close(partials, field.partials(phi, problem.points), rtol=1e-13, atol=1e-13)
    expected = torch.func.jacrev(lambda p: field.partials(p, problem.points))(phi)
    torch.testing.assert_close(jacobian, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("memory_limit", [1, 2**30])
def test_jacobian_is_that_of_the_residuals(problem: GradINNProblem, parameters: Tensor, memory_limit: int) -> None:
    chunks = list(problem.linearized(parameters, memory_limit))
    assert len(chunks) == (12 + 7 if memory_limit == 1 else 2)
    torch.testing.assert_close(torch.cat([r for r, _ in chunks]), problem.residuals(parameters), rtol=1e-12, atol=1e-12)
    expected = torch.func.jacrev(problem.residuals)(parameters)
    torch.testing.assert_close(torch.cat([j for _, j in chunks]), expected, rtol=1e-11, atol=1e-11)
    assert len(expected) == problem.n_residuals == len(problem.residual_groups)


def test_loss_gradient_and_terms_are_those_of_the_residuals(problem: GradINNProblem, parameters: Tensor) -> None:
    def whole(p: Tensor) -> Tensor:
        return 0.5 * (problem.residuals(p) ** 2).sum() + 0.5 * (problem.alpha * p**2).sum()

    loss, gradient = problem.loss_and_gradient(parameters)
    assert loss == pytest.approx(float(whole(parameters)), rel=1e-12)
    torch.testing.assert_close(gradient, torch.func.grad(whole)(parameters), rtol=1e-10, atol=1e-11)
    terms = problem.terms(parameters)
    assert sum(terms.values()) == pytest.approx(loss, rel=1e-12)
    apart = problem.residuals(parameters)[problem.data.n_residuals :]
    assert terms["prior"] == pytest.approx(0.5 * float(apart @ apart), rel=1e-12)


def test_omega_is_the_weight_of_the_prior_on_its_output(problem: GradINNProblem, parameters: Tensor) -> None:
    before = problem.residuals(parameters)[problem.data.n_residuals :].reshape(7, 2, 3)
    after = replace(problem, omega=problem.omega * torch.tensor([4.0, 9.0])).residuals(parameters)
    after = after[problem.data.n_residuals :].reshape(7, 2, 3)
    torch.testing.assert_close(after, before * torch.tensor([[2.0], [3.0]]), rtol=1e-12, atol=1e-13)


def test_a_minibatch_has_the_whole_term_of_the_prior(problem: GradINNProblem, parameters: Tensor) -> None:
    part, _ = problem.loss_and_gradient(parameters, torch.arange(4))
    of_data, _ = problem.data.loss_and_gradient(problem.split(parameters)[0], torch.arange(4))
    terms, phi = problem.terms(parameters), problem.split(parameters)[1]
    prior = 0.5 * float((problem.alpha[problem.data.n_parameters :] * phi) @ phi)
    assert part == pytest.approx(of_data + prior + terms["prior"], rel=1e-12)


def test_groups_of_data_come_first(problem: GradINNProblem) -> None:
    # 2 outputs with 3 partials each: values 0, 1, partials 2 ... 7; the priors on them are 8, 9
    assert problem.residual_groups[problem.data.n_residuals :].tolist() == [8, 8, 8, 9, 9, 9] * 7
    assert torch.equal(problem.residual_groups[: problem.data.n_residuals], problem.data.residual_groups)
    assert problem.residual_pools.tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 4, 5]
    assert problem.residual_parents.tolist() == [0, 1, 0, 0, 0, 1, 1, 1, 8, 9]
    assert problem.prior_groups.tolist() == [False] * 8 + [True] * 2
    of_network = problem.data.parameter_groups
    assert torch.equal(problem.parameter_groups[: len(of_network)], of_network)
    assert problem.parameter_groups[len(of_network) :].min() == of_network.max() + 1
    values = problem.without_partials()
    assert not values.data.has_partials and values.data.has_values
    assert values.prior_groups.tolist() == [False] * 2 + [True] * 2


def test_a_problem_with_a_prior_uses_gradients_and_values_alone_do_not(
    problem: GradINNProblem, parameters: Tensor
) -> None:
    plain = problem.data.without_partials()
    assert problem.without_partials().uses_gradients and problem.data.uses_gradients and not plain.uses_gradients
    theta = problem.split(parameters)[0]
    assert plain.data is plain and plain.prior_result(theta) is None and plain.marginal_prior(theta) is None
    of_field = tuple(f"prior, {name}" for name in problem.field.parameter_groups[1])
    assert problem.group_names == plain.network.parameter_groups[1] + of_field


def test_prior_of_theta_has_phi_integrated_out(problem: GradINNProblem, parameters: Tensor) -> None:
    size = problem.data.n_parameters
    precision, gradient = problem.marginal_prior(parameters)
    rows = torch.func.jacrev(problem._prior_residuals)(parameters).reshape(-1, problem.n_parameters)
    whole = torch.diag(problem.alpha) + rows.T @ rows
    marginal = torch.linalg.inv(whole)[:size, :size]
    torch.testing.assert_close(precision @ marginal, torch.eye(size, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    slope = problem.alpha * parameters + rows.T @ problem._prior_residuals(parameters).reshape(-1)
    step = torch.linalg.solve(whole, slope)[:size]  # Newton's of both together moves theta as that of theta alone
    torch.testing.assert_close(torch.linalg.solve(precision, gradient), step, rtol=1e-8, atol=1e-9)


def linear(n: int = 6, slope: float = 2.0, noise: float = 0.1) -> GradINNProblem:
    """Build a linear response of two inputs with a prior of nearly constant partials: all is linear and Gaussian."""
    rng = np.random.default_rng(4)
    x = torch.tensor(rng.normal(size=(n, 2)))
    y = x @ torch.tensor([[slope], [-1.0]], dtype=torch.float64) + noise * torch.tensor(rng.normal(size=(n, 1)))
    network, field = Network((2, 1)), Network((2, 2))
    free = torch.full((1, 2), torch.inf, dtype=torch.float64)
    ones = torch.ones((n, 1, 1), dtype=torch.float64)
    alpha = torch.ones(network.n_parameters + field.n_parameters, dtype=torch.float64)
    data = NetworkProblem(network, x, y[:, :, None], ones, alpha[: network.n_parameters])
    points = torch.tensor(rng.normal(size=(5, 2)))
    return GradINNProblem(
        data, NetworkField(field, -free, free, torch.ones(2).double()), points, torch.ones(1).double(), alpha
    )


def exact(problem: GradINNProblem, precisions: Precisions) -> float:
    """Compute the negative log density of the data of a linear problem, given prior residuals of 0."""
    size, (weight, omega) = problem.data.n_parameters, precisions.noise.tolist()
    zero = torch.zeros(problem.n_parameters, dtype=torch.float64)
    rows = torch.func.jacrev(problem._prior_residuals)(zero)  # (k, 1, 2, n_parameters)
    prior = torch.diag(precisions.alpha[problem.parameter_groups])
    rows = rows.reshape(-1, len(zero))
    prior = prior + omega * rows.T @ rows
    design = torch.func.jacrev(problem.data.residuals)(zero[:size])
    covariance = design @ torch.linalg.inv(prior)[:size, :size] @ design.T
    covariance += torch.eye(len(design), dtype=torch.float64) / weight
    y = problem.data.targets.reshape(-1)
    return 0.5 * float(y @ torch.linalg.solve(covariance, y) + torch.logdet(covariance))


@pytest.mark.parametrize("omega", [1e-2, 3.0, 1e4])
def test_evidence_of_a_linear_problem_is_the_density_of_the_data(omega: float) -> None:
    problem = linear()
    groups = int(problem.parameter_groups.max()) + 1
    alpha = torch.linspace(0.5, 2.0, groups, dtype=torch.float64)
    precisions = Precisions(alpha, torch.tensor([50.0, omega], dtype=torch.float64))
    start = torch.zeros(problem.n_parameters, dtype=torch.float64)
    weighted = replace(
        problem,
        omega=problem.omega * omega,
        alpha=alpha[problem.parameter_groups],
        data=replace(
            problem.data,
            weights=problem.data.weights * 50.0,
            alpha=alpha[problem.parameter_groups][: problem.data.n_parameters],
        ),
    )
    mode = LevenbergMarquardt(damping=1e-12, tolerance=0.0).solve(weighted, start).theta
    found = Evidence(max_iterations=0).solve(problem, mode, precisions=precisions)
    assert found.loss == pytest.approx(exact(problem, precisions), rel=1e-6)


def test_learned_weights_are_where_the_density_of_the_data_is_largest() -> None:
    problem = linear(n=40)
    found = Evidence(max_iterations=400, tolerance=1e-9).solve(
        problem, torch.full((problem.n_parameters,), 0.1).double()
    )
    best = exact(problem, found.precisions)
    assert found.loss == pytest.approx(best, rel=1e-6)
    for kind in range(2):  # the formulas' fixed point is that of a density with a weak prior: hardly lower
        for factor in (0.3, 3.0):
            noise = found.precisions.noise.clone()
            noise[kind] *= factor
            assert exact(problem, Precisions(found.precisions.alpha, noise)) > best - 0.05


def test_a_prior_that_the_data_contradict_gets_a_small_weight() -> None:
    """The prior excludes negative partials; in the second case the line falls."""
    weights = []
    for slope in (2.0, -2.0):
        problem = linear(n=40, slope=slope, noise=0.01)
        low = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
        assert isinstance(problem.field, NetworkField)
        problem = replace(problem, field=replace(problem.field, low=low))
        start = torch.full((problem.n_parameters,), 0.1).double()
        weights.append(float(Evidence(max_iterations=200).solve(problem, start).precisions.noise[1]))
    assert weights[1] < 0.1 < 1.0 < weights[0]
