"""The script on the airfoil's other problems counts evaluations to the best objective of all methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Smoke = Callable[[str], Any]


def test_methods_are_compared_with_the_best_of_all(smoke: Smoke) -> None:
    result = smoke("airfoil.evaluations_vs_slsqp").result
    for problem, better in (("lift-to-drag", max), ("multipoint", min)):
        found = result["problems"][problem]["naca0012"]
        assert set(found["methods"]) == {"loop", "SLSQP, as the case"}
        paths = [row["visits"] for row in found["methods"].values()]
        feasible = [value for path in paths for _, value, violation in path if violation <= 1e-4]
        assert found["best"] == (better(feasible) if feasible else None)
        for row, path in zip(found["methods"].values(), paths, strict=True):
            near = [
                count
                for count, value, violation in path
                if violation <= 1e-4 and abs(value / found["best"] - 1.0) <= 0.01
            ]
            assert row["until_within"]["0.01"] == (near[0] if near else None)
            assert path[-1][0] <= row["evaluations"]
    assert any(
        row["until_within"]["0.01"] for row in result["problems"]["lift-to-drag"]["naca0012"]["methods"].values()
    )
