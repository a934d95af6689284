"""The study of the airfoil's other problems runs and tells what it claims to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Results = Callable[..., tuple[dict[str, Any], str]]


def test_methods_are_held_against_the_best_of_all(results_of: Results) -> None:
    result, printed = results_of("airfoil_problems", "--quick")
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
            assert row["until"] == (near[0] if near else None)
            assert path[-1][0] <= row["evaluations"]
    assert any(row["until"] for row in result["problems"]["lift-to-drag"]["naca0012"]["methods"].values())
    assert "ratio" in printed
