"""JENN and MLP: frozen settings of a fit, with the method `fit`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from gradopt.data.arrays import ReadOnly, as_floats, frozen
from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, ShapeError, explain
from gradopt.networks.forks import use_one_thread_after_fork
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitted.surrogate import Surrogate, finish_fit
from gradopt.surrogates.fitting.networks import continue_networks, fit_networks, usual_starts, with_fresh_prior
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.fitting.training_data import check_fixed_inputs, check_training_data, domain
from gradopt.surrogates.gradinn.priors import Prior
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from gradopt.training.adam import Adam
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.options import number, whole
from gradopt.training.result import Callback, FitResult
from gradopt.training.solvers import Solver, check_solver

# Activation and trend of each start in turn; the evidence selects. Of the sets tried on the problems of
# scripts/surrogates/accuracy_vs_peers.py this one had the lowest errors: softplus suits most problems, the others some
# far better.
_SHAPES = (("softplus", None), ("tanh", None), ("sin", "quadratic"), ("softplus", None))
_FOR_MANY_SAMPLES = ("silu", None)  # for fits that are too large for several starts; see scripts/airfoil/drag_data.py


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkConfiguration(ReadOnly, ABC):
    """Base of JENN, MLP and GradINN."""

    hidden_sizes: tuple[int, ...] = field(default=(20,), kw_only=False)
    activation: str = "auto"
    trend: str | None = "auto"
    weights: str = "auto"
    beta: ArrayLike = 1.0
    alpha: float | None = None
    solver: str | Solver = "auto"
    starts: int | None = None
    seed: int = 0
    dtype: str = "float64"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check the fields."""
        sizes = tuple(np.atleast_1d(self.hidden_sizes).tolist())  # a number means one layer
        for name, trend in self._shapes(few=True):
            Network((1, *sizes, 1), name, trend)
        object.__setattr__(self, "hidden_sizes", sizes)
        check_solver(self.solver)
        if self.weights not in ("auto", "evidence", "fixed"):
            remedy = "'auto' learns the weights wherever possible."
            raise InputError(explain("weights", "be 'auto', 'evidence' or 'fixed'", repr(self.weights), remedy))
        if self.alpha is not None:
            object.__setattr__(self, "alpha", number("alpha", self.alpha))
            if self.weights == "evidence":
                remedy = "The evidence learns alpha; to set alpha use weights='fixed'."
                raise InputError(explain("alpha", "be None with weights='evidence'", self.alpha, remedy))
        if self.starts is not None:
            object.__setattr__(self, "starts", whole("starts", self.starts, 1))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        if self.dtype not in ("float64", "float32"):
            remedy = "'float64' is usual."
            raise InputError(explain("dtype", "be 'float64' or 'float32'", repr(self.dtype), remedy))
        _check_device(self.device)
        object.__setattr__(self, "beta", checked_weight("beta", self.beta))

    @property
    def active_prior(self) -> Prior | None:
        """Prior on the gradient; None where there is none or its weight is 0."""
        return None

    @property
    def weight(self) -> float | None:
        """Weight of the prior on the gradient; None = learned, or no prior."""
        return None

    @property
    def collocation(self) -> int | None:
        """Number of collocation points beside the samples; None = a default."""
        return None

    @abstractmethod
    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values and NumPy arrays, with the class name under "kind"."""
        found: dict[str, Any] = {"kind": type(self).__name__}
        for name in (entry.name for entry in fields(self)):
            value = getattr(self, name)
            if isinstance(value, LevenbergMarquardt | LBFGS | Adam):
                value = {"kind": type(value).__name__, **asdict(value)}
            elif name == "hidden_sizes":
                value = list(value)
            found[name] = value
        return found

    def fit(self, data: Dataset, warm_start: Surrogate | None = None, callback: Callback | None = None) -> Surrogate:
        """Train on data; in a forked process with one thread, see `gradopt.networks.forks`.

        Args:
            data: Training data, at least two samples.
            warm_start: Surrogate of the same variables and network, whose training continues in its scaling; None =
                `starts` new initializations.
            callback: Function called after each iteration with a `Progress`; a return value of True ends the fit.

        Returns:
            The surrogate; its `fit_result` says why the training ended and what to try next. A surrogate that is not
            finite at the training data has the status `NOT_FINITE` and a note, which is logged as a warning.

        Raises:
            InputError: If the data are no valid training data, or do not match the weights or the warm start.
            FitInterrupted: On Ctrl-C, with the state so far.
        """
        use_one_thread_after_fork()
        check_dataset("data", data)
        check_training_data(data)
        weights = self.data_weights(data)
        scaling = Scaling.of(data) if warm_start is None else self._scaling_of(warm_start, data)
        low, high = domain(data, scaling)
        if warm_start is None:
            networks, result = self._fresh(data, scaling, weights, callback)
        else:
            begun = warm_start.networks
            if warm_start.configuration.active_prior != self.active_prior:
                begun = with_fresh_prior(self, begun, data)
            networks, result = continue_networks(self, begun, data, scaling, weights, callback, keep=False)
        surrogate = Surrogate(
            self,
            networks,
            scaling,
            data.input_variables,
            data.output_variables,
            low,
            high,
            result,
            data.digest,
            posteriors_of(self, networks, data, scaling),
        )
        return finish_fit(surrogate, data, result.notes)

    def _fresh(
        self, data: Dataset, scaling: Scaling, weights: tuple[np.ndarray, np.ndarray], callback: Callback | None
    ) -> tuple[tuple[TrainedNetwork, ...], FitResult]:
        """Train from new initializations, see `fit_networks`."""
        return fit_networks(self, self._shapes_of_starts(data), data, scaling, weights, callback, self.active_prior)

    def allows(self, network: Network) -> bool:
        """Return whether a fit with these settings may have a network of this shape."""
        sizes = (network.layer_sizes[0], *self.hidden_sizes, network.layer_sizes[-1])
        shapes = (*self._shapes(few=True), *self._shapes(few=False))
        return any(network == Network(sizes, name, trend) for name, trend in shapes)

    def _shapes(self, few: bool) -> Sequence[tuple[str, str | None]]:
        """Return activation and trend of each start in turn, for few samples or for many."""
        shapes = []
        for name, trend in _SHAPES if few else (_FOR_MANY_SAMPLES,):
            if self.activation != "auto":
                name, trend = self.activation, None
            shapes.append((name, trend if self.trend == "auto" else self.trend))
        return shapes

    def _shapes_of_starts(self, data: Dataset) -> list[Network]:
        """Return the shape of the network of each start."""
        sizes = (data.d, *self.hidden_sizes, data.m)
        few, usual = usual_starts(self, Network(sizes), data)
        shapes = self._shapes(few)
        return [Network(sizes, *shapes[index % len(shapes)]) for index in range(self.starts or usual)]

    def _scaling_of(self, warm_start: Surrogate, data: Dataset) -> Scaling:
        """Check that the training of a surrogate can continue on some data, and return its scaling."""
        if not isinstance(warm_start, Surrogate):
            remedy = "Pass the surrogate of an earlier `fit`."
            raise InputError(explain("warm_start", "be a Surrogate or None", repr(warm_start), remedy))
        warm_start.check_variables_of(data)
        if not all(self.allows(trained.network) for trained in warm_start.networks):
            expected = f"have hidden sizes {self.hidden_sizes}, activation {self.activation!r}, trend {self.trend!r}"
            remedy = "Use its `hidden_sizes`, `activation` and `trend`, or fit without `warm_start`."
            raise InputError(explain("warm_start", expected, warm_start.network, remedy))
        check_fixed_inputs(data, warm_start.scaling)
        return warm_start.scaling


@dataclass(frozen=True, eq=False, kw_only=True)
class JENN(NetworkConfiguration):
    """Jacobian-enhanced neural network: values and partials in one loss.

    Attributes:
        hidden_sizes: Widths of the hidden layers.
        activation: Name "softplus", "tanh", "sin", "silu" or "sigmoid", or "auto". With "auto" the starts use softplus,
            tanh and sin in turn, and the evidence selects; where the solver is not Levenberg-Marquardt all use silu.
        trend: Polynomial added to the layers, None, "linear" or "quadratic"; "auto" = None, but quadratic for the
            starts whose activation "auto" sets to sin.
        weights: Rule for the weights. "evidence": the precisions of values, partials and parameters are learned, and
            `beta` and `gamma` only weigh samples against each other; "fixed": the weights are `beta`, `gamma` and
            `alpha`; "auto": learned if the solver is Levenberg-Marquardt and `alpha` is None.
        beta: Weights of the values, a number or an array broadcastable to (n, m).
        gamma: Weights of the partials, a number or an array broadcastable to (n, m, d). A partial that is not known
            (NaN) has no weight.
        alpha: Precision of the Gaussian prior on the parameters (lambda in the paper), relative to sums of residuals
            in standardized units; None = learned, or 1e-8 where weights are fixed.
        solver: Name "auto", "levenberg_marquardt", "lbfgs" or "adam", or a solver object with its hyperparameters.
        starts: Number of initializations; None = 16 where weights are learned with partials, 8 without partials, 1 with
            Adam, otherwise 4. With fixed weights the best start is kept, by evidence, or by loss if the solver is not
            Levenberg-Marquardt. With learned weights the surrogate is the average of the starts near the best; with
            partials only the best three are trained to the end.
        seed: Seed of the initializations.
        dtype: "float64" or "float32", of the training; predictions are float64.
        device: Torch device of the training, such as "cpu" or "cuda".

    References:
        Berguin (2024), Jacobian-enhanced neural networks, arXiv 2406.09132.
    """

    gamma: ArrayLike = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        object.__setattr__(self, "gamma", checked_weight("gamma", self.gamma))

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        if not data.known.any():
            remedy = "Without partials use `MLP(...)`; with them, `Dataset(x, y, dydx)`."
            raise InputError(
                explain(
                    "data",
                    "have at least one known partial",
                    f"NaN in all {data.partials.size} entries of `dydx`",
                    remedy,
                )
            )
        beta = broadcast("beta", self.beta, (data.n, data.m), "(n, m)")
        gamma = broadcast("gamma", self.gamma, (data.n, data.m, data.d), "(n, m, d)")
        return beta, np.where(data.known, gamma, 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class MLP(NetworkConfiguration):
    """Multilayer perceptron trained on values alone; partials of the data are ignored.

    The attributes are those of `JENN`, without gamma.
    """

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (n, m) for some data, and zeros (n, m, d) for gamma."""
        return broadcast("beta", self.beta, (data.n, data.m), "(n, m)"), np.zeros((data.n, data.m, data.d))


