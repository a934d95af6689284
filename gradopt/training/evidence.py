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
        memory_limit: Bytes for the residual Jacobian.

    Returns:
        The log evidence; of several minima the one with the larger is to be preferred. NaN where even the smaller of
        the two possible matrices, of parameters or of residuals, is above the memory limit.

    References:
        MacKay (1992), Bayesian interpolation, Neural Computation 4(3).
    """
    whitening = problem.alpha.rsqrt()
    n, columns = problem.n_residuals, problem.n_parameters
    loss = 0.5 * float((problem.alpha * theta) @ theta)
    small = min(n, columns)
    if 8 * small * (n if n < columns else columns) > memory_limit or (n < columns and 8 * n * columns > memory_limit):
        return math.nan
    gram = torch.zeros(columns, columns, dtype=torch.float64, device=theta.device) if small == columns else None
    chunks = []
    for residuals, jacobian in problem.linearized(theta, memory_limit):
        loss += 0.5 * float(residuals @ residuals)
        whitened = (jacobian * whitening).double()
        if gram is None:
            chunks.append(whitened)
        else:
            gram.addmm_(whitened.T, whitened)
    if gram is None:  # det(I + J'J) = det(I + JJ')
        rows = torch.cat(chunks)
        gram = rows @ rows.T
    determinant = torch.log1p(torch.linalg.eigvalsh(gram).clamp_min(0.0)).sum()
    variance = max(2.0 * loss / n, sys.float_info.min)
    return -0.5 * n * math.log(variance) - 0.5 * float(determinant)
