"""Public faces of truths and of sampling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gradopt.sampling
import gradopt.truth
from gradopt.data import sampling
from gradopt.truth import function, protocol, store

ROOM = Path(gradopt.truth.__file__).parents[1]
_IMPORT = f"""
import sys, types
package = types.ModuleType("gradopt")  # the package without its own imports
package.__path__ = [{str(ROOM)!r}]
sys.modules["gradopt"] = package
import gradopt.truth, gradopt.sampling
assert gradopt.truth.ModelTruth and gradopt.sampling.sobol
heavy = sorted({{"torch", "matplotlib", "rich"}} & set(sys.modules))
assert not heavy, heavy
"""


def test_names_of_truths_and_of_sampling_are_those_of_their_files() -> None:
    assert gradopt.truth.FunctionTruth is function.FunctionTruth
    assert gradopt.truth.Truth is protocol.Truth
    assert gradopt.truth.EvaluationStore is store.EvaluationStore
    assert gradopt.sampling.latin_hypercube is sampling.latin_hypercube
    assert gradopt.sampling.full_factorial is sampling.full_factorial


def test_neither_imports_what_only_surrogates_and_plots_need() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
