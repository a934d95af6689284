"""Tests import cases and scripts from the repository; gradopt is the installed one, where it is installed.

One thread for linear algebra: the loop amplifies round-off, which differs between numbers of threads, and counts of
evaluations that tests compare would differ with it. The variable counts before NumPy and torch are imported.
"""

import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parents[1]))  # at the end: an installed gradopt comes first
