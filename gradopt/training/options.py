"""Checks of numbers in the settings of solvers and configurations."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real

from gradopt.errors import InputError, explain

_REMEDY = "The default suits most data."


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number of at least `least` as an int; raise `InputError` for anything else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(explain(name, f"be a whole number of at least {least}", repr(value), _REMEDY))
    return int(value)


def number(name: str, value: object, positive: bool = False) -> float:
    """Return a finite number that is not negative (or positive) as a float; raise `InputError` for anything else."""
    if not isinstance(value, Real) or not isfinite(value) or value < 0 or (positive and value == 0):
        raise InputError(explain(name, f"be finite and {'positive' if positive else 'not negative'}", value, _REMEDY))
    return float(value)


def seconds(name: str, value: object) -> float | None:
    """Return a time limit, s, or None; raise `InputError` for anything else."""
    if value is None:
        return None
    if not isinstance(value, Real) or not isfinite(value) or value < 0:
        raise InputError(explain(name, "be None or a number of seconds", value, "None means no limit."))
    return float(value)
