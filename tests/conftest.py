"""Tests import cases and scripts from the repository; gradopt is the installed one, where it is installed.

One thread for linear algebra: the loop amplifies round-off, which differs between numbers of threads, and counts of
evaluations that tests compare would differ with it. The variable counts before NumPy and torch are imported.
"""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parents[1]))  # at the end: an installed gradopt comes first


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """Undo what a script that runs in the process of the tests sets of the package's logger."""
    logging.getLogger("gradopt").setLevel(logging.NOTSET)
    yield
    logging.getLogger("gradopt").setLevel(logging.NOTSET)
