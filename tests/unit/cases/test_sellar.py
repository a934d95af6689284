"""Sellar's disciplines, their coupling, and the optimum with one of them or both behind surrogates."""

from __future__ import annotations

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import assert_check_totals

from cases.adaptive import run_adaptive
from cases.adaptive_case import objective
from cases.baseline import run_baseline
from cases.model import get_responses, pose, run
from cases.sellar.case import OPTIMUM, REPLACED, sellar_case
from cases.sellar.disciplines import discipline_1, discipline_2, disciplines
from gradopt import EvaluationStore
from gradopt.data.variables import column_bounds, total_size
from gradopt.om.baseline import FailureTolerantSLSQP

BEST = 3.18339395


def problem_of(replaced: tuple[int, ...]) -> om.Problem:
    case = sellar_case(replaced)
    model = case.model(case.truths)
    return pose(model, case.inputs, column_bounds(case.inputs), case.responses, case.start, FailureTolerantSLSQP())


@pytest.mark.parametrize(("discipline", "d"), [(discipline_1, 4), (discipline_2, 3)])
def test_partials_are_those_of_central_differences(discipline, d) -> None:  # type: ignore[no-untyped-def]
    for x in np.random.default_rng(d).uniform(-4.0, 4.0, (5, d)):
        steps = 1e-6 * np.eye(d)
        difference = [(discipline(x + e)[0][0] - discipline(x - e)[0][0]) / 2e-6 for e in steps]
        np.testing.assert_allclose(discipline(x)[1], [difference], rtol=1e-7, atol=1e-7)


def test_values_are_those_of_the_formulas() -> None:
    assert discipline_1(np.array([2.0, 3.0, 5.0, 10.0]))[0] == [10.0]
    assert discipline_2(np.array([2.0, 3.0, 16.0]))[0] == [9.0]


def test_slope_at_zero_is_a_failed_point() -> None:
    assert not disciplines()[1].evaluate([[1.0, 1.0, 0.0]]).ok[0]


def test_truths_on_disk_differ() -> None:
    first, second = disciplines()
    assert first.identity and second.identity and first.identity != second.identity


@pytest.mark.parametrize("replaced", REPLACED.values(), ids=REPLACED)
def test_model_is_the_same_whichever_discipline_is_replaced(replaced: tuple[int, ...]) -> None:
    problem = problem_of(replaced)
    with_newton(problem)
    # Known from OpenMDAO's documentation of the same problem at z = (5, 2), x = 1.
    np.testing.assert_allclose(problem.get_val("y1"), [25.58830237], rtol=1e-8)
    np.testing.assert_allclose(problem.get_val("y2"), [12.05848815], rtol=1e-8)
    totals = problem.check_totals(method="fd", form="central", step=1e-5, out_stream=None)
    assert_check_totals(totals, atol=1e-5, rtol=1e-5)


def with_newton(problem: om.Problem) -> None:
    """Run the model once; the remark on Newton's method is OpenMDAO's and expected."""
    with pytest.warns(om.OpenMDAOWarning, match="nonlinear solver that computes gradients"):
        problem.run_model()


def test_stated_optimum_has_the_stated_objective_and_is_where_slsqp_ends() -> None:
    problem = problem_of(())
    assert run(problem)
    found = np.concatenate([problem.get_val("z"), problem.get_val("x")])
    np.testing.assert_allclose(found, OPTIMUM, atol=1e-6)
    values = get_responses(problem, sellar_case())
    np.testing.assert_allclose(values["obj"], [BEST], atol=1e-7)
    np.testing.assert_allclose(values["y1"], [3.16], atol=1e-7)


@pytest.mark.parametrize("replaced", REPLACED.values(), ids=REPLACED)
def test_loop_ends_certified_at_the_known_optimum(replaced: tuple[int, ...]) -> None:
    case = sellar_case(replaced)
    assert total_size(case.inputs) == 3
    result = run_adaptive(case, 0, EvaluationStore(), lambda line: None)
    assert result.certificate.certified
    np.testing.assert_allclose(result.final.x, OPTIMUM, atol=1e-4)
    assert abs(objective(case, result.final.true) - BEST) < 1e-4
    assert result.evaluations <= case.max_evaluations


def test_direct_run_counts_every_discipline() -> None:
    both, one = (run_baseline(sellar_case(replaced), lambda line: None) for replaced in ((1, 2), (1,)))
    assert both.success and one.success
    assert one.evaluations < both.evaluations
    assert abs(both.best - BEST) < 1e-6
