"""How far a response is beyond its bound."""

from __future__ import annotations

import numpy as np
import pytest

from cases.case import Response


@pytest.mark.parametrize(
    ("kind", "value", "violation"),
    [
        ("equals", 1.5, 0.5),
        ("equals", 0.5, 0.5),
        ("equals", 1.0, 0.0),
        ("lower", 0.75, 0.25),
        ("lower", 1.0, 0.0),
        ("lower", 9.0, 0.0),
        ("upper", 1.25, 0.25),
        ("upper", 1.0, 0.0),
        ("upper", -9.0, 0.0),
    ],
)
def test_violation_is_the_distance_beyond_the_bound(kind: str, value: float, violation: float) -> None:
    assert Response("y", kind, 1.0).violation(np.array([value])) == violation


@pytest.mark.parametrize("kind", ["minimize", "maximize"])
@pytest.mark.parametrize("value", [-1e9, 0.0, 1e9])
def test_objective_is_never_violated(kind: str, value: float) -> None:
    assert Response("y", kind).violation(np.array([value])) == 0.0


@pytest.mark.parametrize(("kind", "seen"), [("minimize", 2.0), ("maximize", -2.0), ("lower", 2.0)])
def test_driver_sees_the_negative_of_what_is_maximized(kind: str, seen: float) -> None:
    assert Response("y", kind, ref=2.0).driver_ref == seen


@pytest.mark.parametrize(("kind", "violation"), [("equals", 3.0), ("lower", 2.0), ("upper", 3.0)])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
def test_violation_of_an_array_is_that_of_its_worst_entry(kind: str, violation: float, shape: tuple[int, ...]) -> None:
    value = np.array([1.0, 0.0, 6.0]).reshape(shape)
    assert Response("y", kind, (1.0, 2.0, 3.0)).violation(value) == violation


def test_one_bound_serves_all_entries() -> None:
    assert Response("y", "upper", 1.0).violation(np.array([0.0, 1.5, 1.25])) == 0.5


def test_violation_where_the_truth_failed_is_infinite() -> None:
    assert Response("y", "lower", 1.0).violation(np.array([np.nan])) == np.inf
