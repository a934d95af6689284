"""What the study of GradINN compares: each method behind one call, data and seed in, a fit out.

All networks have 20 tanh units and 4 starts, but those of `DEFAULTS`, which are as the package makes them. `GradINN`
and its control differ in nothing but the belief.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradopt import JENN, MLP, Dataset, GradINN, Surrogate
from gradopt.data.variables import column_names
from gradopt.priors import Monotone, Oscillating
from gradopt.solvers import LevenbergMarquardt
from scripts.gaussian_process import gaussian_process
from scripts.peer_methods import Predictor
from scripts.polynomial_chaos import fit_chaos

NETWORK: dict[str, Any] = {"hidden_sizes": (20,), "activation": "tanh", "starts": 4}
AS_IT_IS: dict[str, Any] = {"activation": "auto", "starts": None}
DECAY, SHRUNK = 0.1, 0.3
LONG = 400  # iterations, as many as with a belief


@dataclass(frozen=True)
class Fit:
    """What a method made of data.

    Attributes:
        predictor: Values (n, m), and partials (n, m, d), at x (n, d).
        belief: Of a `GradINN`: whether its belief was kept, by how many nats, and its weights omega; else empty.
    """

    predictor: Predictor
    belief: Mapping[str, Any]


Method = Callable[[Dataset, int, Mapping[str, Any]], Fit]
"""Data, seed, and settings that replace those of the network."""


def _told(surrogate: Surrogate) -> Fit:
    belief, learned = surrogate.fit_result.prior, surrogate.fit_result.learned
    about: dict[str, Any] = {}
    if belief is not None:
        omega = list(learned.omega) if learned is not None and learned.omega else None
        about = {"kept": belief.kept, "gain": belief.gain, "omega": omega}
    return Fit((surrogate.predict, lambda at: surrogate.linearize(at)[1]), about)


def _ours(make: Callable[..., JENN | MLP | GradINN], **own: Any) -> Method:
    def fit(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
        return _told(make(**{**NETWORK, **own, **settings}, seed=seed).fit(data))

    return fit


def _small_start(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    """One start of fixed weights from parameters that are 0.3 times the usual ones."""
    configuration = MLP(**{**NETWORK, "weights": "fixed", **settings, "starts": 1}, seed=seed)
    untrained = replace(configuration, solver=LevenbergMarquardt(max_iterations=0)).fit(data)
    (member,) = untrained.networks
    shrunk = replace(untrained, networks=(replace(member, theta=SHRUNK * member.theta),))
    return _told(configuration.fit(data, warm_start=shrunk))


def _oscillating(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    return _ours(GradINN, prior=Oscillating(frequency=1.0))(data, seed, settings)


def _monotone(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    """Outputs that fall with every input, which none of the problems' do."""
    prior = Monotone(sign=-1, inputs=tuple(column_names(data.input_variables)))
    return _ours(GradINN, prior=prior)(data, seed, settings)


CONTROL = "MLP"
METHODS: dict[str, Method] = {
    CONTROL: _ours(MLP),
    "MLP, longer": _ours(MLP, solver=LevenbergMarquardt(max_iterations=LONG)),
    "MLP, fixed weights": _ours(MLP, weights="fixed"),
    "MLP, weight decay": _ours(MLP, alpha=DECAY),
    "MLP, small start": _small_start,
    "GradINN": _ours(GradINN),
    "GP": lambda data, seed, settings: Fit(gaussian_process(data, seed), {}),
    "polynomial chaos": lambda data, seed, settings: Fit(fit_chaos(data, seed), {}),
}
BELIEFS: dict[str, Method] = {
    "GradINN, weight 1": _ours(GradINN, weight=1.0),
    "GradINN, oscillating": _oscillating,
    "GradINN, falling": _monotone,
}
DEFAULTS: dict[str, Method] = {
    "MLP, defaults": _ours(MLP, **AS_IT_IS),
    "GradINN, defaults": _ours(GradINN, **AS_IT_IS),
}
HYBRID: dict[str, Method] = {
    "JENN, some partials": _ours(JENN),
    "GradINN, some partials": _ours(GradINN),
    "JENN, all partials": _ours(JENN),
}


def partly_known(data: Dataset, every: bool) -> Dataset:
    """Leave the partials of every second input, the first among them; with one input those of every second sample."""
    if every:
        return data
    known = np.zeros_like(data.partials, dtype=bool)
    if data.d > 1:
        known[:, :, ::2] = True
    else:
        known[::2] = True
    return replace(data, dydx=np.where(known, data.partials, np.nan))
