"""Grammar of unit strings, checked before OpenMDAO's unit code, which ends in `eval`, gets a string.

    units    = factor {("*" | "/") factor}
    factor   = (name | number | "(" units ")") ["**" exponent]
    exponent = ["-"] number | "(" ["-"] number ["/" number] ")"

Names are ASCII letters, digits and underscores. Spaces may stand between the parts. OpenMDAO decides which names exist.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from math import inf

from openmdao.utils.units import conversion_to_base_units, valid_units

from gradopt.errors import InputError, explain

# Limits by hand, far above those of units in use; they bound the time of an evaluation.
_LONGEST = 100  # characters of a unit string
_LARGEST_EXPONENT = 99.0  # product of the absolute values of nested exponents

_TOKEN = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<number>(?:[0-9]{1,15}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?)"
    r"|(?P<operator>\*\*|[*/()-])"
    r"| +"
)
_EXPONENT = re.compile(r"[0-9]{1,2}(?:\.[0-9]{0,6})?")
_REMEDY = "Use units such as 'm/s', 'deg' or 'kg*m**2', or None."


def check_units(units: object) -> None:
    """Check a unit string.

    Args:
        units: Unit string, or None for a number without units.

    Raises:
        InputError: If the string does not follow the grammar, or OpenMDAO has no such units.
    """
    if units is None:
        return
    if not isinstance(units, str) or not _follows_grammar(units) or not _exist(units):
        got = repr(units) if not isinstance(units, str) or len(units) <= _LONGEST else f"{units[:_LONGEST]!r}..."
        raise InputError(explain("units", "be valid OpenMDAO units", got, _REMEDY))


def _follows_grammar(text: str) -> bool:
    if len(text) > _LONGEST:
        return False
    tokens, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            return False
        position = found.end()
        if found.lastgroup is not None:
            tokens.append((found.lastgroup, found.group()))
    return _Parser(tokens).complete()


class _Parser:
    """Parser by recursive descent.

    Each method moves past what it accepts. A power is the largest product of nested exponents, None where there is a
    fault.
    """

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    def complete(self) -> bool:
        """Return whether the tokens are units, and nothing follows them."""
        return self._units() is not None and self._at == len(self._tokens)

    def _units(self) -> float | None:
        largest = self._factor()
        while largest is not None and (self._take("*") or self._take("/")):
            power = self._factor()
            largest = None if power is None else max(largest, power)
        return largest

    def _factor(self) -> float | None:
        if self._take("("):
            power = self._units()
            if power is None or not self._take(")"):
                return None
        elif self._take_word():
            power = 1.0
        else:
            return None
        if self._take("**"):
            exponent = self._exponent()
            power = None if exponent is None else power * max(abs(exponent), 1.0)
        return power if power is not None and power <= _LARGEST_EXPONENT else None

    def _exponent(self) -> float | None:
        if not self._take("("):
            return self._signed_number()
        value = self._signed_number()
        if value is not None and self._take("/"):
            divisor = self._signed_number()
            value = value / divisor if divisor else None
        return value if self._take(")") else None

    def _signed_number(self) -> float | None:
        sign = -1.0 if self._take("-") else 1.0
        kind, text = self._next()
        if kind != "number" or not _EXPONENT.fullmatch(text):
            return None
        self._at += 1
        return sign * float(text)

    def _take_word(self) -> bool:
        kind, text = self._next()
        if kind == "number" or (kind == "name" and (text == "as" or not iskeyword(text))):  # "as": attoseconds
            self._at += 1
            return True
        return False

    def _take(self, operator: str) -> bool:
        if self._next() != ("operator", operator):
            return False
        self._at += 1
        return True

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")


def _exist(text: str) -> bool:
    """Return whether OpenMDAO has these units, with a factor that is a positive number."""
    try:
        return valid_units(text) and 0.0 < conversion_to_base_units(text)[1] < inf
    except (ArithmeticError, KeyError, NameError, SyntaxError, TypeError, ValueError):
        return False  # such as a power of degC, a division by 0, or a factor beyond the range of numbers
