"""Methods that the experiments on GradINN compare, each a function from data and seed to a fit.

For `gradinn.experiments`. All networks have 20 tanh units and 4 starts, but those of `DEFAULTS`, which have the default
settings. `GradINN` and its control differ only in the prior.
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
from scripts.gradinn.polynomial_chaos import fit_chaos
from scripts.shared.gaussian_process import gaussian_process
from scripts.shared.peer_methods import Predictor

NETWORK: dict[str, Any] = {"hidden_sizes": (20,), "activation": "tanh", "starts": 4}
AS_BY_DEFAULT: dict[str, Any] = {"activation": "auto", "starts": None}
DECAY, SHRUNK = 0.1, 0.3  # weight decay, and factor on the initial parameters; by hand
LONG = 400  # iterations, as many as with a prior


@dataclass(frozen=True)
class Fit:
    """Fit of a method.

    Attributes:
        predictor: Functions of x (n, d) for values (n, m) and for partials (n, m, d).
        prior: For a `GradINN`: whether the prior was kept, its gain in nats, and its weights omega; else empty.
    """

    predictor: Predictor
    prior: Mapping[str, Any]


Method = Callable[[Dataset, int, Mapping[str, Any]], Fit]
"""Data, seed, and settings that replace those of the network."""


def _fit_of(surrogate: Surrogate) -> Fit:
    prior, learned = surrogate.fit_result.prior, surrogate.fit_result.learned
    about: dict[str, Any] = {}
    if prior is not None:
        omega = list(learned.omega) if learned is not None and learned.omega else None
        about = {"kept": prior.kept, "gain": prior.gain, "omega": omega}
    return Fit((surrogate.predict, lambda at: surrogate.linearize(at)[1]), about)


def _ours(make: Callable[..., JENN | MLP | GradINN], own: Mapping[str, Any] = NETWORK) -> Method:
    def fit(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
        return _fit_of(make(**{**NETWORK, **own, **settings}, seed=seed).fit(data))

    return fit


def _small_start(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    """Fit fixed weights once, from 0.3 times the usual initial parameters."""
    configuration = MLP(**{**NETWORK, "weights": "fixed", **settings, "starts": 1}, seed=seed)
    untrained = replace(configuration, solver=LevenbergMarquardt(max_iterations=0)).fit(data)
    (trained,) = untrained.networks
    shrunk = replace(untrained, networks=(replace(trained, theta=SHRUNK * trained.theta),))
    return _fit_of(configuration.fit(data, warm_start=shrunk))


def _oscillating(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    """Fit with a wrong prior: gradients that oscillate with one wave for each standard deviation of an input."""
    return _ours(GradINN, {"prior": Oscillating(frequency=1.0)})(data, seed, settings)


def _monotone(data: Dataset, seed: int, settings: Mapping[str, Any]) -> Fit:
    """Fit with a wrong prior: outputs that fall with every input."""
    prior = Monotone(sign=-1, inputs=tuple(column_names(data.input_variables)))
    return _ours(GradINN, {"prior": prior})(data, seed, settings)


CONTROL = "MLP"
METHODS: dict[str, Method] = {
    CONTROL: _ours(MLP),
    "MLP, longer": _ours(MLP, {"solver": LevenbergMarquardt(max_iterations=LONG)}),
    "MLP, fixed weights": _ours(MLP, {"weights": "fixed"}),
    "MLP, weight decay": _ours(MLP, {"alpha": DECAY}),
    "MLP, small start": _small_start,
    "GradINN": _ours(GradINN),
    "GP": lambda data, seed, settings: Fit(gaussian_process(data, seed), {}),
    "polynomial chaos": lambda data, seed, settings: Fit(fit_chaos(data, seed), {}),
}
PRIORS: dict[str, Method] = {
    "GradINN, weight 1": _ours(GradINN, {"weight": 1.0}),
    "GradINN, oscillating": _oscillating,
    "GradINN, falling": _monotone,
}
DEFAULTS: dict[str, Method] = {
    "MLP, defaults": _ours(MLP, AS_BY_DEFAULT),
    "GradINN, defaults": _ours(GradINN, AS_BY_DEFAULT),
}
HYBRID: dict[str, Method] = {
    "JENN, some partials": _ours(JENN),
    "GradINN, some partials": _ours(GradINN),
    "JENN, all partials": _ours(JENN),
}


def partly_known(data: Dataset, all_known: bool) -> Dataset:
    """Keep the partials of every second input, the first among them; with one input those of every second sample."""
    if all_known:
        return data
    known = np.zeros_like(data.partials, dtype=bool)
    if data.d > 1:
        known[:, :, ::2] = True
    else:
        known[::2] = True
    return replace(data, dydx=np.where(known, data.partials, np.nan))
