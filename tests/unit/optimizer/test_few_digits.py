"""Values with few digits or noise, and no partials: certified only where that is true, and else the end says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradopt.data.variables import Variable
from gradopt.loop.request import Purpose
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit
from gradopt.optimizer.flat_problem import Constraint
from gradopt.optimizer.optimizer import Optimizer
from gradopt.optimizer.scipy_minimize import minimize
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth

Seen = Callable[[float], float]


def rosenbrock(x: np.ndarray) -> float:
    return float(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)


def bowl(x: np.ndarray) -> float:
    return float(5.0 + ((x - 0.3) ** 2).sum())


def drag(x: np.ndarray) -> float:
    return float(0.02 + 0.01 * ((x[0] - 0.4) ** 2 + 0.5 * (x[1] + 0.3) ** 2))


def solved(
    clean: Callable[[np.ndarray], float], seen: Seen, start: list[float], step: float = 1e-4, budget: int = 150
) -> Optimizer:
    inputs = (Variable("x", (len(start),), lower=-2.0, upper=2.0),)
    settings = Settings(max_evaluations=budget, finite_differences=FiniteDifferences(step))
    found = Optimizer(inputs, [Variable("f")], start, configuration=None, settings=settings)
    found.run(FunctionTruth(lambda x: seen(clean(x)), inputs, (Variable("f"),)))
    return found


def true_slope(clean: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    """Largest slope of the clean function."""
    steps = 1e-5 * np.eye(len(x))
    return max(abs(clean(x + step) - clean(x - step)) / 2e-5 for step in steps)


def printed(digits: str) -> Seen:
    return lambda value: float(f"{value:{digits}}")


COARSE: dict[str, tuple[Callable[[np.ndarray], float], Seen, list[float], float]] = {
    "4 digits": (bowl, printed(".4g"), [1.25, -1.75], 1.0),
    "6 digits": (bowl, printed(".6g"), [1.25, -1.75], 1.0),
    "single": (bowl, lambda value: float(np.float32(value)), [1.25, -1.75], 1.0),
    "4 decimals": (bowl, printed(".4f"), [1.5, -1.5, 1.0], 1.0),
    "valley, 5 digits": (rosenbrock, printed(".5g"), [1.25, -1.75], 1.0),
    "valley, single with an offset": (rosenbrock, lambda f: float(np.float32(100.0 + f)), [-1.2, 1.0], 1.0),
    "count": (lambda x: 20.0 * float(x @ x), lambda value: float(np.floor(value)), [1.25, -1.75], 1.0),
    "drag, 4 decimals": (drag, printed(".4f"), [1.5, 1.0], 1.0),
    "drag, 5 decimals": (drag, printed(".5f"), [1.5, 1.0], 1.0),
    "drag counts": (drag, lambda value: 1e4 * round(value, 4), [1.5, 1.0], 1e4),
    "printed, then in other units": (bowl, lambda value: 0.0431 * float(f"{value:.5e}"), [1.25, -1.75], 0.0431),
    "single, then in other units": (bowl, lambda f: 0.3048 * float(np.float32(f)), [1.25, -1.75], 0.3048),
}


@pytest.mark.parametrize("name", COARSE)
def test_a_certificate_on_few_digits_is_true(name: str) -> None:
    clean, seen, start, scale = COARSE[name]
    found = solved(clean, seen, start)
    certificate = found.certificate
    assert certificate is not None
    if found.exit is Exit.CERTIFIED:
        assert scale * true_slope(clean, found.x) <= 1e-4
    else:
        assert not certificate.certified
        assert found.exit in (Exit.RESOLUTION, Exit.BUDGET)


def test_the_end_names_the_output_its_resolution_the_step_and_the_tolerance() -> None:
    found = solved(bowl, printed(".4g"), [1.25, -1.75])
    assert found.exit is Exit.RESOLUTION
    assert found.certificate is not None and not found.certificate.certified
    assert found.certificate.reason.startswith("Not certified: The output 'f' has a resolution of 2.0e-03 at 5, which")
    assert "the best step is FiniteDifferences(5.0e-02). tolerance=" in found.certificate.reason
    assert "too few digits or too much noise" in Exit.RESOLUTION.advice
    np.testing.assert_allclose(found.x, 0.3, atol=1e-2)


def test_with_the_tolerance_that_it_names_the_run_is_certified() -> None:
    inputs = (Variable("x", (2,), lower=-2.0, upper=2.0),)
    truth = FunctionTruth(lambda x: printed(".4g")(bowl(x)), inputs, (Variable("f"),))
    found = Optimizer(inputs, [Variable("f")], [1.25, -1.75], configuration=None, settings=Settings(tolerance=1e-1))
    found.run(truth)
    assert found.exit is Exit.CERTIFIED
    assert true_slope(bowl, found.x) <= 1e-1


@pytest.mark.parametrize("level", [1e-8, 1e-6, 1e-4])
def test_a_certificate_on_noisy_values_is_true(level: float) -> None:
    generator = np.random.default_rng(0)
    found = solved(bowl, lambda value: value + level * generator.normal(), [1.25, -1.75])
    if found.exit is Exit.CERTIFIED:
        assert true_slope(bowl, found.x) <= 1e-4
    else:
        assert found.exit is not Exit.INFEASIBLE
    np.testing.assert_allclose(found.x, 0.3, atol=0.05)


CLEAN: dict[str, tuple[Callable[[np.ndarray], float], list[float], float]] = {
    "bowl": (bowl, [1.25, -1.75], 1e-4),
    "bowl, long steps": (bowl, [1.25, -1.75], 1e-2),
    "valley": (rosenbrock, [1.25, -1.75], 1e-4),
    "exponential": (lambda x: float(np.exp(3.0 * x[0]) - 20.0 * x[0]), [-1.0], 1e-4),
    "steep": (lambda x: float(5e3 * (x[0] - 0.2) ** 2 + 0.5 * (x[1] - x[0]) ** 2), [1.0, -1.0], 1e-4),
    "at a bound": (lambda x: float((x[0] - 3.0) ** 2 + np.cosh(x[1] - 0.1)), [0.0, 1.0], 1e-4),
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_values_lead_to_a_true_certificate(name: str) -> None:
    clean, start, step = CLEAN[name]
    found = solved(clean, lambda value: value, start, step, budget=250)
    assert found.exit is Exit.CERTIFIED
    inside = np.abs(found.x) < 2.0 - 1e-9
    slopes = [abs(clean(found.x + h) - clean(found.x - h)) / 2e-5 for h in 1e-5 * np.eye(len(start))]
    assert max(np.array(slopes)[inside], default=0.0) <= 1e-4


def test_the_end_costs_two_points_a_variable_where_one_sided_differences_were_right() -> None:
    """At the exact optimum of a linear objective on a bound."""
    found = solved(lambda x: float(x[0] + 2.0 * x[1]), lambda value: value, [-2.0, -2.0])
    assert found.exit is Exit.CERTIFIED
    assert found.evaluations <= 1 + 2 + 3 * 2


def test_a_coarse_constraint_is_not_infeasible() -> None:
    inputs, outputs = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"), Variable("g"))
    for start, seen in (([0.4, 0.5], 8.0), ([1.0, 1.5], 2.0), ([-1.0, 0.3], 100.0)):

        def values(x: np.ndarray, seen: float = seen) -> np.ndarray:
            return np.array([bowl(x), np.round(seen * (x[0] + 0.3 * x[1] ** 2)) / seen])

        found = Optimizer(inputs, outputs, start, constraints=[Constraint("g", upper=-0.3)], configuration=None)
        found.run(FunctionTruth(values, inputs, outputs))
        assert found.exit not in (Exit.INFEASIBLE, Exit.CERTIFIED)


def test_an_active_constraint_that_hides_a_violation_is_named() -> None:
    """Partials are known to the tolerance; the constraint's value is not."""
    inputs, outputs = (Variable("x", (2,), lower=-2.0, upper=2.0),), (Variable("f"), Variable("g"))
    found = Optimizer(
        inputs,
        outputs,
        [1.0, 1.5],
        constraints=[Constraint("g", upper=0.0)],
        configuration=None,
        settings=Settings(tolerance=0.05),
    )
    found.run(FunctionTruth(lambda x: np.array([bowl(x), np.round(x[0] + x[1], 4)]), inputs, outputs))
    assert found.exit is Exit.RESOLUTION and found.certificate is not None
    assert "feasibility_tolerance=" in found.certificate.reason


