"""Reading saved surrogates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradopt.data.scaling import Scaling, column_transforms
from gradopt.data.variables import Variable
from gradopt.errors import FileFormatError
from gradopt.networks.mlp import Network
from gradopt.surrogates.configurations.jenn import JENN, MLP
from gradopt.surrogates.fitted import container
from gradopt.surrogates.fitted.surrogate import Surrogate
from gradopt.surrogates.fitting.networks import Member
from gradopt.surrogates.gradinn.configuration import GradINN
from gradopt.surrogates.gradinn.priors import belief_from_dict
from gradopt.surrogates.uncertainty.posterior import Posterior
from gradopt.training.result import FitResult, LearnedWeights
from gradopt.training.solvers import SOLVERS

_CONFIGURATIONS = {"JENN": JENN, "MLP": MLP, "GradINN": GradINN}
_SOLVERS = {solver.__name__: solver for solver in SOLVERS.values()}


def load(path: str | Path) -> Surrogate:
    """Load a surrogate that `Surrogate.save` wrote.

    Args:
        path: The file.

    Returns:
        The surrogate; its answers equal those of the saved one to the last bit.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If the file is truncated, foreign, newer than this version, or was changed.
    """
    header, arrays = container.read(path)
    try:
        settings: dict[str, Any] = dict(header["configuration"])
        settings |= {name.split(".")[1]: v for name, v in arrays.items() if name.startswith("configuration.")}
        inputs = tuple(Variable.from_dict(fields) for fields in header["inputs"])
        outputs = tuple(Variable.from_dict(fields) for fields in header["outputs"])
        if "network" in header:  # schema version 1, which knew one network and no trend
            header["networks"] = [{"trend": None, "share": 1.0, "learned": None, **header["network"]}]
            arrays["theta.0"] = arrays["theta"]
        members = tuple(
            Member(
                Network(tuple(shape["layer_sizes"]), shape["activation"], shape["trend"]),
                arrays[f"theta.{index}"],
                shape["share"],
                shape["learned"] and LearnedWeights.from_dict(shape["learned"]),
                arrays.get(f"auxiliary.{index}"),
            )
            for index, shape in enumerate(header["networks"])
        )
        parts = [
            {name.split(".", 2)[2]: v for name, v in arrays.items() if name.startswith(f"posterior.{index}.")}
            for index in range(len(members))
        ]
        posteriors = tuple(Posterior.from_arrays(part) for part in parts if part)  # older files have none
        return Surrogate(
            configuration=configuration_from_dict(settings),
            members=members,
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
            posteriors=posteriors,
        )
    except (KeyError, TypeError) as broken:
        raise FileFormatError(
            f"{str(path)!r} lacks or garbles the field {broken}. It was not written by this version's "
            "`Surrogate.save`; save the surrogate again."
        ) from broken


def configuration_from_dict(fields: Mapping[str, Any]) -> JENN | MLP | GradINN:
    """Build a configuration from what its `to_dict` returned; one of another device comes back on the CPU.

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
        settings["prior"] = belief_from_dict(settings["prior"])
    settings["device"] = "cpu"
    return _CONFIGURATIONS[kind](**settings)
