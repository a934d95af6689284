"""SLSQP drives a SurrogateComp to the surrogate's own optimum, found here by other means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from scipy.optimize import root

from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.om.component import SurrogateComp
from gradopt.sampling import latin_hypercube

SPEED = Variable("speed", units="m/s", lower=-2.0, upper=2.0)
TRIM = Variable("trim", (2,), lower=-2.0, upper=2.0)
OUTPUTS = (Variable("cost"), Variable("mass", units="kg"))
HESSIAN = np.array([[3.0, 0.5, 0.0], [0.5, 2.0, -0.4], [0.0, -0.4, 1.5]])
CENTER = np.array([0.3, -0.5, 0.7])
LEAST_MASS = 1.5


def quadratic(x: np.ndarray) -> Dataset:
    """cost = (x - c)' H (x - c) / 2 and mass = x0 + x1 + x2 + x0^2 / 4."""
    off = x - CENTER
    cost = 0.5 * np.einsum("ni,ij,nj->n", off, HESSIAN, off)
    mass = x.sum(axis=1) + 0.25 * x[:, 0] ** 2
    slope = np.ones_like(x) + np.outer(x[:, 0], [0.5, 0.0, 0.0])
    partials = np.stack([off @ HESSIAN, slope], axis=1)
    return Dataset(x, np.stack([cost, mass], axis=1), partials, (SPEED, TRIM), OUTPUTS)


ACTIVATIONS = pytest.mark.parametrize("surrogate", ["silu", "tanh"], indirect=True)
CONSTRAINED = pytest.mark.parametrize("constrained", [False, True], ids=["free", "constrained"])


@pytest.fixture(scope="module")
def surrogate(request: pytest.FixtureRequest) -> Surrogate:
    data = quadratic(latin_hypercube((SPEED, TRIM), 40, seed=0))
    return JENN((10,), activation=request.param, starts=1).fit(data)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what OpenMDAO writes out of the repository."""
    monkeypatch.chdir(tmp_path)


def optimized(surrogate: Surrogate, constrained: bool) -> om.Problem:
    problem = om.Problem(reports=None)
    # A tolerance that float64 hardly resolves: SLSQP goes on until it cannot improve, and may call that a failure.
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-16, maxiter=200, disp=False)
    model = problem.model
    model.add_subsystem("comp", SurrogateComp(surrogate), promotes=["*"])
    model.add_design_var("speed", lower=-2.0, upper=2.0)
    model.add_design_var("trim", lower=-2.0, upper=2.0)
    model.add_objective("cost")
    if constrained:
        model.add_constraint("mass", lower=LEAST_MASS)
    problem.setup(force_alloc_complex=True)
    problem.set_val("speed", -1.5)
    problem.set_val("trim", [1.5, -1.0])
    problem.run_driver()
    return problem


def design(problem: om.Problem) -> np.ndarray:
    return np.concatenate([problem.get_val("speed"), problem.get_val("trim")])


def minimizer(surrogate: Surrogate, constrained: bool) -> np.ndarray:
    """Solve the optimality conditions of the surrogate by themselves, from the truth's neighborhood."""

    def conditions(z: np.ndarray) -> Any:
        y, dydx = surrogate.linearize(z[None, :3])
        if not constrained:
            return dydx[0, 0]
        return np.append(dydx[0, 0] - z[3] * dydx[0, 1], y[0, 1] - LEAST_MASS)

    found = root(conditions, np.append(CENTER, 1.0) if constrained else CENTER, tol=1e-14)
    assert np.abs(found.fun).max() < 1e-11
    return found.x[:3]


@ACTIVATIONS
@CONSTRAINED
def test_slsqp_converges_to_the_minimizer_of_the_surrogate(surrogate: Surrogate, constrained: bool) -> None:
    """In the objective to 1e-12; in x to the 3e-8 that differences of a float64 objective resolve at a minimum."""
    problem, best = optimized(surrogate, constrained), minimizer(surrogate, constrained)
    assert problem.get_val("cost")[0] - surrogate.predict(best[None])[0, 0] < 1e-12
    np.testing.assert_allclose(design(problem), best, rtol=0.0, atol=5e-8)


@ACTIVATIONS
def test_constraint_is_active_at_the_optimum(surrogate: Surrogate) -> None:
    assert optimized(surrogate, constrained=False).get_val("mass")[0] < LEAST_MASS - 0.1
    assert optimized(surrogate, constrained=True).get_val("mass")[0] == pytest.approx(LEAST_MASS, abs=1e-8)


@ACTIVATIONS
def test_optimum_of_a_good_fit_is_near_that_of_the_truth(surrogate: Surrogate) -> None:
    np.testing.assert_allclose(design(optimized(surrogate, constrained=False)), CENTER, atol=0.01)


@ACTIVATIONS
@CONSTRAINED
@pytest.mark.parametrize(
    ("method", "tolerance"), [({"method": "cs"}, 1e-9), ({"method": "fd", "form": "central", "step": 1e-5}, 1e-5)]
)
def test_totals_at_the_optimum_are_exact(
    surrogate: Surrogate, constrained: bool, method: dict[str, Any], tolerance: float
) -> None:
    problem = optimized(surrogate, constrained)
    checked = problem.check_totals(**method, out_stream=None)
    assert len(checked) == (4 if constrained else 2)
    for pair in checked.values():
        ours = pair["J_fwd"] if "J_fwd" in pair else pair["J_rev"]
        np.testing.assert_allclose(ours, pair["J_fd"], rtol=tolerance, atol=tolerance)
