"""certify: other people's optima confirmed, false successes caught, problems left as they were."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.core.driver import Driver
from openmdao.test_suite.components.sellar import SellarDerivatives

from gradopt.errors import InputError
from gradopt.om.certificate import Certificate, certify

SUM = "c = x[0] + x[1]"
BOWL = "f = (x[0] - 1)**2 + (x[1] - 2)**2"
DISK = "f = x[0] + 2*x[1]"


def declared(
    *equations: str,
    size: int = 2,
    units: dict[str, str] | None = None,
    design: dict[str, Any] | None = None,
    objective: dict[str, Any] | None = None,
    constraints: dict[str, dict[str, Any]] | None = None,
    shapes: dict[str, int] | None = None,
    driver: Driver | None = None,
) -> om.Problem:
    """A problem of equations in x that has been set up; constraints are named by their alias or variable."""
    problem = om.Problem(reports=None)
    options: dict[str, dict[str, Any]] = {name: {"units": unit} for name, unit in (units or {}).items()}
    for name, shape in {"x": size, **(shapes or {})}.items():
        options[name] = {"shape": shape, **options.get(name, {})}
    comp = om.ExecComp(list(equations), do_coloring=False, **options)
    problem.model.add_subsystem("comp", comp, promotes=["*"])
    problem.model.add_design_var("x", **(design or {}))
    problem.model.add_objective("f", **(objective or {}))
    for name, settings in (constraints or {}).items():
        problem.model.add_constraint(**{"name": name, **settings})
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-10, disp=False) if driver is None else driver
    problem.setup()
    return problem


def at(problem: om.Problem, x: Any) -> om.Problem:
    problem.set_val("x", x)
    problem.run_model()
    return problem


def optimized(problem: om.Problem, x: Any) -> om.Problem:
    problem.set_val("x", x)
    problem.run_driver()
    return problem


def sellar(cycle: Any = om.NonlinearBlockGS, **options: Any) -> om.Problem:
    problem = om.Problem(SellarDerivatives(nonlinear_solver=cycle), reports=None)
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False, **options)
    problem.model.add_design_var("z", lower=[-10.0, 0.0], upper=[10.0, 10.0])
    problem.model.add_design_var("x", lower=0.0, upper=10.0)
    problem.model.add_objective("obj")
    problem.model.add_constraint("con1", upper=0.0)
    problem.model.add_constraint("con2", upper=0.0)
    problem.setup()
    problem.set_solver_print(-1)
    return problem


def openmdao_multipliers(problem: om.Problem, driver_scaling: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of design variables and constraints by OpenMDAO's own estimate, zero where it says nothing."""
    bounds, constraints = problem.driver.compute_lagrange_multipliers(driver_scaling, use_sparse_solve=False)
    return (
        {name: bounds[name]["multipliers"] if name in bounds else 0.0 for name in problem.driver._designvars},
        {name: constraints[name]["multipliers"] if name in constraints else 0.0 for name in problem.driver._cons},
    )


# ---- optima ----


@pytest.mark.parametrize("tol", [1e-6, 1e-10])
def test_sellar_is_certified_where_slsqp_ends(tol: float) -> None:
    problem = sellar(tol=tol)
    problem.run_driver()
    found = certify(problem)
    assert found.certified
    assert found.objective == pytest.approx(3.18339, abs=1e-4)
    assert found.multipliers["con1"] == pytest.approx([0.98751], abs=1e-4)
    bounds, constraints = openmdao_multipliers(problem)
    for name, expected in bounds.items():
        np.testing.assert_allclose(found.bound_multipliers[name], expected, atol=1e-6)
    for name, expected in constraints.items():
        np.testing.assert_allclose(found.multipliers[name], expected, atol=1e-6)
    assert {name: side.tolist() for name, side in found.active.items()} == {"con1": [1], "con2": [0]}
    assert {name: side.tolist() for name, side in found.active_bounds.items()} == {"z": [0, -1], "x": [-1]}


