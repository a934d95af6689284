"""SLSQP on the truth as a fair rival: it survives failures, and pays for differences only where it wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import openmdao.api as om
import pytest

from cases.adaptive import objective
from cases.case import AdaptiveCase, Case
from cases.direct import run_direct
from cases.model import adaptive_case
from gradopt.om.component import SurrogateComp
from gradopt.surrogates.protocol import Evaluation
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth
from gradopt.truth.protocol import Truth

MakeCase = Callable[..., Case]
OPTIMUM = np.array([0.5 + 0.1, -0.3 + 0.1, 0.1])  # of the bowl above the plane a0 + a1 + b = 0.5


def quiet(line: str) -> None:
    """Report nothing."""


@pytest.fixture
def blind(make_case: MakeCase) -> AdaptiveCase:
    """The bowl without partials."""
    case = adaptive_case(make_case(), configuration=None)
    (known,) = case.truths
    assert isinstance(known, FunctionTruth)

    def values(x: np.ndarray) -> np.ndarray:
        return np.asarray(known.f(x)[0])

    truth = FunctionTruth(values, known.inputs, known.outputs, identity="blind bowl")
    return replace(case, truths=(truth,), finite_differences=FiniteDifferences(1e-6))


def test_a_line_search_backs_away_from_failures(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = adaptive_case(make_case(fails=lambda x: bool(x[0] < 0.9)), configuration=None)
    direct = run_direct(case, quiet)
    assert direct.failed > 0 and direct.evaluations == len(calls) == len({x.tobytes() for x in calls})
    assert direct.answer.x[0] == pytest.approx(0.9, abs=1e-3)  # against the edge
    assert objective(case, direct.answer.true) < 0.6 * objective(case, direct.visits[0].true)
    assert len(direct.visits) == direct.evaluations - direct.failed


def test_unknown_partials_are_differenced_where_they_are_wanted(blind: AdaptiveCase, calls: list[np.ndarray]) -> None:
    direct = run_direct(blind, quiet)
    assert direct.success and direct.evaluations == len(calls)
    np.testing.assert_allclose(direct.answer.x, OPTIMUM, atol=1e-3)
    gradients = (direct.evaluations - len(direct.visits)) / 3
    assert 1 <= gradients <= len(direct.visits)


def test_it_asks_the_truth_even_where_a_surrogate_is_given(blind: AdaptiveCase, make_case: MakeCase) -> None:
    (truth,) = blind.truths

    class Given:
        inputs, outputs, digest = truth.inputs, truth.outputs, "wrong"
        lower, upper = np.full(3, -9.0), np.full(3, 9.0)

        def evaluate(self, x: np.ndarray) -> Evaluation:
            raise AssertionError("the surrogate must not be asked")

    def model(truths: Sequence[Truth]) -> om.Group:
        group = om.Group()
        group.add_subsystem("bowl", SurrogateComp(Given(), truth=truths[0]), promotes=["*"])
        for name, component in make_case().exact().items():
            group.add_subsystem(name, component, promotes=["*"])
        return group

    direct = run_direct(replace(blind, model=model), quiet)
    np.testing.assert_allclose(direct.answer.x, OPTIMUM, atol=1e-3)


def test_it_can_be_stopped(blind: AdaptiveCase) -> None:
    direct = run_direct(blind, quiet, most=6)
    assert not direct.success and 6 <= direct.evaluations <= 10
