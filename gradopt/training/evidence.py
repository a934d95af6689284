"""Evidence: learning of the weights of values, partials and parameters, and ranking of fits without test data.

The loss is interpreted as a Gaussian likelihood and prior. Each group g of parameters has a precision alpha_g, each
group k of residuals (values of each output, each of its partials) a precision w_k, a factor on the configured weights.
With H = sum_k w_k J_k'J_k + diag(alpha) the log evidence in the Gauss-Newton approximation is

    log p = -1/2 sum_k w_k |r_k|^2 - 1/2 sum_g alpha_g |theta_g|^2
            + 1/2 sum_k N_k log w_k + 1/2 sum_g n_g log alpha_g - 1/2 log det H     (up to a constant of the data).

Its stationary points satisfy alpha_g = (n_g - alpha_g tr_g H^-1) / |theta_g|^2 and w_k = (N_k - tr w_k H^-1 J_k'J_k) /
|r_k|^2 (MacKay 1992). So an input without effect gets a large alpha_g, and noisy data get a small w_k. The w_k of a
partial is drawn towards the geometric mean of the w of its output's partials, like a mean with 30 more residuals.

With a prior on the gradient, groups b of residuals belong to the prior, not to the data. The prior then has the
precision P = diag(alpha) + sum_b w_b J_b'J_b: 1/2 log det P replaces 1/2 sum_g n_g log alpha_g, there is no term
N_b log w_b, and the stationary points satisfy

    alpha_g = alpha_g tr_g (P^-1 - H^-1) / |theta_g|^2,    w_b = w_b tr (P^-1 - H^-1) J_b'J_b / |r_b|^2.

So a prior that the data contradict gets a small weight w_b.

References:
    MacKay (1992), Bayesian interpolation, Neural Computation 4(3). Foresee & Hagan (1997), Gauss-Newton approximation
    to Bayesian learning, ICNN'97.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradopt.training.monitor import Monitor
from gradopt.training.options import number, seconds, whole
from gradopt.training.problem import FitProblem, GroupedProblem
from gradopt.training.result import Callback, SolverResult, Status

# Constants of the re-estimates, chosen by hand. Precisions are those of standardized residuals.
_ALPHA = (1e-6, 1e8)  # bounds of a learned alpha
_NOISE = (1e-2, 1e8)  # bounds of a learned w: noise of 10 to 1e-4 standard deviations
_PULL, _PULL_SCALE = 2e-2, 2e-6  # shape and rate of a weak Gamma prior on alpha; bounds alpha of a group of zeros
_PRIOR_SCALE = 2e-4  # rate of the same Gamma prior on the weight of a prior on the gradient
_FREEDOM = 1e-2  # fraction of a group's residuals that always counts as noise; bounds w where data are interpolated
_POOL_RESIDUALS = 30.0  # number of residuals as which the mean of its pool counts in the noise of a group
_FINER = 10.0  # largest ratio of the noise levels of values and partials; bounds w of a constant partial
_CHANGE = 5.0  # largest factor by which a precision changes in one iteration
_SETTLE = 4  # iterations with constant precisions at first, while the parameters are still random
# First, least, first rising and largest mu of a step, relative to the diagonal of H.
_DAMPING, _LEAST, _RISE_FROM, _MOST = 1e-3, 1e-12, 1e-10, 1e8
_PATIENCE = 5  # iterations in a row with a negligible gain of evidence that end a run
# Initial alpha and w of each start in turn; by hand.
_USUAL, _WIDE = (0.1, 100.0), (0.03, 30.0)
_STARTS = (_USUAL, _USUAL, _USUAL, (0.01, 10.0), (0.3, 1000.0), _WIDE, _WIDE, _WIDE)


@dataclass(frozen=True)
class Precisions:
    """Precisions that the evidence learns.

    Attributes:
        alpha: Precision alpha_g of the prior on each group of parameters (n_groups,), float64.
        noise: Factor w_k on the weights of each group of residuals (n_kinds,), float64.
    """

    alpha: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class EvidenceResult(SolverResult):
    """Outcome of a run that learned precisions; loss and history are negative log evidences.

    Attributes:
        precisions: Learned precisions.
        determined: Number of parameters that the data determine, by group (n_groups,).
    """

    precisions: Precisions
    determined: Tensor


@dataclass(frozen=True)
class Evidence:
    """Levenberg-Marquardt that re-estimates all precisions after each step by the formulas of the evidence.

    Attributes:
        max_iterations: Limit of the steps.
        time_limit: Limit of the run, s; None = no limit.
        tolerance: Gain of log evidence, nats, below which an iteration is negligible; five in a row end the run.
        memory_limit: Size of the residual Jacobian, bytes, above which it is accumulated in chunks.
        alpha: Initial precision of each group of parameters.
        noise: Initial factor on the weights of the residuals of the data.
        omega: Initial factor on the weights of a prior on the gradient.
        keep_best: Whether to return the state of the highest evidence instead of the last. The fixed point of the
            formulas lies slightly below the highest evidence. The last state predicts better for values alone, the best
            state where partials are too rough for the network.
    """

    max_iterations: int = 150
    time_limit: float | None = None
    tolerance: float = 1e-3
    memory_limit: int = 2**30
    alpha: float = 0.1
    noise: float = 100.0
    omega: float = 100.0
    keep_best: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "max_iterations", whole("max_iterations", self.max_iterations, 0))
        object.__setattr__(self, "time_limit", seconds("time_limit", self.time_limit))
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance))
        object.__setattr__(self, "memory_limit", whole("memory_limit", self.memory_limit, 1))
        object.__setattr__(self, "alpha", number("alpha", self.alpha, positive=True))
        object.__setattr__(self, "noise", number("noise", self.noise, positive=True))
        object.__setattr__(self, "omega", number("omega", self.omega, positive=True))

    def at_start(self, index: int) -> Evidence:
        """Return the solver with the initial precisions of a start; different ones lead to different modes."""
        alpha, noise = _STARTS[index % len(_STARTS)]
        return replace(self, alpha=alpha, noise=noise)

    @torch.no_grad()
    def solve(
        self,
        problem: GroupedProblem,
        theta: Tensor,
        callback: Callback | None = None,
        precisions: Precisions | None = None,
    ) -> EvidenceResult:
        """Maximize the evidence.

        Args:
            problem: The problem to fit; its own alpha is not used.
            theta: Initial parameters (n_parameters,).
            callback: See `gradopt.training.result.Callback`; the loss in `Progress` is the negative log evidence.
            precisions: Initial precisions; None = `alpha`, `noise` and `omega`.

        Returns:
            The last parameters and precisions, or with `keep_best` the best.
        """
        run = _Run(self, problem, precisions)
        monitor = Monitor(callback, self.time_limit)
        found = monitor.run(lambda: run.iterate(theta, monitor))
        state = run.state
        return EvidenceResult(
            state.theta, state.loss, found.status, found.history, found.seconds, state.precisions, state.determined
        )


@dataclass(frozen=True, eq=False)
class _State:
    """Parameters, their negative log evidence, its precisions, and the number of determined parameters by group."""

    theta: Tensor
    loss: float
    precisions: Precisions
    determined: Tensor


class _Run:
    """State of one run."""

    state: _State

    def __init__(self, settings: Evidence, problem: GroupedProblem, precisions: Precisions | None) -> None:
        self.settings, self.problem = settings, problem
        self.of_parameter, self.of_residual = problem.parameter_groups, problem.residual_groups
        self.sizes = torch.bincount(self.of_parameter).double()
        self.counts = torch.bincount(self.of_residual, minlength=len(problem.residual_pools)).double()
        if precisions is None:
            alpha = torch.full_like(self.sizes, settings.alpha)
            noise = torch.where(problem.prior_groups, settings.omega, torch.full_like(self.counts, settings.noise))
            precisions = Precisions(alpha, noise)
        self.alpha, self.noise = precisions.alpha, precisions.noise
        self.orders: dict[int, tuple[Tensor, list[int]]] = {}
        columns = problem.n_parameters
        self.buffers = (
            self.counts.new_zeros((len(self.counts), columns, columns)),
            self.counts.new_zeros((len(self.counts), columns)),
        )
        self.present, self.prior_groups = self.counts > 0.0, problem.prior_groups
        self.has_prior = bool(self.prior_groups.any())
        self.in_pool = self._sum_over_pools(self.present.double()).clamp_min(1.0)
        self.of_values = problem.residual_parents == torch.arange(len(self.counts), device=self.counts.device)

    def iterate(self, theta: Tensor, monitor: Monitor) -> Status:
        """Take steps and re-estimate the precisions in turn, until the evidence stays the same."""
        mu, negligible, last = _DAMPING, 0, math.inf
        for iteration in range(self.settings.max_iterations + 1):
            normal = self._normal_equations(theta)
            objective, determined, free = self._evidence(theta, normal)
            if not iteration or (objective <= self.state.loss if self.settings.keep_best else math.isfinite(objective)):
                self.state = _State(theta, objective, Precisions(self.alpha, self.noise), determined)
            monitor.record(theta, objective)
            negligible = negligible + 1 if abs(last - objective) < self.settings.tolerance else 0
            last = objective
            if negligible >= _PATIENCE and iteration > _SETTLE:
                return Status.CONVERGED
            if iteration == self.settings.max_iterations:
                break
            if iteration >= _SETTLE:
                self._reestimate(theta, normal, determined, free)
            theta, mu = self._step(theta, normal, mu)
        return Status.ITERATION_LIMIT

    def _normal_equations(self, theta: Tensor) -> _Normal:
        grams, products = self.buffers  # reused: new arrays of this size would cost as much as filling them
        squares = torch.zeros_like(self.counts)
        first = 0
        for residuals, jacobian in self.problem.linearized(theta, self.settings.memory_limit):
            order, counts = self._by_kind(first, len(residuals))
            blocks, parts = (torch.split(each[order].double(), counts) for each in (jacobian, residuals))
            for kind, (block, part) in enumerate(zip(blocks, parts, strict=True)):
                grams[kind].addmm_(block.T, block, beta=min(first, 1))
                products[kind].addmv_(block.T, part, beta=min(first, 1))
                squares[kind] += part @ part
            first += len(residuals)
        return _Normal(grams, products, squares)

    def _by_kind(self, first: int, count: int) -> tuple[Tensor, list[int]]:
        """Return the order that sorts the residuals of a chunk by group, and the number of residuals of each group."""
        if first not in self.orders:
            kinds = self.of_residual[first : first + count]
            counts = torch.bincount(kinds, minlength=len(self.counts)).tolist()
            self.orders[first] = torch.argsort(kinds, stable=True), counts
        return self.orders[first]

    def _precision(self, normal: _Normal, weights: Tensor) -> Tensor:
        """Compute sum_k w_k J_k'J_k + diag(alpha), which is H with all weights and P with those of the prior."""
        matrix = torch.tensordot(weights, normal.grams, 1)
        matrix.diagonal().add_(self.alpha[self.of_parameter])
        return matrix

    def _evidence(self, theta: Tensor, normal: _Normal) -> tuple[float, Tensor, Tensor]:
        """Compute negative log evidence, determined parameters by group, and free residuals by group of residuals."""
        posterior = self._inverse(normal, self.noise)
        prior = self._prior(normal)
        if posterior is None or prior is None:
            return math.inf, torch.zeros_like(self.sizes), torch.zeros_like(self.counts)
        misfit = self.noise @ normal.squares + self.alpha @ self._lengths(theta)
        scales = (self.counts * ~self.prior_groups) @ self.noise.log() + prior.log_det
        determined = self.alpha * (prior.spread - posterior.spread)
        free = torch.where(self.prior_groups, prior.used, self.counts) - posterior.used
        return 0.5 * (float(misfit - scales) + posterior.log_det), determined.clamp_min(0.0), free

    def _inverse(self, normal: _Normal, weights: Tensor) -> _Inverse | None:
        """Compute determinant and traces of the inverse of `_precision`; None if it is not positive definite."""
        factor, info = torch.linalg.cholesky_ex(self._precision(normal, weights))
        if int(info):
            return None
        inverse = torch.cholesky_inverse(factor)
        spread = torch.zeros_like(self.sizes).index_add_(0, self.of_parameter, inverse.diagonal())
        used = self.noise * (normal.grams.flatten(1) @ inverse.flatten())
        return _Inverse(2.0 * float(factor.diagonal().log().sum()), spread, used)

    def _prior(self, normal: _Normal) -> _Inverse | None:
        if self.has_prior:
            return self._inverse(normal, self.noise * self.prior_groups)
        return _Inverse(float(self.sizes @ self.alpha.log()), self.sizes / self.alpha, torch.zeros_like(self.counts))

    def _lengths(self, theta: Tensor) -> Tensor:
        """Compute |theta_g|^2 (n_groups,)."""
        return torch.zeros_like(self.sizes).index_add_(0, self.of_parameter, theta.double() ** 2)

    def _reestimate(self, theta: Tensor, normal: _Normal, determined: Tensor, free: Tensor) -> None:
        alpha = (determined + _PULL) / (self._lengths(theta) + _PULL_SCALE)
        free = torch.maximum(free, torch.where(self.prior_groups, _PULL, _FREEDOM * self.counts))
        squares = (normal.squares + _PRIOR_SCALE * self.prior_groups).clamp_min(sys.float_info.min)
        common = self._pooled(free / squares)
        noise = (free + _POOL_RESIDUALS) / (squares + _POOL_RESIDUALS / common)
        noise = torch.minimum(noise, self._ceiling(noise))
        self.alpha = _towards(self.alpha, alpha, _ALPHA)
        self.noise = torch.where(self.present, _towards(self.noise, noise, _NOISE), self.noise)

    def _pooled(self, noise: Tensor) -> Tensor:
        """Compute the geometric mean over the pool of each group (n_kinds,), without empty groups."""
        logs = torch.where(self.present, noise.clamp(*_NOISE).log(), 0.0)
        return torch.exp(self._sum_over_pools(logs) / self.in_pool)[self.problem.residual_pools]

    def _sum_over_pools(self, numbers: Tensor) -> Tensor:
        return torch.zeros_like(numbers).index_add_(0, self.problem.residual_pools, numbers)

    def _ceiling(self, noise: Tensor) -> Tensor:
        """Compute the upper bound of each group's precision (n_kinds,) by that of its output's values."""
        values = torch.where(self.present, torch.maximum(noise, self.noise), torch.inf)
        return torch.where(self.of_values, torch.inf, _FINER**2 * values[self.problem.residual_parents])

    def _step(self, theta: Tensor, normal: _Normal, mu: float) -> tuple[Tensor, float]:
        """Take a step that reduces the loss at the present precisions, if there is one; return parameters and mu."""
        prior = self.alpha[self.of_parameter]
        matrix = self._precision(normal, self.noise)
        diagonal = matrix.diagonal().clone()
        gradient = self.noise @ normal.products + prior * theta
        loss = 0.5 * float(self.noise @ normal.squares + self.alpha @ self._lengths(theta))
        while mu <= _MOST:
            matrix.diagonal().copy_(diagonal * (1.0 + mu))
            factor, info = torch.linalg.cholesky_ex(matrix)
            if not int(info):
                step = torch.cholesky_solve(-gradient[:, None], factor)[:, 0]
                moved = theta + step.to(theta.dtype)
                residuals = self.problem.residuals(moved).double()
                after = 0.5 * float(self.noise[self.of_residual] @ residuals**2 + self.alpha @ self._lengths(moved))
                if after < loss:
                    predicted = 0.5 * float(step @ (mu * diagonal * step - gradient))
                    ratio = (loss - after) / max(predicted, sys.float_info.min)
                    return moved, max(mu * (1.0 / 3.0 if ratio > 0.75 else 1.0 if ratio > 0.25 else 2.0), _LEAST)
            mu = 4.0 * max(mu, _RISE_FROM)
        return theta, _DAMPING