def _check_device(device: str) -> None:
    try:
        usable = torch.zeros(1, device=device).cpu() is not None
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        usable = False
    if not usable:
        raise InputError(explain("device", "be a torch device of this machine", repr(device), "'cpu' always works."))


def checked_weight(argument: str, weight: ArrayLike) -> float | np.ndarray:
    """Return a read-only copy of a weight; raise `InputError` unless the weight is finite and not negative."""
    values = as_floats(argument, weight)
    bad = ~np.isfinite(values) | (values < 0.0)
    if bad.any():
        got = f"{float(values[bad].flat[0])}" + (f" at {np.argwhere(bad)[0].tolist()}" if values.ndim else "")
        remedy = "A weight of 0 removes an entry; partials that are not known are NaN in `dydx`."
        raise InputError(explain(argument, "be finite and not negative", got, remedy))
    return frozen(values) if values.ndim else float(values)


def broadcast(argument: str, weight: ArrayLike, shape: tuple[int, ...], words: str) -> np.ndarray:
    """Return a weight in a shape, which a message names by `words`; raise `ShapeError` if that is impossible."""
    try:
        return np.array(np.broadcast_to(np.asarray(weight), shape))
    except ValueError as mismatch:
        remedy = "A number is one weight for all entries."
        got = f"shape {np.shape(weight)}"
        raise ShapeError(explain(argument, f"broadcast to {words} = {shape}", got, remedy)) from mismatch