PUBLISHED: dict[str, tuple[dict[str, Any], list[float], float, dict[str, float], list[float]]] = {
    "35": (
        {
            "equations": [
                "f = 9-8*x[0]-6*x[1]-4*x[2]+2*x[0]**2+2*x[1]**2+x[2]**2+2*x[0]*x[1]+2*x[0]*x[2]",
                "c = x[0]+x[1]+2*x[2]",
            ],
            "size": 3,
            "design": {"lower": 0.0},
            "constraints": {"c": {"upper": 3.0, "linear": True}},
        },
        [0.5] * 3,
        1.0 / 9.0,
        {"c": 2.0 / 9.0},
        [0.0] * 3,
    ),
    "43": (
        {
            "equations": [
                "f = x[0]**2+x[1]**2+2*x[2]**2+x[3]**2-5*x[0]-5*x[1]-21*x[2]+7*x[3]",
                "c = x[0]**2+x[1]**2+x[2]**2+x[3]**2+x[0]-x[1]+x[2]-x[3]",
                "d = x[0]**2+2*x[1]**2+x[2]**2+2*x[3]**2-x[0]-x[3]",
                "h = 2*x[0]**2+x[1]**2+x[2]**2+2*x[0]-x[1]-x[3]",
            ],
            "size": 4,
            "constraints": {"c": {"upper": 8.0}, "d": {"upper": 10.0}, "h": {"upper": 5.0}},
        },
        [0.0] * 4,
        -44.0,
        {"c": 1.0, "d": 0.0, "h": 2.0},
        [0.0] * 4,
    ),
    "71": (
        {
            "equations": [
                "f = x[0]*x[3]*(x[0]+x[1]+x[2])+x[2]",
                "c = x[0]*x[1]*x[2]*x[3]",
                "d = x[0]**2+x[1]**2+x[2]**2+x[3]**2",
            ],
            "size": 4,
            "design": {"lower": 1.0, "upper": 5.0},
            "constraints": {"c": {"lower": 25.0}, "d": {"equals": 40.0}},
        },
        [1.0, 5.0, 5.0, 1.0],
        17.0140173,
        {"c": -0.552294, "d": 0.161469},
        [-1.087871, 0.0, 0.0, 0.0],
    ),
}


@pytest.mark.parametrize("number", PUBLISHED)
def test_published_optimum_has_its_published_multipliers(number: str) -> None:
    """Problems of Hock and Schittkowski, Test Examples for Nonlinear Programming Codes, 1981."""
    settings, start, objective, multipliers, bounds = PUBLISHED[number]
    problem = optimized(declared(*settings["equations"], **{k: v for k, v in settings.items() if k[0] != "e"}), start)
    found = certify(problem)
    assert found.certified
    assert found.objective == pytest.approx(objective, rel=1e-6)
    for name, expected in multipliers.items():
        assert found.multipliers[name] == pytest.approx([expected], abs=1e-4)
    assert found.bound_multipliers["x"] == pytest.approx(bounds, abs=1e-4)


def test_constrained_valley_is_certified_at_its_end_and_nowhere_before() -> None:
    valley = "f = 100*(x[1] - x[0]**2)**2 + (1 - x[0])**2"
    problem = declared(valley, "c = x[0]**2 + x[1]**2", constraints={"c": {"upper": 1.0}})
    assert certify(optimized(problem, [-1.2, 1.0])).certified
    best = problem.get_val("x").copy()
    assert best == pytest.approx([0.7864, 0.6177], abs=1e-4)
    for along in ([-1e-3, 1e-3 * best[0] / best[1]], [-0.1, -0.15], [-0.5, -0.5]):
        found = certify(at(problem, best + along))
        assert not found.certified
        assert found.reason.startswith("Not certified: ")


def test_sellar_is_not_certified_off_its_optimum() -> None:
    problem = sellar()
    problem.run_driver()
    for name, off in (("x", 1e-3), ("z", [1e-3, 0.0]), ("z", [0.0, 0.01])):
        kept = problem.get_val(name).copy()
        problem.set_val(name, kept + off)
        assert not certify(problem, run_model=True).certified
        problem.set_val(name, kept)
    assert certify(problem, run_model=True).certified


@pytest.mark.parametrize("driver", [Driver, om.DOEDriver, om.ScipyOptimizeDriver], ids=lambda kind: kind.__name__)
def test_any_driver_will_do(driver: type[Driver]) -> None:
    problem = declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}, driver=driver())
    found = certify(at(problem, [0.0, 1.0]))
    assert found.certified
    assert found.multipliers["c"] == pytest.approx([2.0])
    assert not certify(at(problem, [0.1, 0.9])).certified


