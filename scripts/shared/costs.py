"""Seconds and memory; for `surrogates` and `gradinn`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

STATUS = Path("/proc/self/status")  # Linux's table of a process; elsewhere memory is not measured

Returned = TypeVar("Returned")


def timed(call: Callable[[], Returned]) -> tuple[Returned, float]:
    """Return what a call returns, and its wall-clock seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def growth_exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Return the exponent of growth: least squares of the logarithms over the upper half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def memory_of_process(field: str) -> float:
    """Return memory of this process in bytes by its name in Linux's table: VmRSS now, VmHWM at its peak."""
    lines = STATUS.read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def measured_alone(module: str, *arguments: float) -> Any:
    """Run a module in a process of its own, since the peak memory of a process never falls, and read what it prints.

    Args:
        module: Name of the module, which prints one JSON value.
        *arguments: Numbers for its command line.
    """
    command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
