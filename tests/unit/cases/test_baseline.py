"""SLSQP on the truth of a case: failures are counted, and a run can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cases.adaptive_case import AdaptiveCase, objective
from cases.baseline import run_baseline
from cases.case import Case
from cases.model import adaptive_case
from gradopt.truth.finite_differences import FiniteDifferences
from gradopt.truth.function import FunctionTruth

MakeCase = Callable[..., Case]


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


def test_line_search_steps_back_from_failures(make_case: MakeCase, calls: list[np.ndarray]) -> None:
    case = adaptive_case(make_case(fails=lambda x: bool(x[0] < 0.9)), configuration=None)
    baseline = run_baseline(case, quiet)
    assert baseline.failed > 0 and baseline.evaluations == len(calls) == len({x.tobytes() for x in calls})
    assert baseline.final.x[0] == pytest.approx(0.9, abs=1e-3)  # against the edge
    assert objective(case, baseline.final.true) < 0.6 * objective(case, baseline.visits[0].true)
    assert len(baseline.visits) == baseline.evaluations - baseline.failed


def test_run_can_be_stopped(blind: AdaptiveCase) -> None:
    baseline = run_baseline(blind, quiet, most=6)
    assert not baseline.success and 6 <= baseline.evaluations <= 10
