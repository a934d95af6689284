"""The protocol of surrogates can be imported without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gradopt

# The package's own `__init__` is left aside: it may import torch for other names.
CODE = """
import sys, types
package = types.ModuleType("gradopt")
package.__path__ = [sys.argv[1]]
sys.modules["gradopt"] = package
import gradopt.surrogates.protocol, gradopt.data.dataset
assert "torch" not in sys.modules
"""


def test_protocol_and_dataset_do_not_import_torch() -> None:
    folder = str(Path(gradopt.__file__).parent)
    subprocess.run([sys.executable, "-c", CODE, folder], check=True)
