"""certify: scaling, units, indices and aliases, as the driver has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openmdao.api as om
import pytest
from openmdao.core.driver import Driver

from gradopt.om.certificate import certify

Problems = Callable[..., om.Problem]
Multipliers = Callable[..., tuple[dict[str, Any], dict[str, Any]]]
SUM = "c = x[0] + x[1]"
BOWL = "f = (x[0] - 1)**2 + (x[1] - 2)**2"
DISK = "f = x[0] + 2*x[1]"


# ---- scaling ----

SCALINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "ref": {"ref": 4.0, "ref0": 1.0},
    "scaler": {"scaler": 0.3, "adder": -2.0},
    "negative": {"ref": -2.0},
    "negative scaler": {"scaler": -0.5, "adder": 1.0},
}
VECTORS = {"ref": [2.0, -0.5], "ref0": [0.5, 0.0]}


@pytest.mark.parametrize("of_objective", ["none", "ref", "scaler"])
@pytest.mark.parametrize("of_constraint", SCALINGS)
@pytest.mark.parametrize("of_design", [*SCALINGS, "vectors"])
def test_multipliers_in_units_do_not_depend_on_the_scaling(
    of_design: str,
    of_constraint: str,
    of_objective: str,
    declared: Problems,
    at: Problems,
    openmdao_multipliers: Multipliers,
) -> None:
    """min (x0 - 1)^2 + (x1 - 2)^2 with x0 >= 1.5, x0 + x1 <= 2: x = (1.5, 0.5), multipliers -4 and 3."""
    problem = declared(
        BOWL,
        SUM,
        design={"lower": [1.5, -5.0], **SCALINGS.get(of_design, VECTORS)},
        objective=SCALINGS[of_objective],
        constraints={"c": {"upper": 2.0, **SCALINGS[of_constraint]}},
    )
    found = certify(at(problem, [1.5, 0.5]))
    assert found.certified
    assert found.multipliers["c"] == pytest.approx([3.0])
    assert found.bound_multipliers["x"] == pytest.approx([-4.0, 0.0])
    assert (found.active["c"].tolist(), found.active_bounds["x"].tolist()) == ([1], [-1, 0])
    if of_design in ("none", "ref", "scaler"):  # with negative ones OpenMDAO takes inactive bounds for violated
        bounds, constraints = openmdao_multipliers(problem, driver_scaling=True)
        assert found.scaled_multipliers["c"] == pytest.approx(constraints["c"])
        assert found.scaled_bound_multipliers["x"] == pytest.approx(bounds["x"])
    assert not certify(at(problem, [1.6, 0.4])).certified
    assert not certify(at(problem, [1.4, 0.6])).certified
    assert not certify(at(problem, [1.5, 0.4])).certified


@pytest.mark.parametrize("settings", [{"ref": -1.0}, {"scaler": -1.0}, {"ref": -4.0, "ref0": 1.0}])
def test_maximum_by_a_negative_scaler(
    settings: dict[str, float], declared: Problems, at: Problems, optimized: Problems, openmdao_multipliers: Multipliers
) -> None:
    """Max x0 + 2 x1 on the unit disk; the optimal objective rises by 5**0.5 / 2 per unit of the bound."""
    problem = declared(
        DISK, "c = x[0]**2 + x[1]**2", objective=settings, constraints={"c": {"upper": 1.0}}, design={"upper": 5.0}
    )
    found = certify(optimized(problem, [0.1, 0.1]))
    assert found.certified
    assert found.objective == pytest.approx(5.0**0.5)
    assert found.multipliers["c"] == pytest.approx([-(5.0**0.5) / 2.0], rel=1e-5)
    assert found.multipliers["c"] == pytest.approx(openmdao_multipliers(problem)[1]["c"], rel=1e-5)
    assert found.scaled_multipliers["c"] > 0.0
    assert not certify(at(problem, [-(5.0**-0.5), -2.0 * 5.0**-0.5])).certified


def test_equality_of_either_scaling_sign(declared: Problems, at: Problems) -> None:
    for ref in (3.0, -3.0):
        found = certify(at(declared(BOWL, SUM, constraints={"c": {"equals": 1.0, "ref": ref}}), [0.0, 1.0]))
        assert found.certified
        assert found.multipliers["c"] == pytest.approx([2.0])
        assert found.active["c"].tolist() == [2]


def test_units_of_the_driver_are_those_of_the_multipliers(declared: Problems, at: Problems) -> None:
    """X in m and c in N, seen by the driver as cm and kN: c <= 1 N is 1e-3 kN, x0 >= 0.5 m is 50 cm."""
    problem = declared(
        "f = (x[0] - 0.4)**2 + 3*x[1]",
        "c = -x[1]",
        units={"x": "m", "c": "N", "f": "W"},
        design={"lower": [50.0, -1e4], "units": "cm", "ref": 100.0},
        objective={"units": "kW", "ref": 1e-3},
        constraints={"c": {"upper": 1e-3, "units": "kN", "ref": 1e-3}},
    )
    found = certify(at(problem, [0.5, -1.0]))
    assert found.certified
    assert found.objective == pytest.approx((0.01 - 3.0) * 1e-3)
    assert found.multipliers["c"] == pytest.approx([3.0])  # kW per kN
    assert found.bound_multipliers["x"] == pytest.approx([-0.2e-5, 0.0])  # kW per cm
    assert not certify(at(problem, [0.51, -1.0])).certified
    assert not certify(at(problem, [0.5, -0.99])).certified


def test_offset_units(declared: Problems, at: Problems) -> None:
    problem = declared("f = 2*x", size=1, units={"x": "degK"}, design={"lower": 20.0, "units": "degC"})
    assert certify(at(problem, 293.15)).certified
    assert not certify(at(problem, 294.15)).certified


@pytest.mark.skipif(not hasattr(om, "BoundsAutoscaler"), reason="since OpenMDAO 3.45")
def test_autoscaler_of_the_driver_is_honored(declared: Problems, at: Problems) -> None:
    problem = declared(BOWL, SUM, design={"lower": [1.5, -5.0], "upper": 5.0}, constraints={"c": {"upper": 2.0}})
    problem.driver.autoscaler = om.BoundsAutoscaler()
    found = certify(at(problem, [1.5, 0.5]))
    assert found.certified
    assert found.bound_multipliers["x"] == pytest.approx([-4.0, 0.0])
    assert found.scaled_bound_multipliers["x"] == pytest.approx([-14.0, 0.0])
    assert certify(at(problem, [1.6, 0.4])).complementarity == 0.0
    assert not certify(at(problem, [1.6, 0.4])).certified


# ---- which entries ----


def test_indices_and_aliases_name_the_entries_the_driver_has(declared: Problems, at: Problems) -> None:
    """Entries of x (4,) and y = x (4,): only x1, x3 are design variables, y3 <= 1 and y1 >= 0 the constraints."""
    problem = declared(
        "f = x[1] - 2*x[3] + 100*x[0]",
        "y = x",
        size=4,
        shapes={"y": 4},
        design={"indices": [1, 3], "lower": -7.0},
        constraints={
            "top": {"name": "y", "alias": "top", "indices": [3], "upper": 1.0},
            "rest": {"name": "y", "alias": "rest", "indices": [0, -3], "lower": [-1.0, 0.0]},
        },
        driver=Driver(),
    )
    found = certify(at(problem, [5.0, 0.0, 5.0, 1.0]))
    assert found.certified
    assert found.multipliers["top"] == pytest.approx([2.0])
    assert found.multipliers["rest"] == pytest.approx([0.0, -1.0])
    assert found.bound_multipliers["x"].tolist() == [0.0, 0.0]
    worse = certify(at(problem, [5.0, -0.5, 5.0, 0.0]))
    assert worse.worst == {"feasibility": ("rest", 1), "stationarity": ("x", 1)}


def test_objective_entry_may_be_an_index(declared: Problems, at: Problems) -> None:
    problem = declared("f = x**2", SUM, shapes={"f": 2}, objective={"index": 1}, constraints={"c": {"lower": -9.0}})
    assert certify(at(problem, [3.0, 0.0])).certified
    assert not certify(at(problem, [0.0, 3.0])).certified


@pytest.mark.parametrize(("limits", "side"), [((0.0, 1.0), 1), ((1.0, 3.0), -1)])
def test_two_sided_constraint_is_held_on_the_side_that_pushes(
    limits: tuple[float, float], side: int, declared: Problems, at: Problems
) -> None:
    sign = "-" if side == 1 else "+"
    equation = f"f = {sign}x[0]"
    problem = declared(equation, "c = 2*x[0]", constraints={"c": {"lower": limits[0], "upper": limits[1]}})
    found = certify(at(problem, [0.5, 0.0]))
    assert found.certified
    assert found.multipliers["c"] == pytest.approx([0.5 * side])
    assert found.active["c"].tolist() == [side]


def test_design_variable_may_be_constrained_itself(declared: Problems, at: Problems) -> None:
    found = certify(at(declared(BOWL, constraints={"x": {"upper": [0.5, 5.0]}}), [0.5, 2.0]))
    assert found.certified
    assert found.multipliers["x"] == pytest.approx([1.0, 0.0])


def test_fixed_design_variable_takes_any_multiplier(declared: Problems, at: Problems) -> None:
    found = certify(at(declared(BOWL, design={"lower": [0.0, 5.0], "upper": [0.0, 9.0]}), [0.0, 5.0]))
    assert found.certified
    assert found.bound_multipliers["x"] == pytest.approx([2.0, -6.0])
    assert found.active_bounds["x"].tolist() == [2, -1]
