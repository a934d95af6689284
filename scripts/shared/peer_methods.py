"""Surrogates that ours are compared with, each a function from data, seed and setting to a predictor.

For `surrogates.accuracy_vs_peers`, and `Predictor` for `surrogates.friedman_few_samples` and `gradinn`. A method has
one setting or a grid of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import jenn
import numpy as np
import openmdao.api as om
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.neural_network import MLPRegressor
from smt.surrogate_models import GEKPLS, GENN, KRG

from gradopt import Dataset
from gradopt.data.variables import column_bounds

Setting = Mapping[str, Any]
Prediction = Callable[[np.ndarray], np.ndarray]
Predictor = tuple[Prediction, Prediction]  # of x (n, d): values (n, 1), and partials (n, 1, d)
STEP = 1e-4  # of central finite differences, in ranges of the inputs; by hand: shorter ones show rounding of GEKPLS
JENN_LEARNING_RATES, JENN_LAMBDAS, JENN_ITERATIONS = (1e-2, 1e-3), (0.0, 1e-3, 1e-1), 10_000  # by hand


@dataclass(frozen=True, eq=False)
class Method:
    """A surrogate for data with one output.

    Attributes:
        fit: Function that trains on data with a seed and a setting.
        package: Distribution whose version belongs to the results.
        uses_partials: Whether the method learns from partials.
        grid: Function from the number of inputs d to the settings, usually one.
    """

    fit: Callable[[Dataset, int, Setting], Predictor]
    package: str
    uses_partials: bool = False
    grid: Callable[[int], tuple[Setting, ...]] = lambda d: ({},)


def fit_jenn(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train jenn's network d-12-12-1 on standardized values and partials, by Adam on all samples at once."""
    network = jenn.NeuralNet([data.d, 12, 12, 1])
    x, y, dydx = (np.ascontiguousarray(array) for array in (data.x.T, data.y.T, data.partials.transpose(1, 2, 0)))
    network.fit(x, y, dydx, is_normalize=True, random_state=seed, **setting)

    return lambda at: network.predict(at.T).T, lambda at: network.predict_partials(at.T).transpose(2, 0, 1)


def jenn_grid(d: int) -> tuple[Setting, ...]:
    """Return learning rates (alpha) times weights of the L2 penalty (lambd), all with one number of iterations."""
    pairs = product(JENN_LEARNING_RATES, JENN_LAMBDAS)
    return tuple({"alpha": alpha, "lambd": lambd, "max_iter": JENN_ITERATIONS} for alpha, lambd in pairs)


