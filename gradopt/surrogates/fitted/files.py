"""Reading of saved surrogates, also of older schema versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import Variable, total_size
from gradopt.errors import FileFormatError
from gradopt.networks.mlp import Network
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.fitted import container
from gradopt.surrogates.fitted.checks import check_columns, check_networks, check_posterior, check_surrogate
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.surrogates.fitting.trained_network import TrainedNetwork
from gradopt.surrogates.gradinn.configuration import GradINN
from gradopt.surrogates.gradinn.priors import prior_from_dict
from gradopt.surrogates.uncertainty.posterior import Posterior
from gradopt.training.result import FitResult, LearnedWeights
from gradopt.training.solvers import SOLVERS

_CONFIGURATIONS = {"JENN": JENN, "MLP": MLP, "GradINN": GradINN}
_SOLVERS = {solver.__name__: solver for solver in SOLVERS.values()}
_POSTERIOR = ("factor", "noise", "inflation", "optimism")
_PRIOR_FIELDS_BEFORE_3 = {"believed": "expected", "apart": "difference", "doubt": "standard_error"}


def load(path: str | Path) -> Surrogate:
    """Load a surrogate that `Surrogate.save` wrote.

    Args:
        path: The file.

    Returns:
        The surrogate, with the same predictions as the saved one.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If the file is truncated, of another program, newer than this version, or was changed.
    """
    header, arrays, version = container.read(path)
    try:
        if version < 2:
            header, arrays = _version_2_of(header, arrays)
        if version < 3:
            header = _version_3_of(header)
        return _surrogate_of(header, arrays)
    except FileFormatError as wrong:
        raise FileFormatError(f"{str(path)!r} is not valid: {wrong}") from wrong
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as broken:
        raise FileFormatError(
            f"{str(path)!r} lacks or garbles the field {broken}. It was not written by this version's "
            "`Surrogate.save`; save the surrogate again."
        ) from broken


def _version_2_of(
    header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Convert schema version 1, which has one network, no trend and no learned weights."""
    networks = [{"trend": None, "share": 1.0, "learned": None, **header["network"]}]
    return {**header, "networks": networks}, {**arrays, "theta.0": arrays["theta"]}


def _version_3_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """Convert schema version 2, which calls the prior on the gradient "belief", and the term of alpha "prior"."""
    result: dict[str, Any] = dict(header["fit_result"])
    loss: dict[str, Any] = {"prior": None, **result["loss"]}
    result["loss"] = {"regularization": loss.pop("prior"), **_renamed(loss, {"belief": "prior"})}
    prior = result.pop("belief", None)
    if prior is not None:
        prior = _renamed(prior, _PRIOR_FIELDS_BEFORE_3)
        prior["shares"] = _renamed(prior["shares"], {"belief": "prior"})
    learned = result.get("learned")
    networks = [{**network, "learned": _groups_renamed(network["learned"])} for network in header["networks"]]
    result |= {"prior": prior, "learned": _groups_renamed(learned)}
    return {**header, "fit_result": result, "networks": networks}


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in fields.items()}


def _groups_renamed(learned: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if learned is None:
        return None
    return {**learned, "groups": [name.replace("belief, ", "prior, ", 1) for name in learned["groups"]]}


def _surrogate_of(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Surrogate:
    """Build a surrogate from a header and arrays of the present schema version.

    Sizes that the header claims are compared with those of the arrays before anything of that size is made.
    """
    settings: dict[str, Any] = dict(header["configuration"])
    for name in ("beta", "gamma"):
        if f"configuration.{name}" in arrays:
            settings[name] = arrays[f"configuration.{name}"]
    inputs, outputs = (tuple(Variable.from_dict(fields) for fields in header[side]) for side in ("inputs", "outputs"))
    d, m = total_size(inputs), total_size(outputs)
    check_columns(arrays, d, m)
    configuration = configuration_from_dict(settings)
    networks = tuple(_network_of(fields, index, arrays) for index, fields in enumerate(header["networks"]))
    check_networks(networks, d, m, configuration.active_prior)
    parts = [
        {name: arrays[f"posterior.{index}.{name}"] for name in _POSTERIOR if f"posterior.{index}.{name}" in arrays}
        for index in range(len(networks))
    ]
    for trained, part in zip(networks, parts, strict=True):
        if part:
            check_posterior(trained.network, part)
    surrogate = Surrogate(
        configuration=configuration,
        networks=networks,
        scaling=Scaling(
            arrays["input_mean"],
            arrays["input_scale"],
            arrays["output_mean"],
            arrays["output_scale"],
            column_transforms(inputs),
            column_transforms(outputs),
        ),
        inputs=inputs,
        outputs=outputs,
        lower=arrays["lower"],
        upper=arrays["upper"],
        fit_result=FitResult.from_dict(header["fit_result"]),
        data_digest=header["data_digest"],
        posteriors=tuple(Posterior.from_arrays(part) for part in parts if part),  # older files have none
    )
    check_surrogate(surrogate)
    return surrogate


def _network_of(fields: Mapping[str, Any], index: int, arrays: Mapping[str, np.ndarray]) -> TrainedNetwork:
    return TrainedNetwork(
        Network(tuple(fields["layer_sizes"]), fields["activation"], fields["trend"]),
        arrays[f"theta.{index}"],
        fields["share"],
        None if fields["learned"] is None else LearnedWeights.from_dict(fields["learned"]),
        arrays.get(f"auxiliary.{index}"),
    )


def configuration_from_dict(fields: Mapping[str, Any]) -> JENN | MLP | GradINN:
    """Build a configuration from the result of its `to_dict`; one for another device comes back on the CPU.

    Raises:
        KeyError: If a field is missing, or the kind or the solver is unknown.
        TypeError: If there is a field too many.
    """
    settings = dict(fields)
    kind = settings.pop("kind")
    if isinstance(settings["solver"], dict):
        solver = dict(settings["solver"])
        settings["solver"] = _SOLVERS[solver.pop("kind")](**solver)
    if "prior" in settings:
        settings["prior"] = prior_from_dict(settings["prior"])
    settings["device"] = "cpu"  # predictions are made on the CPU, and this machine may lack the device of the fit
    return _CONFIGURATIONS[kind](**settings)
