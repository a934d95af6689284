"""The networks of this case, how they are averaged, and how far off they are on samples that were held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cases.airfoil_rans.data import COUNT
from gradopt import JENN, MLP, Dataset
from gradopt.solvers import Adam
from gradopt.surrogates.fitted.surrogate import Surrogate

HIDDEN = (64, 64)  # of the study of training
AVERAGED = JENN((128, 128), activation="silu", dtype="float32", solver=Adam(epochs=80), starts=1)
"""Settings of each network of the average.

Of 64-64, 128-128 and 64-64-64 units, 40, 80 and 150 epochs, alpha from 1e-8 to 20, and softplus in place of silu, these
had about the least relative errors on the held-out samples of seed 0, on all and on those far from the data, which is
where the sweep of one odd airfoil and an optimum are. They learn the logarithm of the drag: a count matters less in 500
than in 80.
"""


def network(solver: Adam, activation: str = "silu", dtype: str = "float32") -> JENN:
    """The configuration of the study of training."""
    return JENN(HIDDEN, activation=activation, dtype=dtype, solver=solver, starts=1)


def values_alone(configuration: JENN) -> MLP:
    """The same without partials."""
    taken = ("activation", "alpha", "solver", "starts", "seed", "dtype")
    return MLP(configuration.hidden_sizes, **{name: getattr(configuration, name) for name in taken})


def fit_average(
    configuration: JENN, training: Dataset, networks: int, seed: int, report: Callable[[str], None]
) -> Surrogate:
    """Fit networks that differ in their seeds, of initialization and of mini-batches, and average them.

    Args:
        configuration: Settings of each, with an `Adam` as solver.
        training: Training samples.
        networks: Number of networks.
        seed: Seed of the first; the next ones follow.
        report: Function that receives a line on each network.

    Returns:
        One surrogate. Its `std` has two parts: what each network leaves unexplained, and how much they disagree.
    """
    found: list[Surrogate] = []
    for number in range(seed, seed + networks):
        report(f"fitting network {len(found) + 1} of {networks}")
        assert isinstance(configuration.solver, Adam), "only its mini-batches have a seed"
        solver = replace(configuration.solver, seed=number)
        found.append(replace(configuration, seed=number, solver=solver).fit(training))
    members = tuple(replace(member, share=1.0 / networks) for of in found for member in of.networks)
    posteriors = tuple(posterior for of in found for posterior in of.posteriors)
    return replace(found[0], networks=members, posteriors=posteriors)


def members_of(surrogate: Surrogate) -> list[Surrogate]:
    """Each network of an average as a surrogate of its own."""
    return [
        replace(surrogate, networks=(replace(member, share=1.0),), posteriors=surrogate.posteriors[k : k + 1])
        for k, member in enumerate(surrogate.networks)
    ]


def accuracy(y: np.ndarray, dydx: np.ndarray, test: Dataset) -> dict[str, Any]:
    """Errors of predictions on held-out samples.

    Args:
        y: Predicted drag coefficients (n, 1).
        dydx: Predicted partials (n, 1, 16).
        test: The samples.

    Returns:
        R2; RMSE, mean absolute and largest error in drag counts; RMS of the relative errors; R2 of all partials
        pooled, each scaled by the standard deviation of its input.
    """
    errors = (y - test.y) / COUNT
    sigma = test.x.std(axis=0)
    true, wrong = test.partials * sigma, (dydx - test.partials) * sigma
    return {
        "r2": float(1.0 - (errors**2).mean() / (test.y / COUNT).var()),
        "rmse_counts": float(np.sqrt((errors**2).mean())),
        "mae_counts": float(np.abs(errors).mean()),
        "max_counts": float(np.abs(errors).max()),
        "relative_rms": float(np.sqrt(((y / test.y - 1.0) ** 2).mean())),
        "gradient_r2": float(1.0 - (wrong**2).sum() / ((true - true.mean(axis=0)) ** 2).sum()),
    }