def fit_genn(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train SMT's gradient-enhanced network at SMT's default settings: 1000 iterations of jenn's Adam, 12-12."""
    model = GENN(print_global=False, seed=seed, **setting)
    model.load_data(data.x, data.y, data.partials[:, 0])
    model.train()
    return model.predict_values, lambda at: model.model.predict_partials(at.T).transpose(2, 0, 1)


def finite_differences(values: Prediction, at: np.ndarray, data: Dataset) -> np.ndarray:
    """Return partials (n, 1, d) of SMT's kriging by central finite differences.

    SMT's own partials take minutes for 1000 points of 15 inputs.
    """
    low, high = column_bounds(data.input_variables)
    steps = STEP * np.diag(high - low)
    return np.stack([(values(at + h) - values(at - h)) / (2.0 * h.sum()) for h in steps], axis=2)


def fit_gekpls(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train SMT's gradient-enhanced kriging with partial least squares."""
    bounds = np.stack(column_bounds(data.input_variables), axis=1)
    model = GEKPLS(design_space=bounds, theta0=[1e-2] * setting["n_comp"], print_global=False, seed=seed, **setting)
    model.set_training_values(data.x, data.y)
    for j in range(data.d):
        model.set_training_derivatives(data.x, data.partials[:, :, j], j)
    model.train()
    return model.predict_values, lambda at: finite_differences(model.predict_values, at, data)


def gekpls_grid(d: int) -> tuple[Setting, ...]:
    """Return components and extra points for each sample: SMT's documented choice (2, 1), and up to 8 and d.

    The largest took near a minute for 50 samples of 10 inputs; SMT requires at least 2 components.
    """
    choices = [(2, 1), (4, 4), (4, d), (8, d)]
    pairs = dict.fromkeys((max(2, min(d, components)), min(d, points)) for components, points in choices)
    return tuple({"n_comp": components, "extra_points": points} for components, points in pairs)


def fit_krg(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train SMT's kriging: constant trend, squared exponential with a length for each input, its default starts."""
    model = KRG(print_global=False, seed=seed, **setting)
    model.set_training_values(data.x, data.y)
    model.train()
    return model.predict_values, lambda at: finite_differences(model.predict_values, at, data)


def fit_gp(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train scikit-learn's Gaussian process: RBF with a length for each input, standardized, restarted."""
    mean, scale = data.x.mean(axis=0), data.x.std(axis=0)
    kernel = ConstantKernel(1.0, (1e-3, 1e5)) * RBF(np.ones(data.d), (1e-2, 1e3))
    model = GaussianProcessRegressor(kernel, alpha=1e-10, normalize_y=True, random_state=seed, **setting)
    points = (data.x - mean) / scale
    model.fit(points, data.y[:, 0])
    lengths = np.broadcast_to(model.kernel_.k2.length_scale, data.d)
    weights = model.alpha_.ravel() * data.y.std()

    def partials(at: np.ndarray) -> np.ndarray:
        scaled = (at - mean) / scale
        correlation = model.kernel_(scaled, points) * weights  # (n, samples)
        gaps = correlation.sum(axis=1)[:, None] * scaled - correlation @ points  # of each input, weighed and summed
        return (-gaps / lengths**2 / scale)[:, None, :]

    return lambda at: model.predict((at - mean) / scale)[:, None], partials


def fit_mlp(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train scikit-learn's network d-20-1 (tanh) by L-BFGS on standardized values."""
    mean, scale, level, spread = data.x.mean(axis=0), data.x.std(axis=0), data.y.mean(), data.y.std()
    model = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", random_state=seed, **setting)
    model.fit((data.x - mean) / scale, (data.y[:, 0] - level) / spread)
    (first, last), offset = model.coefs_, model.intercepts_[0]

    def partials(at: np.ndarray) -> np.ndarray:
        hidden = np.tanh((at - mean) / scale @ first + offset)
        return (spread * ((1.0 - hidden**2) * last[:, 0]) @ first.T / scale)[:, None, :]

    return lambda at: level + spread * model.predict((at - mean) / scale)[:, None], partials


def mlp_grid(d: int) -> tuple[Setting, ...]:
    """Return weights of the L2 penalty."""
    return tuple({"alpha": alpha, "max_iter": 5000} for alpha in (1e-4, 1e-2, 1.0))


def fit_openmdao(data: Dataset, seed: int, setting: Setting) -> Predictor:
    """Train OpenMDAO's kriging at its default settings; the seed is not used."""
    model = om.KrigingSurrogate(**setting)
    model.train(data.x, data.y)
    return model.predict, lambda at: np.stack([np.atleast_2d(model.linearize(point)) for point in at])


PEERS: dict[str, Method] = {
    "jenn": Method(fit_jenn, "jenn", True, jenn_grid),
    "GENN": Method(fit_genn, "smt", True),
    "GEKPLS": Method(fit_gekpls, "smt", True, gekpls_grid),
    "KRG": Method(fit_krg, "smt"),
    "GP": Method(fit_gp, "scikit-learn", grid=lambda d: ({"n_restarts_optimizer": 4},)),
    "sklearn MLP": Method(fit_mlp, "scikit-learn", grid=mlp_grid),
    "OpenMDAO": Method(fit_openmdao, "openmdao"),
}
