"""certify: other people's optima confirmed, false successes caught, and how it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.core.driver import Driver
from openmdao.test_suite.components.sellar import SellarDerivatives

from gradopt.errors import InputError
from gradopt.om.certificate import certify
from gradopt.optimality.certificate import Certificate

Problems = Callable[..., om.Problem]
Multipliers = Callable[..., tuple[dict[str, Any], dict[str, Any]]]
SUM = "c = x[0] + x[1]"
BOWL = "f = (x[0] - 1)**2 + (x[1] - 2)**2"


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


# ---- optima ----


@pytest.mark.parametrize("tol", [1e-6, 1e-10])
def test_sellar_is_certified_where_slsqp_ends(tol: float, openmdao_multipliers: Multipliers) -> None:
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
def test_published_optimum_has_its_published_multipliers(number: str, declared: Problems, optimized: Problems) -> None:
    """Problems of Hock and Schittkowski, Test Examples for Nonlinear Programming Codes, 1981."""
    settings, start, objective, multipliers, bounds = PUBLISHED[number]
    problem = optimized(declared(*settings["equations"], **{k: v for k, v in settings.items() if k[0] != "e"}), start)
    found = certify(problem)
    assert found.certified
    assert found.objective == pytest.approx(objective, rel=1e-6)
    for name, expected in multipliers.items():
        assert found.multipliers[name] == pytest.approx([expected], abs=1e-4)
    assert found.bound_multipliers["x"] == pytest.approx(bounds, abs=1e-4)


def test_constrained_valley_is_certified_at_its_end_and_nowhere_before(
    declared: Problems, at: Problems, optimized: Problems
) -> None:
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
def test_any_driver_will_do(driver: type[Driver], declared: Problems, at: Problems) -> None:
    problem = declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}, driver=driver())
    found = certify(at(problem, [0.0, 1.0]))
    assert found.certified
    assert found.multipliers["c"] == pytest.approx([2.0])
    assert not certify(at(problem, [0.1, 0.9])).certified


def test_duplicates_of_a_constraint_are_certified(declared: Problems, at: Problems) -> None:
    equations = (BOWL, SUM, "d = 3*x[0] + 3*x[1]", "h = -x[0] - x[1]")
    limits = {"c": {"upper": 1.0}, "d": {"upper": 3.0}, "h": {"lower": -1.0}}
    found = certify(at(declared(*equations, constraints=limits), [0.0, 1.0]))
    assert found.certified
    forces = found.multipliers["c"] + 3.0 * found.multipliers["d"] - found.multipliers["h"]
    assert forces == pytest.approx([2.0])
    assert found.multipliers["c"] >= 0.0 and found.multipliers["d"] >= 0.0 and found.multipliers["h"] <= 0.0


# ---- false successes ----


def test_false_success_of_another_optimizer_is_not_certified(declared: Problems) -> None:
    """Started on a bound, SciPy's trust-constr reports success where the gradient pushes away from that bound."""
    driver = om.ScipyOptimizeDriver(optimizer="trust-constr", disp=False, maxiter=200)
    problem = declared("f = (x[0] + 1)**2 / 8", size=1, design={"lower": -2.0, "upper": 3.0}, driver=driver)
    problem.set_val("x", 3.0)
    assert problem.run_driver().success
    assert problem.get_val("x") > 2.0
    found = certify(problem)
    assert not found.certified
    assert found.worst["stationarity"] == ("x", 0)


def test_wrong_signed_multiplier_is_not_certified_although_the_lagrangian_is_stationary(
    declared: Problems, at: Problems, openmdao_multipliers: Multipliers
) -> None:
    problem = declared(BOWL, SUM, constraints={"c": {"lower": 1.0}})
    at(problem, [0.0, 1.0])
    assert openmdao_multipliers(problem)[1]["c"] == pytest.approx([2.0])
    found = certify(problem)
    assert not found.certified
    assert found.multipliers["c"].tolist() == [0.0]
    assert found.stationarity == pytest.approx(1.0)
    assert "no multipliers of active bounds and constraints balance the gradient in x[" in found.reason


def test_infeasible_point_is_not_certified(declared: Problems, at: Problems) -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [1.0, 2.0])
    found = certify(problem)
    assert not found.certified
    assert found.feasibility == pytest.approx(2.0)  # by its bound, which is above a quarter of what slopes change
    assert found.worst["feasibility"] == ("c", 0)
    assert "c[0] violates its bound by 2.0e+00 (scaled)" in found.reason
    assert certify(problem, feasibility_tolerance=0.5).feasibility_tolerance == 0.5


def test_design_variable_out_of_bounds_is_named(declared: Problems, at: Problems) -> None:
    found = certify(at(declared(BOWL, design={"upper": [1.0, 1.5]}), [1.0, 2.0]))
    assert found.worst["feasibility"] == ("x", 1)


def test_constraint_not_quite_reached_is_named(declared: Problems, at: Problems) -> None:
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


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-12])
def test_a_slope_is_no_optimum_however_small_the_objective(declared: Problems, at: Problems, scale: float) -> None:
    found = certify(at(declared(f"f = {scale}*x[0]", size=1), 0.0))
    assert not found.certified
    assert "the scale of the objective is not known" in found.reason
    assert not certify(at(declared(f"f = {scale}*x[0]", size=1), 0.5)).certified


def test_a_declared_scale_says_what_is_small(declared: Problems, at: Problems) -> None:
    problem = declared("f = 1e-6*x[0]", size=1, objective={"ref": 1.0}, design={"ref": 1.0})
    assert certify(at(problem, 0.0)).certified


# ---- reports ----


def test_certificate_reads_as_a_short_table(declared: Problems, at: Problems) -> None:
    text = str(certify(at(declared(BOWL, SUM, constraints={"c": {"upper": 1.0}}), [0.0, 1.0])))
    lines = text.splitlines()
    assert lines[0].startswith("Certified: feasible and stationary")
    assert [line.split()[0] for line in lines[1:]] == [
        *("measure", "feasibility", "stationarity", "complementarity"),
        *("active", "c[0]"),
    ]
    assert lines[-1].split() == ["c[0]", "upper", "2"]


def test_long_table_is_cut(declared: Problems, at: Problems) -> None:
    problem = declared("f = x[0]", size=20, design={"lower": 0.0})
    lines = str(certify(at(problem, np.zeros(20)))).splitlines()
    assert len(lines) == 1 + 4 + 1 + 12 + 1
    assert lines[-1] == "and 8 more"


def test_certificate_becomes_plain_json(declared: Problems, at: Problems) -> None:
    problem = at(declared(BOWL, SUM, constraints={"c": {"upper": 1.003}}), [0.0, 1.0])
    found = certify(problem)
    fields = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(fields) == set(Certificate.__dataclass_fields__)
    assert fields["certified"] is False
    assert fields["multipliers"] == {"c": found.multipliers["c"].tolist()}
    assert fields["worst"]["complementarity"] == ["c", 0]


def test_what_is_no_problem_is_refused() -> None:
    with pytest.raises(InputError, match=r"`problem` must be an om.Problem, got None"):
        certify(None)
