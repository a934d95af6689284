"""What the study of GradINN compares: each method behind one call, data and seed in, a fit out.

All networks have 20 tanh units and 4 starts, but those of `DEFAULTS`, which are as the package makes them. `GradINN`
and its control differ in nothing but the belief.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from gradopt import JENN, MLP, Dataset, GradINN, LevenbergMarquardt, Monotone, Oscillating, Surrogate
from gradopt.data.variables import column_names
from scripts.peer_methods import Predictor
from scripts.polynomial_chaos import fit_chaos

NETWORK: dict[str, Any] = {"hidden_sizes": (20,), "activation": "tanh", "starts": 4}
AS_IT_IS: dict[str, Any] = {"activation": "auto", "starts": None}
GP_RESTARTS, LEAST_NOISE = 4, 1e-10  # the latter in variances of the values
DECAY, SHRUNK = 0.1, 0.3


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


def gaussian_process(data: Dataset, seed: int) -> Predictor:
    """Train scikit-learn's Gaussian process for each output: RBF with a length for each input, white noise."""
    mean, scale = data.x.mean(axis=0), data.x.std(axis=0)
    points, parts = (data.x - mean) / scale, []
    for y in data.y.T:
        smooth = ConstantKernel(1.0, (1e-3, 1e5)) * RBF(np.ones(data.d), (1e-2, 1e3))
        kernel = smooth + WhiteKernel(1e-2, (LEAST_NOISE, 1e1))
        model = GaussianProcessRegressor(
            kernel, alpha=LEAST_NOISE, normalize_y=True, n_restarts_optimizer=GP_RESTARTS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of bounds that are reached, as without noise
            parts.append(model.fit(points, y))

    def values(at: np.ndarray) -> np.ndarray:
        return np.stack([part.predict((at - mean) / scale) for part in parts], axis=1)

    def partials(at: np.ndarray) -> np.ndarray:
        scaled, found = (at - mean) / scale, []
        for part, y in zip(parts, data.y.T, strict=True):
            smooth = part.kernel_.k1
            correlation = smooth(scaled, points) * part.alpha_.ravel() * y.std()  # (n, samples)
            gaps = correlation.sum(axis=1)[:, None] * scaled - correlation @ points  # of each input, weighed and summed
            found.append(-gaps / np.broadcast_to(smooth.k2.length_scale, data.d) ** 2 / scale)
        return np.stack(found, axis=1)

    return values, partials


def _told(surrogate: Surrogate) -> Fit:
    belief, learned = surrogate.fit_result.belief, surrogate.fit_result.learned
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
    (member,) = untrained.members
    shrunk = replace(untrained, members=(replace(member, theta=SHRUNK * member.theta),))
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
