"""GradINN: a surrogate that is drawn towards a prior belief about its gradient."""

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
from gradopt.surrogates.fitting.networks import Member, fit_networks
from gradopt.surrogates.fitting.starts import ENDS_ALL
from gradopt.surrogates.fitting.trainable import notes_on
from gradopt.surrogates.gradinn.priors import Belief, Custom, Smooth
from gradopt.surrogates.uncertainty.laplace import left_out_densities
from gradopt.training.options import number, whole
from gradopt.training.result import Callback, FitResult, Progress, Status


@dataclass(frozen=True, eq=False, kw_only=True)
class GradINN(NetworkConfiguration):
    """Gradient-informed neural network, and with known partials its hybrid with JENN.

    An auxiliary network F carries a belief about the gradient. Both are trained together: on the data, and to agree
    about the gradient at collocation points. Known partials are fitted as by `JENN`, so that F carries them on between
    the samples; where nothing is known the belief speaks. By default the belief is a Gaussian prior whose weight omega
    the evidence learns. Unless a weight is given, the same is then fitted without the belief, and the one is kept that
    makes the samples more likely when they are left out one at a time: `fit_result.belief` and its notes tell which
    and by how much.

    Its attributes are those of `JENN` and:

    Attributes:
        gamma: Weights of the known partials, a number or an array broadcastable to (n, m, d).
        prior: The belief; a torch module becomes a `Custom` one.
        weight: Weight of the belief beside the data, a mean over the collocation points; giving it fixes all weights,
            and 0 leaves the plain network.
            None = learned, or 1 where weights are fixed.
        collocation: Number of collocation points beside the samples; None = 20 for each input.

    References:
        Aglietti et al. (2024), GradINN: gradient informed neural network, arXiv 2409.01914. Neural Networks 199 (2026),
        108681. A re-implementation from the abstracts and secondary descriptions; that the belief is a prior whose
        weight the evidence learns, and the hybrid, are not theirs.
    """

    gamma: ArrayLike = 1.0
    prior: Belief | nn.Module = Smooth()  # noqa: RUF009 (frozen)
    weight: float | None = None
    collocation: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "gamma", checked_weight("gamma", self.gamma))
        if isinstance(self.prior, nn.Module):
            object.__setattr__(self, "prior", Custom(module=self.prior))
        if not isinstance(self.prior, Belief):
            remedy = "Pass an object, such as Smooth() or Monotone(sign=1, inputs='x0')."
            raise InputError(explain("prior", "be a belief or a torch module", repr(self.prior), remedy))
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
    ) -> tuple[tuple[Member, ...], FitResult]:
        """Train with the belief and, unless its weight is given, without: samples left out tell which is better.

        The evidence is no judge of the two: on few samples it likes a belief that explains them as noise.
        """
        started = time.perf_counter()
        members, result = super()._fresh(data, scaling, weights, callback)
        if self.weight is not None or result.status in ENDS_ALL:
            return members, result
        assert result.belief is not None, "it was fitted with one"
        networks, plain, limit = self._networks(data), self, getattr(self.solver, "time_limit", None)
        if limit is not None:
            left = max(limit - (time.perf_counter() - started), 0.0)
            plain = replace(self, solver=replace(self.solver, time_limit=left))  # type: ignore[type-var]

        def further(progress: Progress) -> bool | None:
            return callback and callback(replace(progress, start=progress.start + len(networks)))

        try:
            others, other = fit_networks(plain, networks, data, scaling, weights, further, belief=None)
        except KeyboardInterrupt:
            return members, replace(result, status=Status.INTERRUPTED)
        seconds = result.seconds + other.seconds
        if other.status in ENDS_ALL:
            return members, replace(result, seconds=seconds, status=other.status)
        with_it, without = (left_out_densities(self, each, data, scaling) for each in (members, others))
        belief = result.belief.compared(with_it, without)
        if not belief.kept:
            members, result = others, other
        notes = notes_on(data, scaling) + belief.notes(result.learned is not None)
        return members, replace(result, seconds=seconds, belief=belief, notes=notes)

    @property
    def belief(self) -> Belief | None:
        """The prior; None where its weight is 0."""
        assert isinstance(self.prior, Belief), "modules become one"
        return None if self.weight == 0.0 else self.prior

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        beta = broadcast("beta", self.beta, (data.n, data.m), "(n, m)")
        gamma = broadcast("gamma", self.gamma, (data.n, data.m, data.d), "(n, m, d)")
        return beta, np.where(data.known, gamma, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        assert isinstance(self.prior, Belief), "modules become one"
        return {**super().to_dict(), "prior": self.prior.to_dict()}
