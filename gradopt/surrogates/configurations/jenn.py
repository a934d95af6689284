"""JENN and MLP: frozen configurations with `.fit`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from gradopt.data.arrays import as_floats
from gradopt.data.dataset import Dataset, check_dataset
from gradopt.data.scaling import Scaling
from gradopt.errors import InputError, ShapeError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitted.surrogate import Surrogate, domain, finished
from gradopt.surrogates.fitting.networks import (
    Member,
    continue_networks,
    fit_networks,
    usual_starts,
    with_fresh_belief,
)
from gradopt.surrogates.fitting.trainable import check_held, check_trainable
from gradopt.surrogates.gradinn.priors import Belief
from gradopt.surrogates.uncertainty.laplace import posteriors_of
from gradopt.training.adam import Adam
from gradopt.training.lbfgs import LBFGS
from gradopt.training.levenberg_marquardt import LevenbergMarquardt
from gradopt.training.options import number, whole
from gradopt.training.result import Callback, FitResult
from gradopt.training.solvers import Solver, check_solver

# Activation and trend of successive starts; the data choose by their evidence. Of the sets tried on the problems of
# scripts/surrogates/accuracy_vs_peers.py this had the least errors: softplus serves most, the others some far better.
_SHAPES = (("softplus", None), ("tanh", None), ("sin", "quadratic"), ("softplus", None))
_FOR_MANY_SAMPLES = ("silu", None)  # where the training is too large for several starts


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkConfiguration(ABC):
    """What JENN, MLP and GradINN share."""

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
        sizes = tuple(np.atleast_1d(self.hidden_sizes).tolist())  # one number is one layer
        for name, trend in self._shapes(few=True):
            Network((1, *sizes, 1), name, trend)
        object.__setattr__(self, "hidden_sizes", sizes)
        check_solver(self.solver)
        if self.weights not in ("auto", "evidence", "fixed"):
            remedy = "'auto' learns them wherever that is possible."
            raise InputError(explain("weights", "be 'auto', 'evidence' or 'fixed'", repr(self.weights), remedy))
        if self.alpha is not None:
            object.__setattr__(self, "alpha", number("alpha", self.alpha))
            if self.weights == "evidence":
                remedy = "The evidence learns it; to set it yourself use weights='fixed'."
                raise InputError(explain("alpha", "be None with weights='evidence'", self.alpha, remedy))
        if self.starts is not None:
            object.__setattr__(self, "starts", whole("starts", self.starts, 1))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        if self.dtype not in ("float64", "float32"):
            remedy = "float64 is the reference."
            raise InputError(explain("dtype", "be 'float64' or 'float32'", repr(self.dtype), remedy))
        _check_device(self.device)
        object.__setattr__(self, "beta", checked_weight("beta", self.beta))

    @property
    def belief(self) -> Belief | None:
        """What is believed about the gradient beside the data."""
        return None

    @property
    def weight(self) -> float | None:
        """Weight of the belief, None where it is learned or there is none."""
        return None

    @property
    def collocation(self) -> int | None:
        """Number of collocation points, None = a default."""
        return None

    @abstractmethod
    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""

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
        """Train on data.

        Args:
            data: At least two samples.
            warm_start: A surrogate of the same variables and network to continue from, in its own scaling; None =
                `starts` fresh initializations.
            callback: Called after each iteration with a `Progress`; returning True ends the fit there.

        Returns:
            The surrogate; its `fit_result` says why the training ended and what to try next.

        Raises:
            InputError: If the data cannot be trained on, or do not fit to the weights or the warm start.
            FitInterrupted: On Ctrl-C, with the state so far.
        """
        check_dataset("data", data)
        check_trainable(data)
        weights = self.data_weights(data)
        scaling = Scaling.of(data) if warm_start is None else self._scaling_of(warm_start, data)
        low, high = domain(data, scaling)
        if warm_start is None:
            members, result = self._fresh(data, scaling, weights, callback)
        else:
            begun = warm_start.members
            if warm_start.configuration.belief != self.belief:
                begun = with_fresh_belief(self, begun, data)
            members, result = continue_networks(self, begun, data, scaling, weights, callback, keep=False)
        surrogate = Surrogate(
            self,
            members,
            scaling,
            data.input_variables,
            data.output_variables,
            low,
            high,
            result,
            data.digest,
            posteriors_of(self, members, data, scaling),
        )
        return finished(surrogate, result.notes)

    def _fresh(
        self, data: Dataset, scaling: Scaling, weights: tuple[np.ndarray, np.ndarray], callback: Callback | None
    ) -> tuple[tuple[Member, ...], FitResult]:
        """Train from fresh initializations, see `fit_networks`."""
        return fit_networks(self, self._networks(data), data, scaling, weights, callback, self.belief)

    def makes(self, network: Network) -> bool:
        """Whether a fit with these settings may make such a network."""
        sizes = (network.layer_sizes[0], *self.hidden_sizes, network.layer_sizes[-1])
        shapes = (*self._shapes(few=True), *self._shapes(few=False))
        return any(network == Network(sizes, name, trend) for name, trend in shapes)

    def _shapes(self, few: bool) -> Sequence[tuple[str, str | None]]:
        """Activation and trend of successive starts, for few samples or for many."""
        shapes = []
        for name, trend in _SHAPES if few else (_FOR_MANY_SAMPLES,):
            if self.activation != "auto":
                name, trend = self.activation, None
            shapes.append((name, trend if self.trend == "auto" else self.trend))
        return shapes

    def _networks(self, data: Dataset) -> list[Network]:
        """The network of each start."""
        sizes = (data.d, *self.hidden_sizes, data.m)
        few, usual = usual_starts(self, Network(sizes), data)
        shapes = self._shapes(few)
        return [Network(sizes, *shapes[index % len(shapes)]) for index in range(self.starts or usual)]

    def _scaling_of(self, warm_start: Surrogate, data: Dataset) -> Scaling:
        """The scaling of a surrogate to continue from, which is checked to suit."""
        if not isinstance(warm_start, Surrogate):
            remedy = "Pass what an earlier `fit` returned."
            raise InputError(explain("warm_start", "be a Surrogate or None", repr(warm_start), remedy))
        warm_start.check_variables_of(data)
        if not all(self.makes(member.network) for member in warm_start.members):
            expected = f"have hidden sizes {self.hidden_sizes}, activation {self.activation!r}, trend {self.trend!r}"
            remedy = "Use its `hidden_sizes`, `activation` and `trend`, or fit without `warm_start`."
            raise InputError(explain("warm_start", expected, warm_start.network, remedy))
        check_held(data, warm_start.scaling)
        return warm_start.scaling


@dataclass(frozen=True, eq=False, kw_only=True)
class JENN(NetworkConfiguration):
    """Jacobian-enhanced neural network: values and partials in one loss.

    Attributes:
        hidden_sizes: Widths of the hidden layers.
        activation: "softplus", "tanh", "sin", "silu", "sigmoid", or "auto": starts take softplus, tanh and sin in
            turn, and the data choose by their evidence; silu where the solver is not Levenberg-Marquardt.
        trend: None, or a "linear" or "quadratic" part beside the layers, fitted with them; "auto" = None, but
            quadratic beside the sines that activation "auto" tries.
        weights: "evidence": the precisions of values, partials and parameters are learned, `beta` and `gamma` only
            weigh samples against each other; "fixed": they are `beta`, `gamma` and `alpha`; "auto": learned where
            the solver is Levenberg-Marquardt and `alpha` is None.
        beta: Weights of the values, a number or an array broadcastable to (n, m).
        gamma: Weights of the partials, a number or an array broadcastable to (n, m, d). Partials that are not known
            (NaN) never count.
        alpha: Precision of the Gaussian prior on the parameters (lambda in the paper), against sums of residuals
            in standardized units; None = learned, or 1e-8 where weights are fixed.
        solver: "auto", "levenberg_marquardt", "lbfgs", "adam", or a solver object with its hyperparameters.
        starts: Number of initializations; None = 16 where weights are learned with partials, 8 without, 1 with Adam,
            otherwise 4. Of fixed weights the best is kept, by evidence (by loss where the solver is not
            Levenberg-Marquardt); of learned weights those near the best are averaged, with partials of the best few
            only, which alone go to the end.
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
        """Beta (n, m) and gamma (n, m, d) for some data; gamma is 0 where a partial is not known."""
        if not data.known.any():
            remedy = "Without partials use `MLP(...)`; with them, `Dataset(x, y, dydx)`."
            raise InputError(explain("data", "know at least one partial", "`dydx` all NaN", remedy))
        beta = broadcast("beta", self.beta, (data.n, data.m), "(n, m)")
        gamma = broadcast("gamma", self.gamma, (data.n, data.m, data.d), "(n, m, d)")
        return beta, np.where(data.known, gamma, 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class MLP(NetworkConfiguration):
    """Multilayer perceptron trained on values alone; pays nothing for partials, even where the data have them.

    Its attributes are those of `JENN`, without gamma.
    """

    def data_weights(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Beta (n, m) for some data, and zeros (n, m, d) for gamma."""
        return broadcast("beta", self.beta, (data.n, data.m), "(n, m)"), np.zeros((data.n, data.m, data.d))


def _check_device(device: str) -> None:
    try:
        usable = torch.zeros(1, device=device).cpu() is not None
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        usable = False
    if not usable:
        raise InputError(explain("device", "be a torch device of this machine", repr(device), "Use 'cpu'."))


def checked_weight(argument: str, weight: ArrayLike) -> float | np.ndarray:
    """Return a private, read-only copy of a weight that is finite and not negative."""
    values = as_floats(argument, weight)
    bad = ~np.isfinite(values) | (values < 0.0)
    if bad.any():
        remedy = "A weight of 0 leaves an entry out; unknown partials are marked NaN in `dydx`."
        raise InputError(explain(argument, "be finite and not negative", float(values[bad].flat[0]), remedy))
    values.flags.writeable = False
    return values if values.ndim else float(values)


def broadcast(argument: str, weight: ArrayLike, shape: tuple[int, ...], words: str) -> np.ndarray:
    """Return a weight in the shape of what it weighs."""
    try:
        return np.array(np.broadcast_to(np.asarray(weight), shape))
    except ValueError as mismatch:
        remedy = "A number weighs all alike."
        got = f"shape {np.shape(weight)}"
        raise ShapeError(explain(argument, f"broadcast to {words} = {shape}", got, remedy)) from mismatch
