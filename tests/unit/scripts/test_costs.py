"""Costs: exponents of growth, and peaks of memory within limits that do not change the result."""

import json
import runpy
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from scripts.shared.costs import STATUS, growth_exponent, measured_alone, memory_of_process, timed
from scripts.surrogates.fit_memory import memory


def test_growth_exponent_is_that_of_the_upper_half() -> None:
    sizes = (1, 2, 4, 8, 16, 32)
    assert growth_exponent(sizes, [5.0, 5.0, 5.0, *(3.0 * size**1.5 for size in sizes[3:])]) == pytest.approx(1.5)


def test_timed_returns_what_the_call_returns_and_its_seconds() -> None:
    def call() -> str:
        time.sleep(0.02)
        return "found"

    found, seconds = timed(call)
    assert found == "found" and 0.02 <= seconds < 2.0


def test_measured_alone_reads_what_the_module_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "scripts.x", "2", "0.5"] and (options["cwd"] / "scripts").is_dir()
        return subprocess.CompletedProcess(command, 0, "[1, 2]\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert measured_alone("scripts.x", 2, 0.5) == [1, 2]


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux has this table")
def test_memory_finds_that_a_limit_changes_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 1.0, 1.1, 1.0])

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, json.dumps({"loss": next(losses), "peak": 1.0}))

    monkeypatch.setattr(subprocess, "run", run)
    assert memory_of_process("VmHWM") >= 0.99 * memory_of_process("VmRSS") > 2**20
    with pytest.raises(AssertionError, match="limit changes the result: .1.0, 1.0, 1.1, 1.0."):
        memory(quick=False)
    assert memory(quick=True) == {}


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux has this table")
@pytest.mark.parametrize(
    ("module", "arguments", "keys"),
    [
        ("gradinn.prior_cost", ["1", "5", "1"], None),
        ("surrogates.fit_memory", ["1000000", "30"], {"peak", "cpu_seconds", "jacobian", "loss"}),
    ],
)
def test_a_module_that_measures_memory_prints_one_json_value(
    module: str,
    arguments: list[str],
    keys: set[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.delitem(sys.modules, f"scripts.{module}", raising=False)
    runpy.run_module(f"scripts.{module}", run_name="__main__")
    torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == keys if keys else found >= 0.0