def test_duplicates_of_a_constraint_are_certified() -> None:
    equations = (BOWL, SUM, "d = 3*x[0] + 3*x[1]", "h = -x[0] - x[1]")
    limits = {"c": {"upper": 1.0}, "d": {"upper": 3.0}, "h": {"lower": -1.0}}
    found = certify(at(declared(*equations, constraints=limits), [0.0, 1.0]))
    assert found.certified
    forces = found.multipliers["c"] + 3.0 * found.multipliers["d"] - found.multipliers["h"]
    assert forces == pytest.approx([2.0])
    assert found.multipliers["c"] >= 0.0 and found.multipliers["d"] >= 0.0 and found.multipliers["h"] <= 0.0


# ---- false successes ----


def test_false_success_of_another_optimizer_is_not_certified() -> None:
    """Started on a bound, SciPy's trust-constr reports success where the gradient pushes away from that bound."""
    driver = om.ScipyOptimizeDriver(optimizer="trust-constr", disp=False, maxiter=200)
    problem = declared("f = (x[0] + 1)**2 / 8", size=1, design={"lower": -2.0, "upper": 3.0}, driver=driver)
    problem.set_val("x", 3.0)
    assert problem.run_driver().success
    assert problem.get_val("x") > 2.0
    found = certify(problem)
    assert not found.certified
    assert found.worst["stationarity"] == ("x", 0)


def test_wrong_signed_multiplier_is_not_certified_although_the_lagrangian_is_stationary() -> None:
    problem = declared(BOWL, SUM, constraints={"c": {"lower": 1.0}})
    at(problem, [0.0, 1.0])
    assert openmdao_multipliers(problem)[1]["c"] == pytest.approx([2.0])
    found = certify(problem)
    assert not found.certified
    assert found.multipliers["c"].tolist() == [0.0]
    assert found.stationarity == pytest.approx(1.0)
    assert "no multipliers of active bounds and constraints balance the gradient in x[" in found.reason


def test_infeasible_point_is_not_certified() -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [1.0, 2.0])
    found = certify(problem)
    assert not found.certified
    assert (found.feasibility, found.worst["feasibility"]) == (2.0, ("c", 0))
    assert "c[0] violates its bound by 2.0e+00 (scaled)" in found.reason
    assert certify(problem, feasibility_tolerance=0.5).feasibility_tolerance == 0.5


def test_design_variable_out_of_bounds_is_named() -> None:
    found = certify(at(declared(BOWL, design={"upper": [1.0, 1.5]}), [1.0, 2.0]))
    assert found.worst["feasibility"] == ("x", 1)


def test_constraint_not_quite_reached_is_named() -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.003}}), [0.0, 1.0])
    found = certify(problem)
    assert not found.certified
    assert found.stationarity < 1e-4
    assert found.complementarity == pytest.approx(3e-3 / 2.0**0.5, rel=1e-2)
    assert "the objective still pushes towards the bound of c[0]" in found.reason
    assert certify(problem, tolerance=0.01).certified


def test_model_that_is_not_converged_is_not_certified() -> None:
    problem = sellar(cycle=om.NonlinearRunOnce)
    problem.run_driver()
    found = certify(problem)
    assert (found.stationarity < 1e-4, found.certified) == (True, True)
    kept = problem.get_val("z").copy()
    problem.set_val("z", kept + 0.1)
    problem.run_model()
    problem.set_val("z", kept)
    problem.run_model()
    found = certify(problem, 0.9, 0.9)
    assert max(found.feasibility, found.stationarity, found.complementarity) < 0.9
    assert not found.certified
    assert "the model is not converged, d1.y2 is not what its source gives" in found.reason


class Broken(om.ExplicitComponent):  # type: ignore[misc]
    """Value f with a slope in x of its own."""

    def __init__(self, value: float, slope: float) -> None:
        super().__init__()
        self.value, self.slope = value, slope

    def setup(self) -> None:
        self.add_input("x")
        self.add_output("f")
        self.declare_partials("f", "x", val=self.slope)

    def compute(self, inputs: Any, outputs: Any) -> None:
        outputs["f"] = self.value


