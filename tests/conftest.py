"""Tests of scripts import them from the repository, while gradopt and cases are those that are installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