@dataclass(frozen=True, eq=False)
class _Normal:
    """J_k'J_k (n_kinds, P, P), J_k'r_k (n_kinds, P) and |r_k|^2 (n_kinds,) of each group of residuals, float64."""

    grams: Tensor
    products: Tensor
    squares: Tensor


@dataclass(frozen=True, eq=False)
class _Inverse:
    """Log det M, tr_g M^-1 by group of parameters, w_k tr M^-1 J_k'J_k by group of residuals, of a precision M."""

    log_det: float
    spread: Tensor
    used: Tensor


def _towards(present: Tensor, target: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Change the present precisions towards target ones, by at most the factor `_CHANGE` and within the bounds."""
    return (present * (target / present).clamp(1.0 / _CHANGE, _CHANGE)).clamp(*bounds)


@torch.no_grad()
def log_evidence(problem: FitProblem, theta: Tensor, memory_limit: int = 2**30) -> float:
    """Compute the log evidence of a minimum with fixed weights, up to a constant of the problem.

    A common noise level is set to its maximum-likelihood value:
    log p = -N/2 log(2 E / N) - 1/2 log det(I + A^-1 J'J), A = diag(alpha), N residuals.

    Args:
        problem: The fitted problem; all of alpha must be positive.
        theta: A minimum of the loss (n_parameters,).
        memory_limit: Size, bytes, of a chunk of the Jacobian and of the matrix at most.

    Returns:
        The log evidence; of several minima the one with the highest is preferred. NaN if the matrix of the parameters,
        or with fewer residuals than parameters the whole Jacobian, is above the memory limit.
    """
    whitening = problem.alpha.rsqrt()
    n, columns = problem.n_residuals, problem.n_parameters
    loss = 0.5 * float((problem.alpha * theta) @ theta)
    if 8 * columns * min(n, columns) > memory_limit:
        return math.nan
    chunks = []
    gram = torch.zeros((), dtype=torch.float64, device=theta.device)
    for residuals, jacobian in problem.linearized(theta, memory_limit):
        loss += 0.5 * float(residuals @ residuals)
        whitened = (jacobian * whitening).double()
        if n < columns:
            chunks.append(whitened)
        else:
            gram = gram + whitened.T @ whitened
    if chunks:  # fewer residuals than parameters: det(I + J'J) = det(I + JJ'), the smaller matrix
        rows = torch.cat(chunks)
        gram = rows @ rows.T
    determinant = torch.log1p(torch.linalg.eigvalsh(gram).clamp_min(0.0)).sum()
    variance = max(2.0 * loss / n, sys.float_info.min)
    return -0.5 * n * math.log(variance) - 0.5 * float(determinant)
