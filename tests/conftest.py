"""Tests import cases and scripts from the repository; gradopt is the installed one, where it is installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # at the end: an installed gradopt comes first
