"""The loss of a fit with a belief: where the belief is asked for, and with what weight."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import qmc

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.surrogates.gradinn.loss import BeliefProblem
from gradopt.surrogates.gradinn.priors import Belief
from gradopt.surrogates.protocol import Configuration
from gradopt.training.residuals import NetworkProblem
from gradopt.training.result import LearnedWeights

_FOR_EACH_INPUT = 20


def collocation_points(count: int | None, seed: int, data: Dataset, scaling: Scaling) -> np.ndarray:
    """Points at which the belief counts: a Latin hypercube over the range of the data, and the samples themselves.

    At the samples the network's partials are the known ones, so that the auxiliary network learns these too.

    Args:
        count: Number of points beside the samples, None = 20 for each input that varies.
        seed: Seed of the hypercube.
        data: The training data.
        scaling: Its standardization.

    Returns:
        (count + n, d), standardized.
    """
    z = scaling.scale_inputs(data.x)
    if count is None:
        count = _FOR_EACH_INPUT * max(int((~scaling.constant).sum()), 1)
    unit = qmc.LatinHypercube(data.d, rng=np.random.default_rng(seed)).random(count)
    low, high = z.min(axis=0), z.max(axis=0)
    return np.concatenate([low + unit * (high - low), z])


def believing(
    configuration: Configuration,
    belief: Belief,
    problem: NetworkProblem,
    data: Dataset,
    scaling: Scaling,
    learned: LearnedWeights | None,
) -> BeliefProblem:
    """Add a belief to the loss of the data.

    Args:
        configuration: Settings of the fit.
        belief: The belief.
        problem: The loss of the data; its alpha, where learned, is that of the first groups.
        data: The training data.
        scaling: Their standardization.
        learned: The weights that the evidence learned, or None.

    Returns:
        The loss of both.
    """
    dtype, device = problem.tensor_options

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=device)

    points = collocation_points(configuration.collocation, configuration.seed, data, scaling)
    field = belief.field(data, scaling, dtype, device)
    share = data.n / len(points)  # the belief counts as its mean over the points, times the number of samples
    if learned is not None and learned.omega is not None:
        of_groups = np.array(learned.alpha)[len(problem.network.parameter_groups[1]) :]
        alpha, omega = of_groups[field.parameter_groups[0]], share * np.array(learned.omega)
    else:
        weight = 1.0 if configuration.weight is None else configuration.weight
        alpha = np.full(field.n_parameters, float(problem.alpha.min()))
        omega = np.full(data.m, share * weight)
    return BeliefProblem(problem, field, tensor(points), tensor(omega), torch.cat([problem.alpha, tensor(alpha)]))
