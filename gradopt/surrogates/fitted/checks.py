"""Checks of what a file holds in the place of a surrogate: types, shapes that fit together, finite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as shortened

import numpy as np

from gradopt.data.arrays import check_finite
from gradopt.data.json_values import check_fields
from gradopt.data.scaling import is_usable
from gradopt.data.variables import check_different_names, check_variables
from gradopt.errors import FileFormatError, explain
from gradopt.networks.mlp import Network
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.gradinn.priors import NetworkPrior, Prior
from gradopt.training.result import LearnedWeights

_REMEDY = "Save the surrogate again where it was made."
_SHARES = 1e-6  # largest distance of the sum of the shares from 1; by hand, for round-off


def check_array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise `FileFormatError` unless an array has a shape, and finite real numbers in double precision."""
    if array.dtype != np.float64 or array.shape != shape:
        got = f"{array.dtype} of shape {array.shape}"
        raise FileFormatError(explain(name, f"be float64 of shape {shape}", got, _REMEDY))
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise FileFormatError(explain(name, "be finite", f"{array[tuple(where)]} at {where}", _REMEDY))


def check_columns(arrays: Mapping[str, np.ndarray], d: int, m: int) -> None:
    """Check scaling and domain of a surrogate with d input and m output columns."""
    for name in ("input_mean", "input_scale", "lower", "upper"):
        check_array(name, arrays[name], (d,))
    for name in ("output_mean", "output_scale"):
        check_array(name, arrays[name], (m,))
    for name, fine in (
        ("input_scale", is_usable(arrays["input_scale"]) | (arrays["input_scale"] == 0.0)),
        ("output_scale", is_usable(arrays["output_scale"])),
        ("lower", arrays["lower"] <= arrays["upper"]),
    ):
        if not fine.all():
            column = int(np.flatnonzero(~fine)[0])
            expected = "not be above `upper`" if name == "lower" else "be positive, with an inverse"
            raise FileFormatError(explain(name, expected, f"{arrays[name][column]} in column {column}", _REMEDY))


def check_networks(networks: Sequence[TrainedNetwork], d: int, m: int, prior: Prior | None) -> None:
    """Check the networks of a surrogate: types, sizes, shares."""
    if not networks:
        raise FileFormatError(explain("networks", "hold at least one network", "none", _REMEDY))
    for index, trained in enumerate(networks):
        check_fields(trained)
        check_fields(trained.network)
        sizes = trained.network.layer_sizes
        if (sizes[0], sizes[-1]) != (d, m):
            expected = f"run from {d} input to {m} output columns"
            raise FileFormatError(explain(f"layer_sizes of network {index}", expected, shortened(sizes), _REMEDY))
        check_array(f"theta.{index}", trained.theta, (trained.network.n_parameters,))
        if trained.auxiliary is not None:
            auxiliary, size = trained.auxiliary, trained.auxiliary.size
            if isinstance(prior, NetworkPrior):
                size = prior.network(d, m).n_parameters
            check_array(f"auxiliary.{index}", auxiliary, (size,))
        if trained.learned is not None:
            _check_learned(trained.learned, d, m, trained.network)
    shares = [float(trained.share) for trained in networks]
    if not (min(shares) > 0.0 and abs(sum(shares) - 1.0) <= _SHARES):
        raise FileFormatError(explain("shares", "be positive with the sum 1", shortened(shares), _REMEDY))


def check_posterior(network: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Check the arrays of a posterior against the shape of its network."""
    d, m = network.layer_sizes[0], network.layer_sizes[-1]
    linear = network.layer_sizes[-2] + 1
    if network.trend is not None:
        linear += d + (d * (d + 1) // 2 if network.trend == "quadratic" else 0)
    factor = arrays["factor"]
    shapes = {(blocks, size * (size + 1) // 2) for blocks, size in ((1, network.n_parameters), (m, linear))}
    if factor.shape not in shapes:
        raise FileFormatError(explain("factor", f"have a shape of {sorted(shapes)}", factor.shape, _REMEDY))
    for name, shape in (("factor", factor.shape), ("noise", (m, 2)), ("inflation", (m, 2)), ("optimism", (1,))):
        check_array(name, arrays[name], shape)


def check_surrogate(surrogate: Surrogate) -> None:
    """Check names, fit result and number of posteriors of a surrogate whose networks and columns fit."""
    check_fields(surrogate)
    check_fields(surrogate.fit_result)
    for record in (surrogate.fit_result.learned, surrogate.fit_result.prior):
        if record is not None:
            check_fields(record)
    prior = surrogate.fit_result.prior
    if prior is not None and not prior.shares:
        raise FileFormatError(explain("shares of the prior", "hold a number", "none", _REMEDY))
    check_variables("inputs", surrogate.inputs, surrogate.d, "x")
    check_variables("outputs", surrogate.outputs, surrogate.m, "y")
    check_different_names(surrogate.inputs, surrogate.outputs)
    if len(surrogate.posteriors) not in (0, len(surrogate.networks)):
        expected = f"be as many as networks, {len(surrogate.networks)}, or none"
        raise FileFormatError(explain("posteriors", expected, len(surrogate.posteriors), _REMEDY))


def _check_learned(learned: LearnedWeights, d: int, m: int, network: Network) -> None:
    check_fields(learned)
    groups = len(network.parameter_groups[1])
    if not (groups <= len(learned.alpha) == len(learned.groups) == len(learned.determined)):
        got = f"{len(learned.alpha)}, {len(learned.groups)} and {len(learned.determined)}"
        expected = f"have one entry in `alpha`, `groups` and `determined` for each of at least {groups} groups"
        raise FileFormatError(explain("learned", expected, got, _REMEDY))
    for name, values, sizes in (
        ("beta", learned.beta, (m,)),
        ("gamma", learned.gamma, (m, m * d)),
        ("omega", learned.omega, (m,)),
    ):
        if values is not None and len(values) not in sizes:
            raise FileFormatError(explain(name, f"have {sizes[-1]} entries", len(values), _REMEDY))
    for name, values in (("alpha", learned.alpha), ("beta", learned.beta)):
        check_finite(name, np.array(values, dtype=float)[:, None], [name], _REMEDY)
