"""Surrogates: configurations, fitting, fitted surrogates and their files, uncertainty, diagnostics. Floor 4.

`Polish` and `FitInterrupted` are public here. They are imported when they are first used: the room's protocols serve
the loop too, which needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradopt.surrogates.configurations.polish import Polish as Polish
    from gradopt.surrogates.fitted.surrogate import FitInterrupted as FitInterrupted

_MODULES = {"FitInterrupted": "fitted.surrogate", "Polish": "configurations.polish"}

__all__ = ["FitInterrupted", "Polish"]


def _import(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module `gradopt.surrogates` has no attribute `{name}`. It has {', '.join(__all__)}.")
    return getattr(import_module(f"gradopt.surrogates.{_MODULES[name]}"), name)


if not TYPE_CHECKING:  # a type checker that saw it would accept any name
    __getattr__ = _import
