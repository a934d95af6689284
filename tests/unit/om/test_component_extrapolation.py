"""SurrogateComp outside the surrogate's domain: the option `extrapolate`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.om.component import SurrogateComp
from gradopt.solvers import LevenbergMarquardt

Fitted = Callable[..., Surrogate]
Ready = Callable[..., om.Problem]
OUTSIDE = {"speed": np.array([0.5]), "chord": np.array([0.6, 0.85])}
INSIDE = {"speed": np.array([0.5]), "chord": np.array([0.6, 0.7])}
POINTS = np.array([[0.5, 0.6, 0.7], [0.1, 0.6, 0.7], [0.5, 0.1, 0.9], [0.3, 0.4, 0.5]])  # two inside, two outside
SEVERAL = {"speed": POINTS[:, :1], "chord": POINTS[:, 1:]}
STEPS = pytest.mark.parametrize(
    ("method", "tolerance"), [({"method": "cs"}, 1e-9), ({"method": "fd", "form": "central", "step": 1e-5}, 1e-5)]
)
MODES = pytest.mark.parametrize("mode", ["error", "warn", "clip", "allow"])


def outputs_of(problem: om.Problem) -> np.ndarray:
    return np.hstack([problem.get_val("drag").reshape(-1, 1), problem.get_val("load").reshape(-1, 4)])


@MODES
def test_inside_the_domain_every_mode_evaluates_silently(surrogate: Surrogate, ready: Ready, mode: str) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate=mode), **INSIDE)
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict([[0.5, 0.6, 0.7]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            OUTSIDE,
            r"^'comp' <class SurrogateComp>: Input 'chord\[1\]' is 0\.85, outside the domain \[0\.2, 0\.8\] of the",
        ),
        (
            {**INSIDE, "speed": 0.1},
            r"^'comp' <class SurrogateComp>: Input 'speed' is 0\.1, outside the domain \[0\.2, 0\.8\]",
        ),
    ],
    ids=["above", "below"],
)
def test_error_names_the_input_its_value_and_the_domain(
    surrogate: Surrogate, ready: Ready, values: dict[str, Any], message: str
) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="error"), **values)
    with pytest.raises(om.AnalysisError, match=message):
        problem.run_model()


def test_error_is_the_default(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate), **OUTSIDE)
    with pytest.raises(om.AnalysisError, match="outside the domain"):
        problem.run_model()


def test_error_finds_the_point_among_several(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=4), **SEVERAL)
    with pytest.raises(om.AnalysisError, match=r"'speed' is 0\.1, outside"):
        problem.run_model()


def test_declared_bounds_are_the_domain(fitted: Fitted, ready: Ready) -> None:
    bounded = fitted(inputs=(Variable("x", lower=-1.0, upper=4.0),), outputs=(Variable("y"),))
    problem = ready(SurrogateComp(bounded), x=3.9)
    problem.run_model()
    problem.set_val("x", 4.1)
    with pytest.raises(om.AnalysisError, match=r"'x' is 4\.1, outside the domain \[-1, 4\]"):
        problem.run_model()


def test_a_constant_column_has_the_constant_as_domain(fitted: Fitted, ready: Ready) -> None:
    frozen = fitted(inputs=(Variable("x"), Variable("w")), outputs=(Variable("y"),), frozen=(1,))
    problem = ready(SurrogateComp(frozen), x=0.5, w=0.5 + 1e-12)
    problem.run_model()
    problem.set_val("w", 0.6)
    with pytest.raises(om.AnalysisError, match=r"'w' is 0\.6, outside the domain \[0\.5, 0\.5\]"):
        problem.run_model()


@pytest.mark.parametrize("mode", ["error", "warn"])
@pytest.mark.parametrize("edge", [0.8 + 1e-12, 0.2 - 1e-12])
def test_an_overstep_by_rounding_is_no_overstep(surrogate: Surrogate, ready: Ready, edge: float, mode: str) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate=mode), **{**INSIDE, "speed": edge})
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict([[edge, 0.6, 0.7]]))


@pytest.mark.parametrize("edge", [0.8 + 1e-8, 0.2 - 1e-8])
def test_an_overstep_above_rounding_is_one(surrogate: Surrogate, ready: Ready, edge: float) -> None:
    problem = ready(SurrogateComp(surrogate), **{**INSIDE, "speed": edge})
    with pytest.raises(om.AnalysisError, match=r"Input 'speed' is 0\.[28], outside the domain \[0\.2, 0\.8\]"):
        problem.run_model()


def test_partials_at_the_edge_are_those_of_the_surrogate(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="clip"), **{**INSIDE, "speed": 0.8 + 1e-12})
    problem.run_model()
    totals = problem.compute_totals(of=["drag"], wrt=["speed"])
    np.testing.assert_array_equal(totals["drag", "speed"], surrogate.linearize([[0.8 + 1e-12, 0.6, 0.7]])[1][0, :1, :1])


def test_warn_evaluates_as_the_network_extrapolates(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="warn"), **OUTSIDE)
    with pytest.warns(om.OpenMDAOWarning, match=r"comp.*'chord\[1\]' is 0\.85, outside the domain \[0\.2, 0\.8\]"):
        problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict([[0.5, 0.6, 0.85]]))


def test_warn_warns_once_per_setup(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="warn"), **OUTSIDE)

    def warned_in_two_runs() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for speed in (0.5, 0.9):
                problem.set_val("chord", [0.6, 0.85])
                problem.set_val("speed", speed)
                problem.run_model()
        return len(caught)

    assert warned_in_two_runs() == 1
    assert warned_in_two_runs() == 0
    problem.setup()
    assert warned_in_two_runs() == 1


def test_allow_evaluates_silently(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="allow"), **OUTSIDE)
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict([[0.5, 0.6, 0.85]]))


def test_clip_evaluates_the_nearest_points_of_the_domain(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=4, extrapolate="clip"), **SEVERAL)
    problem.run_model()
    nearest = [[0.5, 0.6, 0.7], [0.2, 0.6, 0.7], [0.5, 0.2, 0.8], [0.3, 0.4, 0.5]]
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict(nearest))


def test_clipped_inputs_alone_have_no_partials(surrogate: Surrogate, ready: Ready) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate="clip"), **OUTSIDE)
    problem.run_model()
    totals = problem.compute_totals(of=["drag", "load"], wrt=["speed", "chord"])
    dydx = surrogate.linearize([[0.5, 0.6, 0.8]])[1][0]
    for of, rows in (("drag", slice(0, 1)), ("load", slice(1, 5))):
        np.testing.assert_array_equal(totals[of, "speed"], dydx[rows, :1])
        np.testing.assert_array_equal(totals[of, "chord"][:, 0], dydx[rows, 1])
        np.testing.assert_array_equal(totals[of, "chord"][:, 1], 0.0)


@STEPS
@pytest.mark.parametrize("mode", ["clip", "allow"])
@pytest.mark.parametrize(("points", "values"), [(1, OUTSIDE), (4, SEVERAL)])
def test_partials_outside_agree_with_approximations(
    surrogate: Surrogate,
    ready: Ready,
    method: dict[str, Any],
    tolerance: float,
    mode: str,
    points: int,
    values: dict[str, Any],
) -> None:
    problem = ready(SurrogateComp(surrogate, vec_size=points, extrapolate=mode), **values)
    problem.run_model()
    checked = problem.check_partials(**method, out_stream=None)["comp"]
    assert len(checked) == 4
    for pair in checked.values():
        np.testing.assert_allclose(pair["J_fwd"], pair["J_fd"], rtol=tolerance, atol=tolerance)


def test_the_option_may_change_between_runs_at_the_same_point(surrogate: Surrogate, ready: Ready) -> None:
    comp = SurrogateComp(surrogate, extrapolate="allow")
    problem = ready(comp, **OUTSIDE)
    problem.run_model()
    comp.options["extrapolate"] = "clip"
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), surrogate.predict([[0.5, 0.6, 0.8]]))
    comp.options["extrapolate"] = "error"
    with pytest.raises(om.AnalysisError, match="outside the domain"):
        problem.run_model()


def test_the_domain_is_that_of_the_assigned_surrogate(fitted: Fitted, ready: Ready) -> None:
    narrow, comp = fitted(), SurrogateComp(fitted(), extrapolate="error")
    wide = replace(narrow, lower=narrow.lower - 1.0, upper=narrow.upper + 1.0)
    problem = ready(comp, **INSIDE)
    problem.run_model()
    comp.surrogate = wide
    problem.set_val("chord", OUTSIDE["chord"])
    problem.run_model()
    np.testing.assert_array_equal(outputs_of(problem), narrow.predict([[0.5, 0.6, 0.85]]))


@MODES
def test_no_mode_evaluates_inputs_that_are_not_numbers(surrogate: Surrogate, ready: Ready, mode: str) -> None:
    problem = ready(SurrogateComp(surrogate, extrapolate=mode), **{**INSIDE, "speed": np.nan})
    with pytest.raises(om.AnalysisError, match=r"Input 'speed' is nan, outside the domain"):
        problem.run_model()


@pytest.mark.parametrize("mode", ["warn", "allow"])
def test_no_mode_evaluates_where_a_transform_has_no_value(ready: Ready, mode: str) -> None:
    x = np.linspace(1.0, 2.0, 8)[:, None]
    data = Dataset(x, np.log(x), (1.0 / x)[:, :, None], [Variable("x", lower=0.0, transform="log")])
    surrogate = JENN((3,), solver=LevenbergMarquardt(max_iterations=3), starts=1).fit(data)
    problem = ready(SurrogateComp(surrogate, extrapolate=mode), x=-1.0)
    with pytest.raises(om.AnalysisError, match=r"`x` must be positive in column 'x', which has transform 'log'"):
        problem.run_model()
