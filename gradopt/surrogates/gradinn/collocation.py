"""Collocation points of a prior on the gradient, and the loss of data and prior together."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import qmc

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.surrogates.configurations.protocol import Configuration
from gradopt.surrogates.gradinn.loss import GradINNProblem
from gradopt.surrogates.gradinn.priors import Prior
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import LearnedWeights

_POINTS_PER_INPUT = 20  # default number of collocation points for each input that varies; chosen by hand


def collocation_points(count: int | None, seed: int, data: Dataset, scaling: Scaling) -> np.ndarray:
    """Make the points at which the prior applies: a Latin hypercube over the range of the data, and the samples.

    At samples with known partials the network fits these, so that the auxiliary network is fitted to them too.

    Args:
        count: Number of points beside the samples; None = 20 for each input that varies.
        seed: Seed of the hypercube.
        data: The training data.
        scaling: Standardization of the data.

    Returns:
        Points (count + n, d), standardized.
    """
    z = scaling.scale_inputs(data.x)
    if count is None:
        count = _POINTS_PER_INPUT * max(int((~scaling.constant).sum()), 1)
    unit = qmc.LatinHypercube(data.d, rng=np.random.default_rng(seed)).random(count)
    low, high = z.min(axis=0), z.max(axis=0)
    return np.concatenate([low + unit * (high - low), z])


def add_prior(
    configuration: Configuration,
    prior: Prior,
    problem: NetworkProblem,
    data: Dataset,
    scaling: Scaling,
    learned: LearnedWeights | None,
) -> GradINNProblem:
    """Add a prior on the gradient to the loss of the data.

    Args:
        configuration: Settings of the fit.
        prior: The prior on the gradient.
        problem: Loss of the data; a learned alpha is that of the first groups.
        data: The training data.
        scaling: Standardization of the data.
        learned: Weights that the evidence learned, or None.

    Returns:
        The loss of data and prior.
    """
    dtype, device = problem.tensor_options

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=device)

    points = collocation_points(configuration.collocation, configuration.seed, data, scaling)
    field = prior.field(data, scaling, dtype, device)
    share = data.n / len(points)  # the prior's term is its mean over the points, times the number of samples
    if learned is not None and learned.omega is not None:
        of_groups = np.array(learned.alpha)[len(problem.network.parameter_groups[1]) :]
        alpha, omega = of_groups[field.parameter_groups[0]], share * np.array(learned.omega)
    else:
        weight = 1.0 if configuration.weight is None else configuration.weight
        alpha = np.full(field.n_parameters, float(problem.alpha.min()))
        omega = np.full(data.m, share * weight)
    return GradINNProblem(problem, field, tensor(points), tensor(omega), torch.cat([problem.alpha, tensor(alpha)]))
