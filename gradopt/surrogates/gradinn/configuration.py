"""GradINN: a network fitted to data with a prior on its gradient."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from gradopt.data.dataset import Dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, explain
from gradopt.surrogates.configurations.jenn import NetworkConfiguration, broadcast, checked_weight
from gradopt.surrogates.fitting.networks import fit_networks
from gradopt.surrogates.fitting.starts import ENDS_ALL
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.fitting.training_data import notes_on_data
from gradopt.surrogates.gradinn.priors import Custom, Prior, Smooth
from gradopt.surrogates.uncertainty.laplace import leave_one_out_densities
from gradopt.training.options import number, whole
from gradopt.training.result import Callback, FitResult, Progress, Status


@dataclass(frozen=True, eq=False, kw_only=True)
class GradINN(NetworkConfiguration):
    """Gradient-informed neural network, and with known partials its hybrid with JENN.

    The prior on the gradient (the papers' prior belief) is represented by an auxiliary network F. Both networks are
    trained together: on the data, and to agree on the gradient at collocation points. Known partials are fitted as by
    `JENN`; F continues them between the samples. By default the evidence learns the weight omega of the prior. Unless
    `weight` is given, a second fit is made without the prior, and the fit with the higher leave-one-out probability of
    the samples is kept: `fit_result.prior` and the notes of the result say which fit was kept and by how much.

    Its attributes are those of `JENN` and:

    Attributes:
        gamma: Weights of the known partials, a number or an array broadcastable to (n, m, d).
        prior: Prior on the gradient; a torch module becomes a `Custom` prior.
        weight: Weight of the prior relative to the data, of a mean over the collocation points. A number fixes all
            weights; 0 removes the prior. None = learned, or 1 where weights are fixed.
        collocation: Number of collocation points beside the samples; None = 20 for each input.

    References:
        Aglietti et al. (2024), GradINN: gradient informed neural network, arXiv 2409.01914. Neural Networks 199 (2026),
        108681. A re-implementation from the abstracts and secondary descriptions. The learned weight and the
        combination with known partials are ours.
    """

    gamma: ArrayLike = 1.0
    prior: Prior | nn.Module = Smooth()  # noqa: RUF009 (frozen)
    weight: float | None = None
    collocation: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "gamma", checked_weight("gamma", self.gamma))
        if isinstance(self.prior, nn.Module):
            object.__setattr__(self, "prior", Custom(module=self.prior))
        if not isinstance(self.prior, Prior):
            remedy = "Pass an object, such as Smooth() or Monotone(sign=1, inputs='x0')."
            raise InputError(explain("prior", "be a prior or a torch module", repr(self.prior), remedy))
        if self.weight is not None:
            object.__setattr__(self, "weight", number("weight", self.weight))
            if self.weights == "evidence":
                remedy = "The evidence learns it; to set it yourself use weights='fixed'."
                raise InputError(explain("weight", "be None with weights='evidence'", self.weight, remedy))
            object.__setattr__(self, "weights", "fixed")
        if self.collocation is not None:
            object.__setattr__(self, "collocation", whole("collocation", self.collocation, 1))

    def _fresh(
        self, data: Dataset, scaling: Scaling, weights: tuple[np.ndarray, np.ndarray], callback: Callback | None
    ) -> tuple[tuple[TrainedNetwork, ...], FitResult]:
        """Train with the prior and, unless `weight` is given, without; keep the better fit.

        The better fit is that of the higher leave-one-out probability. The evidence does not serve for this choice: on
        few samples it prefers a prior that explains them as noise.
        """
        started = time.perf_counter()
        networks, result = super()._fresh(data, scaling, weights, callback)
        if self.weight is not None or result.status in ENDS_ALL:
            return networks, result
        assert result.prior is not None, "the fit had a prior"
        shapes, plain, limit = self._shapes_of_starts(data), self, getattr(self.solver, "time_limit", None)
        if limit is not None:
            left = max(limit - (time.perf_counter() - started), 0.0)
            plain = replace(self, solver=replace(self.solver, time_limit=left))  # type: ignore[type-var]

        def further(progress: Progress) -> bool | None:
            return callback and callback(replace(progress, start=progress.start + len(shapes)))

        try:
            others, other = fit_networks(plain, shapes, data, scaling, weights, further, prior=None)
        except KeyboardInterrupt:
            return networks, replace(result, status=Status.INTERRUPTED)
        seconds = result.seconds + other.seconds
        if other.status in ENDS_ALL:
            return networks, replace(result, seconds=seconds, status=other.status)
        with_prior, without = (leave_one_out_densities(self, each, data, scaling) for each in (networks, others))
        prior = result.prior.with_comparison(with_prior, without)
        if not prior.kept:
            networks, result = others, other
        notes = notes_on_data(data, scaling) + prior.notes(result.learned is not None)
        return networks, replace(result, seconds=seconds, prior=prior, notes=notes)

    @property
    def active_prior(self) -> Prior | None:
        """Prior on the gradient; None where its weight is 0."""
        assert isinstance(self.prior, Prior), "modules become one"
        return None if self.weight == 0.0 else self.prior

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        beta = broadcast("beta", self.beta, (data.n, data.m), "(n, m)")
        gamma = broadcast("gamma", self.gamma, (data.n, data.m, data.d), "(n, m, d)")
        return beta, np.where(data.known, gamma, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        assert isinstance(self.prior, Prior), "modules become one"
        return {**super().to_dict(), "prior": self.prior.to_dict()}