def test_a_refinement_half_told_goes_on_from_a_file(tmp_path: Path) -> None:
    inputs = (Variable("x", (2,), lower=-2.0, upper=2.0),)
    truth = FunctionTruth(lambda x: printed(".4g")(bowl(x)), inputs, (Variable("f"),))
    whole, part = (Optimizer(inputs, [Variable("f")], [1.25, -1.75], configuration=None) for _ in range(2))
    whole.run(truth)
    told: list[Purpose] = []
    while not part.done:
        told.append(part.ask().purpose)
        part.save(tmp_path / "run")
        part = Optimizer.load(tmp_path / "run")
        again = part.ask()
        part.tell(again, truth.evaluate(again.points) if len(again.points) else np.empty((0, 1)))
        assert len(told) < 60, "what a file does not keep is done again without end"
    assert told.count(Purpose.REFINEMENT) > 1
    assert (part.exit, part.evaluations) == (whole.exit, whole.evaluations)
    np.testing.assert_array_equal(part.x, whole.x)


def test_minimize_certifies_with_central_differences() -> None:
    evaluated: list[bytes] = []

    def counted(x: np.ndarray) -> float:
        evaluated.append(x.tobytes())
        return rosenbrock(x)

    found = minimize(counted, [0.5, 0.4])
    assert found.success
    assert found.nfev == len(set(evaluated))
    np.testing.assert_allclose(found.x, 1.0, atol=1e-3)
