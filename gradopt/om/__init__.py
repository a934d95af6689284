"""gradopt inside OpenMDAO. Floor 7.

The names below are public beside those of the top level. They are imported when they are first used: other files of the
room need none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradopt.om.baseline import BaselineResult as BaselineResult
    from gradopt.om.baseline import BaselineVisit as BaselineVisit
    from gradopt.om.baseline import run_slsqp_on_truth as run_slsqp_on_truth
    from gradopt.om.data_distance import DataDistance as DataDistance
    from gradopt.om.data_distance import DataDistanceComp as DataDistanceComp

_MODULES = {
    "BaselineResult": "baseline",
    "BaselineVisit": "baseline",
    "DataDistance": "data_distance",
    "DataDistanceComp": "data_distance",
    "run_slsqp_on_truth": "baseline",
}

__all__ = ["BaselineResult", "BaselineVisit", "DataDistance", "DataDistanceComp", "run_slsqp_on_truth"]


def _import(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module `gradopt.om` has no attribute `{name}`. It has {', '.join(__all__)}.")
    return getattr(import_module(f"gradopt.om.{_MODULES[name]}"), name)


if not TYPE_CHECKING:  # a type checker that saw it would accept any name
    __getattr__ = _import
