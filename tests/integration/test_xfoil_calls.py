"""The script on XFOIL counts the calls of each method."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Smoke = Callable[[str], Any]

pytestmark = pytest.mark.skipif(
    not (shutil.which("xfoil") and shutil.which("Xvfb")), reason="XFOIL needs the Debian packages xfoil and xvfb"
)


def test_each_method_is_counted_by_its_calls(smoke: Smoke) -> None:
    result = smoke("airfoil.xfoil_calls").result
    methods = result["starts"]["rae2822"]["methods"]
    assert set(methods) == {"loop", "SLSQP, step 0.005"}
    for row in methods.values():
        counts = [step[0] for step in row["steps"]]
        assert counts == sorted(counts) and counts[-1] <= row["calls"]
        feasible = [drag for _, drag, violation in row["steps"] if drag is not None and violation <= 1e-3]
        assert row["drag"] == (min(feasible) if feasible else None)
    assert methods["SLSQP, step 0.005"]["end"] == "stopped"
    crossed = result["cross"]["rae2822"]["neuralfoil_optimum"]
    assert np.isclose(crossed["NeuralFoil"]["CL"], 0.6, atol=0.02)
    assert abs(crossed["XFOIL"]["CD"] - crossed["NeuralFoil"]["CD"]) < 5.0
