"""Evidence: learns how far to trust values, partials and each part of the network, and ranks fits without test data.

The loss is read as a Gaussian likelihood and prior. For the precisions alpha_g of each group of parameters and w_k of
each group of residuals (values of each output, each of its partials; w multiplies the configured weights) the log
evidence in the Gauss-Newton approximation is, with H = sum_k w_k J_k'J_k + diag(alpha),

    log p = -1/2 sum_k w_k |r_k|^2 - 1/2 sum_g alpha_g |theta_g|^2
            + 1/2 sum_k N_k log w_k + 1/2 sum_g n_g log alpha_g - 1/2 log det H     (up to a constant of the data).

Its stationary points satisfy alpha_g = (n_g - alpha_g tr_g H^-1) / |theta_g|^2 and w_k = (N_k - tr w_k H^-1 J_k'J_k) /
|r_k|^2 (MacKay 1992): a group of inputs that explains nothing is switched off, a noisy kind of data loses its weight.
A partial's w_k is drawn towards the geometric mean of its output's partials, as if some more residuals had told so.

Residuals that are beliefs, not data, belong to the prior, whose precision is then P = diag(alpha) + sum_b w_b J_b'J_b
over them: 1/2 log det P takes the place of 1/2 sum_g n_g log alpha_g, no N_b log w_b is counted, and with what the data
determine beyond P the formulas become

    alpha_g = alpha_g tr_g (P^-1 - H^-1) / |theta_g|^2,    w_b = w_b tr (P^-1 - H^-1) J_b'J_b / |r_b|^2:

a belief that the data contradict loses its weight.

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

_ALPHA = (1e-6, 1e8)  # bounds of a learned alpha
_NOISE = (1e-2, 1e8)  # bounds of a learned precision of residuals: standardized noise of 10 ... 1e-4
_PULL, _PULL_SCALE = 2e-2, 2e-6  # a weak Gamma prior on alpha, so that an empty group does not run away
_DOUBT = 2e-4  # the same of a belief that says nothing
_FREEDOM = 1e-2  # part of the residuals of a group that always counts as noise: keeps w finite at interpolation
_LEANING = 30.0  # number of residuals as which the noise of its pool counts in that of a group
_FINER = 10.0  # how many times less noise partials may have than the values: a constant partial is not all that counts
_CHANGE = 5.0  # largest factor by which a precision changes in one iteration
_SETTLE = 4  # iterations before the precisions move: the first steps from random parameters tell nothing
_DAMPING, _LEAST, _RISE_FROM, _MOST = 1e-3, 1e-12, 1e-10, 1e8  # Marquardt's mu, a part of the diagonal of H
_PATIENCE = 5  # iterations in a row with a negligible gain of evidence before the run counts as converged
_USUAL, _WIDE = (0.1, 100.0), (0.03, 30.0)
_STARTS = (
    _USUAL,
    _USUAL,
    _USUAL,
    (0.01, 10.0),
    (0.3, 1000.0),
    _WIDE,
    _WIDE,
    _WIDE,
)  # alpha, noise of successive starts


@dataclass(frozen=True)
class Precisions:
    """What the evidence learns.

    Attributes:
        alpha: Precision of the prior on each group of parameters (n_groups,), float64.
        noise: Factor on the weights of each group of residuals (n_kinds,), float64.
    """

    alpha: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class EvidenceResult(SolverResult):
    """Outcome of a run that learned precisions; its loss and history are negative log evidences.

    Attributes:
        precisions: The learned precisions.
        determined: Number of parameters that the data determine, by group (n_groups,).
    """

    precisions: Precisions
    determined: Tensor


@dataclass(frozen=True)
class Evidence:
    """Levenberg-Marquardt that re-estimates every precision after each step by the formulas of the evidence.

    Attributes:
        max_iterations: Steps at most.
        time_limit: Seconds at most, or None.
        tolerance: Gain of log evidence below which an iteration is negligible; five in a row end the run.
        memory_limit: Bytes for the residual Jacobian; a larger one is accumulated in chunks.
        alpha: Initial precision of every group of parameters.
        belief: Initial weight of beliefs.
        noise: Initial factor on the weights of the residuals.
        keep_best: Return the state of the highest evidence instead of the last. The formulas' fixed point lies a little
            below it: on values alone the last state predicts better, and the best one where partials are too rough for
            the network.
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
        """The same with the initial precisions of a start: several modes are found from several of them."""
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
            problem: What is fitted; its own alpha is not used.
            theta: Initial parameters (n_parameters,).
            callback: See `gradopt.training.result.Callback`; the loss it sees is the negative log evidence.
            precisions: Where to begin; None = `alpha` and `noise`.

        Returns:
            The last parameters and precisions, or the best.
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
    """Parameters with their negative log evidence at some precisions, and the parameters determined by group."""

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
        """Steps and re-estimates in turn, until the evidence stays."""
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
        grams, products = self.buffers  # fresh ones of this size would cost as much as filling them
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
        """Order of the residuals of a chunk in which each kind comes together, and how many there are of each."""
        if first not in self.orders:
            kinds = self.of_residual[first : first + count]
            counts = torch.bincount(kinds, minlength=len(self.counts)).tolist()
            self.orders[first] = torch.argsort(kinds, stable=True), counts
        return self.orders[first]

    def _precision(self, normal: _Normal, weights: Tensor) -> Tensor:
        """Sum_k w_k J_k'J_k + diag(alpha), (P, P): H with all weights, P with those of beliefs."""
        matrix = torch.tensordot(weights, normal.grams, 1)
        matrix.diagonal().add_(self.alpha[self.of_parameter])
        return matrix

    def _evidence(self, theta: Tensor, normal: _Normal) -> tuple[float, Tensor, Tensor]:
        """Negative log evidence; parameters that the data determine, by group; residuals left, by kind."""
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
        """What is needed of the inverse of `_precision`; None where that is not positive definite."""
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
        """|theta_g|^2 (n_groups,)."""
        return torch.zeros_like(self.sizes).index_add_(0, self.of_parameter, theta.double() ** 2)

    def _reestimate(self, theta: Tensor, normal: _Normal, determined: Tensor, free: Tensor) -> None:
        alpha = (determined + _PULL) / (self._lengths(theta) + _PULL_SCALE)
        free = torch.maximum(free, torch.where(self.prior_groups, _PULL, _FREEDOM * self.counts))
        squares = (normal.squares + _DOUBT * self.prior_groups).clamp_min(sys.float_info.min)
        common = self._pooled(free / squares)
        noise = (free + _LEANING) / (squares + _LEANING / common)
        noise = torch.minimum(noise, self._ceiling(noise))
        self.alpha = _towards(self.alpha, alpha, _ALPHA)
        self.noise = torch.where(self.present, _towards(self.noise, noise, _NOISE), self.noise)

    def _pooled(self, noise: Tensor) -> Tensor:
        """Geometric mean over the pool of each group (n_kinds,); empty groups do not count."""
        logs = torch.where(self.present, noise.clamp(*_NOISE).log(), 0.0)
        return torch.exp(self._sum_over_pools(logs) / self.in_pool)[self.problem.residual_pools]

    def _sum_over_pools(self, numbers: Tensor) -> Tensor:
        return torch.zeros_like(numbers).index_add_(0, self.problem.residual_pools, numbers)

    def _ceiling(self, noise: Tensor) -> Tensor:
        """Largest precision of each group (n_kinds,) that the values of its output allow."""
        values = torch.where(self.present, torch.maximum(noise, self.noise), torch.inf)
        return torch.where(self.of_values, torch.inf, _FINER**2 * values[self.problem.residual_parents])

    def _step(self, theta: Tensor, normal: _Normal, mu: float) -> tuple[Tensor, float]:
        """A step that lowers the loss at the present precisions, where there is one, and the next mu."""
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
    """Of a precision matrix M: log det M, tr_g M^-1 by group of parameters, w_k tr M^-1 J_k'J_k by kind of residual."""

    log_det: float
    spread: Tensor
    used: Tensor


def _towards(present: Tensor, wanted: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The wanted precisions, no more than a factor away and within the bounds."""
    return (present * (wanted / present).clamp(1.0 / _CHANGE, _CHANGE)).clamp(*bounds)


@torch.no_grad()
def log_evidence(problem: FitProblem, theta: Tensor, memory_limit: int = 2**30) -> float:
    """Log evidence of a minimum with fixed weights, up to a constant of the problem.

    A common noise level is taken as unknown and set to its maximum-likelihood value:
    log p = -N/2 log(2 E / N) - 1/2 log det(I + A^-1 J'J), A = diag(alpha), N residuals.

    Args:
        problem: What was fitted; every alpha must be positive.
        theta: A minimum of the loss (n_parameters,).
        memory_limit: Bytes for the residual Jacobian, which comes in chunks, and for the matrix it makes.

    Returns:
        The log evidence; of several minima the one with the larger is to be preferred. NaN where the matrix of the
        parameters, or with fewer residuals than parameters the whole Jacobian, is above the memory limit.
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
