"""Arguments of `AdaptiveDriver` that are given for components by their paths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from gradopt.data.dataset import Dataset
from gradopt.errors import InputError, explain

if TYPE_CHECKING:  # a run without a network needs no torch
    from gradopt.surrogates.fitting.incremental import SupportsFit

Configurations: TypeAlias = "SupportsFit | Mapping[str, SupportsFit | None] | Literal['default'] | None"
"""One for all components, or one for each by its path; None fits nothing."""

_T = TypeVar("_T")


def checked_configuration(configuration: Configurations) -> SupportsFit | dict[str, SupportsFit | None] | None:
    """Return a configuration, or a copy of a mapping of them.

    Raises:
        InputError: If one cannot fit.
    """
    if isinstance(configuration, str) and configuration == "default":
        from gradopt.surrogates.configurations.default import default_configuration

        return default_configuration()
    named = dict(configuration) if isinstance(configuration, Mapping) else {"": configuration}
    for path, value in named.items():
        if value is not None and (isinstance(value, type) or not callable(getattr(value, "fit", None))):
            name = f"configuration[{path!r}]" if path else "configuration"
            remedy = "Pass for instance JENN((20,)), or {'path.of.component': JENN((20,))}."
            raise InputError(explain(name, "be an object that fits surrogates, or None", repr(value), remedy))
    return named if isinstance(configuration, Mapping) else configuration


def checked_initial_data(initial_data: Mapping[str, Dataset] | None) -> dict[str, Dataset]:
    """Return a copy of what is known already, by paths of components.

    Raises:
        InputError: If it is no mapping to datasets.
    """
    if initial_data is None:
        return {}
    if not isinstance(initial_data, Mapping) or not all(isinstance(data, Dataset) for data in initial_data.values()):
        remedy = "Pass {'path.of.component': data}."
        raise InputError(explain("initial_data", "give a Dataset for paths of components", repr(initial_data), remedy))
    return dict(initial_data)


def of_one(argument: str, by_path: Mapping[str, _T], sharing: Collection[str], paths: Collection[str]) -> _T | None:
    """Return what an argument gives for the components that share a truth: for one of them, or nothing.

    Args:
        argument: Name of the argument, for messages.
        by_path: What was given.
        sharing: Paths of the components that share the truth.
        paths: Paths of all components with a truth.

    Raises:
        InputError: If it names something else, or several that share the truth.
    """
    unknown = sorted(set(by_path) - set(paths))
    if unknown:
        remedy = "Use paths such as 'group.comp'."
        raise InputError(explain(argument, f"name components among {sorted(paths)}", unknown, remedy))
    named = [path for path in sharing if path in by_path]
    if len(named) > 1:
        remedy = "Name one of them; what is said of a truth holds for all."
        raise InputError(explain(argument, "name one of the components that share a truth", named, remedy))
    return by_path[named[0]] if named else None
