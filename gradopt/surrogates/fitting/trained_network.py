"""A trained network, and its share in the average of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradopt.data.arrays import ReadOnly, freeze_fields
from gradopt.networks.mlp import Network
from gradopt.training.result import LearnedWeights

# Constants chosen by hand.
_TEMPERATURE = 10.0  # loss of log evidence, nats, at which a network's share in the average falls to 1/e
_LEAST_SHARE = 1e-2  # share relative to the best network's, below which a network is dropped to save prediction time


@dataclass(frozen=True, eq=False)
class TrainedNetwork(ReadOnly):
    """One of the networks whose outputs a surrogate averages.

    Attributes:
        network: Shape of the network.
        theta: Parameters (n_parameters,).
        share: Weight in the average.
        learned: Weights that the evidence learned; None where they are fixed.
        auxiliary: Parameters of the auxiliary network; None without a prior on the gradient.
    """

    network: Network
    theta: np.ndarray
    share: float = 1.0
    learned: LearnedWeights | None = None
    auxiliary: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Freeze the parameters."""
        freeze_fields(self, "theta", "auxiliary")

    @property
    def parameters(self) -> np.ndarray:
        """All trained parameters: theta, then those of the auxiliary network."""
        return self.theta if self.auxiliary is None else np.concatenate([self.theta, self.auxiliary])


def averaging_shares(losses: Sequence[float]) -> np.ndarray:
    """Compute the shares of networks in an average from their evidence.

    A share is proportional to exp(-(loss - best) / 10 nats). With a temperature of 1 nat the shares would be the
    posterior probabilities of the networks, which often leave one network alone; a high temperature averages all.

    Args:
        losses: Negative log evidence of each network (k,), nats, the lowest first; all but the first may be NaN or inf.

    Returns:
        Shares (k,) with the sum 1; 0 for a share below 1 % of the largest and where the loss is not finite.
    """
    behind = np.array([loss - losses[0] for loss in losses])
    shares = np.exp(-np.where(np.isfinite(behind), behind, np.inf) / _TEMPERATURE)
    shares[shares < _LEAST_SHARE] = 0.0
    return np.asarray(shares / shares.sum())
