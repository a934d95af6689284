"""The call of a script: options, one thread, and a result file with machine, versions and commit; for all scripts."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from gradopt.report.records import write_result

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
RESULTS = Path("results")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a script.

    Attributes:
        options: Values of the options.
        console: Where tables are printed.
        load: Average numbers of running processes on the machine when the call began, over 1, 5 and 15 minutes.
        begun: Value of `time.perf_counter` when the call began, in seconds.
    """

    options: argparse.Namespace
    console: Console
    load: tuple[float, float, float]
    begun: float

    @property
    def quick(self) -> bool:
        """Whether the budget is tiny."""
        return bool(self.options.quick)

    @property
    def out(self) -> Path:
        """Result file."""
        return Path(self.options.out)

    @property
    def folder(self) -> Path:
        """Folder of the result file, of pictures and of rows."""
        return self.out.parent

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self.begun

    @property
    def machine(self) -> dict[str, Any]:
        """Machine that makes the result."""
        return {"platform": platform.platform(), "cpus": os.cpu_count(), "threads": 1, "load_before": self.load}

    def write(self, result: Mapping[str, Any]) -> None:
        """Write the result file, together with budget, machine, seconds, versions and commit."""
        write_result(self.out, {"quick": self.quick, "machine": self.machine, "seconds": self.seconds, **result})


def parser_of(file: str, doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a script, with the options that all have.

    Args:
        file: `__file__` of the script.
        doc: `__doc__` of the script, which `--help` prints.
    """
    theme, name = Path(file).parent.name, Path(file).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.{theme}.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=RESULTS / theme / name / "result.json",
        help="result file; pictures are written beside it (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny budget, to see that the script works")
    return parser


def begin(parser: argparse.ArgumentParser, argv: Sequence[str] | None, width: int = 150) -> Call:
    """Parse the options, make the folder of the result, and set torch, if it is installed, to one thread.

    Args:
        parser: Parser of the script.
        argv: Arguments, or None for those of the process.
        width: Width of the tables, in characters.
    """
    options = parser.parse_args(argv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if find_spec("torch") is not None:  # environments of other solvers have none
        import torch

        torch.set_num_threads(1)
    logging.getLogger("gradopt").setLevel(logging.ERROR)  # a run without a certificate is an outcome here
    return Call(options, Console(width=width), os.getloadavg(), time.perf_counter())


def run(main: Callable[[], int]) -> NoReturn:
    """Run a script in a process in which NumPy has one thread, and exit with its code.

    NumPy reads the number of threads once, when it is imported. A process with another number is therefore replaced.
    """
    if any(os.environ.get(name) != "1" for name in THREADS):
        one = dict.fromkeys(THREADS, "1")
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **one})
    raise SystemExit(main())