@pytest.mark.parametrize(("value", "slope"), [(np.nan, 1e-6), (np.inf, 1e-6), (0.0, np.nan), (0.0, np.inf)])
def test_what_is_not_finite_is_not_certified(value: float, slope: float) -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", Broken(value, slope), promotes=["*"])
    problem.model.add_design_var("x")
    problem.model.add_objective("f")
    problem.setup()
    problem.run_model()
    found = certify(problem)
    assert not found.certified
    assert not np.isfinite(found.stationarity)
    assert "not a finite number" in found.reason
    assert found.to_dict()["stationarity"] is None
    assert found.worst == {}


def test_objective_that_is_flat_everywhere_is_remarked_on() -> None:
    found = certify(at(declared("f = 1e-6*x[0]", size=1), 0.0))
    assert found.certified
    assert "is the objective scaled?" in found.reason


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
    of_design: str, of_constraint: str, of_objective: str
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
def test_maximum_by_a_negative_scaler(settings: dict[str, float]) -> None:
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


def test_equality_of_either_scaling_sign() -> None:
    for ref in (3.0, -3.0):
        found = certify(at(declared(BOWL, SUM, constraints={"c": {"equals": 1.0, "ref": ref}}), [0.0, 1.0]))
        assert found.certified
        assert found.multipliers["c"] == pytest.approx([2.0])
        assert found.active["c"].tolist() == [2]


def test_units_of_the_driver_are_those_of_the_multipliers() -> None:
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


def test_offset_units() -> None:
    problem = declared("f = 2*x", size=1, units={"x": "degK"}, design={"lower": 20.0, "units": "degC"})
    assert certify(at(problem, 293.15)).certified
    assert not certify(at(problem, 294.15)).certified


@pytest.mark.skipif(not hasattr(om, "BoundsAutoscaler"), reason="since OpenMDAO 3.45")
def test_autoscaler_of_the_driver_is_honored() -> None:
    problem = declared(BOWL, SUM, design={"lower": [1.5, -5.0], "upper": 5.0}, constraints={"c": {"upper": 2.0}})
    problem.driver.autoscaler = om.BoundsAutoscaler()
    found = certify(at(problem, [1.5, 0.5]))
    assert found.certified
    assert found.bound_multipliers["x"] == pytest.approx([-4.0, 0.0])
    assert found.scaled_bound_multipliers["x"] == pytest.approx([-14.0, 0.0])
    assert certify(at(problem, [1.6, 0.4])).complementarity == 0.0
    assert not certify(at(problem, [1.6, 0.4])).certified


# ---- which entries ----


def test_indices_and_aliases_name_the_entries_the_driver_has() -> None:
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


def test_objective_entry_may_be_an_index() -> None:
    problem = declared("f = x**2", SUM, shapes={"f": 2}, objective={"index": 1}, constraints={"c": {"lower": -9.0}})
    assert certify(at(problem, [3.0, 0.0])).certified
    assert not certify(at(problem, [0.0, 3.0])).certified


@pytest.mark.parametrize(("limits", "side"), [((0.0, 1.0), 1), ((1.0, 3.0), -1)])
def test_two_sided_constraint_is_held_on_the_side_that_pushes(limits: tuple[float, float], side: int) -> None:
    sign = "-" if side == 1 else "+"
    equation = f"f = {sign}x[0]"
    problem = declared(equation, "c = 2*x[0]", constraints={"c": {"lower": limits[0], "upper": limits[1]}})
    found = certify(at(problem, [0.5, 0.0]))
    assert found.certified
    assert found.multipliers["c"] == pytest.approx([0.5 * side])
    assert found.active["c"].tolist() == [side]


def test_design_variable_may_be_constrained_itself() -> None:
    found = certify(at(declared(BOWL, constraints={"x": {"upper": [0.5, 5.0]}}), [0.5, 2.0]))
    assert found.certified
    assert found.multipliers["x"] == pytest.approx([1.0, 0.0])


def test_fixed_design_variable_takes_any_multiplier() -> None:
    found = certify(at(declared(BOWL, design={"lower": [0.0, 5.0], "upper": [0.0, 9.0]}), [0.0, 5.0]))
    assert found.certified
    assert found.bound_multipliers["x"] == pytest.approx([2.0, -6.0])
    assert found.active_bounds["x"].tolist() == [2, -1]


