"""minimize: SciPy's calling forms on ten problems with SciPy's own answers, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint, OptimizeResult, rosen, rosen_der
from scipy.sparse import csr_array

from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.loop.state import Exit
from gradopt.optimizer.scipy_minimize import minimize
from gradopt.truth.store import EvaluationStore


def bowl(x: np.ndarray, scale: float = 1.0) -> float:
    return float(scale * ((x[0] - 1.0) ** 2 + (x[1] - 2.5) ** 2))


def bowl_der(x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return scale * np.array([2.0 * (x[0] - 1.0), 2.0 * (x[1] - 2.5)])


TUTORIAL = (  # of scipy.optimize: Rosenbrock's function with linear and nonlinear constraints
    LinearConstraint([[1.0, 2.0], [2.0, 1.0]], [-np.inf, 1.0], [1.0, 1.0]),
    NonlinearConstraint(
        lambda x: [x[0] ** 2 + x[1], x[0] ** 2 - x[1]],
        -np.inf,
        1.0,
        jac=lambda x: [[2.0 * x[0], 1.0], [2.0 * x[0], -1.0]],
    ),
)
HALF_PLANES = (
    {"type": "ineq", "fun": lambda x: x[0] - 2.0 * x[1] + 2.0, "jac": lambda x: np.array([1.0, -2.0])},
    {"type": "ineq", "fun": lambda x: -x[0] - 2.0 * x[1] + 6.0, "jac": lambda x: np.array([-1.0, -2.0])},
    {"type": "ineq", "fun": lambda x: -x[0] + 2.0 * x[1] + 2.0, "jac": lambda x: np.array([-1.0, 2.0])},
)
PROBLEMS: dict[str, dict[str, Any]] = {
    "gradient by a function": {"fun": rosen, "x0": [1.3, 0.7, 0.8], "jac": rosen_der},
    "pair of value and gradient": {"fun": lambda x: (rosen(x), rosen_der(x)), "x0": [-1.2, 1.0], "jac": True},
    "finite differences": {"fun": lambda x: (x[0] - 1.0) ** 2 + (x[0] * x[1] - 0.5) ** 2, "x0": [1.3, 0.7]},
    "2-point": {"fun": bowl, "x0": [2.0, 0.0], "jac": "2-point"},
    "further arguments": {"fun": bowl, "x0": [2.0, 0.0], "jac": bowl_der, "args": (2.0,)},
    "pairs of bounds": {"fun": rosen, "x0": [1.3, 0.7], "jac": rosen_der, "bounds": [(None, 0.5), (0.0, 2.0)]},
    "Bounds": {"fun": rosen, "x0": [0.2, 0.7], "jac": rosen_der, "bounds": Bounds([-1.0, -1.0], [0.5, 2.0])},
    "fixed entry": {
        "fun": rosen,
        "x0": [1.3, 0.5, 0.5],
        "jac": rosen_der,
        "bounds": [(None, None), (0.5, 0.5), (0, 2)],
    },
    "constraint objects": {
        "fun": rosen,
        "x0": [0.5, 0.0],
        "jac": rosen_der,
        "bounds": Bounds([0.0, -0.5], [1.0, 2.0]),
        "constraints": TUTORIAL,
    },
    "dictionaries": {
        "fun": bowl,
        "x0": [2.0, 0.0],
        "jac": bowl_der,
        "bounds": [(0.0, None), (0.0, None)],
        "constraints": HALF_PLANES,
    },
    "one equality": {
        "fun": lambda x: x @ x,
        "x0": [3.0, 1.0],
        "jac": lambda x: 2.0 * x,
        "constraints": {"type": "eq", "fun": lambda x, a: x.sum() - a, "jac": lambda x, a: np.ones(2), "args": (1.0,)},
    },
    "constraint by finite differences": {
        "fun": bowl,
        "x0": [0.2, 0.1],
        "jac": bowl_der,
        "constraints": NonlinearConstraint(lambda x: x @ x, -np.inf, 4.0),
    },
    "sparse Jacobian": {
        "fun": bowl,
        "x0": [0.2, 0.1],
        "jac": bowl_der,
        "constraints": NonlinearConstraint(lambda x: [x @ x], -np.inf, 4.0, jac=lambda x: csr_array(2.0 * x[None])),
    },
}


@pytest.mark.filterwarnings("ignore:Equality and inequality constraints")  # of SciPy, about its own tutorial
@pytest.mark.parametrize("name", PROBLEMS)
def test_it_takes_scipys_calling_forms_and_finds_scipys_optima(name: str) -> None:
    problem = PROBLEMS[name]
    found = minimize(**problem)
    method = "SLSQP" if "constraints" in problem or "bounds" in problem else "BFGS"
    reference = optimize.minimize(**problem, method=method, tol=1e-10)
    assert isinstance(found, OptimizeResult)
    assert (found.success, found.exit, found.status) == (True, Exit.CERTIFIED, 0)
    assert found.certificate.certified
    np.testing.assert_allclose(found.x, reference.x, atol=2e-3)
    assert found.fun == pytest.approx(reference.fun, abs=1e-4)
    assert found.nfev <= 60
    assert found.nit == len(found.history)
    assert found.message.startswith("Certified")


def test_five_lines_without_openmdao() -> None:
    result = minimize(rosen, [1.3, 0.7], jac=rosen_der, bounds=[(-2, 2), (-2, 2)])
    assert result.success
    np.testing.assert_allclose(result.x, 1.0, atol=1e-3)
    assert result.nfev < optimize.minimize(rosen, [1.3, 0.7], jac=rosen_der, method="SLSQP").nfev + 10


def test_each_function_is_called_once_for_an_evaluation() -> None:
    called: dict[str, list[np.ndarray]] = {"fun": [], "constraint": []}

    def noted(name: str, f: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
        def call(x: np.ndarray) -> Any:
            called[name].append(x.copy())
            return f(x)

        return call

    disk = NonlinearConstraint(noted("constraint", lambda x: x @ x), -np.inf, 4.0, jac=lambda x: 2.0 * x)
    found = minimize(noted("fun", bowl), [0.2, 0.1], jac=bowl_der, constraints=disk)
    assert len(called["fun"]) == len(called["constraint"]) == found.nfev


def test_callback_gets_the_iterate_or_a_result_and_may_stop() -> None:
    seen: list[np.ndarray] = []
    minimize(rosen, [1.3, 0.7], jac=rosen_der, callback=lambda xk: seen.append(xk))
    assert len(seen) > 3
    values: list[float] = []

    def stop(intermediate_result: OptimizeResult) -> None:
        values.append(intermediate_result.fun)
        if len(values) == 3:
            raise StopIteration

    found = minimize(rosen, [1.3, 0.7], jac=rosen_der, callback=stop)
    assert (found.exit, found.success, found.nit) == (Exit.STOPPED, False, 3)
    assert values[0] == rosen([1.3, 0.7])


def test_options_are_settings_of_the_loop() -> None:
    found = minimize(rosen, [1.3, 0.7], jac=rosen_der, options={"max_evaluations": 3}, tol=1e-6)
    assert (found.exit, found.nfev, found.certificate.tolerance) == (Exit.BUDGET, 3, 1e-6)
    assert "Raise max_evaluations" in found.message


def test_failed_evaluations_are_outcomes() -> None:
    def fails(x: np.ndarray) -> float:
        if abs(x[0] - 1.2) < 0.02:
            raise EvaluationError("no mesh")
        return np.nan if abs(x[0] - 0.8) < 0.02 else bowl(x)

    found = minimize(fails, [2.0, 0.0], jac=bowl_der)
    np.testing.assert_allclose(found.x, [1.0, 2.5], atol=2e-3)
    other = minimize(lambda x: 1.0 / 0.0, [1.0], failures=(ZeroDivisionError,))
    assert other.exit is Exit.TRUTH_FAILED
    assert np.isnan(other.fun)
    assert other.certificate is None
    with pytest.raises(ZeroDivisionError):
        minimize(lambda x: 1.0 / 0.0, [1.0])


def test_a_store_resumes(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    first = minimize(rosen, [1.3, 0.7], jac=rosen_der, store=path, identity="rosen")
    with EvaluationStore(path) as store:
        again = minimize(rosen, [1.3, 0.7], jac=rosen_der, store=store, identity="rosen")
        assert store.evaluated == store.verified == 1
    np.testing.assert_array_equal(first.x, again.x)


def flat(x: np.ndarray) -> float:
    return 1.0


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"fun": 3}, InputError, r"`fun` must be a function of x \(d,\), got 3"),
    ({"jac": "3-point"}, InputError, "`jac` must be True, a function, None or '2-point', got '3-point'"),
    ({"bounds": [(0, 1)]}, ShapeError, r"`bounds` must hold 2 pairs of lower and upper bound, got \[\(0, 1\)\]"),
    ({"bounds": [(1, 0), (0, 1)]}, InputError, r"`bounds` must have lower .* got 1.0 and 0.0 for x\[0\]. Swap them"),
    ({"constraints": 3.0}, InputError, "`constraints` must be NonlinearConstraint, LinearConstraint or dictionaries"),
    (
        {"constraints": ["disk"]},
        InputError,
        "`constraints` must be NonlinearConstraint, .* dictionaries, got 'disk'",
    ),
    (
        {"constraints": {"type": "less", "fun": flat}},
        InputError,
        r"`constraints\[0\]` must have 'type' \('eq' or",
    ),
    (
        {"constraints": LinearConstraint([[1.0]], 0, 1)},
        ShapeError,
        "`LinearConstraint.A` must have 2 columns, one",
    ),
    (
        {"constraints": NonlinearConstraint(flat, 0, 1, keep_feasible=True)},
        InputError,
        r"`constraints\[0\].keep_feasible` must be False",
    ),
    (
        {"options": {"maxiter": 3}},
        InputError,
        r"`options` must have names .* got 'maxiter'. Use 'max_evaluations'",
    ),
    ({"options": {"gtol": 3}}, InputError, "got 'gtol'. See gradopt.loop.Settings"),
    ({"callback": 3}, InputError, "`callback` must be a function or None, got 3"),
    ({"x0": [np.nan, 0.0]}, ShapeError, "`x0` must hold 2 finite numbers"),
    ({"jac": lambda x: np.ones(3)}, ShapeError, r"`jac of fun` must have shape \(2,\), got \(3,\)"),
    ({"fun": lambda x: x}, ShapeError, r"`fun\(x\)` must have 1 values at every point, got 2"),
]


@pytest.mark.parametrize(("changes", "error", "message"), WRONG)
def test_wrong_arguments_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"fun": bowl, "x0": [2.0, 0.0], "jac": bowl_der} | changes
    with pytest.raises(error, match=message):
        minimize(**arguments)
