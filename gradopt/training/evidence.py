"""The evidence of a fit: by it the best of several starts is chosen, without held-out data."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from gradopt.training.problem import FitProblem


@torch.no_grad()
def log_evidence(problem: FitProblem, theta: Tensor, memory_limit: int = 2**30) -> float:
    """Log evidence of a minimum in the Gauss-Newton approximation, up to a constant of the problem.

    Read as a Gaussian likelihood with an unknown common noise level, which is set to its maximum-likelihood value, and
    a Gaussian prior: log p = -N/2 log(2 E / N) - 1/2 log det(I + A^-1 J'J), A = diag(alpha), N residuals.

    Args:
        problem: What was fitted; every alpha must be positive.
        theta: A minimum of the loss (n_parameters,).
        memory_limit: Bytes for the residual Jacobian, which comes in chunks, and for the matrix it makes.

    Returns:
        The log evidence; of several minima the one with the larger is to be preferred. NaN where the matrix of the
        parameters, or with fewer residuals than parameters the whole Jacobian, is above the memory limit.

    References:
        MacKay (1992), Bayesian interpolation, Neural Computation 4(3).
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