# ---- reports ----


def test_certificate_reads_as_a_short_table() -> None:
    text = str(certify(at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [0.0, 1.0])))
    lines = text.splitlines()
    assert lines[0].startswith("Certified: feasible and stationary")
    assert [line.split()[0] for line in lines[1:]] == [
        *("measure", "feasibility", "stationarity", "complementarity"),
        *("active", "c[0]"),
    ]
    assert lines[-1].split() == ["c[0]", "upper", "2"]


def test_long_table_is_cut() -> None:
    problem = declared("f = x[0]", size=20, design={"lower": 0.0})
    lines = str(certify(at(problem, np.zeros(20)))).splitlines()
    assert len(lines) == 1 + 4 + 1 + 12 + 1
    assert lines[-1] == "and 8 more"


def test_certificate_becomes_plain_json() -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.003}}), [0.0, 1.0])
    found = certify(problem)
    fields = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(fields) == set(Certificate.__dataclass_fields__)
    assert fields["certified"] is False
    assert fields["multipliers"] == {"c": found.multipliers["c"].tolist()}
    assert fields["worst"]["complementarity"] == ["c", 0]


# ---- the problem stays as it was ----


class Counted(om.ExplicitComponent):  # type: ignore[misc]
    """f = x0^2 + s x1, c = x0 + x1, with a model scaling that rounds; counts its runs."""

    def setup(self) -> None:
        self.runs = 0
        self.add_input("x", shape=2, units="m")
        self.add_output("f", ref=3.0, ref0=0.1)
        self.add_output("c", ref=7.0)
        self.declare_partials("c", "x", val=[[1.0, 1.0]])
        self.declare_partials("f", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        self.runs += 1
        outputs["f"] = inputs["x"][0] ** 2 + 0.3 * inputs["x"][1]
        outputs["c"] = inputs["x"].sum()

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        partials["f", "x"] = [2.0 * inputs["x"][0], 0.3]


def counted(approximated: bool = False, unrelated: bool = False) -> om.Problem:
    problem = om.Problem(reports=None)
    if unrelated:
        comp = om.ExecComp("h = 2*x[0]", x={"shape": 2, "units": "m"}, do_coloring=False)
        problem.model.add_subsystem("unrelated", comp, promotes=["*"])
    problem.model.add_subsystem("comp", Counted(), promotes=["*"])
    problem.model.add_design_var("x", lower=-2.0, upper=2.0, ref=3.3)
    problem.model.add_objective("f")
    problem.model.add_constraint("c", lower=0.1, linear=True)
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-9, disp=False)
    if approximated:
        problem.model.approx_totals(method="fd")
    problem.setup()
    problem.set_val("x", [0.7, 0.9])
    return problem


def state(problem: om.Problem) -> list[Any]:
    model = problem.model
    vectors = [vector.asarray(copy=True).tolist() for vector in (model._inputs, model._outputs, model._residuals)]
    driver = problem.driver
    caches = (
        None if model._owns_approx_jac else driver._total_jac,
        driver._coloring_info.coloring,
        driver.iter_count,
        vars(driver.result).copy(),
    )
    return [vectors, caches, model.iter_count, model.comp.iter_count]


@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_nothing_is_changed(approximated: bool) -> None:
    problem = counted(approximated)
    problem.run_driver()
    runs, before = problem.model.comp.runs, state(problem)
    assert certify(problem).certified
    assert state(problem) == before
    assert approximated or problem.model.comp.runs == runs
    problem.set_val("x", [0.7, 0.9])
    assert problem.run_driver().success
    assert problem.get_val("x") == pytest.approx([0.15, -0.05], abs=1e-4)


@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_driver_may_certify_between_its_own_totals(approximated: bool) -> None:
    problem = counted(approximated)
    problem.run_model()
    names = {"of": ["f"], "wrt": ["x"]}
    first = {key: value.copy() for key, value in problem.driver._compute_totals(**names).items()}
    certify(problem)
    again = problem.driver._compute_totals(**names)
    assert again["f", "x"] == pytest.approx(first["f", "x"], rel=1e-5)


