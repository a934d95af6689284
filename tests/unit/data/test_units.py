"""Unit strings: a grammar decides before OpenMDAO's `eval` sees them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openmdao.api as om
import pytest
from openmdao.utils import units as openmdao_units

from gradopt.data import units as module
from gradopt.data.units import check_units
from gradopt.data.variables import Variable
from gradopt.errors import InputError

MESSAGE = r"`units` must be valid OpenMDAO units, got .*\. Use units such as 'm/s', 'deg' or 'kg\*m\*\*2', or None\."


@pytest.mark.parametrize(
    "units",
    [
        *("m", "m/s", "kg*m**2", "1/s", "J/(kg*K)", "m**-2", "m**(-2)", "(m**2)**0.5", "(m**2)**(1/2)", "10**3*m"),
        *("1e-3*m", "2.5*m", ".5*m", "as", "mm", "MPa", "W/m**2/degK", "degC", "unitless", " m ", "m ** 2", "USD/pax"),
        *("ft*lbf", "slug/ft**3", "arc_minute", "1.0/s", "m/m", "m**0", "((m))"),
        None,
    ],
)
def test_units_in_use_are_accepted_and_openmdao_takes_them(units: str | None) -> None:
    check_units(units)
    om.ExplicitComponent().add_input("x", units=units)
    assert Variable("x", units=units).units == units


def test_every_unit_of_openmdao_is_accepted() -> None:
    for name in openmdao_units._UNIT_LIB.unit_table:
        if not name.endswith("_"):  # how OpenMDAO stores "as"
            check_units(name)


@pytest.mark.parametrize(
    "units",
    [
        *(
            "",
            " ",
            "%",
            "m)",
            "é",
            "m**",
            "9**9**9",
            "m**9**9",
            "((m**99)**99)",
            "m m",
            "m,s",
            "m;s",
            "m\n",
            "\tm",
            "m#",
        ),
        *("m if m else m", "None*m", "True*m", "lambda", "import", "m.__class__", "m[0]", "m(s)", "()", "m()", "(m"),
        *(
            "1",
            "3.0",
            "0*m",
            "1/0",
            "m/0",
            "1e999*m",
            "1e308*1e308*m",
            "km**99*km**99",
            "m**100",
            "m**(1/0)",
            "-m",
            "+m",
        ),
        *(
            "m**--2",
            "m**(-2",
            "m**(1/2/2)",
            "m**(m)",
            "m^2",
            "m//s",
            "m*",
            "*m",
            "m s",
            "1_0*m",
            "0x1*m",
            "1j*m",
            "'m'",
        ),
        *("degC**2", "degC*m", "m**0.5", "m²", "µm", "°", "$", "１*m", "furlongz", "_m", "m" * 101, "1*" * 60 + "m"),
        *(3, 1.5, True, b"m", ["m"], {"m": 1}),
    ],
    ids=repr,
)
def test_other_units_are_refused_at_once(units: Any) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=MESSAGE):
        check_units(units)
    with pytest.raises(InputError, match=MESSAGE):
        Variable("x", units=units)
    assert time.process_time() - start < 1.0


def test_openmdao_sees_no_string_outside_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def record(text: str) -> bool:
        seen.append(text)
        return True

    monkeypatch.setattr(module, "valid_units", record)
    for units in (
        "[c for c in ()]",
        "().__class__",
        "__import__('os')",
        "m and m",
        "m.real",
        "f'{m}'",
        "m:=1",
        "m @ m",
    ):
        with pytest.raises(InputError, match=MESSAGE):
            check_units(units)
    assert not seen
    check_units("m")
    assert seen == ["m"]


def test_no_command_runs(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    classes = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]"
    with pytest.raises(InputError, match=r"got \"\[c for c in .*\"\.\.\.\. Use units"):
        Variable("x", units=f"{classes}.__init__.__globals__['system']('touch {flag}')")
    assert not flag.exists()
