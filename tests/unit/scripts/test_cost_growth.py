"""The growth of cost: exponents, and peaks of memory that do not change the result."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.cost_growth import build, memory, slope, status


def test_slope_is_the_exponent_of_the_upper_half() -> None:
    sizes = (1, 2, 4, 8, 16, 32)
    assert slope(sizes, [5.0, 5.0, 5.0, *(3.0 * size**1.5 for size in sizes[3:])]) == pytest.approx(1.5)


def test_build_leaves_the_partials_out_where_their_weight_is_0() -> None:
    both, values = (build(n=7, d=3, m=2, width=4, layers=2, gamma=gamma)[0] for gamma in (1.0, 0.0))
    assert both.n_residuals == 7 * 2 * 4 and values.n_residuals == 7 * 2 and not values.has_partials


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory of a process there")
def test_memory_finds_that_a_limit_changes_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 1.1])

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, json.dumps({"loss": next(losses), "peak": 1.0}))

    monkeypatch.setattr(subprocess, "run", run)
    assert status("VmHWM") >= 0.99 * status("VmRSS") > 2**20
    with pytest.raises(AssertionError, match="limit changes the result: .1.0, 1.1."):
        memory(quick=True)