@pytest.mark.parametrize("run_model", [False, True])
@pytest.mark.parametrize("approximated", [False, True], ids=["exact", "approximated"])
def test_recorders_see_nothing(approximated: bool, run_model: bool) -> None:
    problem = counted(approximated)
    recorder = om.SqliteRecorder("cases.sql")
    for recorded in (problem.driver, problem.model, problem.model.comp, problem.model.nonlinear_solver):
        recorded.add_recorder(recorder)
    problem.run_model()
    path = problem.get_outputs_dir() / "cases.sql"
    seen = [om.CaseReader(path).list_cases(out_stream=None)]
    certify(problem, run_model=run_model)
    seen.append(om.CaseReader(path).list_cases(out_stream=None))
    problem.run_model()
    problem.cleanup()
    assert len(seen[0]) == len(seen[1]) == 3
    assert len(om.CaseReader(path).list_cases(out_stream=None)) == 6


def test_model_is_run_where_that_is_asked_for() -> None:
    problem = counted()
    problem.set_val("x", [0.15, -0.05])
    assert certify(problem, run_model=True).certified
    assert problem.model.comp.runs == 1
    assert certify(problem).certified
    assert problem.get_val("c") == pytest.approx([0.1])


# ---- refused ----


def test_problem_that_is_not_set_up_is_refused() -> None:
    for run_model in (False, True):
        with pytest.raises(InputError, match=r"`problem` must be set up, got one that is not\. Call `problem\.setup"):
            certify(om.Problem(reports=None), run_model=run_model)


def test_problem_that_has_not_been_run_is_refused() -> None:
    problem = counted()
    for ready in (lambda: None, problem.final_setup):
        ready()
        with pytest.raises(InputError, match=r"must have been run .*, got one that has not .* pass `run_model=True`"):
            certify(problem)


def test_values_that_the_model_has_not_received_are_refused() -> None:
    problem = counted(unrelated=True)
    problem.run_driver()
    problem.set_val("x", [0.3, -0.2])
    with pytest.raises(InputError, match=r"got other values of x since it ran\. Call `problem\.run_model"):
        certify(problem)
    with problem.model._relevance.nonlinear_active("iter"):  # as drivers run it: without what is unrelated
        problem.model.run_solve_nonlinear()
    assert not certify(problem).certified


def test_problem_without_objective_is_refused() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", om.ExecComp("f = x**2"), promotes=["*"])
    problem.model.add_design_var("x")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"`problem` must have one objective, got none\. Declare one with"):
        certify(problem)


def test_problem_with_several_objectives_is_refused() -> None:
    problem = declared(BOWL, "h = x[0]", driver=Driver())
    problem.model.add_objective("h")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"must have one objective, got \['f', 'h'\]\. Declare one"):
        certify(problem)


def test_problem_without_design_variables_is_refused() -> None:
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("comp", om.ExecComp("f = x**2"), promotes=["*"])
    problem.model.add_objective("f")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"must have design variables, got none\. Declare them with `add_design_var`"):
        certify(problem)


class Special(om.ExplicitComponent):  # type: ignore[misc]
    """A discrete input beside an ordinary one."""

    def setup(self) -> None:
        self.add_input("x", 1.0)
        self.add_discrete_input("k", 2)
        self.add_output("f", 1.0)

    def compute(self, inputs: Any, outputs: Any, discrete_inputs: Any, discrete_outputs: Any) -> None:
        outputs["f"] = inputs["x"]


def test_discrete_design_variable_is_refused() -> None:
    problem = om.Problem(reports=None, driver=om.DOEDriver())
    problem.model.add_subsystem("comp", Special(), promotes=["*"])
    problem.model.add_design_var("k")
    problem.model.add_objective("f")
    problem.setup()
    problem.run_model()
    with pytest.raises(InputError, match=r"have no discrete variable in its optimization, got k\. There are no"):
        certify(problem)


def test_distributed_variable_is_refused() -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [0.0, 1.0])
    problem.driver._cons["c"]["distributed"] = True  # which OpenMDAO sets under MPI only
    with pytest.raises(InputError, match=r"have no distributed variable in its optimization, got c\. Gather it"):
        certify(problem)


def test_tolerance_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"`tolerance` must be a positive number below 1, got 2\.0\."):
        certify(at(declared(BOWL), [1.0, 2.0]), tolerance=2.0)
